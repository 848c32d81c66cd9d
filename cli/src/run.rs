//! `shmgate run`: a command with the library preloaded, in a session.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::args::RunOptions;
use crate::child::Signals;
use crate::environment::{self, Log};
use crate::failure::{Failure, NOT_EXECUTABLE, UNGATED, say, words};
use crate::isolation::Isolated;
use crate::library::{self, Library};
use crate::sessions::Running;
use crate::summary::{self, Counts};
use crate::{policy, program};

/// Runs the command; returns its exit status.
pub fn run(options: &RunOptions) -> Result<u8, Failure> {
    environment::check(options)?;
    let policy = policy::resolve(&options.limits)?;
    let library = Library::find()?;
    let (name, arguments) = options.command.split_first().ok_or_else(|| Failure::usage("no command"))?;
    let path = program::find(name)?;
    let preloads = gate_or_refuse(&path, &library, options)?;
    let log = Log::of(options)?;

    let signals = Signals::hold();
    let running = Running::start(options.session.as_deref(), policy.as_ref())?;
    let session = running.session.clone();
    let policy = session.policy().map_err(Failure::usage)?;
    // Only a session that was joined has counted anything.
    let before = if running.is_kept() && !options.quiet { Counts::of(&session) } else { Counts::default() };

    let isolated = match options.isolate.then(Isolated::start).transpose() {
        Ok(isolated) => isolated,
        Err(failure) => {
            running.finish();
            return Err(failure);
        }
    };

    let mut command = Command::new(&path);
    command.arg0(name).args(arguments);
    environment::set(&mut command, options, &log, session.dir(), policy.is_some());
    if let Some(isolated) = &isolated {
        command.env("SHMGATE_BACKEND", "userspace").env("SHMGATE_NAMESPACE", isolated.dir());
    }
    let started = library.for_preload(&session).and_then(|library| {
        if preloads {
            command.env("LD_PRELOAD", library::preload(env::var_os("LD_PRELOAD").as_deref(), &library));
        }
        signals.start(&mut command).map_err(|error| not_started(&path, &error))
    });
    let child = match started {
        Ok(child) => child,
        Err(failure) => {
            running.finish();
            isolated.map(Isolated::finish);
            return Err(failure);
        }
    };
    let status = child.wait();

    // The longer the measure, the better the times that are read later.
    if let Ok(parts) = session.parts() {
        parts.journal.header().scale.refine();
    }
    if !options.quiet {
        let how_to_see = match (&options.log, running.is_kept()) {
            (_, true) => format!("see: shmgate log {}", session.dir().display()),
            (None, false) if !options.json => "to see which and why, add --log - or --session DIR".to_owned(),
            _ => "the log says which and why".to_owned(),
        };
        summary::print(&session, before, &how_to_see, isolated.is_none() && environment::may_be_kernel(options));
    }
    if running.finish() && !options.quiet {
        say(format!("processes of the session still run; watch them with: shmgate log --follow {}", session.dir().display()));
    }
    if let Some(dir) = isolated.and_then(Isolated::finish)
        && !options.quiet
    {
        say(format!("processes of the isolated namespace still run; it goes with the last of them: {}", dir.display()));
    }
    Ok(status)
}

/// True if the library is to be preloaded. A command that can't be gated is refused, unless it is allowed.
fn gate_or_refuse(path: &Path, library: &Library, options: &RunOptions) -> Result<bool, Failure> {
    match program::judge(path, library.machine) {
        Ok(()) => Ok(true),
        Err(ungated) if options.allow_ungated => {
            if !options.quiet {
                say(format!("warning: {}; it runs unwatched", ungated.fact()));
            }
            Ok(ungated.bears_preload())
        }
        Err(ungated) => Err(Failure::new(UNGATED, ungated)),
    }
}

/// The command was found, and may be executed: what is missing then is what it is run by.
fn not_started(path: &Path, error: &io::Error) -> Failure {
    let hint = if error.kind() == io::ErrorKind::NotFound { "; is its interpreter or loader there?" } else { "" };
    Failure::new(NOT_EXECUTABLE, format!("{}: {}{hint}", path.display(), words(error)))
}
