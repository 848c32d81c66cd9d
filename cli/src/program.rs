//! The command to run: where it is, and whether a preloaded library will gate it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::elf::{Elf, Machine};
use crate::failure::{Failure, NOT_EXECUTABLE, NOT_FOUND, words};
use crate::script::Script;
use crate::system;

/// What the kernel allows of scripts that are run by scripts.
const MOST_INTERPRETERS: usize = 5;
/// Where programs are searched without PATH, as libc does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Why a program can't be gated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ungated {
    /// The program, or what runs it if it is a script.
    program: PathBuf,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    Static,
    /// It gets rights that its caller has not.
    Rights(&'static str),
    Machine,
    Loader(String),
    Unreadable(String),
    Damaged,
    ClearsEnvironment,
}

impl Ungated {
    /// True if the program may have the library in LD_PRELOAD nevertheless, for the processes that it starts: glibc's loader
    /// only warns about a library that it can't use, others refuse to start the program.
    pub fn bears_preload(&self) -> bool {
        !matches!(self.reason, Reason::Loader(_))
    }

    /// What stands against it, without a hint.
    pub fn fact(&self) -> String {
        let program = self.program.display();
        match &self.reason {
            Reason::Static => format!("{program} is linked statically: no library can be preloaded into it"),
            Reason::Rights(how) => format!("{program} {how}: the loader ignores preloaded libraries for it"),
            Reason::Machine => format!("{program} is for another architecture than libshmgate.so"),
            Reason::Loader(loader) => format!("{program} is loaded by {loader}, not by glibc's loader"),
            Reason::Unreadable(why) => format!("{program} can't be read ({why}), so nobody can say whether it would be gated"),
            Reason::Damaged => format!("{program} is a damaged ELF file"),
            Reason::ClearsEnvironment => format!("{program} is run by env with a cleared environment, without the library"),
        }
    }
}

impl fmt::Display for Ungated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = match self.reason {
            Reason::Static => "link it dynamically",
            Reason::Rights(_) => "run shmgate with the rights that it gets",
            Reason::Machine | Reason::Loader(_) => "use a build of shmgate for it",
            Reason::Unreadable(_) => "make it readable",
            Reason::Damaged => "build or install it anew",
            Reason::ClearsEnvironment => "name the program itself",
        };
        write!(f, "{}; {hint}, or let it run unwatched with --allow-ungated", self.fact())
    }
}

/// Finds `command` as execvp would.
///
/// # Errors
/// [`Failure`] with status 127 if it is not there, 126 if it can't be executed.
pub fn find(command: &OsStr) -> Result<PathBuf, Failure> {
    let name = command.display();
    let refused = |why: &str| Err(Failure::new(NOT_EXECUTABLE, format!("{name}: {why}")));
    if command.is_empty() {
        return Err(Failure::new(NOT_FOUND, "the command's name is empty; write it behind --, as in: shmgate run -- ls -l"));
    }
    if command.as_bytes().contains(&b'/') {
        return match fs::metadata(command) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(Failure::new(NOT_FOUND, format!("{name}: {}", words(&error))))
            }
            Err(error) => refused(&words(&error)),
            Ok(meta) if meta.is_dir() => refused("is a directory"),
            Ok(_) if !system::may_execute(Path::new(command)) => refused("Permission denied; is it executable?"),
            Ok(_) => Ok(command.into()),
        };
    }
    match search(command, std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into())) {
        Search::Found(path) => Ok(path),
        Search::NotExecutable(path) => refused(&format!("{} is not executable", path.display())),
        Search::NotFound if fs::metadata(command).is_ok_and(|meta| meta.is_file()) => {
            Err(Failure::new(NOT_FOUND, format!("{name}: not found in PATH; for the one in this directory write ./{name}")))
        }
        Search::NotFound => Err(Failure::new(NOT_FOUND, format!("{name}: not found in PATH"))),
    }
}

enum Search {
    Found(PathBuf),
    NotExecutable(PathBuf),
    NotFound,
}

fn search(command: &OsStr, path: OsString) -> Search {
    if command.is_empty() {
        return Search::NotFound;
    }
    let mut best = Search::NotFound;
    for directory in std::env::split_paths(&path) {
        let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };
        let candidate = directory.join(command);
        if fs::metadata(&candidate).is_ok_and(|meta| meta.is_file()) {
            if system::may_execute(&candidate) {
                return Search::Found(candidate);
            }
            best = Search::NotExecutable(candidate);
        }
    }
    best
}

