//! The hooks. Each turns C arguments into a [`Call`], hands it on, and turns the answer into C's; none decides anything.
//!
//! | hooked | why |
//! | --- | --- |
//! | shmget, shmat, shmdt, shmctl | they are what shmgate is about |
//! | ftok | so that a record can say which path a key came from |
//! | setuid, seteuid, setreuid, setresuid | a record has the caller's uid, and asking the kernel for each would double a call's cost; and the journal has to be opened while the process may |
//! | _Fork | it runs no fork handlers, and the child's attaches are to be counted |
//! | clone, syscall (in `clone`) | so may these make a child; and in user space syscall is a way to the four calls |
//! | mmap, mmap64, munmap, mremap (in `mappings`) | by these a host changes what it has attached in user space |
//! | sigaction, signal (in `signals`) | SIGBUS comes to the userspace backend first |
//! | dlopen (in `dlopen`) | RTLD_DEEPBIND would let a library's calls past us |
//!
//! With nothing set a hook calls the next function and returns, and that is all.

use core::ffi::{CStr, c_char, c_int, c_void};

use libc::{IPC_PRIVATE, IPC_STAT, key_t, pid_t, shmid_ds, size_t, uid_t};
use shmgate_core::call::{Call, NULL_PATH};
use shmgate_core::errno::{Errno, HostErrno};
use shmgate_core::gate::{Course, Gate};
use shmgate_core::names::SHM_ADVICE;

use crate::edge::{answer, direct, gated};
use crate::next;
use crate::process::{Way, before_fork, gate, gate_if_on, in_child, in_parent, way};

redhook::hook! {
    unsafe fn shmget(key: key_t, size: size_t, shmflg: c_int) -> c_int => gated_shmget {
        if shmflg & SHM_ADVICE != 0 {
            return advised_shmget(key, size, shmflg);
        }
        match way() {
            // SAFETY: the host's own call.
            Way::Past(functions) => unsafe { (functions.shmget)(key, size, shmflg) },
            // SAFETY: the host's own call.
            Way::Gate(gate) => unsafe { through_shmget(gate, key, size, shmflg) },
            // SAFETY: the host's own call.
            Way::Direct(gate) if key != IPC_PRIVATE => unsafe { direct_shmget(gate, key, size, shmflg) },
            // SAFETY: the host's own call.
            Way::Direct(_) | Way::First => unsafe { plain_shmget(key, size, shmflg) },
        }
    }
}

redhook::hook! {
    unsafe fn shmat(shmid: c_int, shmaddr: *const c_void, shmflg: c_int) -> *mut c_void => gated_shmat {
        match way() {
            // SAFETY: the host's own call.
            Way::Past(functions) => unsafe { (functions.shmat)(shmid, shmaddr, shmflg) },
            // SAFETY: the host's own call.
            Way::Gate(gate) => unsafe { through_shmat(gate, shmid, shmaddr, shmflg) },
            // SAFETY: the host's own call.
            Way::Direct(_) | Way::First => unsafe { plain_shmat(shmid, shmaddr, shmflg) },
        }
    }
}

redhook::hook! {
    unsafe fn shmdt(shmaddr: *const c_void) -> c_int => gated_shmdt {
        match way() {
            // SAFETY: the host's own call.
            Way::Past(functions) => unsafe { (functions.shmdt)(shmaddr) },
            // SAFETY: the host's own call.
            Way::Gate(gate) => unsafe { through_shmdt(gate, shmaddr) },
            // SAFETY: the host's own call.
            Way::Direct(_) | Way::First => unsafe { plain_shmdt(shmaddr) },
        }
    }
}

redhook::hook! {
    unsafe fn shmctl(shmid: c_int, cmd: c_int, buf: *mut shmid_ds) -> c_int => gated_shmctl {
        match way() {
            // SAFETY: the host's own call.
            Way::Past(functions) => unsafe { (functions.shmctl)(shmid, cmd, buf) },
            // SAFETY: the host's own call.
            Way::Gate(gate) => unsafe { through_shmctl(gate, shmid, cmd, buf) },
            // SAFETY: the host's own call.
            Way::Direct(gate) if cmd == IPC_STAT => unsafe { direct_stat(gate, shmid, buf) },
            // SAFETY: the host's own call.
            Way::Direct(_) | Way::First => unsafe { plain_shmctl(shmid, cmd, buf) },
        }
    }
}

/// Makes, for a hook, the function that goes through the gate, and the plain one for where nothing is set, or nothing but the userspace
/// backend. Apart from the hook, they leave it without a stack frame of its own.
macro_rules! beside {
    ($through:ident, $plain:ident, $type:ty, ($($name:ident: $of:ty),*), $call:expr) => {
        #[inline(never)]
        unsafe extern "C" fn $through(gate: &Gate, $($name: $of),*) -> $type {
            let call = move || $call;
            // SAFETY: the host's own call. A closure in a macro is one for each use: what is inlined there knows which call it is.
            unsafe { gated(gate, call, move || gate.quick(&call())) as $type }
        }

        #[cold]
        #[inline(never)]
        pub unsafe extern "C" fn $plain($($name: $of),*) -> $type {
            match gate() {
                // SAFETY: the host's own call.
                gate if gate.course() == Course::Through => unsafe { $through(gate, $($name),*) },
                // SAFETY: the host's own call.
                gate => answer(gate, &$call, || unsafe { gate.pass(&$call) }) as $type,
            }
        }
    };
}

