//! Errors as users meet them: one line on standard error that says what to do, and an exit status.

use std::fmt::Display;
use std::io::{self, Write};
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

/// Ends a subcommand that writes to standard output. A reader that has closed its end (`| head`) has seen what it wanted.
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::new(0, "")),
        Err(error) => Err(Failure::new(DAMAGED, format!("standard output: {}", words(&error)))),
        Ok(()) => Ok(()),
    }
}
