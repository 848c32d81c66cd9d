//! Quotas and rules: what a call may do.
//!
//! [`parse`] makes a [`Policy`] of TOML, `lint` finds rules in it that can do nothing, [`rule`] decides on a call's arguments; how
//! much is in use is the ledger's business. Evaluating a policy neither allocates nor locks.

#![forbid(unsafe_code)]

mod lint;
pub mod parse;
pub mod rule;
pub mod size;
mod toml;
mod write;

pub use parse::ParseError;
pub use rule::{Action, Rule};

/// Everything a policy file can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Record what would be denied, and deny nothing.
    pub dry_run: bool,
    /// Refuse modes with a bit of 0006, in a new segment and in `IPC_SET`.
    pub forbid_world_access: bool,
    /// The largest segment, in bytes.
    pub segment_size: Option<u64>,
    /// For each process.
    pub process: Quota,
    /// For all processes of the session together.
    pub session: Quota,
    /// The first rule that matches decides.
    pub rules: Vec<Rule>,
}

/// How much may be in use at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of the segments created, rounded up to pages.
    pub bytes: Option<u64>,
    /// Segments created.
    pub segments: Option<u64>,
    /// Attaches.
    pub attaches: Option<u64>,
}

impl Quota {
    fn is_empty(&self) -> bool {
        *self == Quota::default()
    }
}

impl Policy {
    /// True if it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Policy::default()
    }

    /// True if it counts what is in use.
    pub fn has_quota(&self) -> bool {
        !self.process.is_empty() || !self.session.is_empty()
    }

    /// True if a segment's creation has to be told from a look-up before it happens.
    pub fn minds_creation(&self) -> bool {
        self.forbid_world_access
            || self.segment_size.is_some()
            || self.has_quota()
            || self.rules.iter().any(|rule| rule.mode.is_some() || matches!(rule.action, Action::Mask(_)))
    }
}
