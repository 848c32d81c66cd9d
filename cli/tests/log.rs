//! `shmgate log`: whole journals and broken ones, as they were written and while they are.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::{Lines, place, refused, shmgate};
use shmgate_core::journal::format::{HEADER_LEN, SLOT_LEN};
use shmgate_testkit::compile::program;
use shmgate_testkit::{Agent, Namespace, Outcome, Session, Status, run_trials, trials};

fn main() -> ExitCode {
    run_trials(trials![
        text_json_and_time,
        rules_have_their_names,
        a_cut_journal_is_read_up_to_there,
        a_damaged_record_costs_no_other,
        a_damaged_head_is_said,
        another_version_is_said,
        a_damaged_policy_costs_the_names,
        no_journal_is_no_session,
        calls_are_followed_as_they_come,
        callers_are_followed_too,
        following_what_is_over_ends,
        a_reader_that_leaves_is_no_error,
    ])
}

fn log<A: AsRef<std::ffi::OsStr>>(session: &Path, options: impl IntoIterator<Item = A>) -> Outcome {
    shmgate(["log"]).args(options).arg(session).output()
}

const NONE: [&str; 0] = [];

/// A session of an agent that made `calls` look-ups of keys 1 and up.
fn session(calls: u32) -> (tempfile::TempDir, PathBuf) {
    let temp = place();
    let dir = temp.path().join("s");
    let mut agent = Agent::start(shmgate(["run", "-q", "--session"]).arg(&dir).arg("--").arg(program("agent")));
    for key in 1..=calls {
        assert_eq!(agent.ask(&format!("get {key} 1 0")), "ENOENT");
    }
    assert_eq!(agent.finish(), Status::Exited(0));
    (temp, dir)
}

fn text_json_and_time() {
    let (_temp, dir) = session(2);
    let text = log(&dir, NONE).silent().stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains(" shmget(key=0x00000001, size=1, 0) = -1 ENOENT (No such file or directory) <"), "{text}");
    assert!(lines[1].contains("key=0x00000002"), "{text}");
    let timed = log(&dir, ["--time"]).silent().stdout;
    let (time, rest) = timed.lines().next().unwrap().split_once(' ').unwrap();
    assert!(time.len() == "2026-11-21T19:51:00.123456789Z".len() && time.ends_with('Z') && rest == lines[0], "{timed}");
    let json = log(&dir, ["--json"]).silent().stdout;
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["time"], &first["errno"]), (&time.into(), &"ENOENT".into()));
    assert!(first["exe"].as_str().unwrap().ends_with("/agent"), "{json}");
}

fn rules_have_their_names() {
    let namespace = Namespace::fresh();
    let session = Session::with_policy(&namespace, "[[rule]]\nname = \"no \\\"seven\\\"\"\nkey = 7\naction = \"deny\"\n");
    let mut agent = Agent::gated(&namespace, &session);
    assert_eq!(agent.ask("get 7 1 0"), "EACCES");
    agent.finish();
    assert!(log(&session.directory(), NONE).silent().stdout.contains("[denied: rule \"no \\\"seven\\\"\"]"));
}

#[track_caller]
fn broken(dir: &Path, lines: std::ops::RangeInclusive<usize>, parts: &[&str]) {
    let read = log(dir, NONE);
    let count = read.stdout.lines().count();
    assert!(lines.contains(&count), "{count} lines\n{read}");
    refused(&read, 1, parts);
    if *lines.end() > 0 {
        assert!(read.stderr.contains(&format!("{count} records readable")), "{read}");
    }
}

fn journal(dir: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(dir.join("journal")).unwrap()
}

fn a_cut_journal_is_read_up_to_there() {
    let (_temp, dir) = session(500);
    let whole = log(&dir, NONE).silent().stdout;
    assert_eq!(whole.lines().count(), 500);
    // In the middle of a slot, and well before the records' end.
    let len = HEADER_LEN + 100 * SLOT_LEN + SLOT_LEN / 2;
    journal(&dir).set_len(len).unwrap();
    broken(&dir, 10..=400, &["journal", &format!("cut off at offset {len}")]);
    assert!(whole.starts_with(&log(&dir, NONE).stdout));
    journal(&dir).set_len(HEADER_LEN).unwrap();
    broken(&dir, 0..=0, &["cut off at offset 4096", "0 records"]);
}

