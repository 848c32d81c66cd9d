//! Habits: modes that let everybody in, and what works on Linux alone.

use rustc_hash::FxHashMap as HashMap;

use shmgate_core::call::Call;
use shmgate_core::names::{ShmatFlags, ShmgetFlags, shmctl_command};

use super::{About, Findings, Kind, named, program, who};
use crate::report::fold::{Effect, Step};
use crate::report::model::{Index, Model};

/// Bits that give others access.
const WORLD: u16 = 0o006;
/// As many attaches FreeBSD gives a process (`kern.ipc.shmseg`).
const SHMSEG: u64 = 128;
/// `SHM_EXEC`, and the commands of shmctl that only Linux has, which the libc crate lacks.
const SHM_EXEC: i32 = 0o100_000;
const LINUX_COMMANDS: [&str; 6] = ["SHM_STAT", "SHM_STAT_ANY", "SHM_INFO", "IPC_INFO", "SHM_LOCK", "SHM_UNLOCK"];

/// How many attaches each process has open.
#[derive(Debug, Default)]
pub struct Habits {
    attached: HashMap<Index, u64>,
}

impl Habits {
    pub fn see(&mut self, model: &Model, step: &Step<'_>, findings: &mut Findings) {
        self.world_access(model, step, findings);
        self.linux_only(model, step, findings);
        match step.effect {
            Effect::Attached(attach) => {
                let segment = model.attaches[attach as usize].segment;
                self.after_removal(model, step, segment, findings);
            }
            Effect::Detached(_) => {
                self.attached.entry(step.at.process).and_modify(|count| *count = count.saturating_sub(1));
            }
            _ => {}
        }
    }

    fn world_access(&self, model: &Model, step: &Step<'_>, findings: &mut Findings) {
        let (segment, about) = match (step.effect, step.event.call) {
            (Effect::Created(segment), _) => (segment, About::made(model, segment, step.at.process)),
            (Effect::Did(Some(segment)), Call::Shmctl { cmd: libc::IPC_SET, .. }) => {
                (segment, About::segment(model, segment, step.at.process))
            }
            _ => return,
        };
        let it = &model.segments[segment as usize];
        let Some(mode) = it.mode.filter(|mode| mode & WORLD != 0) else { return };
        findings.note(Kind::WorldAccess, (segment.into(), about.if_created.into()), about, step.at, || {
            let may = match mode & WORLD {
                0o006 => "read and write",
                0o002 => "write",
                _ => "read",
            };
            format!("{} has mode {mode:04o}: every user may {may} it; by {}", named(it), who(model, step.at.process))
        });
    }

    fn after_removal(&mut self, model: &Model, step: &Step<'_>, segment: Index, findings: &mut Findings) {
        let it = &model.segments[segment as usize];
        if let Some(removed) = it.removed {
            let about = About::segment(model, segment, step.at.process);
            findings.note_pair(Kind::AttachAfterRemoval, (segment.into(), 0), about, (Some(removed), step.at), || {
                format!("{} attaches {} after its removal", who(model, step.at.process), named(it))
            });
        }
        let count = self.attached.entry(step.at.process).or_default();
        *count += 1;
        if *count == SHMSEG + 1 {
            self.only(model, step, 100, "more than 128 attaches at a time (FreeBSD: EMFILE by default)", findings);
        }
    }

    fn linux_only(&self, model: &Model, step: &Step<'_>, findings: &mut Findings) {
        match step.event.call {
            Call::Shmget { flags, .. } => {
                for (number, bit) in [(1, libc::SHM_HUGETLB), (2, libc::SHM_NORESERVE)] {
                    if flags & bit != 0 {
                        self.only(model, step, number, &format!("shmget with {}", ShmgetFlags(bit)), findings);
                    }
                }
            }
            Call::Shmat { flags, .. } => {
                for (number, bit) in [(3, libc::SHM_REMAP), (4, SHM_EXEC)] {
                    if flags & bit != 0 {
                        self.only(model, step, number, &format!("shmat with {}", ShmatFlags(bit)), findings);
                    }
                }
            }
            Call::Shmctl { cmd, .. } => {
                if let Some(name) = shmctl_command(cmd).filter(|name| LINUX_COMMANDS.contains(name)) {
                    self.only(model, step, 1000 + cmd as u32 as u64, &format!("shmctl with {name}"), findings);
                }
            }
            _ => {}
        }
    }

    fn only(&self, model: &Model, step: &Step<'_>, habit: u64, what: &str, findings: &mut Findings) {
        let about = About::process(step.at.process);
        findings.note(Kind::LinuxOnly, (u64::from(step.program), habit), about, step.at, || {
            format!("{} uses {what}", program(model, step.program))
        });
    }
}
