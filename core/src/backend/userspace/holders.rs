//! Who holds a segment, and how often: nattch.
//!
//! A segment's slot has places for some holders, and blocks beside it for more. A process changes its own places only, each
//! with one atomic; those of dead processes are anybody's to clear. No lock. Whoever attaches notes itself first and then looks
//! whether the segment is still there; whoever destroys makes the segment [`State::Dying`] first and then looks for holders.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::layout::{BLOCKS, Block, HAS_ANCHORS, HOLDER_SEQUENCES, Holder, Layout, Segment, State, Word, id};
use super::life::{Asker, Life};
use super::now;
use super::registry::Registry;
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
    pub fn id(&self) -> i32 {
        id(self.index, self.word.sequence)
    }

    /// True if it is this very segment still, removed or not.
    pub fn is_still_there(&self) -> bool {
        let now = self.segment.load();
        now.is_there() && now.sequence == self.word.sequence
    }

    fn owns(&self, holder: Holder) -> bool {
        holder.sequence == self.word.sequence % HOLDER_SEQUENCES
    }
}

impl Registry {
    /// A segment's places for holders: its own, and those of its blocks.
    fn places<'a>(&'a self, found: &Found<'a>) -> impl Iterator<Item = &'a AtomicU64> {
        let first = found.segment.more.load(SeqCst);
        let id = found.id();
        let blocks = core::iter::successors(self.block_of(first, id), move |block| self.block_of(block.next.load(SeqCst), id));
        // A damaged chain may be a ring.
        found.segment.holders.iter().chain(blocks.take(BLOCKS).flat_map(|block| block.holders.iter()))
    }

    /// The block that `link` leads to, if it is one of segment `id`.
    fn block_of(&self, link: u64, id: i32) -> Option<&Block> {
        let block = self.block((link as u32 as usize).checked_sub(1)?)?;
        ((block.next.load(SeqCst) >> 32) as i32 == id).then_some(block)
    }

    /// Notes `count` more attaches of `life`.
    ///
    /// # Errors
    /// ENOMEM when there is no room for another holder.
    pub fn hold(&self, found: &Found<'_>, life: Life, count: u32) -> Result<(), Errno> {
        for _ in 0..BLOCKS {
            for place in self.places(found) {
                let word = place.load(SeqCst);
                if let Some(holder) = Holder::from_u64(word)
                    && holder.life() == life
                    && found.owns(holder)
                    && place
                        .compare_exchange(word, life.holds(holder.count + count, holder.sequence).to_u64(), SeqCst, SeqCst)
                        .is_ok()
                {
                    return Ok(());
                }
            }
            let new = life.holds(count, found.word.sequence).to_u64();
            for place in self.places(found) {
                let word = place.load(SeqCst);
                let is_free = Holder::from_u64(word).is_none_or(|holder| !found.owns(holder));
                if is_free && place.compare_exchange(word, new, SeqCst, SeqCst).is_ok() {
                    return Ok(());
                }
            }
            // All places taken: by the dead, perhaps.
            if self.count(found, &mut Asker::new(self, Some(life))) == u64::MAX {
                continue;
            }
            if !self.places(found).any(|place| place.load(SeqCst) == 0) {
                self.add_block(found)?;
            }
        }
        Err(Errno::ENOMEM)
    }

    /// Gives back an attach of `life`; false if it has none.
    pub fn release(&self, found: &Found<'_>, life: Life) -> bool {
        for place in self.places(found) {
            let mut word = place.load(SeqCst);
            while let Some(holder) = Holder::from_u64(word).filter(|holder| holder.life() == life && found.owns(*holder)) {
                let less = life.holds(holder.count - 1, holder.sequence).to_u64();
                match place.compare_exchange(word, less, SeqCst, SeqCst) {
                    Ok(_) => return true,
                    Err(now) => word = now,
                }
            }
        }
        false
    }

