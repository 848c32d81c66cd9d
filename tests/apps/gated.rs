//! Runs a program under `shmgate run`, with log, journal and quotas on, in an IPC namespace of its own, while strace
//! records what the kernel is asked; then holds the journal and the log against it. On the userspace backend the kernel's four system
//! calls fail, and none may be asked for.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitStatus;

use crate::call::Call;
use crate::compare::compare;
use crate::journal::{self, Record};
use crate::place::{Place, become_user, effective_uid};
use crate::strace::{self, Trace};

/// Quotas wide enough for every program here: they are kept, and never met.
const QUOTAS: [&str; 6] = ["--max-bytes", "8G", "--max-segments", "4096", "--max-attaches", "8192"];

/// Who serves the calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    #[default]
    Kernel,
    Userspace,
}

/// What to run, in its directory.
#[derive(Default)]
pub struct Program<'a> {
    pub backend: Backend,
    pub command: &'a [&'a str],
    /// The files that the command finds in its directory, by name and content.
    pub files: &'a [(&'a str, &'a str)],
    /// A directory searched for programs first.
    pub path: Option<&'a Path>,
    /// Options of `shmgate run` beside log, session and quotas.
    pub options: &'a [&'a str],
    /// Root runs it as nobody: the program refuses root.
    pub not_root: bool,
}

/// A program that ran.
pub struct Gated {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub records: Vec<Record>,
    pub trace: Trace,
    log: String,
    uid: u32,
    place: Place,
}

/// Runs the program to its end.
pub fn run(program: &Program<'_>) -> Result<Gated, String> {
    let place = Place::new(program).map_err(|error| format!("cannot set up a directory: {error}"))?;
    let mut words = place.namespace();
    words.push("strace".to_owned());
    words.extend(strace::OPTIONS.map(str::to_owned));
    // A call that a filter refuses is none for strace's own filter.
    words.extend(place.userspace().is_none().then(|| "--seccomp-bpf".to_owned()));
    words.extend(["-o".to_owned(), place.name("trace")]);
    words.extend(place.userspace().map_or_else(Vec::new, |_| place.without_shm()));
    words.push(place.shmgate());
    words.extend(["run", "--session"].map(str::to_owned));
    words.extend([place.name("session"), "--log".to_owned(), place.name("log")]);
    if let Some(directory) = place.userspace() {
        words.extend(["--backend", "userspace", "--namespace"].map(str::to_owned));
        words.push(directory.display().to_string());
    }
    words.extend(QUOTAS.iter().chain(program.options).map(|word| (*word).to_owned()));
    words.push("--".to_owned());
    words.extend(program.command.iter().map(|word| (*word).to_owned()));

    let status = place.run(&words, "stdout", "stderr")?;
    if let Some(directory) = place.userspace() {
        let mut words = place.user.map_or_else(Vec::new, become_user);
        words.extend([place.shmgate(), "namespace".to_owned(), "check".to_owned(), directory.display().to_string()]);
        let checked = place.run(&words, "check", "check.err")?;
        if !checked.success() {
            let said = format!("{}{}", place.read("check")?, place.read("check.err")?);
            return Err(format!(
                "shmgate namespace check: {checked}\n{said}\nthe run before: {status}\n{}",
                place.read("stderr")?
            ));
        }
    }
    let mut words = place.user.map_or_else(Vec::new, become_user);
    words.extend([place.shmgate(), "log".to_owned(), place.name("session"), "--json".to_owned()]);
    let told = place.run(&words, "journal.json", "journal.err")?;
    if !told.success() {
        return Err(format!(
            "shmgate log: {told}\n{}\nthe run before: {status}\n{}",
            place.read("journal.err")?,
            place.read("stderr")?
        ));
    }
    Ok(Gated {
        status,
        stdout: place.read("stdout")?,
        stderr: place.read("stderr")?,
        records: journal::parse(&place.read("journal.json")?)?,
        trace: strace::parse(&place.read("trace")?)?,
        // Not there if there was no call.
        log: place.read("log").unwrap_or_default(),
        uid: place.user.map_or_else(effective_uid, |user| user.uid),
        place,
    })
}

impl Gated {
    /// The program's end was good.
    pub fn succeeded(&self) -> Result<(), String> {
        if self.status.success() { Ok(()) } else { Err(self.telling(&format!("ended with {}", self.status))) }
    }

    /// The program wrote this to its standard output.
    pub fn printed(&self, expected: &str) -> Result<(), String> {
        if self.stdout == expected { Ok(()) } else { Err(self.telling(&format!("expected to read:\n{expected}"))) }
    }

