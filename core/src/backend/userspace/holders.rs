//! Who holds a segment, and how often: nattch.
//!
//! A segment's slot has places for some holders, and blocks beside it for more. A process changes its own places only, each
//! with one atomic; those of dead processes are anybody's to clear. No lock. Whoever attaches notes itself first and then looks
//! whether the segment is still there; whoever destroys makes the segment its own ([`State::Owned`]) first and then looks for holders.

use core::sync::atomic::Ordering::SeqCst;

use super::layout::{BLOCKS, Block, HOLDER_SEQUENCES, Holder, Layout, MOST_HELD, Segment, State, Word, id};
use super::life::{Asker, Life};
use super::now;
use super::registry::Registry;
use crate::atomic::AtomicU64;
use crate::errno::Errno;
use crate::sys;

/// Blocks that get room at a time.
const BLOCKS_AT_A_TIME: usize = 8;

/// A segment that is, or was, there.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub index: usize,
    pub segment: &'a Segment,
    pub word: Word,
}

impl Found<'_> {
    /// Its id.
    #[inline]
    pub fn id(&self) -> i32 {
        id(self.index, self.word.sequence)
    }

    /// True if its slot is no later segment's.
    fn has_the_slot(&self) -> bool {
        self.segment.load().sequence == self.word.sequence
    }

    /// True if it is this very segment still, removed or not.
    pub fn is_still_there(&self) -> bool {
        let now = self.segment.load();
        now.is_there() && now.sequence == self.word.sequence
    }

    /// How many attaches there are, if nobody but the living process `own` holds the segment.
    #[inline(always)]
    pub fn held_by_own_alone(&self, own: Life) -> Option<u64> {
        let once = own.holds(1, self.word.sequence).to_u64();
        let mut count = 0;
        for place in &self.segment.holders {
            match place.load(SeqCst) {
                0 => {}
                word if (word ^ once) <= MOST_HELD => count += word & MOST_HELD,
                word if Holder::from_u64(word).is_some_and(|holder| self.owns(holder)) => return None,
                _ => {}
            }
        }
        (self.segment.more.load(SeqCst) as u32 == 0).then_some(count)
    }

    #[inline]
    fn owns(&self, holder: Holder) -> bool {
        holder.sequence == self.word.sequence % HOLDER_SEQUENCES
    }
}

impl Registry {
    /// A segment's places for holders: its own, and those of its blocks.
    fn places<'a>(&'a self, found: &Found<'a>) -> impl Iterator<Item = &'a AtomicU64> {
        found.segment.holders.iter().chain(self.blocks_of(found).flat_map(|block| block.holders.iter()))
    }

    /// The first place for which `is_it` says so. A segment without blocks, as most are, takes no more than a loop.
    #[inline(always)]
    fn find_place<'a>(&'a self, found: &Found<'a>, mut is_it: impl FnMut(&AtomicU64) -> bool) -> Option<&'a AtomicU64> {
        for place in &found.segment.holders {
            if is_it(place) {
                return Some(place);
            }
        }
        if found.segment.more.load(SeqCst) as u32 == 0 {
            return None;
        }
        self.blocks_of(found).flat_map(|block| block.holders.iter()).find(|place| is_it(place))
    }

    fn blocks_of<'a>(&'a self, found: &Found<'a>) -> impl Iterator<Item = &'a Block> {
        let first = found.segment.more.load(SeqCst);
        let id = found.id();
        let blocks = core::iter::successors(self.block_of(first, id), move |block| self.block_of(block.next.load(SeqCst), id));
        // A damaged chain may be a ring.
        blocks.take(BLOCKS)
    }

    /// The block that `link` leads to, if it is one of segment `id`.
    fn block_of(&self, link: u64, id: i32) -> Option<&Block> {
        let block = self.block((link as u32 as usize).checked_sub(1)?)?;
        ((block.next.load(SeqCst) >> 32) as i32 == id).then_some(block)
    }

    /// The place in a block that `hint` tells of, if it is one of the segment's.
    fn hinted(&self, found: &Found<'_>, hint: u64) -> Option<&AtomicU64> {
        self.block_of(hint >> 8, found.id())?.holders.get(hint as usize & 0xff)
    }

    /// A hint at `place`, 0 for one in the segment's own slot.
    fn hint_at(&self, place: &AtomicU64) -> u64 {
        let offset = core::ptr::from_ref(place).addr().wrapping_sub(self.layout().blocks.as_ptr().addr());
        let (block, within) = (offset / size_of::<Block>(), offset % size_of::<Block>());
        let slot = within.wrapping_sub(core::mem::offset_of!(Block, holders)) / size_of::<AtomicU64>();
        if block < BLOCKS { (block as u64 + 1) << 8 | slot as u64 } else { 0 }
    }

