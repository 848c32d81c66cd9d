//! The calls as a page lists them, those that failed apart from others.

use shmgate_core::call::Verdict;

use crate::report::fold::{Effect, Step};
use crate::report::model::{Index, Model};

/// A call, and what it was about.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub slot: u64,
    pub process: Index,
    /// If the session knows it.
    pub segment: Option<Index>,
    pub state: State,
}

/// What came of a call, as the page's scripts number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Done = 0,
    Error = 1,
    Denied = 2,
    WouldDeny = 3,
}

impl Record {
    /// Of a call that the pass has just taken in.
    pub fn of(model: &Model, step: &Step<'_>) -> Record {
        let state = match step.event.outcome.verdict {
            Verdict::Denied(_) => State::Denied,
            Verdict::WouldDeny(_) => State::WouldDeny,
            _ if step.event.outcome.result.is_err() => State::Error,
            _ => State::Done,
        };
        let segment = match step.effect {
            Effect::Created(segment) | Effect::Found(segment) | Effect::Removed(segment) => Some(segment),
            Effect::Attached(attach) | Effect::Detached(attach) => Some(model.attaches[attach as usize].segment),
            Effect::Did(segment) | Effect::Failed(segment) => segment,
        };
        Record { slot: step.at.slot, process: step.at.process, segment, state }
    }
}
