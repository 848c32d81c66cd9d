//! Tests of `identity`.

use super::*;
use std::thread::scope;

fn block(first: u64, end: u64) -> Option<Block> {
    Some(Block { first, end, base: 0x10000 })
}

/// Ends as true if `check` holds in a child made without any fork handler.
fn in_raw_clone(check: impl FnOnce() -> bool) -> bool {
    // SAFETY: without CLONE_VM this is a fork that runs no handlers; the child makes system calls only, and ends.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as i32;
    if child == 0 {
        let holds = check();
        // SAFETY: ends the child without running the test harness's exit handlers.
        unsafe { libc::_exit(i32::from(!holds)) };
    }
    let mut status = 0;
    // SAFETY: the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

#[test]
fn a_raw_clone_goes_by_its_own_name_and_starts_to_count_anew() {
    let identity = Identity::new();
    identity.me().count_call();
    assert_eq!((identity.pid(), identity.me().tid()), (sys::getpid(), sys::gettid()));
    assert!(in_raw_clone(|| {
        identity.pid() == sys::getpid() && identity.me().tid() == sys::gettid() && identity.counts() == (0, 0)
    }));
}

#[test]
fn a_child_does_not_write_into_its_parents_block() {
    let identity = Identity::new();
    assert_eq!(identity.me().next_slots(1, 0, || block(100, 132)), Some(100));
    assert_eq!(identity.me().next_slots(2, 0, || unreachable!()), Some(101));
    assert!(in_raw_clone(|| identity.me().next_slots(1, 0, || block(200, 232)) == Some(200)));
    assert_eq!(identity.me().next_slots(1, 0, || unreachable!()), Some(103));
}

#[test]
fn what_does_not_fit_a_block_or_is_another_users_begins_a_new_one() {
    let identity = Identity::new();
    assert_eq!(identity.me().next_slots(1, 0, || block(100, 104)), Some(100));
    assert_eq!(identity.me().next_slots(3, 0, || unreachable!()), Some(101));
    assert_eq!(identity.me().next_slots(1, 0, || block(200, 232)), Some(200));
    assert_eq!(identity.me().next_slots(32, 0, || block(300, 364)), Some(300));
    assert_eq!(identity.me().next_slots(1, 7, || block(400, 464)), Some(400));
}

#[test]
fn a_slot_is_had_quickly_only_from_the_own_block_of_the_same_user() {
    let identity = Identity::new();
    let next = || identity.me().next_slot(&identity).map(|(slot, address)| (slot, address as u64));
    assert_eq!(next(), None);
    assert_eq!(identity.me().next_slots(1, identity.uid(), || block(100, 103)), Some(100));
    assert_eq!(next(), Some((101, 0x10000 + 101 * SLOT_LEN)));
    identity.forget_uid();
    assert_eq!(next(), None);
    let _ = identity.uid();
    assert!(in_raw_clone(|| next().is_none()));
    assert_eq!(next(), Some((102, 0x10000 + 102 * SLOT_LEN)));
    assert_eq!(next(), None);
}

#[test]
fn no_count_of_any_number_of_threads_is_lost() {
    let identity = Identity::new();
    scope(|scope| {
        for _ in 0..SHARDS + 20 {
            scope.spawn(|| (0..1000).for_each(|_| identity.me().count_call()));
        }
    });
    assert_eq!(identity.counts(), ((SHARDS as u64 + 20) * 1000, 0));
}
