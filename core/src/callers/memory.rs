//! Reading memory that may not be there: a page is touched only after the kernel has said that it can be read.
//!
//! What is asked for lies close together (a stack, a table), so that one question serves many reads. An answer is good for as long as
//! a call is under way: what is on the calling thread's stack, or belongs to code on it, stays.

use crate::sys;

/// Bytes that a question is about. Where pages are larger, it is asked more often.
const PAGE: u64 = 4096;

/// A range of bytes that are known to be readable.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    from: u64,
    to: u64,
}

impl Window {
    /// The page that `address` lies in, which the caller knows to be readable.
    pub fn around(address: u64) -> Window {
        let from = address & !(PAGE - 1);
        Window { from, to: from.saturating_add(PAGE) }
    }

    /// The bytes at `at`, if they can be read.
    #[inline]
    pub fn read<const N: usize>(&mut self, at: u64) -> Option<[u8; N]> {
        let end = at.checked_add(N as u64)?;
        if at < self.from || end > self.to {
            self.move_to(at, end)?;
        }
        // SAFETY: the range is readable; bytes of any value are bytes.
        Some(unsafe { core::ptr::with_exposed_provenance::<[u8; N]>(at as usize).read_unaligned() })
    }

    /// The word at `at`, if it can be read.
    #[inline]
    pub fn word(&mut self, at: u64) -> Option<u64> {
        self.read(at).map(u64::from_le_bytes)
    }

    /// Makes the window one of readable pages that has `at..end`; keeps what it had if that is beside them.
    #[cold]
    #[inline(never)]
    fn move_to(&mut self, at: u64, end: u64) -> Option<()> {
        let (from, to) = (at & !(PAGE - 1), end.checked_next_multiple_of(PAGE)?);
        let mut page = from;
        while page < to {
            if !(self.from..self.to).contains(&page) && !sys::is_readable(page) {
                return None;
            }
            page += PAGE;
        }
        *self = if from <= self.to && to >= self.from {
            Window { from: from.min(self.from), to: to.max(self.to) }
        } else {
            Window { from, to }
        };
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_read() {
        let mut window = Window::default();
        for address in [0, 8, 4090, u64::MAX - 3, u64::MAX, 1 << 63] {
            assert_eq!(window.word(address), None, "{address:#x}");
        }
        // Where the kernel puts nothing by itself: what is gone is not at once another thread's.
        let place = core::ptr::without_provenance_mut(0x2000_0000_0000);
        // SAFETY: new pages of this test's own; the second can't be read, the third is gone.
        let pages = unsafe {
            let pages = libc::mmap(place, 3 * 4096, 3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
            libc::mprotect(pages.byte_add(4096), 4096, libc::PROT_NONE);
            libc::munmap(pages.byte_add(8192), 4096);
            pages as u64
        };
        assert_eq!(window.word(pages + 4088), Some(0));
        assert_eq!(window.word(pages + 4089), None);
        assert_eq!(window.word(pages + 4096), None);
        assert_eq!(window.word(pages + 8192), None);
        // SAFETY: the test's own.
        unsafe { libc::munmap(pages as *mut _, 8192) };
    }

    #[test]
    fn a_window_grows_along_what_is_read() {
        let bytes = vec![7_u8; 5 * 4096];
        let mut window = Window::around(bytes.as_ptr() as u64);
        for at in (0..bytes.len() - 8).step_by(8) {
            assert_eq!(window.word(bytes.as_ptr() as u64 + at as u64), Some(u64::from_le_bytes([7; 8])));
        }
        assert!(window.to - window.from >= 4 * 4096, "{window:?}");
    }
}
