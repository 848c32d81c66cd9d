//! A process that makes one call a command and answers with its outcome: `tests/programs/agent.c`.
//!
//! Tests with several actors keep the order of calls in their own hands this way.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{ChildStdin, ChildStdout};

use crate::compile::program;
use crate::process::readable;
use crate::{Namespace, Process, Run, Session};

/// An agent, ended when dropped.
pub struct Agent {
    process: Process,
    commands: Option<ChildStdin>,
    answers: ChildStdout,
    unread: Vec<u8>,
}

impl Agent {
    /// An agent without the gate.
    pub fn native(namespace: &Namespace) -> Agent {
        Agent::start(Run::new(program("agent")).namespace(namespace))
    }

    /// An agent in a session.
    pub fn gated(namespace: &Namespace, session: &Session) -> Agent {
        Agent::start(Run::new(program("agent")).namespace(namespace).session(session))
    }

    /// An agent from a run that ends up in the program.
    pub fn start(run: Run) -> Agent {
        let (process, commands, answers) = run.interactive();
        Agent { process, commands: Some(commands), answers, unread: Vec::new() }
    }

    /// Sends a command without waiting for its answer.
    pub fn send(&mut self, command: &str) {
        let commands = self.commands.as_mut().expect("agent has not been told to end");
        writeln!(commands, "{command}").expect("agent takes commands");
    }

    /// The next answer: an errno's name, or a number.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            let deadline = self.process.deadline();
            assert!(readable(self.answers.as_raw_fd(), deadline), "no answer in time: {}", self.process.stderr());
            let mut bytes = [0; 4096];
            match self.answers.read(&mut bytes) {
                Ok(0) | Err(_) => panic!("the agent ended: {}", self.process.stderr()),
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
            }
        }
    }

    /// A command and its answer.
    #[track_caller]
    pub fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }

    /// A command that must succeed, and its number.
    #[track_caller]
    pub fn number(&mut self, command: &str) -> i64 {
        let answer = self.ask(command);
        let parsed = match answer.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16),
            None => answer.parse(),
        };
        parsed.unwrap_or_else(|_| panic!("{command}: {answer}"))
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// What it wrote to stderr up to now.
    pub fn stderr(&mut self) -> String {
        self.process.stderr()
    }

    /// SIGKILL, and its end.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Ends it the normal way and waits for that.
    #[track_caller]
    pub fn finish(mut self) -> crate::Status {
        self.commands = None;
        drop(File::from(OwnedFd::from(self.answers)));
        self.process.wait().status
    }
}