    /// How many attaches a segment has. Those of the dead are given back.
    pub fn count(&self, found: &Found<'_>, asker: &mut Asker<'_>) -> u64 {
        let mut count = 0;
        for place in self.places(found) {
            let word = place.load(SeqCst);
            let Some(holder) = Holder::from_u64(word).filter(|holder| found.owns(*holder)) else { continue };
            if asker.is_alive(holder.life()) {
                count += u64::from(holder.count);
            } else if place.compare_exchange(word, 0, SeqCst, SeqCst).is_ok() {
                // As the kernel does when a process ends; but the moment is when it is noticed.
                if let Some(pid) = self.pid_of(holder.life()).filter(|&pid| pid != 0) {
                    found.segment.lpid.store(pid, SeqCst);
                }
                found.segment.dtime.store(now(), SeqCst);
            }
        }
        count
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

    #[inline(never)]
    fn add_block(&self, found: &Found<'_>) -> Result<(), Errno> {
        let header = &self.layout().header;
        let mine = u64::from(found.id() as u32) << 32;
        let mut tries = 0;
        let index = loop {
            let ready = (header.blocks_ready.load(SeqCst) as usize).min(BLOCKS);
            let free = self.layout().blocks[..ready]
                .iter()
                .position(|block| block.next.load(SeqCst) == 0 && block.next.compare_exchange(0, mine, SeqCst, SeqCst).is_ok());
            if let Some(index) = free {
                break index;
            }
            if tries == 0 {
                self.free_blocks();
                tries = 1;
                continue;
            }
            if ready == BLOCKS {
                return Err(Errno::ENOMEM);
            }
            let start = core::mem::offset_of!(Layout, blocks) + ready * size_of::<Block>();
            let end = (ready + BLOCKS_AT_A_TIME).min(BLOCKS);
            self.make_room(start, start + (end - ready) * size_of::<Block>()).map_err(|_| Errno::ENOMEM)?;
            header.blocks_ready.fetch_max(end as u64, SeqCst);
        };
        let block = &self.layout().blocks[index];
        block.holders.iter().for_each(|place| place.store(0, SeqCst));
        let more = &found.segment.more;
        // Pushed in front: the first block changes, and nothing else.
        let mut first = more.load(SeqCst);
        loop {
            block.next.store(mine | u64::from(first as u32), SeqCst);
            match more.compare_exchange(first, index as u64 + 1, SeqCst, SeqCst) {
                Ok(_) => return Ok(()),
                Err(now) => first = now,
            }
        }
    }

    /// Frees the blocks of segments that are gone.
    pub fn free_blocks(&self) {
        for block in &self.layout().blocks[..(self.layout().header.blocks_ready.load(SeqCst) as usize).min(BLOCKS)] {
            let next = block.next.load(SeqCst);
            if next == 0 {
                continue;
            }
            let is_used = super::layout::split((next >> 32) as i32).and_then(|(index, sequence)| {
                let word = self.segment(index)?.load();
                (word.state != State::Free && word.sequence == sequence).then_some(())
            });
            if is_used.is_none() {
                let _ = block.next.compare_exchange(next, 0, SeqCst, SeqCst);
            }
        }
    }

    /// Destroys a removed segment if nobody holds it; true if this call did.
    #[inline(never)]
    pub fn destroy_if_free(&self, found: &Found<'_>, asker: &mut Asker<'_>) -> bool {
        let segment = found.segment;
        let mut word = segment.load();
        if word.sequence != found.word.sequence {
            return false;
        }
        if word.state == State::Removed {
            if self.count(found, asker) > 0 {
                return false;
            }
            let dying = Word { state: State::Dying, ..word };
            if !segment.advance(word, dying) {
                return false;
            }
            word = dying;
        }
        // Anybody may finish what somebody was killed at.
        if word.state != State::Dying {
            return false;
        }
        if self.count(found, asker) > 0 {
            segment.advance(word, Word { state: State::Removed, ..word });
            return false;
        }
        let has_anchors = segment.flags.load(SeqCst) & HAS_ANCHORS != 0;
        if word.has_file && !self.remove_file(segment, found.id(), has_anchors) {
            // Its memory is not free either. Its creator or root will come by.
            return false;
        }
        segment.more.store(0, SeqCst);
        segment.advance(word, Word { state: State::Free, has_file: false, locked: false, ..word })
    }
}
