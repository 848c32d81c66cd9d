//! What is the host's: errno, its descriptors, its standard error.

use std::fs::{self, File};
use std::path::Path;

use libtest_mimic::Trial;
use shmgate_testkit::compile::program;
use shmgate_testkit::{Namespace, Run, Session, trials};

use crate::LARGE;

pub fn trials() -> Vec<Trial> {
    trials![
        errno_is_untouched_on_success,
        host_that_closes_all_descriptors_journal,
        host_that_closes_all_descriptors_log_file,
        host_that_closes_all_descriptors_log_stderr,
        host_that_redirects_its_stderr,
        no_descriptor_is_left_open,
    ]
}

fn errno_is_untouched_on_success() {
    let place = tempfile::tempdir().expect("temporary directory");
    let errno = || Run::new(program("behaviour/errno_on_success"));
    let namespace = Namespace::fresh();
    let session = Session::with_policy(&namespace, LARGE);
    for (what, run) in [
        ("nothing set", errno().gated()),
        ("log file", errno().gated().env("SHMGATE_LOG", place.path().join("log"))),
        // Failing writes set errno too.
        ("full log", errno().gated().env("SHMGATE_LOG", "/dev/full")),
        ("stderr", errno().gated().env("SHMGATE_LOG", "stderr").env("SHMGATE_LOG_FORMAT", "json")),
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

/// 50 rounds before, 50 in the middle and 50 after each of the 8 files; a round has three calls.
const CALLS: usize = 50 * 10 * 3 + 2;

fn host_that_closes_all_descriptors_journal() {
    let namespace = Namespace::fresh();
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
    let namespace = Namespace::fresh();
    let session = Session::with_policy(&namespace, LARGE);
    let gated = Run::new(program("behaviour/surroundings")).namespace(&namespace).session(&session).output().silent();
    assert_eq!(gated.stdout, native.stdout);
}
