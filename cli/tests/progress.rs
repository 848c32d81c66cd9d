//! How far long work has come: seen on a terminal, gone afterwards, and nowhere else. What is long is a matter of the clock, which the tests preload.

mod common;

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use common::{Named, compile, place, shmgate, terminal};
use shmgate_testkit::compile::program;
use shmgate_testkit::process::readable;
use shmgate_testkit::{Outcome, Run, Status, command, run_trials, trials};

fn main() -> ExitCode {
    run_trials(trials![
        reading_a_journal_is_shown_and_wiped,
        a_search_for_files_is_shown_and_wiped,
        removals_are_shown_and_wiped,
        a_run_shows_what_it_is_judged_by_unless_it_is_quiet,
        a_log_shows_it_beside_a_file_alone,
        what_is_done_soon_shows_nothing,
        elsewhere_than_on_a_terminal_nothing_is_shown,
    ])
}

/// A session of 2,000 calls, and a clock.
struct Scene {
    temp: tempfile::TempDir,
    session: PathBuf,
    clock: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let temp = place();
        let session = temp.path().join("s");
        shmgate(["run", "-q", "--session"]).arg(&session).arg("--").arg(program("churn")).arg("400").output().silent();
        let clock = compile("clock", temp.path(), &["-shared", "-fPIC"]);
        Scene { temp, session, clock }
    }

    /// A run for which time passes so many times as fast.
    fn at_speed(&self, speed: &str, run: Run) -> Run {
        run.env("LD_PRELOAD", &self.clock).env("CLOCK_SPEED", speed)
    }

    /// A run to which all work is long, with what it writes to a terminal.
    #[track_caller]
    fn slow(&self, run: Run) -> (Outcome, String) {
        on_terminal(self.at_speed("100000", run))
    }

    fn report(&self, options: &[&str]) -> Run {
        shmgate(["report"]).args(options).arg(&self.session)
    }
}

/// A run with a terminal for standard error, and what it wrote there.
#[track_caller]
fn on_terminal(run: Run) -> (Outcome, String) {
    let (mut ours, theirs) = terminal();
    let process = run.env("TERM", "xterm").stderr(theirs).spawn();
    let mut screen = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        assert!(readable(ours.as_raw_fd(), process.deadline()), "no end of {}", String::from_utf8_lossy(&screen));
        // Once nobody has it open, there is an error.
        match ours.read(&mut bytes) {
            Ok(count @ 1..) => screen.extend_from_slice(&bytes[..count]),
            _ => return (process.wait(), String::from_utf8_lossy(&screen).into_owned()),
        }
    }
}

/// Fails unless `part` was on the screen, in a line of its own that has been wiped. Returns what was written afterwards.
#[track_caller]
fn wiped<'a>(screen: &'a str, part: &str) -> &'a str {
    assert!(screen.contains(part), "{part} is missing in {screen:?}");
    let (before, after) = screen.rsplit_once("\r\x1b[2K").unwrap_or_else(|| panic!("nothing is wiped: {screen:?}"));
    assert!(!before.contains('\n') && !after.contains(part), "{screen:?}");
    assert!(!screen.contains("\x1b[3") && !screen.contains("\x1b[1m"), "it has no colour: {screen:?}");
    after
}

const READING: &str = "reading the journal [=";

fn reading_a_journal_is_shown_and_wiped() {
    let scene = Scene::new();
    let page = scene.temp.path().join("page.html");
    for options in [&[][..], &["--json"], &["--html", page.to_str().unwrap()]] {
        let (outcome, screen) = scene.slow(scene.report(options));
        assert_eq!(outcome.status, Status::Exited(0), "{outcome}");
        assert_eq!(wiped(&screen, READING), "", "{options:?}");
        assert_eq!(outcome.stdout, scene.report(options).output().silent().stdout);
    }
    // What there is to say comes after it.
    fs::write(scene.session.join("policy.toml"), "dry-run = ?").unwrap();
    let (outcome, screen) = scene.slow(scene.report(&[]));
    assert_eq!(outcome.status, Status::Exited(1), "{outcome}");
    assert!(wiped(&screen, READING).starts_with("shmgate: "), "{screen:?}");
}

