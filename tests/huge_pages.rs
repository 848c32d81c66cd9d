//! SHM_HUGETLB with a pool of huge pages: on the bare kernel, and on the userspace backend with a hugetlbfs.
//!
//! The machine's pool is made for the time of the test, if there is none. Without root, or where no pool can be had, it is skipped.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use shmgate_testkit::compile::program;
use shmgate_testkit::huge::Pool;
use shmgate_testkit::trial::as_root;
use shmgate_testkit::{Namespace, Outcome, Run, Userspace, run_trials};

/// Pages of 2 MiB that the program is told of.
const PAGES: u64 = 8;

fn main() -> ExitCode {
    run_trials(vec![as_root("segments of huge pages are the kernel's", compare)])
}

/// With a hugetlbfs at `place` that the program alone sees.
fn output(run: Run, place: &Path) -> Outcome {
    let script = "mount -t hugetlbfs none \"$1\" && shift && exec \"$@\"";
    let run = run.args(["-m", "sh", "-c", script, "sh"]).arg(place);
    run.arg(program("huge_pages")).arg(PAGES.to_string()).output()
}

fn compare() {
    let Some(_pool) = Pool::of(PAGES) else { return };
    let place = tempfile::tempdir().expect("a directory");
    let native = output(Run::new("unshare").namespace(&Namespace::fresh()), place.path());
    let userspace = Userspace::fresh();
    let gated = output(
        Run::new("unshare").gated().env("SHMGATE_BACKEND", "userspace").env("SHMGATE_NAMESPACE", userspace.directory()),
        place.path(),
    );
    assert_eq!(native.stderr, "", "it does not work natively");
    assert!(native.stdout.contains("all: 1"), "{native}");
    assert_eq!(gated.stderr, "", "the gate said something");
    assert_eq!(gated.stdout, native.stdout, "the gate's trace, then the kernel's");
    assert_eq!(gated.status, native.status);
    assert_eq!(free_pages(), PAGES, "all pages are back in the pool");
}

fn free_pages() -> u64 {
    let about = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let line = about.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
    line.and_then(|number| number.trim().parse().ok()).expect("a number")
}
