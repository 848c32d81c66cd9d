//! The hooks of sigaction, signal and __sysv_signal (signal's name for programs that want System V's): on the userspace backend SIGBUS comes to
//! shmgate first, since somebody may cut the registry short (core/src/backend/userspace/truncated.rs), and the host is to see nothing of it.
//!
//! For any other signal, and with nothing to guard, a hook calls the next function and returns. sigset, sigignore, siginterrupt and raw system calls are
//! not hooked: what they set for SIGBUS takes our place.

use core::ffi::c_int;
use core::mem::zeroed;

use libc::{SIG_ERR, SIGBUS, sighandler_t};
use shmgate_core::backend::userspace::truncated::{is_guarding, set};
use shmgate_core::errno;
use shmgate_core::sys::handler_comes;

use crate::next;

redhook::hook! {
    unsafe fn sigaction(number: c_int, action: *const libc::sigaction, old: *mut libc::sigaction) -> c_int => seen_sigaction {
        // SAFETY: the host's own call.
        unsafe {
            if number == SIGBUS && is_guarding() {
                return set(next::sigaction(), action, old);
            }
            if let Some(action) = action.as_ref() {
                handler_comes(number, action.sa_sigaction);
            }
            next::sigaction()(number, action, old)
        }
    }
}

redhook::hook! {
    unsafe fn signal(number: c_int, handler: sighandler_t) -> sighandler_t => seen_signal {
        // SAFETY: the host's own call.
        unsafe {
            if number == SIGBUS && is_guarding() {
                return set_handler(handler, libc::SA_RESTART, true);
            }
            handler_comes(number, handler);
            next::signal()(number, handler)
        }
    }
}

redhook::hook! {
    unsafe fn __sysv_signal(number: c_int, handler: sighandler_t) -> sighandler_t => seen_sysv_signal {
        // SAFETY: the host's own call.
        unsafe {
            if number == SIGBUS && is_guarding() {
                return set_handler(handler, libc::SA_RESETHAND | libc::SA_NODEFER, false);
            }
            handler_comes(number, handler);
            next::__sysv_signal()(number, handler)
        }
    }
}

/// signal(2) for SIGBUS, with flags that say whose semantics; blocked in its handler by its mask if `blocks`, as glibc does it.
unsafe fn set_handler(handler: sighandler_t, flags: c_int, blocks: bool) -> sighandler_t {
    if handler == SIG_ERR {
        errno::set(libc::EINVAL);
        return SIG_ERR;
    }
    // SAFETY: plain C data; the handler is the host's.
    unsafe {
        let (mut action, mut old): (libc::sigaction, libc::sigaction) = (zeroed(), zeroed());
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        if blocks {
            libc::sigaddset(&mut action.sa_mask, SIGBUS);
        }
        if set(next::sigaction(), &action, &mut old) == 0 { old.sa_sigaction } else { SIG_ERR }
    }
}
