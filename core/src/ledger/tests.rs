//! The ledger against a backend of our own, which says what exists.

use core::sync::atomic::Ordering::SeqCst;
use std::collections::BTreeMap;
use std::sync::Mutex;

use super::layout::State;
use super::{Ledger, liveness};
use crate::atomic::AtomicU64;
use crate::backend::Backend;
use crate::call::Reason;
use crate::errno::Errno;
use crate::identity::Identity;
use crate::policy::{Policy, Quota};

/// Segments by id, with their creator and size.
#[derive(Default)]
struct Fake {
    number: u8,
    segments: Mutex<BTreeMap<i32, (u32, u64)>>,
    made: AtomicU64,
    /// How often somebody asked whether one exists.
    asked: AtomicU64,
}

impl Fake {
    fn create(&self, pid: u32, size: u64) -> i32 {
        let id = self.made.fetch_add(1, SeqCst) as i32;
        self.segments.lock().unwrap().insert(id, (pid, size));
        id
    }

    fn remove(&self, id: i32) {
        self.segments.lock().unwrap().remove(&id);
    }
}

impl Backend for Fake {
    fn number(&self) -> u8 {
        self.number
    }
    fn shmget(&self, _: i32, _: u64, _: i32) -> Result<u64, Errno> {
        unreachable!("the ledger makes no calls")
    }
    unsafe fn shmat(&self, _: i32, _: u64, _: i32) -> Result<u64, Errno> {
        unreachable!("the ledger makes no calls")
    }
    unsafe fn shmdt(&self, _: u64) -> Result<u64, Errno> {
        unreachable!("the ledger makes no calls")
    }
    unsafe fn shmctl(&self, _: i32, _: i32, _: u64) -> Result<u64, Errno> {
        unreachable!("the ledger makes no calls")
    }
    fn exists(&self, shmid: i32, size: u64) -> bool {
        self.asked.fetch_add(1, SeqCst);
        self.segments.lock().unwrap().get(&shmid).is_some_and(|&(_, made)| made == size)
    }
    fn created_by(&self, pid: u32, size: u64, found: &mut dyn FnMut(i32) -> bool) {
        let all = self.segments.lock().unwrap();
        let _ = all.iter().filter(|(_, segment)| **segment == (pid, size)).any(|(&id, _)| found(id));
    }
    fn attached(&self, pid: u32) -> Option<u64> {
        liveness::attached(pid)
    }
}

struct World {
    ledger: Ledger,
    identity: Identity,
    kernel: Fake,
    policy: Policy,
}

const PAGE: u64 = 4096;

impl World {
    fn new(session: Quota) -> World {
        let policy = Policy { session, ..Policy::default() };
        World { ledger: Ledger::unshared().unwrap(), identity: Identity::new(), kernel: Fake::default(), policy }
    }

    fn create(&self, pages: u64) -> Result<i32, Reason> {
        let size = pages * PAGE;
        let reserved = self.ledger.reserve_segment(&self.identity, &self.kernel, &self.policy, (0, size, pages));
        let (reservation, _) = reserved.map_err(|denial| denial.reason)?;
        let id = self.kernel.create(self.identity.pid(), size);
        self.ledger.commit(reservation.unwrap(), id);
        Ok(id)
    }
}

fn bytes(pages: u64) -> Quota {
    Quota { bytes: Some(pages * PAGE), ..Quota::default() }
}

#[test]
fn the_last_byte_is_given_and_none_beyond() {
    let world = World::new(bytes(4));
    world.create(3).unwrap();
    assert_eq!(world.create(2), Err(Reason::SessionBytes));
    world.create(1).unwrap();
    assert_eq!(world.create(1), Err(Reason::SessionBytes));
    let counters = world.ledger.session_counters(&world.kernel);
    assert_eq!((counters.bytes, counters.segments), (4 * PAGE, 2));
}

#[test]
fn a_denial_says_who_holds_what() {
    let world = World::new(bytes(4));
    world.create(3).unwrap();
    let asked = (0, 2 * PAGE, 2);
    let denial = world.ledger.reserve_segment(&world.identity, &world.kernel, &world.policy, asked).unwrap_err();
    assert_eq!((denial.asked, denial.used, denial.limit), (2 * PAGE, 3 * PAGE, 4 * PAGE));
    assert_eq!((denial.errno, denial.holder), (Errno::ENOSPC, (world.identity.pid(), 3 * PAGE)));
}

#[test]
fn what_somebody_else_removed_gives_room() {
    let world = World::new(Quota { segments: Some(2), ..Quota::default() });
    let first = world.create(1).unwrap();
    world.create(1).unwrap();
    assert_eq!(world.create(1), Err(Reason::SessionSegments));
    world.kernel.remove(first);
    world.create(1).unwrap();
}

#[test]
fn a_removed_segment_counts_until_it_is_gone() {
    let world = World::new(bytes(1));
    let id = world.create(1).unwrap();
    world.ledger.removed(id, &world.kernel);
    assert_eq!(world.create(1), Err(Reason::SessionBytes));
    world.kernel.remove(id);
    world.create(1).unwrap();
}

