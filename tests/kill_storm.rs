//! The userspace backend's books when processes are killed and stopped: at random moments, and at every instruction.
//!
//! The C program `storm` has many processes on one namespace, kills them, and compares what the calls say with what is there. 2,000 kills, or:
//! `SHMGATE_KILLS=N`: that many · `SHMGATE_SEED=n`: with the random numbers of that run; when a kill falls is the machine's doing.
//!
//! The C program `steps` leads a child through a call by ptrace, one instruction at a time. It is left stopped at each, while others call; and
//! killed at 40 of them, or: `SHMGATE_STEPS=N`: at that many · `SHMGATE_STEPS=0`: at each, of calls that have less than 20,000.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::Trial;
use shmgate_testkit::compile::program;
use shmgate_testkit::trial::trial;
use shmgate_testkit::{Outcome, Run, Status, Userspace, command, run_trials};

/// Kills on one namespace.
const CHUNK: u64 = 1000;

/// Segments in a namespace: so few that the limit is reached, which is where the books are made anew.
const SEGMENTS: &str = "160";

/// The calls that `steps` knows.
const CALLS: [&str; 14] = [
    "create",
    "attach",
    "attach-again",
    "attach-beyond-12",
    "detach",
    "detach-last",
    "detach-forced",
    "set",
    "remove",
    "remove-attached",
    "fork",
    "exit",
    "bury",
    "create-after-death",
];

/// A machine that wakes a sleeper later than this does not tell whose fault a late call is.
const MOST_DELAY: Duration = Duration::from_millis(20);

/// What `storm` ends with when all is right, but too many calls were late.
const LATE: Status = Status::Exited(5);

fn main() -> ExitCode {
    let kills = number("SHMGATE_KILLS").unwrap_or(2000);
    let seed = number("SHMGATE_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| u64::from(time.subsec_micros())));
    let storms = (0..kills).step_by(CHUNK as usize).map(|first| {
        let (seed, count) = (seed + first / CHUNK, CHUNK.min(kills - first));
        trial(format!("storm of {count} kills (seed {seed})"), move || storm(seed, count))
    });
    let samples = number("SHMGATE_STEPS").unwrap_or(40);
    let steps =
        CALLS.map(|call| trial(format!("stopped and killed in {call} (seed {seed})"), move || steps(call, seed, samples)));
    run_trials(steps.into_iter().chain(storms).collect::<Vec<Trial>>())
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn storm(seed: u64, kills: u64) {
    let play = || {
        let namespace = Userspace::fresh();
        limit(namespace.directory(), SEGMENTS);
        run("storm", &namespace, [seed.to_string(), kills.to_string()], Duration::from_secs(60 + kills / 5))
    };
    let (mut outcome, mut delay) = with_delay(play);
    if outcome.status == LATE {
        // Perhaps the machine was.
        (outcome, delay) = with_delay(play);
    }
    if outcome.status == LATE && delay > MOST_DELAY {
        eprintln!("note: on this machine a sleep took {} ms too long: late calls say nothing", delay.as_millis());
        return;
    }
    let again = format!("SHMGATE_SEED={seed} SHMGATE_KILLS={kills} cargo test --release --test kill_storm");
    assert_eq!(outcome.status, Status::Exited(0), "seed {seed}; replay: {again}\n{outcome}");
    assert_eq!(outcome.stderr, "", "seed {seed}; replay: {again}");
}

/// What `act` gives, and by how much somebody who slept meanwhile was woken too late at worst.
fn with_delay<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    const NAP: Duration = Duration::from_millis(1);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !ends.load(Relaxed) {
                let begun = Instant::now();
                thread::sleep(NAP);
                longest = longest.max(begun.elapsed() - NAP);
            }
            longest
        });
        let done = act();
        ends.store(true, Relaxed);
        (done, sleeper.join().expect("it sleeps"))
    })
}

fn steps(call: &str, seed: u64, samples: u64) {
    let namespace = Userspace::fresh();
    let timeout = Duration::from_secs(if samples == 0 { 3600 } else { 120 + samples });
    let outcome = run("steps", &namespace, [call.to_owned(), seed.to_string(), samples.to_string()], timeout);
    let again = format!("SHMGATE_SEED={seed} SHMGATE_STEPS={samples} cargo test --release --test kill_storm {call}");
    assert_eq!(outcome.status, Status::Exited(0), "{call}, seed {seed}; replay: {again}\n{outcome}");
    assert_eq!(outcome.stderr, "", "{call}, seed {seed}; replay: {again}");
}

/// A program's run in the namespace, with its arguments and the command that checks it.
fn run(name: &str, namespace: &Userspace, arguments: impl IntoIterator<Item = String>, timeout: Duration) -> Outcome {
    let check = [command().as_os_str(), "namespace".as_ref(), "check".as_ref(), namespace.directory().as_os_str()];
    Run::on_userspace(program(name), namespace).args(arguments).args(check).timeout(timeout).output()
}

fn limit(namespace: &Path, segments: &str) {
    let made = Command::new(command()).args(["namespace", "create"]).arg(namespace).args(["--shmmni", segments]).status();
    assert!(made.is_ok_and(|status| status.success()), "namespace create");
}
