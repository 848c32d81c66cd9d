//! An event as a line of text that reads like strace's.

use core::fmt;

use super::{Event, Quoted, reason::ReasonText};
use crate::call::{Call, NULL_PATH, Verdict};
use crate::names::{Key, ShmatFlags, ShmgetFlags, shmctl_command};

impl fmt::Display for Event<'_> {
    /// `1234 shmget(key=0x5e000001, size=4096, IPC_CREAT|0600) = 32769 <2.1us>`, without a newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)?;
        if self.tid != self.pid {
            write!(f, "/{}", self.tid)?;
        }
        f.write_str(" ")?;
        call(f, &self.call)?;
        match (self.outcome.result, &self.call) {
            (Err(errno), _) => match errno.name() {
                Some(name) => write!(f, " = -1 {name} ({})", errno.text())?,
                None => write!(f, " = -1 errno {}", errno.0)?,
            },
            (Ok(value), Call::Shmat { .. }) => write!(f, " = {value:#x}")?,
            (Ok(value), Call::Ftok { .. }) => write!(f, " = {:#010x}", value as u32)?,
            (Ok(value), _) => write!(f, " = {}", value as i64)?,
        }
        write!(f, " <{}>", Duration(self.duration_ns))?;
        match self.outcome.verdict {
            Verdict::Allowed => Ok(()),
            Verdict::Denied(denial) => write!(f, " [denied: {}]", ReasonText { denial, rule: self.rule }),
            Verdict::WouldDeny(denial) => write!(f, " [would be denied: {}]", ReasonText { denial, rule: self.rule }),
            Verdict::Masked { .. } => write!(f, " [masked: rule {}]", RuleName(self.rule)),
            Verdict::Logged { .. } => write!(f, " [rule {}]", RuleName(self.rule)),
        }
    }
}

/// A rule's name in quotes, escaped: it may hold anything that a file can.
struct RuleName<'a>(Option<&'a str>);

impl fmt::Display for RuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quoted { bytes: self.0.unwrap_or("?").as_bytes(), json: false }.fmt(f)
    }
}

/// A call with its arguments alone: `shmdt(addr=0x7f12c0000000)`.
pub struct CallText<'a>(pub &'a Call<'a>);

impl fmt::Display for CallText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        call(f, self.0)
    }
}

fn call(f: &mut fmt::Formatter<'_>, call: &Call<'_>) -> fmt::Result {
    match *call {
        Call::Shmget { key, size, flags } => write!(f, "shmget(key={}, size={size}, {})", Key(key), ShmgetFlags(flags)),
        Call::Shmat { shmid, addr, flags } => write!(f, "shmat(shmid={shmid}, addr={}, {})", Pointer(addr), ShmatFlags(flags)),
        Call::Shmdt { addr } => write!(f, "shmdt(addr={})", Pointer(addr)),
        Call::Shmctl { shmid, cmd, buf, set } => {
            write!(f, "shmctl(shmid={shmid}, ")?;
            match shmctl_command(cmd) {
                Some(name) => f.write_str(name)?,
                None => write!(f, "cmd={cmd}")?,
            }
            write!(f, ", buf={}", Pointer(buf))?;
            if let Some(set) = set {
                // -1 is how a program says "no such id": as strace, write it so.
                write!(f, ", {{uid={}, gid={}, mode={:04o}}}", set.uid as i32, set.gid as i32, set.mode)?;
            }
            f.write_str(")")
        }
        Call::Ftok { path: NULL_PATH, proj } => write!(f, "ftok(path=NULL, proj={proj})"),
        Call::Ftok { path, proj } => write!(f, "ftok(path={}, proj={proj})", Quoted { bytes: path, json: false }),
    }
}

/// An address; 0 is `NULL`.
struct Pointer(u64);

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("NULL") } else { write!(f, "{:#x}", self.0) }
    }
}

