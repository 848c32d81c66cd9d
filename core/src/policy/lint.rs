//! What is wrong with a policy that can be read: rules that never hold. For the command; the library takes them as they are.
//!
//! Not found: a rule behind another that holds for all its calls.

use super::parse::at;
use super::toml::{self, Data, Table, Value};
use super::{Action, ParseError, Policy, Rule};
use crate::call::CallKind;

impl Policy {
    /// Reads a policy as [`Policy::parse`], and refuses rules that can do nothing.
    ///
    /// # Errors
    /// [`ParseError`], also for a condition that never holds and for a mask of nothing.
    pub fn parse_strictly(text: &str) -> Result<Policy, ParseError> {
        let policy = Policy::parse(text)?;
        let flaw = policy.rules.iter().enumerate().find_map(|(index, rule)| Some((index, flaw(rule)?)));
        match flaw {
            None => Ok(policy),
            Some((index, (key, message))) => Err(at(text, place(text, index, key), &message)),
        }
    }
}

/// What keeps a rule from doing anything: the key of what is to blame, and a message.
fn flaw(rule: &Rule) -> Option<(&'static str, String)> {
    let sets = rule.commands.is_empty() || rule.commands.contains(&libc::IPC_SET);
    let with_mode = if sets { &[CallKind::Shmget, CallKind::Shmctl][..] } else { &[CallKind::Shmget] };
    let conditions = [
        ("key", !rule.keys.is_empty(), &[CallKind::Shmget][..]),
        ("size", rule.size.is_some(), &[CallKind::Shmget]),
        ("cmd", !rule.commands.is_empty(), &[CallKind::Shmctl]),
        ("mode", rule.mode.is_some(), with_mode),
    ];
    let mut calls = if rule.calls.is_empty() { CallKind::ALL.to_vec() } else { rule.calls.clone() };
    for (key, _, having) in conditions.into_iter().filter(|(_, is_there, _)| *is_there) {
        let left = names(&calls);
        calls.retain(|call| having.contains(call));
        if calls.is_empty() {
            return Some((
                key,
                format!("the rule never holds: {key} is for {}, the rule's other conditions for {left}", of(key)),
            ));
        }
    }
    if rule.mode == Some(0) {
        return Some(("mode", "the rule never holds: mode has no bit that a call could give".into()));
    }
    if let Some(exe) = rule.exes.iter().find(|exe| !exe.starts_with(['/', '*', '?'])) {
        let exe = exe.escape_debug();
        return Some((
            "exe",
            format!("\"{exe}\" never holds: it is matched with the whole path, write \"*/{exe}\" or the like"),
        ));
    }
    match rule.action {
        Action::Mask(0) => Some(("mask", "the rule takes no bit away, expected mask = \"0007\" or the like".into())),
        Action::Mask(_) if !calls.iter().any(|call| with_mode.contains(call)) => Some((
            "action",
            format!("there is nothing to mask: modes are given by {}, the rule is for {}", of("mode"), names(&calls)),
        )),
        _ => None,
    }
}

/// Which calls have what a condition is about.
fn of(key: &str) -> &'static str {
    match key {
        "cmd" => "shmctl",
        "mode" => "shmget and shmctl's IPC_SET",
        _ => "shmget",
    }
}

fn names(calls: &[CallKind]) -> String {
    calls.iter().map(|call| call.name()).collect::<Vec<_>>().join(", ")
}

/// Where the value of `key` in a rule begins, in bytes. What could be read before can be read again.
fn place(text: &str, index: usize, key: &str) -> usize {
    fn value<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
        table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }
    let place = |table: &Table| {
        let Data::Array(rules) = value(table, "rule")?.get_ref() else { return None };
        let rule = rules.get(index)?;
        let Data::Table(keys) = rule.get_ref() else { return None };
        Some(value(keys, key).unwrap_or(rule).start())
    };
    toml::parse(text).ok().and_then(|table| place(&table)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(rule: &str) -> String {
        let text = format!("[[rule]]\naction = 'deny'\n{rule}");
        assert!(Policy::parse(&text).is_ok(), "{rule}");
        Policy::parse_strictly(&text).expect_err(rule).to_string()
    }

    #[test]
    fn rules_that_never_hold_are_told_where() {
        for (rule, start, part) in [
            (
                "call = 'shmat'\nmode = '0006'",
                "4:8: ",
                "mode is for shmget and shmctl's IPC_SET, the rule's other conditions for shmat",
            ),
            (
                "call = ['shmget', 'shmdt']\ncmd = 'IPC_RMID'",
                "4:7: ",
                "cmd is for shmctl, the rule's other conditions for shmget, shmdt",
            ),
            ("call = 'shmctl'\nkey = 5", "4:7: ", "key is for shmget"),
            ("key = 5\ncmd = 'IPC_RMID'", "4:7: ", "cmd is for shmctl, the rule's other conditions for shmget"),
            ("cmd = 'IPC_STAT'\nmode = '0020'", "4:8: ", "mode is for"),
            ("call = 'ftok'\nsize = { min = 1 }", "4:8: ", "size is for shmget"),
            ("mode = '0'", "3:8: ", "no bit"),
            ("exe = ['/bin/*', 'psql']", "3:7: ", "\"psql\" never holds"),
        ] {
            let error = error(rule);
            assert!(error.starts_with(start) && error.contains(part), "{rule}: {error}");
        }
        let mask = |rule: &str| Policy::parse_strictly(&format!("[[rule]]\naction = 'mask'\n{rule}")).unwrap_err().to_string();
        assert!(mask("mask = '0000'").starts_with("3:8: the rule takes no bit away"));
        assert!(mask("mask = '0007'\ncall = 'shmdt'").starts_with("2:10: there is nothing to mask"));
    }

    #[test]
    fn rules_that_may_hold_pass() {
        for rule in [
            "call = ['shmget', 'shmat']\nkey = 5",
            "cmd = ['IPC_SET', 'IPC_RMID']\nmode = '0006'",
            "call = 'shmctl'\nmode = '0006'",
            "exe = ['*', '?', '/x', '*/psql']",
            "key = 1\nsize = { max = 5 }\nmode = '7'\nuid = 1",
        ] {
            Policy::parse_strictly(&format!("[[rule]]\naction = 'deny'\n{rule}"))
                .unwrap_or_else(|error| panic!("{rule}: {error}"));
        }
        Policy::parse_strictly("[[rule]]\naction = 'mask'\nmask = '0007'").unwrap();
    }
}
