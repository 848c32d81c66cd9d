//! The policy file: TOML in, a [`Policy`] or one line that says what is wrong and where.

use core::fmt;
use core::ops::RangeInclusive;

use super::toml::{self, Data, Fault, Key, Table, Value};
use super::{Action, Policy, Quota, Rule, size};
use crate::call::CallKind;
use crate::errno::Errno;
use crate::names;

/// What is wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl core::error::Error for ParseError {}

/// A denial's errno, and the index of a rule, are 16 bits in a record.
const MOST_RULES: usize = 4096;

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`ParseError`], for text that is not TOML and for what no policy says.
    pub fn parse(text: &str) -> Result<Policy, ParseError> {
        let (start, message) = match toml::parse(text).and_then(|table| policy(&table)) {
            Ok(policy) => return Ok(policy),
            Err(fault) => fault,
        };
        Err(at(text, start, &message))
    }
}

/// What is wrong `start` bytes into the text.
pub(super) fn at(text: &str, start: usize, message: &str) -> ParseError {
    let before = text.get(..start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ParseError {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: printable(message),
    }
}

/// A message quotes the file: control characters in it must neither break the line nor reach a terminal.
fn printable(message: &str) -> String {
    message.chars().fold(String::new(), |mut line, character| {
        if character.is_control() {
            line.extend(character.escape_default())
        } else {
            line.push(character)
        }
        line
    })
}

fn fault<T>(value: &Value, expected: &str) -> Result<T, Fault> {
    Err(found(value, expected))
}

/// Out of line, and one for all types: there are many faults, and none is ever in a hurry.
#[cold]
#[inline(never)]
fn found(value: &Value, expected: &str) -> Fault {
    let found = match value.get_ref() {
        Data::Text(text) => format!("\"{text}\""),
        Data::Bare(word) => word.clone(),
        Data::Array(_) => "array".into(),
        Data::Table(_) => "table".into(),
    };
    (value.start(), format!("found {found}, expected {expected}"))
}

#[cold]
#[inline(never)]
fn unknown(key: &Key, known: &str) -> Fault {
    (key.start(), format!("unknown key \"{}\", expected one of {known}", key.get_ref()))
}

fn policy(table: &Table) -> Result<Policy, Fault> {
    let mut policy = Policy::default();
    for (key, value) in table.iter() {
        match key.get_ref().as_str() {
            "dry-run" => policy.dry_run = boolean(value)?,
            "forbid-world-access" => policy.forbid_world_access = boolean(value)?,
            "quota" => quotas(self::table(value, "a table of quotas")?, &mut policy)?,
            "rule" => {
                let Data::Array(list) = value.get_ref() else { return fault(value, "[[rule]] tables") };
                if list.len() > MOST_RULES {
                    return Err((value.start(), format!("{} rules, at most {MOST_RULES} are possible", list.len())));
                }
                for (at, one) in list.iter().enumerate() {
                    policy.rules.push(rule(one, at)?);
                }
            }
            _ => return Err(unknown(key, "dry-run, forbid-world-access, quota, rule")),
        }
    }
    Ok(policy)
}

fn quotas(table: &Table, policy: &mut Policy) -> Result<(), Fault> {
    for (key, value) in table.iter() {
        match key.get_ref().as_str() {
            "segment" => {
                for (key, value) in self::table(value, "a table with size")?.iter() {
                    match key.get_ref().as_str() {
                        "size" => policy.segment_size = Some(bytes(value)?),
                        _ => return Err(unknown(key, "size")),
                    }
                }
            }
            "process" => policy.process = quota(value)?,
            "session" => policy.session = quota(value)?,
            _ => return Err(unknown(key, "segment, process, session")),
        }
    }
    Ok(())
}

fn quota(value: &Value) -> Result<Quota, Fault> {
    let mut quota = Quota::default();
    for (key, value) in table(value, "a table of bytes, segments, attaches")?.iter() {
        match key.get_ref().as_str() {
            "bytes" => quota.bytes = Some(bytes(value)?),
            "segments" => quota.segments = Some(count(value)?),
            "attaches" => quota.attaches = Some(count(value)?),
            _ => return Err(unknown(key, "bytes, segments, attaches")),
        }
    }
    Ok(quota)
}

fn rule(value: &Value, at: usize) -> Result<Rule, Fault> {
    let mut rule = Rule {
        name: format!("rule {}", at + 1),
        calls: Vec::new(),
        keys: Vec::new(),
        mode: None,
        size: None,
        uids: Vec::new(),
        exes: Vec::new(),
        commands: Vec::new(),
        action: Action::Allow,
    };
    let (mut action, mut errno, mut mask) = (None, None, None);
    for (key, value) in table(value, "a [[rule]] table")?.iter() {
        match key.get_ref().as_str() {
            "name" => rule.name = string(value, "a name")?.to_owned(),
            "call" => rule.calls = list(value, call)?,
            "key" => rule.keys = list(value, key_range)?,
            "mode" => rule.mode = Some(mode_bits(value)?),
            "size" => rule.size = Some(size_range(value)?),
            "uid" => rule.uids = list(value, uid)?,
            "exe" => rule.exes = list(value, |value| string(value, "a path or glob").map(str::to_owned))?,
            "cmd" => rule.commands = list(value, command)?,
            "action" => action = Some(value),
            "errno" => errno = Some(value),
            "mask" => mask = Some(value),
            _ => return Err(unknown(key, "name, call, key, mode, size, uid, exe, cmd, action, errno, mask")),
        }
    }
    let actions = "\"deny\", \"allow\", \"mask\" or \"log\"";
    let Some(action) = action else {
        return Err((value.start(), format!("a rule without action, expected action = {actions}")));
    };
    rule.action = match string(action, actions)? {
        "allow" => Action::Allow,
        "log" => Action::Log,
        "deny" => Action::Deny(errno.map_or(Ok(Errno::EACCES), errno_name)?),
        "mask" => match mask {
            Some(mask) => Action::Mask(mode_bits(mask)?),
            None => return Err((action.start(), "action \"mask\" without mask, expected mask = \"0007\" or the like".into())),
        },
        _ => return fault(action, actions),
    };
    if let (Some(errno), false) = (errno, matches!(rule.action, Action::Deny(_))) {
        return Err((errno.start(), "errno is for action \"deny\" only".into()));
    }
    if let (Some(mask), false) = (mask, matches!(rule.action, Action::Mask(_))) {
        return Err((mask.start(), "mask is for action \"mask\" only".into()));
    }
    Ok(rule)
}

fn table<'a>(value: &'a Value, expected: &str) -> Result<&'a Table, Fault> {
    if let Data::Table(table) = value.get_ref() { Ok(table) } else { fault(value, expected) }
}

