//! The userspace backend from several threads, and from several instances, as processes have them: what `make test-sanitize` looks at.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, Scope, ScopedJoinHandle};

use shmgate_core::backend::Backend;
use shmgate_core::backend::userspace::{Userspace, check};

const SIZE: u64 = 2 * 4096;
const THREADS: u64 = 4;
const ROUNDS: u64 = 2000;

fn private_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().expect("a directory")
}

/// A thread's calls; all its attaches are detached.
fn calls(backend: &Userspace, seed: u64) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = move |end: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % end
    };
    let mut attached = Vec::new();
    let mut buffer = [0_u64; 32];
    for _ in 0..ROUNDS {
        let key = 0x5e00_0100 + below(3) as i32;
        match below(6) {
            0..3 if attached.len() < 8 => {
                let Ok(id) = backend.shmget(key, SIZE, libc::IPC_CREAT | 0o600) else { continue };
                // SAFETY: attached where the kernel wants.
                if let Ok(address) = unsafe { backend.shmat(id as i32, 0, 0) } {
                    // SAFETY: mapped just now, as large as that, and shared: others use the word too.
                    unsafe { &*(address as *const AtomicU64) }.fetch_add(1, Relaxed);
                    attached.push(address);
                }
            }
            3 => {
                if let Ok(id) = backend.shmget(key, 0, 0) {
                    // SAFETY: the buffer is larger than a shmid_ds.
                    let _ = unsafe { backend.shmctl(id as i32, libc::IPC_STAT, buffer.as_mut_ptr() as u64) };
                }
            }
            4 => {
                if let Ok(id) = backend.shmget(key, 0, 0) {
                    // SAFETY: needs no buffer.
                    let _ = unsafe { backend.shmctl(id as i32, libc::IPC_RMID, 0) };
                }
            }
            _ => {
                if let Some(address) = attached.pop() {
                    // SAFETY: attached above, and not used any more.
                    unsafe { backend.shmdt(address) }.expect("shmdt");
                }
            }
        }
    }
    for address in attached {
        // SAFETY: as above.
        unsafe { backend.shmdt(address) }.expect("shmdt");
    }
}

/// Joins each: what a scope waits on by itself ThreadSanitizer does not see, in a std without it.
#[allow(clippy::type_complexity)]
fn all<'env>(spawn: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> Vec<ScopedJoinHandle<'scope, ()>>) {
    thread::scope(|scope| spawn(scope).into_iter().for_each(|handle| handle.join().expect("a thread")));
}

#[track_caller]
fn is_whole(dir: &std::path::Path) {
    assert_eq!(check::check(dir), Ok(Vec::new()));
    assert_eq!(check::holds(dir), Ok(Vec::new()), "all is detached");
}

#[test]
fn threads_of_a_process() {
    let dir = private_directory();
    let backend = Userspace::open(dir.path()).expect("a namespace");
    let backend = &backend;
    all(|scope| (0..THREADS).map(|seed| scope.spawn(move || calls(backend, seed))).collect());
    is_whole(dir.path());
}

/// Each has a life of its own, as a process has.
#[test]
fn instances() {
    let dir = private_directory();
    let backends: Vec<Userspace> = (0..THREADS).map(|_| Userspace::open(dir.path()).expect("a namespace")).collect();
    all(|scope| {
        let numbered = backends.iter().zip(100..);
        numbered.map(|(backend, seed)| scope.spawn(move || calls(backend, seed))).collect()
    });
    is_whole(dir.path());
}
