//! What the environment asks of the library.

#![forbid(unsafe_code)]

use core::ffi::CStr;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use crate::backend::Choice;
use crate::log::{Format, Target};
use crate::sys;

/// The `SHMGATE_*` variables, read.
#[derive(Debug, Default)]
pub struct Config {
    pub backend: Choice,
    /// The userspace backend's: a name or a directory.
    pub namespace: Option<CString>,
    pub log: Option<Target>,
    pub format: Format,
    /// The policy file.
    pub policy: Option<CString>,
    /// The session directory.
    pub session: Option<CString>,
    /// Leave `RTLD_DEEPBIND` alone.
    pub keep_deepbind: bool,
    /// Record each call's stack in the session.
    pub callers: bool,
}

impl Config {
    /// Reads the environment. A program with rights its caller has not gets an empty configuration.
    ///
    /// # Errors
    /// A message for people, when a variable has a value that means nothing.
    pub fn from_environment() -> Result<Config, String> {
        if sys::is_secure() {
            return Ok(Config::default());
        }
        Config::read(&|name| sys::environment(name).map(CStr::to_owned))
    }

    /// Reads the variables that `variable` tells.
    ///
    /// # Errors
    /// A message for people, when a variable has a value that means nothing.
    pub fn read(variable: &dyn Fn(&CStr) -> Option<CString>) -> Result<Config, String> {
        let set = |name: &CStr| set(variable, name);
        let backend = match set(c"SHMGATE_BACKEND") {
            Some(name) => Choice::parse(&name.to_string_lossy()).map_err(|error| format!("SHMGATE_BACKEND: {error}"))?,
            None => Choice::Auto,
        };
        let format = match set(c"SHMGATE_LOG_FORMAT").as_deref().map(CStr::to_bytes) {
            None | Some(b"text") => Format::Text,
            Some(b"json") => Format::Json,
            Some(other) => {
                return Err(unknown("SHMGATE_LOG_FORMAT: unknown format", other, "text or json"));
            }
        };
        let keep_deepbind = match set(c"SHMGATE_DEEPBIND").as_deref().map(CStr::to_bytes) {
            None => false,
            Some(b"keep") => true,
            Some(other) => return Err(unknown("SHMGATE_DEEPBIND: unknown value", other, "keep, or unset it")),
        };
        let callers = match set(c"SHMGATE_CALLERS").as_deref().map(CStr::to_bytes) {
            None | Some(b"off") => false,
            Some(b"on") => true,
            Some(other) => return Err(unknown("SHMGATE_CALLERS: unknown value", other, "on or off")),
        };
        Ok(Config {
            backend,
            namespace: set(c"SHMGATE_NAMESPACE"),
            log: set(c"SHMGATE_LOG").and_then(log_target),
            format,
            policy: set(c"SHMGATE_POLICY"),
            session: set(c"SHMGATE_SESSION").map(pinned),
            keep_deepbind,
            callers,
        })
    }

    /// True if the library has nothing to do.
    pub fn is_empty(&self) -> bool {
        self.backend != Choice::Userspace && self.log.is_none() && self.policy.is_none() && self.session.is_none()
    }
}

/// A variable that is not empty.
#[inline(never)]
fn set(variable: &dyn Fn(&CStr) -> Option<CString>, name: &CStr) -> Option<CString> {
    variable(name).filter(|value| !value.is_empty())
}

#[cold]
#[inline(never)]
fn unknown(what: &str, value: &[u8], known: &str) -> String {
    format!("{what} \"{}\", use {known}", value.escape_ascii())
}

/// What a value of `SHMGATE_LOG` means: `off`, `stderr`, `-` (the same), or a path.
pub fn log_target(value: CString) -> Option<Target> {
    match value.to_bytes() {
        b"" | b"off" => None,
        b"stderr" | b"-" => Some(Target::Stderr),
        _ => Some(Target::File(pinned(value))),
    }
}

/// A path that is opened again later: the host may change its working directory, and the file must not wander with it.
fn pinned(path: CString) -> CString {
    if path.to_bytes().starts_with(b"/") {
        return path;
    }
    let mut pinned = std::env::current_dir().map_or_else(|_| b"/".to_vec(), |dir| dir.as_os_str().as_bytes().to_vec());
    pinned.push(b'/');
    pinned.extend_from_slice(path.to_bytes());
    CString::new(pinned).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&CStr, &CStr)]) -> Result<Config, String> {
        Config::read(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn nothing_set_or_empty_means_nothing_to_do() {
        assert!(read(&[]).unwrap().is_empty());
        assert!(read(&[(c"SHMGATE_LOG", c""), (c"SHMGATE_SESSION", c""), (c"SHMGATE_BACKEND", c"kernel")]).unwrap().is_empty());
        assert!(read(&[(c"SHMGATE_LOG", c"off")]).unwrap().is_empty());
    }

    #[test]
    fn values_that_mean_nothing_are_named() {
        for (name, value, part) in [
            (c"SHMGATE_BACKEND", c"kernal", "unknown backend \"kernal\""),
            (c"SHMGATE_LOG_FORMAT", c"xml", "unknown format \"xml\""),
            (c"SHMGATE_DEEPBIND", c"kep", "unknown value \"kep\", use keep"),
            (c"SHMGATE_CALLERS", c"yes", "unknown value \"yes\", use on or off"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(part) && error.contains(name.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn a_relative_log_is_pinned_to_the_directory_of_the_start() {
        let Some(Target::File(path)) = log_target(c"x.log".to_owned()) else { panic!() };
        assert_eq!(path.to_str().unwrap(), std::env::current_dir().unwrap().join("x.log").to_str().unwrap());
    }
}
