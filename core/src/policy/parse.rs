//! The policy file: TOML in, a [`Policy`] or one line that says what is wrong and where.

use core::fmt;
use core::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

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

/// What is wrong, and the bytes it is about.
type Fault = (Range<usize>, String);
type Value<'i> = Spanned<DeValue<'i>>;

/// A denial's errno, and the index of a rule, are 16 bits in a record.
const MOST_RULES: usize = 4096;

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`ParseError`], for text that is not TOML and for what no policy says.
    pub fn parse(text: &str) -> Result<Policy, ParseError> {
        let fault = match DeTable::parse(text) {
            Ok(table) => match policy(table.get_ref()) {
                Ok(policy) => return Ok(policy),
                Err(fault) => fault,
            },
            Err(error) => (error.span().unwrap_or(0..0), error.message().replace('\n', ", ")),
        };
        let (span, message) = fault;
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Err(ParseError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: printable(&message),
        })
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

fn fault<T>(value: &Value<'_>, expected: &str) -> Result<T, Fault> {
    let found = match value.get_ref() {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.as_str().to_owned(),
        other => other.type_str().to_owned(),
    };
    Err((value.span(), format!("found {found}, expected {expected}")))
}

fn unknown<T>(key: &Spanned<std::borrow::Cow<'_, str>>, known: &str) -> Result<T, Fault> {
    Err((key.span(), format!("unknown key \"{}\", expected one of {known}", key.get_ref())))
}

fn policy(table: &DeTable<'_>) -> Result<Policy, Fault> {
    let mut policy = Policy::default();
    for (key, value) in table.iter() {
        match key.get_ref().as_ref() {
            "dry-run" => policy.dry_run = boolean(value)?,
            "forbid-world-access" => policy.forbid_world_access = boolean(value)?,
            "quota" => quotas(self::table(value, "a table of quotas")?, &mut policy)?,
            "rule" => {
                let DeValue::Array(list) = value.get_ref() else { return fault(value, "[[rule]] tables") };
                if list.len() > MOST_RULES {
                    return Err((value.span(), format!("{} rules, at most {MOST_RULES} are possible", list.len())));
                }
                for (at, one) in list.iter().enumerate() {
                    policy.rules.push(rule(one, at)?);
                }
            }
            _ => return unknown(key, "dry-run, forbid-world-access, quota, rule"),
        }
    }
    Ok(policy)
}

fn quotas(table: &DeTable<'_>, policy: &mut Policy) -> Result<(), Fault> {
    for (key, value) in table.iter() {
        match key.get_ref().as_ref() {
            "segment" => {
                for (key, value) in self::table(value, "a table with size")?.iter() {
                    match key.get_ref().as_ref() {
                        "size" => policy.segment_size = Some(bytes(value)?),
                        _ => return unknown(key, "size"),
                    }
                }
            }
            "process" => policy.process = quota(value)?,
            "session" => policy.session = quota(value)?,
            _ => return unknown(key, "segment, process, session"),
        }
    }
    Ok(())
}

fn quota(value: &Value<'_>) -> Result<Quota, Fault> {
    let mut quota = Quota::default();
    for (key, value) in table(value, "a table of bytes, segments, attaches")?.iter() {
        match key.get_ref().as_ref() {
            "bytes" => quota.bytes = Some(bytes(value)?),
            "segments" => quota.segments = Some(count(value)?),
            "attaches" => quota.attaches = Some(count(value)?),
            _ => return unknown(key, "bytes, segments, attaches"),
        }
    }
    Ok(quota)
}

fn rule(value: &Value<'_>, at: usize) -> Result<Rule, Fault> {
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
        match key.get_ref().as_ref() {
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
            _ => return unknown(key, "name, call, key, mode, size, uid, exe, cmd, action, errno, mask"),
        }
    }
    let actions = "\"deny\", \"allow\", \"mask\" or \"log\"";
    let Some(action) = action else {
        return Err((value.span(), format!("a rule without action, expected action = {actions}")));
    };
    rule.action = match string(action, actions)? {
        "allow" => Action::Allow,
        "log" => Action::Log,
        "deny" => Action::Deny(errno.map_or(Ok(Errno::EACCES), errno_name)?),
        "mask" => match mask {
            Some(mask) => Action::Mask(mode_bits(mask)?),
            None => return Err((action.span(), "action \"mask\" without mask, expected mask = \"0007\" or the like".into())),
        },
        _ => return fault(action, actions),
    };
    if let (Some(errno), false) = (errno, matches!(rule.action, Action::Deny(_))) {
        return Err((errno.span(), "errno is for action \"deny\" only".into()));
    }
    if let (Some(mask), false) = (mask, matches!(rule.action, Action::Mask(_))) {
        return Err((mask.span(), "mask is for action \"mask\" only".into()));
    }
    Ok(rule)
}