/// Says whether the library, made for `machine`, will gate the program at `path`.
///
/// # Errors
/// [`Ungated`], with the reason.
pub fn judge(path: &Path, machine: Machine) -> Result<(), Ungated> {
    judge_at(path, machine, 0)
}

fn judge_at(path: &Path, machine: Machine, depth: usize) -> Result<(), Ungated> {
    let refused = |reason: Reason| Err(Ungated { program: path.into(), reason });
    let elf = match Elf::read(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return refused(Reason::Damaged),
        Err(error) => return refused(Reason::Unreadable(words(&error))),
        Ok(elf) => elf,
    };
    let Some(elf) = elf else {
        return judge_script(path, machine, depth);
    };
    if elf.machine != machine {
        return refused(Reason::Machine);
    }
    if elf.is_static {
        return refused(Reason::Static);
    }
    if let Some(how) = rights(path) {
        return refused(Reason::Rights(how));
    }
    match elf.loader {
        Some(ref loader) if !elf.has_glibc_loader() => refused(Reason::Loader(loader.clone())),
        _ => Ok(()),
    }
}

fn judge_script(path: &Path, machine: Machine, depth: usize) -> Result<(), Ungated> {
    if depth == MOST_INTERPRETERS {
        return Ok(());
    }
    let script = match Script::read(path) {
        Ok(Some(script)) => script,
        // execvp gives what the kernel does not know to the shell.
        _ => return judge_at(Path::new("/bin/sh"), machine, MOST_INTERPRETERS),
    };
    // One that is not there: the kernel says so better, when it tries.
    if !script.interpreter.exists() {
        return Ok(());
    }
    judge_at(&script.interpreter, machine, depth + 1)?;
    let Some(env) = script.env() else { return Ok(()) };
    if env.clears {
        return Err(Ungated { program: path.into(), reason: Reason::ClearsEnvironment });
    }
    match env.program.and_then(|program| find(&program).ok()) {
        Some(program) => judge_at(&program, machine, depth + 1),
        None => Ok(()),
    }
}

/// How the kernel would give the program rights that the caller has not, which it tells the loader by AT_SECURE.
fn rights(path: &Path) -> Option<&'static str> {
    let meta = fs::metadata(path).ok()?;
    let ids = system::ids();
    let gives = system::gives_rights(path);
    let group_set = libc::S_ISGID | libc::S_IXGRP;
    // The effective ids to be, against the real ones: root that runs a program of root's gets nothing new.
    let euid = if gives && meta.mode() & libc::S_ISUID != 0 { meta.uid() } else { ids.euid };
    let egid = if gives && meta.mode() & group_set == group_set { meta.gid() } else { ids.egid };
    if euid != ids.uid {
        return Some("is setuid");
    }
    if egid != ids.gid {
        return Some("is setgid");
    }
    (gives && ids.uid != 0 && system::has_capabilities(path)).then_some("has file capabilities")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_prefers_what_can_be_executed() {
        let temp = tempfile::tempdir().unwrap();
        let (first, second) = (temp.path().join("a"), temp.path().join("b"));
        for directory in [&first, &second] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("tool"), "").unwrap();
        }
        let path = std::env::join_paths([&first, &second]).unwrap();
        assert!(matches!(search(OsStr::new("tool"), path.clone()), Search::NotExecutable(_)));
        fs::set_permissions(second.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(matches!(search(OsStr::new("tool"), path.clone()), Search::Found(found) if found == second.join("tool")));
        assert!(matches!(search(OsStr::new("other"), path.clone()), Search::NotFound));
        assert!(matches!(search(OsStr::new(""), path), Search::NotFound));
    }

    #[test]
    fn another_machine_is_told() {
        let path = fs::canonicalize("/proc/self/exe").unwrap();
        let machine = Elf::read(&path).unwrap().unwrap().machine;
        assert_eq!(judge(&path, machine), Ok(()));
        let other = Machine { is_64: !machine.is_64, ..machine };
        assert!(judge(&path, other).unwrap_err().to_string().contains("another architecture"));
    }
}
