//! `shmgate run`: a command with the library preloaded, in a session.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::args::RunOptions;
use crate::child::Signals;
use crate::environment::{self, Log};
use crate::failure::{FAILED, Failure, NOT_EXECUTABLE, UNGATED, quoted, say, words};
use crate::isolation::Isolated;
use crate::left::Left;
use crate::library::{self, Library};
use crate::report::Failures;
use crate::sessions::{Place, Running};
use crate::{policy, program, report, sessions, summary};

/// Runs the command; returns its exit status.
pub fn run(options: &RunOptions) -> Result<u8, Failure> {
    let namespace = environment::check(options)?;
    let policy = policy::resolve(&options.limits)?;
    let library = Library::find()?;
    let (name, arguments) = options.command.split_first().ok_or_else(|| Failure::usage("no command"))?;
    let path = program::find(name)?;
    let preloads = gate_or_refuse(&path, &library, options)?;
    let log = Log::of(options)?;
    let place = Place::of(options)?;
    if let Place::Inherited(dir) = &place
        && environment::moves(options)
    {
        // The books would count segments of two places, and be settled by whichever looks.
        let what = "this run's segments are to be elsewhere than the session's";
        let hint = "drop --isolate, --backend and --namespace, or take another session with --session DIR";
        return Err(Failure::usage(format!("SHMGATE_SESSION: session {}: {what}; {hint}", dir.display())));
    }
    if let Some(directory) = namespace {
        environment::make_namespace(&directory, options.quiet)?;
    }

    let began = report::now();
    let signals = Signals::hold();
    let running = Running::start(&place, policy.as_ref())?;
    let (session, before) = (running.session.clone(), running.before);
    let prepared = session.policy().map_err(Failure::usage).and_then(|policy| {
        let isolated = options.isolate.then(Isolated::start).transpose()?;
        Ok((policy, isolated))
    });
    let (policy, isolated) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            running.abandon();
            return Err(failure);
        }
    };
    if !options.quiet && options.namespace.is_some() && environment::kernel_serves(options) {
        say("warning: --namespace is not used, as the kernel serves the calls; add --backend userspace");
    }
    if !options.quiet && options.callers && log.is_on() && !running.is_kept() {
        say("warning: the log shows no callers; keep them with --session DIR, and read them with: shmgate log --follow DIR");
    }
    if let Some(around) = sessions::left_limits(session.dir())
        && !options.quiet
    {
        say(format!(
            "warning: this command is counted apart: the limits of the session {} don't hold it and that one's processes together",
            around.display()
        ));
    }

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
            running.abandon();
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
        let how_to_see = |all_logged| match (log.is_on(), running.is_kept()) {
            (_, true) => format!("see: shmgate log {}", quoted(session.dir())),
            (false, false) => "to see which and why, add --log - or --session DIR".to_owned(),
            (true, false) if all_logged => "the log says which and why".to_owned(),
            (true, false) => "to see which and why, add --session DIR".to_owned(),
        };
        summary::print(&session, before, &how_to_see);
    }
    let failures = Failures::of(&session, &options.fail_on, began, !options.quiet);
    let has_failed = failures.is_failed;
    if !options.quiet {
        // Another run may still want them, or they vanish by themselves.
        let segments = if running.has_others() { None } else { environment::segments(options) };
        let left = segments.as_ref().map(|segments| Left::of(&session, segments));
        if let Some(left) = &left {
            left.tell(&failures.leaked());
        }
        failures.tell(|leaks| left.as_ref()?.hint(leaks));
    }
    if running.finish() && !options.quiet {
        say(format!("processes of the session still run; watch them with: shmgate log --follow {}", quoted(session.dir())));
    }
    if let Some(dir) = isolated.and_then(Isolated::finish)
        && !options.quiet
    {
        say(format!("processes of the isolated namespace still run; it goes with the last of them: {}", dir.display()));
    }
    // A command that failed by itself says more by its own status.
    Ok(if has_failed && status == 0 { FAILED } else { status })
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
