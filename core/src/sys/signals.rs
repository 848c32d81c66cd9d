//! Signals that our own writing would raise, kept from the host; and all, where a handler of the host's must not come in.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Keeps SIGPIPE and SIGXFSZ, which writing can raise and which kill by default, from a host that did not ask for our writing.
pub struct HeldSignals {
    before: libc::sigset_t,
    pending: libc::sigset_t,
}

impl HeldSignals {
    const SIGNALS: [i32; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

    fn set() -> libc::sigset_t {
        let mut set = core::mem::MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set; the signals are valid.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in Self::SIGNALS {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            set.assume_init()
        }
    }

    /// Holds them until it is dropped.
    pub fn hold() -> HeldSignals {
        let mut held = HeldSignals { before: Self::set(), pending: Self::set() };
        // SAFETY: all sets live on this stack; the mask is put back by Drop.
        unsafe {
            libc::sigpending(&mut held.pending);
            libc::pthread_sigmask(libc::SIG_BLOCK, &Self::set(), &mut held.before);
        }
        held
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        let errno = crate::errno::get();
        let mut now = Self::set();
        // SAFETY: all sets live on this stack.
        unsafe {
            libc::sigpending(&mut now);
            for signal in Self::SIGNALS {
                // Ours only if it was not pending before: the host's own stay.
                if libc::sigismember(&now, signal) == 1 && libc::sigismember(&self.pending, signal) == 0 {
                    let mut one = core::mem::MaybeUninit::uninit();
                    libc::sigemptyset(one.as_mut_ptr());
                    libc::sigaddset(one.as_mut_ptr(), signal);
                    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                    libc::syscall(
                        libc::SYS_rt_sigtimedwait,
                        one.as_ptr(),
                        core::ptr::null_mut::<u8>(),
                        &raw const zero,
                        8_usize,
                    );
                }
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, core::ptr::null_mut());
        }
        crate::errno::set(errno);
    }
}

/// Signals blocked for the calling thread, until dropped: a handler must not come in where a lock is held, or in the middle of a call. But none
/// of those by which the kernel answers an instruction or a system call: a SIGBUS is ours if the registry is cut short, a sandbox may make
/// the calls by SIGSYS, and where they are blocked they end the host.
#[derive(Debug)]
pub struct BlockedSignals {
    before: u64,
}

impl BlockedSignals {
    /// Blocks all.
    pub fn block() -> BlockedSignals {
        BlockedSignals::of(!ANSWERS)
    }

    /// Blocks those for which the host has ever set a handler. What ends the host, as by Ctrl-C, does so in a call that waits, too.
    pub fn block_handled() -> BlockedSignals {
        BlockedSignals::of(HANDLED.load(Relaxed))
    }

    #[inline(never)]
    fn of(signals: u64) -> BlockedSignals {
        let mut before = NOT_BLOCKED;
        if signals != 0 {
            set_mask(libc::SIG_BLOCK, signals, Some(&mut before));
        }
        BlockedSignals { before }
    }
}

/// What no mask is: SIGKILL can't be blocked.
const NOT_BLOCKED: u64 = u64::MAX;

const fn bit(signal: i32) -> u64 {
    1 << (signal as u32 - 1)
}

const ANSWERS: u64 =
    bit(libc::SIGBUS) | bit(libc::SIGSEGV) | bit(libc::SIGILL) | bit(libc::SIGFPE) | bit(libc::SIGTRAP) | bit(libc::SIGSYS);

static HANDLED: AtomicU64 = AtomicU64::new(0);

/// The host is about to set `handler` for a signal.
pub fn handler_comes(signal: i32, handler: libc::sighandler_t) {
    if handler > libc::SIG_IGN && (1..=64).contains(&signal) {
        HANDLED.fetch_or(bit(signal) & !ANSWERS, Relaxed);
    }
}

impl Drop for BlockedSignals {
    #[inline(never)]
    fn drop(&mut self) {
        if self.before != NOT_BLOCKED {
            set_mask(libc::SIG_SETMASK, self.before, None);
        }
    }
}

/// rt_sigprocmask itself: libc's keeps some signals of its own unblocked.
fn set_mask(how: i32, mask: u64, before: Option<&mut u64>) {
    let before = before.map_or(core::ptr::null_mut(), core::ptr::from_mut);
    // SAFETY: the kernel's signal set has 64 bits; both outlive the call.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const mask, before, 8_usize) };
}
