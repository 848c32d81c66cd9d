//! A call and its outcome as plain values: what the hooks hand in, what everything behind them speaks of.

#![forbid(unsafe_code)]

use crate::errno::Errno;

/// A call of the System V shared memory interface (or `ftok`, which makes its keys) with the caller's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// `shmget(key, size, flags)`; `size` in bytes.
    Shmget { key: i32, size: u64, flags: i32 },
    /// `shmat(shmid, addr, flags)`; `addr` 0 lets the system choose.
    Shmat { shmid: i32, addr: u64, flags: i32 },
    /// `shmdt(addr)`.
    Shmdt { addr: u64 },
    /// `shmctl(shmid, cmd, buf)`; `set` is what an `IPC_SET` asks for, if its buffer could be read.
    Shmctl { shmid: i32, cmd: i32, buf: u64, set: Option<PermSet> },
    /// `ftok(path, proj)`; [`NULL_PATH`] stands for a null pointer.
    Ftok { path: &'a [u8], proj: i32 },
}

/// What no C string can be.
pub const NULL_PATH: &[u8] = b"\0";

/// The fields of `struct shmid_ds` that `IPC_SET` uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermSet {
    pub uid: u32,
    pub gid: u32,
    /// The permission bits, of which the system takes the lower nine.
    pub mode: u16,
}

/// Which of the calls, without its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CallKind {
    Shmget = 1,
    Shmat = 2,
    Shmdt = 3,
    Shmctl = 4,
    Ftok = 5,
}

impl CallKind {
    /// All calls, in the order of their numbers.
    pub const ALL: [CallKind; 5] = [CallKind::Shmget, CallKind::Shmat, CallKind::Shmdt, CallKind::Shmctl, CallKind::Ftok];

    /// The name in C.
    pub fn name(self) -> &'static str {
        match self {
            CallKind::Shmget => "shmget",
            CallKind::Shmat => "shmat",
            CallKind::Shmdt => "shmdt",
            CallKind::Shmctl => "shmctl",
            CallKind::Ftok => "ftok",
        }
    }
}

impl Call<'_> {
    /// Which call this is.
    pub fn kind(&self) -> CallKind {
        match self {
            Call::Shmget { .. } => CallKind::Shmget,
            Call::Shmat { .. } => CallKind::Shmat,
            Call::Shmdt { .. } => CallKind::Shmdt,
            Call::Shmctl { .. } => CallKind::Shmctl,
            Call::Ftok { .. } => CallKind::Ftok,
        }
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The call's return value, or the errno it fails with.
    pub result: Result<u64, Errno>,
    /// What the policy said.
    pub verdict: Verdict,
}

impl Outcome {
    /// The outcome of a call that the policy had nothing to say about.
    pub fn of(result: Result<u64, Errno>) -> Outcome {
        Outcome { result, verdict: Verdict::Allowed }
    }

    /// A refusal.
    pub fn denied(denial: Denial) -> Outcome {
        Outcome { result: Err(denial.errno), verdict: Verdict::Denied(denial) }
    }
}

/// What the policy said to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Allowed,
    /// Refused, and never made.
    Denied(Denial),
    /// Made, but would have been refused if this were no dry run.
    WouldDeny(Denial),
    /// Made with mode bits taken away, by this rule (an index into the policy's rules).
    Masked { rule: u16 },
    /// Made, and a rule (an index) asked for a note of it.
    Logged { rule: u16 },
}

impl Verdict {
    /// The rule that it comes from (an index into the policy's rules), if it comes from one.
    pub fn rule(&self) -> Option<u16> {
        match *self {
            Verdict::Denied(Denial { reason: Reason::Rule(rule), .. })
            | Verdict::WouldDeny(Denial { reason: Reason::Rule(rule), .. })
            | Verdict::Masked { rule }
            | Verdict::Logged { rule } => Some(rule),
            Verdict::Allowed | Verdict::Denied(_) | Verdict::WouldDeny(_) => None,
        }
    }
}

/// A refusal, with what a person needs to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What stood against the call.
    pub reason: Reason,
    /// What the caller gets.
    pub errno: Errno,
    /// How much the call asked for: bytes for the byte quotas, else a count.
    pub asked: u64,
    /// How much was in use before.
    pub used: u64,
    /// Of how much.
    pub limit: u64,
    /// The process that holds most of it, and how much; pid 0 if that is not known.
    pub holder: (u32, u64),
}

/// What stood against a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `quota.segment.size`.
    SegmentSize,
    /// `quota.process.bytes`, and so on.
    ProcessBytes,
    ProcessSegments,
    ProcessAttaches,
    SessionBytes,
    SessionSegments,
    SessionAttaches,
    /// `forbid-world-access`; the mode is in [`Denial::asked`].
    WorldAccess,
    /// A rule with action `deny`, by its index.
    Rule(u16),
    /// shmgate itself is set up wrongly; the message went to stderr.
    Config,
    /// A defect of shmgate: it panicked.
    Internal,
    /// The ledger has no room for another process or segment.
    LedgerFull,
}

impl Denial {
    /// A refusal without numbers.
    pub fn plain(reason: Reason, errno: Errno) -> Denial {
        Denial { reason, errno, asked: 0, used: 0, limit: 0, holder: (0, 0) }
    }
}