fn table<'a, 'i>(value: &'a Value<'i>, expected: &str) -> Result<&'a DeTable<'i>, Fault> {
    value.get_ref().as_table().map_or_else(|| fault(value, expected), Ok)
}

fn string<'a>(value: &'a Value<'_>, expected: &str) -> Result<&'a str, Fault> {
    value.get_ref().as_str().map_or_else(|| fault(value, expected), Ok)
}

fn boolean(value: &Value<'_>) -> Result<bool, Fault> {
    value.get_ref().as_bool().map_or_else(|| fault(value, "true or false"), Ok)
}

/// One value or an array of them.
fn list<T>(value: &Value<'_>, one: impl Fn(&Value<'_>) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    match value.get_ref() {
        DeValue::Array(values) if values.is_empty() => fault(value, "at least one value"),
        DeValue::Array(values) => values.iter().map(one).collect(),
        _ => Ok(vec![one(value)?]),
    }
}

/// A TOML integer that is not negative, in any radix that TOML has.
fn integer(value: &Value<'_>) -> Option<u64> {
    let number = value.get_ref().as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn count(value: &Value<'_>) -> Result<u64, Fault> {
    integer(value).map_or_else(|| fault(value, "a whole number, 0 or more"), Ok)
}

fn bytes(value: &Value<'_>) -> Result<u64, Fault> {
    let number = match value.get_ref() {
        DeValue::String(text) => size::parse(text).ok(),
        _ => integer(value),
    };
    number.map_or_else(|| fault(value, "a size such as 4096, \"64K\" or \"1GiB\""), Ok)
}

fn uid(value: &Value<'_>) -> Result<u32, Fault> {
    integer(value).and_then(|uid| u32::try_from(uid).ok()).map_or_else(|| fault(value, "a numeric user id"), Ok)
}

fn call(value: &Value<'_>) -> Result<CallKind, Fault> {
    let expected = "shmget, shmat, shmdt, shmctl or ftok";
    let name = string(value, expected)?;
    CallKind::ALL.into_iter().find(|kind| kind.name() == name).map_or_else(|| fault(value, expected), Ok)
}

fn command(value: &Value<'_>) -> Result<i32, Fault> {
    let expected = "a shmctl command such as \"IPC_RMID\"";
    names::shmctl_command_from_name(string(value, expected)?).map_or_else(|| fault(value, expected), Ok)
}

fn errno_name(value: &Value<'_>) -> Result<Errno, Fault> {
    let expected = "an errno name such as \"EACCES\"";
    Errno::from_name(string(value, expected)?).map_or_else(|| fault(value, expected), Ok)
}

/// Permission bits: a TOML octal number, or octal digits in a string.
fn mode_bits(value: &Value<'_>) -> Result<u16, Fault> {
    let bits = match value.get_ref() {
        DeValue::String(text) => u64::from_str_radix(text, 8).ok(),
        // A plain 666 is surely meant as octal, and would be taken as decimal.
        DeValue::Integer(number) if number.radix() == 8 || number.as_str() == "0" => integer(value),
        _ => None,
    };
    let bits = bits.filter(|&bits| bits <= 0o777);
    bits.map_or_else(|| fault(value, "permission bits in octal, such as \"0006\" or 0o006"), |bits| Ok(bits as u16))
}

fn key_range(value: &Value<'_>) -> Result<RangeInclusive<u32>, Fault> {
    fn key(text: &str) -> Option<u32> {
        match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }
    }
    let range = match value.get_ref() {
        DeValue::String(text) => match text.split_once('-') {
            _ if text == "private" => Some(0..=0),
            Some((first, last)) => key(first).zip(key(last)).map(|(first, last)| first..=last),
            None => key(text).map(|key| key..=key),
        },
        _ => integer(value).and_then(|key| u32::try_from(key).ok()).map(|key| key..=key),
    };
    let range = range.filter(|range| !range.is_empty());
    range.map_or_else(|| fault(value, "a key such as 0x5e000001, \"private\", or a range \"0x1000-0x1fff\""), Ok)
}

fn size_range(value: &Value<'_>) -> Result<RangeInclusive<u64>, Fault> {
    let (mut min, mut max) = (0, u64::MAX);
    for (key, value) in table(value, "a table such as { min = \"1M\", max = \"1G\" }")?.iter() {
        match key.get_ref().as_ref() {
            "min" => min = bytes(value)?,
            "max" => max = bytes(value)?,
            _ => return unknown(key, "min, max"),
        }
    }
    if min > max { fault(value, "a min that is not above max") } else { Ok(min..=max) }
}

#[cfg(test)]
mod tests;
