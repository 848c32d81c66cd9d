//! Behaviour: each program of `tests/programs/behaviour` says the same natively, through the gate, and on the userspace backend.
//!
//! The bare kernel is the judge. A program prints a trace without ids, addresses and times; the trace and the
//! exit status must be equal in every configuration, nothing may stand on stderr, and where something watches,
//! it must have seen calls.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::Trial;
use shmgate_testkit::compile::{program, programs_in};
use shmgate_testkit::trial::{as_root, is_root, isolated, trial};
use shmgate_testkit::{Namespace, Outcome, Run, Session, Status, Userspace, library, run_trials};
use tempfile::TempDir;

/// Quotas that no program here reaches: they must not be felt.
const LARGE: &str = r#"
[quota.segment]
size = "16000000T"
[quota.process]
bytes = "16000000T"
segments = 100000
attaches = 100000
[quota.session]
bytes = "16000000T"
segments = 100000
attaches = 100000
"#;

/// Programs whose traces are worth something only with several uids.
const ROOT: [&str; 4] = ["permissions", "dropped_privileges", "nattch_dropped", "lock_limit"];

/// Programs that root lets change the system's limits: those of a namespace of their own, not the machine's.
const LIMITS: [&str; 3] = ["rmid_forced", "get_system_limits", "proc_limits"];

/// Programs of several users: a private namespace is its user's alone, which is what it is for.
const SEVERAL_USERS: [&str; 2] = ["permissions", "lock_limit"];

/// A way of running a program, and comparing.
type Body = fn(&str);

const CONFIGURATIONS: [(&str, Body); 5] = [
    ("nothing set", nothing_set),
    ("text log", text_log),
    ("journal", journal),
    ("quotas and log", quotas_and_log),
    ("shmgate run", command),
];

fn main() -> ExitCode {
    let mut trials: Vec<Trial> = vec![
        trial("nothing slips through to the kernel (userspace)", nothing_slips_through),
        trial("wishes from AIX are fulfilled: nothing set", || wishes(|run| run.gated())),
        trial("wishes from AIX are fulfilled: text log", wishes_in_a_log),
        trial("wishes from AIX are fulfilled: journal", wishes_in_a_journal),
        trial("wishes from AIX are fulfilled (userspace)", || wishes_on(Userspace::fresh())),
        trial("wishes from AIX are fulfilled (userspace, shared)", || wishes_on(Userspace::shared())),
        as_root("SHM_EXEC on a file system mounted noexec (userspace)", || no_exec(true)),
        as_root("SHM_EXEC on one that is not (userspace)", || no_exec(false)),
        trial("wishes from AIX are none to the kernel", || wished(Run::new(program(AIX)).output(), false)),
    ];
    for name in programs_in("behaviour") {
        let short = name.trim_start_matches("behaviour/").to_owned();
        let on_userspace: (_, Body) = match SEVERAL_USERS.contains(&short.as_str()) {
            true => (format!("{short} differs, for several users (userspace)"), differs),
            false => (format!("{short} (userspace)"), userspace),
        };
        let shared: (_, Body) = (format!("{short} (userspace, shared)"), shared);
        let configurations = CONFIGURATIONS.map(|(configuration, body)| (format!("{short}: {configuration}"), body));
        for (title, body) in configurations.into_iter().chain([on_userspace, shared]) {
            let name = name.clone();
            let body = move || body(&name);
            trials.push(match short.as_str() {
                name if ROOT.contains(&name) => as_root(title, body),
                name if LIMITS.contains(&name) => as_root(title, body).with_ignored_flag(!is_root() || !Namespace::available()),
                // Its indices are those of an empty namespace.
                "ctl_info" => isolated(title, body),
                _ => trial(title, body),
            });
        }
    }
    run_trials(trials)
}

/// Without the backend the program that the filter is for has no System V shared memory at all.
fn nothing_slips_through() {
    let outcome = Run::new(program("without_shm")).arg("--").arg(program("behaviour/at_basics")).output();
    assert_eq!(outcome.stdout, "no segment to start from: ENOSYS\n");
    assert_eq!(outcome.status, Status::Exited(1));
}

/// The example of include/shmgate.h's AIX flags.
const AIX: &str = "../../c-examples/aix";

fn wishes(gated: impl FnOnce(Run) -> Run) {
    wished(gated(Run::new(program(AIX))).output(), true);
}

#[track_caller]
fn wished(outcome: Outcome, are_fulfilled: bool) {
    let pages = |pinned| if pinned && are_fulfilled { "pinned" } else { "ordinary" };
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}{}", outcome.stdout, outcome.stderr);
    for (line, (name, pinned, aligned)) in lines.into_iter().zip([
        ("SHM_LGPAGE", false, true),
        ("SHM_PIN", true, false),
        ("SHM_HGSEG", false, true),
        ("all", true, true),
        ("none", false, false),
    ]) {
        // Where the machine has a pool of large pages, these stay in memory anyway, and the kernel doesn't say so.
        assert!(name == "all" || line.starts_with(&format!("{name}: {} pages, ", pages(pinned))), "{line}");
        // Without us an address may happen to be aligned.
        assert!(!are_fulfilled || line.ends_with(if aligned { "an aligned address" } else { "any address" }), "{line}");
    }
    assert_eq!((outcome.stderr.as_str(), outcome.status), ("", Status::Exited(0)));
}

