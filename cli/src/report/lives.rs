//! What only the end of the records tells: which processes and attaches are over, which segments were created here, when their
//! memory went, and what was in use at a time.
//!
//! Exits leave no record: what a process had attached counts up to its last call. A segment that a shmget with IPC_CREAT alone gave may have
//! been there before: one that nobody removed is the session's if its ledger has it.

use std::collections::HashSet;

use shmgate_core::sys::page_size;

use super::model::{AttachEnd, End, Index, Model, Origin, Peak, Process, Program, Segment};

/// What the session's ledger has of segments: ids and keys. `None` if it can't be read.
pub type Noted = Option<HashSet<(i32, i32)>>;

/// Completes the model after the last call. `is_alive` is asked about processes, as they may have exited by now.
pub fn settle(model: &mut Model, noted: &Noted, is_alive: &dyn Fn(&Program, &Process) -> bool) {
    for process in &mut model.processes {
        if process.end == End::Gone && is_alive(&model.programs[process.program as usize], process) {
            process.end = End::Lives;
        }
    }
    for attach in model.attaches.iter_mut().filter(|attach| attach.end == AttachEnd::Open) {
        let process = &model.processes[attach.from.process as usize];
        if process.end == End::Lives {
            model.segments[attach.segment as usize].open += 1;
        } else {
            (attach.to, attach.end) = (Some(process.last.max(attach.from.time)), AttachEnd::ProcessEnd);
        }
    }
    for segment in &mut model.segments {
        settle_origin(segment, noted);
        if is_created(segment) {
            let program = model.processes[segment.met.process as usize].program;
            model.programs[program as usize].created += 1;
            model.keys.entry(segment.key.unwrap_or(0)).or_default().segments += 1;
        }
        segment.destroyed = segment.vanished.or(segment.removed.map(|removed| removed.time)).filter(|_| segment.open == 0);
    }
    for attach in &model.attaches {
        let segment = &mut model.segments[attach.segment as usize];
        // The last detach destroys what was removed before.
        if let (Some(_), Some(destroyed), Some(to)) = (segment.removed, &mut segment.destroyed, attach.to) {
            *destroyed = to.max(*destroyed);
        }
    }
    peaks(model);
}

/// True if the session created it.
pub fn is_created(segment: &Segment) -> bool {
    segment.origin == Origin::Created
}

fn settle_origin(segment: &mut Segment, noted: &Noted) {
    if segment.origin != Origin::Either {
        return;
    }
    let has = |noted: &HashSet<(i32, i32)>| noted.contains(&(segment.shmid, segment.key.unwrap_or(0)));
    if segment.removed.is_some() || noted.as_ref().is_none_or(has) {
        segment.origin = Origin::Created;
    } else {
        (segment.origin, segment.size, segment.mode) = (Origin::Found, None, None);
    }
}

/// Something that comes or goes, in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    time: u64,
    /// What goes at a time goes before what comes.
    comes: bool,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A segment that the session created.
    Segment(Index),
    Attach(Index),
}

/// All changes of what is certainly in use, in the order of time.
fn changes(model: &Model) -> Vec<Change> {
    let mut changes = Vec::with_capacity(2 * (model.segments.len() + model.attaches.len()));
    let mut add = |from: u64, to: Option<u64>, what: What| {
        // One call made it while another took it away.
        if to.is_some_and(|to| to < from) {
            return;
        }
        changes.push(Change { time: from, comes: true, what });
        // What is over at once was there for a moment.
        changes.extend(to.map(|to| Change { time: to.max(from + 1), comes: false, what }));
    };
    for (index, segment) in model.segments.iter().enumerate().filter(|(_, segment)| is_created(segment)) {
        add(segment.met_end, segment.destroyed, What::Segment(index as Index));
    }
    for (index, attach) in model.attaches.iter().enumerate() {
        add(attach.from_end, attach.to, What::Attach(index as Index));
    }
    changes.sort_unstable();
    changes
}

fn peaks(model: &mut Model) {
    let changes = changes(model);
    let mut in_use = Peak::default();
    let mut of_processes = vec![Peak::default(); model.processes.len()];
    let mut of_programs = vec![0_u64; model.programs.len()];
    let mut of_keys = std::collections::HashMap::new();
    let page = page_size();
    for Change { comes, what, .. } in changes {
        let step = |count: &mut u64, by: u64| *count = if comes { count.saturating_add(by) } else { count.saturating_sub(by) };
        match what {
            What::Segment(index) => {
                let segment = &model.segments[index as usize];
                let (bytes, process) = (segment.bytes(page), segment.met.process as usize);
                let program = model.processes[process].program as usize;
                let key = segment.key.unwrap_or(0);
                for one in [&mut in_use, &mut of_processes[process]] {
                    step(&mut one.bytes, bytes);
                    step(&mut one.segments, 1);
                }
                step(&mut of_programs[program], bytes);
                let of_key = of_keys.entry(key).or_insert(0_u64);
                step(of_key, bytes);
                let most = &mut model.programs[program].peak_bytes;
                *most = of_programs[program].max(*most);
                if let Some(known) = model.keys.get_mut(&key) {
                    known.peak_bytes = known.peak_bytes.max(*of_key);
                }
                raise(&mut model.processes[process].peak, of_processes[process]);
            }
            What::Attach(index) => {
                let process = model.attaches[index as usize].from.process as usize;
                step(&mut in_use.attaches, 1);
                step(&mut of_processes[process].attaches, 1);
                raise(&mut model.processes[process].peak, of_processes[process]);
            }
        }
        raise(&mut model.peak, in_use);
    }
}

fn raise(most: &mut Peak, now: Peak) {
    most.bytes = most.bytes.max(now.bytes);
    most.segments = most.segments.max(now.segments);
    most.attaches = most.attaches.max(now.attaches);
}
