//! What is the host's: errno, its descriptors, its standard error.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use libtest_mimic::Trial;
use shmgate_testkit::compile::program;
use shmgate_testkit::{Namespace, Run, Session, on_each_backend, trials};

use crate::LARGE;

pub fn trials() -> Vec<Trial> {
    let mut all = trials![
        host_that_closes_all_descriptors_log_file,
        host_that_closes_all_descriptors_log_stderr,
        host_that_redirects_its_stderr,
        host_that_reuses_every_descriptor_log_stderr,
        new_log_has_its_mode_whatever_the_umask,
        new_namespace_has_its_modes_whatever_the_umask,
    ];
    all.extend(on_each_backend![trial:
        host_that_closes_all_descriptors_journal,
        host_that_reuses_every_descriptor_journal,
        calls_do_not_allocate,
        no_descriptor_is_left_open,
        host_in_another_directory_is_recorded,
        errno_is_untouched_on_success,
    ]);
    all
}

fn errno_is_untouched_on_success() {
    let place = tempfile::tempdir().expect("temporary directory");
    let errno = || Run::new(program("behaviour/errno_on_success"));
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, LARGE);
    for (what, run) in [
        ("nothing set", errno().gated().namespace(&namespace)),
        ("log file", errno().gated().namespace(&namespace).env("SHMGATE_LOG", place.path().join("log"))),
        // Failing writes set errno too.
        ("full log", errno().gated().namespace(&namespace).env("SHMGATE_LOG", "/dev/full")),
        ("stderr", errno().gated().namespace(&namespace).env("SHMGATE_LOG", "stderr").env("SHMGATE_LOG_FORMAT", "json")),
        ("session", errno().namespace(&namespace).session(&session)),
    ] {
        let outcome = run.output().success();
        assert_eq!(outcome.stdout, "bad: 0\n", "{what}");
    }
}

/// The files that the host opened have its own four bytes each.
#[track_caller]
fn only_the_hosts(folder: &Path, files: usize) {
    for number in 0..files {
        let text = fs::read(folder.join(format!("own{number}"))).expect("host's file");
        assert_eq!(String::from_utf8_lossy(&text), "mine", "the host's descriptor {number}");
    }
}

/// The session's name may be relative, and the journal has to grow.
fn host_in_another_directory_is_recorded() {
    let namespace = Namespace::of_trial();
    let session = Session::watching(&namespace);
    let run = Run::new(program("traps/elsewhere")).arg("20000").namespace(&namespace).session(&session);
    run.env("SHMGATE_SESSION", "session").directory(session.place()).output().success();
    assert_eq!(session.records().len(), 20_000);
}

/// 50 rounds before, 50 in the middle and 50 after each of the 8 files; a round has three calls.
const CALLS: usize = 50 * 10 * 3 + 2;

fn host_that_closes_all_descriptors_journal() {
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, LARGE);
    let run = Run::new(program("traps/close_all")).arg(session.place()).namespace(&namespace);
    run.session(&session).output().success();
    only_the_hosts(session.place(), 8);
    assert_eq!(session.records().len(), CALLS, "the journal must not need a descriptor");
}

fn host_that_closes_all_descriptors_log_file() {
    let place = tempfile::tempdir().expect("temporary directory");
    let log = place.path().join("log");
    Run::new(program("traps/close_all")).arg(place.path()).gated().env("SHMGATE_LOG", &log).output().success();
    only_the_hosts(place.path(), 8);
    assert_eq!(fs::read_to_string(log).expect("log").lines().count(), CALLS);
}

fn host_that_closes_all_descriptors_log_stderr() {
    let place = tempfile::tempdir().expect("temporary directory");
    let run = Run::new(program("traps/close_all")).arg(place.path()).gated().env("SHMGATE_LOG", "stderr");
    let outcome = run.output().success();
    only_the_hosts(place.path(), 8);
    assert!(outcome.stderr.lines().count() > 150, "the lines before the close: {outcome}");
}

fn host_that_redirects_its_stderr() {
    let place = tempfile::tempdir().expect("temporary directory");
    let run = Run::new(program("traps/close_all")).arg(place.path()).arg("redirect").gated();
    run.env("SHMGATE_LOG", "stderr").output().success();
    only_the_hosts(place.path(), 1);
    // With a log file, its own messages too must stay out: this log can't be written.
    let run = Run::new(program("traps/close_all")).arg(place.path()).arg("redirect").gated();
    run.env("SHMGATE_LOG", "/dev/full").output().success();
    only_the_hosts(place.path(), 1);
}

