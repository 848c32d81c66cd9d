//! What an application needs of the machine, found by asking for it and not for a package's name, so that it may have
//! come another way.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::place::own_namespace;

/// One thing needed.
pub enum Need {
    /// A program in PATH or in the directories of the system, and the Debian package that brings it.
    Program(&'static str, &'static str),
    /// A command that succeeds, and the Debian package that makes it so.
    Success(&'static [&'static str], &'static str),
    /// PostgreSQL's server, which Debian keeps out of PATH.
    Postgres,
}

/// The names of what is missing, a comma between them; strace and a namespace are everyone's need.
pub fn missing(needs: &[Need]) -> String {
    let mut missing: Vec<&str> = needs.iter().filter_map(Need::missing).collect();
    if find("strace").is_none() {
        missing.push("strace");
    }
    let namespace = own_namespace();
    if !succeeds(&namespace[0], namespace[1..].iter().map(String::as_str).chain(["true"])) {
        missing.push("an IPC namespace of its own");
    }
    missing.join(", ")
}

impl Need {
    fn missing(&self) -> Option<&'static str> {
        let (there, package) = match self {
            Need::Program(program, package) => (find(program).is_some(), *package),
            Need::Success(command, package) => (succeeds(command[0], command[1..].iter().copied()), *package),
            Need::Postgres => (postgres().is_some(), "postgresql"),
        };
        (!there).then_some(package)
    }
}

/// The directory of the newest PostgreSQL's programs.
pub fn postgres() -> Option<PathBuf> {
    let version = |directory: &Path| -> Option<u32> { directory.parent()?.file_name()?.to_str()?.parse().ok() };
    let versions = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten();
    let debian = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let debian = debian.filter(|directory| directory.join("postgres").exists()).max_by_key(|path| version(path));
    debian.or_else(|| find("postgres").and_then(|path| path.parent().map(Path::to_path_buf)))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|directory| directory.join(program)).find(|path| path.exists())
}

fn succeeds<'a>(program: &str, arguments: impl Iterator<Item = &'a str>) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
