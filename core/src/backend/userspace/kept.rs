//! Files that destroyed segments leave to new ones: making and removing a file costs as much as all the rest of a segment's short life.
//!
//! In a private namespace a destroyed segment's slot may keep its file, without a byte of its memory. A new segment of the same size and mode
//! that gets the slot finds it there, and processes' anchors of it. The file keeps the name it was made with. Whoever empties a file owns
//! the slot meanwhile, so that nobody empties it later, when it has become another's.
//!
//! Which slots have one is told by a ring in the header, of hints: the oldest is used first, so that ids do not come again soon.
//! One that falls out of the ring loses its file. No lock.

use core::sync::atomic::Ordering::SeqCst;

use super::holders::Found;
use super::layout::{KEPT, MAY_BE_MAPPED, Segment, State, WAS_MAPPED, Word, YOUNGEST};
use super::life::Life;
use super::registry::Registry;
use crate::sys;

impl Registry {
    /// A free slot with a file for a segment of so many `pages` and this `mode`.
    pub fn kept_slot(&self, pages: u64, mode: u32) -> Option<usize> {
        let header = &self.layout().header;
        let oldest = header.kept_at.load(SeqCst) as usize;
        (0..KEPT - YOUNGEST).find_map(|later| {
            let place = &header.kept[oldest.wrapping_add(later) % KEPT];
            let hint = place.load(SeqCst);
            let index = (hint as usize).checked_sub(1)?;
            let segment = self.segment(index)?;
            let is_taken = || place.compare_exchange(hint, 0, SeqCst, SeqCst).is_ok();
            (leaves_file(segment, segment.load(), pages, mode) && is_taken()).then_some(index)
        })
    }

    /// Notes that slot `index`, which the caller with the life `own` has just freed, has kept its file.
    pub fn keep(&self, index: usize, own: Life) {
        let header = &self.layout().header;
        let at = header.kept_at.fetch_add(1, SeqCst) as usize % KEPT;
        if let Some(oldest) = (header.kept[at].swap(index as u32 + 1, SeqCst) as usize).checked_sub(1)
            && oldest != index
        {
            self.drop_kept(oldest, own);
        }
    }

    /// Removes the file that free slot `index` has, if it has one.
    #[cold]
    fn drop_kept(&self, index: usize, own: Life) {
        let Some(segment) = self.segment(index) else { return };
        let word = segment.load();
        if word.state != State::Free || !word.has_file {
            return;
        }
        let begun = self.begin();
        let owned = Word { state: State::Owned, owner: own, ..going(word) };
        if segment.advance(word, owned) {
            self.remove_file(&Found { index, segment, word: owned });
            segment.advance(owned, Word { has_file: false, ..word });
        }
        self.done(begun);
    }

    /// Makes what the caller has taken the slot for begin with a file of its own, or none, unless it gets that of the segment `before` it;
    /// true if it does.
    pub fn take_file(&self, found: &Found<'_>, before: Word, pages: u64, mode: u32) -> bool {
        let &Found { segment, word, .. } = found;
        if leaves_file(segment, before, pages, mode) {
            return true;
        }
        if word.has_file {
            segment.word.store(going(word).to_u64(), SeqCst);
            self.remove_file(found);
            segment.word.store(Word { has_file: false, ..word }.to_u64(), SeqCst);
        }
        segment.file.store(word.sequence.into(), SeqCst);
        false
    }

    /// Empties the file of a segment that the caller owns, for another to have; false if it is to be removed.
    pub fn empty_to_keep(&self, found: &Found<'_>) -> bool {
        let flags = found.segment.flags.load(SeqCst);
        !self.is_shared()
            && !found.segment.is_huge()
            && flags & MAY_BE_MAPPED == 0
            && (flags & WAS_MAPPED == 0 || self.empty_file(found))
    }
}

/// A word whose file is being removed: whoever takes the slot over from the dead does not keep it.
fn going(word: Word) -> Word {
    Word { has_file: false, may_have_file: true, ..word }
}

/// True if a free slot has the file for a new segment of so many `pages` and this `mode`.
fn leaves_file(segment: &Segment, word: Word, pages: u64, mode: u32) -> bool {
    word.state == State::Free
        && word.has_file
        && segment.pages(sys::page_size()) == pages
        && segment.owner(word).mode.load(SeqCst) == u64::from(mode)
}
