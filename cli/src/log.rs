//! `shmgate log`: a session's journal as lines.

use std::fs::{self, File};
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use shmgate_core::journal::{OpenError, Reader, Timeline};
use shmgate_core::policy::Policy;
use shmgate_core::session::{Session, c_path};
use shmgate_core::text::json::{Fields, Utc};

use crate::args::LogOptions;
use crate::failure::{DAMAGED, Failure, written};
use crate::progress::over_if;
use crate::symbols::Symbols;
use crate::{members, sessions};

/// How often a follower looks for new records.
const POLL: Duration = Duration::from_millis(50);
/// How often, and how long, a journal is looked at that seems to be cut.
const GROWING: (u32, Duration) = (20, Duration::from_millis(1));
/// How often it asks whether anybody is left, which means to look through /proc.
const ALIVE: Duration = Duration::from_millis(250);

/// Prints the records; returns the exit status.
pub fn log(options: &LogOptions) -> Result<u8, Failure> {
    let path = options.session.join("journal");
    let session = sessions::open(&options.session)?;
    // A policy that can't be read costs the rules' names, and is said after the records.
    let (policy, policy_fault) = match session.policy() {
        Ok(policy) => (policy, None),
        Err(error) => (None, Some(error)),
    };
    let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut printer = Printer {
        timeline: Timeline::new(open(&path)?),
        symbols: Symbols::new(),
        policy,
        options,
        out,
        records: 0,
        // A pipe may lead to a program that writes to the same terminal.
        shows_progress: !options.follow && is_file(io::stdout()),
    };
    let printed = if options.follow { printer.follow(&session) } else { printer.print() };
    let has_all = printed.is_ok();
    written(printed)?;
    if !has_all {
        // Of what comes after nobody wants to know.
        return Ok(0);
    }

    let Printer { timeline, records, .. } = printer;
    if let Some(what) = damage(timeline.reader(), &path, timeline.damaged().min()) {
        let message = format!("journal {}: {what}, {records} records readable and printed", path.display());
        return Err(Failure::new(DAMAGED, message));
    }
    policy_fault.map_or(Ok(0), |error| Err(Failure::new(DAMAGED, error)))
}

fn is_file(out: impl AsFd) -> bool {
    let opened = out.as_fd().try_clone_to_owned().map(File::from);
    opened.and_then(|file| file.metadata()).is_ok_and(|meta| meta.is_file())
}

/// Opens a session's journal.
pub fn open(path: &Path) -> Result<Reader, Failure> {
    Reader::open(&c_path(path.as_os_str())).map_err(|error| match error {
        OpenError::Errno(_) => Failure::usage(format!("{}: {error}", path.display())),
        OpenError::NotAJournal | OpenError::Version(_) => Failure::new(DAMAGED, format!("journal {}: {error}", path.display())),
    })
}

/// What is wrong with a journal, in which `damaged` is the offset of the first slot with bytes that no writer writes.
pub fn damage(reader: &Reader, path: &Path, damaged: Option<u64>) -> Option<String> {
    // A live thread takes slots a moment before it makes the file longer.
    let is_cut = || {
        (0..GROWING.0).all(|_| {
            let is_cut = reader.is_cut();
            if is_cut {
                sleep(GROWING.1);
            }
            is_cut
        })
    };
    match damaged {
        Some(offset) => Some(format!("damaged at offset {offset}")),
        None if is_cut() => Some(format!("cut off at offset {}", fs::metadata(path).map_or(0, |meta| meta.len()))),
        None => None,
    }
}

/// Turns records into lines.
struct Printer<'a> {
    timeline: Timeline,
    symbols: Symbols,
    policy: Option<Policy>,
    options: &'a LogOptions,
    out: BufWriter<StdoutLock<'static>>,
    /// Calls printed.
    records: u64,
    shows_progress: bool,
}

impl Printer<'_> {
    /// Prints what has come since the last time.
    fn print(&mut self) -> io::Result<()> {
        for slot in over_if(self.shows_progress, "reading the journal", self.timeline.poll()) {
            let Some(event) = self.timeline.event(slot, self.policy.as_ref()) else {
                continue;
            };
            self.records += 1;
            if self.options.json {
                write!(self.out, "{}", Fields(event))?;
            } else {
                if self.options.time {
                    write!(self.out, "{} ", Utc(event.time_ns))?;
                }
                writeln!(self.out, "{event}")?;
            }
            let callers = self.symbols.callers(self.timeline.reader_mut(), slot);
            match (callers, self.options.json) {
                (Some(callers), true) => {
                    let (frames, end) = (Value::from(callers.json()), callers.end_name());
                    writeln!(self.out, ",\"callers\":{frames},\"callers_end\":\"{end}\"}}")?;
                }
                (None, true) => writeln!(self.out, "}}")?,
                (Some(callers), false) => write!(self.out, "{callers}")?,
                (None, false) => {}
            }
        }
        self.out.flush()
    }

    /// Prints records as they come, until nobody is left in the session.
    fn follow(&mut self, session: &Session) -> io::Result<()> {
        let mut asked: Option<Instant> = None;
        loop {
            self.print()?;
            if asked.is_none_or(|at| at.elapsed() >= ALIVE) {
                if !members::is_in_use(session) {
                    // What they did last may have come since.
                    return self.print();
                }
                asked = Some(Instant::now());
            }
            sleep(POLL);
        }
    }
}
