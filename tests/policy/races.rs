//! Threads and processes that race for the last of something: exactly as many succeed as there is room, each time.

use std::time::Duration;

use libtest_mimic::Trial;
use shmgate_testkit::compile::program;
use shmgate_testkit::{Namespace, Run, Session, on_each_backend, trials};

pub fn trials() -> Vec<Trial> {
    let mut all = on_each_backend![trial:
        processes_race_for_bytes,
        threads_race_for_bytes,
        both_race_for_segments,
        both_race_for_attaches,
        threads_race_for_their_process_quota,
        forks_amid_attaches_and_detaches,
    ];
    // Its segment is made past the gate.
    all.extend(trials![first_calls_of_threads_race_for_attaches]);
    all
}

const ROUNDS: usize = 200;

/// Each round of the race must have `room` winners.
#[track_caller]
fn race(kind: &str, processes: usize, threads: usize, policy: &str, room: usize) {
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, policy);
    let contest = [kind.to_owned(), processes.to_string(), threads.to_string(), ROUNDS.to_string()];
    let run = Run::new(program("race")).args(contest).namespace(&namespace).session(&session);
    let outcome = run.timeout(Duration::from_secs(120)).output().silent();
    let rounds: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(rounds.len(), ROUNDS, "{}", outcome.stdout);
    let expected = room.to_string();
    let wrong: Vec<_> = rounds.iter().enumerate().filter(|(_, won)| **won != expected).collect();
    assert!(wrong.is_empty(), "room for {room}, but in these rounds: {wrong:?}");
}

fn processes_race_for_bytes() {
    race("get", 12, 1, "[quota.session]\nbytes = \"20K\"\n", 5);
}

fn threads_race_for_bytes() {
    race("get", 1, 12, "[quota.session]\nbytes = \"20K\"\n", 5);
}

fn both_race_for_segments() {
    race("get", 4, 4, "[quota.session]\nsegments = 7\n", 7);
}

fn both_race_for_attaches() {
    race("at", 4, 4, "[quota.session]\nattaches = 6\n", 6);
}

fn threads_race_for_their_process_quota() {
    race("get", 3, 5, "[quota.process]\nsegments = 2\n", 6);
}

/// A child of a handler's fork that goes on with its parent's shmat or shmdt counts, or not, for itself.
fn forks_amid_attaches_and_detaches() {
    let namespace = Namespace::of_trial();
    for whose in ["process", "session"] {
        let session = Session::with_policy(&namespace, &format!("[quota.{whose}]\nattaches = 40\n"));
        let outcome = Run::new(program("fork_amid")).arg("40").namespace(&namespace).session(&session).output().silent();
        assert_eq!(outcome.stdout, "40\n", "{whose}");
    }
}

fn first_calls_of_threads_race_for_attaches() {
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, "[quota.process]\nattaches = 4\n");
    for round in 0..ROUNDS {
        let outcome = Run::new(program("traps/first_calls")).namespace(&namespace).session(&session).output().silent();
        assert_eq!(outcome.stdout, "4\n", "round {round}");
    }
}
