//! A shared memory call as both witnesses tell it: strace, which sees what the kernel is asked, and the journal.
//! Values are kept as the kernel takes them (a key of 32 bits, a command by number), so that equal means equal.

use std::fmt;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Args {
    Shmget { key: u32, size: u64, flags: u32 },
    Shmat { shmid: i32, addr: u64, flags: u32 },
    Shmdt { addr: u64 },
    Shmctl { shmid: i32, cmd: i32, buf: u64 },
}

/// What came of it: the value returned, or the error's name.
pub type Answer = Result<u64, String>;

/// One call of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub tid: u32,
    pub args: Args,
    /// None where the caller died before the kernel answered.
    pub answer: Option<Answer>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.tid)?;
        match &self.args {
            Args::Shmget { key, size, flags } => write!(f, "shmget({key:#010x}, {size}, {flags:#o})")?,
            Args::Shmat { shmid, addr, flags } => write!(f, "shmat({shmid}, {addr:#x}, {flags:#o})")?,
            Args::Shmdt { addr } => write!(f, "shmdt({addr:#x})")?,
            Args::Shmctl { shmid, cmd, buf } => write!(f, "shmctl({shmid}, {cmd}, {buf:#x})")?,
        }
        match &self.answer {
            Some(Ok(value)) => write!(f, " = {value:#x}"),
            Some(Err(errno)) => write!(f, " = -1 {errno}"),
            None => write!(f, " = ?"),
        }
    }
}
