//! The forms of text and JSON lines, and whose ids stand in them.

use std::collections::HashMap;
use std::fs;

use libtest_mimic::Trial;
use serde_json::Value;
use shmgate_testkit::compile::program;
use shmgate_testkit::{Agent, Namespace, Run, Session, root_trials, trials};

pub fn trials() -> Vec<Trial> {
    let mut all = trials![text_lines, json_lines, journal_as_text, denial_lines, log_turned_on_and_off];
    all.extend(root_trials![uid_follows_seteuid]);
    all
}

/// What `sample` says of its run, by name.
fn facts(stdout: &str) -> HashMap<&str, &str> {
    stdout.lines().filter_map(|line| line.split_once(' ')).collect()
}

/// A line without its duration, which must have the form ` <2.1us>`.
#[track_caller]
fn without_duration(line: &str) -> String {
    let (head, rest) = line.split_once(" <").unwrap_or_else(|| panic!("no duration: {line}"));
    let (duration, tail) = rest.split_once('>').unwrap_or_else(|| panic!("no end of the duration: {line}"));
    let unit = ["us", "ms", "s"].into_iter().find(|unit| duration.ends_with(unit));
    let number = unit.and_then(|unit| duration.strip_suffix(unit)).unwrap_or_else(|| panic!("no unit: {line}"));
    number.parse::<f64>().unwrap_or_else(|_| panic!("no number: {line}"));
    format!("{head}{tail}")
}

/// The lines that `sample` must give, without durations.
fn expected(stdout: &str) -> Vec<String> {
    let of = facts(stdout);
    let (pid, key, shmid, at, buf, tid) = (of["pid"], of["key"], of["shmid"], of["at"], of["buf"], of["tid"]);
    // SAFETY: geteuid and getegid always succeed.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    vec![
        format!("{pid} ftok(path=\"/\", proj=83) = {key}"),
        format!("{pid} shmget(key=0x5e000071, size=5000, IPC_CREAT|IPC_EXCL|0640) = {shmid}"),
        format!("{pid} shmat(shmid={shmid}, addr=NULL, SHM_RDONLY) = {at}"),
        format!("{pid} shmctl(shmid={shmid}, IPC_STAT, buf={buf}) = 0"),
        format!("{pid} shmctl(shmid={shmid}, IPC_SET, buf={buf}, {{uid={uid}, gid={gid}, mode=0600}}) = 0"),
        format!("{pid} shmdt(addr={at}) = 0"),
        format!("{pid} shmdt(addr={at}) = -1 EINVAL (Invalid argument)"),
        format!("{pid} shmget(key=IPC_PRIVATE, size=0, 0) = -1 EINVAL (Invalid argument)"),
        format!("{pid} ftok(path=NULL, proj=1) = -1 EFAULT (Bad address)"),
        format!("{pid}/{tid} shmctl(shmid={shmid}, IPC_RMID, buf=NULL) = 0"),
    ]
}

fn text_lines() {
    let place = tempfile::tempdir().expect("temporary directory");
    let log = place.path().join("log");
    let run = Run::new(program("traps/sample")).gated().env("SHMGATE_LOG", &log).output().silent();
    let text = fs::read_to_string(&log).expect("log");
    assert_eq!(text.lines().map(without_duration).collect::<Vec<_>>(), expected(&run.stdout));
    for target in ["stderr", "-"] {
        let run = Run::new(program("traps/sample")).gated().env("SHMGATE_LOG", target).output().success();
        assert_eq!(run.stderr.lines().map(without_duration).collect::<Vec<_>>(), expected(&run.stdout));
    }
}

fn journal_as_text() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let run = Run::new(program("traps/sample")).namespace(&namespace).session(&session).output().silent();
    let read = Run::new(shmgate_testkit::command()).arg("log").arg(session.directory()).output().silent();
    assert_eq!(read.stdout.lines().map(without_duration).collect::<Vec<_>>(), expected(&run.stdout));
}

/// The documented fields of each line, those and no others, with their types.
#[track_caller]
fn check_fields(line: &Value) {
    let fields = [
        "schema",
        "time",
        "pid",
        "tid",
        "uid",
        "exe",
        "call",
        "args",
        "result",
        "errno",
        "duration_ns",
        "backend",
        "verdict",
        "reason",
    ];
    let object = line.as_object().unwrap_or_else(|| panic!("no object: {line}"));
    for field in fields {
        assert!(object.contains_key(field), "no {field}: {line}");
    }
    assert_eq!(object.len(), fields.len(), "fields that are not documented: {line}");
    assert_eq!(line["schema"], 1);
    for field in ["pid", "tid", "uid", "duration_ns"] {
        assert!(line[field].is_u64(), "{field}: {line}");
    }
    let time = line["time"].as_str().unwrap_or_else(|| panic!("time: {line}"));
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "9999-99-99T99:99:99.999999999Z");
    assert_eq!(line["backend"], "kernel");
}