fn a_damaged_record_costs_no_other() {
    let (_temp, dir) = session(100);
    let mut bytes = Vec::new();
    journal(&dir).read_to_end(&mut bytes).unwrap();
    // A slot in the middle of those that are written.
    let slot = (HEADER_LEN..).step_by(SLOT_LEN as usize).skip(50).find(|&at| bytes[at as usize] != 0).unwrap();
    journal(&dir).write_all_at(&[0xa5; SLOT_LEN as usize], slot).unwrap();
    broken(&dir, 90..=99, &[&format!("damaged at offset {slot}")]);
}

fn a_damaged_head_is_said() {
    let (_temp, dir) = session(1);
    journal(&dir).write_all_at(b"no journal", 0).unwrap();
    broken(&dir, 0..=0, &["journal", "not a shmgate journal"]);
    journal(&dir).set_len(100).unwrap();
    broken(&dir, 0..=0, &["journal", "not a shmgate journal"]);
}

fn another_version_is_said() {
    let (_temp, dir) = session(1);
    journal(&dir).write_all_at(&99_u64.to_le_bytes(), 8).unwrap();
    broken(&dir, 0..=0, &["journal format 99; this shmgate reads format"]);
    // Nor does a run write to it.
    refused(&shmgate(["run", "--session"]).arg(&dir).args(["--", "true"]).output(), 2, &["another version"]);
}

fn a_damaged_policy_costs_the_names() {
    let (_temp, dir) = session(1);
    fs::write(dir.join("policy.toml"), "dry-run = ?").unwrap();
    let read = log(&dir, NONE);
    assert_eq!(read.stdout.lines().count(), 1, "{read}");
    refused(&read, 1, &["policy.toml:1:11: "]);
}

fn no_journal_is_no_session() {
    let temp = place();
    fs::set_permissions(temp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    refused(&log(temp.path(), NONE), 2, &["no journal is there", "session"]);
}

fn calls_are_followed_as_they_come() {
    let (temp, namespace) = (place(), Namespace::fresh());
    let dir = temp.path().join("s");
    let run = shmgate(["run", "-q", "--session"]).arg(&dir).arg("--").arg(program("agent")).namespace(&namespace);
    let mut agent = Agent::start(run);
    // It is there, and in the session, without a call.
    let pid = agent.number("pid");
    let (follower, _stdin, stdout) = shmgate(["log", "--follow"]).arg(&dir).interactive();
    let mut lines = Lines::of(stdout, follower.deadline());
    for key in 1..=3 {
        agent.ask(&format!("get {key} 1 0"));
        let line = lines.next().expect("a line for each call");
        assert!(line.starts_with(&format!("{pid} shmget(key=0x0000000{key},")), "{line}");
    }
    agent.finish();
    assert_eq!(lines.next(), None);
    follower.wait().silent();
}

fn callers_are_followed_too() {
    let (temp, namespace) = (place(), Namespace::fresh());
    let dir = temp.path().join("s");
    let run = shmgate(["run", "-q", "--callers", "--session"]).arg(&dir).arg("--").arg(program("agent")).namespace(&namespace);
    let mut agent = Agent::start(run);
    let pid = agent.number("pid");
    let (follower, _stdin, stdout) = shmgate(["log", "--follow"]).arg(&dir).interactive();
    let mut lines = Lines::of(stdout, follower.deadline());
    for key in 1..=3 {
        agent.ask(&format!("get {key} 1 0"));
        let line = lines.next().expect("a line for each call");
        assert!(line.starts_with(&format!("{pid} shmget(key=0x0000000{key},")), "{line}");
        // Before the program ends, and up to main.
        let mut line = lines.next().expect("a line for its caller");
        assert!(line.starts_with("    at "), "{line}");
        while !line.contains(" main (") {
            line = lines.next().expect("callers up to main");
            assert!(line.starts_with("    by "), "{line}");
        }
    }
    agent.finish();
    assert_eq!(lines.next(), None);
    follower.wait().silent();
}

fn following_what_is_over_ends() {
    let (_temp, dir) = session(3);
    assert_eq!(log(&dir, ["--follow"]).silent().stdout, log(&dir, NONE).silent().stdout);
}

fn a_reader_that_leaves_is_no_error() {
    let (_temp, dir) = session(3000);
    let (process, _stdin, mut stdout) = shmgate(["log", "--json"]).arg(&dir).interactive();
    let mut start = [0; 10];
    stdout.read_exact(&mut start).unwrap();
    drop(stdout);
    process.wait().silent();
    let _ = std::io::stdout().flush();
}
