//! Errors and denials: what a timeline marks.

use shmgate_core::call::Verdict;

use crate::report::fold::{Effect, Step};
use crate::report::model::{Index, Model};

/// As many go into a page, which a browser is to open at once.
pub const MOST: usize = 200_000;

/// A call that failed, or that the policy refused or would have refused.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub kind: MarkKind,
    /// The record.
    pub slot: u64,
    pub process: Index,
    /// What it was about, if the session knows it.
    pub segment: Option<Index>,
}

/// As the page's scripts number them.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum MarkKind {
    Error = 0,
    Denied = 1,
    WouldDeny = 2,
}

/// The first [`MOST`] of a session.
#[derive(Debug, Default)]
pub struct Marks {
    pub list: Vec<Mark>,
    pub left_out: u64,
}

impl Marks {
    /// Looks at a call that the pass has just taken in.
    pub fn see(&mut self, model: &Model, step: &Step<'_>) {
        let kind = match step.event.outcome.verdict {
            Verdict::Denied(_) => MarkKind::Denied,
            Verdict::WouldDeny(_) => MarkKind::WouldDeny,
            _ if step.event.outcome.result.is_err() => MarkKind::Error,
            _ => return,
        };
        if self.list.len() == MOST {
            self.left_out += 1;
            return;
        }
        let segment = match step.effect {
            Effect::Created(segment) | Effect::Found(segment) | Effect::Removed(segment) => Some(segment),
            Effect::Attached(attach) | Effect::Detached(attach) => Some(model.attaches[attach as usize].segment),
            Effect::Did(segment) | Effect::Failed(segment) => segment,
        };
        self.list.push(Mark { kind, slot: step.at.slot, process: step.at.process, segment });
    }
}
