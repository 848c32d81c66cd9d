//! Policies: any text is a policy or a one-line error with a place in the text; a policy written out reads back as the same, and
//! can be asked about any call.

use shmgate_core::call::{Call, PermSet};
use shmgate_core::policy::rule::Caller;
use shmgate_core::policy::{ParseError, Policy};

struct Somebody;

impl Caller for Somebody {
    fn uid(&self) -> u32 {
        1000
    }

    fn exe(&self) -> Option<&[u8]> {
        Some(b"/usr/lib/postgresql/17/bin/postgres")
    }
}

fn read(text: &str, parse: impl Fn(&str) -> Result<Policy, ParseError>) -> Option<Policy> {
    let error = match parse(text) {
        Ok(policy) => return Some(policy),
        Err(error) => error,
    };
    let said = error.to_string();
    assert!(super::is_plain_line(&said), "{said:?}");
    // The last line's end is a place too.
    assert!((1..=text.matches('\n').count() + 1).contains(&error.line), "{said}");
    let line = text.split('\n').nth(error.line - 1).unwrap_or_default();
    assert!((1..=line.chars().count() + 1).contains(&error.column), "{said}");
    None
}

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What the command says of a policy is a line with a place too.
    read(text, Policy::parse_strictly);
    let Some(policy) = read(text, Policy::parse) else { return };
    let written = policy.to_toml();
    assert_eq!(Policy::parse(&written).as_ref(), Ok(&policy), "{written}");
    let calls = [
        Call::Shmget { key: 0x5e00_0001, size: 4096, flags: libc::IPC_CREAT | 0o666 },
        Call::Shmget { key: libc::IPC_PRIVATE, size: u64::MAX, flags: -1 },
        Call::Shmat { shmid: 1, addr: 0, flags: 0 },
        Call::Shmdt { addr: u64::MAX },
        Call::Shmctl { shmid: 1, cmd: libc::IPC_SET, buf: 0, set: Some(PermSet { uid: 0, gid: 0, mode: 0o777 }) },
        Call::Ftok { path: b"/tmp/x", proj: 83 },
    ];
    for call in calls {
        for creates in [false, true] {
            if let Some((index, rule)) = policy.first_match(&call, creates, &Somebody) {
                assert_eq!(policy.rule_name(index), Some(rule.name.as_str()));
            }
        }
    }
}