#[test]
fn all_are_asked_about_only_where_none_that_was_removed_gives_room() {
    let world = World::new(bytes(100));
    let ids: Vec<i32> = (0..100).map(|_| world.create(1).unwrap()).collect();
    world.kernel.remove(ids[50]);
    world.ledger.removed(ids[50], &world.kernel);
    world.create(1).unwrap();
    assert_eq!(world.kernel.asked.load(SeqCst), 1);
    world.kernel.remove(ids[60]);
    world.create(1).unwrap();
    assert_eq!(world.create(1), Err(Reason::SessionBytes));
}

#[test]
fn ids_of_the_userspace_backend_mean_the_same_in_each_ipc_namespace() {
    let mut world = World::new(bytes(1));
    world.kernel.number = 1;
    let id = world.create(1).unwrap();
    // As a process in another has the same ledger.
    world.ledger.ipc_ns += 1;
    world.kernel.remove(id);
    world.create(1).unwrap();
}

#[test]
fn a_cancelled_reservation_leaves_nothing() {
    let world = World::new(bytes(1));
    for _ in 0..3 {
        let asked = (0, PAGE, 1);
        let (reservation, _) = world.ledger.reserve_segment(&world.identity, &world.kernel, &world.policy, asked).unwrap();
        world.ledger.cancel(reservation.unwrap());
    }
    assert_eq!(world.ledger.session_counters(&world.kernel), super::Counters::default());
    world.create(1).unwrap();
}

/// A pid that no process has.
const NOBODY: u32 = 0x3fff_fff0;

#[test]
fn a_creator_killed_before_the_call_gives_its_reservation_back() {
    let world = World::new(bytes(1));
    let reservation = world.ledger.claim_segment(&world.kernel, NOBODY, 77, (0, PAGE, 1)).unwrap();
    world.ledger.layout().session.pages.add(1, None).unwrap();
    assert_eq!(world.ledger.layout().segments[reservation.slot].load().state, State::Pending);
    world.create(1).unwrap();
}

#[test]
fn a_creator_killed_after_the_call_leaves_a_segment_that_counts() {
    let world = World::new(bytes(2));
    let reservation = world.ledger.claim_segment(&world.kernel, NOBODY, 77, (0, PAGE, 1)).unwrap();
    world.ledger.layout().session.pages.add(1, None).unwrap();
    let orphan = world.kernel.create(NOBODY, PAGE);
    assert_eq!(world.create(2), Err(Reason::SessionBytes));
    assert_eq!(world.ledger.layout().segments[reservation.slot].load().state, State::Live);
    world.kernel.remove(orphan);
    world.create(2).unwrap();
}

#[test]
fn threads_race_for_the_last_byte_and_exactly_one_has_it() {
    for _ in 0..200 {
        let world = World::new(bytes(5));
        world.create(4).unwrap();
        let won = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4).map(|_| scope.spawn(|| world.create(1).is_ok())).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).filter(|&won| won).count()
        });
        assert_eq!(won, 1);
    }
}

#[test]
fn far_more_segments_than_fit_the_table_come_and_go() {
    let world = World::new(Quota::default());
    for _ in 0..super::SEGMENTS + 5000 {
        let id = world.create(1).unwrap();
        world.ledger.removed(id, &world.kernel);
        world.kernel.remove(id);
    }
}

#[test]
fn a_full_table_stops_nobody_who_has_no_quota() {
    let world = World::new(Quota::default());
    for _ in 0..super::SEGMENTS {
        world.create(1).unwrap();
    }
    let asked = (0, PAGE, 1);
    let reserve =
        |policy: &Policy| world.ledger.reserve_segment(&world.identity, &world.kernel, policy, asked).map(|r| r.0.is_none());
    assert_eq!(reserve(&world.policy), Ok(true));
    let limited = Policy { session: bytes(1 << 30), ..Policy::default() };
    assert_eq!(reserve(&limited).map_err(|denial| denial.reason), Err(Reason::LedgerFull));
}

#[test]
fn a_damaged_ledger_is_answered() {
    let world = World::new(bytes(100));
    world.create(1).unwrap();
    for (place, word) in world.ledger.layout.words().iter().enumerate().skip(2).take(20_000) {
        word.store((place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), SeqCst);
    }
    let _ = world.create(1);
    let _ = world.ledger.session_counters(&world.kernel);
    let _ = world.ledger.process_counters(&world.identity, &world.kernel);
    let _ = world.ledger.segments(&world.kernel).count();
    if let Ok((Some(attaching), _)) =
        world.ledger.reserve_attach(&world.identity, world.identity.me(), &world.kernel, &world.policy)
    {
        world.ledger.settle(&world.identity, world.identity.me(), &world.kernel, attaching, true);
    }
    if let Some(slot) = world.ledger.begin_detach(&world.identity, world.identity.me(), &world.kernel) {
        world.ledger.end_detach(&world.identity, world.identity.me(), slot, true);
    }
    world.ledger.leave(&world.identity);
}