#[track_caller]
fn check_sample(lines: &[Value], stdout: &str) {
    let of = facts(stdout);
    let shmid: i64 = of["shmid"].parse().expect("shmid");
    lines.iter().for_each(check_fields);
    assert_eq!(lines.len(), 10);
    let exe = program("traps/sample");
    for line in lines {
        assert_eq!(line["verdict"], "allowed", "{line}");
        assert_eq!(line["reason"], Value::Null, "{line}");
        assert_eq!(line["pid"].to_string(), of["pid"]);
        assert_eq!(line["exe"].as_str(), exe.canonicalize().expect("path").to_str(), "{line}");
    }
    assert_eq!(lines[0]["args"], serde_json::json!({"path": "/", "proj": 83}));
    assert_eq!(lines[0]["result"], of["key"]);
    let get = serde_json::json!({"key": "0x5e000071", "size": 5000, "flags": 0o3640, "flags_text": "IPC_CREAT|IPC_EXCL|0640"});
    assert_eq!(lines[1]["args"], get);
    assert_eq!(lines[1]["result"], shmid);
    assert_eq!(
        lines[2]["args"],
        serde_json::json!({"shmid": shmid, "addr": "0x0", "flags": 0o10000, "flags_text": "SHM_RDONLY"})
    );
    assert_eq!(lines[2]["result"], of["at"]);
    assert_eq!(lines[3]["args"], serde_json::json!({"shmid": shmid, "cmd": "IPC_STAT", "buf": of["buf"]}));
    assert_eq!(lines[4]["args"]["set"]["mode"], "0600");
    assert!(lines[4]["args"]["set"]["uid"].is_u64(), "{}", lines[4]);
    assert_eq!(lines[5]["args"], serde_json::json!({"addr": of["at"]}));
    assert_eq!((&lines[6]["result"], &lines[6]["errno"]), (&Value::from(-1), &Value::from("EINVAL")));
    assert_eq!(lines[5]["errno"], Value::Null);
    assert_eq!(lines[8]["args"], serde_json::json!({"path": null, "proj": 1}));
    assert_eq!(lines[9]["tid"].to_string(), of["tid"]);
}

fn json_lines() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let log = session.place().join("log");
    let run = Run::new(program("traps/sample")).namespace(&namespace).session(&session);
    let run = run.env("SHMGATE_LOG", &log).env("SHMGATE_LOG_FORMAT", "json").output().silent();
    let text = fs::read_to_string(&log).expect("log");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    check_sample(&lines, &run.stdout);
    // The journal says the same as the log: the reader's work is not another's.
    let records = session.records();
    check_sample(&records, &run.stdout);
    assert_eq!(records, lines);
}

fn denial_lines() {
    let namespace = Namespace::fresh();
    let session = Session::with_policy(&namespace, "[quota.session]\nbytes = \"8K\"\n");
    let log = session.place().join("log");
    let run = Run::new(program("agent")).namespace(&namespace).session(&session).env("SHMGATE_LOG", &log);
    let mut agent = Agent::start(run);
    agent.number("get 0 8192 0600");
    assert_eq!(agent.ask("get 0 4096 0600"), "ENOSPC");
    let text = fs::read_to_string(&log).expect("log");
    let denied = without_duration(text.lines().last().expect("a line"));
    let reason = agent.ask("denial");
    assert_eq!(
        denied,
        format!(
            "{} shmget(key=IPC_PRIVATE, size=4096, 0600) = -1 ENOSPC (No space left on device) [denied: {reason}]",
            agent.pid()
        )
    );
    let record = session.records().pop().expect("a record");
    assert_eq!(record["verdict"], "denied");
    assert_eq!(record["reason"], reason.as_str());
    assert_eq!((&record["result"], &record["errno"]), (&Value::from(-1), &Value::from("ENOSPC")));
}

/// `shmgate_log`, from the C API.
fn log_turned_on_and_off() {
    let place = tempfile::tempdir().expect("temporary directory");
    let log = place.path().join("log");
    let run = Run::new(program("traps/log_switch")).arg(&log).gated().output().silent();
    assert_eq!(run.stdout, "on: 0\noff: 0\nempty: -1\nNULL: 0\ntoo long: ENAMETOOLONG\n");
    let text = fs::read_to_string(&log).expect("log");
    assert_eq!(text.lines().count(), 1, "the call between on and off alone:\n{text}");
    assert!(text.contains("key=0x5e000072"), "{text}");
}

fn uid_follows_seteuid() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    Run::new(program("behaviour/dropped_privileges")).namespace(&namespace).session(&session).output().silent();
    let uids: Vec<u64> = session.records().iter().map(|record| record["uid"].as_u64().expect("uid")).collect();
    // get, at · seteuid: at, rmid, get · back: stat · setreuid: stat · back: stat · setresuid: rmid, dt, at, get, rmid
    assert_eq!(uids, [0, 0, 65534, 65534, 65534, 0, 65534, 0, 65534, 65534, 65534, 65534, 65534]);
}
