//! `shmgate report`: its forms, and sessions that are broken, busy or none.

mod common;

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::{compile, place, refused, shmgate};
use serde_json::Value;
use shmgate_core::journal::format::{HEADER_LEN, SLOT_LEN};
use shmgate_testkit::compile::program;
use shmgate_testkit::{Agent, Namespace, Outcome, Run, Session, Status, command, isolated_trials, run_trials, trials};

fn main() -> ExitCode {
    let mut trials = trials![
        text_says_it_all,
        json_has_the_lives,
        an_inherited_attach_is_the_parents,
        an_exec_ends_attaches,
        what_was_there_before_is_no_leak,
        an_attach_keeps_what_is_removed,
        no_peak_is_above_a_quota_that_held,
        a_session_that_runs_leaks_nothing_yet,
        a_killed_process_leaks,
        children_killed_in_their_first_moments_are_gone,
        runs_fail_by_what_they_find_alone,
        names_are_known_or_refused,
        an_empty_session_has_a_report,
        no_session_is_said,
        a_cut_journal_is_reported_up_to_there,
        a_damaged_record_costs_no_other,
        a_damaged_head_is_said,
        damaged_books_are_said,
        a_journal_is_read_while_it_is_written,
        a_reader_that_leaves_is_no_error,
        a_million_records_are_little_work,
    ];
    trials.extend(isolated_trials![an_id_that_comes_again_is_another_segment]);
    run_trials(trials)
}

fn report(session: &Path, options: &[&str]) -> Outcome {
    shmgate(["report"]).args(options).arg(session).output()
}

