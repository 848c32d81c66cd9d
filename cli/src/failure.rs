//! Errors as users meet them: one line on standard error that says what to do, and an exit status.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

/// The exit status for a journal that is damaged.
pub const DAMAGED: u8 = 1;
/// The exit status for what could not be done.
pub const FAILED: u8 = 1;
/// The exit status for bad usage, a bad policy, a bad session.
pub const USAGE: u8 = 2;
/// The exit status for a command that can't be gated.
pub const UNGATED: u8 = 125;
/// The exit status for a command that is there but can't be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The exit status for a command that is not there.
pub const NOT_FOUND: u8 = 127;

/// The end of a subcommand that did not get to do its work.
#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    /// Empty if all has been said.
    pub message: String,
}

impl Failure {
    pub fn new(status: u8, message: impl Display) -> Failure {
        Failure { status, message: message.to_string() }
    }

    /// Bad usage, with exit status 2.
    pub fn usage(message: impl Display) -> Failure {
        Failure::new(USAGE, message)
    }

    /// Says it, and returns the exit status.
    pub fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            say(&self.message);
        }
        ExitCode::from(self.status)
    }
}

/// Writes a line to standard error. There is nobody to tell if that fails.
pub fn say(message: impl Display) {
    let mut line = String::from("shmgate: ");
    for character in message.to_string().chars() {
        // A file name may hold a newline: the message stays one line.
        if character.is_control() { line.extend(character.escape_default()) } else { line.push(character) }
    }
    line.push('\n');
    let _ = io::stderr().write_all(line.as_bytes());
}

/// An I/O error in libc's words, without Rust's "(os error 2)".
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// A path as a shell takes it, for a hint that is to be copied.
pub fn quoted(path: impl AsRef<Path>) -> String {
    let bytes = path.as_ref().as_os_str().as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(byte);
    match str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(is_plain) => text.to_owned(),
        Ok(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', "'\\''")),
        // What a line can't show.
        _ => {
            let shown = |&byte: &u8| match byte {
                b'\\' | b'\'' => format!("\\{}", char::from(byte)),
                b' '..=b'~' => char::from(byte).to_string(),
                other => format!("\\{other:03o}"),
            };
            format!("$'{}'", bytes.iter().map(shown).collect::<String>())
        }
    }
}

/// Whether standard output took what was written. A reader that has closed its end (`| head`) has seen what it wanted: that is no failure, and
/// changes nothing of the exit status.
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(DAMAGED, format!("standard output: {}", words(&error))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::process::Command;

    #[test]
    fn a_shell_reads_back_what_is_quoted() {
        assert_eq!(quoted("/tmp/s-1_a.b"), "/tmp/s-1_a.b");
        for path in [&b"/a b"[..], b"", b"it's", b"$HOME/*", "/\u{e4}\u{4e16}".as_bytes(), b"a\nb'\\", b"\xff7", b"~x;#&"] {
            let script = format!("printf %s {}", quoted(OsStr::from_bytes(path)));
            let said = Command::new("bash").args(["-c", &script]).output().expect("bash runs").stdout;
            assert_eq!(said, path, "{script}");
            assert!(!script.contains('\n'));
        }
    }
}
