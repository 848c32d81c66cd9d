//! Calls of several processes in every order of their steps: see [`crate::model`].

use super::*;
use crate::model::explore;
use core::sync::atomic::AtomicU64 as Word64;
use std::fs;

const MAGIC: u64 = 0x5eed;
const SIZE: u64 = 8192;

/// A namespace and its processes: instances, each of which has a life of its own.
struct Namespace {
    dir: tempfile::TempDir,
    processes: Vec<Userspace>,
}

impl Namespace {
    fn new(processes: usize) -> Namespace {
        use std::os::unix::fs::PermissionsExt;
        let private = fs::Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().prefix("shmgate-test-").permissions(private).tempdir_in(place::root()).unwrap();
        let processes = (0..processes).map(|_| Userspace::open(dir.path()).unwrap()).collect();
        Namespace { dir, processes }
    }

    /// The same slot for each run, without a file that another run has left.
    fn begin_anew(&self) {
        let Userspace { registry, .. } = &self.processes[0];
        let header = &registry.layout().header;
        header.last.store(0, SeqCst);
        // Lives come with the first call.
        self.processes.iter().for_each(|process| _ = process.life().unwrap());
        header.kept.iter().for_each(|kept| kept.store(0, SeqCst));
        header.kept_at.store(0, SeqCst);
        // The same steps whether there is a file or not.
        for (index, segment) in registry.segments().iter().enumerate() {
            let word = segment.load();
            if word.has_file {
                registry.remove_file(&Found { index, segment, word });
            }
            segment.word.store(Word { has_file: false, ..word }.to_u64(), SeqCst);
        }
    }

    /// A segment that the first process has attached, at the address.
    fn attached(&self) -> (i32, u64) {
        self.begin_anew();
        let shmid = self.create(0, libc::IPC_PRIVATE).unwrap();
        let address = self.attach(0, shmid).unwrap();
        word(address).store(MAGIC, SeqCst);
        (shmid, address)
    }

    fn create(&self, at: usize, key: i32) -> Result<i32, Errno> {
        let flags = libc::IPC_CREAT | libc::IPC_EXCL | libc::SHM_NORESERVE | 0o600;
        self.processes[at].shmget(key, SIZE, flags).map(|id| id as i32)
    }

    fn attach(&self, at: usize, shmid: i32) -> Result<u64, Errno> {
        self.processes[at].attach(shmid, 0, 0)
    }

    fn detach(&self, at: usize, address: u64) {
        self.processes[at].detach(address).unwrap();
    }

    fn nattch(&self, at: usize, shmid: i32) -> Result<u64, Errno> {
        // SAFETY: zeros are a shmid_ds.
        let mut about: libc::shmid_ds = unsafe { core::mem::zeroed() };
        let (process, buf) = (&self.processes[at], (&raw mut about).expose_provenance() as u64);
        if process.stat_quickly(shmid, buf).is_none() {
            // SAFETY: it has room for the answer.
            unsafe { process.control(shmid, libc::IPC_STAT, buf) }?;
        }
        Ok(about.shm_nattch)
    }

    /// No segment is left, nor any file of one. The rest, which takes longer, is looked at when the namespace goes.
    fn is_empty(&self) {
        let registry = &self.processes[0].registry;
        assert!(registry.segments().iter().all(|segment| segment.load().state == State::Free));
        // But for what is kept for others, without memory.
        let files = fs::read_dir(self.dir.path()).unwrap().map(Result::unwrap);
        let full = files.filter(|file| std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap()) > 0);
        let names = full.map(|file| file.file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.starts_with("segment")).collect::<Vec<_>>(), [""; 0]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(check::check(self.dir.path()), Ok(Vec::new()));
        }
    }
}

/// A word that processes share.
fn word(address: u64) -> &'static Word64 {
    // SAFETY: the tests call it with addresses that are attached.
    unsafe { &*core::ptr::with_exposed_provenance(address as usize) }
}

/// The outcomes of the threads of a run.
#[derive(Default)]
struct Attached {
    shmid: i32,
    address: u64,
    second: Word64,
    third: Word64,
}

