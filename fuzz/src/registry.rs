//! Registries: whatever stands in one, before a process comes or while it calls, no call crashes, hangs, or maps what is not the segment's;
//! `shmgate namespace check` and `--repair` end, and say something.
//!
//! An input is changes of a good namespace, eight bytes each. The first byte says whether they are made before the calls, or again and
//! again while they are made. The calls are a child's.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use shmgate_core::backend::Backend;
use shmgate_core::backend::userspace::layout::{Block, Header, Layout, Process, Segment};
use shmgate_core::backend::userspace::{Userspace, check};

const KEYS: [i32; 3] = [0x5e00_0001, 0x5e00_0002, 0x5e00_0003];
const SIZE: u64 = 3 * 4096;
/// Seconds after which a child hangs.
const PATIENCE: u32 = 20;

/// A good namespace's files: names, lengths, and what is not zero.
struct Good {
    registry: Vec<(u64, Vec<u8>)>,
    segments: Vec<(String, u64)>,
}

fn place(what: &str) -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    PathBuf::from(format!("/dev/shm/shmgate-fuzz-{}-{thread}-{what}", std::process::id()))
}

fn fresh(what: &str) -> PathBuf {
    let dir = place(what);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).expect("a directory");
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).expect("chmod");
    dir
}

/// In a child, so that no life is left of it here. What it has attached dies with it.
fn in_child(work: impl FnOnce()) -> i32 {
    // SAFETY: the child does its work and ends without returning; of this process's locks it needs malloc's alone, which fork sees to.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: ends the child when it hangs.
        unsafe { libc::alarm(PATIENCE) };
        let done = catch_unwind(AssertUnwindSafe(work));
        if let Err(panic) = &done {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            // Past the test runner, which keeps what its threads print.
            let said = format!("{said:?}\n");
            // SAFETY: the bytes are the string's.
            unsafe { libc::write(2, said.as_ptr().cast(), said.len()) };
        }
        // SAFETY: ends the child, and runs nothing of the parent's.
        unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) };
    }
    pid
}

fn ended(pid: i32, flags: i32) -> Option<i32> {
    let mut how = 0;
    // SAFETY: our child, and a place for its status.
    match unsafe { libc::waitpid(pid, &mut how, flags) } {
        0 => None,
        _ => Some(how),
    }
}

fn good() -> &'static Good {
    static GOOD: OnceLock<Good> = OnceLock::new();
    GOOD.get_or_init(|| {
        let dir = fresh("good");
        let made = in_child(|| {
            let backend = Userspace::open(&dir).expect("a new namespace");
            for key in KEYS {
                let id = backend.shmget(key, SIZE, libc::IPC_CREAT | 0o600).expect("shmget");
                // SAFETY: attached where the kernel wants.
                unsafe { backend.shmat(id as i32, 0, 0) }.expect("shmat");
            }
            let removed = backend.shmget(libc::IPC_PRIVATE, SIZE, libc::IPC_CREAT | 0o600).expect("shmget") as i32;
            // SAFETY: as above; the removal needs no buffer.
            unsafe { backend.shmat(removed, 0, 0).and_then(|_| backend.shmctl(removed, libc::IPC_RMID, 0)) }.expect("removed");
            // A block beside the first segment.
            for _ in 0..14 {
                let child = in_child(|| {
                    backend.fork_begins();
                    backend.forked();
                    backend.shmget(KEYS[0], 0, 0).expect("shmget");
                });
                ended(child, 0);
            }
        });
        assert_eq!(ended(made, 0), Some(0));
        let file = File::open(dir.join("registry")).expect("the registry");
        let mut registry = Vec::new();
        for at in (0..size_of::<Layout>() as u64).step_by(4096) {
            let mut page = vec![0; 4096];
            file.read_exact_at(&mut page, at).expect("a page");
            if page.iter().any(|&byte| byte != 0) {
                registry.push((at, page));
            }
        }
        let segments = fs::read_dir(&dir).expect("the directory").filter_map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a plain name");
            name.starts_with("segment.").then(|| (name, entry.metadata().expect("its length").len()))
        });
        let segments = segments.collect();
        fs::remove_dir_all(&dir).expect("the directory");
        Good { registry, segments }
    })
}

