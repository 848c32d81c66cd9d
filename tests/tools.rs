//! ipcs, lsipc, ipcmk and ipcrm on the userspace backend, where the kernel has no System V shared memory: they say what they say natively.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::Trial;
use shmgate_testkit::compile::{program, sources};
use shmgate_testkit::trial::{isolated, trial};
use shmgate_testkit::{Namespace, Outcome, Run, Status, Userspace, command, library, run_trials};

fn main() -> ExitCode {
    let tools = ["ipcs", "lsipc", "ipcmk", "ipcrm"];
    let there = |tool: &&str| Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    let has_tools = tools.iter().all(there);
    let with_tools = |trial: Trial| if has_tools { trial } else { trial.with_ignored_flag(true) };
    run_trials(vec![
        with_tools(isolated("tools say the same as natively (needs util-linux)", tools_say_the_same)),
        trial("the userspace backend that auto falls back to is seen at once", auto),
        trial("limits belong to the namespace, by a shell's redirections", limits),
        isolated("what can't be set up does not show the kernel's files", refused_set_up),
    ])
}

fn script() -> String {
    format!("sh {}", sources().join("tools.sh").display())
}

fn tools_say_the_same() {
    let namespace = Userspace::fresh();
    let native = Run::new(program("tools_held")).arg(script()).output();
    let ours = Run::on_userspace(program("tools_held"), &namespace).arg(script()).output();
    for (native, ours) in native.stdout.lines().zip(ours.stdout.lines()) {
        assert_eq!(ours, native, "ours, then the kernel's; all of ours:\n{}", ours_of(&namespace));
    }
    assert_eq!((ours.stdout, ours.stderr, ours.status), (native.stdout.clone(), native.stderr, native.status));
    assert!(native.stdout.matches("0x5e000051 A").count() >= 3, "a test of nothing:\n{}", native.stdout);
}

fn ours_of(namespace: &Userspace) -> String {
    Run::on_userspace(program("tools_held"), namespace).arg(script()).output().stdout
}

/// A namespace that can't be had, a backend that is none, a policy that is a pipe: neither the kernel's segments nor its limits.
fn refused_set_up() {
    let (namespace, own) = (Namespace::fresh(), Userspace::fresh());
    let pipe = tempfile::tempdir().expect("temporary directory");
    let pipe = pipe.path().join("pipe");
    Run::new("mkfifo").arg(&pipe).output().success();
    for (name, value, reason) in [
        ("SHMGATE_NAMESPACE", Path::new("/dev/null"), "is not a directory"),
        ("SHMGATE_BACKEND", Path::new("usrspace"), "unknown backend"),
        ("SHMGATE_POLICY", &pipe, "not a regular file"),
    ] {
        for what in ["cat /proc/sysvipc/shm", "echo 77777 >/proc/sys/kernel/shmmax"] {
            let run = Run::new("sh").args(["-c", what]).namespace(&namespace).gated();
            let run = run.env("SHMGATE_BACKEND", "userspace").env("SHMGATE_NAMESPACE", own.directory());
            let said = run.env(name, value).output();
            assert!(said.status != Status::Exited(0) && said.stdout.is_empty(), "{name}: {said}");
            assert!(said.stderr.contains(reason) && said.stderr.contains("Operation not permitted"), "{name}: {said}");
        }
    }
    let limit = Run::new("cat").arg("/proc/sys/kernel/shmmax").namespace(&namespace).output().stdout;
    assert_ne!(limit, "77777\n");
}

/// No call was made before that could have told that the kernel has none.
fn auto() {
    let namespace = Userspace::fresh();
    let run = |what: &str| {
        let set = |name: &str, value: &Path| format!("{name}={}", value.display());
        let run = Run::new(program("without_shm"))
            .arg(set("LD_PRELOAD", library()))
            .arg(set("SHMGATE_NAMESPACE", namespace.directory()))
            .args(["--", "sh", "-c", what]);
        run.output().success()
    };
    run("ipcmk -M 10000 -p 0640");
    let told = run("cat /proc/sysvipc/shm").stdout;
    assert!(told.lines().count() == 2 && told.contains("   640                 10000 "), "{told}");
    // Where the kernel has it, its own is shown.
    let set = Run::new("cat").arg("/proc/sysvipc/shm").gated().env("SHMGATE_NAMESPACE", namespace.directory());
    assert!(!set.output().success().stdout.contains(" 10000 "));
    assert!(fs::read_dir(namespace.directory()).expect("a directory").count() > 0);
}

fn limits() {
    let namespace = Userspace::fresh();
    let run = |what: &str| -> Outcome { Run::on_userspace("sh", &namespace).args(["-c", what]).output() };
    let before = fs::read_to_string("/proc/sys/kernel/shmmax").unwrap_or_default();
    run("echo 65536 > /proc/sys/kernel/shmmax; cd /proc/sys/kernel; echo 3 > shmmni").silent();
    assert_eq!(run("cd /proc/sys; cat kernel/shmmax /proc/sys/kernel/shmmni").stdout, "65536\n3\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmax").unwrap_or_default(), before, "the machine's own");
    run("echo 1 > /proc/sys/kernel/shm_rmid_forced").silent();
    assert_eq!(run("cat /proc/sys/kernel/shm_rmid_forced").stdout, "1\n");
    let shmgate = |what: &str| Run::new(command()).args(["namespace", what]).arg(namespace.directory()).output().success();
    assert!(shmgate("check").stdout.ends_with(": ok\n"));
    shmgate("remove");
    assert!(!namespace.directory().exists(), "what was written to the limits stayed behind");
}
