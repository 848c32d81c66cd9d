//! Signals that our own writing would raise, kept from the host; and all, where a handler of the host's must not come in.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

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

/// All signals blocked for the calling thread, until dropped: a handler must not come in where a lock is held. But SIGBUS, which is ours if the
/// registry is cut short, and would end the host if it were blocked.
#[derive(Debug)]
pub struct BlockedSignals {
    before: u64,
}

impl BlockedSignals {
    /// Blocks them.
    #[inline(never)]
    pub fn block() -> BlockedSignals {
        let mut before = 0;
        set_mask(libc::SIG_BLOCK, !(1 << (libc::SIGBUS - 1)), Some(&mut before));
        BlockedSignals { before }
    }

    /// Blocks them if the host has ever set a handler.
    #[inline(never)]
    pub fn block_handlers() -> BlockedSignals {
        if HAS_HANDLERS.load(Relaxed) { BlockedSignals::block() } else { BlockedSignals { before: NOT_BLOCKED } }
    }
}

/// What no mask is: SIGKILL can't be blocked.
const NOT_BLOCKED: u64 = u64::MAX;

static HAS_HANDLERS: AtomicBool = AtomicBool::new(false);

/// The host is about to set `handler` for a signal.
#[inline]
pub fn handler_comes(handler: libc::sighandler_t) {
    if handler > libc::SIG_IGN {
        HAS_HANDLERS.store(true, Relaxed);
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
