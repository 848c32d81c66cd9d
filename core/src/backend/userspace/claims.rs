//! Lives under claim: those that are being locked, and those of children that are being forked.
//!
//! A life's lock stays as long as anybody has its open file description: a descriptor for some microseconds, then a mapping. A fork of
//! another thread at just that time hands both on to its child, which would keep a stranger's life alive. So each claim has a place here, with
//! a page for the mapping. A forked child goes on with the life in its thread's place, and empties the others' pages. A descriptor's
//! number it can't know: if a claim was under way when the fork began, or has begun since, it has to look through all of them.
//!
//! No lock, and nothing is allocated: `_Fork` may be called in signal handlers. All of it is the process's own memory, which a fork copies after
//! the descriptors, and at one moment with the mappings.

use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use super::life::Life;
use crate::errno::Errno;
use crate::map::Mapping;
use crate::sys::{self, BlockedSignals, File};
use crate::thread;

/// How many threads can fork at a time and have their children counted when fork returns.
const PLACES: usize = 64;

/// What is under claim in the process.
#[derive(Debug)]
pub struct Claims {
    /// How many claims are under way, and above that how many were ever begun.
    begun: AtomicU64,
    /// How many places were ever taken.
    taken: AtomicU64,
    /// The slot that was claimed last: a child's, which may have ended by now.
    pub(super) last: AtomicUsize,
    places: [Place; PLACES],
}

const ONE_BEGUN: u64 = 1 << 32;

#[derive(Debug, Default)]
struct Place {
    /// Whose it is: its thread's words' address, which that has in its child too; 0 for nobody.
    thread: AtomicUsize,
    /// Which of a thread's places is the youngest: signal handlers fork too.
    serial: AtomicU64,
    /// Its page, which it keeps for the next; 0 if it has none yet.
    page: AtomicUsize,
    /// The life that is claimed; 0 for none.
    life: AtomicU64,
    /// [`Claims::begun`] when the fork began.
    begun: AtomicU64,
    /// What the process had attached when the life was claimed.
    attached: AtomicU64,
}

/// A life that has its lock. Whoever drops it gives it up.
#[derive(Debug)]
pub struct Claimed<'a> {
    pub life: Life,
    /// What keeps the lock.
    page: ManuallyDrop<Mapping>,
    place: Option<&'a Place>,
}

/// The time in which a claim's descriptor may be open. No signal handler comes in: a child that it forks, and that goes on here, would close
/// the descriptor twice, and the host may have its number by then.
#[derive(Debug)]
pub struct UnderWay<'a>(&'a Claims, #[expect(dead_code, reason = "it ends with the time")] BlockedSignals);

/// What a forked child has from its parent.
#[derive(Debug)]
pub struct Inherited<'a> {
    /// Its life.
    pub claimed: Option<Claimed<'a>>,
    /// What [`Claims::fork_begins`] was told.
    pub attached: u64,
    /// Another thread's claim may have left it a descriptor.
    pub may_have_descriptors: bool,
}

impl Default for Claims {
    fn default() -> Claims {
        let places = core::array::from_fn(|_| Place::default());
        Claims { begun: AtomicU64::new(0), taken: AtomicU64::new(0), last: AtomicUsize::new(0), places }
    }
}

