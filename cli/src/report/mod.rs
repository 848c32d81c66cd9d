//! `shmgate report`: what a session did, and what it had better not have done. docs/report.md describes it.
//!
//! | module | holds |
//! | --- | --- |
//! | `model` | programs, processes, segments, attaches, keys: what the records come to |
//! | `fold` | the pass over the records that makes them |
//! | `lives` | what only the end of the records tells |
//! | `failures` | `run --fail-on` |
//! | `findings` | what was found |
//! | `groups` | findings of one cause as one, for people |
//! | `text`, `json`, `html` | the three forms of a report |
//! | `table`, `words` | tables and words for people |

mod failures;
mod findings;
mod fold;
mod groups;
mod html;
mod json;
mod lives;
mod model;
mod table;
mod text;
mod words;

pub use failures::Failures;
pub use fold::names_a_segment;
pub use model::Counts;
pub use words::{plural, some};

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use clap::Args;
use shmgate_core::clock;
use shmgate_core::journal::Timeline;
use shmgate_core::policy::Policy;
use shmgate_core::text::Event;

use crate::failure::{DAMAGED, FAILED, Failure, quoted, written};
use crate::progress::over_if;
use crate::symbols::{Callers, Symbols};
use crate::{log, members, sessions};
use findings::kind::{FailOn, Kind};
use findings::{Finding, Watch};
use fold::Fold;
use html::records::Record;
use model::{Model, Process, Program};

/// Print what a session did, and what is wrong with it
#[derive(Debug, Args)]
#[command(
    long_about = "Prints what a session did: its calls, errors and denials by program and by key, its segments with their lives, and \
                  findings: leaks, attaches never detached, modes that let everybody in, keys taken without IPC_EXCL, ftok's collisions, \
                  and the like, each with the calls that show it and what to do.\n\n\
                  The exit status is 1 if --fail-on names something that was found, or if a file of the session is damaged: what can be \
                  read is reported all the same.",
    after_help = "Examples:
  shmgate run --session /tmp/s -- ./server
  shmgate report /tmp/s
  Fail a build by leaks and by whatever is an error:
    shmgate report --fail-on leak,error /tmp/s
  Find the line that made a leaked segment:
    shmgate run --callers --session /tmp/s -- ./server
    shmgate report /tmp/s
  The calls by program:
    shmgate report --json /tmp/s | jq '.programs[] | {exe, counts}'
  A page with a timeline, to look at in a browser or to keep with a build:
    shmgate report --html report.html /tmp/s"
)]
pub struct ReportOptions {
    /// The session's directory, as given to shmgate run --session
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub session: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write a page for a browser to FILE ('-' is standard output), and print nothing
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "json")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub fail_on: FailOnOption,
}

/// The option that makes findings failures.
#[derive(Clone, Debug, Default, Args)]
pub struct FailOnOption {
    /// End with status 1 if one of these is found: names of findings, severities (error, warning, note; that or worse), any
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = FailOn::parse)]
    pub fail_on: Vec<FailOn>,
}

impl FailOnOption {
    /// True if findings of this kind are to be failures.
    fn means(&self, kind: Kind) -> bool {
        self.fail_on.iter().any(|one| one.means(kind))
    }
}

/// A session's report, in one of its forms.
struct Report {
    directory: PathBuf,
    timeline: Timeline,
    symbols: Symbols,
    policy: Option<Policy>,
    model: Model,
    findings: Vec<Finding>,
    /// The calls, if they were asked for.
    records: Vec<Record>,
    /// Calls that are not in the journal.
    lost: u64,
    damage: Option<String>,
}

/// Prints the report; returns the exit status.
pub fn report(options: &ReportOptions) -> Result<u8, Failure> {
    let mut report = Report::of(&options.session, options.html.is_some(), true)?;
    if !options.json {
        let findings = std::mem::take(&mut report.findings);
        report.findings = groups::grouped(&mut report, findings);
    }
    match &options.html {
        Some(file) if file != "-" => html::write_file(&mut report, file)?,
        _ => {
            let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
            let printed = if options.html.is_some() {
                html::write(&mut report, &mut out)
            } else if options.json {
                json::write(&mut report, &mut out)
            } else {
                text::write(&mut report, &mut out, text::Look::of(io::stdout().is_terminal()))
            };
            written(printed.and_then(|()| out.flush()))?;
        }
    }
    report.complaint()?;
    Ok(if report.findings.iter().any(|one| options.fail_on.means(one.kind)) { FAILED } else { 0 })
}