fn wishes_in_a_log() {
    let (_place, log) = open_log();
    wishes(|run| run.gated().env("SHMGATE_LOG", &log));
    let lines = fs::read_to_string(&log).expect("log");
    assert_eq!(lines.lines().count(), 5 * 5, "a line a call, whatever it takes to fulfil a wish: {lines}");
    for flags in ["IPC_CREAT|SHM_PIN|0600", "IPC_CREAT|SHM_LGPAGE|SHM_PIN|SHM_HGSEG|0600"] {
        assert!(lines.contains(flags), "{flags} is not in {lines}");
    }
}

fn wishes_in_a_journal() {
    let namespace = Namespace::fresh();
    let session = Session::with_policy(&namespace, LARGE);
    wishes(|run| run.namespace(&namespace).session(&session));
    let records = session.records();
    assert_eq!(records.len(), 5 * 5);
    assert!(records.iter().any(|record| record["args"]["flags_text"] == "IPC_CREAT|SHM_LGPAGE|SHM_PIN|SHM_HGSEG|0600"));
}

fn wishes_on(namespace: Userspace) {
    wished(Run::on_userspace(program(AIX), &namespace).output(), true);
}

/// Attaches for execution, with the namespace on a tmpfs of its own: the same as natively, or EACCES and nothing else.
fn no_exec(is_noexec: bool) {
    let namespace = Userspace::fresh();
    let set = |name: &str, value: &Path| format!("{name}={}", value.display());
    let options = if is_noexec { "mode=0700,noexec" } else { "mode=0700,exec" };
    let gated = Run::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs -o \"$0\" none \"$1\" && shift && exec \"$@\"", options])
        .args([namespace.directory().as_os_str(), program("without_shm").as_os_str()])
        .args([set("LD_PRELOAD", library()), set("SHMGATE_NAMESPACE", namespace.directory())])
        .args(["SHMGATE_BACKEND=userspace", "--"])
        .arg(program("attach_exec"));
    let expected = match is_noexec {
        false => Run::new(program("attach_exec")).output().silent().stdout,
        true => [
            "shmat(shmid, ((void *)0), 0100000): EACCES",
            "shmat(shmid, NULL, SHM_EXEC | SHM_RDONLY) == FAILED ? -1 : 0: EACCES",
            "shmat(shmid, (void *)4096L, 0100000 | 040000): EACCES",
            "shmat(shmid, ((void *)0), 0): ok",
            "nattch 1",
            "mprotect(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC): EACCES",
            "shmctl(shmid, IPC_RMID, NULL): ok",
            "",
        ]
        .join("\n"),
    };
    assert_eq!(gated.output().silent().stdout, expected);
}

fn userspace(name: &str) {
    let namespace = Userspace::fresh();
    same(name, Run::on_userspace(program(name), &namespace).output());
}

fn shared(name: &str) {
    let namespace = Userspace::shared();
    same(name, Run::on_userspace(program(name), &namespace).output());
}

fn differs(name: &str) {
    let namespace = Userspace::fresh();
    let native = Run::new(program(name)).output().silent();
    let ours = Run::on_userspace(program(name), &namespace).output();
    assert!(
        (&native.stdout, native.status) != (&ours.stdout, ours.status) || !ours.stderr.is_empty(),
        "{name} says the same by now: take it out of SEVERAL_USERS"
    );
}

fn nothing_set(name: &str) {
    same(name, Run::new(program(name)).gated().output());
}

fn text_log(name: &str) {
    let (_place, log) = open_log();
    same(name, Run::new(program(name)).gated().env("SHMGATE_LOG", &log).output());
    plausible(name, fs::read_to_string(&log).expect("log").lines().count());
}

/// A log that is open to all, so that a program that drops its rights can go on writing it.
fn open_log() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("temporary directory");
    let log = place.path().join("log");
    File::create(&log).expect("log");
    for (path, mode) in [(place.path(), 0o711), (log.as_path(), 0o666)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    }
    (place, log)
}

fn journal(name: &str) {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    same(name, Run::new(program(name)).namespace(&namespace).session(&session).output());
    plausible(name, session.records().len());
}

fn quotas_and_log(name: &str) {
    let namespace = Namespace::fresh();
    let session = Session::with_policy(&namespace, LARGE);
    let (_place, log) = open_log();
    let run = Run::new(program(name)).namespace(&namespace).session(&session);
    same(name, run.env("SHMGATE_LOG", &log).env("SHMGATE_LOG_FORMAT", "json").output());
    let records = session.records();
    plausible(name, records.len());
    let lines = fs::read_to_string(&log).expect("log");
    // Where a handler forks in the middle of a call, both processes write the same record, and a line each.
    if name != "behaviour/fork_in_handler" {
        assert_eq!(lines.lines().count(), records.len(), "journal and log saw different numbers of calls");
    }
    for record in records {
        assert_eq!(record["verdict"], "allowed", "{record}");
    }
}

fn command(name: &str) {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    same(name, session.run(&namespace).arg("--").arg(program(name)).output());
    plausible(name, session.records().len());
}

#[track_caller]
fn same(name: &str, gated: Outcome) {
    let native = Run::new(program(name)).output();
    assert_eq!(native.stderr, "", "{name} does not work natively");
    assert_eq!(gated.stderr, "", "{name}: the gate said something");
    for (number, (native, gated)) in native.stdout.lines().zip(gated.stdout.lines()).enumerate() {
        assert_eq!(gated, native, "{name}: line {} is the gate's, then the kernel's", number + 1);
    }
    assert_eq!(gated.stdout, native.stdout, "{name}: the gate's trace, then the kernel's");
    assert_eq!(gated.status, native.status, "{name}");
}

/// Each program makes a few calls at least; those that stop early need root.
#[track_caller]
fn plausible(name: &str, calls: usize) {
    assert!(calls >= 5, "{name}: {calls} calls recorded");
}
