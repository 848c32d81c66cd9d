//! Policies that can't be used, sessions that have another one, and what a program can ask about.

use std::fs;

use libtest_mimic::Trial;
use shmgate_testkit::compile::program;
use shmgate_testkit::{Agent, Namespace, Run, Session, Status, on_each_backend, trials};

use crate::scene;

pub fn trials() -> Vec<Trial> {
    let mut all = trials![unusable_setup_refuses_all_calls_and_says_why];
    all.extend(on_each_backend![trial:
        policy_without_a_session,
        exec_gives_attaches_back_without_a_session,
        options_of_run_make_quotas,
        session_with_another_policy_is_not_joined,
        counters_of_process_and_session,
        counters_without_a_session,
        last_denial_is_like_snprintf,
    ]);
    all
}

fn unusable_setup_refuses_all_calls_and_says_why() {
    let place = tempfile::tempdir().expect("temporary directory");
    let file = place.path().join("policy.toml");
    fs::write(&file, "forbid-world-access = true\n[quota.session]\nbytes = \"12Q\"\n").expect("policy");
    let (bad, missing) = (file.to_str().expect("UTF-8"), place.path().join("none.toml"));
    for (variable, value, parts) in [
        ("SHMGATE_POLICY", bad, vec!["policy.toml:3", "12Q"]),
        ("SHMGATE_POLICY", missing.to_str().expect("UTF-8"), vec!["none.toml", "No such file"]),
        ("SHMGATE_BACKEND", "kernal", vec!["SHMGATE_BACKEND", "kernal"]),
        ("SHMGATE_LOG_FORMAT", "xml", vec!["SHMGATE_LOG_FORMAT", "xml"]),
    ] {
        let run = Run::new(program("traps/each_call")).gated().env(variable, value).output();
        assert_eq!(run.status, Status::Exited(0), "{run}");
        assert!(run.stdout.contains("IPC_CREAT | 0600): EPERM") && run.stdout.ends_with("alive\n"), "{run}");
        assert!(!run.stdout.lines().any(|line| line.ends_with("): ok") && !line.starts_with("ftok")), "{run}");
        assert_eq!(run.stderr.lines().count(), 1, "one line: {run}");
        assert!(run.stderr.starts_with("shmgate: "), "{run}");
        for part in parts {
            assert!(run.stderr.contains(part), "no \"{part}\": {run}");
        }
    }
}

fn policy_without_a_session() {
    let namespace = Namespace::of_trial();
    let place = tempfile::tempdir().expect("temporary directory");
    let file = place.path().join("policy.toml");
    fs::write(&file, "forbid-world-access = true\n[quota.process]\nbytes = \"8K\"\n[quota.segment]\nsize = \"4K\"\n")
        .expect("policy");
    let start = || Agent::start(Run::new(program("agent")).gated().namespace(&namespace).env("SHMGATE_POLICY", &file));
    let (mut one, mut two) = (start(), start());
    for agent in [&mut one, &mut two] {
        assert_eq!(agent.ask("get 0 1 0666"), "EACCES");
        assert_eq!(agent.ask("get 0 4097 0600"), "EINVAL");
        agent.number("get 0 1 0600");
        let shmid = agent.number("get 0 1 0600");
        assert_eq!(agent.ask("get 0 1 0600"), "ENOSPC");
        assert_eq!(agent.ask(&format!("rm {shmid}")), "0");
        agent.number("get 0 1 0600");
    }
}

fn exec_gives_attaches_back_without_a_session() {
    let namespace = Namespace::of_trial();
    let place = tempfile::tempdir().expect("temporary directory");
    let file = place.path().join("policy.toml");
    fs::write(&file, "[quota.session]\nattaches = 4\n").expect("policy");
    let run = Run::new(program("exec_with_attaches")).arg("3").gated().namespace(&namespace).env("SHMGATE_POLICY", &file);
    assert_eq!(run.output().success().stdout, "shmat(shmid, NULL, 0): ok\nshmat(shmid, NULL, 0): EMFILE\n");
}

