//! One pass over the records, in the order in which the calls began: each changes the [`Model`] and says what it was.
//!
//! The journal has no record of a fork, an exit or an exec as such. A process introduces itself at its first call in each
//! program: what the pid had attached before is gone then. A detach of what a process never attached is that of an attach that it
//! has from its parent: of the last one at that address.

mod segments;

use rustc_hash::FxHashMap as HashMap;
use shmgate_core::call::{Call, Verdict};
use shmgate_core::journal::{Image, timeline};
use shmgate_core::policy::{Action, Policy};
use shmgate_core::text::Event;

use super::model::{AttachEnd, Counts, End, Index, Model, Moment, Peak, Process, Program};

/// As many attaches at one address are remembered.
const MOST_PARENTS: usize = 8;

/// A call, and what it did.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub event: &'a Event<'a>,
    pub at: Moment,
    pub program: Index,
    pub effect: Effect,
}

/// What a call did, in terms of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It created a segment, or met one that it may have created.
    Created(Index),
    /// It found a segment by key.
    Found(Index),
    /// An attach.
    Attached(Index),
    Detached(Index),
    Removed(Index),
    /// Another success, with the segment that it was about.
    Did(Option<Index>),
    /// A failure, with the segment that it was about, if the session knows one.
    Failed(Option<Index>),
}

