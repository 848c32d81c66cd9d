//! A pool of huge pages, which the machine has for the time of a test.

use std::fs;

const POOL: &str = "/proc/sys/vm/nr_hugepages";

/// The machine's pool, which becomes what it was when dropped.
pub struct Pool {
    before: String,
}

impl Pool {
    /// One of `pages` pages of 2 MiB. `None`, which is said, where there is one that others use, or none of this size can be had.
    pub fn of(pages: u64) -> Option<Pool> {
        let pool = Pool::made(pages);
        if pool.is_none() {
            eprintln!("skipped: no pool of {pages} huge pages can be had here");
        }
        pool
    }

    fn made(pages: u64) -> Option<Pool> {
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
