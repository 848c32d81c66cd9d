//! The `#!` line of a script: which program runs it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The kernel looks at no more of a file than this (BINPRM_BUF_SIZE).
const LOOKED_AT: u64 = 256;

/// What a script is run by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub interpreter: PathBuf,
    /// All that follows, as one argument.
    argument: OsString,
}

/// What `env` does with its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// The program that it runs, to be searched in PATH.
    pub program: Option<OsString>,
    /// It clears the environment, and the preload with it.
    pub clears: bool,
}

impl Script {
    /// Reads the first line of `path`; `None` if it is no `#!` line.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(path: &Path) -> io::Result<Option<Script>> {
        let mut start = Vec::new();
        File::open(path)?.take(LOOKED_AT).read_to_end(&mut start)?;
        Ok(parse(&start))
    }

    /// If the interpreter is `env`: what that runs.
    pub fn env(&self) -> Option<Env> {
        (self.interpreter.file_name() == Some(OsStr::new("env"))).then(|| env(self.argument.as_bytes()))
    }
}

fn parse(start: &[u8]) -> Option<Script> {
    let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?.trim_ascii();
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let (interpreter, argument) = line.split_at(end);
    if interpreter.is_empty() {
        return None;
    }
    Some(Script {
        interpreter: OsStr::from_bytes(interpreter).into(),
        argument: OsStr::from_bytes(argument.trim_ascii()).into(),
    })
}

/// env(1)'s options, as far as scripts use them. Quotes in `-S` are not looked into.
fn env(argument: &[u8]) -> Env {
    let split = [&b"-S"[..], b"--split-string="].iter().find_map(|option| argument.strip_prefix(*option));
    let mut result = Env::default();
    let words: Vec<&[u8]> = match split {
        Some(rest) => rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect(),
        None => vec![argument],
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word {
            b"-i" | b"-" | b"--ignore-environment" => result.clears = true,
            b"-u" | b"-C" | b"--unset" | b"--chdir" => {
                words.next();
            }
            [] | [b'-', ..] => {}
            assignment if assignment.contains(&b'=') => {}
            program => {
                result.program = Some(OsStr::from_bytes(program).into());
                break;
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> (String, Option<Env>) {
        let script = parse(text.as_bytes()).unwrap();
        (script.interpreter.display().to_string(), script.env())
    }

    #[test]
    fn interpreters_are_found() {
        assert_eq!(script("#!/bin/sh\nx"), ("/bin/sh".into(), None));
        assert_eq!(script("#! \t/usr/bin/perl -w \n"), ("/usr/bin/perl".into(), None));
        assert_eq!(script("#!/bin/sh"), ("/bin/sh".into(), None));
        for none in ["", "#", "#!", "#!\n/bin/sh", "# !/bin/sh", "\u{feff}#!/bin/sh"] {
            assert_eq!(parse(none.as_bytes()), None, "{none:?}");
        }
    }

    #[test]
    fn env_is_looked_through() {
        for (line, program, clears) in [
            ("#!/usr/bin/env python3", Some("python3"), false),
            ("#!/usr/bin/env -S python3 -u", Some("python3"), false),
            ("#!/usr/bin/env -S -i A=b -u C sh -x", Some("sh"), true),
            ("#!/usr/bin/env -i", None, true),
            ("#!/usr/bin/env", None, false),
        ] {
            let env = script(line).1.unwrap();
            assert_eq!((env.program.as_deref().and_then(OsStr::to_str), env.clears), (program, clears), "{line}");
        }
    }
}
