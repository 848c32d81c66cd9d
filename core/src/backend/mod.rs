//! Backends: who serves a call that the policy lets through.
//!
//! There is the kernel's own System V shared memory ([`kernel`]), and one in user space ([`userspace`]); [`Served`] is the one that a
//! process has; [`advice`] is what AIX's flags wish of either.

pub mod advice;
pub mod kernel;
mod served;
pub mod userspace;

pub use served::{Choice, Served};

use crate::errno::Errno;

/// The names of the backends, by the number that a record carries.
pub const NAMES: [&str; 2] = ["kernel", "userspace"];

/// What serves the calls. Results are return values, as libc gives them.
///
/// # Safety of the four calls
/// The caller passes on a host's own call: the host answers for its addresses as it does when it calls libc.
pub trait Backend {
    /// The number by which records know it, an index into [`NAMES`].
    fn number(&self) -> u8;

    /// shmget(2).
    ///
    /// # Errors
    /// shmget's.
    fn shmget(&self, key: i32, size: u64, flags: i32) -> Result<u64, Errno>;

    /// shmat(2).
    ///
    /// # Errors
    /// shmat's.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn shmat(&self, shmid: i32, addr: u64, flags: i32) -> Result<u64, Errno>;

    /// shmdt(2).
    ///
    /// # Errors
    /// shmdt's.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn shmdt(&self, addr: u64) -> Result<u64, Errno>;

    /// shmctl(2).
    ///
    /// # Errors
    /// shmctl's.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn shmctl(&self, shmid: i32, cmd: i32, buf: u64) -> Result<u64, Errno>;

    /// False if no segment has this id any more, or one of another size than `size`: ids come again, the sooner in a new namespace.
    fn exists(&self, shmid: i32, size: u64) -> bool;

    /// The ids of the segments of `size` bytes that process `pid` created, until `found` returns true.
    fn created_by(&self, pid: u32, size: u64, found: &mut dyn FnMut(i32) -> bool);

    /// How many attaches the calling process, `pid`, has, or more: what the host cut in two may count twice. `None` if that can't be seen.
    fn attached(&self, pid: u32) -> Option<u64>;
}