impl Claims {
    /// Before the file of lives is opened for a claim; what is returned is dropped when that is closed.
    pub fn begin(&self) -> UnderWay<'_> {
        let signals = BlockedSignals::block();
        self.begun.fetch_add(ONE_BEGUN + 1, SeqCst);
        UnderWay(self, signals)
    }

    /// Keeps `life`, which is locked by `file`.
    ///
    /// # Errors
    /// mmap's.
    pub fn keep(&self, life: Life, file: &File) -> Result<Claimed<'_>, Errno> {
        let place = self.take_place();
        let page = Place::page(place).inspect_err(|_| {
            place.inspect(|place| place.free());
        })?;
        let claimed = Claimed { life, page: ManuallyDrop::new(page), place };
        if let Some(place) = place {
            place.life.store(life.to_u64(), SeqCst);
        }
        claimed.page.replace(Some(file))?;
        Ok(claimed)
    }

    /// The calling thread is about to fork, and its child to have the life `claimed`, which holds what was `attached`, in the caller's
    /// words. False if the child will not find it.
    pub fn fork_begins(&self, claimed: Option<Claimed<'_>>, attached: u64) -> bool {
        let begun = self.begun.load(SeqCst);
        if begun == 0 {
            return true;
        }
        let Some(place) = claimed.as_ref().map_or_else(|| self.take_place(), |claimed| claimed.place) else {
            return claimed.is_none();
        };
        place.begun.store(begun, SeqCst);
        place.attached.store(attached, SeqCst);
        core::mem::forget(claimed);
        true
    }

    /// fork has returned in the parent: the child's life is its own.
    pub fn fork_ended(&self) {
        if let Some(place) = self.youngest() {
            place.clear();
        }
    }

    /// In a new child, which goes on with what its thread has a place for. All else is given up.
    pub fn forked(&self) -> Inherited<'_> {
        let own = self.youngest();
        for place in &self.places {
            if place.thread.load(SeqCst) != 0 && !own.is_some_and(|own| core::ptr::eq(own, place)) {
                place.clear();
            }
        }
        let (begun, seen) = (self.begun.load(SeqCst), own.map_or(0, |own| own.begun.load(SeqCst)));
        self.begun.store(begun - begun % ONE_BEGUN, SeqCst);
        Inherited {
            attached: own.map_or(0, |own| own.attached.load(SeqCst)),
            claimed: own.and_then(Place::reclaim),
            may_have_descriptors: seen % ONE_BEGUN != 0 || seen / ONE_BEGUN != begun / ONE_BEGUN,
        }
    }

    fn take_place(&self) -> Option<&Place> {
        let is_free = |place: &&Place| place.thread.compare_exchange(0, this_thread(), SeqCst, SeqCst).is_ok();
        let place = self.places.iter().find(is_free)?;
        place.serial.store(self.taken.fetch_add(1, SeqCst), SeqCst);
        Some(place)
    }

    /// The calling thread's place; of several the last.
    fn youngest(&self) -> Option<&Place> {
        let own = self.places.iter().filter(|place| place.thread.load(SeqCst) == this_thread());
        own.max_by_key(|place| place.serial.load(SeqCst))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.begun.fetch_sub(1, SeqCst);
    }
}

impl Place {
    /// A page for a claim, which one without a place has to itself.
    fn page(place: Option<&Place>) -> Result<Mapping, Errno> {
        match place.map_or(0, |place| place.page.load(SeqCst)) {
            0 => {
                let page = Mapping::private_memory(page_len())?;
                if let Some(place) = place {
                    place.page.store(page.address(), SeqCst);
                }
                Ok(page)
            }
            // SAFETY: a place's page is its own. In a child it may be a hole, if it was just being kept from forks.
            address => Ok(unsafe { Mapping::from_address(address, page_len()) }),
        }
    }

    /// What is claimed here. If nothing is, the place is free afterwards.
    fn reclaim(&self) -> Option<Claimed<'_>> {
        let life = Life::from_u64(self.life.load(SeqCst));
        let claimed = life
            .and_then(|life| Some(Claimed { life, page: ManuallyDrop::new(Place::page(Some(self)).ok()?), place: Some(self) }));
        if claimed.is_none() {
            self.free();
        }
        claimed
    }

    fn clear(&self) {
        drop(self.reclaim());
    }

    fn free(&self) {
        self.life.store(0, SeqCst);
        self.thread.store(0, SeqCst);
    }
}

impl Claimed<'_> {
    /// Keeps the life to the end of the process; its children don't get it.
    pub fn live(self) {
        let _ = self.page.advise(0, page_len(), libc::MADV_DONTFORK);
        if let Some(place) = self.place {
            place.page.store(0, SeqCst);
            place.free();
        }
        core::mem::forget(self);
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        // The file goes; a place's page stays.
        let stays = self.page.replace(None).is_ok() && self.place.is_some();
        if !stays {
            // SAFETY: nobody uses it afterwards.
            unsafe { ManuallyDrop::drop(&mut self.page) };
        }
        if let Some(place) = self.place {
            if !stays {
                place.page.store(0, SeqCst);
            }
            place.free();
        }
    }
}

