//! A fresh IPC namespace: its segments meet no others and are gone when it is.
//!
//! It is held by descriptors, not by a process, so nothing is left to end. Root unshares the IPC namespace
//! alone; another user needs a user namespace around it, in which the user keeps the own uid and gid (and so
//! has no capabilities in the programs that are started). Where namespaces are refused, programs run in the
//! machine's, one test at a time, and that is said once; what they leave there is removed.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, Once, OnceLock, PoisonError};

use crate::Userspace;
use crate::trial::is_on_userspace;

/// A namespace that processes started by `Run::namespace` enter.
pub struct Namespace {
    user: Option<OwnedFd>,
    ipc: Option<OwnedFd>,
    /// Where their segments are, if the kernel has none for them.
    userspace: Option<Userspace>,
}

impl Namespace {
    /// A new and empty namespace.
    pub fn fresh() -> Namespace {
        // SAFETY: geteuid and getegid always succeed and touch no memory.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        match Namespace::make(uid, gid) {
            Ok(namespace) => namespace,
            Err(error) => {
                static SAID: Once = Once::new();
                SAID.call_once(|| eprintln!("note: no IPC namespaces here ({error}): tests share the machine's"));
                Guest::enter();
                Namespace { user: None, ipc: None, userspace: None }
            }
        }
    }

    /// One in which the kernel has no System V shared memory and the userspace backend serves the calls, of gated programs and of others.
    pub fn on_userspace() -> Namespace {
        let mut namespace = Namespace::fresh();
        namespace.userspace = Some(Userspace::fresh());
        namespace
    }

    /// A fresh one of the backend that the calling trial is for.
    pub fn of_trial() -> Namespace {
        if is_on_userspace() { Namespace::on_userspace() } else { Namespace::fresh() }
    }

    /// The userspace backend's namespace, if it serves the calls here.
    pub fn userspace(&self) -> Option<&Userspace> {
        self.userspace.as_ref()
    }

    /// Whether this machine lets us have one: tests that change the machine's own settings, or remove whatever they find,
    /// must not run where it does not.
    pub fn available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| Namespace::fresh().is_isolated())
    }

    /// Whether the namespace is one of its own.
    pub fn is_isolated(&self) -> bool {
        self.ipc.is_some()
    }

    /// The descriptors to enter, in order.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        self.user.iter().chain(&self.ipc).map(AsRawFd::as_raw_fd).collect()
    }

    fn make(uid: u32, gid: u32) -> io::Result<Namespace> {
        let flags = if uid == 0 { libc::CLONE_NEWIPC } else { libc::CLONE_NEWIPC | libc::CLONE_NEWUSER };
        let (uid_map, gid_map) = (format!("{uid} {uid} 1"), format!("{gid} {gid} 1"));
        let (ready_read, ready_write) = pipe()?;
        // SAFETY: the child makes only system calls on values prepared before the fork, and never returns.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let mut answer = 0i32;
                if libc::unshare(flags) != 0 {
                    answer = *libc::__errno_location();
                } else if uid != 0 {
                    put(c"/proc/self/setgroups", b"deny");
                    put(c"/proc/self/uid_map", uid_map.as_bytes());
                    put(c"/proc/self/gid_map", gid_map.as_bytes());
                }
                libc::write(ready_write.as_raw_fd(), (&raw const answer).cast(), 4);
                loop {
                    libc::pause();
                }
            }
        }
        drop(ready_write);
        let opened = (|| {
            if child < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut answer = [0; 4];
            File::from(ready_read).read_exact(&mut answer)?;
            match i32::from_ne_bytes(answer) {
                0 => {}
                number => return Err(io::Error::from_raw_os_error(number)),
            }
            let open = |kind| File::open(format!("/proc/{child}/ns/{kind}")).map(OwnedFd::from);
            let user = if uid == 0 { None } else { Some(open("user")?) };
            Ok(Namespace { user, ipc: Some(open("ipc")?), userspace: None })
        })();
        if child > 0 {
            // By signal and not by closing a pipe: another thread's child may have inherited our end of it.
            // SAFETY: the child is ours and not yet waited for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
        }
        opened
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.is_isolated() {
            Guest::leave();
        }
    }
}

/// Where there is no namespace: what the machine's held before the first of us came.
struct Guest {
    namespaces: usize,
    others: Vec<i32>,
}

static GUEST: Mutex<Guest> = Mutex::new(Guest { namespaces: 0, others: Vec::new() });

impl Guest {
    fn enter() {
        let mut guest = GUEST.lock().unwrap_or_else(PoisonError::into_inner);
        if guest.namespaces == 0 {
            guest.others = segments().iter().map(|segment| segment.shmid).collect();
        }
        guest.namespaces += 1;
    }

    /// The last one clears up: those segments that came with us, are ours, and are nobody's now.
    fn leave() {
        let mut guest = GUEST.lock().unwrap_or_else(PoisonError::into_inner);
        guest.namespaces -= 1;
        if guest.namespaces > 0 {
            return;
        }
        // SAFETY: system calls without memory.
        unsafe {
            let uid = libc::geteuid();
            let left = segments().into_iter().filter(|segment| {
                let creator_lives = libc::kill(segment.cpid, 0) == 0;
                segment.uid == uid && segment.nattch == 0 && !creator_lives && !guest.others.contains(&segment.shmid)
            });
            for segment in left {
                libc::shmctl(segment.shmid, libc::IPC_RMID, std::ptr::null_mut());
            }
        }
    }
}

/// A line of /proc/sysvipc/shm.
struct Segment {
    shmid: i32,
    cpid: i32,
    nattch: u64,
    uid: u32,
}

/// The segments of our own IPC namespace.
fn segments() -> Vec<Segment> {
    let text = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let parsed = text.lines().skip(1).filter_map(|line| {
        // key shmid perms size cpid lpid nattch uid ...
        let columns: Vec<&str> = line.split_whitespace().collect();
        Some(Segment {
            shmid: columns.get(1)?.parse().ok()?,
            cpid: columns.get(4)?.parse().ok()?,
            nattch: columns.get(6)?.parse().ok()?,
            uid: columns.get(7)?.parse().ok()?,
        })
    });
    parsed.collect()
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the kernel fills the array with two new descriptors, which we own from here on.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// Writes a file of /proc from the forked child.
///
/// # Safety
/// Nothing beyond what open, write and close ask: `path` is NUL-terminated by its type.
unsafe fn put(path: &CStr, text: &[u8]) {
    // SAFETY: see above.
    unsafe {
        let descriptor = libc::open(path.as_ptr(), libc::O_WRONLY);
        libc::write(descriptor, text.as_ptr().cast(), text.len());
        libc::close(descriptor);
    }
}
