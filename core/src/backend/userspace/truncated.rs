//! A registry that somebody cuts short while it is mapped: to touch what is missing is SIGBUS, which would end the host.
//!
//! So SIGBUS comes here first. If its address is the registry's, the process has lost that: zeros take its place, the call under way and all
//! that follow fail, and standard error is told once. Any other goes to what the host has set for it, which is kept here, with the flags and the
//! mask that the host has given: as if nobody had been in between. Where the host ignores it, as what it runs by exec will, or sets something by a
//! system call of its own, that wins.
//!
//! No lock, nothing allocated: sigaction may be called in signal handlers.

use core::ffi::{c_int, c_void};
use core::mem::{transmute, zeroed};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};

use libc::{SA_ONSTACK, SA_RESETHAND, SA_RESTART, SA_SIGINFO, SIG_DFL, SIG_IGN, SIGBUS, sigaction, siginfo_t};
use once_cell::race::OnceBox;

use super::life::OwnLife;
use super::registry::Registry;
use crate::errno::HostErrno;
use crate::log::Stderr;
use crate::sys;

/// sigaction(2), as the next library has it.
pub type Sigaction = unsafe extern "C" fn(c_int, *const sigaction, *mut sigaction) -> c_int;
type Handler = unsafe extern "C-unwind" fn(c_int, *mut siginfo_t, *mut c_void);

struct Guarded {
    /// Whose handler is kept here.
    process: &'static OwnLife,
    address: usize,
    len: usize,
    stderr: Stderr,
    message: String,
    is_lost: AtomicBool,
}

/// The registry of the process's one namespace.
static GUARDED: OnceBox<Guarded> = OnceBox::new();

/// A flag that glibc adds to all that are set.
const SA_RESTORER: c_int = if cfg!(target_arch = "x86_64") { 0x0400_0000 } else { 0 };

/// What the host has set: its handler, and its flags as the kernel would tell them.
static HANDLER: AtomicUsize = AtomicUsize::new(SIG_DFL);
static FLAGS: AtomicI32 = AtomicI32::new(0);

/// Guards the `registry` of `process`, the calling one, from now on to its end.
pub fn guard(registry: &'static Registry, process: &'static OwnLife) {
    let layout = registry.layout();
    let name = registry.name();
    let message = format!(
        "shmgate: namespace {name}: its registry was cut short: calls fail from now on, and what is attached stays; when nobody needs that, \
         remove the namespace with: shmgate namespace remove --force {name}\n"
    );
    let guarded = Guarded {
        process,
        address: ptr::from_ref(layout).addr(),
        len: size_of_val(layout),
        stderr: Stderr::now(),
        message,
        is_lost: AtomicBool::new(false),
    };
    if GUARDED.set(Box::new(guarded)).is_ok() {
        // SAFETY: plain C data; what is set is what was set, by way of here.
        unsafe {
            let mut host: sigaction = zeroed();
            if libc::sigaction(SIGBUS, ptr::null(), &mut host) == 0 {
                set(libc::sigaction, &host, ptr::null_mut());
                FLAGS.store(host.sa_flags, SeqCst);
            }
        }
    }
}

/// True if SIGBUS comes here first: sigaction for it is to be [`set`].
#[inline]
pub fn is_guarding() -> bool {
    GUARDED.get().is_some()
}

/// sigaction(2) for SIGBUS: notes what the host sets, and tells what it has set before. A vfork child, which has signals of its own but its parent's
/// memory, sets it past us.
///
/// # Safety
/// As for sigaction.
pub unsafe fn set(next: Sigaction, action: *const sigaction, old: *mut sigaction) -> c_int {
    let (handler, flags) = (HANDLER.load(SeqCst), FLAGS.load(SeqCst));
    // SAFETY: by the caller's promise; plain C data.
    unsafe {
        let mut before: sigaction = zeroed();
        let is_own = GUARDED.get().is_none_or(|guarded| guarded.process.is_caller());
        let ours = action.as_ref().map(|action| {
            if !is_own || action.sa_sigaction == SIG_IGN {
                return *action;
            }
            if action.sa_sigaction != own_handler() {
                FLAGS.store(action.sa_flags | SA_RESTORER, SeqCst);
                HANDLER.store(action.sa_sigaction, SeqCst);
            }
            let more = if action.sa_sigaction == SIG_DFL { SA_SIGINFO | SA_ONSTACK | SA_RESTART } else { SA_SIGINFO };
            sigaction { sa_sigaction: own_handler(), sa_flags: action.sa_flags & !SA_RESETHAND | more, ..*action }
        });
        let result = next(SIGBUS, ours.as_ref().map_or(ptr::null(), ptr::from_ref), &mut before);
        if result == 0
            && let Some(old) = old.as_mut()
        {
            *old = before;
            if before.sa_sigaction == own_handler() {
                (old.sa_sigaction, old.sa_flags) = (handler, flags);
            }
        }
        result
    }
}

fn own_handler() -> usize {
    on_sigbus as *const () as usize
}

unsafe extern "C-unwind" fn on_sigbus(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let errno = HostErrno::save();
    // SAFETY: the kernel's.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let is_fault = code > 0 && code != libc::BUS_MCEERR_AO;
    let guarded = GUARDED.get().filter(|guarded| is_fault && address.wrapping_sub(guarded.address) < guarded.len);
    if guarded.is_some_and(Guarded::lose) {
        return;
    }
    let handler = HANDLER.load(SeqCst);
    if FLAGS.load(SeqCst) & SA_RESETHAND != 0 {
        HANDLER.store(SIG_DFL, SeqCst);
    }
    // What the host's handler does from here on, unwinding and longjmp too, is its own.
    drop(errno);
    match handler {
        SIG_DFL => {
            // SAFETY: plain C data: the kernel's struct sigaction of the default is zeros. The instruction at fault is done again, and
            // what was sent is sent again: that ends the process.
            unsafe {
                let default = [0_u64; 4];
                libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), ptr::null_mut::<u8>(), 8_usize);
                if !is_fault {
                    libc::syscall(libc::SYS_rt_tgsigqueueinfo, sys::getpid(), sys::gettid(), number, info);
                }
            }
        }
        // SAFETY: the host's own handler, called as the kernel would; one that takes the number alone is not harmed by more.
        _ => unsafe { transmute::<usize, Handler>(handler)(number, info, context) },
    }
}

impl Guarded {
    /// Puts zeros in the place of all that is mapped; true if that can be done.
    fn lose(&self) -> bool {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
        // SAFETY: the registry's own range, which is made of atomics that may have any value.
        let lost = unsafe { sys::mmap(self.address, self.len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if lost.is_ok() && !self.is_lost.swap(true, SeqCst) {
            let _ = self.stderr.write(self.message.as_bytes());
        }
        lost.is_ok()
    }
}
