//! A panic in the gate refuses the call: it never aborts the host, and never passes a quota by.
//!
//! The library for it is built on its own, with the feature `test-panic`: `SHMGATE_TEST_PANIC=CALL` panics in
//! that call's gate, `start` while the gate is made, `constructor`, `fork` and `destructor` there, `capi` in the functions of shmgate.h. `SHMGATE_TEST_PANIC_LIB` names a
//! built one.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use libtest_mimic::Trial;
use shmgate_testkit::compile::program;
use shmgate_testkit::{Agent, Namespace, Run, Session, Status, trials, workspace};

use crate::own_lines;

pub fn trials() -> Vec<Trial> {
    trials![
        a_panic_refuses_the_call,
        a_panic_does_not_pass_a_quota_by,
        a_panic_at_the_start_refuses_calls,
        a_panic_between_calls_does_not_end_the_host,
        a_panic_in_the_c_api_is_an_error
    ]
}

fn panicking_library() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = env::var_os("SHMGATE_TEST_PANIC_LIB") {
            return path.into();
        }
        let target = shmgate_testkit::artifacts::target().join("test-panic");
        let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(workspace())
            .args([
                "build",
                "--quiet",
                "--release",
                "--package",
                "shmgate",
                "--lib",
                "--features",
                "test-panic",
                "--target-dir",
            ])
            .arg(&target)
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        target.join("release/libshmgate.so")
    })
}

/// The line of `each_call` for each call.
const LINES: [(&str, &str); 5] =
    [("shmget", "shmget("), ("shmat", "shmat("), ("shmdt", "shmdt("), ("shmctl", "shmctl("), ("ftok", "ftok(")];

fn a_panic_refuses_the_call() {
    for (call, start) in LINES {
        for session in [None, Some("[quota.session]\nsegments = 10\n")] {
            let namespace = Namespace::fresh();
            let session = session.map(|policy| Session::with_policy(&namespace, policy));
            let run = Run::new(program("traps/each_call")).namespace(&namespace);
            let run = match &session {
                Some(session) => run.session(session),
                None => run.env("SHMGATE_LOG", "/dev/null"),
            };
            let run = run.env("LD_PRELOAD", panicking_library()).env("SHMGATE_TEST_PANIC", call).output().success();
            let refused = run.stdout.lines().find(|line| line.starts_with(start)).expect("a line for the call");
            assert!(!refused.ends_with("): ok"), "{call} was made all the same: {run}");
            assert!(run.stdout.ends_with("alive\n"), "{run}");
            assert_eq!(own_lines(&run.stderr).len(), 1, "{call}: {run}");
            if call == "shmget" {
                let left = Run::new("/bin/cat").arg("/proc/sysvipc/shm").namespace(&namespace).output().silent();
                assert!(left.stdout.lines().count() == 1 || !namespace.is_isolated(), "a segment was made: {}", left.stdout);
            }
        }
    }
}

fn a_panic_does_not_pass_a_quota_by() {
    let namespace = Namespace::fresh();
    let session = Session::with_policy(&namespace, "[quota.session]\nsegments = 0\n");
    let run = Run::new(program("traps/each_call")).namespace(&namespace).session(&session);
    let run = run.env("LD_PRELOAD", panicking_library()).env("SHMGATE_TEST_PANIC", "shmget").output().success();
    assert!(run.stdout.contains("IPC_CREAT | 0600): EPERM"), "{run}");
}

fn a_panic_at_the_start_refuses_calls() {
    let run = Run::new(program("traps/each_call")).env("SHMGATE_LOG", "/dev/null");
    let run = run.env("LD_PRELOAD", panicking_library()).env("SHMGATE_TEST_PANIC", "start").output().success();
    assert!(run.stdout.contains("IPC_CREAT | 0600): EPERM") && run.stdout.ends_with("alive\n"), "{run}");
    assert_eq!(own_lines(&run.stderr).len(), 1, "{run}");
}

fn a_panic_in_the_c_api_is_an_error() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let run = Run::new(program("agent")).namespace(&namespace).session(&session);
    let mut agent = Agent::start(run.env("LD_PRELOAD", panicking_library()).env("SHMGATE_TEST_PANIC", "capi"));
    assert_eq!(agent.ask("counters 0"), "EIO");
    assert_eq!(agent.ask("denial"), "");
    agent.number("get 0 1 0600");
    assert_eq!(own_lines(&agent.stderr()).len(), 0, "{}", agent.stderr());
}

fn a_panic_between_calls_does_not_end_the_host() {
    for place in ["constructor", "fork", "destructor"] {
        let namespace = Namespace::fresh();
        let session = Session::with_policy(&namespace, "[quota.session]\nattaches = 10\n");
        let run = Run::new(program("agent")).namespace(&namespace).session(&session);
        let mut agent = Agent::start(run.env("LD_PRELOAD", panicking_library()).env("SHMGATE_TEST_PANIC", place));
        let shmid = agent.number("get 0 1 0600");
        assert_eq!(agent.number(&format!("at {shmid}")), 0, "{place}");
        assert_eq!(agent.ask(&format!("child at {shmid}")), "1", "{place}");
        assert_eq!(agent.finish(), Status::Exited(0), "{place}");
    }
}