#[track_caller]
fn json(session: &Path) -> Value {
    let said = report(session, &["--json"]).silent();
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn names(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

/// A session of a C program of the findings'.
fn session_of(name: &str) -> (tempfile::TempDir, PathBuf) {
    let temp = place();
    let dir = temp.path().join("s");
    let done = shmgate(["run", "-q", "--session"]).arg(&dir).arg("--").arg(program(name)).output().silent();
    assert_eq!(done.status, Status::Exited(0));
    (temp, dir)
}

fn text_says_it_all() {
    let (_temp, dir) = session_of("findings/leak");
    let text = report(&dir, &[]).silent().stdout;
    for part in [
        "1 call by 1 process of 1 program",
        "at most in use: 4 KiB in 1 segment",
        "\nPrograms\n",
        "/findings-leak",
        "\nKeys\n",
        "IPC_PRIVATE",
        "\nSegments\n",
        "  left\n",
        "Findings: 1 error, 0 warnings, 0 notes",
        "error leak: segment ",
        "IPC_CREAT|0600) = ",
        "what to do: call shmctl(shmid, IPC_RMID, NULL)",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert!(!text.contains('\x1b'), "colour is for terminals");
}

fn json_has_the_lives() {
    let (_temp, dir) = session_of("findings/clean");
    let report = json(&dir);
    assert_eq!((&report["schema"], &report["running"], &report["lost"]), (&1.into(), &false.into(), &0.into()));
    assert_eq!(report["processes"].as_array().unwrap().len(), 4);
    assert_eq!(report["programs"][0]["counts"]["calls"], 19);
    assert_eq!(report["programs"][0]["errors"][0]["errno"], "EEXIST");
    let segments = report["segments"].as_array().unwrap();
    let [segment] = segments.as_slice() else { panic!("{segments:#?}") };
    assert_eq!((&segment["size"], &segment["mode"], &segment["origin"]), (&4096.into(), &"0600".into(), &"created".into()));
    let attaches = segment["attaches"].as_array().unwrap();
    let inherited = attaches.iter().filter(|one| one["inherited"] == true).count();
    let readonly = attaches.iter().filter(|one| one["read_only"] == true).count();
    assert_eq!((attaches.len(), inherited, readonly), (7, 3, 3), "{attaches:#?}");
    assert!(attaches.iter().all(|one| one["end"] == "detach" && one["from"].as_str() <= one["to"].as_str()), "{attaches:#?}");
    let key = &report["keys"][0];
    assert_eq!((&key["key"], &key["ftok"][0]["path"], &key["segments"]), (&segment["key"], &"/".into(), &1.into()));
    assert_eq!(segment["removed"]["time"], segment["destroyed"]);
    assert_eq!(report["peak"]["bytes"], 4096);
}

fn an_inherited_attach_is_the_parents() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    let id = agent.number("get 0 4096 01600");
    agent.number(&format!("at {id}"));
    assert_eq!(agent.ask("child dt 0"), "0");
    assert_eq!(agent.ask("dt 0"), "0");
    assert_eq!(agent.ask(&format!("rm {id}")), "0");
    agent.finish();
    let report = json(&session.directory());
    let attaches = report["segments"][0]["attaches"].as_array().unwrap();
    assert_eq!(attaches.iter().map(|one| &one["inherited"]).collect::<Vec<_>>(), [false, true]);
    assert_ne!(attaches[0]["pid"], attaches[1]["pid"]);
    assert!(names(&report).is_empty(), "{report:#}");
}

fn an_exec_ends_attaches() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    let id = agent.number("get 0 4096 01600");
    agent.number(&format!("at {id}"));
    assert_eq!(agent.ask("exec"), "here again");
    assert_eq!(agent.ask(&format!("rm {id}")), "0");
    agent.finish();
    let report = json(&session.directory());
    assert_eq!(names(&report), ["never-detached"]);
    assert!(report["findings"][0]["summary"].as_str().unwrap().contains("executed another program"), "{report:#}");
    let segment = &report["segments"][0];
    assert_eq!((&segment["attaches"][0]["end"], &segment["destroyed"]), (&"process-end".into(), &segment["removed"]["time"]));
}

fn an_id_that_comes_again_is_another_segment() {
    let session = Session::watching(&Namespace::fresh());
    // In a new namespace ids begin anew.
    for _ in 0..2 {
        session.run(&Namespace::fresh()).arg("--").arg(program("findings/leak")).output().silent();
    }
    let report = json(&session.directory());
    let segments = report["segments"].as_array().unwrap();
    assert_eq!(segments.len(), 2, "{segments:#?}");
    assert_eq!(segments[0]["shmid"], segments[1]["shmid"]);
    assert!(segments[0]["vanished"].is_string() && segments[1]["vanished"].is_null(), "{segments:#?}");
    assert_eq!((names(&report), &report["findings"][0]["segment"]), (vec!["leak"], &1.into()));
}

fn what_was_there_before_is_no_leak() {
    let namespace = Namespace::fresh();
    let mut outside = Agent::native(&namespace);
    outside.number("get 78 4096 03600");
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    agent.number("get 78 4096 01600");
    agent.number("get 79 4096 01600");
    agent.finish();
    let report = json(&session.directory());
    let origins: Vec<&Value> = report["segments"].as_array().unwrap().iter().map(|one| &one["origin"]).collect();
    assert_eq!(origins, ["found", "created"]);
    // Both were asked for without IPC_EXCL.
    assert_eq!(names(&report), ["leak", "squatting", "squatting"]);
    assert_eq!(report["findings"][0]["key"], "0x0000004f");
    outside.finish();
}

fn an_attach_keeps_what_is_removed() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    let id = agent.number("get 0 4096 01600");
    agent.number(&format!("at {id}"));
    assert_eq!(agent.ask(&format!("rm {id}")), "0");
    assert_eq!(agent.ask("dt 0"), "0");
    agent.finish();
    let report = json(&session.directory());
    let segment = &report["segments"][0];
    assert!(segment["removed"]["time"].as_str() < segment["destroyed"].as_str(), "{segment:#}");
    assert_eq!(segment["destroyed"], segment["attaches"][0]["to"]);
}

/// Calls overlap: while one segment is being made another may be going, and only the quota knows which came first.
fn no_peak_is_above_a_quota_that_held() {
    let temp = place();
    let (overlap, dir) = (compile("overlap", temp.path(), &[]), temp.path().join("s"));
    let limits = ["--max-segments", "2", "--max-bytes", "8K", "--max-attaches", "2"];
    let run = shmgate(["run", "-q", "--session"]).arg(&dir).args(limits).arg("--").arg(&overlap).arg("5000");
    run.output().silent();
    let peak = &json(&dir)["peak"];
    for (what, limit) in [("segments", 2), ("bytes", 8192), ("attaches", 2)] {
        assert!((1..=limit).contains(&peak[what].as_i64().unwrap()), "{what} in {peak}");
    }
}

