//! The processes that segments speak of by their pids.
//!
//! A pid is given out again: one that began after what it is said to have done is another process, and the one that is meant is gone. A process
//! that has ended and that nobody has waited for yet is gone too. One that /proc hides (its mount option hidepid) is not.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::system;

/// How many seconds a process may seem to have begun after what it did: times are in whole seconds, and clocks are set right.
const SLACK: u64 = 2;

/// A live process.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    /// As in /proc/PID/comm: at most 15 bytes of its executable's name, or what it calls itself.
    pub name: String,
    /// In ticks since the machine's start.
    start: u64,
    /// In seconds since the epoch.
    began: u64,
    command: OnceCell<String>,
}

impl Process {
    /// Its command line; its name in brackets if it has none.
    pub fn command(&self) -> &str {
        self.command.get_or_init(|| command_line(self.pid).unwrap_or_else(|| format!("[{}]", self.name)))
    }
}

/// The arguments, with blanks between; `None` if there are none, or if nobody may see them.
fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(&bytes)).replace('\0', " ");
    (!text.is_empty()).then_some(text)
}

/// Who is behind a pid.
#[derive(Clone, Debug)]
pub enum Who {
    /// It is not told: there was none yet, or it is outside of our PID namespace, or /proc hides who has that pid.
    Unknown,
    Gone,
    Alive(Rc<Process>),
}

/// What /proc/PID/stat says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub name: String,
    /// In ticks since the machine's start.
    start: u64,
    /// It has ended.
    pub is_over: bool,
    /// It is the kernel's own.
    pub is_kernels: bool,
}

impl Stat {
    /// Of a process; `None` if there is none.
    pub fn of(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name, in parentheses, may hold anything: fields are counted from its last closing one.
    fn parse(text: &[u8]) -> Option<Stat> {
        const PF_KTHREAD: u64 = 0x0020_0000;
        let (open, close) = (text.iter().position(|&byte| byte == b'(')?, text.iter().rposition(|&byte| byte == b')')?);
        let name = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
        let fields: Vec<&str> = str::from_utf8(&text[close + 1..]).ok()?.split_whitespace().collect();
        // proc_pid_stat(5): state is field 3, flags 9, num_threads 20, starttime 22.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        // Of a process whose first thread has ended others may go on.
        let is_over = matches!(*fields.first()?, "Z" | "X") && number(20)? <= 1;
        Some(Stat { name, start: number(22)?, is_over, is_kernels: number(9)? & PF_KTHREAD != 0 })
    }
}

/// Looks processes up, each once.
#[derive(Debug, Default)]
pub struct Processes(RefCell<HashMap<u32, Option<Rc<Process>>>>);

impl Processes {
    /// The live process with this pid.
    pub fn find(&self, pid: u32) -> Option<Rc<Process>> {
        self.0.borrow_mut().entry(pid).or_insert_with(|| live(pid).map(Rc::new)).clone()
    }

    /// Who was process `pid` at `time`, in seconds since the epoch.
    pub fn who(&self, pid: u32, time: u64) -> Who {
        self.who_is(pid, |process| process.began <= time + SLACK)
    }

    /// Who is the process `pid` that began at `start`, in ticks since the machine's start.
    pub fn who_began(&self, pid: u32, start: u64) -> Who {
        self.who_is(pid, |process| process.start == start)
    }

    fn who_is(&self, pid: u32, is_it: impl FnOnce(&Process) -> bool) -> Who {
        match self.find(pid) {
            _ if pid == 0 => Who::Unknown,
            Some(process) if is_it(&process) => Who::Alive(process),
            None if is_hidden(pid) => Who::Unknown,
            _ => Who::Gone,
        }
    }
}

fn is_hidden(pid: u32) -> bool {
    system::has_process(pid) && Stat::of(pid).is_none()
}

fn live(pid: u32) -> Option<Process> {
    let stat = Stat::of(pid).filter(|stat| !stat.is_over)?;
    let since_start = Duration::from_millis(stat.start * 1000 / system::ticks_per_second());
    let began = (SystemTime::now() + since_start).checked_sub(system::since_boot())?;
    let began = began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Some(Process { pid, name: stat.name, start: stat.start, began, command: OnceCell::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_any_name() {
        let line = b"12 (a) b\n) (c) Z 1 12 12 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 98765 0 0";
        let stat = Stat { name: "a) b\n) (c".into(), start: 98765, is_over: true, is_kernels: false };
        assert_eq!(Stat::parse(line), Some(stat));
        for broken in [&b"12 (x"[..], b"", b") (", b"1 (x) S 1"] {
            assert_eq!(Stat::parse(broken), None);
        }
    }

    #[test]
    fn a_pid_that_was_given_out_again_is_another_process() {
        let (processes, me) = (Processes::default(), std::process::id());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let Who::Alive(process) = processes.who(me, now) else { panic!("we live") };
        assert!(process.command().contains(process.name.as_str()), "{process:?}");
        assert!(matches!(processes.who(me, process.began - SLACK - 1), Who::Gone));
        assert!(matches!(processes.who(0x3fff_ffff, now), Who::Gone));
        assert!(matches!(processes.who(0, now), Who::Unknown));
    }
}
