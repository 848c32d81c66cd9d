//! Segments and attaches as calls make, find and end them.

use super::super::model::{Attach, AttachEnd, Index, Moment, Origin, Segment};
use super::{Effect, Fold, MOST_PARENTS};

impl Fold {
    /// A shmget that gave an id.
    pub(super) fn got(
        &mut self,
        backend: &'static str,
        shmid: i32,
        (key, size, flags, mode): (i32, u64, i32, u16),
        (at, end): (Moment, u64),
    ) -> Effect {
        let makes = flags & libc::IPC_CREAT != 0;
        let is_new = key == libc::IPC_PRIVATE || makes && flags & libc::IPC_EXCL != 0;
        if let Some(&index) = self.by_id.get(&(backend, shmid)) {
            let known = &mut self.model.segments[index as usize];
            let is_same = key != libc::IPC_PRIVATE && known.removed.is_none() && known.key.is_none_or(|known| known == key);
            if is_same && !is_new {
                if known.key.is_none() {
                    known.key = Some(key);
                    self.by_key.insert((backend, key), index);
                }
                return Effect::Found(index);
            }
            // Somebody found it in the moment in which it was being created, by a call that began earlier.
            if is_same && known.origin != Origin::Created && known.met_end >= at.time {
                let (key, size, mode) = (Some(key), Some(size), Some(mode));
                *known = Segment {
                    key,
                    size,
                    mode,
                    origin: Origin::Created,
                    met_end: end,
                    attaches: known.attaches,
                    ..empty(shmid, backend, at)
                };
                return Effect::Created(index);
            }
            if known.removed.is_none() {
                known.vanished = Some(at.time);
            }
        }
        let origin = match (is_new, makes) {
            (true, _) => Origin::Created,
            (false, true) => Origin::Either,
            (false, false) => Origin::Found,
        };
        let is_made = origin != Origin::Found;
        let segment = Segment {
            key: Some(key),
            size: is_made.then_some(size),
            mode: is_made.then_some(mode),
            origin,
            met_end: end,
            ..empty(shmid, backend, at)
        };
        let index = self.meet(segment);
        if key != libc::IPC_PRIVATE {
            self.by_key.insert((backend, key), index);
        }
        if is_made { Effect::Created(index) } else { Effect::Found(index) }
    }

    fn meet(&mut self, segment: Segment) -> Index {
        let index = self.model.segments.len() as Index;
        self.by_id.insert((segment.backend, segment.shmid), index);
        self.model.segments.push(segment);
        index
    }

    /// The segment of an id that a call was good for.
    pub(super) fn known(&mut self, backend: &'static str, shmid: i32, at: Moment, end: u64) -> Index {
        match self.by_id.get(&(backend, shmid)) {
            Some(&index) => index,
            None => self.meet(Segment { met_end: end, ..empty(shmid, backend, at) }),
        }
    }

    pub(super) fn attach(&mut self, segment: Index, addr: u64, (from, from_end): (Moment, u64), is_readonly: bool) -> Index {
        let index = self.model.attaches.len() as Index;
        self.model.attaches.push(Attach {
            segment,
            addr,
            from,
            from_end,
            to: None,
            end: AttachEnd::Open,
            is_readonly,
            is_inherited: false,
        });
        self.model.segments[segment as usize].attaches += 1;
        let last = self.last_at.entry(addr).or_default();
        if last.len() == MOST_PARENTS {
            let closed = last.iter().position(|&one| self.model.attaches[one as usize].to.is_some());
            last.remove(closed.unwrap_or(0));
        }
        last.push(index);
        index
    }

    pub(super) fn close(&mut self, attach: Index, time: u64, end: AttachEnd) {
        let attach = &mut self.model.attaches[attach as usize];
        (attach.to, attach.end) = (Some(time), end);
    }

    pub(super) fn detached(&mut self, addr: u64, at: Moment) -> Effect {
        if let Some(attach) = self.open.remove(&(at.process, addr)) {
            self.close(attach, at.time, AttachEnd::Detached);
            return Effect::Detached(attach);
        }
        let process = &self.model.processes[at.process as usize];
        let (first, pid) = (process.first, process.pid);
        // It was there when the child came, and it is not the process's own from before its exec: that is gone.
        let may_be_its = |parents: &&Attach| {
            parents.from.time <= first
                && parents.to.is_none_or(|to| to >= first)
                && self.model.processes[parents.from.process as usize].pid != pid
        };
        let last = self.last_at.get(&addr).map_or(&[][..], Vec::as_slice);
        let parents = last.iter().rev().map(|&one| &self.model.attaches[one as usize]).find(may_be_its);
        let Some(&Attach { segment, is_readonly, .. }) = parents else { return Effect::Did(None) };
        let attach = self.attach(segment, addr, (Moment { time: first, ..at }, first), is_readonly);
        self.model.attaches[attach as usize].is_inherited = true;
        self.close(attach, at.time, AttachEnd::Detached);
        Effect::Detached(attach)
    }
}

fn empty(shmid: i32, backend: &'static str, met: Moment) -> Segment {
    Segment {
        shmid,
        backend,
        key: None,
        size: None,
        mode: None,
        origin: Origin::Found,
        met,
        met_end: met.time,
        removed: None,
        vanished: None,
        destroyed: None,
        attaches: 0,
        open: 0,
    }
}
