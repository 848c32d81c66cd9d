//! Attaches and takings back in every order of their steps: see [`crate::model`].

use core::sync::atomic::AtomicU64 as Count;

use super::*;
use crate::model::explore;
use crate::policy::Quota;

/// Two processes of a session, each with a thread.
struct Two {
    ledger: Ledger,
    policy: Policy,
    /// Of both: to it there is one thread.
    identity: Identity,
    held: Count,
}

impl Two {
    /// With what each was granted, of the session's `limit`.
    fn new(limit: u64, granted: [u64; 2]) -> Two {
        let ledger = Ledger::unshared().unwrap();
        ledger.unfenced.store(true, SeqCst);
        let identity = Identity::new();
        let layout = ledger.layout();
        for (slot, granted) in layout.processes.iter().zip(granted) {
            slot.process.store(identity.pid().into(), SeqCst);
            slot.grant.store(Grant { granted, unfenced: true, ..Grant::default() }.to_u64(), SeqCst);
            layout.session_attaches.add(granted, None).unwrap();
        }
        layout.processes_used.store(2, SeqCst);
        let policy = Policy { session: Quota { attaches: Some(limit), ..Quota::default() }, ..Policy::default() };
        Two { ledger, policy, identity, held: Count::new(0) }
    }

    /// As [`Two::new`], where no thread goes without fences: so that a process may have several here.
    fn fenced(limit: u64, granted: [u64; 2]) -> Two {
        let two = Two::new(limit, granted);
        two.ledger.unfenced.store(false, SeqCst);
        two
    }

    /// Takes back what the first process does not use.
    fn take_back(&self) {
        self.ledger.take_back(&self.identity, self.ledger.layout().processes[..1].iter());
    }

    /// Attaches as process `at` does, which makes the books right before it is refused.
    fn attach(&self, at: usize) -> bool {
        let (ledger, identity) = (&self.ledger, &self.identity);
        let me = identity.me();
        let slot = &ledger.layout().processes[at];
        let attached = ledger.take_attach(identity, me, slot, &self.policy).is_ok()
            || ledger.take_patiently(identity, me, slot, &self.policy).is_ok();
        if attached {
            self.held.fetch_add(1, SeqCst);
        }
        attached
    }

    fn detach(&self, at: usize) {
        let me = self.identity.me();
        self.held.fetch_sub(1, SeqCst);
        self.ledger.give_back(&self.identity, me, &self.ledger.layout().processes[at]);
    }

    /// What is in use is counted, and no more than the limit.
    fn is_right(&self, limit: u64) {
        let held = self.held.load(SeqCst);
        let slots = &self.ledger.layout().processes[..2];
        assert_eq!(slots.iter().map(ProcessSlot::attaches).sum::<u64>(), held);
        assert!(held <= limit, "{held} of {limit}");
        let total = || self.ledger.layout().session_attaches.get();
        assert!(held <= total(), "{held} attached, {} counted", total());
        // All is at rest: no need of a fence, which takes its time.
        slots.iter().for_each(|slot| _ = Grant::change(slot, |grant| Grant { unfenced: false, ..grant }));
        self.ledger.recount_attaches(&self.identity);
        assert_eq!(total(), held, "what is not used is given back");
        for slot in slots {
            let grant = Grant::load(slot);
            assert!(grant.granted + grant.taking >= slot.attaches(), "{grant:?}, {} attached", slot.attaches());
        }
    }
}

fn each(limit: u64, granted: [u64; 2], interruptions: usize, first: fn(&Two), second: fn(&Two)) {
    if !sys::can_fence() {
        eprintln!("skipped: membarrier is not to be had here");
        return;
    }
    let runs = explore(
        interruptions,
        || Two::new(limit, granted),
        &[&first, &second],
        |two| {
            two.is_right(limit);
        },
    );
    println!("{runs} orders");
}

#[test]
fn the_last_attach_goes_to_one_process() {
    for granted in [[1, 0], [0, 0]] {
        each(1, granted, 2, |two| _ = two.attach(0), |two| _ = two.attach(1));
    }
}

#[test]
fn the_last_attach_goes_to_somebody() {
    if !sys::can_fence() {
        return;
    }
    for granted in [[1, 0], [0, 0]] {
        let runs = explore(
            3,
            || Two::fenced(1, granted),
            &[&|two: &Two| _ = two.attach(0), &|two: &Two| _ = two.attach(1)],
            |two| assert_eq!(two.held.load(SeqCst), 1),
        );
        println!("{runs} orders");
    }
}

#[test]
fn a_process_that_comes_and_goes_keeps_what_it_has() {
    let comes_and_goes = |two: &Two| {
        if two.attach(0) {
            two.detach(0);
        }
        two.attach(0);
    };
    each(2, [2, 0], 2, comes_and_goes, |two| _ = two.attach(1));
}

#[test]
fn two_take_back_from_a_third() {
    if !sys::can_fence() {
        return;
    }
    let comes_and_goes = |two: &Two| {
        if two.attach(0) && two.attach(0) {
            two.detach(0);
        }
    };
    let runs = explore(
        2,
        || Two::new(3, [3, 0]),
        &[&comes_and_goes, &Two::take_back, &Two::take_back],
        |two| {
            assert!(Grant::load(&two.ledger.layout().processes[0]).counted() <= 3);
            two.is_right(3);
        },
    );
    println!("{runs} orders");
}

/// What threads ask for is in the number until they are refused.
#[test]
fn threads_that_ask_are_not_granted_more_than_was_taken_back() {
    let ask = |two: &Two| {
        let slot = &two.ledger.layout().processes[0];
        if two.ledger.take(&two.identity, two.identity.me(), slot, &two.policy) {
            two.held.fetch_add(1, SeqCst);
        }
    };
    let runs = explore(
        3,
        || Two::fenced(1, [1, 0]),
        &[&ask, &ask, &Two::take_back],
        |two| {
            assert!(Grant::load(&two.ledger.layout().processes[0]).counted() <= 1);
            two.is_right(1);
        },
    );
    println!("{runs} orders");
}
