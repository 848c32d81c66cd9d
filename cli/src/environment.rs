//! The environment: what it asks of a run, and the gated command's.
//!
//! Options win over the environment, the environment over defaults.

use std::env;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use shmgate_core::backend::kernel::{Functions, Kernel};
use shmgate_core::backend::userspace::check;
use shmgate_core::backend::userspace::place::directory;
use shmgate_core::backend::userspace::registry::Registry;
use shmgate_core::backend::{Choice, Served};
use shmgate_core::config::{Config, log_target};
use shmgate_core::errno::Errno;
use shmgate_core::log::Target;
use shmgate_core::sys;

use crate::args::RunOptions;
use crate::failure::{Failure, quoted, say};
use crate::namespace;

/// A variable that is set to something.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The log that is asked for.
#[derive(Debug)]
pub struct Log {
    /// The value for SHMGATE_LOG; `None` to leave it as it is.
    target: Option<OsString>,
    /// The value for SHMGATE_LOG_FORMAT; `None` to leave it as it is.
    format: Option<&'static str>,
}

impl Log {
    /// Reads the options and what is inherited, and opens a file once to see whether it can be written.
    pub fn of(options: &RunOptions) -> Result<Log, Failure> {
        let given = options.log.clone().map(OsString::from);
        let format = options.json.then_some("json");
        let inherited = || variable("SHMGATE_LOG").filter(|value| value != "off");
        let alone = || options.json.then(|| OsString::from("-"));
        let Some(asked) = given.or_else(inherited).or_else(alone) else { return Ok(Log { target: None, format }) };
        // Neither an argument nor a variable has a NUL byte in it.
        let target = match log_target(CString::new(asked.as_bytes()).unwrap_or_default()) {
            None => OsString::from("off"),
            Some(Target::Stderr) => OsString::from("stderr"),
            Some(Target::File(path)) => {
                try_file(&path).map_err(|errno| {
                    let file = Path::new(OsStr::from_bytes(path.as_bytes())).display();
                    Failure::usage(format!("log {file}: {}; name a file that you can write", errno.text()))
                })?;
                OsString::from_vec(path.into_bytes())
            }
        };
        Ok(Log { target: Some(target), format })
    }

    /// True if lines go somewhere.
    pub fn is_on(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target != "off")
    }
}

/// Opens the file as the library will do it.
fn try_file(path: &CString) -> Result<(), Errno> {
    let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_NOCTTY | libc::O_NONBLOCK;
    let opened = match sys::File::open(path, flags, 0) {
        Err(Errno::ENOENT) => match sys::File::open(path, flags | libc::O_CREAT | libc::O_EXCL, 0o644) {
            Err(Errno::EEXIST) => sys::File::open(path, flags, 0),
            other => other,
        },
        other => other,
    };
    match opened {
        // A pipe whose reader may come later.
        Err(Errno(libc::ENXIO)) => Ok(()),
        other => other.map(drop),
    }
}

/// Checks what the library will read, the options' values and the environment's: it would refuse each call for one that means nothing.
/// Gives the namespace's directory, where the userspace backend is asked for.
pub fn check(options: &RunOptions) -> Result<Option<PathBuf>, Failure> {
    let is_given = |name: &str| match name {
        "SHMGATE_BACKEND" => options.backend.is_some() || options.isolate,
        "SHMGATE_LOG_FORMAT" => options.json,
        "SHMGATE_DEEPBIND" => options.keep_deepbind,
        "SHMGATE_CALLERS" => options.callers,
        _ => false,
    };
    Config::read(&|name: &CStr| {
        let value = name.to_str().ok().filter(|name| !is_given(name)).and_then(variable)?;
        CString::new(value.into_vec()).ok()
    })
    .map_err(Failure::usage)?;
    if options.isolate {
        return Ok(None);
    }
    let (what, namespace) = match (&options.namespace, variable("SHMGATE_NAMESPACE")) {
        (Some(name), _) => ("--namespace", name.clone()),
        (None, Some(name)) => ("SHMGATE_NAMESPACE", name),
        (None, None) => ("SHMGATE_NAMESPACE", "default".into()),
    };
    let name = namespace.to_str().ok_or_else(|| Failure::usage(format!("{what}: {} is not UTF-8", namespace.display())))?;
    let dir = directory(name).map_err(|error| Failure::usage(format!("{what}: {error}")))?;
    if options.namespace.is_some() && backend(options) == "kernel" {
        return Err(Failure::usage("--namespace: the kernel's backend has none; leave it out, or take --backend userspace"));
    }
    Ok((backend(options) == "userspace").then_some(dir))
}

