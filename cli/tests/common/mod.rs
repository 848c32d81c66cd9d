//! What the command's tests share.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use shmgate_core::backend::userspace::place::{directory, shared_directory};
use shmgate_testkit::compile::program;
use shmgate_testkit::process::readable;
use shmgate_testkit::{Agent, Namespace, Outcome, Run, Status, command};

/// The command with these arguments, in a fresh IPC namespace.
pub fn shmgate<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    Run::new(command()).args(arguments)
}

/// The same, with a standard output that nobody reads any more.
pub fn unread<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    let script = "place=$(mktemp -d) && mkfifo \"$place/out\" && exec 3<>\"$place/out\" 4>\"$place/out\" 3<&- && rm -r \"$place\" && \
        exec \"$0\" \"$@\" >&4 4>&-";
    Run::new("sh").args(["-c", script]).arg(command()).args(arguments)
}

/// `shmgate run -- ARGUMENTS`.
pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    shmgate(["run", "--"]).args(arguments)
}

/// A tool of this machine, if it has it.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.exists())
}

/// A place for a test's files.
pub fn place() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("shmgate-cli-").tempdir().expect("temporary directory")
}

/// Fails unless the command ended with `status` and one line on stderr that has all `parts`.
#[track_caller]
pub fn refused(outcome: &Outcome, status: i32, parts: &[&str]) {
    assert_eq!(outcome.status, Status::Exited(status), "{outcome}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    assert!(outcome.stderr.starts_with("shmgate: "), "{outcome}");
    for part in parts {
        assert!(outcome.stderr.contains(part), "{part} is missing\n{outcome}");
    }
}

/// Compiles `tests/programs/NAME.c` of this crate with further arguments.
pub fn compile(name: &str, to: &Path, arguments: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/programs/{name}.c"));
    let program = to.join(name);
    let done = Command::new("gcc").arg("-o").arg(&program).arg(source).args(arguments).output().expect("gcc runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    program
}

/// A terminal: our end, which is nobody else's, and that of a program.
pub fn terminal() -> (File, File) {
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: the kernel fills in two descriptors; NULL takes the defaults.
    let failed =
        unsafe { libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut()) };
    assert_eq!(failed, 0, "openpty: {}", io::Error::last_os_error());
    // SAFETY: two new descriptors that nobody else owns.
    let (ours, theirs) = unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) };
    for end in [&ours, &theirs] {
        // SAFETY: a plain system call on a descriptor of ours.
        unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    (ours, theirs)
}

/// Lines as they come, each before a deadline.
pub struct Lines<R> {
    from: R,
    deadline: Instant,
    unread: Vec<u8>,
}

impl<R: Read + AsRawFd> Lines<R> {
    pub fn of(from: R, deadline: Instant) -> Lines<R> {
        Lines { from, deadline, unread: Vec::new() }
    }

    /// The next line, without its end; `None` at the end.
    #[track_caller]
    pub fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).trim_end_matches('\r').to_owned());
            }
            assert!(
                readable(self.from.as_raw_fd(), self.deadline),
                "no line in time: {}",
                String::from_utf8_lossy(&self.unread)
            );
            let mut bytes = [0; 4096];
            match self.from.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
            }
        }
    }

    /// Reads on to a line with `part` in it, and returns what stands before.
    #[track_caller]
    pub fn until(&mut self, part: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            match self.next() {
                None => panic!("the end came before {part:?}, after {before:?}"),
                Some(line) if line.contains(part) => return before,
                Some(line) => before.push(line),
            }
        }
    }
}

/// A namespace of a test's own among the user's, gone with the test.
pub struct Named {
    pub name: String,
    pub dir: PathBuf,
    /// The sessions of what is run in it: with processes killed in another PID namespace they stay.
    sessions: tempfile::TempDir,
}

impl Named {
    pub fn new(name: &str) -> Named {
        let name = format!("test-{name}-{}", std::process::id());
        Named { dir: directory(&name).unwrap(), name, sessions: place() }
    }

    /// One in a directory that nobody else looks for.
    pub fn at(dir: PathBuf) -> Named {
        Named { name: dir.to_str().expect("UTF-8").to_owned(), dir, sessions: place() }
    }

    /// A shared one.
    pub fn shared(name: &str) -> Named {
        let mut named = Named::new(name);
        named.dir = shared_directory(&named.name).unwrap();
        named
    }

    pub fn agent(&self) -> Agent {
        Agent::start(self.run(program("agent")))
    }

    /// An agent that others of the same IPC namespace may look into, without rights too.
    pub fn agent_in(&self, namespace: &Namespace) -> Agent {
        Agent::start(self.run(program("agent")).namespace(namespace))
    }

    pub fn run(&self, program: impl AsRef<OsStr>) -> Run {
        let run = shmgate(["run", "-q", "--backend", "userspace", "--namespace", &self.name, "--"]).arg(program);
        run.env("XDG_RUNTIME_DIR", self.sessions.path())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Waits until a process that is not ours to wait for has ended; its parent may be slow to look.
#[track_caller]
pub fn until_ended(pid: i32, deadline: Instant) {
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(") ")?.1.chars().next();
    while !matches!(state(), None | Some('Z' | 'X')) {
        assert!(Instant::now() < deadline, "process {pid} does not end");
        std::thread::yield_now();
    }
}

/// Waits until a process is in this state, as /proc has it.
#[track_caller]
pub fn until_state(pid: i32, state: char, deadline: Instant) {
    let now = || fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(") ")?.1.chars().next();
    while now() != Some(state) {
        assert!(Instant::now() < deadline, "process {pid} is {:?}, not {state}", now());
        std::thread::yield_now();
    }
}