fn no_descriptor_is_left_open() {
    let place = tempfile::tempdir().expect("temporary directory");
    let native = Run::new(program("behaviour/surroundings")).output().silent();
    let log = place.path().join("stderr");
    let run = Run::new(program("behaviour/surroundings")).gated().env("SHMGATE_LOG", "stderr");
    let gated = run.stderr(File::create(&log).expect("file")).output().success();
    // Where the log is stderr one may be parked high; it must not be one of the low ones that a host would get.
    let lowest = |trace: &str| trace.lines().last().map(str::to_owned);
    assert_eq!(lowest(&gated.stdout), lowest(&native.stdout));
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, LARGE);
    let gated = Run::new(program("behaviour/surroundings")).namespace(&namespace).session(&session).output().silent();
    assert_eq!(gated.stdout, native.stdout);
}

/// The number that a descriptor was parked at leads to a file of the host's: nothing may be written there.
#[track_caller]
fn reuses_every_descriptor(run: Run, own: &Path) {
    let outcome = run.arg(own).arg(REUSING_CALLS.to_string()).output().success();
    assert_eq!(outcome.stdout, "bad: 0, in the host's file: 0\n");
}

/// More than a journal has room for at the start: it grows after the descriptor is the host's.
const REUSING_CALLS: usize = 60_000;

fn host_that_reuses_every_descriptor_log_stderr() {
    let place = tempfile::tempdir().expect("temporary directory");
    let stderr = File::create(place.path().join("stderr")).expect("file");
    let run = Run::new(program("traps/reuse_all")).gated().env("SHMGATE_LOG", "stderr").stderr(stderr);
    reuses_every_descriptor(run, &place.path().join("own"));
    let lines = fs::read_to_string(place.path().join("stderr")).expect("log").lines().count();
    assert_eq!(lines, REUSING_CALLS, "standard error itself is still what it was");
}

fn host_that_reuses_every_descriptor_journal() {
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, LARGE);
    let run = Run::new(program("traps/reuse_all")).namespace(&namespace).session(&session);
    reuses_every_descriptor(run, &session.place().join("own"));
    assert_eq!(session.records().len(), REUSING_CALLS);
}

/// Runs each call under the umask `mask`.
fn each_call_under(mask: u32, set: impl Fn(Run) -> Run) {
    let narrow = move || {
        // SAFETY: a system call without memory.
        unsafe { libc::umask(mask) };
        Ok(())
    };
    let run = set(Run::new(program("traps/each_call")).gated());
    // SAFETY: `narrow` makes one system call.
    unsafe { run.prepare(narrow) }.output().silent();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn new_log_has_its_mode_whatever_the_umask() {
    let place = tempfile::tempdir().expect("temporary directory");
    for mask in [0o077, 0o777, 0] {
        let log = place.path().join(format!("log{mask:o}"));
        each_call_under(mask, |run| run.env("SHMGATE_LOG", &log));
        assert_eq!(mode(&log), 0o644, "under umask {mask:04o}");
    }
}

fn new_namespace_has_its_modes_whatever_the_umask() {
    let place = tempfile::tempdir().expect("temporary directory");
    for mask in [0o177, 0o777, 0] {
        let dir = place.path().join(format!("{mask:o}"));
        each_call_under(mask, |run| run.env("SHMGATE_BACKEND", "userspace").env("SHMGATE_NAMESPACE", &dir));
        let modes = ["", "registry", "lives"].map(|name| mode(&dir.join(name)));
        assert_eq!(modes, [0o700, 0o600, 0o600], "under umask {mask:04o}");
    }
}

fn calls_do_not_allocate() {
    let place = tempfile::tempdir().expect("temporary directory");
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, "[quota.segment]\nsize = \"1G\"\n[quota.session]\nattaches = 100\n");
    let calls = || Run::new(program("traps/no_allocation"));
    for (what, run) in [
        ("native", calls()),
        ("nothing set", calls().gated().namespace(&namespace)),
        ("log", calls().gated().namespace(&namespace).env("SHMGATE_LOG", place.path().join("log"))),
        (
            "JSON",
            calls()
                .gated()
                .namespace(&namespace)
                .env("SHMGATE_LOG", place.path().join("log"))
                .env("SHMGATE_LOG_FORMAT", "json"),
        ),
        ("session", calls().namespace(&namespace).session(&session)),
    ] {
        assert_eq!(run.output().silent().stdout, "allocations: 0\n", "{what}");
    }
}
