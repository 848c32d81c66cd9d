//! A denial's reason, in words that a person can act on: what, how much, of how much, who holds it.

use core::fmt;

use super::Quoted;
use crate::call::{Denial, Reason};
use crate::policy::size::Size;

/// Writes a denial's reason; `rule` is the name of the rule it speaks of.
pub struct ReasonText<'a> {
    pub denial: Denial,
    pub rule: Option<&'a str>,
}

impl fmt::Display for ReasonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denial { asked, used, limit, holder, .. } = self.denial;
        let bytes = |f: &mut fmt::Formatter<'_>, quota: &str| {
            write!(f, "{quota}: {} asked, {} of {} in use", Size(asked), Size(used), Size(limit))?;
            if holder.0 != 0 { write!(f, ", pid {} holds {}", holder.0, Size(holder.1)) } else { Ok(()) }
        };
        let count = |f: &mut fmt::Formatter<'_>, quota: &str| {
            write!(f, "{quota}: {used} of {limit} in use")?;
            if holder.0 != 0 { write!(f, ", pid {} holds {}", holder.0, holder.1) } else { Ok(()) }
        };
        match self.denial.reason {
            Reason::SegmentSize => write!(f, "segment size: {} asked, at most {} allowed", Size(asked), Size(limit)),
            Reason::ProcessBytes => bytes(f, "process bytes"),
            Reason::SessionBytes => bytes(f, "session bytes"),
            Reason::ProcessSegments => count(f, "process segments"),
            Reason::SessionSegments => count(f, "session segments"),
            Reason::ProcessAttaches => count(f, "process attaches"),
            Reason::SessionAttaches => count(f, "session attaches"),
            Reason::WorldAccess => {
                write!(f, "world access: mode {asked:04o} gives others access, forbidden by forbid-world-access")
            }
            Reason::Rule(index) => match self.rule {
                Some(name) => write!(f, "rule {}", Quoted { bytes: name.as_bytes(), json: false }),
                None => write!(f, "rule {}", u32::from(index) + 1),
            },
            Reason::Config => f.write_str("shmgate is set up wrongly, see its message on stderr"),
            Reason::Internal => f.write_str("internal error of shmgate, please report it"),
            Reason::LedgerFull => f.write_str("the session has too many processes or segments to keep books of"),
        }
    }
}
