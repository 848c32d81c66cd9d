//! Fork with threads, signal handlers, vfork and its kin, SIGKILL at any moment.

use std::time::Duration;

use libtest_mimic::Trial;
use shmgate_testkit::compile::program;
use shmgate_testkit::process::readable;
use shmgate_testkit::trial::{isolated, trial};
use shmgate_testkit::{Agent, Namespace, Run, Session, Userspace, on_each_backend};

use crate::LARGE;

pub fn trials() -> Vec<Trial> {
    let mut all = on_each_backend![trial:
        threads_and_fork_together,
        calls_from_a_signal_handler,
        no_call_of_a_signal_handler_is_lost,
        signal_stack_of_8_kib_is_enough,
        pending_cancellation_waits,
        vfork_and_posix_spawn_leave_our_state_alone,
        each_kind_of_fork_has_its_own_pid,
    ];
    all.push(trial("fork_is_quick_among_many_processes (userspace)", fork_is_quick_among_many_processes));
    all.push(trial("fork_in_a_signal_handler_costs_no_descriptor (userspace)", fork_in_a_signal_handler_costs_no_descriptor));
    // It removes whatever segments it finds.
    all.push(isolated("sigkill_in_the_middle", sigkill_in_the_middle));
    all
}

/// Runs a program in all the ways that have state: journal with quotas and log, log alone.
#[track_caller]
fn in_each_way(name: &str) {
    let native = Run::new(program(name)).output().silent();
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, LARGE);
    let log = session.place().join("log");
    let deadline = Duration::from_secs(600);
    let watched = Run::new(program(name)).namespace(&namespace).session(&session).timeout(deadline);
    assert_eq!(watched.output().silent().stdout, native.stdout, "{name} with journal and quotas");
    assert!(session.records().len() > 1000, "{name}");
    let logged = Run::new(program(name)).gated().namespace(&namespace).env("SHMGATE_LOG", &log).timeout(deadline);
    assert_eq!(logged.output().silent().stdout, native.stdout, "{name} with a log");
    let passed = Run::new(program(name)).gated().namespace(&namespace).timeout(deadline);
    assert_eq!(passed.output().silent().stdout, native.stdout, "{name} with nothing set");
}

/// Asking each of them whether it lives takes 10 ms where a fork takes 0.1.
fn fork_is_quick_among_many_processes() {
    let userspace = Userspace::fresh();
    let name = program("traps/forks_among_many");
    let [native, ours] = [Run::new(&name), Run::on_userspace(&name, &userspace)].map(|run| {
        let least = run.timeout(Duration::from_secs(300)).output().silent().stdout;
        least.trim_end().parse::<u32>().unwrap_or_else(|_| panic!("{least}"))
    });
    assert!(ours < 3000.max(40 * native), "{ours} us, and without us {native}");
}

/// The handler comes into a fork, and its own child goes on there.
fn fork_in_a_signal_handler_costs_no_descriptor() {
    let userspace = Userspace::fresh();
    let run = Run::on_userspace(program("traps/fork_in_handler"), &userspace).timeout(Duration::from_secs(90));
    assert_eq!(run.output().silent().stdout, "lost: 0\nnattch 1\n");
}

fn threads_and_fork_together() {
    in_each_way("traps/threads_fork");
}

fn calls_from_a_signal_handler() {
    in_each_way("traps/signals");
}

fn no_call_of_a_signal_handler_is_lost() {
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, LARGE);
    let storm = Run::new(program("traps/signals_count")).namespace(&namespace).session(&session);
    let outcome = storm.output().silent();
    let (made, counted) = outcome.stdout.trim_end().split_once(' ').expect("two numbers");
    assert_eq!(counted, made, "counted, and made");
    assert_eq!(session.records().len().to_string(), made, "recorded, and made");
}

fn signal_stack_of_8_kib_is_enough() {
    let namespace = Namespace::of_trial();
    let native = Run::new(program("traps/small_stack")).namespace(&namespace).output().silent();
    // Refused calls need the most: they look through the books.
    for policy in [LARGE, "[quota.session]\nbytes = \"4K\"\nattaches = 0\n"] {
        let session = Session::with_policy(&namespace, policy);
        let run = Run::new(program("traps/small_stack")).namespace(&namespace).session(&session);
        let outcome = run.env("SHMGATE_LOG", session.place().join("log")).output().silent();
        assert_eq!(outcome.stdout, native.stdout, "{policy}");
        let run = Run::new(program("traps/small_stack")).namespace(&namespace).session(&session);
        let log = session.place().join("log");
        let outcome = run.env("SHMGATE_LOG", log).env("SHMGATE_CALLERS", "on").output().silent();
        assert_eq!(outcome.stdout, native.stdout, "{policy}, with callers");
    }
}