/// The moment that [`Failures::of`] takes for a run's beginning.
pub fn now() -> u64 {
    clock::realtime_ns()
}

impl Report {
    /// Reads the session in `directory`, as far as it has come. A page wants all records, and a person to see that it goes on.
    fn of(directory: &Path, wants_records: bool, shows_progress: bool) -> Result<Report, Failure> {
        let session = sessions::open(directory)?;
        let path = directory.join("journal");
        // A policy that can't be read costs the rules' names and the quotas, books that can't be read cost who made what a shmget with
        // IPC_CREAT alone gave: both are said after the report.
        let (policy, policy_fault) = match session.policy() {
            Ok(policy) => (policy, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mut timeline = Timeline::new(log::open(&path)?);
        let mut slots = timeline.poll();
        // Who is dead by now has left all its records: they come with the second look, and whoever is new then lives.
        let is_this_boot = [0, clock::this_boot()].contains(&timeline.reader().header().boot.load(Relaxed));
        let is_running = is_this_boot && members::has_processes(&session);
        let exe = |pid: u32| match fs::read_link(format!("/proc/{pid}/exe")) {
            Ok(exe) if is_running => Exe::Is(exe),
            // Another user's, or one in a user namespace: it is there.
            Err(error) if is_running && error.kind() == io::ErrorKind::PermissionDenied => Exe::Hidden,
            _ => Exe::None,
        };
        let exes: HashMap<u32, Exe> = timeline.images().map(|image| (image.pid, exe(image.pid))).collect();
        slots.extend(timeline.poll());

        let mut fold = Fold::new(timeline.images(), policy.clone());
        let mut watch = Watch::default();
        let mut records = Vec::new();
        for slot in over_if(shows_progress, "reading the journal", slots) {
            let Some(event) = timeline.event(slot, policy.as_ref()) else { continue };
            let step = fold.call(&event, slot);
            watch.see(&fold, &step);
            if wants_records {
                records.push(Record::of(&fold.model, &step));
            }
        }
        let mut model = fold.model;
        model.is_running = is_running;
        let (ledger, ledger_fault) = match session.ledger() {
            Ok(ledger) => (Some(ledger), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let noted = ledger.map(|ledger| ledger.noted_segments().map(|one| (one.shmid, one.key)).collect::<HashSet<_>>());
        let is_alive = |program: &Program, process: &Process| match exes.get(&process.pid) {
            None | Some(Exe::Hidden) => true,
            Some(Exe::Is(exe)) => is_of(exe, program),
            Some(Exe::None) => false,
        };
        lives::settle(&mut model, &noted, &is_alive);
        let findings = watch.finish(&model, policy.as_ref());

        let reader = timeline.reader();
        let lost = reader.header().lost.load(Relaxed);
        let read = model.counts.total();
        let damage = log::damage(reader, &path, timeline.damaged().min());
        let damage = damage.map(|what| format!("journal {}: {what}, {read} records readable and reported", path.display()));
        let faults: Vec<String> = [damage, policy_fault, ledger_fault].into_iter().flatten().collect();
        Ok(Report {
            directory: directory.to_owned(),
            timeline,
            symbols: Symbols::new(),
            policy,
            model,
            findings,
            records,
            lost,
            damage: (!faults.is_empty()).then(|| faults.join("; ")),
        })
    }

    /// What was wrong with the session's files.
    fn complaint(&self) -> Result<(), Failure> {
        match &self.damage {
            Some(what) => Err(Failure::new(DAMAGED, what)),
            None => Ok(()),
        }
    }

    /// A record that is evidence.
    fn event(&mut self, slot: u64) -> Option<Event<'_>> {
        self.timeline.event(slot, self.policy.as_ref())
    }

    /// Where that call came from, if it was recorded.
    fn callers(&mut self, slot: u64) -> Option<Rc<Callers>> {
        self.symbols.callers(self.timeline.reader_mut(), slot)
    }

    /// How to see all that a report left out.
    fn see_all(&self) -> String {
        format!("shmgate report --json {}", quoted(&self.directory))
    }
}

/// What /proc tells of a process's executable.
enum Exe {
    Is(PathBuf),
    Hidden,
    /// There is no such process, or it is dead.
    None,
}

/// True if a process with this executable runs the program.
fn is_of(exe: &Path, program: &Program) -> bool {
    let exe = exe.as_os_str().as_bytes();
    // Its file may have been replaced since.
    program.exe.as_deref().is_none_or(|known| exe == known || exe.strip_suffix(b" (deleted)") == Some(known))
}
