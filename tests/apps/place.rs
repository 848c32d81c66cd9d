//! Where a program runs: one temporary directory, gone with the value, that holds the command and the library (copied,
//! so that another user can reach them), the program's files, its session and its output; a second one in tmpfs for a namespace of
//! the userspace backend. And as whom: in an IPC namespace of its own, as the caller or as nobody.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, io};

use shmgate_testkit::{compile, executable};
use tempfile::TempDir;

use crate::gated::{Backend, Program};
use crate::tree::Tree;

const DEADLINE: Duration = Duration::from_secs(600);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A user that root becomes.
#[derive(Clone, Copy)]
pub struct User {
    pub uid: u32,
    gid: u32,
}

/// The directory of one run.
pub struct Place {
    directory: TempDir,
    /// Where the segments of a userspace run are.
    userspace: Option<TempDir>,
    pub user: Option<User>,
    path: String,
}

impl Place {
    /// Makes the directory and fills it.
    pub fn new(program: &Program<'_>) -> io::Result<Place> {
        // PostgreSQL's socket lies in it, and the path of one has 107 bytes at most.
        let temporary = Some(env::temp_dir()).filter(|path| path.as_os_str().len() <= 60).unwrap_or_else(|| "/tmp".into());
        let directory = tempfile::Builder::new().prefix("shmgate-app-").tempdir_in(temporary)?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let user = if program.not_root && effective_uid() == 0 { Some(nobody()?) } else { None };
        let bin = directory.path().join("bin");
        fs::create_dir(&bin)?;
        for (from, name) in [(built("SHMGATE_TEST_CMD", "shmgate"), "shmgate"), (library(), "libshmgate.so")] {
            executable::copy(&from, &bin.join(name))
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error} (run make)", from.display())))?;
        }
        let work = directory.path().join("work");
        fs::create_dir(&work)?;
        for (name, content) in program.files {
            fs::write(work.join(name), content)?;
        }
        if let Some(user) = user {
            chown(&work, Some(user.uid), Some(user.gid))?;
        }
        let userspace = match program.backend {
            Backend::Kernel => None,
            Backend::Userspace => {
                let permissions = Permissions::from_mode(0o700);
                Some(tempfile::Builder::new().prefix("shmgate-app-").permissions(permissions).tempdir_in("/dev/shm")?)
            }
        };
        if let (Some(user), Some(directory)) = (user, &userspace) {
            chown(directory.path(), Some(user.uid), Some(user.gid))?;
        }
        if userspace.is_some() {
            executable::copy(&compile::program("without_shm"), &bin.join("without_shm"))?;
        }
        let path = program.path.map_or_else(|| PATH.to_owned(), |first| format!("{}:{PATH}", first.display()));
        Ok(Place { directory, userspace, user, path })
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// The path of a file in the working directory.
    pub fn name(&self, file: &str) -> String {
        self.work().join(file).display().to_string()
    }

    /// The path of the command.
    pub fn shmgate(&self) -> String {
        self.directory.path().join("bin/shmgate").display().to_string()
    }

    /// The directory of the userspace backend's namespace, if it serves the calls.
    pub fn userspace(&self) -> Option<&Path> {
        self.userspace.as_ref().map(TempDir::path)
    }

    /// The words before a command that make the kernel's four system calls fail.
    pub fn without_shm(&self) -> Vec<String> {
        vec![self.directory.path().join("bin/without_shm").display().to_string(), "--".to_owned()]
    }

    /// The content of a file in the working directory.
    pub fn read(&self, file: &str) -> Result<String, String> {
        let bytes = fs::read(self.work().join(file)).map_err(|error| format!("{file}: {error}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The words before a command that put it into a new IPC namespace, as the user it is to run as. Each of them
    /// replaces itself by the next, so the process stays one.
    pub fn namespace(&self) -> Vec<String> {
        let mut words = own_namespace();
        words.extend(self.user.map_or_else(Vec::new, become_user));
        words
    }

    /// Runs to the end or to the deadline, with an environment that is the same everywhere.
    pub fn run(&self, words: &[String], stdout: &str, stderr: &str) -> Result<ExitStatus, String> {
        let create = |name: &str| File::create(self.work().join(name)).map_err(|error| format!("{name}: {error}"));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.work()).env_clear();
        command.env("PATH", &self.path).env("HOME", self.work()).env("TMPDIR", self.work()).env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(create(stdout)?).stderr(create(stderr)?);
        let mut tree = Tree::start(&mut command).map_err(|error| format!("{}: {error}", words[0]))?;
        let ended = tree.wait(DEADLINE).map_err(|error| error.to_string())?;
        ended.ok_or_else(|| {
            let said = self.read(stderr).unwrap_or_default();
            format!("still running after {} s: {words:?}\n{said}", DEADLINE.as_secs())
        })
    }
}

/// The prefix for an IPC namespace: root makes one, a user needs one of users around it.
pub fn own_namespace() -> Vec<String> {
    let words: &[&str] =
        if effective_uid() == 0 { &["unshare", "--ipc", "--"] } else { &["unshare", "--map-current-user", "--ipc", "--"] };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The prefix for another user.
pub fn become_user(user: User) -> Vec<String> {
    let User { uid, gid } = user;
    ["setpriv", &format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "--"].map(str::to_owned).into()
}

fn nobody() -> io::Result<User> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    let fields: Option<Vec<u32>> = passwd.lines().find_map(|line| {
        let ids = line.strip_prefix("nobody:")?.split(':').skip(1).take(2);
        ids.map(|id| id.parse().ok()).collect()
    });
    match fields.as_deref() {
        Some(&[uid, gid]) => Ok(User { uid, gid }),
        _ => Err(io::Error::other("no user nobody in /etc/passwd")),
    }
}

/// The caller's effective user.
pub fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

fn library() -> PathBuf {
    built("SHMGATE_TEST_LIB", "libshmgate.so")
}

/// A release build, unless the environment names another one.
fn built(variable: &str, name: &str) -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release").join(name);
    env::var_os(variable).map_or_else(default, PathBuf::from)
}