/// One detaches what he alone has attached and what goes then, another attaches it, and a third looks.
fn attach_meets_last_detach(namespace: &Namespace, make: impl Fn() -> Attached) {
    let runs = explore(
        1,
        make,
        &[
            &|run| namespace.detach(0, run.address),
            &|run| run.second.store(namespace.attach(1, run.shmid).unwrap_or(0), SeqCst),
            &|run| _ = namespace.nattch(2, run.shmid),
        ],
        |run| {
            let address = run.second.load(SeqCst);
            if address != 0 {
                assert_eq!(word(address).load(SeqCst), MAGIC, "what was attached is what was there");
                assert_eq!(namespace.nattch(2, run.shmid), Ok(1));
                let another = namespace.attach(3, run.shmid).expect("it has its file");
                namespace.detach(3, another);
                namespace.detach(1, address);
            }
            assert_eq!(namespace.nattch(2, run.shmid), Err(Errno::EINVAL));
            namespace.is_empty();
        },
    );
    println!("{runs} orders");
}

#[test]
fn an_attach_meets_the_last_detach_of_a_removed_segment() {
    let namespace = Namespace::new(4);
    let make = || {
        let (shmid, address) = namespace.attached();
        namespace.processes[0].remove(shmid).unwrap();
        Attached { shmid, address, ..Attached::default() }
    };
    attach_meets_last_detach(&namespace, make);
}

/// One looks whether it can go, another attaches it, and a third finishes what somebody was killed at.
#[test]
fn an_attach_meets_two_who_destroy() {
    let namespace = Namespace::new(4);
    (0..4).for_each(|at| _ = namespace.processes[at].life().unwrap());
    let make = || {
        let (shmid, address) = namespace.attached();
        let first = &namespace.processes[0];
        first.remove(shmid).unwrap();
        let found = first.found(shmid).unwrap();
        // As a detach, but for the look behind it.
        memory::unmap(first.attachments.take(address).unwrap().origin, SIZE);
        assert!(first.registry.release(&found, first.life().unwrap(), first.hint(&found)));
        (found.index, found.word, Word64::new(0))
    };
    let found = |at: usize, index: usize, word: Word| {
        let segment = namespace.processes[at].registry.segment(index).unwrap();
        Found { index, segment, word }
    };
    let destroy = |&(index, word, _): &(usize, Word, Word64)| {
        let process = &namespace.processes[0];
        process.registry.destroy_if_free(&found(0, index, word), process.life().unwrap(), &mut process.asker());
    };
    let bury = |_: &(usize, Word, Word64)| namespace.processes[2].bury();
    // As shmat, from when it has found the segment.
    let attach = |&(index, word, ref address): &(usize, Word, Word64)| {
        let (process, found) = (&namespace.processes[1], found(1, index, word));
        let life = process.life().unwrap();
        process.hold(&found, life, 1).unwrap();
        if found.is_still_there() {
            let access = Access { write: true, execute: false };
            let attached = process.registry.attach(&found, SIZE, Place::Anywhere, access);
            address.store(attached.expect("it has its file"), SeqCst);
        } else {
            process.registry.release(&found, life, process.hint(&found));
        }
    };
    let runs = explore(2, make, &[&destroy, &attach, &bury], |&(index, seen, ref address)| {
        let (process, found, address) = (&namespace.processes[1], found(1, index, seen), address.load(SeqCst));
        if address != 0 {
            assert_eq!(word(address).load(SeqCst), MAGIC, "what was attached is what was there");
            let another = namespace.attach(3, found.id()).expect("it has its file");
            namespace.detach(3, another);
            memory::unmap(address, SIZE);
            assert!(process.registry.release(&found, process.life().unwrap(), process.hint(&found)));
        }
        process.bury();
        namespace.is_empty();
    });
    println!("{runs} orders");
}

#[test]
fn two_first_attaches_meet_a_removal() {
    let namespace = Namespace::new(3);
    let make = || {
        namespace.begin_anew();
        Attached { shmid: namespace.create(0, libc::IPC_PRIVATE).unwrap(), ..Attached::default() }
    };
    let runs = explore(
        1,
        make,
        &[
            &|run| _ = namespace.processes[0].remove(run.shmid),
            &|run| run.second.store(namespace.attach(1, run.shmid).unwrap_or(0), SeqCst),
            &|run| run.third.store(namespace.attach(2, run.shmid).unwrap_or(0), SeqCst),
        ],
        |run| {
            let (second, third) = (run.second.load(SeqCst), run.third.load(SeqCst));
            if second != 0 && third != 0 {
                word(second).store(MAGIC, SeqCst);
                assert_eq!(word(third).load(SeqCst), MAGIC, "both have the same memory");
            }
            for (at, address) in [(1, second), (2, third)] {
                if address != 0 {
                    namespace.detach(at, address);
                }
            }
            assert_eq!(namespace.nattch(0, run.shmid), Err(Errno::EINVAL));
            namespace.is_empty();
        },
    );
    println!("{runs} orders");
}

