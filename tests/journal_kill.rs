//! The journal under SIGKILL, on each backend: no record of a finished call is lost, none is torn.
//!
//! 8 processes make 100,000 calls each; three of them go on until they are killed. Each counts its finished calls where the
//! kill cannot reach.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use shmgate_testkit::compile::program;
use shmgate_testkit::{Namespace, Run, Session, on_each_backend, run_trials};

const PROCESSES: usize = 8;
const CALLS: u64 = 100_000;
const KILLED: usize = 3;

fn main() -> ExitCode {
    run_trials(on_each_backend![trial: no_record_lost_none_torn])
}

fn no_record_lost_none_torn() {
    let namespace = Namespace::of_trial();
    let session = Session::watching(&namespace);
    let outcome = Run::new(program("hammer"))
        .args([PROCESSES.to_string(), CALLS.to_string(), KILLED.to_string()])
        .namespace(&namespace)
        .session(&session)
        .timeout(Duration::from_secs(120))
        .output()
        .silent();

    // The reader says when something is damaged, and each line must parse.
    let mut recorded: HashMap<i64, u64> = HashMap::new();
    let mut shmid = None;
    session.each_record(|record| {
        if record["call"] == "shmget" {
            assert_eq!(record["verdict"], "allowed", "{record}");
            assert_eq!(record["args"]["key"], "0x5e000040", "{record}");
            assert_eq!(*shmid.get_or_insert(record["result"].clone()), record["result"], "{record}");
            *recorded.entry(record["pid"].as_i64().expect("pid")).or_default() += 1;
        }
    });

    let mut killed = 0;
    for line in outcome.stdout.lines() {
        let mut words = line.split(' ');
        let mut number = || words.next().and_then(|word| word.parse::<i64>().ok()).expect("pid and count");
        let (pid, counted) = (number(), number() as u64);
        let found = recorded.get(&pid).copied().unwrap_or(0);
        match words.next() {
            Some("ended") => assert_eq!((counted, found), (CALLS, CALLS), "process {pid}"),
            Some("killed") => {
                killed += 1;
                assert!((counted..=counted + 1).contains(&found), "process {pid}: {counted} calls, {found} records");
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!(killed, KILLED);
    assert_eq!(recorded.len(), PROCESSES + 1, "the processes and their parent");
}