fn a_session_that_runs_leaks_nothing_yet() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    agent.number("get 0 4096 01600");
    let report_now = json(&session.directory());
    assert_eq!((names(&report_now), &report_now["running"]), (vec![], &true.into()));
    assert!(report(&session.directory(), &[]).silent().stdout.contains("still run"));
    agent.finish();
    let report_then = json(&session.directory());
    assert_eq!((names(&report_then), &report_then["running"]), (vec!["leak"], &false.into()));
}

fn a_killed_process_leaks() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    let id = agent.number("get 80 4096 03600");
    agent.number(&format!("at {id}"));
    agent.kill();
    assert_eq!(names(&json(&session.directory())), ["leak", "never-detached"]);
}

fn children_killed_in_their_first_moments_are_gone() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    Run::new(program("killed_early")).gated().session(&session).namespace(&namespace).output().success().silent();
    let report = json(&session.directory());
    assert_eq!((names(&report), &report["running"]), (vec!["leak", "never-detached"], &false.into()));
}

fn runs_fail_by_what_they_find_alone() {
    let temp = place();
    let dir = temp.path().join("s");
    let run = |fail_on: &str, command: &[&str]| {
        shmgate(["run", "--fail-on", fail_on, "--session"]).arg(&dir).arg("--").args(command).output()
    };
    let leak = program("findings/leak");
    let found = run("leak", &[leak.to_str().unwrap()]);
    assert_eq!(found.status, Status::Exited(1), "{found}");
    assert!(found.stderr.starts_with("shmgate: error: leak: segment "), "{found}");
    assert!(found.stderr.lines().count() == 1 && found.stderr.contains("; remove it with: shmgate rm --kernel "), "{found}");
    // The next run in the session has none, and a command's own failure is its own.
    assert_eq!(run("any", &["true"]).status, Status::Exited(0));
    assert_eq!(run("any", &["sh", "-c", "exit 7"]).status, Status::Exited(7));
    let quiet = shmgate(["run", "-q", "--fail-on", "error", "--"]).arg(leak).output();
    assert_eq!((quiet.status, quiet.stderr.as_str()), (Status::Exited(1), ""));
}

fn names_are_known_or_refused() {
    let (_temp, dir) = session_of("findings/clean");
    let known = ["lek", "leak, removed-in-use", "any, error, warning, note"];
    refused(&report(&dir, &["--fail-on", "leak,lek"]), 2, &known);
    refused(&shmgate(["run", "--fail-on", "lek", "--", "true"]).output(), 2, &known);
}

fn an_empty_session_has_a_report() {
    let temp = place();
    let dir = temp.path().join("s");
    shmgate(["run", "-q", "--session"]).arg(&dir).args(["--", "true"]).output().silent();
    assert!(report(&dir, &[]).silent().stdout.contains("0 calls"));
    let report = json(&dir);
    assert_eq!((&report["start"], report["segments"].as_array().unwrap().len()), (&Value::Null, 0));
}

