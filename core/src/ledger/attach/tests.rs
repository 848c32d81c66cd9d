//! Tests of `attach`.

use super::*;
use crate::policy::Quota;

fn session(limit: u64) -> Policy {
    Policy { session: Quota { attaches: Some(limit), ..Quota::default() }, ..Policy::default() }
}

#[test]
fn a_word_holds_what_it_was_given() {
    let held = Held { attaches: 3, granted: 16, asked: 1 };
    assert_eq!(Held::from_u64(held.to_u64()), held);
}

#[test]
fn the_limit_is_reached_and_not_passed() {
    let (ledger, identity) = (Ledger::unshared().unwrap(), Identity::new());
    let policy = session(20);
    let mut taken = Vec::new();
    while let Ok((attaching, _)) = ledger.reserve_attach(&identity, identity.me(), &policy) {
        taken.extend(attaching);
    }
    assert_eq!(taken.len(), 20);
    let Err(denial) = ledger.reserve_attach(&identity, identity.me(), &policy) else { panic!("the 21st") };
    assert_eq!((denial.reason, denial.used, denial.limit), (Reason::SessionAttaches, 20, 20));
    assert_eq!(denial.holder, (identity.pid(), 20));
    ledger.settle(identity.me(), taken.pop().unwrap(), false);
    assert!(ledger.reserve_attach(&identity, identity.me(), &policy).is_ok());
    for attaching in taken {
        ledger.settle(identity.me(), attaching, true);
    }
}

#[test]
fn what_another_process_does_not_use_is_taken_back() {
    let (ledger, identity) = (Ledger::unshared().unwrap(), Identity::new());
    // A process that is alive and was granted ten, but has only one.
    let other = &ledger.layout().processes[5];
    other.pid.store(1, SeqCst);
    other.attaches.store(Held { attaches: 1, granted: 10, asked: 0 }.to_u64(), SeqCst);
    ledger.layout().processes_used.store(6, SeqCst);
    ledger.layout().session_attaches.add(10, None).unwrap();
    let policy = session(10);
    // They stay under way: nothing is attached, so that a look into the memory map would take them back.
    let made: Vec<_> = (0..10).map_while(|_| ledger.reserve_attach(&identity, identity.me(), &policy).ok()).collect();
    assert_eq!(made.len(), 9);
}