/// A duration in ns, in the unit that people would take.
struct Duration(u64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In tenths, rounded by integers: the library carries no code for decimal fractions.
        let (tenths, unit) = match self.0 {
            ns if ns < 1_000_000 => (ns.saturating_add(50) / 100, "us"),
            ns if ns < 1_000_000_000 => (ns.saturating_add(50_000) / 100_000, "ms"),
            ns => (ns / 100_000_000, "s"),
        };
        write!(f, "{}.{}{unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Denial, Outcome, PermSet, Reason};
    use crate::errno::Errno;

    fn event(call: Call<'static>, result: Result<u64, Errno>) -> Event<'static> {
        Event {
            time_ns: 0,
            duration_ns: 2_140,
            pid: 1234,
            tid: 1234,
            uid: 0,
            exe: None,
            call,
            backend: "kernel",
            outcome: Outcome::of(result),
            rule: None,
        }
    }

    #[test]
    fn lines_read_like_straces() {
        let get = Call::Shmget { key: 0x5e00_0001, size: 4096, flags: libc::IPC_CREAT | 0o600 };
        assert_eq!(event(get, Ok(32769)).to_string(), "1234 shmget(key=0x5e000001, size=4096, IPC_CREAT|0600) = 32769 <2.1us>");
        let at = Call::Shmat { shmid: 3, addr: 0, flags: libc::SHM_RDONLY };
        assert_eq!(
            event(at, Ok(0x7f00_0000_0000)).to_string(),
            "1234 shmat(shmid=3, addr=NULL, SHM_RDONLY) = 0x7f0000000000 <2.1us>"
        );
        assert_eq!(
            event(Call::Shmdt { addr: 0x1000 }, Err(Errno::EINVAL)).to_string(),
            "1234 shmdt(addr=0x1000) = -1 EINVAL (Invalid argument) <2.1us>"
        );
        let set = PermSet { uid: u32::MAX, gid: 0, mode: 0o640 };
        let ctl = Call::Shmctl { shmid: 3, cmd: libc::IPC_SET, buf: 0x2000, set: Some(set) };
        assert_eq!(
            event(ctl, Ok(0)).to_string(),
            "1234 shmctl(shmid=3, IPC_SET, buf=0x2000, {uid=-1, gid=0, mode=0640}) = 0 <2.1us>"
        );
        let ftok = Call::Ftok { path: b"/a\n\xff", proj: 83 };
        assert_eq!(event(ftok, Ok(0x0301_0203)).to_string(), "1234 ftok(path=\"/a\\012\\377\", proj=83) = 0x03010203 <2.1us>");
        let null = Call::Ftok { path: NULL_PATH, proj: 83 };
        assert_eq!(
            event(null, Err(Errno::EFAULT)).to_string(),
            "1234 ftok(path=NULL, proj=83) = -1 EFAULT (Bad address) <2.1us>"
        );
    }

    #[test]
    fn a_denial_says_what_to_do_about_it() {
        let mut event = event(Call::Shmget { key: 0, size: 8192, flags: 0 }, Err(Errno::ENOSPC));
        event.tid = 1240;
        event.outcome = Outcome::denied(Denial {
            reason: Reason::SessionBytes,
            errno: Errno::ENOSPC,
            asked: 8192,
            used: 1 << 20,
            limit: 1 << 20,
            holder: (77, 1 << 20),
        });
        assert_eq!(
            event.to_string(),
            "1234/1240 shmget(key=IPC_PRIVATE, size=8192, 0) = -1 ENOSPC (No space left on device) <2.1us> \
             [denied: session bytes: 8 KiB asked, 1 MiB of 1 MiB in use, pid 77 holds 1 MiB]"
        );
    }

    #[test]
    fn durations_in_the_unit_people_would_take() {
        for (ns, text) in [(0, "0.0us"), (180, "0.2us"), (999_949, "999.9us"), (1_500_000, "1.5ms"), (2_000_000_000, "2.0s")] {
            assert_eq!(Duration(ns).to_string(), text);
        }
    }
}