fn a_search_for_files_is_shown_and_wiped() {
    let (scene, own) = (Scene::new(), Named::new("searched"));
    let id = own.agent().number("get 77 4096 01600").to_string();
    for file in 0..100 {
        fs::write(scene.temp.path().join(file.to_string()), "").unwrap();
    }
    let at = ["show", "--namespace", &own.name, &id, "--find-path"];
    let (outcome, screen) = scene.slow(shmgate(at).arg(scene.temp.path()));
    assert!(outcome.stdout.contains("no file in the given directories"), "{outcome}");
    assert_eq!(wiped(&screen, "looking for files that give the key: "), "");
    let (outcome, screen) = scene.slow(shmgate(&at[..4]).arg("--session").arg(&scene.session));
    assert!(outcome.stdout.contains("0x0000004d"), "{outcome}");
    assert_eq!(wiped(&screen, READING), "");
}

fn removals_are_shown_and_wiped() {
    let (scene, own) = (Scene::new(), Named::new("many"));
    let mut agent = own.agent();
    (0..100).for_each(|_| assert!(agent.number("get 0 4096 0600") > 0));
    agent.kill();
    let gc = shmgate(["gc", "--yes", "--older-than", "0s", "--namespace", &own.name]);
    let (outcome, screen) = scene.slow(gc);
    assert!(outcome.stdout.ends_with("\nremoved 100 segments\n"), "{outcome}");
    assert_eq!(wiped(&screen, "removing [="), "");
}

fn a_run_shows_what_it_is_judged_by_unless_it_is_quiet() {
    let scene = Scene::new();
    let run = |options: &[&str]| {
        let options = ["run", "--fail-on", "any"].iter().chain(options).chain(&["--session"]).copied();
        scene.slow(shmgate(options.collect::<Vec<_>>()).arg(&scene.session).args(["--", "true"]))
    };
    let (outcome, screen) = run(&[]);
    assert_eq!(outcome.status, Status::Exited(0), "{outcome} {screen}");
    assert_eq!(wiped(&screen, READING), "");
    assert_eq!(run(&["-q"]).1, "");
}

/// What a pipe leads to may write to the terminal, as the log itself does without one.
fn a_log_shows_it_beside_a_file_alone() {
    let scene = Scene::new();
    let log = |out: &str| {
        let script = format!("\"$0\" log \"$1\" {out}");
        scene.slow(Run::new("sh").args(["-c", &script]).arg(command()).arg(&scene.session))
    };
    let file = scene.temp.path().join("out");
    let (_, screen) = log(&format!("> {}", file.display()));
    assert_eq!(wiped(&screen, READING), "");
    assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 2000);
    assert_eq!(log("| cat").1, "");
    let (_, screen) = log(">&2");
    assert!(!screen.contains(READING) && screen.lines().count() == 2000, "{screen}");
}

fn what_is_done_soon_shows_nothing() {
    let scene = Scene::new();
    let (outcome, screen) = on_terminal(scene.at_speed("0", scene.report(&[])));
    assert_eq!((outcome.status, screen.as_str()), (Status::Exited(0), ""), "{outcome}");
}

fn elsewhere_than_on_a_terminal_nothing_is_shown() {
    let scene = Scene::new();
    scene.at_speed("100000", scene.report(&[]).env("TERM", "xterm")).output().silent();
    let (mut ours, theirs) = terminal();
    let said = scene.at_speed("100000", scene.report(&[]).env("TERM", "dumb").stderr(theirs)).output().success();
    assert!(said.stdout.contains("2000 calls"), "{said}");
    let mut screen = String::new();
    let _ = ours.read_to_string(&mut screen);
    assert_eq!(screen, "");
}
