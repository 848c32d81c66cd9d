//! One random script of calls, played on the bare kernel and through the gate: the traces must be equal.
//!
//! The C program `player` draws a script from its seed: several processes that create, attach at odd places,
//! detach, remove, fork, exec, die and are killed, one call at a time. Both plays are in fresh IPC namespaces;
//! the gated one has a journal and quotas that are never reached. 200 seeds, or:
//! `SHMGATE_SEEDS=N`: that many · `SHMGATE_SEED=n`: that one alone.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use shmgate_testkit::compile::program;
use shmgate_testkit::trial::isolated;
use shmgate_testkit::{Namespace, Run, Session, run_trials};

/// Calls in one script.
const STEPS: u64 = 120;

/// Seeds in one test, so that the threads of the test run share the work.
const CHUNK: u64 = 25;

const LARGE: &str = r#"
[quota.process]
bytes = "1024T"
segments = 100000
attaches = 100000
[quota.session]
bytes = "1024T"
segments = 100000
attaches = 100000
"#;

fn main() -> ExitCode {
    if let Some(seed) = number("SHMGATE_SEED") {
        return run_trials(vec![isolated(format!("seed {seed}"), move || compare(seed))]);
    }
    let count = number("SHMGATE_SEEDS").unwrap_or(200);
    let chunks = (0..count).step_by(CHUNK as usize).map(|first| {
        let last = count.min(first + CHUNK);
        isolated(format!("seeds {first} to {}", last - 1), move || (first..last).for_each(compare))
    });
    run_trials(chunks.collect())
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn compare(seed: u64) {
    let native = play(Run::new(program("player")), seed);
    let namespace = Namespace::fresh();
    let session = Session::with_policy(&namespace, LARGE);
    let gated = play(Run::new(program("player")).namespace(&namespace).session(&session), seed);
    let calls = session.records().len();
    if native == gated {
        assert_eq!(calls, native.lines().filter(|line| is_call(line)).count(), "seed {seed}: records, then calls");
        return;
    }
    let same = native.lines().zip(gated.lines()).take_while(|(native, gated)| native == gated).count();
    panic!(
        "seed {seed} differs at line {}\n  kernel: {}\n  gated:  {}\nreplay: SHMGATE_SEED={seed} cargo test --release --test differential",
        same + 1,
        native.lines().nth(same).unwrap_or("(end)"),
        gated.lines().nth(same).unwrap_or("(end)"),
    );
}

/// Whether a line of the trace is one of our calls: `17 w2 shmat ...`.
fn is_call(line: &str) -> bool {
    let verb = line.split(' ').nth(2).unwrap_or("");
    verb.starts_with("shm") || verb.starts_with("SHM_") || verb.starts_with("IPC_")
}

fn play(run: Run, seed: u64) -> String {
    run.arg(seed.to_string()).arg(STEPS.to_string()).timeout(Duration::from_secs(40)).output().silent().stdout
}
