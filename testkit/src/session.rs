//! A session directory, made by the command itself, and what its journal says.

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::readable;
use crate::{Namespace, Run, command, library};

/// A session in a temporary place.
pub struct Session {
    place: TempDir,
    environment: Vec<(String, String)>,
}

impl Session {
    /// A session that only watches.
    pub fn watching(namespace: &Namespace) -> Session {
        Session::with_options(namespace, &[])
    }

    /// A session with this policy.
    pub fn with_policy(namespace: &Namespace, policy: &str) -> Session {
        let place = temporary();
        let file = place.path().join("given.toml");
        std::fs::write(&file, policy).expect("policy file");
        let options = ["--policy", file.to_str().expect("path in UTF-8")];
        Session::make(place, namespace, &options)
    }

    /// A session with these options of `shmgate run`.
    pub fn with_options(namespace: &Namespace, options: &[&str]) -> Session {
        Session::make(temporary(), namespace, options)
    }

    /// What a program of this session has in its environment: `run` itself says so, by running env.
    fn make(place: TempDir, namespace: &Namespace, options: &[&str]) -> Session {
        let directory = place.path().join("session");
        let said = run(&directory).args(options).args(["--", "/usr/bin/env"]).namespace(namespace).output().silent();
        let environment = said
            .stdout
            .lines()
            .filter(|line| line.starts_with("SHMGATE_") || line.starts_with("LD_PRELOAD="))
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Session { place, environment }
    }

    /// The session's directory.
    pub fn directory(&self) -> PathBuf {
        self.place.path().join("session")
    }

    /// A place for a test's own files, gone with the session.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// The variables that put a program into the session, the preload among them.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All records, oldest first; fails when the reader complains about the journal or a line is no JSON.
    #[track_caller]
    pub fn records(&self) -> Vec<Value> {
        let listed = Run::new(command()).arg("log").arg(self.directory()).arg("--json").output().silent();
        listed
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in: {line}")))
            .collect()
    }

    /// The same, one after the other: for more of them than one wants to have in memory.
    #[track_caller]
    pub fn each_record(&self, mut look: impl FnMut(Value)) {
        let read = Run::new(command()).arg("log").arg(self.directory()).arg("--json").timeout(Duration::from_secs(600));
        let (process, _, output) = read.interactive();
        let mut output = BufReader::new(output);
        let mut line = String::new();
        loop {
            let is_there = !output.buffer().is_empty() || readable(output.get_ref().as_raw_fd(), process.deadline());
            assert!(is_there, "the journal is not read in time");
            line.clear();
            if output.read_line(&mut line).expect("UTF-8") == 0 {
                break;
            }
            look(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in: {line}")));
        }
        process.wait().silent();
    }

    /// The records of one call.
    #[track_caller]
    pub fn calls(&self, call: &str) -> Vec<Value> {
        let mut records = self.records();
        records.retain(|record| record["call"] == call);
        records
    }

    /// Another `shmgate run` in this session.
    pub fn run(&self, namespace: &Namespace) -> Run {
        run(&self.directory()).namespace(namespace)
    }
}

/// `shmgate run` in this session directory, with the library under test.
fn run(directory: &Path) -> Run {
    Run::new(command()).env("SHMGATE_LIB", library()).args(["run", "-q", "--session"]).arg(directory)
}

fn temporary() -> TempDir {
    tempfile::Builder::new().prefix("shmgate-test-").tempdir().expect("temporary directory")
}
