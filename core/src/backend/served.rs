//! The backend of a process: the kernel's, the userspace one, or the latter once the former has turned out not to work.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use once_cell::race::OnceRef;

use super::kernel::Kernel;
use super::userspace::Userspace;
use super::userspace::place::directory;
use super::userspace::proc::ProcFile;
use super::{Backend, advice};
use crate::call::Call;
use crate::errno::Errno;
use crate::log::Stderr;
use crate::names::SHM_ADVICE;

/// What `SHMGATE_BACKEND` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The kernel if its System V shared memory works, else user space.
    #[default]
    Auto,
    Kernel,
    Userspace,
}

impl Choice {
    /// What a value of `SHMGATE_BACKEND` means.
    ///
    /// # Errors
    /// A message for people.
    pub fn parse(name: &str) -> Result<Choice, String> {
        match name {
            "auto" => Ok(Choice::Auto),
            "kernel" => Ok(Choice::Kernel),
            "userspace" => Ok(Choice::Userspace),
            other => Err(format!("unknown backend \"{}\", use auto, kernel or userspace", other.escape_debug())),
        }
    }
}

/// What serves a process's calls.
#[derive(Debug)]
pub struct Served {
    kernel: Kernel,
    /// Where the kernel's failure may lead to the userspace backend.
    fallback: Option<Fallback>,
    /// It lasts as long as the process.
    userspace: OnceRef<'static, Userspace>,
}

/// What takes the kernel's place where that has nothing to offer.
#[derive(Debug)]
struct Fallback {
    /// The directory that it means depends on the user, whom the process may change before its first call.
    namespace: String,
    stderr: Stderr,
    /// It can't be had, and that was said.
    is_missed: AtomicBool,
}

impl Served {
    /// By the kernel alone.
    pub fn by(kernel: Kernel) -> Served {
        Served { kernel, fallback: None, userspace: OnceRef::new() }
    }

    /// As `choice` says; with the userspace backend in `namespace`.
    ///
    /// # Errors
    /// A message for people: the userspace backend can't be had.
    pub fn chosen(kernel: Kernel, choice: Choice, namespace: Option<&OsStr>) -> Result<Served, String> {
        let mut served = Served::by(kernel);
        if choice == Choice::Kernel {
            return Ok(served);
        }
        let namespace = namespace.map_or("default".into(), |name| String::from_utf8_lossy(name.as_bytes()));
        if choice == Choice::Userspace {
            served.serve_by(Userspace::open(&directory(&namespace)?)?);
        } else {
            let namespace = namespace.into_owned();
            served.fallback = Some(Fallback { namespace, stderr: Stderr::now(), is_missed: AtomicBool::new(false) });
        }
        Ok(served)
    }

    /// The kernel's functions.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The userspace backend, if it serves the calls.
    #[inline]
    pub fn userspace(&self) -> Option<&Userspace> {
        self.userspace.get()
    }

    /// False if the userspace backend will never serve a call.
    #[inline]
    pub fn may_be_userspace(&self) -> bool {
        self.userspace().is_some() || self.fallback.is_some()
    }

    /// Opens what the namespace has in the place of a file of /proc, as openat would with these arguments: in the place of the open
    /// descriptor `fd`, or as a new one if it is -1. `None` for any other path, and where the userspace backend does not serve the calls.
    ///
    /// # Errors
    /// open's: EACCES, EMFILE, …
    #[inline(never)]
    pub fn open_proc(&self, fd: i32, dirfd: i32, path: &[u8], flags: i32) -> Option<Result<i32, Errno>> {
        let file = ProcFile::named(dirfd, path).filter(|_| flags & libc::O_PATH == 0)?;
        if self.userspace().is_none() {
            // A struct shminfo.
            let mut limits = [0_u64; 9];
            // SAFETY: there is room for the answer.
            let asked = unsafe { self.kernel.shmctl(0, libc::IPC_INFO, (&raw mut limits).expose_provenance() as u64) };
            self.instead(asked.err()?, 0)?;
        }
        let file = self.userspace()?.open_proc(file, flags);
        Some(file.and_then(|file| file.hand_over(fd, flags & libc::O_CLOEXEC)))
    }

    /// Makes a call; used where nothing but the backend is set.
    ///
    /// # Errors
    /// The call's.
    ///
    /// # Safety
    /// The call is the host's own.
    #[inline(always)]
    pub unsafe fn call(&self, call: &Call<'_>) -> Result<u64, Errno> {
        match *call {
            Call::Shmget { key, size, flags } => self.shmget(key, size, flags),
            // SAFETY: by the caller's promise.
            Call::Shmat { shmid, addr, flags } => unsafe { self.shmat(shmid, addr, flags) },
            // SAFETY: by the caller's promise.
            Call::Shmdt { addr } => unsafe { self.shmdt(addr) },
            // SAFETY: by the caller's promise.
            Call::Shmctl { shmid, cmd, buf, .. } => unsafe { self.shmctl(shmid, cmd, buf) },
            Call::Ftok { .. } => Err(Errno::ENOSYS),
        }
    }