#[test]
fn a_key_is_given_out_once() {
    let namespace = Namespace::new(3);
    let ids = || [Word64::new(0), Word64::new(0)];
    let make = || {
        namespace.begin_anew();
        // Lives come with the first call.
        (0..3).for_each(|at| _ = namespace.processes[at].life().unwrap());
        ids()
    };
    let create = |ids: &[Word64; 2], at: usize| {
        if let Ok(shmid) = namespace.create(at, 7) {
            ids[at].store(shmid as u64, SeqCst);
        }
    };
    let runs = explore(2, make, &[&|ids| create(ids, 0), &|ids| create(ids, 1)], |ids| {
        let ids = ids.each_ref().map(|id| id.load(SeqCst) as i32);
        let made: Vec<i32> = ids.into_iter().filter(|id| *id != 0).collect();
        assert_eq!(made.len(), 1, "{ids:?}");
        assert_eq!(namespace.processes[2].shmget(7, 0, 0), Ok(made[0] as u64));
        namespace.processes[2].remove(made[0]).unwrap();
        namespace.is_empty();
    });
    println!("{runs} orders");
}

/// What takes a place in the slot of a segment for the first process.
fn filler(namespace: &Namespace, found: &Found<'_>) -> u64 {
    namespace.processes[0].life().unwrap().holds(0xffff, found.word.sequence).to_u64()
}

/// Takes all free places in a segment's own slot: further holders need blocks.
fn fill_places(namespace: &Namespace, found: &Found<'_>) {
    let filler = filler(namespace, found);
    found.segment.holders.iter().for_each(|place| _ = place.compare_exchange(0, filler, SeqCst, SeqCst));
}

fn empty_places(namespace: &Namespace, found: &Found<'_>) {
    let filler = filler(namespace, found);
    found.segment.holders.iter().for_each(|place| _ = place.compare_exchange(filler, 0, SeqCst, SeqCst));
}

#[test]
fn blocks_come_and_go() {
    let namespace = Namespace::new(3);
    let make = || {
        let (shmid, address) = namespace.attached();
        fill_places(&namespace, &namespace.processes[0].found(shmid).unwrap());
        Attached { shmid, address, ..Attached::default() }
    };
    let attach_and_detach = |run: &Attached, at: usize| {
        let address = namespace.attach(at, run.shmid).unwrap();
        assert_eq!(word(address).load(SeqCst), MAGIC);
        namespace.detach(at, address);
    };
    let runs = explore(1, make, &[&|run| attach_and_detach(run, 1), &|run| attach_and_detach(run, 2)], |run| {
        let first = &namespace.processes[0];
        empty_places(&namespace, &first.found(run.shmid).unwrap());
        assert_eq!(namespace.nattch(0, run.shmid), Ok(1));
        first.remove(run.shmid).unwrap();
        namespace.detach(0, run.address);
        namespace.is_empty();
    });
    println!("{runs} orders");
}

