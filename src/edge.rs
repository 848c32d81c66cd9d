//! A hook's way in and out: the call goes through the gate, the outcome becomes a C return and errno, and a panic becomes a refusal.
//!
//! redhook would answer a panic by calling the real function, past every limit: nothing is left to it to catch.

use core::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use shmgate_core::call::Call;
use shmgate_core::errno::{Errno, HostErrno};
use shmgate_core::gate::Gate;

/// Passes a shared memory call through the gate: the quick way, which is `quick`, or else the long one. Returns what C gets, and sets
/// errno if it fails.
///
/// # Safety
/// The call is the host's own, with its own addresses.
#[inline(always)]
pub unsafe fn gated<'a>(gate: &Gate, call: impl Fn() -> Call<'a>, quick: impl FnOnce() -> Option<i64>) -> i64 {
    match catch_unwind(AssertUnwindSafe(quick)) {
        Ok(Some(value)) => value,
        // SAFETY: by the caller's promise.
        Ok(None) => unsafe { considered(gate, &call()) },
        Err(_) => answer(gate, &call(), || failed(gate, &call())),
    }
}

/// Makes a call the quick way, or else the plain one, which also answers for a panic.
#[inline(always)]
pub fn direct(quick: impl FnOnce() -> Option<c_int>, plain: impl FnOnce() -> c_int) -> c_int {
    match catch_unwind(AssertUnwindSafe(quick)) {
        Ok(Some(value)) => value,
        _ => plain(),
    }
}

#[cold]
#[inline(never)]
unsafe fn considered(gate: &Gate, call: &Call<'_>) -> i64 {
    // SAFETY: by the caller's promise.
    answer(gate, call, || unsafe { gate.call(call) })
}

/// Runs `make`, which passes `call` through the gate; returns what C gets, and sets errno if it fails.
pub fn answer(gate: &Gate, call: &Call<'_>, make: impl FnOnce() -> Result<u64, Errno>) -> i64 {
    let mut errno = HostErrno::save();
    // The gate's shared state is made of atomics: a panic leaves nothing half done that a lock would guard.
    let result = catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|_| failed(gate, call));
    match result {
        Ok(value) => value as i64,
        Err(code) => {
            errno.fail(code);
            -1
        }
    }
}

/// Refuses a call in which shmgate panicked: letting it through could break a limit.
#[cold]
fn failed(gate: &Gate, call: &Call<'_>) -> Result<u64, Errno> {
    static SAID: AtomicBool = AtomicBool::new(false);
    let recorded = catch_unwind(AssertUnwindSafe(|| {
        if !SAID.swap(true, Ordering::Relaxed) {
            gate.log().say(b"internal error; the call is refused with EPERM, please report it");
        }
        gate.failed(call)
    }));
    recorded.unwrap_or(Err(Errno::EPERM))
}