fn pending_cancellation_waits() {
    in_each_way("traps/cancel");
}

fn vfork_and_posix_spawn_leave_our_state_alone() {
    let native = Run::new(program("behaviour/nattch_vfork")).output().silent();
    let namespace = Namespace::of_trial();
    // One attach at a time: a vfork child that were counted as another process would be too much, and so would be one
    // whose end left something on the books.
    let session = Session::with_policy(&namespace, "[quota.session]\nattaches = 1\nsegments = 2\nbytes = \"8K\"\n");
    for round in 0..5 {
        let run = Run::new(program("behaviour/nattch_vfork")).namespace(&namespace).session(&session);
        assert_eq!(run.output().silent().stdout, native.stdout, "round {round}");
    }
}

fn each_kind_of_fork_has_its_own_pid() {
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, LARGE);
    let run = Run::new(program("traps/kinds_of_fork")).namespace(&namespace).session(&session).output().silent();
    let records = session.calls("shmget");
    let ids = |key: i64| -> Vec<(i64, i64)> {
        let key = format!("{key:#010x}");
        let with_key = records.iter().filter(|record| record["args"]["key"] == key.as_str());
        with_key.map(|record| (record["pid"].as_i64().unwrap_or(0), record["tid"].as_i64().unwrap_or(0))).collect()
    };
    assert_eq!(run.stdout.lines().count(), 6);
    for line in run.stdout.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let key = i64::from_str_radix(words[1].trim_start_matches("0x"), 16).expect("key");
        let (parent, child) = (words[2].parse().expect("pid"), words[3].parse().expect("pid"));
        assert_eq!(words[4], "0", "{line}");
        assert_eq!(ids(key), [(parent, parent)], "{}: the parent before", words[0]);
        // A child that shares our memory may be taken for us: its attaches are ours.
        let shares = words[0].contains("vfork");
        let its = ids(key + 1);
        assert!(its == [(child, child)] || shares && its == [(parent, parent)], "{}: the child: {its:?}", words[0]);
        assert_eq!(ids(key + 2), [(parent, parent)], "{}: the parent after", words[0]);
    }
}

fn sigkill_in_the_middle() {
    let namespace = Namespace::fresh();
    let quota = "[quota.session]\nbytes = \"1M\"\nsegments = 100\nattaches = 20\n";
    let session = Session::with_policy(&namespace, quota);
    for round in 0..30u64 {
        let (mut process, commands, answers) =
            Run::new(program("traps/churn")).namespace(&namespace).session(&session).interactive();
        let answered = readable(std::os::fd::AsRawFd::as_raw_fd(&answers), process.deadline());
        assert!(answered, "no sign of life: {}", process.stderr());
        // A moment of its own each round: any instruction is a good one to die at.
        std::thread::sleep(Duration::from_micros(round * 37));
        process.kill();
        drop((process, commands, answers));
    }
    // The journal can be read to its end, and whatever was held is given back with the segments that were left.
    assert!(session.records().len() > 30 * 20);
    let mut bare = Agent::native(&namespace);
    for shmid in leftovers(&namespace) {
        assert_eq!(bare.ask(&format!("rm {shmid}")), "0");
    }
    let mut agent = Agent::gated(&namespace, &session);
    let whole = agent.number("get 0 0x100000 0600");
    assert_eq!(agent.ask("get 0 1 0600"), "ENOSPC", "the quota is there still");
    for attach in 0..20 {
        assert_eq!(agent.number(&format!("at {whole}")), attach, "attaches of the killed are given back");
    }
    assert_eq!(agent.ask(&format!("at {whole}")), "EMFILE");
}

/// The ids of all segments in a namespace.
fn leftovers(namespace: &Namespace) -> Vec<String> {
    let list = Run::new("/bin/cat").arg("/proc/sysvipc/shm").namespace(namespace).output().silent();
    let columns = list.stdout.lines().skip(1).map(|line| line.split_whitespace().nth(1).map(str::to_owned));
    columns.map(|shmid| shmid.expect("column shmid")).collect()
}
