//! Configurations: how a program is started in each, with what session, log or tracer.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Fault, Paths};

/// A way to run a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    Plain,
    /// The same once more: what comes out differently is noise.
    PlainAgain,
    /// LD_PRELOAD, and nothing set.
    Preloaded,
    Journal,
    JournalQuotas,
    /// A session whose journal has each call's stack.
    Callers,
    TextLog,
    Strace,
    Bpftrace,
}

pub const QUOTAS: [&str; 6] = ["--max-bytes", "1G", "--max-segments", "1000", "--max-attaches", "1000"];
const STRACE: [&str; 6] = ["strace", "-f", "-o", "/dev/null", "-e", "trace=shmget,shmat,shmdt,shmctl"];

/// A setup, made for one run; gone when dropped.
pub struct Stage<'a> {
    paths: &'a Paths,
    setup: Setup,
    audit: Option<Child>,
}

impl Setup {
    pub fn name(self) -> &'static str {
        match self {
            Setup::Plain => "plain",
            Setup::PlainAgain => "plain again",
            Setup::Preloaded => "preloaded",
            Setup::Journal => "journal",
            Setup::JournalQuotas => "journal+quotas",
            Setup::Callers => "callers",
            Setup::TextLog => "text log",
            Setup::Strace => "strace -f",
            Setup::Bpftrace => "bpftrace",
        }
    }

    /// Makes what a run needs anew, so that no run pays for the ones before it.
    pub fn stage(self, paths: &Paths) -> Result<Stage<'_>, Fault> {
        let mut stage = Stage { paths, setup: self, audit: None };
        stage.clear();
        match self {
            Setup::Journal | Setup::Callers => stage.make_session(&[])?,
            Setup::JournalQuotas => stage.make_session(&QUOTAS)?,
            Setup::Bpftrace => stage.start_audit()?,
            _ => {}
        }
        Ok(stage)
    }
}

impl Stage<'_> {
    fn session(&self) -> PathBuf {
        self.paths.work.join("session")
    }

    fn log(&self) -> PathBuf {
        self.paths.work.join("log")
    }

    /// Where bpftrace writes.
    pub fn audit_log(&self) -> PathBuf {
        self.paths.work.join("audit")
    }

    fn clear(&self) {
        let _ = fs::remove_dir_all(self.session());
        let _ = fs::remove_file(self.log());
        let _ = fs::remove_file(self.audit_log());
    }

    fn make_session(&self, quotas: &[&str]) -> Result<(), Fault> {
        let mut make = Command::new(&self.paths.command);
        make.args(["run", "--quiet", "--session"]).arg(self.session()).args(quotas).args(["--", "true"]);
        output(make).map(drop)
    }

    /// The environment that gates a program.
    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let mut environment = Vec::new();
        match self.setup {
            Setup::Plain | Setup::PlainAgain | Setup::Strace | Setup::Bpftrace => return environment,
            Setup::Preloaded => {}
            Setup::Journal => environment.push(("SHMGATE_SESSION", self.session())),
            Setup::JournalQuotas => {
                environment.push(("SHMGATE_SESSION", self.session()));
                environment.push(("SHMGATE_POLICY", self.session().join("policy.toml")));
            }
            Setup::Callers => {
                environment.push(("SHMGATE_SESSION", self.session()));
                environment.push(("SHMGATE_CALLERS", "on".into()));
            }
            Setup::TextLog => environment.push(("SHMGATE_LOG", self.log())),
        }
        environment.push(("LD_PRELOAD", self.paths.library.clone()));
        environment
    }

    /// A command that runs `program` in this setup.
    pub fn command(&self, program: &str) -> Command {
        let mut command = if self.setup == Setup::Strace {
            let mut strace = Command::new(STRACE[0]);
            strace.args(&STRACE[1..]).arg(program);
            strace
        } else {
            Command::new(program)
        };
        command.envs(self.environment());
        command
    }

    /// A command that runs `program` in this setup under strace, which is not gated itself.
    pub fn under_strace(&self, arguments: &[&str], program: &str) -> Command {
        let mut strace = Command::new(STRACE[0]);
        strace.args(arguments);
        for (name, value) in self.environment() {
            strace.arg("-E").arg(format!("{name}={}", value.display()));
        }
        strace.arg(program);
        strace
    }

    /// Starts bpftrace on other CPUs and without our priority, and waits until it listens: until a call
    /// shows up. Records come in bundles, so that takes many.
    fn start_audit(&mut self) -> Result<(), Fault> {
        let said = self.paths.work.join("audit.stderr");
        let stderr = File::create(&said).map_err(|error| format!("{}: {error}", said.display()))?;
        let mut start = Command::new("sh");
        start
            .arg("-c")
            .arg("taskset -cp 0-1023 $$ >/dev/null 2>&1; chrt -o -p 0 $$; ulimit -l unlimited; BPFTRACE_PERF_RB_PAGES=8192 exec bpftrace -B line -o \"$1\" \"$2\"");
        start.arg("sh").arg(self.audit_log()).arg(&self.paths.audit);
        let child = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        let mut child = child.map_err(|error| format!("sh: {error}"))?;
        let since = Instant::now();
        let listens = || fs::read_to_string(self.audit_log()).is_ok_and(|text| text.contains("shmget"));
        while !listens() {
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            if ended || since.elapsed() > Duration::from_secs(20) {
                let _ = child.kill();
                let _ = child.wait();
                let text = fs::read_to_string(&said).unwrap_or_default();
                let reason = text.lines().last().filter(|_| ended).unwrap_or("it attached nothing in 20 s");
                return Err(format!("bpftrace: {reason}"));
            }
            let _ = Command::new(&self.paths.calls).args(["loop", "shmget", "200"]).status();
            sleep(Duration::from_millis(50));
        }
        self.audit = Some(child);
        Ok(())
    }

    /// Ends what runs beside the program, so that its output is whole.
    pub fn finish(&mut self) {
        let Some(mut audit) = self.audit.take() else { return };
        let _ = Command::new("kill").args(["-INT", &audit.id().to_string()]).status();
        let since = Instant::now();
        while audit.try_wait().is_ok_and(|status| status.is_none()) {
            if since.elapsed() > Duration::from_secs(20) {
                let _ = audit.kill();
            }
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.finish();
        self.clear();
    }
}

/// Runs a command; what it printed.
pub fn output(mut command: Command) -> Result<String, Fault> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    // A program that is gated less than was asked for says so, and would be measured in vain.
    if !output.status.success() || !output.stderr.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr).trim_end().replace('\n', " / ");
        return Err(format!("{name}: {}: {said}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{name}: printed what is no text"))
}

/// True if there is a program of this name.
pub fn exists(program: &str) -> bool {
    let find = format!("command -v {program}");
    Command::new("sh").args(["-c", &find]).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}