fn string<'a>(value: &'a Value, expected: &str) -> Result<&'a str, Fault> {
    if let Data::Text(text) = value.get_ref() { Ok(text) } else { fault(value, expected) }
}

fn bare(value: &Value) -> Option<&str> {
    if let Data::Bare(word) = value.get_ref() { Some(word) } else { None }
}

fn boolean(value: &Value) -> Result<bool, Fault> {
    match bare(value) {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => fault(value, "true or false"),
    }
}

/// One value or an array of them.
fn list<T>(value: &Value, one: impl Fn(&Value) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let values = match value.get_ref() {
        Data::Array(values) => values,
        _ => core::slice::from_ref(value),
    };
    let mut all = Vec::new();
    for value in values {
        all.push(one(value)?);
    }
    if all.is_empty() { fault(value, "at least one value") } else { Ok(all) }
}

/// A TOML integer that is not negative, in any radix that TOML has.
fn integer(value: &Value) -> Option<u64> {
    let word = bare(value)?;
    let (digits, radix) = match word.split_at_checked(2) {
        Some(("0x", digits)) => (digits, 16),
        Some(("0o", digits)) => (digits, 8),
        Some(("0b", digits)) => (digits, 2),
        _ => (word.strip_prefix('+').unwrap_or(word), 10),
    };
    let is_padded = radix == 10 && digits.len() > 1 && digits.starts_with('0');
    // An underscore is between digits.
    if is_padded || digits.split('_').any(|part| !part.starts_with(|c: char| c.is_ascii_hexdigit())) {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

fn count(value: &Value) -> Result<u64, Fault> {
    integer(value).map_or_else(|| fault(value, "a whole number, 0 or more"), Ok)
}

fn bytes(value: &Value) -> Result<u64, Fault> {
    let number = match value.get_ref() {
        Data::Text(text) => size::parse(text).ok(),
        _ => integer(value),
    };
    number.map_or_else(|| fault(value, "a size such as 4096, \"64K\" or \"1GiB\""), Ok)
}

fn uid(value: &Value) -> Result<u32, Fault> {
    integer(value).and_then(|uid| u32::try_from(uid).ok()).map_or_else(|| fault(value, "a numeric user id"), Ok)
}

fn call(value: &Value) -> Result<CallKind, Fault> {
    let expected = "shmget, shmat, shmdt, shmctl or ftok";
    let name = string(value, expected)?;
    CallKind::ALL.into_iter().find(|kind| kind.name() == name).map_or_else(|| fault(value, expected), Ok)
}

fn command(value: &Value) -> Result<i32, Fault> {
    let expected = "a shmctl command such as \"IPC_RMID\"";
    names::shmctl_command_from_name(string(value, expected)?).map_or_else(|| fault(value, expected), Ok)
}

fn errno_name(value: &Value) -> Result<Errno, Fault> {
    let expected = "an errno name such as \"EACCES\"";
    Errno::from_name(string(value, expected)?).map_or_else(|| fault(value, expected), Ok)
}

/// Permission bits: a TOML octal number, or octal digits in a string.
fn mode_bits(value: &Value) -> Result<u16, Fault> {
    let bits = match value.get_ref() {
        Data::Text(text) => u64::from_str_radix(text, 8).ok(),
        // A plain 666 is surely meant as octal, and would be taken as decimal.
        Data::Bare(word) if word.starts_with("0o") || word == "0" => integer(value),
        _ => None,
    };
    let bits = bits.filter(|&bits| bits <= 0o777);
    bits.map_or_else(|| fault(value, "permission bits in octal, such as \"0006\" or 0o006"), |bits| Ok(bits as u16))
}

fn key_range(value: &Value) -> Result<RangeInclusive<u32>, Fault> {
    fn key(text: &str) -> Option<u32> {
        match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }
    }
    let range = match value.get_ref() {
        Data::Text(text) => match text.split_once('-') {
            _ if text == "private" => Some(0..=0),
            Some((first, last)) => key(first).zip(key(last)).map(|(first, last)| first..=last),
            None => key(text).map(|key| key..=key),
        },
        _ => integer(value).and_then(|key| u32::try_from(key).ok()).map(|key| key..=key),
    };
    let range = range.filter(|range| !range.is_empty());
    range.map_or_else(|| fault(value, "a key such as 0x5e000001, \"private\", or a range \"0x1000-0x1fff\""), Ok)
}

fn size_range(value: &Value) -> Result<RangeInclusive<u64>, Fault> {
    let (mut min, mut max) = (0, u64::MAX);
    for (key, value) in table(value, "a table such as { min = \"1M\", max = \"1G\" }")?.iter() {
        match key.get_ref().as_str() {
            "min" => min = bytes(value)?,
            "max" => max = bytes(value)?,
            _ => return Err(unknown(key, "min, max")),
        }
    }
    if min > max { Err((value.start(), "min is above max".into())) } else { Ok(min..=max) }
}

#[cfg(test)]
mod tests;