fn copy(dir: &Path) -> File {
    let options = || OpenOptions::new().read(true).write(true).create(true).truncate(true).to_owned();
    let registry = options().open(dir.join("registry")).expect("a file");
    registry.set_len(size_of::<Layout>() as u64).expect("its length");
    for (at, page) in &good().registry {
        registry.write_all_at(page, *at).expect("a page");
    }
    for (name, len) in &good().segments {
        options().open(dir.join(name)).and_then(|file| file.set_len(*len)).expect("a segment");
    }
    options().open(dir.join("lives")).and_then(|mut file| file.write_all(b"")).expect("lives");
    registry
}

/// Where in the registry a change is: what is used, rather than what is not.
fn target(how: u8, at: u64) -> u64 {
    let (table, entry, entries) = match how % 8 {
        0 | 1 => (0, size_of::<Header>(), 1),
        2 => (offset_of!(Layout, processes), size_of::<Process>(), 4),
        3 | 4 => (offset_of!(Layout, segments), size_of::<Segment>(), 6),
        5 => (offset_of!(Layout, blocks), size_of::<Block>(), 3),
        6 => (offset_of!(Layout, buckets), offset_of!(Layout, processes) - offset_of!(Layout, buckets), 1),
        _ => (0, size_of::<Layout>(), 1),
    };
    // The header's fields are in the first bytes of its page.
    let len = if table == 0 && entries == 1 && how % 8 < 2 { 17 * 8 } else { entry * entries };
    table as u64 + at % len as u64
}

fn change(registry: &File, dir: &Path, edit: &[u8], may_cut: bool) {
    let at = u64::from(u32::from_le_bytes([edit[2], edit[3], edit[4], 0]));
    let value = u64::from(edit[5]) | u64::from(edit[6]) << 8;
    let at = target(edit[0], at);
    let word_at = at & !7;
    let mut word = [0; 8];
    let _ = registry.read_exact_at(&mut word, word_at);
    let new = match edit[1] % 12 {
        0..=2 => u64::from_le_bytes(word) ^ 1 << (value % 64),
        3 => value,
        4 => u64::MAX,
        5 => 0,
        6 => u64::MAX - value,
        7 => value << 48 | value,
        8 if may_cut => return drop(registry.set_len(value * 997 % (2 * size_of::<Layout>() as u64))),
        9 if may_cut => {
            let (name, _) = &good().segments[value as usize % good().segments.len()];
            let file = OpenOptions::new().write(true).open(dir.join(name));
            return drop(file.and_then(|file| file.set_len(value % SIZE)));
        }
        10 if may_cut && value % 8 == 0 => return drop(fs::remove_file(dir.join("lives"))),
        _ => return drop(registry.write_all_at(&[edit[5]], at)),
    };
    let _ = registry.write_all_at(&new.to_le_bytes(), word_at);
}

