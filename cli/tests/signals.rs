//! Signals and stops reach the command, and its dispositions are those that the run was started with.

mod common;

use std::process::{ChildStdout, ExitCode};

use common::{Lines, compile, place, run, until_state};
use shmgate_testkit::{Process, Run, Status, command, run_trials, trials};

fn main() -> ExitCode {
    run_trials(trials![
        signals_to_the_run_reach_the_command,
        a_queued_value_comes_along,
        a_signal_that_ends_the_command_is_the_status,
        what_the_command_sends_to_its_group_is_not_doubled,
        an_alarm_set_before_rings_in_the_command,
        dispositions_and_mask_are_inherited,
        an_ignored_sigchld_hides_no_status,
        a_stop_and_its_end_are_passed_on,
        a_killed_run_lets_the_command_go_on,
    ])
}

struct Command {
    run: Process,
    lines: Lines<ChildStdout>,
    pid: i32,
}

/// tests/programs/signals.c through the gate.
fn start() -> Command {
    let temp = place();
    let program = compile("signals", temp.path(), &[]);
    let (run, _stdin, stdout) = run([program]).interactive();
    let mut lines = Lines::of(stdout, run.deadline());
    let ready = lines.next().expect("the program starts");
    let pid = ready.strip_prefix("ready ").and_then(|pid| pid.parse().ok()).expect("its pid");
    Command { run, lines, pid }
}

/// kill(1) with these arguments.
fn kill(arguments: &[&str]) {
    let done = std::process::Command::new("/bin/kill").args(arguments).output().expect("kill runs");
    assert!(done.status.success(), "{done:?}");
}

fn signals_to_the_run_reach_the_command() {
    let mut command = start();
    let names = ["HUP", "INT", "QUIT", "ABRT", "USR1", "TERM", "CONT", "WINCH", "ALRM", "PIPE", "TTIN", "URG"];
    for (name, number) in names.into_iter().zip([1, 2, 3, 6, 10, 15, 18, 28, 14, 13, 21, 23]) {
        command.run.signal(number);
        assert_eq!(command.lines.next().as_deref(), Some(format!("signal {number}").as_str()), "{name}");
    }
    command.run.signal(12);
    assert_eq!(command.lines.next().as_deref(), Some("signal 12"));
    let outcome = command.run.wait();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Status::Exited(3), ""));
}

fn a_queued_value_comes_along() {
    let mut command = start();
    kill(&["-s", "USR1", "-q", "77", &command.run.pid().to_string()]);
    assert_eq!(command.lines.next().as_deref(), Some("signal 10 value 77"));
}

fn a_signal_that_ends_the_command_is_the_status() {
    for (number, status) in [(15, 143), (1, 129), (2, 130), (10, 138)] {
        let (run, _stdin, stdout) = run(["sh", "-c", "echo ready; read line"]).interactive();
        Lines::of(stdout, run.deadline()).until("ready");
        run.signal(number);
        assert_eq!(run.wait().status, Status::Exited(status));
    }
}

fn what_the_command_sends_to_its_group_is_not_doubled() {
    let temp = place();
    let program = compile("signals", temp.path(), &[]);
    // The shell leads the group, which the program and the run are in too.
    let script = format!("trap '' USR1; {} & read line; kill -USR1 0; kill -USR2 $!; wait $!", program.display());
    let (run, mut stdin, stdout) = run(["sh", "-c", &script]).interactive();
    let mut lines = Lines::of(stdout, run.deadline());
    lines.until("ready");
    std::io::Write::write_all(&mut stdin, b"go\n").unwrap();
    assert_eq!((lines.next().as_deref(), lines.next().as_deref()), (Some("signal 10"), Some("signal 12")));
    assert_eq!(run.wait().status, Status::Exited(3));
}

fn an_alarm_set_before_rings_in_the_command() {
    let program = command().to_str().unwrap();
    let end = |seconds: u32| {
        let script = format!("alarm {seconds}; exec @ARGV");
        let (run, _stdin, _stdout) = Run::new("perl").args(["-e", &script, program, "run", "--", "cat"]).interactive();
        run.wait().status
    };
    // On a busy machine it rings before the run is there.
    let end = [1, 4, 16].into_iter().map(end).find(|end| *end != Status::Signalled(libc::SIGALRM));
    assert_eq!(end, Some(Status::Exited(128 + libc::SIGALRM)));
}

fn dispositions_and_mask_are_inherited() {
    let what = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let ways = ["", "trap '' HUP;", "trap '' PIPE INT CHLD;", "trap '' TSTP USR1;"];
    for way in ways {
        let native = Run::new("sh").args(["-c", &format!("{way} {what}")]).output().success();
        let gated = format!("{way} exec {} run -- {what}", command().display());
        assert_eq!(Run::new("sh").args(["-c", &gated]).output().success().stdout, native.stdout, "{way}");
    }
}

fn an_ignored_sigchld_hides_no_status() {
    let script = format!("trap '' CHLD; exec {} run -- sh -c 'exit 6'", command().display());
    assert_eq!(Run::new("sh").args(["-c", &script]).output().status, Status::Exited(6));
}

fn a_stop_and_its_end_are_passed_on() {
    let mut command = start();
    let deadline = command.run.deadline();
    // SIGTSTP is the one signal that the program leaves at its default.
    command.run.signal(20);
    until_state(command.pid, 'T', deadline);
    until_state(command.run.pid(), 'T', deadline);
    command.run.signal(18);
    assert_eq!(command.lines.next().as_deref(), Some("signal 18"));
    // Stopped and continued alone, without a shell that looks at it: the run must not stay behind.
    kill(&["-STOP", &command.pid.to_string()]);
    until_state(command.pid, 'T', deadline);
    kill(&["-CONT", &command.pid.to_string()]);
    assert_eq!(command.lines.next().as_deref(), Some("signal 18"));
    command.run.signal(12);
    assert_eq!(command.run.wait().status, Status::Exited(3));
}

fn a_killed_run_lets_the_command_go_on() {
    let mut command = start();
    command.run.signal(9);
    common::until_ended(command.run.pid(), command.run.deadline());
    kill(&["-USR1", &command.pid.to_string()]);
    assert_eq!(command.lines.next().as_deref(), Some("signal 10"));
    kill(&["-USR2", &command.pid.to_string()]);
    assert_eq!((command.lines.next().as_deref(), command.lines.next()), (Some("signal 12"), None));
}
