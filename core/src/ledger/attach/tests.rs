//! Tests of `attach`.

use core::sync::atomic::{AtomicBool, AtomicU64};

use super::*;
use crate::backend::kernel::{Functions, Kernel};
use crate::policy::Quota;

const KERNEL: Kernel = Kernel(Functions::SYSTEM_CALLS);

fn session(limit: u64) -> Policy {
    Policy { session: Quota { attaches: Some(limit), ..Quota::default() }, ..Policy::default() }
}

#[test]
fn a_word_holds_what_it_was_given() {
    let grant = Grant { granted: 16, asked: 1, taking: 5, version: 9, unfenced: true };
    assert_eq!(Grant::from_u64(grant.to_u64()), grant);
}

#[test]
fn the_limit_is_reached_and_not_passed() {
    let (ledger, identity) = (Ledger::unshared().unwrap(), Identity::new());
    let policy = session(20);
    let mut taken = Vec::new();
    while let Ok((attaching, _)) = ledger.reserve_attach(&identity, identity.me(), &KERNEL, &policy) {
        taken.extend(attaching);
    }
    assert_eq!(taken.len(), 20);
    let Err(denial) = ledger.reserve_attach(&identity, identity.me(), &KERNEL, &policy) else { panic!("the 21st") };
    assert_eq!((denial.reason, denial.used, denial.limit), (Reason::SessionAttaches, 20, 20));
    assert_eq!(denial.holder, (identity.pid(), 20));
    ledger.settle(&identity, identity.me(), &KERNEL, taken.pop().unwrap(), false);
    assert!(ledger.reserve_attach(&identity, identity.me(), &KERNEL, &policy).is_ok());
    for attaching in taken {
        ledger.settle(&identity, identity.me(), &KERNEL, attaching, true);
    }
}

#[test]
fn what_another_process_does_not_use_is_taken_back() {
    let (ledger, identity) = (Ledger::unshared().unwrap(), Identity::new());
    // A process that is alive and was granted ten, but has only one.
    let other = &ledger.layout().processes[5];
    other.process.store(1, SeqCst);
    other.rest.store(1, SeqCst);
    other.grant.store(Grant { granted: 10, ..Grant::default() }.to_u64(), SeqCst);
    ledger.layout().processes_used.store(6, SeqCst);
    ledger.layout().session_attaches.add(10, None).unwrap();
    let policy = session(10);
    // They stay under way: nothing is attached, so that a look into the memory map would take them back.
    let made: Vec<_> = (0..10).map_while(|_| ledger.reserve_attach(&identity, identity.me(), &KERNEL, &policy).ok()).collect();
    assert_eq!(made.len(), 9);
}

/// A process that attaches and detaches with its first thread, against somebody who takes back what it does not use.
#[test]
fn an_unfenced_attach_and_a_taking_back_see_each_other() {
    if !sys::prepare_fences() {
        eprintln!("skipped: membarrier is not to be had here");
        return;
    }
    let (ledger, identity, policy) = (Ledger::unshared().unwrap(), Identity::new(), Policy::default());
    let (made, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    let (known, is_known) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let me = identity.me();
            let (at, slot) = ledger.mine(&identity, &KERNEL).unwrap();
            assert!(identity.is_first(me) && identity.is_alone() && ledger.unfenced.load(SeqCst));
            known.send(at).unwrap();
            while !ends.load(Relaxed) {
                if ledger.take(&identity, me, slot, &policy) {
                    crate::thread::add(&made, 1);
                    ledger.count(&identity, me, slot, MINUS_ONE);
                }
            }
        });
        let slot = &ledger.layout().processes[is_known.recv().unwrap()];
        let (mut refused, mut got_by) = (0, 0);
        while refused < 10_000 || made.load(SeqCst) == 0 {
            Grant::change(slot, |grant| Grant { granted: 1, ..grant });
            ledger.take_back(&identity, [slot].into_iter());
            if Grant::load(slot).granted == 0 {
                // What it is refused now, it does not get by.
                let before = made.load(SeqCst);
                (0..20).for_each(|_| core::hint::spin_loop());
                got_by += made.load(SeqCst) - before;
                refused += 1;
            }
        }
        ends.store(true, Relaxed);
        assert_eq!(got_by, 0, "of {} in {refused} times", made.load(SeqCst));
    });
}

/// The first thread and a second one race for the process's last attach.
#[test]
fn a_second_thread_is_seen_by_the_first() {
    let policy = Policy { process: Quota { attaches: Some(1), ..Quota::default() }, ..Policy::default() };
    for _ in 0..2_000 {
        let (ledger, identity) = (Ledger::unshared().unwrap(), Identity::new());
        let (held, most, ends) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let (known, is_known) = std::sync::mpsc::channel();
        let attach = |me: Me<'_>, slot: &ProcessSlot| {
            if ledger.take(&identity, me, slot, &policy) {
                most.fetch_max(held.fetch_add(1, Relaxed) + 1, Relaxed);
                held.fetch_sub(1, Relaxed);
                ledger.count(&identity, me, slot, MINUS_ONE);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let me = identity.me();
                let (at, slot) = ledger.mine(&identity, &KERNEL).unwrap();
                Grant::change(slot, |grant| Grant { granted: 16, ..grant });
                known.send(at).unwrap();
                while !ends.load(Relaxed) {
                    attach(me, slot);
                }
            });
            let slot = &ledger.layout().processes[is_known.recv().unwrap()];
            let me = identity.me();
            (0..50).for_each(|_| attach(me, slot));
            ends.store(true, Relaxed);
        });
        assert_eq!(most.load(Relaxed), 1);
    }
}
