//! AIX's words to shmget: large pages, pinned pages, addresses for the largest pages. Wishes, never reasons to fail.
//!
//! The userspace backend keeps them in the registry, with the segment. The kernel is not told: what a process has asked for when it created
//! a segment is remembered here, for it and its children, in a small table that forgets the older of two.
//!
//! No lock. Of what the table says wrongly (the kernel gives an id again) nothing comes but an attach at an aligned address.

use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use super::Backend;
use super::kernel::Kernel;
use crate::errno::Errno;
use crate::names::{SHM_ADVICE, SHM_HGSEG, SHM_LGPAGE, SHM_PIN};
use crate::sys;

/// SHM_HUGETLB with pages of this size, as a power of two: those that nearly every machine has.
const LARGE: u32 = 21;
const LARGEST: u32 = 30;
/// How often a segment is created anew because others create and remove its key in between.
const MOST_RETRIES: u32 = 100;

/// An id, and what was asked for it in the upper half.
static ASKED: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
static ANY: AtomicBool = AtomicBool::new(false);

/// True if the process has asked for something that the kernel's shmat has to be told.
pub fn is_any() -> bool {
    ANY.load(Relaxed)
}

fn place(shmid: i32) -> &'static AtomicU64 {
    &ASKED[shmid as usize % ASKED.len()]
}

/// shmget with some of [`SHM_ADVICE`] in its flags. A segment that is there is found as without.
///
/// # Errors
/// shmget's.
#[inline(never)]
pub fn shmget(kernel: &Kernel, key: i32, size: u64, flags: i32) -> Result<u64, Errno> {
    let plain = flags & !SHM_ADVICE;
    let is_private = key == libc::IPC_PRIVATE;
    if !is_private && plain & libc::IPC_CREAT == 0 {
        return kernel.shmget(key, size, plain);
    }
    let exclusive = is_private || plain & libc::IPC_EXCL != 0;
    for _ in 0..MOST_RETRIES {
        if !exclusive {
            match kernel.shmget(key, size, plain & !libc::IPC_CREAT) {
                Err(Errno::ENOENT) => {}
                other => return other,
            }
        }
        match create(kernel, key, size, plain | libc::IPC_EXCL, flags) {
            Err(Errno::EEXIST) if !exclusive => {}
            other => return other,
        }
    }
    kernel.shmget(key, size, plain)
}

fn create(kernel: &Kernel, key: i32, size: u64, plain: i32, flags: i32) -> Result<u64, Errno> {
    let mut made = Err(Errno::ENOMEM);
    // Without a reserve large pages are given out that are not to be had: touching one would be SIGBUS.
    if flags & SHM_LGPAGE != 0 && plain & (libc::SHM_HUGETLB | libc::SHM_NORESERVE) == 0 {
        made = kernel.shmget(key, size, plain | libc::SHM_HUGETLB | (LARGE as i32) << 26);
    }
    // Whatever it was: without large pages it is another matter, or the same again.
    let shmid = made.or_else(|_| kernel.shmget(key, size, plain))?;
    if flags & SHM_PIN != 0 {
        // SAFETY: takes no buffer.
        let _ = unsafe { kernel.shmctl(shmid as i32, libc::SHM_LOCK, 0) };
    }
    if flags & (SHM_LGPAGE | SHM_HGSEG) != 0 {
        place(shmid as i32).store((flags as u64 & SHM_ADVICE as u64) << 32 | shmid, SeqCst);
        ANY.store(true, SeqCst);
    }
    Ok(shmid)
}

/// shmat by the kernel, as was asked for when the segment was created.
///
/// # Errors
/// shmat's.
///
/// # Safety
/// See [`Backend`].
#[inline(never)]
pub unsafe fn shmat(kernel: &Kernel, shmid: i32, addr: u64, flags: i32) -> Result<u64, Errno> {
    let asked = place(shmid).load(SeqCst);
    // SAFETY: by the caller's promise.
    let shmat = |addr| unsafe { kernel.shmat(shmid, addr, flags) };
    if asked as u32 as i32 != shmid || asked == 0 {
        return shmat(addr);
    }
    let advice = (asked >> 32) as i32;
    let len = kernel.size(shmid).unwrap_or(0);
    // SHM_REMAP without an address is an error.
    let anywhere = addr == 0 && flags & libc::SHM_REMAP == 0;
    let wished = if anywhere { attach_aligned(advice, len, &mut |addr| shmat(addr)) } else { None };
    let address = wished.map_or_else(|| shmat(addr), Ok)?;
    // It may have been detached by another thread: the advice does no harm to what is there then.
    advise(advice & !SHM_PIN, address, len);
    Ok(address)
}

/// Attaches `len` bytes by `attach`, which gets an address where nothing was a moment ago, and fails if something is by now. `None` if there is
/// no such address, or nothing to be aligned.
pub fn attach_aligned(advice: i32, len: u64, attach: &mut dyn FnMut(u64) -> Result<u64, Errno>) -> Option<u64> {
    let largest = advice & SHM_HGSEG != 0 && sys::has_huge_pages(LARGEST);
    let sizes = [if largest { LARGEST } else { LARGE }, LARGE];
    let wanted = advice & (SHM_LGPAGE | SHM_HGSEG) != 0 && len != 0;
    // Twice: another thread may have mapped something there.
    sizes.iter().filter(|_| wanted).find_map(|log2| attach(sys::free_address(len, 1 << log2)?).ok())
}

/// Tells the kernel what is wished of an attach.
pub fn advise(advice: i32, address: u64, len: u64) {
    if advice & SHM_LGPAGE != 0 {
        sys::wish_large_pages(address, len);
    }
    if advice & SHM_PIN != 0 {
        sys::pin(address, len);
    }
}
