//! `shmgate policy check`, and the policy that `run` makes of a file and options.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use shmgate_core::policy::size::Size;
use shmgate_core::policy::{Action, Policy, Quota};

use crate::args::Limits;
use crate::failure::{Failure, words, written};

/// More than any policy that is one; /dev/zero must come to an end too.
const MOST_BYTES: u64 = 4 << 20;

/// Checks a policy file and prints what it holds.
pub fn check(file: &Path) -> Result<u8, Failure> {
    let (name, policy) = if file.as_os_str() == "-" {
        let name = "standard input".to_owned();
        let policy = read(io::stdin().lock(), &name)?;
        (name, policy)
    } else {
        (file.display().to_string(), load(file)?)
    };
    written(io::stdout().write_all(format!("{name}: ok\n{}", describe(&policy)).as_bytes()))?;
    Ok(0)
}

/// The policy of the options and the file that they name; `None` if there is no such option.
pub fn resolve(limits: &Limits) -> Result<Option<Policy>, Failure> {
    let with_name = |failure: Failure| Failure { message: format!("policy {}", failure.message), ..failure };
    let mut policy = match &limits.policy {
        Some(file) => load(file).map_err(with_name)?,
        None => Policy::default(),
    };
    policy.dry_run |= limits.dry_run;
    policy.forbid_world_access |= limits.forbid_world_access;
    policy.segment_size = limits.max_segment_size.or(policy.segment_size);
    policy.session.bytes = limits.max_bytes.or(policy.session.bytes);
    policy.session.segments = limits.max_segments.or(policy.session.segments);
    policy.session.attaches = limits.max_attaches.or(policy.session.attaches);
    Ok((limits.policy.is_some() || !policy.is_empty()).then_some(policy))
}

fn load(file: &Path) -> Result<Policy, Failure> {
    let name = file.display().to_string();
    match File::open(file) {
        Ok(open) => read(open, &name),
        Err(error) => Err(Failure::usage(format!("{name}: {}", words(&error)))),
    }
}

fn read(from: impl Read, name: &str) -> Result<Policy, Failure> {
    let mut bytes = Vec::new();
    let read = from.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::usage(format!("{name}: {}", words(&error))))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Failure::usage(format!("{name}: longer than {}, this is no policy", Size(MOST_BYTES))));
    }
    match str::from_utf8(&bytes) {
        Ok(text) => Policy::parse(text).map_err(|error| Failure::usage(format!("{name}:{error}"))),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let column = good.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            let line = good.matches('\n').count() + 1;
            Err(Failure::usage(format!("{name}:{line}:{column}: a byte that is not UTF-8, expected TOML text")))
        }
    }
}

/// What a policy holds, a line a topic.
fn describe(policy: &Policy) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        // A String takes everything.
        let _ = writeln!(out, "  {text}");
    };
    if policy.is_empty() {
        line("nothing: all calls pass");
    }
    if policy.dry_run {
        line("dry run: denies nothing, notes what it would deny");
    }
    if policy.forbid_world_access {
        line("world access is forbidden");
    }
    if let Some(size) = policy.segment_size {
        line(&format!("a segment: at most {}", Size(size)));
    }
    for (who, quota) in [("a process", &policy.process), ("the session", &policy.session)] {
        if *quota != Quota::default() {
            line(&format!("{who}: at most {}", amounts(quota)));
        }
    }
    for rule in &policy.rules {
        let action = match rule.action {
            Action::Allow => "allow".to_owned(),
            Action::Log => "log".to_owned(),
            Action::Deny(errno) => format!("deny with {}", errno.name().unwrap_or("EACCES")),
            Action::Mask(bits) => format!("mask {bits:04o}"),
        };
        let calls: Vec<&str> = rule.calls.iter().map(|call| call.name()).collect();
        let calls = if calls.is_empty() { "any call".to_owned() } else { calls.join(", ") };
        line(&format!("rule \"{}\": {action} ({calls})", rule.name.escape_debug()));
    }
    out
}

fn amounts(quota: &Quota) -> String {
    let bytes = quota.bytes.map(|bytes| Size(bytes).to_string());
    let segments = quota.segments.map(|count| format!("{count} segments"));
    let attaches = quota.attaches.map(|count| format!("{count} attaches"));
    [bytes, segments, attaches].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_win_over_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("p.toml");
        std::fs::write(&file, "[quota.session]\nbytes = \"1M\"\nsegments = 4\n").unwrap();
        let limits = Limits { policy: Some(file), max_bytes: Some(4096), dry_run: true, ..Limits::default() };
        let policy = resolve(&limits).unwrap().unwrap();
        assert_eq!(policy.session, Quota { bytes: Some(4096), segments: Some(4), attaches: None });
        assert!(policy.dry_run);
        assert_eq!(resolve(&Limits::default()).unwrap(), None);
    }

    #[test]
    fn what_is_no_text_has_a_place_too() {
        let error = read(&b"dry-run = true\n# \xc3\xa4\xff"[..], "p.toml").unwrap_err();
        assert!(error.message.starts_with("p.toml:2:4: "), "{}", error.message);
    }

    #[test]
    fn the_endless_ends() {
        assert!(read(io::repeat(b' '), "/dev/zero").unwrap_err().message.contains("no policy"));
    }

    #[test]
    fn a_summary_names_quotas_and_rules() {
        let text =
            "[quota.process]\nattaches = 3\n[[rule]]\nname = \"a\"\ncall = \"shmget\"\naction = \"mask\"\nmask = \"0007\"\n";
        let summary = describe(&Policy::parse(text).unwrap());
        assert_eq!(summary, "  a process: at most 3 attaches\n  rule \"a\": mask 0007 (shmget)\n");
    }
}