fn options_of_run_make_quotas() {
    let namespace = Namespace::of_trial();
    let options = [
        "--max-bytes",
        "16K",
        "--max-segments",
        "3",
        "--max-segment-size",
        "8KiB",
        "--max-attaches",
        "1",
        "--forbid-world-access",
    ];
    let session = Session::with_options(&namespace, &options);
    let mut agent = Agent::gated(&namespace, &session);
    assert_eq!(agent.ask("get 0 8193 0600"), "EINVAL");
    assert_eq!(agent.ask("get 0 1 0604"), "EACCES");
    let shmid = agent.number("get 0 8192 0600");
    let first = agent.number("get 0 4096 0600");
    assert_eq!(agent.ask("get 0 8192 0600"), "ENOSPC", "bytes");
    agent.number("get 0 4096 0600");
    assert_eq!(agent.ask(&format!("rm {shmid}")), "0");
    agent.number("get 0 4096 0600");
    assert_eq!(agent.ask("get 0 4096 0600"), "ENOSPC", "segments");
    agent.number(&format!("at {first}"));
    assert_eq!(agent.ask(&format!("at {first}")), "EMFILE");
}

fn session_with_another_policy_is_not_joined() {
    let namespace = Namespace::of_trial();
    let session = Session::with_options(&namespace, &["--max-bytes", "16K"]);
    let same = session.run(&namespace).args(["--max-bytes", "16KiB", "--", "/bin/true"]).output();
    assert_eq!(same.status, Status::Exited(0), "{same}");
    let other = session.run(&namespace).args(["--max-bytes", "32K", "--", "/bin/true"]).output();
    assert_eq!(other.status, Status::Exited(2), "{other}");
    assert_eq!(other.stderr.lines().count(), 1, "{other}");
}

fn counters_of_process_and_session() {
    let mut scene = scene("[quota.session]\nbytes = \"16K\"\n");
    let mut other = scene.another();
    assert_eq!(scene.agent.ask("counters 0"), "calls 0 denials 0 bytes 0 segments 0 attaches 0");
    let shmid = scene.agent.number("get 0 4097 0600");
    scene.agent.number(&format!("at {shmid}"));
    scene.agent.number(&format!("at {shmid}"));
    assert_eq!(scene.agent.ask("dt 0"), "0");
    other.number("get 0 1 0600");
    other.number(&format!("at {shmid}"));
    assert_eq!(other.ask("get 0 0x100000 0600"), "ENOSPC");
    assert_eq!(scene.agent.ask("counters 0"), "calls 4 denials 0 bytes 8192 segments 1 attaches 1");
    assert_eq!(other.ask("counters 0"), "calls 3 denials 1 bytes 4096 segments 1 attaches 1");
    for agent in [&mut scene.agent, &mut other] {
        assert_eq!(agent.ask("counters 1"), "calls 7 denials 1 bytes 12288 segments 2 attaches 2");
        assert_eq!(agent.ask("counters 2"), "EINVAL");
        assert_eq!(agent.ask("counters -1"), "EINVAL");
    }
    // Removal by others and the death of a holder show in the session's.
    assert_eq!(scene.bare.ask(&format!("rm {shmid}")), "0");
    other.kill();
    assert_eq!(scene.agent.ask("dt 1"), "0");
    let left = scene.agent.ask("counters 1");
    assert!(left.ends_with("bytes 4096 segments 1 attaches 0"), "{left}");
}

fn counters_without_a_session() {
    let namespace = Namespace::of_trial();
    let mut agent = Agent::start(Run::new(program("agent")).gated().namespace(&namespace));
    agent.number("get 0 1 0600");
    assert_eq!(agent.ask("counters 1"), "ENOENT");
}

fn last_denial_is_like_snprintf() {
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, "[[rule]]\nname = \"closed\"\naction = \"deny\"\n");
    let run = Run::new(program("last_denial")).namespace(&namespace).session(&session).output().silent();
    let backend = if namespace.userspace().is_some() { "userspace" } else { "kernel" };
    let expected = "before: 0, \"\"\nsizes: ok\nNULL with 0: ok\nanother thread: 0\nNULL counters: EFAULT\nversion: ok\n";
    assert_eq!(run.stdout, format!("{expected}backend: {backend}\n"));
}