fn this_thread() -> usize {
    thread::words().as_ptr().addr()
}

fn page_len() -> usize {
    sys::page_size() as usize
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    fn open(path: &Path) -> File {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        File::open(&path, libc::O_RDWR | libc::O_CREAT, 0o600).unwrap()
    }

    /// Claims the life of `process`: byte 1000 and so many of the file.
    fn claim<'a>(claims: &'a Claims, path: &Path, process: u16) -> Claimed<'a> {
        let _under_way = claims.begin();
        let file = open(path);
        assert!(file.lock_byte(1000 + u64::from(process)));
        claims.keep(Life { process, generation: 1 }, &file).unwrap()
    }

    fn is_lived(path: &Path, process: u16) -> bool {
        open(path).is_byte_locked(1000 + u64::from(process)).unwrap()
    }

    /// A child that another test forks has the lock too, until it ends.
    fn is_given_up(path: &Path, process: u16) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        while is_lived(path, process) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    #[test]
    fn a_child_has_its_threads_life_and_gives_up_all_others() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lives");
        let claims = Claims::default();
        // Another thread is about to fork too, and this one does in a signal handler what it is at already.
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(claims.fork_begins(Some(claim(&claims, &path, 1)), 0))).join().unwrap()
        });
        assert!(claims.fork_begins(Some(claim(&claims, &path, 2)), 0));
        assert!(claims.fork_begins(Some(claim(&claims, &path, 3)), 0));
        let inherited = claims.forked();
        assert_eq!(inherited.claimed.as_ref().map(|claimed| claimed.life.process), Some(3));
        assert!(is_given_up(&path, 1) && is_given_up(&path, 2) && is_lived(&path, 3));
        drop(inherited);
        assert!(is_given_up(&path, 3));
        assert!(claims.places.iter().all(|place| place.thread.load(SeqCst) == 0));
    }

    #[test]
    fn a_parent_gives_up_what_its_last_fork_claimed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lives");
        let claims = Claims::default();
        assert!(claims.fork_begins(Some(claim(&claims, &path, 1)), 0));
        assert!(claims.fork_begins(Some(claim(&claims, &path, 2)), 0));
        claims.fork_ended();
        assert!(is_given_up(&path, 2) && is_lived(&path, 1));
        claims.fork_ended();
        assert!(is_given_up(&path, 1));
        claims.fork_ended();
    }

    #[test]
    fn a_child_may_have_descriptors_of_claims_that_its_fork_overlapped() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lives");
        let claims = Claims::default();
        assert!(claims.fork_begins(None, 0) && !claims.forked().may_have_descriptors, "nothing was ever claimed");
        drop(claim(&claims, &path, 1));
        assert!(claims.fork_begins(None, 0) && !claims.forked().may_have_descriptors, "it was over before");
        let under_way = claims.begin();
        assert!(claims.fork_begins(None, 0));
        drop(under_way);
        assert!(claims.forked().may_have_descriptors, "it had begun before");
        assert!(claims.fork_begins(None, 0));
        drop(claim(&claims, &path, 1));
        assert!(claims.forked().may_have_descriptors, "it has begun since, and is over already");
    }

    #[test]
    fn when_all_places_are_taken_a_child_does_not_find_its_life() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lives");
        let claims = Claims::default();
        let claimed: Vec<_> = (0..PLACES as u16).map(|process| claim(&claims, &path, process)).collect();
        assert!(!claims.fork_begins(Some(claim(&claims, &path, 1000)), 0));
        assert!(is_given_up(&path, 1000));
        assert!(claims.fork_begins(None, 0));
        drop(claimed);
        assert!((0..PLACES as u16).all(|process| is_given_up(&path, process)));
    }
}
