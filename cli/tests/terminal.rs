//! A terminal program under `shmgate run`: on a terminal of its own, started by an interactive shell.

mod common;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};
use std::time::Instant;

use common::{Lines, compile, place, terminal};
use shmgate_testkit::run::{TIMEOUT, heed_signals};
use shmgate_testkit::{command, run_trials, trials};

fn main() -> ExitCode {
    run_trials(trials![
        the_command_is_on_the_terminal,
        ctrl_c_comes_once,
        ctrl_z_and_fg_work,
        a_background_job_that_reads_is_stopped,
        a_new_size_is_told_once,
        a_hangup_reaches_the_command,
    ])
}

/// bash on a terminal, with job control.
struct Shell {
    child: Child,
    lines: Lines<File>,
    typed: File,
}

impl Shell {
    /// Starts `program` as the leader of a session on a new terminal.
    fn start(program: &mut Command) -> Shell {
        let (ours, theirs) = terminal();
        let lead = || {
            heed_signals();
            // SAFETY: system calls only, in the child.
            let done = unsafe { libc::setsid() != -1 && libc::ioctl(0, libc::TIOCSCTTY, 0) == 0 };
            if done { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        program.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
        program.env("TERM", "dumb").env("PS1", "").env("PROMPT_COMMAND", "echo status:$?:");
        program.env("LC_ALL", "C").env("HISTFILE", "");
        // SAFETY: `lead` makes system calls only.
        let child = unsafe { program.pre_exec(lead) }.spawn().expect("it starts");
        Shell { child, lines: Lines::of(ours.try_clone().unwrap(), Instant::now() + TIMEOUT), typed: ours }
    }

    fn bash() -> Shell {
        let mut shell = Shell::start(Command::new("bash").args(["--norc", "--noprofile", "--noediting", "-i"]));
        shell.enter("stty -echo; bind 'set enable-bracketed-paste off' 2>/dev/null; true");
        // Before the first command, and after it.
        assert_eq!((shell.status(), shell.status()), (0, 0));
        shell
    }

    fn enter(&mut self, line: &str) {
        self.press(&format!("{line}\n"));
    }

    fn press(&mut self, keys: &str) {
        self.typed.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// What stood on the terminal before a line with `part`.
    #[track_caller]
    fn until(&mut self, part: &str) -> Vec<String> {
        self.lines.until(part)
    }

    /// The status of the last command, which the shell says each time that it is ready for the next.
    #[track_caller]
    fn status(&mut self) -> i32 {
        loop {
            let line = self.lines.next().expect("the shell goes on");
            if let Some(status) = line.split("status:").nth(1).and_then(|rest| rest.split(':').next()?.parse().ok()) {
                return status;
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Its jobs are groups of their own: the terminal's end tells them, and the shell's children are ended by their pids.
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id())).unwrap_or_default();
        for group in children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()).chain([self.child.id() as i32]) {
            // SAFETY: the shell is not reaped yet, nor are its children: the pids, and the groups that they lead, are theirs.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        let _ = self.child.wait();
    }
}

fn gated(program: &str) -> String {
    format!("{} run -- {program}", command().display())
}

fn the_command_is_on_the_terminal() {
    let mut shell = Shell::bash();
    shell.enter("stty rows 33 cols 101");
    assert_eq!(shell.status(), 0);
    shell.enter(&gated("sh -c 'test -t 0 && test -t 1 && test -t 2 && stty size </dev/tty && read line && echo got $line'"));
    shell.until("33 101");
    shell.enter("words");
    shell.until("got words");
    assert_eq!(shell.status(), 0);
}

fn ctrl_c_comes_once() {
    let temp = place();
    let program = compile("signals", temp.path(), &[]);
    let mut shell = Shell::bash();
    shell.enter(&gated(program.to_str().unwrap()));
    shell.until("ready");
    shell.press("\x03");
    shell.until("signal 2");
    shell.press("\x1c");
    // A second SIGINT would come before, by its number.
    assert_eq!(shell.until("signal 3"), [""; 0].map(String::from));
    // The shell waits for the run, its one child.
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.child.id())).unwrap();
    let run: i32 = children.trim().parse().unwrap();
    // SAFETY: the shell's child, which it has not reaped: it waits for it.
    unsafe { libc::kill(run, libc::SIGUSR2) };
    assert_eq!(shell.until("signal 12"), [""; 0].map(String::from));
    assert_eq!(shell.status(), 3);
    // Without a handler the signal is the end.
    shell.enter(&gated("cat"));
    shell.enter("up");
    shell.until("up");
    shell.press("\x03");
    assert_eq!(shell.status(), 130);
}

fn ctrl_z_and_fg_work() {
    let mut shell = Shell::bash();
    shell.enter(&gated("cat"));
    for round in ["one", "two"] {
        shell.enter(round);
        shell.until(round);
        shell.press("\x1a");
        shell.until("Stopped");
        assert_eq!(shell.status(), 128 + libc::SIGTSTP);
        shell.enter("fg >/dev/null");
    }
    shell.enter("end");
    shell.until("end");
    shell.press("\x04");
    assert_eq!(shell.status(), 0);
}

fn a_background_job_that_reads_is_stopped() {
    let mut shell = Shell::bash();
    shell.enter(&format!("{} &", gated("sh -c 'echo up; read line; echo got $line'")));
    shell.until("up");
    shell.enter("until jobs | grep -q Stopped; do :; done; echo stopped now");
    shell.until("stopped now");
    assert_eq!(shell.status(), 0);
    shell.enter("fg >/dev/null");
    shell.enter("words");
    shell.until("got words");
    assert_eq!(shell.status(), 0);
}

fn a_new_size_is_told_once() {
    let temp = place();
    let program = compile("signals", temp.path(), &[]);
    let mut shell = Shell::bash();
    shell.enter(&gated(program.to_str().unwrap()));
    shell.until("ready");
    let size = libc::winsize { ws_row: 40, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` outlives the call.
    assert_eq!(unsafe { libc::ioctl(shell.typed.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
    shell.until("signal 28");
    shell.press("\x03");
    assert_eq!(shell.until("signal 2"), [""; 0].map(String::from));
}

/// The run as the session's leader, as under ssh: a hang-up is told to it alone.
fn a_hangup_reaches_the_command() {
    let temp = place();
    let program = compile("signals", temp.path(), &[]);
    let out = temp.path().join("out");
    let script = format!("exec {} > {}", program.display(), out.display());
    let mut run = Shell::start(Command::new(command()).args(["run", "-q", "--", "sh", "-c", &script]));
    let deadline = Instant::now() + TIMEOUT;
    let text = |part: &str| {
        loop {
            let text = std::fs::read_to_string(&out).unwrap_or_default();
            if text.contains(part) {
                return text;
            }
            assert!(Instant::now() < deadline, "no {part} in {text}");
            std::thread::yield_now();
        }
    };
    let pid: i32 = text("\n").lines().next().unwrap().strip_prefix("ready ").unwrap().parse().unwrap();
    let nothing = File::open("/dev/null").unwrap();
    run.lines = Lines::of(nothing.try_clone().unwrap(), deadline);
    run.typed = nothing;
    text("signal 1\n");
    // SAFETY: the program runs until it gets this signal.
    unsafe { libc::kill(pid, libc::SIGUSR2) };
    assert_eq!(run.child.wait().unwrap().code(), Some(3));
}
