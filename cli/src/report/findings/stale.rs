//! Addresses and ids that a process gave up itself, and used once more: a detach too many, a removal too many, an attach after its own removal.
//!
//! Only what the system refused is told, and only of the process that did both: that others come late may be nobody's mistake, and somebody may have
//! removed the segment behind the session's back. To ask for a removed segment by IPC_STAT is a way to wait for its end.

use rustc_hash::FxHashMap as HashMap;

use shmgate_core::call::{Call, Verdict};
use shmgate_core::errno::Errno;

use super::{About, Findings, Kind, named, who};
use crate::report::fold::{Effect, Step};
use crate::report::model::{Index, Model, Moment};

#[derive(Debug, Default)]
pub struct Stale {
    /// A process's last detach at an address, until it attaches there again.
    detached: HashMap<(Index, u64), Moment>,
}

impl Stale {
    pub fn see(&mut self, model: &Model, step: &Step<'_>, findings: &mut Findings) {
        let process = step.at.process;
        match (step.event.call, step.event.outcome.result) {
            (Call::Shmat { .. }, Ok(addr)) => {
                self.detached.remove(&(process, addr));
            }
            (Call::Shmdt { addr }, Ok(_)) => {
                self.detached.insert((process, addr), step.at);
            }
            // What the policy refuses is another matter.
            (_, Err(_)) if matches!(step.event.outcome.verdict, Verdict::Denied(_)) => {}
            (Call::Shmdt { addr }, Err(Errno::EINVAL)) => {
                let Some(before) = self.detached.get(&(process, addr)).copied() else { return };
                let subject = (step.program.into(), 0);
                findings.note_pair(Kind::StaleUse, subject, About::process(process), (Some(before), step.at), || {
                    format!("{} detaches {addr:#x}, where it has detached before", who(model, process))
                });
            }
            (call @ (Call::Shmat { .. } | Call::Shmctl { cmd: libc::IPC_RMID, .. }), Err(Errno::EINVAL | Errno::EIDRM)) => {
                let Effect::Failed(Some(segment)) = step.effect else { return };
                let it = &model.segments[segment as usize];
                let Some(removed) = it.removed.filter(|removed| removed.process == process) else { return };
                let (subject, verb) = match call {
                    Call::Shmat { .. } => (1, "attaches"),
                    _ => (2, "removes"),
                };
                let (subject, about) = ((step.program.into(), subject), About::segment(model, segment, process));
                findings.note_pair(Kind::StaleUse, subject, about, (Some(removed), step.at), || {
                    format!("{} {verb} {}, which it has removed before", who(model, process), named(it))
                });
            }
            _ => {}
        }
    }
}
