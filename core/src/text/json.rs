//! An event as a JSON object on a line: schema 1, described in docs/log.md.

use core::fmt;

use super::{Event, Quoted, reason::ReasonText};
use crate::call::{Call, NULL_PATH, Verdict};
use crate::names::{Key, ShmatFlags, ShmgetFlags, shmctl_command};

/// Raised only if a field's meaning changes; new fields may come any time.
pub const SCHEMA: u32 = 1;

/// Writes an event as JSON, without a newline.
pub struct Json<'a>(pub Event<'a>);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fields(f, &self.0)?;
        f.write_str("}")
    }
}

/// Writes an event as a JSON object that lacks its end: more fields may follow.
pub struct Fields<'a>(pub Event<'a>);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fields(f, &self.0)
    }
}

fn fields(f: &mut fmt::Formatter<'_>, event: &Event<'_>) -> fmt::Result {
    write!(f, "{{\"schema\":{SCHEMA},\"time\":\"{}\"", Utc(event.time_ns))?;
    write!(f, ",\"pid\":{},\"tid\":{},\"uid\":{},\"exe\":", event.pid, event.tid, event.uid)?;
    match event.exe {
        Some(exe) => write!(f, "{}", Quoted { bytes: exe, json: true })?,
        None => f.write_str("null")?,
    }
    write!(f, ",\"call\":\"{}\",\"args\":{{", event.call.kind().name())?;
    args(f, &event.call)?;
    match (event.outcome.result, &event.call) {
        (Ok(value), Call::Shmat { .. }) => write!(f, "}},\"result\":\"{value:#x}\",\"errno\":null")?,
        (Ok(value), Call::Ftok { .. }) => write!(f, "}},\"result\":\"{:#010x}\",\"errno\":null", value as u32)?,
        (Ok(value), _) => write!(f, "}},\"result\":{},\"errno\":null", value as i64)?,
        (Err(errno), _) => match errno.name() {
            Some(name) => write!(f, "}},\"result\":-1,\"errno\":\"{name}\"")?,
            None => write!(f, "}},\"result\":-1,\"errno\":\"{}\"", errno.0)?,
        },
    }
    write!(f, ",\"duration_ns\":{},\"backend\":\"{}\"", event.duration_ns, event.backend)?;
    let rule = event.rule;
    let named = |f: &mut fmt::Formatter<'_>, verdict: &str| {
        write!(f, ",\"verdict\":\"{verdict}\",\"reason\":\"rule {}\"", Escaped(&Plain(rule.unwrap_or("?"))))
    };
    match event.outcome.verdict {
        Verdict::Allowed => f.write_str(",\"verdict\":\"allowed\",\"reason\":null"),
        Verdict::Denied(denial) => {
            write!(f, ",\"verdict\":\"denied\",\"reason\":\"{}\"", Escaped(&ReasonText { denial, rule }))
        }
        Verdict::WouldDeny(denial) => {
            write!(f, ",\"verdict\":\"would-deny\",\"reason\":\"{}\"", Escaped(&ReasonText { denial, rule }))
        }
        Verdict::Masked { .. } => named(f, "masked"),
        Verdict::Logged { .. } => named(f, "logged"),
    }
}

fn args(f: &mut fmt::Formatter<'_>, call: &Call<'_>) -> fmt::Result {
    match *call {
        Call::Shmget { key, size, flags } => {
            let text = ShmgetFlags(flags);
            match key {
                libc::IPC_PRIVATE => f.write_str("\"key\":\"0x00000000\"")?,
                key => write!(f, "\"key\":\"{}\"", Key(key))?,
            }
            write!(f, ",\"size\":{size},\"flags\":{flags},\"flags_text\":\"{text}\"")
        }
        Call::Shmat { shmid, addr, flags } => {
            let text = ShmatFlags(flags);
            write!(f, "\"shmid\":{shmid},\"addr\":\"{addr:#x}\",\"flags\":{flags},\"flags_text\":\"{text}\"")
        }
        Call::Shmdt { addr } => write!(f, "\"addr\":\"{addr:#x}\""),
        Call::Shmctl { shmid, cmd, buf, set } => {
            match shmctl_command(cmd) {
                Some(name) => write!(f, "\"shmid\":{shmid},\"cmd\":\"{name}\",\"buf\":\"{buf:#x}\"")?,
                None => write!(f, "\"shmid\":{shmid},\"cmd\":\"{cmd}\",\"buf\":\"{buf:#x}\"")?,
            }
            match set {
                Some(set) => write!(f, ",\"set\":{{\"uid\":{},\"gid\":{},\"mode\":\"{:04o}\"}}", set.uid, set.gid, set.mode),
                None => Ok(()),
            }
        }
        Call::Ftok { path: NULL_PATH, proj } => write!(f, "\"path\":null,\"proj\":{proj}"),
        Call::Ftok { path, proj } => write!(f, "\"path\":{},\"proj\":{proj}", Quoted { bytes: path, json: true }),
    }
}

struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// Text as the inside of a JSON string.
struct Escaped<'a>(&'a dyn fmt::Display);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Writer<'a, 'f>(&'a mut fmt::Formatter<'f>);
        impl fmt::Write for Writer<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for character in text.chars() {
                    match character {
                        '"' | '\\' => write!(self.0, "\\{character}")?,
                        control if control.is_control() => write!(self.0, "\\u{:04x}", control as u32)?,
                        other => write!(self.0, "{other}")?,
                    }
                }
                Ok(())
            }
        }
        fmt::Write::write_fmt(&mut Writer(f), format_args!("{}", self.0))
    }
}

/// Nanoseconds since the epoch as RFC 3339 in UTC.
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Days from 0000-03-01, in eras of 400 years: leap days come last in their years then.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{nanos:09}Z", second % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Denial, Outcome, Reason};
    use crate::errno::Errno;
    use proptest::prelude::*;

    #[test]
    fn times_are_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (1_795_291_860, "2026-11-21T20:11:00"),
        ] {
            assert_eq!(Utc(seconds * 1_000_000_000 + 5).to_string(), format!("{text}.000000005Z"));
        }
    }

    #[test]
    fn a_null_path_is_null() {
        let event = Event {
            time_ns: 0,
            duration_ns: 0,
            pid: 1,
            tid: 1,
            uid: 0,
            exe: None,
            call: Call::Ftok { path: NULL_PATH, proj: 7 },
            backend: "kernel",
            outcome: Outcome::of(Err(Errno::EFAULT)),
            rule: None,
        };
        assert!(Json(event).to_string().contains("\"args\":{\"path\":null,\"proj\":7},"));
    }

    proptest! {
        #[test]
        fn every_event_is_an_object_with_the_schemas_fields(
            path: Vec<u8>, rule in ".{0,20}", cmd: i32, result in 0_u64..1 << 40, times: (u64, u64), which in 0..5_usize,
        ) {
            let denial = Denial::plain(Reason::Rule(3), Errno::EACCES);
            let verdicts = [
                Verdict::Allowed, Verdict::Denied(denial), Verdict::WouldDeny(denial),
                Verdict::Masked { rule: 1 }, Verdict::Logged { rule: 1 },
            ];
            let calls = [
                Call::Shmget { key: cmd, size: times.0, flags: cmd },
                Call::Shmat { shmid: cmd, addr: times.1, flags: cmd },
                Call::Shmdt { addr: times.0 },
                Call::Shmctl { shmid: 1, cmd, buf: 0, set: None },
                Call::Ftok { path: &path, proj: cmd },
            ];
            let event = Event {
                time_ns: times.0, duration_ns: times.1, pid: 1, tid: 2, uid: 3, exe: Some(&path), call: calls[which],
                backend: "kernel", outcome: Outcome { result: Ok(result), verdict: verdicts[which] }, rule: Some(&rule),
            };
            let value: serde_json::Value = serde_json::from_str(&Json(event).to_string()).unwrap();
            for field in ["schema", "time", "pid", "tid", "uid", "exe", "call", "args", "result", "errno", "duration_ns",
                "backend", "verdict", "reason"] {
                prop_assert!(value.get(field).is_some(), "{}", field);
            }
            prop_assert_eq!(&value["call"], calls[which].kind().name());
        }
    }
}