beside!(
    through_shmget, plain_shmget, c_int, (key: key_t, size: size_t, flags: c_int),
    Call::Shmget { key, size: size as u64, flags }
);
beside!(
    through_shmat, plain_shmat, *mut c_void, (shmid: c_int, addr: *const c_void, flags: c_int),
    Call::Shmat { shmid, addr: addr as u64, flags }
);
beside!(through_shmdt, plain_shmdt, c_int, (addr: *const c_void), Call::Shmdt { addr: addr as u64 });
beside!(
    through_shmctl, plain_shmctl, c_int, (shmid: c_int, cmd: c_int, buf: *mut shmid_ds),
    Call::Shmctl { shmid, cmd, buf: buf as u64, set: None }
);

#[inline(never)]
unsafe extern "C" fn direct_shmget(gate: &Gate, key: key_t, size: size_t, flags: c_int) -> c_int {
    let quick = || gate.direct(|backend| backend.get_quickly(key, size as u64, flags));
    // SAFETY: the host's own call.
    direct(quick, || unsafe { plain_shmget(key, size, flags) })
}

#[inline(never)]
unsafe extern "C" fn direct_stat(gate: &Gate, shmid: c_int, buf: *mut shmid_ds) -> c_int {
    let quick = || gate.direct(|backend| backend.stat_quickly(shmid, buf as u64));
    // SAFETY: the host's own call.
    direct(quick, || unsafe { plain_shmctl(shmid, IPC_STAT, buf) })
}

/// shmget with AIX's wishes, which the next function is not to see.
#[cold]
#[inline(never)]
extern "C" fn advised_shmget(key: key_t, size: size_t, flags: c_int) -> c_int {
    let call = Call::Shmget { key, size: size as u64, flags };
    answer(gate(), &call, || gate().advised(&call)) as c_int
}

redhook::hook! {
    unsafe fn ftok(pathname: *const c_char, proj_id: c_int) -> key_t => gated_ftok {
        // SAFETY: the host's own call.
        let real = || unsafe { next::ftok()(pathname, proj_id) };
        let Some(gate) = gate_if_on() else {
            gate().count_passed();
            return real();
        };
        let real = || match real() {
            -1 => Err(Errno::last()),
            key => Ok(u64::from(key as u32)),
        };
        let path = |failed| match failed {
            Some(Errno::EFAULT) if pathname.is_null() => NULL_PATH,
            Some(Errno::EFAULT) => b"".as_slice(),
            // SAFETY: the kernel could read the string, and the host guarantees that it stays.
            _ => unsafe { CStr::from_ptr(pathname) }.to_bytes(),
        };
        answer(gate, &Call::Ftok { path: b"", proj: proj_id }, || gate.ftok(proj_id, &real, &path)) as key_t
    }
}

redhook::hook! {
    unsafe fn setuid(uid: uid_t) -> c_int => noted_setuid {
        // SAFETY: the host's own call.
        noting_uid(|| unsafe { next::setuid()(uid) })
    }
}

redhook::hook! {
    unsafe fn seteuid(euid: uid_t) -> c_int => noted_seteuid {
        // SAFETY: the host's own call.
        noting_uid(|| unsafe { next::seteuid()(euid) })
    }
}

redhook::hook! {
    unsafe fn setreuid(ruid: uid_t, euid: uid_t) -> c_int => noted_setreuid {
        // SAFETY: the host's own call.
        noting_uid(|| unsafe { next::setreuid()(ruid, euid) })
    }
}

redhook::hook! {
    unsafe fn setresuid(ruid: uid_t, euid: uid_t, suid: uid_t) -> c_int => noted_setresuid {
        // SAFETY: the host's own call.
        noting_uid(|| unsafe { next::setresuid()(ruid, euid, suid) })
    }
}

redhook::hook! {
    unsafe fn _Fork() -> pid_t => gated_fork {
        // SAFETY: the host's own call.
        let real = || unsafe { next::_Fork()() };
        if gate_if_on().is_none() {
            return real();
        }
        before_fork();
        let pid = real();
        if pid == 0 { in_child() } else { in_parent() }
        pid
    }
}

fn noting_uid(change: impl FnOnce() -> c_int) -> c_int {
    let gate = gate();
    let errno = HostErrno::save();
    gate.uid_changes();
    drop(errno);
    let result = change();
    gate.uid_changed();
    result
}

/// The signatures are libc's: each list holds only if both functions have one type.
const _: () = {
    let _: [unsafe extern "C" fn(key_t, size_t, c_int) -> c_int; 2] = [libc::shmget, shmget::shmget];
    let _: [unsafe extern "C" fn(c_int, *const c_void, c_int) -> *mut c_void; 2] = [libc::shmat, shmat::shmat];
    let _: [unsafe extern "C" fn(*const c_void) -> c_int; 2] = [libc::shmdt, shmdt::shmdt];
    let _: [unsafe extern "C" fn(c_int, c_int, *mut shmid_ds) -> c_int; 2] = [libc::shmctl, shmctl::shmctl];
    let _: [unsafe extern "C" fn(*const c_char, c_int) -> key_t; 2] = [libc::ftok, ftok::ftok];
    let _: [unsafe extern "C" fn(uid_t) -> c_int; 4] = [libc::setuid, setuid::setuid, libc::seteuid, seteuid::seteuid];
    let _: [unsafe extern "C" fn(uid_t, uid_t) -> c_int; 2] = [libc::setreuid, setreuid::setreuid];
    let _: [unsafe extern "C" fn(uid_t, uid_t, uid_t) -> c_int; 2] = [libc::setresuid, setresuid::setresuid];
};
