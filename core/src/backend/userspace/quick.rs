//! The quick way of the calls that are made most: a look-up, and IPC_STAT of a segment that nobody else has attached.
//!
//! Nothing but memory is read, and the caller's uid asked; errno is not touched. `None` means that nothing has been done, and the call takes
//! its usual way, which is also that of everything that fails.

use super::Userspace;
use super::layout::State;
use super::permission::{self, READ};
use crate::sys;

impl Userspace {
    /// shmget of a key that is there, and is not IPC_PRIVATE.
    #[inline(always)]
    pub fn get_quickly(&self, key: i32, size: u64, flags: i32) -> Option<i32> {
        if self.registry.may_force() {
            return None;
        }
        let found = self.registry.find_quickly(key).ok()??;
        self.look_up(found, key, size, flags)?.ok()
    }

    /// IPC_STAT.
    #[inline(always)]
    pub fn stat_quickly(&self, shmid: i32, buf: u64) -> Option<i32> {
        let found = self.in_slot(shmid).filter(|found| found.word.state == State::Live && !self.registry.may_force())?;
        let nattch = self.held_by_own_alone(&found)?;
        let uid = sys::writable_by(buf, size_of::<libc::shmid_ds>()).ok()?;
        if !permission::may_access_as(found.segment, found.word, READ, || uid) {
            return None;
        }
        // SAFETY: it can be written, and is shorter than a page.
        unsafe { self.describe(&found, nattch, buf) }.ok().map(|_| 0)
    }
}
