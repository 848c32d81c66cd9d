//! The kinds of findings: names that stay, how bad each is, and what to do about it.

use std::fmt;

/// What can be found. The order is that of a report, within a severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Leak,
    RemovedInUse,
    ErrorIgnored,
    Denied,
    WorldAccess,
    Squatting,
    SizeMismatch,
    FtokCollision,
    FtokRecreated,
    NearLimit,
    NeverDetached,
    AttachAfterRemoval,
    StaleUse,
    LinuxOnly,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know: it works here.
    Note,
    /// It will go wrong some day, or lets others in.
    Warning,
    /// It goes wrong.
    Error,
}

impl Severity {
    pub const ALL: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Note];

    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Kind {
    pub const ALL: [Kind; 14] = [
        Kind::Leak,
        Kind::RemovedInUse,
        Kind::ErrorIgnored,
        Kind::Denied,
        Kind::WorldAccess,
        Kind::Squatting,
        Kind::SizeMismatch,
        Kind::FtokCollision,
        Kind::FtokRecreated,
        Kind::NearLimit,
        Kind::NeverDetached,
        Kind::AttachAfterRemoval,
        Kind::StaleUse,
        Kind::LinuxOnly,
    ];

    /// The name, as `--fail-on` and JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Leak => "leak",
            Kind::RemovedInUse => "removed-in-use",
            Kind::ErrorIgnored => "error-ignored",
            Kind::Denied => "denied",
            Kind::WorldAccess => "world-access",
            Kind::Squatting => "squatting",
            Kind::SizeMismatch => "size-mismatch",
            Kind::FtokCollision => "ftok-collision",
            Kind::FtokRecreated => "ftok-recreated",
            Kind::NearLimit => "near-limit",
            Kind::NeverDetached => "never-detached",
            Kind::AttachAfterRemoval => "attach-after-removal",
            Kind::StaleUse => "stale-use",
            Kind::LinuxOnly => "linux-only",
        }
    }

    pub fn severity(self) -> Severity {
        match self {
            Kind::Leak | Kind::RemovedInUse | Kind::ErrorIgnored | Kind::Denied => Severity::Error,
            Kind::WorldAccess | Kind::Squatting | Kind::SizeMismatch => Severity::Warning,
            Kind::FtokCollision | Kind::FtokRecreated | Kind::NearLimit => Severity::Warning,
            Kind::NeverDetached | Kind::AttachAfterRemoval | Kind::StaleUse | Kind::LinuxOnly => Severity::Note,
        }
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Kind::Leak => {
                "call shmctl(shmid, IPC_RMID, NULL) when the last user is done, on every way out; or right after the last \
                           process has attached"
            }
            Kind::RemovedInUse => "remove a segment only when every process has attached, or is done with it",
            Kind::ErrorIgnored => "check each result for -1 before it is used, shmat's for (void *)-1",
            Kind::Denied => "see the reason: take less, give back earlier, or change the policy",
            Kind::WorldAccess => "create it with 0600, or 0660 and a group of those who need it",
            Kind::Squatting => {
                "add IPC_EXCL where the segment is to be new, and open without IPC_CREAT where it is to be there: else anybody \
                                who was first with the key owns what is found"
            }
            Kind::SizeMismatch => {
                "ask with the size that it was created with, or with 0 and read shm_segsz; a layout that changes \
                                   needs a new key"
            }
            Kind::FtokCollision => {
                "ftok keeps 16 bits of the inode and 8 of the device: use another project number, or files of which \
                                    the keys differ, and IPC_EXCL to notice"
            }
            Kind::FtokRecreated => "let the file stay as long as its key is used: write to it in place, do not replace it",
            Kind::NearLimit => "raise the limit before it is hit, or give segments and attaches back earlier",
            Kind::NeverDetached => {
                "call shmdt when the memory is no longer used; the exit does it too, but until then a removed segment \
                                    keeps its memory"
            }
            Kind::AttachAfterRemoval => {
                "attach first, remove then: FreeBSD (kern.ipc.shm_allow_removed=0) and others refuse it"
            }
            Kind::StaleUse => {
                "forget an address or id when it is given up: with several threads, what is there by then may be another's"
            }
            Kind::LinuxOnly => "keep it behind #ifdef __linux__, with another way for other systems",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What `--fail-on` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// `any`
    Any,
    /// A severity, or worse.
    Severity(Severity),
    Kind(Kind),
}

impl FailOn {
    /// Reads one of the list.
    ///
    /// # Errors
    /// What may stand there, if `text` is nothing of it.
    pub fn parse(text: &str) -> Result<FailOn, String> {
        if text == "any" {
            return Ok(FailOn::Any);
        }
        let severity = Severity::ALL.into_iter().find(|severity| severity.name() == text).map(FailOn::Severity);
        severity.or_else(|| Kind::from_name(text).map(FailOn::Kind)).ok_or_else(|| {
            let kinds = Kind::ALL.map(Kind::name).join(", ");
            format!("not a finding; one of {kinds}; or any, error, warning, note")
        })
    }

    /// True if findings of this kind are meant.
    pub fn means(self, kind: Kind) -> bool {
        match self {
            FailOn::Any => true,
            FailOn::Severity(severity) => kind.severity() >= severity,
            FailOn::Kind(one) => one == kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(FailOn::parse(kind.name()), Ok(FailOn::Kind(kind)));
        }
        assert!(FailOn::parse("lek").unwrap_err().contains("leak, removed-in-use"));
        assert!(FailOn::Severity(Severity::Warning).means(Kind::Leak));
        assert!(!FailOn::Severity(Severity::Error).means(Kind::NearLimit));
    }
}
