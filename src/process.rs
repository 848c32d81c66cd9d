//! The process's one gate, and what happens at the start, at forks and at the end.
//!
//! The gate is made by whoever comes first: our constructor, or a hook that another library's constructor or a signal handler
//! reached before it. Making one twice is harmless, the first one stays; nobody waits for anybody.

use core::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use once_cell::race::OnceBox;
use shmgate_core::backend::kernel::{Functions, Kernel};
use shmgate_core::backend::userspace::Userspace;
use shmgate_core::errno::HostErrno;
use shmgate_core::gate::{Course, Gate};

use crate::{clone, dlopen, next, proc_files};

static GATE: OnceBox<Gate> = OnceBox::new();

/// The gate.
pub fn gate() -> &'static Gate {
    GATE.get().unwrap_or_else(|| first())
}

/// The gate, if there is one yet.
#[inline]
pub fn made_gate() -> Option<&'static Gate> {
    GATE.get()
}

/// Where a call goes.
pub enum Way {
    /// Through the gate.
    Gate(&'static Gate),
    /// Nothing is set and the call is counted: straight on.
    Past(&'static Functions),
    /// Straight to the userspace backend: nothing else is set.
    Direct(&'static Gate),
    /// Nothing is set, and it is a thread's first, or there is no gate yet, which tells.
    First,
}

/// Finds out where a call goes. There is no function call in it: a hook that jumps straight on needs no stack.
#[inline(always)]
pub fn way() -> Way {
    let Some(gate) = GATE.get() else { return Way::First };
    if gate.is_on() {
        return if gate.course() == Course::Direct { Way::Direct(gate) } else { Way::Gate(gate) };
    }
    if gate.count_passed_quickly() { Way::Past(&gate.backend().kernel().0) } else { Way::First }
}

/// The userspace backend, if the calling process has something attached in it. Makes no gate: without one nothing is attached.
#[inline(always)]
pub fn attached() -> Option<&'static Userspace> {
    GATE.get()?.backend().userspace().filter(|userspace| userspace.has_attached())
}

/// The gate if anything is set.
#[cold]
#[inline(never)]
pub extern "C" fn gate_if_on() -> Option<&'static Gate> {
    let gate = gate();
    if gate.is_on() {
        return Some(gate);
    }
    None
}

/// The gate, made if need be. As an `extern "C"` function it can't unwind: so the compiler knows that nothing on the way of a call
/// that goes straight on can, and leaves redhook's catching of panics out there.
#[cold]
#[inline(never)]
extern "C" fn first() -> &'static Gate {
    GATE.get_or_init(make)
}

fn make() -> Box<Gate> {
    quiet_panics();
    let kernel = Kernel(next::functions());
    let make = || {
        #[cfg(feature = "test-panic")]
        panic_for_a_test(c"start");
        Gate::from_environment(kernel)
    };
    Box::new(catch_unwind(make).unwrap_or_else(|_| Gate::refusing(kernel)))
}

/// Nothing of ours is printed when we panic: the edge says what there is to say. Rust code of the host has a std of its own.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Runs `work` between the host's calls: errno stays, and a panic ends here.
fn guarded(place: &CStr, work: impl FnOnce()) {
    let _errno = HostErrno::save();
    let _ = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(feature = "test-panic")]
        panic_for_a_test(place);
        let _ = place;
        work();
    }));
}

/// Panics where `SHMGATE_TEST_PANIC` names this place.
#[cfg(feature = "test-panic")]
pub fn panic_for_a_test(place: &CStr) {
    if shmgate_core::sys::environment(c"SHMGATE_TEST_PANIC") == Some(place) {
        panic!("asked for by SHMGATE_TEST_PANIC");
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    guarded(c"constructor", || {
        // All of them now: later the dynamic linker's lock may be held by a thread that a fork left behind.
        next::find_all();
        clone::prepare();
        proc_files::find_all();
        dlopen::prepare(gate().drops_deepbind());
        // SAFETY: the handlers only touch the gate, which lives as long as the process; the library is never unloaded (-z nodelete).
        unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
    });
}

pub extern "C" fn before_fork() {
    guarded(c"prepare", || gate().fork_begins());
}

pub extern "C" fn in_parent() {
    guarded(c"parent", || gate().fork_ended());
}

/// fork returns in the child: it has its parent's attaches, under another pid.
pub extern "C" fn in_child() {
    guarded(c"fork", || gate().forked());
}

#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = destructor;

extern "C" fn destructor() {
    guarded(c"destructor", || {
        if let Some(gate) = GATE.get() {
            gate.leave();
        }
    });
}
