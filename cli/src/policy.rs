//! `shmgate policy check`, and the policy that `run` makes of a file and options.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use shmgate_core::names;
use shmgate_core::policy::size::Size;
use shmgate_core::policy::{Action, Policy, Quota, Rule};

use crate::args::Limits;
use crate::environment::variable;
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

/// The policy of the options and the file that they name, or else SHMGATE_POLICY; `None` if nothing asks for one.
pub fn resolve(limits: &Limits) -> Result<Option<Policy>, Failure> {
    resolve_with(limits, variable("SHMGATE_POLICY").map(PathBuf::from))
}

fn resolve_with(limits: &Limits, inherited: Option<PathBuf>) -> Result<Option<Policy>, Failure> {
    let with = |prefix: &str, failure: Failure| Failure { message: format!("{prefix} {}", failure.message), ..failure };
    let file = match (&limits.policy, inherited) {
        (Some(file), _) if file.as_os_str() == "-" => {
            return Err(Failure::usage("--policy -: standard input is the command's; name a file (./- if it has this name)"));
        }
        (Some(file), _) => Some(load(file).map_err(|failure| with("policy", failure))?),
        (None, Some(file)) => Some(load(&file).map_err(|failure| with("SHMGATE_POLICY: policy", failure))?),
        (None, None) => None,
    };
    let is_named = file.is_some();
    let mut policy = file.unwrap_or_default();
    policy.dry_run |= limits.dry_run;
    policy.forbid_world_access |= limits.forbid_world_access;
    policy.segment_size = limits.max_segment_size.or(policy.segment_size);
    policy.session.bytes = limits.max_bytes.or(policy.session.bytes);
    policy.session.segments = limits.max_segments.or(policy.session.segments);
    policy.session.attaches = limits.max_attaches.or(policy.session.attaches);
    Ok((is_named || !policy.is_empty()).then_some(policy))
}

fn load(file: &Path) -> Result<Policy, Failure> {
    let name = file.display().to_string();
    match File::open(file) {
        Ok(open) => read(open, &name),
        Err(error) => Err(unreadable(&name, &error)),
    }
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("{name}: {}; name a file of TOML that you can read", words(error)))
}

fn read(from: impl Read, name: &str) -> Result<Policy, Failure> {
    let mut bytes = Vec::new();
    let read = from.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(name, &error))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Failure::usage(format!("{name}: longer than {}, this is no policy", Size(MOST_BYTES))));
    }
    match str::from_utf8(&bytes) {
        Ok(text) => Policy::parse_strictly(text).map_err(|error| Failure::usage(format!("{name}:{error}"))),
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
        line(&format!("rule \"{}\": {action} ({})", rule.name.escape_debug(), conditions(rule)));
    }
    out
}

/// All that has to hold.
fn conditions(rule: &Rule) -> String {
    let calls = if rule.calls.is_empty() { "any call".to_owned() } else { list(&rule.calls, |call| call.name().to_owned()) };
    let one_of = |what: &str, values: String| (!values.is_empty()).then(|| format!("{what} {values}"));
    let key = |range: &RangeInclusive<u32>| match (*range.start(), *range.end()) {
        (0, 0) => "private".to_owned(),
        (first, last) if first == last => format!("{first:#010x}"),
        (first, last) => format!("{first:#010x}-{last:#010x}"),
    };
    let size = rule.size.as_ref().map(|range| match (*range.start(), *range.end()) {
        (0, u64::MAX) => "any size".to_owned(),
        (0, max) => format!("size at most {}", Size(max)),
        (min, u64::MAX) => format!("size at least {}", Size(min)),
        (min, max) => format!("size {} to {}", Size(min), Size(max)),
    });
    let conditions = [
        Some(calls),
        one_of("cmd", list(&rule.commands, |&cmd| names::shmctl_command(cmd).map_or(cmd.to_string(), str::to_owned))),
        one_of("key", list(&rule.keys, key)),
        size,
        rule.mode.map(|bits| format!("mode with a bit of {bits:04o}")),
        one_of("uid", list(&rule.uids, u32::to_string)),
        one_of("exe", list(&rule.exes, |exe| format!("\"{}\"", exe.escape_debug()))),
    ];
    conditions.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn list<T>(values: &[T], one: impl Fn(&T) -> String) -> String {
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn amounts(quota: &Quota) -> String {
    let count = |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    let bytes = quota.bytes.map(|bytes| Size(bytes).to_string());
    let segments = quota.segments.map(|segments| count(segments, "segment", "segments"));
    let attaches = quota.attaches.map(|attaches| count(attaches, "attach", "attaches"));
    [bytes, segments, attaches].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_win_over_the_file_and_that_over_the_environment() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("p.toml");
        std::fs::write(&file, "[quota.session]\nbytes = \"1M\"\nsegments = 4\n").unwrap();
        let limits = Limits { policy: Some(file), max_bytes: Some(4096), dry_run: true, ..Limits::default() };
        let policy = resolve_with(&limits, Some("/no/such.toml".into())).unwrap().unwrap();
        assert_eq!(policy.session, Quota { bytes: Some(4096), segments: Some(4), attaches: None });
        assert!(policy.dry_run);
        let inherited = limits.policy.clone();
        assert_eq!(resolve_with(&Limits { policy: None, ..limits }, inherited).unwrap().unwrap(), policy);
        assert_eq!(resolve_with(&Limits::default(), None).unwrap(), None);
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

    #[test]
    fn a_summary_has_all_conditions() {
        for (rule, said) in [
            ("uid = [0, 33]\nexe = '*/psql'", "any call; uid 0, 33; exe \"*/psql\""),
            ("key = ['private', 5, '0x10-0x1f']", "any call; key private, 0x00000005, 0x00000010-0x0000001f"),
            ("size = { min = '1M' }", "any call; size at least 1 MiB"),
            ("size = { max = '4K' }", "any call; size at most 4 KiB"),
            ("size = { min = 1, max = 2 }", "any call; size 1 bytes to 2 bytes"),
            ("call = ['shmget', 'shmctl']\nmode = '6'", "shmget, shmctl; mode with a bit of 0006"),
            ("call = 'shmctl'\ncmd = ['IPC_RMID', 'IPC_SET']", "shmctl; cmd IPC_RMID, IPC_SET"),
        ] {
            let policy = Policy::parse_strictly(&format!("[[rule]]\naction = 'log'\n{rule}\n")).unwrap();
            assert_eq!(describe(&policy), format!("  rule \"rule 1\": log ({said})\n"));
        }
    }
}