    /// True if a call that the kernel has answered with `errno` may be one for the userspace backend.
    #[inline]
    pub fn may_replace(&self, errno: Errno) -> bool {
        matches!(errno, Errno::ENOSYS | Errno::EPERM) && self.fallback.is_some()
    }

    /// After the kernel has answered a call with `errno`: the userspace backend, if that means that the kernel has none to offer.
    #[cold]
    #[inline(never)]
    fn instead(&self, errno: Errno, flags: i32) -> Option<&Userspace> {
        let has_none = errno == Errno::ENOSYS || (errno == Errno::EPERM && flags & libc::SHM_HUGETLB == 0);
        let fallback = self.fallback.as_ref().filter(|_| has_none)?;
        match directory(&fallback.namespace).and_then(|dir| Userspace::open(&dir)) {
            Ok(made) => self.serve_by(made),
            Err(what) => {
                if !fallback.is_missed.swap(true, Relaxed) {
                    let line = format!(
                        "shmgate: the kernel has no System V shared memory here, and user space can't replace it: {what}\n"
                    );
                    let _ = fallback.stderr.write(line.as_bytes());
                }
                None
            }
        }
    }

    /// Lets the userspace backend serve the calls from now on: `made`, unless another thread was faster.
    fn serve_by(&self, made: Userspace) -> Option<&Userspace> {
        let _ = self.userspace.set(Box::leak(Box::new(made)));
        let serving = self.userspace.get()?;
        serving.guard();
        Some(serving)
    }

    /// The calling process is about to fork.
    pub fn fork_begins(&self) {
        if let Some(userspace) = self.userspace() {
            userspace.fork_begins();
        }
    }

    /// fork has returned in the parent.
    pub fn fork_ended(&self) {
        if let Some(userspace) = self.userspace() {
            userspace.fork_ended();
        }
    }

    /// fork made the calling process.
    pub fn forked(&self) {
        if let Some(userspace) = self.userspace() {
            userspace.forked();
        }
    }

    /// The calling process is about to change its user.
    pub fn uid_changes(&self) {
        if let Some(userspace) = self.userspace() {
            userspace.uid_changes();
        }
    }

    /// The calling process ends.
    pub fn leave(&self) {
        if let Some(userspace) = self.userspace() {
            userspace.leave();
        }
    }
}

impl Backend for Served {
    #[inline]
    fn number(&self) -> u8 {
        u8::from(self.userspace().is_some())
    }

    #[inline]
    fn shmget(&self, key: i32, size: u64, flags: i32) -> Result<u64, Errno> {
        if let Some(userspace) = self.userspace() {
            return userspace.shmget(key, size, flags);
        }
        let made = match flags & SHM_ADVICE {
            0 => self.kernel.shmget(key, size, flags),
            _ => advice::shmget(&self.kernel, key, size, flags),
        };
        match made {
            Err(errno @ (Errno::ENOSYS | Errno::EPERM)) => {
                self.instead(errno, flags).map_or(Err(errno), |userspace| userspace.shmget(key, size, flags))
            }
            other => other,
        }
    }

    #[inline]
    unsafe fn shmat(&self, shmid: i32, addr: u64, flags: i32) -> Result<u64, Errno> {
        // SAFETY: by the caller's promise.
        unsafe {
            match self.userspace() {
                Some(userspace) => userspace.shmat(shmid, addr, flags),
                None if advice::is_any() => advice::shmat(&self.kernel, shmid, addr, flags),
                None => self.kernel.shmat(shmid, addr, flags),
            }
        }
    }

    #[inline]
    unsafe fn shmdt(&self, addr: u64) -> Result<u64, Errno> {
        // SAFETY: by the caller's promise.
        unsafe { self.userspace().map_or_else(|| self.kernel.shmdt(addr), |userspace| userspace.shmdt(addr)) }
    }

    #[inline]
    unsafe fn shmctl(&self, shmid: i32, cmd: i32, buf: u64) -> Result<u64, Errno> {
        if let Some(userspace) = self.userspace() {
            // SAFETY: by the caller's promise.
            return unsafe { userspace.shmctl(shmid, cmd, buf) };
        }
        // SAFETY: by the caller's promise.
        match unsafe { self.kernel.shmctl(shmid, cmd, buf) } {
            Err(Errno::ENOSYS) => match self.instead(Errno::ENOSYS, 0) {
                // SAFETY: by the caller's promise.
                Some(userspace) => unsafe { userspace.shmctl(shmid, cmd, buf) },
                None => Err(Errno::ENOSYS),
            },
            other => other,
        }
    }

    fn exists(&self, shmid: i32, size: u64) -> bool {
        self.userspace().map_or_else(|| self.kernel.exists(shmid, size), |userspace| userspace.exists(shmid, size))
    }

    fn created_by(&self, pid: u32, size: u64, found: &mut dyn FnMut(i32) -> bool) {
        match self.userspace() {
            Some(userspace) => userspace.created_by(pid, size, found),
            None => self.kernel.created_by(pid, size, found),
        }
    }

    fn attached(&self, pid: u32) -> Option<u64> {
        self.userspace().map_or_else(|| self.kernel.attached(pid), |userspace| userspace.attached(pid))
    }
}