/// Somebody needs a block for a segment that is destroyed meanwhile, and whose slot becomes another's, which needs blocks too.
#[test]
fn a_late_block_meets_the_next_segment() {
    let namespace = Namespace::new(3);
    let make = || {
        namespace.begin_anew();
        let found = namespace.processes[1].found(namespace.create(0, libc::IPC_PRIVATE).unwrap()).unwrap();
        fill_places(&namespace, &found);
        (found.index, found.word, Word64::new(0))
    };
    let first = |&(index, word, _): &(usize, Word, Word64)| Found {
        index,
        word,
        segment: namespace.processes[1].registry.segment(index).unwrap(),
    };
    // As shmat that comes too late.
    let hold = |run: &(usize, Word, Word64)| {
        let (process, found) = (&namespace.processes[1], first(run));
        let life = process.life().unwrap();
        if process.hold(&found, life, 1).is_ok() {
            process.registry.release(&found, life, process.hint(&found));
        }
    };
    let replace = |run: &(usize, Word, Word64)| {
        let (process, found) = (&namespace.processes[2], first(run));
        empty_places(&namespace, &found);
        process.remove(found.id()).unwrap();
        process.registry.layout().header.last.store(0, SeqCst);
        let second = process.found(namespace.create(2, libc::IPC_PRIVATE).unwrap()).unwrap();
        fill_places(&namespace, &second);
        process.hold(&second, process.life().unwrap(), 1).unwrap();
        run.2.store(second.id() as u64, SeqCst);
    };
    let met = Word64::new(0);
    let runs = explore(1, make, &[&hold, &replace], |run| {
        let process = &namespace.processes[2];
        let second = process.found(run.2.load(SeqCst) as i32).unwrap();
        met.fetch_add(u64::from(second.index == run.0), SeqCst);
        empty_places(&namespace, &second);
        assert_eq!(namespace.nattch(0, second.id()), Ok(1), "what came after");
        assert!(process.registry.release(&second, process.life().unwrap(), process.hint(&second)));
        process.remove(second.id()).unwrap();
        process.bury();
        namespace.is_empty();
    });
    println!("{runs} orders, in {met:?} of them in the same slot");
    assert!(met.load(SeqCst) > 0);
}

/// kernel.shm_rmid_forced is 1.
fn force(namespace: &Namespace) {
    fs::write(namespace.dir.path().join("limit.shm_rmid_forced"), "1").unwrap();
    let Userspace { registry, .. } = &namespace.processes[0];
    registry.layout().header.forced.store(0, SeqCst);
    registry.forced_opened();
}

#[test]
fn the_last_detach_meets_an_attach_under_rmid_forced() {
    let namespace = Namespace::new(4);
    let make = || {
        namespace.begin_anew();
        force(&namespace);
        let shmid = namespace.create(0, libc::IPC_PRIVATE).unwrap();
        let address = namespace.attach(0, shmid).unwrap();
        word(address).store(MAGIC, SeqCst);
        Attached { shmid, address, ..Attached::default() }
    };
    attach_meets_last_detach(&namespace, make);
}

#[test]
fn the_last_two_detaches_meet_under_rmid_forced() {
    let namespace = Namespace::new(3);
    let make = || {
        namespace.begin_anew();
        force(&namespace);
        let shmid = namespace.create(0, libc::IPC_PRIVATE).unwrap();
        let [address, second] = [0, 1].map(|at| namespace.attach(at, shmid).unwrap());
        Attached { shmid, address, second: Word64::new(second), ..Attached::default() }
    };
    let detach_both: [&dyn Fn(&Attached); 2] =
        [&|run| namespace.detach(0, run.address), &|run| namespace.detach(1, run.second.load(SeqCst))];
    let runs = explore(2, make, &[detach_both[0], detach_both[1]], |_| namespace.is_empty());
    println!("{runs} orders");
}

/// What is held when it becomes 1 goes with its last detach, however young.
#[test]
fn an_attach_meets_rmid_forced() {
    let namespace = Namespace::new(2);
    let make = || {
        namespace.begin_anew();
        namespace.processes[0].registry.layout().header.forced.store(0, SeqCst);
        let shmid = namespace.create(0, libc::IPC_PRIVATE).unwrap();
        let found = namespace.processes[1].found(shmid).unwrap();
        force(&namespace);
        (found.index, found.word)
    };
    let found =
        |index: usize, word: Word| Found { index, segment: namespace.processes[1].registry.segment(index).unwrap(), word };
    // As shmat, from when it has found the segment.
    let attach = |&(index, word): &(usize, Word)| {
        let process = &namespace.processes[1];
        process.hold(&found(index, word), process.life().unwrap(), 1).unwrap();
    };
    let runs = explore(2, make, &[&|_| namespace.processes[0].force(), &attach], |&(index, word)| {
        let (process, found) = (&namespace.processes[1], found(index, word));
        assert!(found.is_still_there());
        assert!(process.registry.release(&found, process.life().unwrap(), process.hint(&found)));
        assert!(process.found(found.id()).is_none());
        namespace.is_empty();
    });
    println!("{runs} orders");
}
