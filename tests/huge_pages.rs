//! SHM_HUGETLB with a pool of huge pages: on the bare kernel, and on the userspace backend with a hugetlbfs.
//!
//! The machine's pool is made for the time of the test, if there is none. Without root, or where no pool can be had, it is skipped.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use shmgate_testkit::compile::program;
use shmgate_testkit::trial::as_root;
use shmgate_testkit::{Namespace, Outcome, Run, Userspace, run_trials};

/// Pages of 2 MiB that the program is told of.
const PAGES: u64 = 8;
const POOL: &str = "/proc/sys/vm/nr_hugepages";

fn main() -> ExitCode {
    run_trials(vec![as_root("segments of huge pages are the kernel's", compare)])
}

/// The machine's pool, which becomes what it was when dropped.
struct Pool {
    before: String,
}

impl Pool {
    /// `None` where there is one that others use, or none of this size can be had.
    fn of(pages: u64) -> Option<Pool> {
        let before = fs::read_to_string(POOL).ok().filter(|before| before.trim() == "0")?;
        let pool = Pool { before };
        fs::write(POOL, pages.to_string()).ok()?;
        (fs::read_to_string(POOL).ok()?.trim() == pages.to_string()).then_some(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = fs::write(POOL, &self.before);
    }
}

/// With a hugetlbfs at `place` that the program alone sees.
fn output(run: Run, place: &Path) -> Outcome {
    let script = "mount -t hugetlbfs none \"$1\" && shift && exec \"$@\"";
    let run = run.args(["-m", "sh", "-c", script, "sh"]).arg(place);
    run.arg(program("huge_pages")).arg(PAGES.to_string()).output()
}

fn compare() {
    let Some(_pool) = Pool::of(PAGES) else {
        eprintln!("skipped: no pool of {PAGES} huge pages can be had here");
        return;
    };
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
