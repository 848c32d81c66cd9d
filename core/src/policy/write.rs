//! A policy as TOML again: what a session keeps, with the options of the command worked in.

use core::fmt::{self, Write};
use core::ops::RangeInclusive;

use super::{Action, Policy, Quota, Rule};
use crate::names;

impl Policy {
    /// The policy as TOML that [`Policy::parse`] reads back as the same.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        write(self, &mut out).expect("a String takes everything");
        out
    }
}

fn write(policy: &Policy, out: &mut String) -> fmt::Result {
    writeln!(out, "dry-run = {}", policy.dry_run)?;
    writeln!(out, "forbid-world-access = {}", policy.forbid_world_access)?;
    if let Some(size) = policy.segment_size {
        writeln!(out, "\n[quota.segment]\nsize = {}", number(size))?;
    }
    quota("process", &policy.process, out)?;
    quota("session", &policy.session, out)?;
    policy.rules.iter().try_for_each(|one| rule(one, out))
}

fn quota(name: &str, quota: &Quota, out: &mut String) -> fmt::Result {
    if !quota.is_empty() {
        writeln!(out, "\n[quota.{name}]")?;
    }
    for (key, value) in [("bytes", quota.bytes), ("segments", quota.segments), ("attaches", quota.attaches)] {
        if let Some(value) = value {
            writeln!(out, "{key} = {}", number(value))?;
        }
    }
    Ok(())
}

/// TOML's integers end at 2^63 - 1; beyond that a size is written as text.
fn number(value: u64) -> String {
    if i64::try_from(value).is_ok() { value.to_string() } else { format!("\"{value}\"") }
}

fn rule(rule: &Rule, out: &mut String) -> fmt::Result {
    writeln!(out, "\n[[rule]]\nname = {}", quoted(&rule.name))?;
    list("call", rule.calls.iter().map(|call| quoted(call.name())), out)?;
    list("key", rule.keys.iter().map(key), out)?;
    if let Some(mode) = rule.mode {
        writeln!(out, "mode = \"{mode:04o}\"")?;
    }
    if let Some(size) = &rule.size {
        writeln!(out, "size = {{ min = {}, max = {} }}", number(*size.start()), number(*size.end()))?;
    }
    list("uid", rule.uids.iter().map(u32::to_string), out)?;
    list("exe", rule.exes.iter().map(|exe| quoted(exe)), out)?;
    list("cmd", rule.commands.iter().filter_map(|&cmd| names::shmctl_command(cmd)).map(quoted), out)?;
    match rule.action {
        Action::Allow => writeln!(out, "action = \"allow\""),
        Action::Log => writeln!(out, "action = \"log\""),
        Action::Deny(errno) => {
            writeln!(out, "action = \"deny\"\nerrno = {}", quoted(errno.name().unwrap_or("EACCES")))
        }
        Action::Mask(bits) => writeln!(out, "action = \"mask\"\nmask = \"{bits:04o}\""),
    }
}

fn key(range: &RangeInclusive<u32>) -> String {
    format!("\"{:#x}-{:#x}\"", range.start(), range.end())
}

fn list(key: &str, values: impl Iterator<Item = String>, out: &mut String) -> fmt::Result {
    let values: Vec<String> = values.collect();
    if values.is_empty() { Ok(()) } else { writeln!(out, "{key} = [{}]", values.join(", ")) }
}

/// A basic TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => write!(out, "\\u{:04X}", control as u32).expect("a String takes everything"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallKind;
    use crate::errno::Errno;
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;

    fn any_quota() -> impl Strategy<Value = Quota> {
        let number = || of(0..=i64::MAX as u64);
        (number(), number(), number()).prop_map(|(bytes, segments, attaches)| Quota { bytes, segments, attaches })
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let action = prop_oneof![
            Just(Action::Allow),
            Just(Action::Log),
            Just(Action::Deny(Errno::ENOSPC)),
            (0_u16..0o1000).prop_map(Action::Mask)
        ];
        let range = |max: u64| (0..=max, 0..=max).prop_map(|(a, b)| a.min(b)..=a.max(b));
        let keys = vec(range(u32::MAX.into()).prop_map(|r| *r.start() as u32..=*r.end() as u32), 0..3);
        let calls = vec(proptest::sample::select(CallKind::ALL.to_vec()), 0..3);
        let commands = vec(proptest::sample::select(vec![libc::IPC_RMID, libc::IPC_SET, 15]), 0..3);
        (
            ".{0,8}",
            calls,
            keys,
            of(0_u16..0o1000),
            of(range(u64::MAX)),
            vec(any::<u32>(), 0..3),
            vec(".{0,8}", 0..3),
            commands,
            action,
        )
            .prop_map(|(name, calls, keys, mode, size, uids, exes, commands, action)| Rule {
                name,
                calls,
                keys,
                mode,
                size,
                uids,
                exes,
                commands,
                action,
            })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            dry_run: bool, forbid_world_access: bool, segment_size in of(any::<u64>()),
            process in any_quota(), session in any_quota(), rules in vec(any_rule(), 0..4),
        ) {
            let policy = Policy { dry_run, forbid_world_access, segment_size, process, session, rules };
            prop_assert_eq!(Policy::parse(&policy.to_toml()), Ok(policy));
        }
    }
}