    /// Notes `count` more attaches of `life` in one place, if it is free or its own.
    fn hold_in(&self, place: &AtomicU64, found: &Found<'_>, life: Life, count: u32) -> bool {
        let word = place.load(SeqCst);
        let before = match Holder::from_u64(word) {
            None => 0,
            // Of a segment before this one; of one after it if the slot has another by now, which must not lose its holder.
            Some(holder) if !found.owns(holder) && found.has_the_slot() => 0,
            Some(holder) if found.owns(holder) && holder.life() == life && u64::from(holder.count + count) <= MOST_HELD => {
                holder.count
            }
            Some(_) => return false,
        };
        place.compare_exchange(word, life.holds(before + count, found.word.sequence).to_u64(), SeqCst, SeqCst).is_ok()
    }

    /// Notes `count` more attaches of `life`; a holder may have several places. `hint` tells where it did that last, and is told.
    ///
    /// # Errors
    /// ENOMEM when there is no room for another holder.
    pub fn hold(&self, found: &Found<'_>, life: Life, count: u32, hint: &mut u64) -> Result<(), Errno> {
        if self.hinted(found, *hint).is_some_and(|place| self.hold_in(place, found, life, count)) {
            return Ok(());
        }
        for _ in 0..BLOCKS {
            if let Some(place) = self.find_place(found, |place| self.hold_in(place, found, life, count)) {
                *hint = self.hint_at(place);
                return Ok(());
            }
            // All places taken: by the dead, perhaps.
            self.count(found, &mut Asker::new(self, Some(life)));
            if !self.places(found).any(|place| place.load(SeqCst) == 0) {
                return self.add_block(found, life, life.holds(count, found.word.sequence).to_u64());
            }
        }
        Err(Errno::ENOMEM)
    }

    /// Gives back an attach of `life`, in the place that `hint` tells of if it has one there; false if it has none.
    pub fn release(&self, found: &Found<'_>, life: Life, hint: u64) -> bool {
        let release = |place: &AtomicU64| {
            let mut word = place.load(SeqCst);
            while let Some(holder) = Holder::from_u64(word).filter(|holder| holder.life() == life && found.owns(*holder)) {
                let less = life.holds(holder.count - 1, holder.sequence).to_u64();
                match place.compare_exchange(word, less, SeqCst, SeqCst) {
                    Ok(_) => return true,
                    Err(now) => word = now,
                }
            }
            false
        };
        self.hinted(found, hint).is_some_and(release) || self.find_place(found, release).is_some()
    }

    /// How many attaches a segment has. Those of the dead are given back.
    pub fn count(&self, found: &Found<'_>, asker: &mut Asker<'_>) -> u64 {
        // Attaches may move while places are looked at, from one that was not to one that was: a fork notes the child's before the parent lets go
        // of its own. That there are none has to be seen twice.
        match self.count_once(found, asker) {
            0 => self.count_once(found, asker),
            count => count,
        }
    }

    fn count_once(&self, found: &Found<'_>, asker: &mut Asker<'_>) -> u64 {
        let mut count = 0;
        self.find_place(found, |place| {
            let word = place.load(SeqCst);
            if let Some(holder) = Holder::from_u64(word).filter(|holder| found.owns(*holder)) {
                if asker.is_alive(holder.life()) {
                    count += u64::from(holder.count);
                } else {
                    self.give_back_of_dead(found, place, word);
                }
            }
            false
        });
        count
    }

    /// Takes back what a dead holder had, as the kernel does when a process ends; but the moment is when it is noticed.
    #[cold]
    #[inline(never)]
    fn give_back_of_dead(&self, found: &Found<'_>, place: &AtomicU64, word: u64) {
        if place.compare_exchange(word, 0, SeqCst, SeqCst).is_ok() {
            let life = Holder::from_u64(word).map(Holder::life);
            if let Some(pid) = life.and_then(|life| self.pid_of(life)).filter(|&pid| pid != 0) {
                found.segment.lpid.store(pid, SeqCst);
            }
            found.segment.dtime.store(now(), SeqCst);
        }
    }

    /// True if anybody is noted as a holder, dead or alive.
    pub fn is_held(&self, found: &Found<'_>) -> bool {
        self.places(found).filter_map(|place| Holder::from_u64(place.load(SeqCst))).any(|holder| found.owns(holder))
    }

    /// True if `life` is noted as a holder.
    pub fn is_held_by(&self, found: &Found<'_>, life: Life) -> bool {
        let holders = self.places(found).filter_map(|place| Holder::from_u64(place.load(SeqCst)));
        holders.into_iter().any(|holder| holder.life() == life && found.owns(holder))
    }

