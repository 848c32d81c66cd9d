//! What the host does to its attaches by itself, with munmap, mmap and mremap, or by SHM_REMAP: a piece that was unmapped or mapped over
//! is the host's from then on, and one that was moved is an attach where it is now. As in the kernel, each piece counts in nattch.
//!
//! The host's call is made in between: pieces in its way are marked before, and only changed in the books when it has succeeded. No
//! lock; what two threads do to the same piece at a time is the host's race.

use core::ops::Range;

use super::Userspace;
use super::attachments::Attachment;
use super::layout::MAY_BE_MAPPED;
use crate::sys::BlockedSignals;

/// The host's call: it returns what the call does, or `None` if that is an error.
pub type Change<'a> = &'a mut dyn FnMut() -> Option<u64>;

/// A call of mremap.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    pub old: u64,
    pub old_len: u64,
    pub new_len: u64,
    pub flags: i32,
    pub new: u64,
}

fn range(start: u64, len: u64) -> Range<u64> {
    start..start.saturating_add(len)
}

impl Userspace {
    /// True if the process has something attached.
    #[inline]
    pub fn has_attached(&self) -> bool {
        self.attachments.count() > 0
    }

    /// Makes the host's `change`, which puts an end to whatever is mapped in `len` bytes from `start`.
    #[inline(never)]
    pub fn unmapping(&self, start: u64, len: u64, change: Change<'_>) {
        let _whole = BlockedSignals::block_handled();
        self.replacing(range(start, self.pages(len)), change);
    }

    fn pages(&self, len: u64) -> u64 {
        len.checked_next_multiple_of(self.page_size).unwrap_or(len)
    }

    #[inline(never)]
    pub(super) fn replacing(&self, range: Range<u64>, change: Change<'_>) {
        let is_marked = self.mark(&range);
        let is_done = change().is_some();
        if is_marked && is_done {
            self.cut(&range);
        } else if is_marked {
            self.attachments.unmark(&range);
        }
    }

    /// What is marked in `range` is the host's.
    fn cut(&self, range: &Range<u64>) {
        self.attachments.take_marked(range, &mut |piece| self.recount(piece.shmid, self.keep_rest(piece, range)));
    }

    /// As [`super::attachments::Attachments::mark`].
    fn mark(&self, range: &Range<u64>) -> bool {
        let is_marked = self.attachments.mark(range);
        if is_marked {
            self.counted();
        }
        is_marked
    }

    /// Notes what is left of `piece` outside of `range`; returns in how many pieces.
    #[inline(never)]
    fn keep_rest(&self, piece: Attachment, range: &Range<u64>) -> u32 {
        let sides = [0..range.start, range.end..u64::MAX];
        sides.iter().filter_map(|side| piece.within(side)).map(|rest| self.keep(rest)).sum()
    }

    /// Notes a piece. Without room for it, it is the host's, as if it were no attach.
    fn keep(&self, piece: Attachment) -> u32 {
        u32::from(self.attachments.insert(piece).is_ok())
    }

    /// What was one piece of a segment is `count` now: counted as the kernel counts mappings, the new ones first.
    #[inline(never)]
    fn recount(&self, shmid: i32, count: u32) {
        if count > 0
            && let Some(found) = self.held(shmid)
            && let Ok(life) = self.life()
        {
            // Without room for it the count is too low: there is nobody to tell.
            if self.hold(&found, life, count).is_err() {
                found.segment.note(MAY_BE_MAPPED);
            }
            self.note_attach(found.segment);
        }
        self.give_back(shmid);
    }

    /// Makes the host's mremap, which `change` is.
    #[inline(never)]
    pub fn moving(&self, what: Move, change: Change<'_>) {
        let _whole = BlockedSignals::block_handled();
        let (old_len, new_len) = (self.pages(what.old_len), self.pages(what.new_len));
        // With an old length of 0, what is mapped at the address is mapped once more.
        let old = range(what.old, old_len.max(self.page_size));
        let over = range(what.new, if what.flags & libc::MREMAP_FIXED == 0 { 0 } else { new_len });
        let [is_over, is_old] = [&over, &old].map(|range| self.mark(range));
        let new = change();
        let Some(new) = new.filter(|_| is_over || is_old) else {
            self.attachments.unmark(&over);
            return self.attachments.unmark(&old);
        };
        if is_over {
            self.cut(&over);
            // What is left of an attach of which a part replaces another.
            self.attachments.mark(&old);
        }
        self.attachments.take_marked(&old, &mut |piece| {
            let stays = old_len == 0 || what.flags & libc::MREMAP_DONTUNMAP != 0;
            let kept = if stays { self.keep(piece) } else { self.keep_rest(piece, &old) };
            let moved = piece.within(&range(what.old, if old_len == 0 { u64::MAX } else { old_len.min(new_len) }));
            let moved = moved.map(|moved| Attachment {
                origin: moved.origin.wrapping_add(new.wrapping_sub(what.old)),
                // It may grow, beyond the segment's end too.
                len: match old_len {
                    0 => new_len,
                    _ if moved.range().end == old.end => moved.len + new_len.saturating_sub(old_len),
                    _ => moved.len,
                },
                ..moved
            });
            self.recount(piece.shmid, kept + moved.map_or(0, |moved| self.keep(moved)));
        });
    }
}