fn no_session_is_said() {
    let temp = place();
    std::fs::set_permissions(temp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    refused(&report(temp.path(), &[]), 2, &["no journal is there", "--session"]);
    refused(&report(&temp.path().join("none"), &["--json"]), 2, &["no such directory"]);
}

/// A session of 200 rounds, 1000 calls.
fn churned() -> (tempfile::TempDir, PathBuf) {
    let temp = place();
    let dir = temp.path().join("s");
    shmgate(["run", "-q", "--session"]).arg(&dir).arg("--").arg(program("churn")).arg("200").output().silent();
    (temp, dir)
}

fn journal(dir: &Path) -> std::fs::File {
    OpenOptions::new().read(true).write(true).open(dir.join("journal")).unwrap()
}

#[track_caller]
fn broken(dir: &Path, parts: &[&str]) {
    let text = report(dir, &[]);
    refused(&text, 1, parts);
    assert!(text.stdout.contains("\nFindings"), "what can be read is reported: {text}");
    let json = report(dir, &["--json"]);
    let value: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert!(parts.iter().all(|part| value["damage"].as_str().unwrap().contains(part)), "{value:#}");
}

fn a_cut_journal_is_reported_up_to_there() {
    let (_temp, dir) = churned();
    assert_eq!(json(&dir)["counts"]["calls"], 1000);
    let len = HEADER_LEN + 100 * SLOT_LEN + SLOT_LEN / 2;
    journal(&dir).set_len(len).unwrap();
    broken(&dir, &[&format!("cut off at offset {len}"), "records readable"]);
    journal(&dir).set_len(HEADER_LEN).unwrap();
    broken(&dir, &["cut off at offset 4096", "0 records"]);
}

fn a_damaged_record_costs_no_other() {
    let (_temp, dir) = churned();
    let slot = HEADER_LEN + 70 * SLOT_LEN;
    journal(&dir).write_all_at(&[0xa5; SLOT_LEN as usize], slot).unwrap();
    broken(&dir, &[&format!("damaged at offset {slot}"), "999 records"]);
}

fn a_damaged_head_is_said() {
    let (_temp, dir) = churned();
    journal(&dir).write_all_at(b"no journal", 0).unwrap();
    refused(&report(&dir, &[]), 1, &["not a shmgate journal"]);
}

fn damaged_books_are_said() {
    let (_temp, dir) = churned();
    let ledger = dir.join("ledger");
    std::fs::write(&ledger, "no ledger").unwrap();
    broken(&dir, &[&format!("{}: damaged", ledger.display())]);
    // All of it.
    journal(&dir).write_all_at(&[0xa5; SLOT_LEN as usize], HEADER_LEN + 70 * SLOT_LEN).unwrap();
    std::fs::remove_file(&ledger).unwrap();
    broken(&dir, &["damaged at offset", "; ", &format!("{}: No such file", ledger.display())]);
}

fn a_journal_is_read_while_it_is_written() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let writer = session.run(&namespace).arg("--").arg(program("churn")).arg("20000").spawn();
    let mut most = 0;
    while most < 100_000 {
        let report = json(&session.directory());
        let calls = report["counts"]["calls"].as_u64().unwrap();
        assert!(calls >= most && report["damage"].is_null(), "{calls} after {most}");
        let wrong = |one: &&str| !["never-detached"].contains(one);
        assert_eq!(names(&report).iter().find(|one| wrong(one)), None);
        most = calls;
        std::thread::yield_now();
    }
    writer.wait().silent();
}

fn a_reader_that_leaves_is_no_error() {
    let (_temp, dir) = churned();
    for options in [&["report", "--json"][..], &["report"]] {
        let (process, _stdin, mut stdout) = shmgate(options).arg(&dir).interactive();
        let mut start = [0; 10];
        stdout.read_exact(&mut start).unwrap();
        drop(stdout);
        process.wait().silent();
    }
}

/// In processor time, which other load does not change much, against that of printing them; and in memory, all that is mapped included.
fn a_million_records_are_little_work() {
    let temp = place();
    let dir = temp.path().join("s");
    shmgate(["run", "-q", "--session"]).arg(&dir).arg("--").arg(program("churn")).arg("200000").output().silent();
    let script = "(ulimit -v 204800; exec \"$0\" report \"$1\") | head -1; times; \"$0\" log \"$1\" >/dev/null; times";
    let said = Run::new("sh").args(["-c", script]).arg(command()).arg(&dir).output().silent();
    let lines: Vec<&str> = said.stdout.lines().collect();
    let [first, _, report, _, both] = lines.as_slice() else { panic!("{said}") };
    assert!(first.contains("1000000 calls by 1 process"), "{said}");
    let seconds = |time: &str| {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').expect("minutes and seconds");
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    };
    let [report, both]: [f64; 2] = [report, both].map(|times| times.split_whitespace().map(seconds).sum());
    assert!(report < 6.0 * (both - report), "{said}");
}