    /// Notices which of a segment's other holders have died, as long as they are few: what their deaths note comes before what
    /// `own` is about to note. A process that nobody has waited for yet counts as alive.
    #[inline(never)]
    pub fn notice_deaths(&self, found: &Found<'_>, own: Life) {
        let mut few = [None; 3];
        let holders = found.segment.holders.iter().filter_map(|place| Holder::from_u64(place.load(SeqCst)));
        for (at, holder) in holders.filter(|holder| holder.life() != own && found.owns(*holder)).enumerate() {
            match few.get_mut(at) {
                Some(place) => *place = Some(holder.life()),
                None => return,
            }
        }
        let is_gone = |life| self.pid_of(life).is_none_or(|pid| pid != 0 && !sys::has_process(pid));
        if few.into_iter().flatten().any(is_gone) {
            self.count(found, &mut Asker::new(self, Some(own)));
        }
    }

    /// Gives the segment one more block, with `holder` in it. Whoever is killed on the way leaves a block that [`Registry::free_blocks`]
    /// knows by its owner's life.
    #[inline(never)]
    fn add_block(&self, found: &Found<'_>, life: Life, holder: u64) -> Result<(), Errno> {
        let header = &self.layout().header;
        header.stale.fetch_add(1, SeqCst);
        let index = self.take_block(life).inspect_err(|_| self.no_longer_stale())?;
        let block = &self.layout().blocks[index];
        block.holders.iter().for_each(|place| place.store(0, SeqCst));
        block.holders[0].store(holder, SeqCst);
        let more = &found.segment.more;
        // Pushed in front: the first block changes, and nothing else.
        let its = no_blocks(found.id());
        let mut first = more.load(SeqCst);
        loop {
            // The slot is another segment's by now, whose blocks would be lost behind this one.
            if first >> 32 != its >> 32 {
                block.next.store(0, SeqCst);
                self.no_longer_stale();
                return Err(Errno::EIDRM);
            }
            block.next.store(its | u64::from(first as u32), SeqCst);
            match more.compare_exchange(first, its | (index as u64 + 1), SeqCst, SeqCst) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        // One that came to a segment just destroyed is left to whoever takes the lock next.
        let now = found.segment.load();
        if now.sequence == found.word.sequence && now.is_there() {
            self.no_longer_stale();
        }
        Ok(())
    }

    fn take_block(&self, life: Life) -> Result<usize, Errno> {
        let header = &self.layout().header;
        let mut has_looked = false;
        loop {
            let is_taken = |block: &Block| block.next.compare_exchange(0, life.to_u64(), SeqCst, SeqCst).is_ok();
            if let Some(index) = self.blocks().iter().position(|block| block.next.load(SeqCst) == 0 && is_taken(block)) {
                return Ok(index);
            }
            if !has_looked {
                self.free_blocks(&mut Asker::new(self, Some(life)));
                has_looked = true;
                continue;
            }
            let ready = self.blocks().len();
            if ready == BLOCKS {
                return Err(Errno::ENOMEM);
            }
            let start = core::mem::offset_of!(Layout, blocks) + size_of_val(&self.layout().blocks[..ready]);
            let end = (ready + BLOCKS_AT_A_TIME).min(BLOCKS);
            self.make_room(start, start + (end - ready) * size_of::<Block>()).map_err(|_| Errno::ENOMEM)?;
            header.blocks_ready.fetch_max(end as u64, SeqCst);
        }
    }

    fn blocks(&self) -> &[Block] {
        &self.layout().blocks[..(self.layout().header.blocks_ready.load(SeqCst) as usize).min(BLOCKS)]
    }

    /// Frees the blocks of segments that are gone, and those that somebody was killed with before they were in a chain; false if
    /// somebody is in the middle of taking one.
    pub fn free_blocks(&self, asker: &mut Asker<'_>) -> bool {
        let mut is_done = true;
        for (index, block) in self.blocks().iter().enumerate() {
            match self.use_of(index, asker) {
                Use::Taken => is_done = false,
                Use::Left(next) => drop(block.next.compare_exchange(next, 0, SeqCst, SeqCst)),
                Use::Free | Use::Segments => {}
            }
        }
        is_done
    }

    /// What block `index` is good for.
    pub fn use_of(&self, index: usize, asker: &mut Asker<'_>) -> Use {
        let Some(block) = self.block(index) else { return Use::Free };
        let next = block.next.load(SeqCst);
        let shmid = (next >> 32) as i32;
        let owner = if next == 0 {
            return Use::Free;
        } else if shmid < 0 {
            Life::from_u64(next)
        } else {
            let found = super::layout::split(shmid).and_then(|(index, sequence)| {
                let segment = self.segment(index)?;
                let word = segment.load();
                (word.state != State::Free && word.sequence == sequence).then_some(Found { index, segment, word })
            });
            let Some(found) = found else { return Use::Left(next) };
            let first = Holder::from_u64(block.holders[0].load(SeqCst));
            if self.blocks_of(&found).any(|its| core::ptr::eq(its, block)) {
                return Use::Segments;
            }
            first.map(Holder::life)
        };
        if owner.is_some_and(|life| asker.is_alive(life)) { Use::Taken } else { Use::Left(next) }
    }

    /// Destroys the segments in one of those `states` that nobody holds.
    pub fn bury(&self, own: Life, asker: &mut Asker<'_>, states: impl Fn(State) -> bool) {
        for (index, segment) in self.segments().iter().enumerate() {
            let word = segment.load();
            if states(word.state) {
                self.destroy_if_free(&Found { index, segment, word }, own, asker);
            }
        }
    }

    /// Destroys a removed segment if nobody holds it, for a process with the life `own`; true if this call did. What somebody was
    /// killed at, making or destroying, is destroyed too.
    #[inline(never)]
    pub fn destroy_if_free(&self, found: &Found<'_>, own: Life, asker: &mut Asker<'_>) -> bool {
        let segment = found.segment;
        loop {
            let word = segment.load();
            let may_be_taken = word.sequence == found.word.sequence
                && match word.state {
                    State::Removed => self.count(found, asker) == 0,
                    State::Owned => word.owner != own && !asker.is_alive(word.owner),
                    _ => false,
                };
            if !may_be_taken {
                return false;
            }
            let begun = self.begin();
            let owned = Word { state: State::Owned, owner: own, ..word };
            if segment.advance(word, owned) {
                if self.count(found, asker) == 0 {
                    let is_gone = self.discard(found, owned);
                    if is_gone {
                        self.done(begun);
                    }
                    return is_gone;
                }
                segment.advance(owned, Word { state: State::Removed, owner: Life::NOBODY, ..owned });
            }
            self.done(begun);
            // Whoever held it and has let go of it meanwhile has left it to this process: once more.
        }
    }

    /// Frees the slot of a segment that the caller owns, and what it has: its blocks and its file. False if the caller may not remove the
    /// file: its creator or root will come by.
    pub(super) fn discard(&self, found: &Found<'_>, owned: Word) -> bool {
        let segment = found.segment;
        let keeps_file = owned.has_file && self.empty_to_keep(found);
        let may_have_file = owned.has_file || owned.may_have_file;
        if may_have_file && !keeps_file && !self.remove_file(found) {
            segment.advance(owned, Word { owner: Life::NOBODY, ..owned });
            return false;
        }
        let mut link = segment.more.load(SeqCst);
        for _ in 0..BLOCKS {
            let Some(block) = self.block_of(link, found.id()) else { break };
            link = block.next.load(SeqCst);
            // Only while it is this segment's.
            if (link >> 32) as i32 != found.id() || block.next.compare_exchange(link, 0, SeqCst, SeqCst).is_err() {
                break;
            }
        }
        self.count_out(found.index, segment.pages(sys::page_size()));
        let free = Word {
            state: State::Free,
            has_file: keeps_file,
            may_have_file: false,
            locked: false,
            owner: Life::NOBODY,
            ..owned
        };
        segment.advance(owned, free);
        if keeps_file {
            self.keep(found.index, owned.owner);
        }
        true
    }
}

/// What [`super::layout::Segment::more`] is for a segment with this id that has no blocks.
pub fn no_blocks(shmid: i32) -> u64 {
    u64::from(shmid as u32) << 32
}

/// What a block is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Free,
    /// It is in its segment's chain.
    Segments,
    /// A live process is about to put it into a chain.
    Taken,
    /// Nobody's any more; what its `next` says.
    Left(u64),
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use crate::backend::userspace::Userspace;

    /// Whoever found a segment may come to note itself when the slot has another, which is attached.
    #[test]
    fn a_late_holder_takes_no_place_of_the_next_segment() {
        let place = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let backend = Userspace::open(place.path()).unwrap();
        let create = || backend.get(libc::IPC_PRIVATE, 4096, 0o600).unwrap() as i32;
        let late = backend.found(create()).unwrap();
        backend.remove(late.id()).unwrap();
        let next = loop {
            let next = backend.found(create()).unwrap();
            if next.index == late.index {
                break next;
            }
            backend.remove(next.id()).unwrap();
        };
        let address = backend.attach(next.id(), 0, 0).unwrap();
        let other = backend.registry.claim_life(1).unwrap();
        backend.registry.hold(&late, other.life, 1, &mut 0).unwrap();
        assert_eq!(backend.nattch(&next), 1);
        backend.detach(address).unwrap();
    }
}
