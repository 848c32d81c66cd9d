//! A terminal that a test types into and reads from: a tmux of its own, with one window and bash in it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use shmgate_testkit::{Namespace, Process, Run};

/// True if this machine has one that knows the options it is started with.
pub fn is_there() -> bool {
    Command::new("tmux").arg("-DNV").output().is_ok_and(|done| done.status.success())
}

/// A running tmux, gone with all in it when dropped.
pub struct Tmux {
    socket: PathBuf,
    server: Process,
    _place: tempfile::TempDir,
}

impl Tmux {
    /// Starts one of this size in a namespace, with these variables.
    pub fn start(namespace: &Namespace, (width, height): (u16, u16), variables: &[(&str, &str)]) -> Tmux {
        // A socket's path is short, and TMPDIR may not be.
        let place = tempfile::tempdir_in("/tmp").expect("temporary directory");
        let socket = place.path().join("tmux");
        // In the foreground, so that the server is ours to end.
        let mut server = Run::new("tmux").arg("-S").arg(&socket).args(["-f", "/dev/null", "-D"]).namespace(namespace);
        // The shell's own way, whatever shell and locale the user has.
        server = server.env("LC_ALL", "C.UTF-8").env("SHELL", "/bin/sh").env("TERM", "screen").env("PS1", "$ ");
        server = server.env("HISTFILE", "");
        for (name, value) in variables {
            server = server.env(name, value);
        }
        let tmux = Tmux { socket, server: server.spawn(), _place: place };
        let size = [width.to_string(), height.to_string()];
        // The client on its own would start another server.
        let new = ["-N", "new-session", "-d", "-x", &size[0], "-y", &size[1], "exec bash --norc --noprofile"];
        while !tmux.say(&new) {
            assert!(Instant::now() < tmux.server.deadline(), "tmux does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        tmux.until("a prompt", |screen| screen.contains('$'));
        tmux
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        command
    }

    /// Has it do something; false if it can't.
    pub fn say(&self, words: &[&str]) -> bool {
        self.command().args(words).output().is_ok_and(|done| done.status.success())
    }

    /// Presses keys, as tmux names them.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        assert!(self.say(&[&["send-keys"], keys].concat()), "{keys:?}");
    }

    /// Types a line.
    #[track_caller]
    pub fn enter(&self, line: &str) {
        assert!(self.say(&["send-keys", "-l", line]), "{line}");
        self.press(&["Enter"]);
    }

    /// What is on the screen. A line that a shell or a program left to the terminal to break, wherever it did, is one.
    pub fn screen(&self) -> String {
        self.asked(&["capture-pane", "-p", "-J"])
    }

    /// The same, with the sequences that colour it.
    pub fn coloured(&self) -> String {
        self.asked(&["capture-pane", "-p", "-e"])
    }

    fn asked(&self, words: &[&str]) -> String {
        let said = self.command().args(words).output().expect("tmux runs");
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// Waits for a screen.
    #[track_caller]
    pub fn until(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let screen = self.screen();
            if is_it(&screen) {
                return screen;
            }
            assert!(Instant::now() < self.server.deadline(), "{what} does not come; there is:\n{screen}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The pid of what bash waits for.
    pub fn foreground(&self) -> Option<i32> {
        let shell = self.asked(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // What runs in it is hung up; the server itself is ended with its group in any case.
        self.say(&["kill-server"]);
    }
}