/// What a process would do; whatever comes is good, but for crashes.
fn calls(dir: &Path) {
    let backend = match Userspace::open(dir) {
        Ok(backend) => backend,
        Err(error) => {
            assert!(super::is_plain_line(&error), "{error:?}");
            return;
        }
    };
    let mut ids = vec![1, 32768, 32769, 65536, i32::MAX];
    for key in KEYS {
        for (size, flags) in [(0, 0), (SIZE, libc::IPC_CREAT | 0o600), (SIZE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)] {
            if let Ok(id) = backend.shmget(key, size, flags) {
                ids.push(id as i32);
            }
        }
    }
    for key in [libc::IPC_PRIVATE, 0x5e00_0009] {
        if let Ok(id) = backend.shmget(key, SIZE, libc::IPC_CREAT | 0o600) {
            ids.push(id as i32);
        }
    }
    let mut buffer = [0_u64; 32];
    let buf = buffer.as_mut_ptr() as u64;
    for index in 0..6 {
        // SAFETY: the buffer is larger than a shmid_ds.
        if let Ok(id) = unsafe { backend.shmctl(index, 13, buf) } {
            ids.push(id as i32);
        }
    }
    let mut attached = Vec::new();
    for &id in ids.iter().chain(&ids) {
        // SAFETY: attached where the kernel wants.
        if let Ok(address) = unsafe { backend.shmat(id, 0, if attached.len() % 3 == 2 { libc::SHM_RDONLY } else { 0 }) } {
            touch(address);
            attached.push(address);
        }
    }
    backend.fork_begins();
    backend.fork_ended();
    for &id in &ids {
        for command in [libc::IPC_STAT, libc::IPC_SET, 11, 12] {
            // SAFETY: as above.
            let _ = unsafe { backend.shmctl(id, command, buf) };
        }
    }
    for command in [libc::IPC_INFO, 14] {
        // SAFETY: as above.
        let _ = unsafe { backend.shmctl(0, command, buf) };
    }
    for address in attached {
        touch(address);
        // SAFETY: attached above, and not used any more.
        unsafe { backend.shmdt(address) }.expect("shmdt of what was attached");
    }
    for id in ids {
        // SAFETY: needs no buffer.
        let _ = unsafe { backend.shmctl(id, libc::IPC_RMID, 0) };
    }
    backend.leave();
}

/// The memory of an attach is a file's, to its last byte: reading it is no SIGBUS.
fn touch(address: u64) {
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    let line = maps.lines().find(|line| line.starts_with(&format!("{address:x}-"))).expect("a mapping begins there");
    assert!(line.contains("segment."), "{line}");
    let end = line.split(['-', ' ']).nth(1).and_then(|end| u64::from_str_radix(end, 16).ok()).expect("its end");
    // A mapping's pages that are not there are a signal.
    for at in [address, end - 1] {
        // SAFETY: mapped, by the line above.
        unsafe { (at as *const u8).read_volatile() };
    }
}

fn inspect(dir: &Path) {
    let said = |faults: Result<Vec<check::Fault>, String>| match faults {
        Ok(faults) => faults.into_iter().for_each(|fault| assert!(super::is_plain_line(&fault.text), "{:?}", fault.text)),
        Err(error) => assert!(super::is_plain_line(&error), "{error:?}"),
    };
    said(check::check(dir));
    let _ = check::usage(dir);
    let _ = check::holds(dir);
    if let Err(error) = check::repair(dir) {
        assert!(super::is_plain_line(&error), "{error:?}");
        return;
    }
    // What a repair can mend is mended.
    if let Ok(faults) = check::check(dir) {
        let left = faults.iter().filter(|fault| fault.can_be_mended).map(|fault| &fault.text).collect::<Vec<_>>();
        assert!(left.is_empty() || faults.iter().any(|fault| !fault.can_be_mended), "not mended: {left:?}");
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let Some((&how, edits)) = data.split_first() else { return };
    let while_running = how % 4 == 3;
    let dir = fresh("registry");
    let registry = copy(&dir);
    let edits: Vec<_> = edits.chunks_exact(7).take(12).collect();
    if !while_running {
        edits.iter().for_each(|edit| change(&registry, &dir, edit, true));
    }
    let child = in_child(|| calls(&dir));
    let begun = Instant::now();
    let mut status = None;
    while while_running && !edits.is_empty() && status.is_none() && begun.elapsed() < Duration::from_secs(PATIENCE.into()) {
        edits.iter().for_each(|edit| change(&registry, &dir, edit, false));
        status = ended(child, libc::WNOHANG);
    }
    let status = status.or_else(|| ended(child, 0));
    let looked = ended(in_child(|| inspect(&dir)), 0);
    // What was repaired can be used, or says that it can't.
    let again = ended(in_child(|| calls(&dir)), 0);
    let _ = fs::remove_dir_all(&dir);
    assert_eq!([status, looked, again], [Some(0); 3], "calls, check and repair, calls: statuses of wait");
}