/// The pass: feed it with [`Fold::call`], then [`super::lives::settle`] the model.
#[derive(Debug, Default)]
pub struct Fold {
    pub model: Model,
    policy: Option<Policy>,
    /// A pid's images, by when they introduced themselves.
    images: HashMap<u32, Vec<(u64, Index)>>,
    /// The image that introduced itself in a block of slots.
    blocks: HashMap<u64, Index>,
    programs: HashMap<Option<Vec<u8>>, Index>,
    /// The segment that has an id now, by backend and id.
    by_id: HashMap<(&'static str, i32), Index>,
    /// The segment that has a key now.
    by_key: HashMap<(&'static str, i32), Index>,
    /// A process's open attaches.
    open: HashMap<(Index, u64), Index>,
    /// The last attaches at an address, by anybody, that a child may have from its parent.
    last_at: HashMap<u64, Vec<Index>>,
}

impl Fold {
    /// A pass over the calls of these images.
    pub fn new<'a>(images: impl Iterator<Item = Image<'a>>, policy: Option<Policy>) -> Fold {
        let mut fold = Fold { policy, ..Fold::default() };
        let mut images: Vec<_> = images.collect();
        images.sort_unstable_by_key(|image| (image.time_ns, image.pid));
        for Image { pid, time_ns, block, exe } in images {
            let index = fold.image(pid, time_ns, exe);
            fold.blocks.insert(block, index);
        }
        fold
    }

    fn image(&mut self, pid: u32, first: u64, exe: Option<&[u8]>) -> Index {
        let exe = exe.map(<[u8]>::to_vec);
        let programs = &mut self.model.programs;
        let program = *self.programs.entry(exe.clone()).or_insert_with(|| {
            programs.push(Program {
                exe,
                counts: Counts::default(),
                processes: 0,
                created: 0,
                removed: 0,
                peak_bytes: 0,
                errnos: Default::default(),
            });
            programs.len() as Index - 1
        });
        self.model.programs[program as usize].processes += 1;
        let index = self.model.processes.len() as Index;
        let images = self.images.entry(pid).or_default();
        if let Some((_, before)) = images.last() {
            self.model.processes[*before as usize].end = End::Replaced;
        }
        images.push((first, index));
        self.model.processes.push(Process {
            pid,
            program,
            uid: u32::MAX,
            first,
            last: first,
            counts: Counts::default(),
            peak: Peak::default(),
            end: End::Gone,
        });
        index
    }

    /// The process of a call: what introduced itself in its thread's slots, or else the image that did so last. A first call begins before
    /// the introduction, and another thread may be quicker still.
    fn process(&mut self, event: &Event<'_>, slot: u64) -> Index {
        if let Some(&image) = self.blocks.get(&timeline::block(slot)) {
            return image;
        }
        let known = self.images.get(&event.pid).map(|images| {
            let later = images.partition_point(|(time, _)| *time <= event.time_ns);
            images[later.saturating_sub(1)].1
        });
        known.unwrap_or_else(|| self.image(event.pid, event.time_ns, event.exe))
    }

    /// Takes a call in.
    pub fn call<'a>(&mut self, event: &'a Event<'a>, slot: u64) -> Step<'a> {
        let process = self.process(event, slot);
        let at = Moment { time: event.time_ns, process, slot };
        let end = event.time_ns.saturating_add(event.duration_ns);
        let who = &mut self.model.processes[process as usize];
        let program = who.program;
        who.first = who.first.min(event.time_ns);
        who.last = who.last.max(end);
        if who.uid == u32::MAX {
            who.uid = event.uid;
        }
        if self.model.counts.total() == 0 {
            self.model.first = event.time_ns;
        }
        self.model.last = self.model.last.max(end);

        let effect = self.effect(event, at, end);
        let key = match (event.call, self.segment_of(effect)) {
            (Call::Shmget { key, .. }, _) => Some(key),
            (_, segment) => segment.and_then(|segment| self.model.segments[segment as usize].key),
        };
        let by_key = key.map(|key| &mut self.model.keys.entry(key).or_default().counts);
        let who = &mut self.model.processes[process as usize].counts;
        let of_program = &mut self.model.programs[program as usize];
        for counts in [&mut self.model.counts, who, &mut of_program.counts].into_iter().chain(by_key) {
            counts.add(event);
        }
        if let (Err(errno), false) = (event.outcome.result, matches!(event.outcome.verdict, Verdict::Denied(_))) {
            *of_program.errnos.entry((event.call.kind() as u8, errno.0)).or_default() += 1;
        }
        Step { event, at, program, effect }
    }

    /// The segment that an effect is about.
    pub fn segment_of(&self, effect: Effect) -> Option<Index> {
        match effect {
            Effect::Created(segment) | Effect::Found(segment) | Effect::Removed(segment) => Some(segment),
            Effect::Attached(attach) | Effect::Detached(attach) => Some(self.model.attaches[attach as usize].segment),
            Effect::Did(segment) | Effect::Failed(segment) => segment,
        }
    }

    fn effect(&mut self, event: &Event<'_>, at: Moment, end: u64) -> Effect {
        let backend = backend_name(event.backend);
        let by_id = |fold: &Fold, shmid: i32| fold.by_id.get(&(backend, shmid)).copied();
        let result = match event.outcome.result {
            Ok(result) => result,
            Err(_) => {
                return Effect::Failed(match event.call {
                    Call::Shmget { key, .. } => self.by_key.get(&(backend, key)).copied(),
                    Call::Shmat { shmid, .. } => by_id(self, shmid),
                    Call::Shmctl { shmid, cmd, .. } if names_a_segment(cmd) => by_id(self, shmid),
                    _ => None,
                });
            }
        };
        match event.call {
            Call::Shmget { key, size, flags } => {
                let mode = (flags & 0o777) as u16 & !self.masked(event.outcome.verdict);
                self.got(backend, result as i32, (key, size, flags, mode), (at, end))
            }
            Call::Shmat { shmid, flags, .. } => {
                let segment = self.known(backend, shmid, at, end);
                if let Some(before) = self.open.remove(&(at.process, result)) {
                    self.close(before, at.time, AttachEnd::Replaced);
                }
                let attach = self.attach(segment, result, (at, end), flags & libc::SHM_RDONLY != 0);
                self.open.insert((at.process, result), attach);
                Effect::Attached(attach)
            }
            Call::Shmdt { addr } => self.detached(addr, at),
            Call::Shmctl { shmid, cmd: libc::IPC_RMID, .. } => {
                let segment = self.known(backend, shmid, at, end);
                let it = &mut self.model.segments[segment as usize];
                if it.removed.is_none() {
                    it.removed = Some(at);
                    let (key, program) = (it.key, self.model.processes[at.process as usize].program);
                    self.model.programs[program as usize].removed += 1;
                    if let Some(key) = key.filter(|key| self.by_key.get(&(backend, *key)) == Some(&segment)) {
                        self.by_key.remove(&(backend, key));
                    }
                }
                Effect::Removed(segment)
            }
            Call::Shmctl { shmid, cmd, set, .. } if names_a_segment(cmd) => {
                let segment = self.known(backend, shmid, at, end);
                if let (libc::IPC_SET, Some(set)) = (cmd, set) {
                    let mode = set.mode & 0o777 & !self.masked(event.outcome.verdict);
                    self.model.segments[segment as usize].mode = Some(mode);
                }
                Effect::Did(Some(segment))
            }
            Call::Ftok { path, proj } => {
                let key = self.model.keys.entry(result as i32).or_default();
                if !key.ftok.iter().any(|(known, number)| known == path && *number == proj) {
                    key.ftok.push((path.to_vec(), proj));
                }
                Effect::Did(None)
            }
            Call::Shmctl { .. } => Effect::Did(None),
        }
    }

    /// The mode bits that a rule took away.
    fn masked(&self, verdict: Verdict) -> u16 {
        match (verdict, &self.policy) {
            (Verdict::Masked { rule }, Some(policy)) => match policy.rules.get(usize::from(rule)).map(|rule| &rule.action) {
                Some(Action::Mask(bits)) => *bits,
                _ => 0,
            },
            _ => 0,
        }
    }
}

/// False for shmctl's commands that take an index, or nothing, for an id.
pub fn names_a_segment(cmd: i32) -> bool {
    matches!(cmd, libc::IPC_RMID | libc::IPC_SET | libc::IPC_STAT | libc::SHM_LOCK | libc::SHM_UNLOCK)
}

fn backend_name(name: &str) -> &'static str {
    shmgate_core::backend::NAMES.into_iter().find(|known| *known == name).unwrap_or("unknown")
}