/// Makes the namespace, as the command's first call would, which could only be refused.
pub fn make_namespace(directory: &Path, is_quiet: bool) -> Result<(), Failure> {
    if !is_quiet
        && !check::exists(directory)
        && let Some(theirs) = namespace::strangers(directory)
    {
        say(format!("warning: namespace {}: made anew, for you alone; {theirs}", directory.display()));
    }
    Registry::open_or_create(directory).map(drop).map_err(Failure::usage)
}

/// The backend that is asked for.
fn backend(options: &RunOptions) -> String {
    options.backend.clone().unwrap_or_else(inherited_backend)
}

fn inherited_backend() -> String {
    variable("SHMGATE_BACKEND").map_or("auto".to_owned(), |value| value.to_string_lossy().into_owned())
}

/// The system calls: libc's functions may be gated themselves.
pub const KERNEL: Kernel = Kernel(Functions::SYSTEM_CALLS);

/// True if the kernel serves the calls of a run with these options.
pub fn kernel_serves(options: &RunOptions) -> bool {
    match Choice::parse(&backend(options)) {
        _ if options.isolate => false,
        Ok(Choice::Auto) => KERNEL.works(),
        choice => choice == Ok(Choice::Kernel),
    }
}

/// Where a run's segments are.
pub struct Segments {
    pub served: Served,
    /// The option of `shmgate show` and `rm` that says so.
    pub option: String,
}

/// Where the segments of a run with these options are; `None` if they vanish with it, or if there is none.
pub fn segments(options: &RunOptions) -> Option<Segments> {
    if options.isolate {
        return None;
    }
    if kernel_serves(options) {
        return Some(Segments { served: Served::by(KERNEL), option: "--kernel".to_owned() });
    }
    let namespace = options.namespace.clone().or_else(|| variable("SHMGATE_NAMESPACE")).unwrap_or_else(|| "default".into());
    // To open it would make it.
    directory(namespace.to_str()?).ok().filter(|dir| check::exists(dir))?;
    let served = Served::chosen(KERNEL, Choice::Userspace, Some(&namespace)).ok()?;
    let name = quoted(Path::new(&namespace));
    Some(Segments { served, option: format!("--namespace {name}") })
}

/// True if the options have the calls served in another place than the environment: with other segments.
pub fn moves(options: &RunOptions) -> bool {
    let place = |backend: &str, namespace: Option<&OsString>| {
        let name = namespace.map_or(Some("default"), |name| name.to_str());
        (backend == "userspace").then(|| name.and_then(|name| directory(name).ok()))
    };
    let inherited = variable("SHMGATE_NAMESPACE");
    let given = options.namespace.as_ref().or(inherited.as_ref());
    options.isolate || place(&backend(options), given) != place(&inherited_backend(), inherited.as_ref())
}

/// Sets the command's environment. What no option speaks of stays as it was inherited, but a session's policy is the session's.
pub fn set(command: &mut Command, options: &RunOptions, log: &Log, session: &Path, has_policy: bool) {
    command.env("SHMGATE_SESSION", session);
    if has_policy {
        command.env("SHMGATE_POLICY", session.join("policy.toml"));
    } else {
        command.env_remove("SHMGATE_POLICY");
    }
    if let Some(target) = &log.target {
        command.env("SHMGATE_LOG", target);
    }
    if let Some(format) = log.format {
        command.env("SHMGATE_LOG_FORMAT", format);
    }
    if let Some(backend) = &options.backend {
        command.env("SHMGATE_BACKEND", backend);
    }
    if let Some(namespace) = &options.namespace {
        command.env("SHMGATE_NAMESPACE", namespace);
    }
    if options.keep_deepbind {
        command.env("SHMGATE_DEEPBIND", "keep");
    }
    if options.callers {
        command.env("SHMGATE_CALLERS", "on");
    }
}
