//! The environment of a gated command.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Command;

use shmgate_core::backend::Choice;
use shmgate_core::config::log_target;
use shmgate_core::errno::Errno;
use shmgate_core::log::Target;
use shmgate_core::sys;

use crate::args::RunOptions;
use crate::failure::Failure;

/// The log that the options ask for.
#[derive(Debug)]
pub struct Log {
    /// The value for SHMGATE_LOG; `None` to leave it as it is.
    target: Option<OsString>,
    format: Option<&'static str>,
}

impl Log {
    /// Reads the options and what is inherited, and opens a file once to see whether it can be written.
    pub fn of(options: &RunOptions) -> Result<Log, Failure> {
        let given = options.log.clone().map(OsString::from);
        let format = if options.json { Some("json") } else { given.as_ref().map(|_| "text") };
        let inherited = || env::var_os("SHMGATE_LOG").filter(|value| !value.is_empty() && value != "off");
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

/// Checks the backend's name, the option's or the environment's.
pub fn check(options: &RunOptions) -> Result<(), Failure> {
    if let Some(backend) = &options.backend {
        return Choice::parse(backend).map(drop).map_err(|error| Failure::usage(format!("--backend: {error}")));
    }
    match env::var_os("SHMGATE_BACKEND").filter(|value| !value.is_empty()) {
        None => Ok(()),
        Some(backend) => {
            let choice = Choice::parse(&backend.to_string_lossy());
            choice.map(drop).map_err(|error| Failure::usage(format!("SHMGATE_BACKEND: {error}")))
        }
    }
}

/// False if the userspace backend serves the calls whatever the kernel has.
pub fn may_be_kernel(options: &RunOptions) -> bool {
    let inherited = || env::var_os("SHMGATE_BACKEND").map(|value| value.to_string_lossy().into_owned());
    options.backend.clone().or_else(inherited).as_deref() != Some("userspace")
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
}
