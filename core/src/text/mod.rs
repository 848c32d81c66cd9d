//! Events as people and programs read them: a line as strace writes it ([`line`]), a line of JSON ([`json`]), a denial's reason
//! ([`reason`]). docs/log.md describes both forms; the JSON one is a schema that stays.
//!
//! Nothing here allocates: the library writes these lines from inside a host's signal handler if need be.

#![forbid(unsafe_code)]

pub mod json;
pub mod line;
pub mod reason;

use core::fmt;

use crate::call::{Call, Outcome};

/// A call with its time and surroundings, as the two formats need it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Nanoseconds since the epoch, when the call began.
    pub time_ns: u64,
    pub duration_ns: u64,
    pub pid: u32,
    pub tid: u32,
    pub uid: u32,
    /// The executable's path, if it is known.
    pub exe: Option<&'a [u8]>,
    pub call: Call<'a>,
    /// The backend's name.
    pub backend: &'a str,
    pub outcome: Outcome,
    /// The name of the rule that the outcome speaks of, if it speaks of one.
    pub rule: Option<&'a str>,
}

/// A text of at most `N` bytes. What does not fit is cut off: [`fmt::Write`] reports success all the same.
#[derive(Debug)]
pub struct Line<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Line<N> {
    /// An empty text.
    pub const fn new() -> Self {
        Line { bytes: [0; N], len: 0 }
    }

    /// What has been written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Ends it with a newline, which takes the last byte's place if there is no room.
    pub fn end(&mut self) {
        self.len = self.len.min(N - 1);
        self.bytes[self.len] = b'\n';
        self.len += 1;
    }

    /// True if something may have been cut off.
    pub fn is_full(&self) -> bool {
        self.len == N
    }
}

impl<const N: usize> Default for Line<N> {
    fn default() -> Self {
        Line::new()
    }
}

impl<const N: usize> fmt::Write for Line<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.len().min(N - self.len);
        self.bytes[self.len..self.len + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        Ok(())
    }
}

/// Bytes of a path in double quotes, everything but printable ASCII escaped, as C and (with `json`) JSON read it.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a> {
    pub bytes: &'a [u8],
    /// As JSON reads it, and not C.
    pub json: bool,
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\\' => write!(f, "\\{character}")?,
                    control if control.is_control() && self.json => write!(f, "\\u{:04x}", control as u32)?,
                    control if control.is_control() => {
                        let mut utf8 = [0; 4];
                        control.encode_utf8(&mut utf8).bytes().try_for_each(|byte| write!(f, "\\{byte:03o}"))?;
                    }
                    other => write!(f, "{other}")?,
                }
            }
            match chunk.invalid() {
                [] => {}
                // JSON has no bytes: the replacement character stands for what is no text.
                _ if self.json => f.write_str("\u{fffd}")?,
                bytes => bytes.iter().try_for_each(|byte| write!(f, "\\{byte:03o}"))?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;
    use proptest::prelude::*;

    #[test]
    fn a_line_that_is_too_long_is_cut_and_still_ends() {
        let mut line = Line::<8>::new();
        line.write_str("0123456789").unwrap();
        line.end();
        assert_eq!(line.as_bytes(), b"0123456\n");
    }

    proptest! {
        #[test]
        fn quoted_bytes_are_json_whatever_they_are(bytes: Vec<u8>) {
            let text = Quoted { bytes: &bytes, json: true }.to_string();
            let back: String = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn quoted_bytes_stay_on_one_line(bytes: Vec<u8>) {
            let text = Quoted { bytes: &bytes, json: false }.to_string();
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