    /// These segments, and no others, stayed behind; `shmgate run` said so, and nothing else.
    pub fn left_behind(&self, segments: &[&str]) -> Result<(), String> {
        let told: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("shmgate: ")).collect();
        let same = told.len() == segments.len()
            && told.iter().all(|line| line.starts_with("shmgate: left behind: "))
            && segments.iter().all(|segment| told.iter().any(|line| line.contains(segment)));
        if same {
            Ok(())
        } else {
            Err(self.telling(&format!("expected shmgate to tell of these left behind, and nothing else: {segments:?}")))
        }
    }

    /// A message with all that the program said.
    pub fn telling(&self, message: &str) -> String {
        format!("{message}\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr)
    }

    /// The calls and what came of each, without ids, keys and addresses: the same on each backend where a program does the same.
    pub fn outcomes(&self) -> Vec<String> {
        let told = |Record { name, call, .. }: &Record| {
            let error = call.as_ref().and_then(|call| call.answer.clone()).and_then(Result::err);
            format!("{name}: {}", error.as_deref().unwrap_or("done"))
        };
        let mut outcomes: Vec<String> = self.records.iter().map(told).collect();
        outcomes.sort();
        outcomes
    }

    /// A file that the program left in its directory.
    pub fn file(&self, name: &str) -> String {
        self.place.read(name).unwrap_or_default()
    }

    /// What strace saw of the program, without what `shmgate` itself asks when it sums up.
    pub fn kernel_calls(&self) -> Vec<Call> {
        self.trace.calls.iter().filter(|call| call.tid != self.trace.first).cloned().collect()
    }

    /// Journal, log and strace agree, and the journal names exactly these programs as the callers.
    /// Returns a sentence with the numbers.
    pub fn agrees(&self, programs: &[&str], at_least: usize) -> Result<String, String> {
        let expected = if self.place.userspace().is_some() { "userspace" } else { "kernel" };
        for record in &self.records {
            let Record { name, call, uid, backend, verdict, reason, .. } = record;
            if verdict != "allowed" || backend != expected || *uid != self.uid {
                let what = call.as_ref().map_or_else(|| name.clone(), Call::to_string);
                let told = format!("uid {uid}, backend {backend}, verdict {verdict} ({reason}): {what}");
                return Err(format!("expected an allowed call of uid {} on the backend {expected}:\n{told}", self.uid));
            }
        }
        let journal: Vec<_> = self.records.iter().filter_map(|record| record.call.clone()).collect();
        let compared = match (self.place.userspace(), self.kernel_calls().first()) {
            (None, _) => compare(&self.kernel_calls(), &journal).map_err(|difference| {
                format!("journal and strace differ.\n{difference}\nprograms: {:?}", self.trace.programs)
            })?,
            (Some(_), None) => journal.len(),
            (Some(_), Some(call)) => return Err(format!("asked of the kernel: {call}\nprograms: {:?}", self.trace.programs)),
        };
        if compared < at_least {
            return Err(format!("only {compared} calls, expected {at_least} and more"));
        }
        let callers: BTreeSet<&str> = self.records.iter().filter_map(|record| record.exe.rsplit('/').next()).collect();
        if callers != programs.iter().copied().collect() {
            return Err(format!("callers in the journal: {callers:?}, expected {programs:?}"));
        }
        if !self.file("session/policy.toml").contains("quota") {
            return Err("the session has no quotas in its policy".to_owned());
        }
        self.log_has_a_line_for_each_record()?;
        let threads: BTreeSet<u32> = self.records.iter().map(|record| record.tid).collect();
        let asked = self.kernel_calls().len();
        Ok(format!("{compared} calls of {} threads; strace counts {asked}", threads.len()))
    }

    /// `1234 shmget(…) = …` or `1234/1235 shmget(…) = …`: the thread and the call of each line.
    fn log_has_a_line_for_each_record(&self) -> Result<(), String> {
        let mut lines = Vec::new();
        for line in self.log.lines() {
            let (who, call) = line.split_once(' ').ok_or_else(|| format!("log: {line}"))?;
            let tid: u32 = who.rsplit('/').next().and_then(|tid| tid.parse().ok()).ok_or(format!("log: {line}"))?;
            lines.push((tid, call.split('(').next().unwrap_or_default()));
        }
        let mut records: Vec<_> = self.records.iter().map(|record| (record.tid, record.name.as_str())).collect();
        lines.sort_unstable();
        records.sort_unstable();
        if lines == records {
            return Ok(());
        }
        Err(format!("the log has {} lines and the journal {} records, or of other calls", lines.len(), records.len()))
    }
}
