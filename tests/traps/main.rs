//! The traps of a preloaded library: each test fails if the answer to its trap were missing.
//!
//! | module | traps |
//! | --- | --- |
//! | `start` | how the library gets in: constructors, dlopen, RTLD_DEEPBIND, AT_SECURE |
//! | `host` | what is the host's: errno, descriptors, standard error |
//! | `processes` | fork with threads, signal handlers, vfork and its kin, SIGKILL |
//! | `room` | full disks, file size limits, closed pipes, little address space |
//! | `damage` | sessions that are not ours, damaged or linked elsewhere |
//! | `panics` | a panic in the gate |
//! | `exports` | symbols, needed libraries, size |
//! | `lines` | the forms of text and JSON lines, and whose ids are in them |

use std::process::ExitCode;

use shmgate_testkit::run_trials;

mod damage;
mod exports;
mod host;
mod lines;
mod panics;
mod processes;
mod room;
mod start;

fn main() -> ExitCode {
    let trials = [
        start::trials(),
        host::trials(),
        processes::trials(),
        room::trials(),
        damage::trials(),
        panics::trials(),
        exports::trials(),
        lines::trials(),
    ];
    run_trials(trials.into_iter().flatten().collect())
}

/// A policy that is there, and too large to be felt.
const LARGE: &str = "[quota.session]\nbytes = \"1T\"\nsegments = 10000\nattaches = 10000\n";

/// The lines that the library itself put on a host's stderr; anything else there fails the test.
#[track_caller]
fn own_lines(stderr: &str) -> Vec<&str> {
    for line in stderr.lines() {
        assert!(line.starts_with("shmgate: "), "not ours, or a broken line: {line:?}");
    }
    stderr.lines().collect()
}
