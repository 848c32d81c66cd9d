//! A thread's own memory, reached without a function call.
//!
//! `thread_local!` in a shared library asks the dynamic linker for the address each time (8 ns of a shmget's 180, measured), which
//! for a library that came by dlopen allocates on a thread's first use: not in a signal handler, please. Memory of the
//! initial-exec kind is set aside when the thread is made, and its address is an addition. Stable Rust has no word for that
//! but assembly; where that is not written, `thread_local!` has to do.

use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

/// Words a thread has.
pub const WORDS: usize = 8;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .tbss.shmgate_thread,\"awT\",@nobits",
    ".balign 64",
    ".globl shmgate_thread",
    ".hidden shmgate_thread",
    ".type shmgate_thread,@object",
    ".size shmgate_thread,64",
    "shmgate_thread:",
    ".zero 64",
    ".popsection",
);

/// The calling thread's words: zero in a new thread, copied by fork.
#[inline]
pub fn words() -> NonNull<[u64; WORDS]> {
    #[cfg(target_arch = "x86_64")]
    {
        let address: *mut [u64; WORDS];
        // SAFETY: the x86-64 ABI has the thread pointer at fs:0, and the linker puts the symbol's distance from it into the GOT.
        unsafe {
            core::arch::asm!(
                "mov {address}, qword ptr fs:[0]",
                "add {address}, qword ptr [rip + shmgate_thread@GOTTPOFF]",
                address = out(reg) address,
                options(pure, readonly, nostack),
            );
            NonNull::new_unchecked(address)
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        thread_local! {
            // No destructor: nothing is registered for a host's thread.
            static WORDS_OF_THREAD: core::cell::UnsafeCell<[u64; WORDS]> = const { core::cell::UnsafeCell::new([0; WORDS]) };
        }
        // SAFETY: the address of a thread-local is not null.
        WORDS_OF_THREAD.with(|words| unsafe { NonNull::new_unchecked(words.get()) })
    }
}

/// Adds `amount` to a word, modulo 2^64. One instruction, for signal handlers' sake, but not a locked one (which costs 17 ns beside a
/// system call, measured): if another thread writes the word too, one of the two is lost.
#[inline]
pub fn add(word: &AtomicU64, amount: u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the word is valid for writing; an aligned word is written whole, so that others see the old or the new.
    unsafe {
        core::arch::asm!("add qword ptr [{word}], {amount}", word = in(reg) word.as_ptr(), amount = in(reg) amount, options(nostack));
    }
    #[cfg(not(target_arch = "x86_64"))]
    word.fetch_add(amount, core::sync::atomic::Ordering::SeqCst);
}

/// As [`add`], and returns what the word was.
///
/// # Safety
/// `word` is the calling thread's own.
#[inline]
pub unsafe fn fetch_add(word: *mut u64, amount: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut value = amount;
        // SAFETY: by the caller's promise; an aligned word is written whole.
        unsafe {
            core::arch::asm!("xadd qword ptr [{word}], {value}", word = in(reg) word, value = inout(reg) value, options(nostack))
        };
        value
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: by the caller's promise.
    unsafe {
        AtomicU64::from_ptr(word).fetch_add(amount, core::sync::atomic::Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_its_own_words_zeroed() {
        // SAFETY: this thread's own memory.
        unsafe { (*words().as_ptr())[7] = 42 };
        assert_eq!(words(), words());
        let other = std::thread::spawn(|| {
            // SAFETY: this thread's own memory.
            let value = unsafe { (*words().as_ptr())[7] };
            (value, words().as_ptr() as usize)
        });
        let (value, address) = other.join().unwrap();
        assert_eq!(value, 0);
        assert_ne!(address, words().as_ptr() as usize);
        // SAFETY: this thread's own memory.
        unsafe { (*words().as_ptr())[7] = 0 };
    }
}
