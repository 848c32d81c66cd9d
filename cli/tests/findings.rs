//! Findings: each has a C program, `tests/programs/findings`, in which exactly it is found, and there is one in which nothing is.

mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use common::{place, shmgate};
use libtest_mimic::Trial;
use serde_json::Value;
use shmgate_testkit::compile::{program, programs_in};
use shmgate_testkit::trial::trial;
use shmgate_testkit::{Agent, Namespace, Session, Status, run_trials};

/// What is found in which program, and what the evidence has to show.
const EXPECTED: [(&str, &str, &str, &[&str]); 17] = [
    ("leak", "leak", "error", &["shmget(key=IPC_PRIVATE, size=4096, IPC_CREAT|0600) = "]),
    ("never_detached", "never-detached", "note", &["shmat("]),
    ("world_access", "world-access", "warning", &["IPC_CREAT|0666"]),
    ("world_access_later", "world-access", "warning", &["mode=0604"]),
    ("squatting", "squatting", "warning", &["key=0x5e0000f1"]),
    ("size_mismatch", "size-mismatch", "warning", &["size=4096", "EINVAL"]),
    ("ftok_collision", "ftok-collision", "warning", &["proj=83", "proj=339"]),
    ("ftok_recreated", "ftok-recreated", "warning", &["/key\"", "/key\""]),
    ("removed_in_use", "removed-in-use", "error", &["IPC_RMID", "ENOENT"]),
    ("attach_after_removal", "attach-after-removal", "note", &["IPC_RMID", "shmat("]),
    ("linux_only", "linux-only", "note", &["SHM_NORESERVE"]),
    ("error_ignored", "error-ignored", "error", &["ENOENT", "shmat(shmid=-1"]),
    ("error_ignored_ftok", "error-ignored", "error", &["ENOENT", "shmget(key=0xffffffff"]),
    ("stale_use", "stale-use", "note", &["shmdt(", "EINVAL"]),
    ("near_limit", "near-limit", "warning", &["size=36864"]),
    ("denied", "denied", "error", &["denied: segment size"]),
    ("clean", "", "", &[]),
];

fn main() -> ExitCode {
    let mut trials: Vec<Trial> = EXPECTED
        .into_iter()
        .map(|one| trial(format!("{} is found where it is, and alone", one.0), move || found(one)))
        .collect();
    trials.push(trial("every program has its finding", || {
        let names: Vec<String> = EXPECTED.iter().map(|one| format!("findings/{}", one.0)).collect();
        for program in programs_in("findings") {
            assert!(names.contains(&program), "{program}");
        }
    }));
    trials.push(trial("what was there before has the size and the mode that it had", there_before));
    run_trials(trials)
}

/// IPC_CREAT without IPC_EXCL says nothing of what it finds.
fn there_before() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let id = Agent::native(&namespace).number("get 77 8192 01600");
    let mut agent = Agent::gated(&namespace, &session);
    assert_eq!(agent.number("get 77 4096 01666"), id);
    assert_eq!(agent.number("get 77 8192 0"), id);
    assert_eq!(agent.ask("get 77 9000 0"), "EINVAL");
    let names = || {
        let report = shmgate(["report", "--json"]).arg(session.directory()).namespace(&namespace).output().silent();
        let report: Value = serde_json::from_str(&report.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        findings.map(|one| one["name"].as_str().unwrap().to_owned()).filter(|name| name != "squatting").collect::<Vec<_>>()
    };
    assert_eq!(names(), [""; 0]);
    // The mode that the session gives it is the session's.
    agent.number(&format!("set {id} 0604"));
    assert_eq!(names(), ["world-access"]);
}

/// What the tests of limits allow.
fn options(name: &str) -> &'static [&'static str] {
    match name {
        "near_limit" => &["--max-bytes", "40K"],
        "denied" => &["--max-segment-size", "4K"],
        _ => &[],
    }
}

fn found((name, finding, severity, evidence): (&str, &str, &str, &[&str])) {
    let (temp, namespace) = (place(), Namespace::fresh());
    let dir = temp.path().join("s");
    let run = |more: &[&str], session: &PathBuf| {
        let files = temp.path().join("files");
        let _ = std::fs::create_dir(&files);
        shmgate(["run", "-q"])
            .args(options(name))
            .args(more)
            .arg("--session")
            .arg(session)
            .arg("--")
            .arg(program(&format!("findings/{name}")))
            .arg(files)
            .namespace(&namespace)
            .output()
            .status
    };
    assert_eq!(run(&[], &dir), Status::Exited(0));
    let report = shmgate(["report", "--json"]).arg(&dir).namespace(&namespace).output().silent();
    let report: Value = serde_json::from_str(&report.stdout).unwrap_or_else(|error| panic!("{error}: {report}"));
    let findings = report["findings"].as_array().unwrap();
    let names: Vec<&str> = findings.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.iter().all(|one| *one == finding), "{findings:#?}");
    assert_eq!(names.is_empty(), finding.is_empty(), "{report:#}");
    for one in findings {
        assert_eq!(one["severity"], severity);
        assert!(!one["advice"].as_str().unwrap().is_empty());
        // Twice is a size wrong; what two calls show is done once.
        assert_eq!(one["count"], if name == "size_mismatch" { 2 } else { 1 }, "{one:#}");
        assert!(one["first"].as_str() <= one["last"].as_str(), "{one:#}");
    }
    if let Some(one) = findings.first() {
        let calls: Vec<&str> = one["evidence"].as_array().unwrap().iter().map(|of| of["call"].as_str().unwrap()).collect();
        assert_eq!(calls.len(), evidence.len(), "{one:#}");
        for (call, part) in calls.iter().zip(evidence) {
            assert!(call.contains(part), "{part} in {call}");
        }
    }

    // A status for scripts: of the report, and of a run.
    let status = |fail_on: &str| {
        let status = shmgate(["report", "--fail-on", fail_on]).arg(&dir).namespace(&namespace).output().status;
        assert_eq!(run(&["--fail-on", fail_on], &temp.path().join(fail_on)), status, "{fail_on}");
        status
    };
    let (bad, good) = (Status::Exited(1), Status::Exited(0));
    if finding.is_empty() {
        assert_eq!(status("any"), good);
        return;
    }
    let other = if finding == "leak" { "denied" } else { "leak" };
    assert_eq!([status(finding), status(&format!("{other},{severity}")), status("any"), status(other)], [bad, bad, bad, good]);
}
