//! The columns of a list of segments: what each says, in a table and in JSON. Their names are lsipc's where it has them.

use std::ffi::OsStr;
use std::fmt::Write as _;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};

use super::options::Columns;
use super::processes::Who;
use super::survey::Survey;
use super::{Place, Segment};

/// What stands in a column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Nothing,
    Flag(bool),
    Number(u64),
    /// Bytes.
    Size(u64),
    /// Tenths a second.
    Rate(u64),
    /// Seconds.
    Age(u64),
    /// Seconds since the epoch.
    Time(u64),
    Text(String),
    /// A process: its pid (0: not told), its name while it lives, and whether it is gone.
    Process(u64, Option<String>, bool),
}

/// A column of a list.
#[derive(Debug)]
pub struct Column {
    /// In capitals; JSON has it in small letters.
    pub name: &'static str,
    help: &'static str,
    /// Numbers stand to the right.
    pub is_number: bool,
    pub of: fn(&Segment, &Survey) -> Value,
}

const fn number(name: &'static str, help: &'static str, of: fn(&Segment, &Survey) -> Value) -> Column {
    Column { name, help, is_number: true, of }
}

const fn words(name: &'static str, help: &'static str, of: fn(&Segment, &Survey) -> Value) -> Column {
    Column { name, help, is_number: false, of }
}

/// All of them, in the order of JSON's fields.
pub static ALL: [Column; 33] = [
    words("KEY", "key", |segment, _| Value::Text(format!("{:#010x}", segment.key))),
    number("ID", "id", |segment, _| Value::Number(segment.id.cast_unsigned().into())),
    words("PERMS", "permissions", |segment, _| Value::Text(permissions(segment.mode))),
    words("MODE", "the same in octal", |segment, _| Value::Text(format!("{:04o}", segment.mode & 0o777))),
    words("OWNER", "its owner's name", |segment, survey| Value::Text(survey.users.user(segment.uid))),
    number("SIZE", "size", |segment, _| Value::Size(segment.size)),
    number("RSS", "how much of it is in memory", |segment, _| segment.rss.map_or(Value::Nothing, Value::Size)),
    number("SWAP", "how much of it is swapped out", |segment, _| segment.swap.map_or(Value::Nothing, Value::Size)),
    number("NATTCH", "attaches", |segment, _| Value::Number(segment.nattch)),
    words("STATUS", "orphan, dest (removed), locked", |segment, _| status(segment)),
    words("ATTACH", "time of the last attach", |segment, _| time(segment.atime)),
    words("DETACH", "time of the last detach", |segment, _| time(segment.dtime)),
    words("CTIME", "time of its creation, or of the last IPC_SET", |segment, _| time(segment.ctime)),
    number("AGE", "since then", |segment, survey| Value::Age(segment.age(survey.now))),
    number("IDLE", "since it was last created, changed, attached or detached", |segment, survey| {
        Value::Age(segment.idle(survey.now))
    }),
    words("CREATOR", "its creator's pid and name", |segment, _| process(segment.cpid, &segment.creator)),
    words("LAST", "the same of who attached or detached it last", |segment, _| process(segment.lpid, &segment.last)),
    number("CPID", "its creator's pid", |segment, _| Value::Number(segment.cpid.into())),
    number("LPID", "the pid of who attached or detached it last", |segment, _| Value::Number(segment.lpid.into())),
    number("UID", "its owner", |segment, _| Value::Number(segment.uid.into())),
    words("USER", "the same by name", |segment, survey| Value::Text(survey.users.user(segment.uid))),
    number("GID", "its group", |segment, _| Value::Number(segment.gid.into())),
    words("GROUP", "the same by name", |segment, survey| Value::Text(survey.users.group(segment.gid))),
    number("CUID", "its creator's user", |segment, _| Value::Number(segment.cuid.into())),
    words("CUSER", "the same by name", |segment, survey| Value::Text(survey.users.user(segment.cuid))),
    number("CGID", "its creator's group", |segment, _| Value::Number(segment.cgid.into())),
    words("CGROUP", "the same by name", |segment, survey| Value::Text(survey.users.group(segment.cgid))),
    words("BACKEND", "kernel or userspace", |segment, _| Value::Text(backend(segment).into())),
    words("NAMESPACE", "the userspace namespace, - for the kernel", |segment, _| namespace(segment).0),
    words("DIRECTORY", "the userspace namespace's directory", |segment, _| namespace(segment).1),
    words("ORPHAN", "yes if nobody has it attached and its creator is gone", |segment, _| Value::Flag(segment.is_orphan())),
    words("WORLD", "yes if everybody may read or write it", |segment, _| Value::Flag(segment.is_open_to_all())),
    words("COMMAND", "its creator's command line", |segment, _| match &segment.creator {
        Who::Alive(process) => Value::Text(process.command().into()),
        Who::Gone | Who::Unknown => Value::Nothing,
    }),
];

/// The columns of a table for which none were asked.
const USUAL: [&str; 12] =
    ["KEY", "ID", "PERMS", "OWNER", "SIZE", "RSS", "NATTCH", "STATUS", "AGE", "CREATOR", "LAST", "NAMESPACE"];

/// The column with this name, in capitals or not.
pub fn find(name: &str) -> Result<&'static Column, String> {
    ALL.iter()
        .find(|column| column.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| format!("no such column; there are {}", names().join(", ")))
}

/// Reads what an option says of columns, and has completions offer their names: clap's own list of values would refuse small letters, and
/// several columns.
#[derive(Clone)]
pub struct Offering<T: 'static> {
    pub parse: fn(&str) -> Result<T, String>,
    pub names: fn() -> Vec<&'static str>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Offering<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        self.parse.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.names)().into_iter().map(PossibleValue::new)))
    }
}

pub const ONE: Offering<&'static Column> = Offering { parse: find, names };
pub const SEVERAL: Offering<Columns> = Offering { parse, names };

fn names() -> Vec<&'static str> {
    ALL.iter().map(|column| column.name).collect()
}

/// Columns with commas between; with + before the first, the usual ones and these.
pub fn parse(text: &str) -> Result<Columns, String> {
    let (mut columns, names) = match text.strip_prefix('+') {
        Some(names) => (usual(), names),
        None => (Vec::new(), text),
    };
    for name in names.split(',') {
        columns.push(find(name.trim()).map_err(|error| format!("\"{name}\": {error}"))?);
    }
    Ok(Columns(columns))
}

/// The columns of a table.
pub fn usual() -> Vec<&'static Column> {
    USUAL.iter().filter_map(|name| find(name).ok()).collect()
}

/// Help, followed by a list of the columns.
pub fn with_help(examples: &str) -> String {
    let mut text = format!("{examples}\n\nColumns:");
    for column in &ALL {
        let _ = write!(text, "\n  {:9}  {}", column.name, column.help);
    }
    text
}

fn permissions(mode: u32) -> String {
    let bit = |(at, letter): (u32, char)| if mode >> (8 - at) & 1 != 0 { letter } else { '-' };
    (0..9).zip("rwxrwxrwx".chars()).map(bit).collect()
}

fn status(segment: &Segment) -> Value {
    let states = [(segment.is_orphan(), "orphan"), (segment.is_removed(), "dest"), (segment.is_locked(), "locked")];
    let names: Vec<&str> = states.iter().filter(|(is_so, _)| *is_so).map(|(_, name)| *name).collect();
    if names.is_empty() { Value::Nothing } else { Value::Text(names.join(",")) }
}

fn time(seconds: u64) -> Value {
    if seconds == 0 { Value::Nothing } else { Value::Time(seconds) }
}

fn process(pid: u32, who: &Who) -> Value {
    match who {
        Who::Alive(process) => Value::Process(pid.into(), Some(process.name.clone()), false),
        Who::Unknown if pid == 0 => Value::Nothing,
        Who::Unknown => Value::Process(pid.into(), None, false),
        Who::Gone => Value::Process(pid.into(), None, true),
    }
}

fn backend(segment: &Segment) -> &'static str {
    match *segment.place {
        Place::Kernel => "kernel",
        Place::Userspace { .. } => "userspace",
    }
}

/// Name and directory.
fn namespace(segment: &Segment) -> (Value, Value) {
    match &*segment.place {
        Place::Kernel => (Value::Nothing, Value::Nothing),
        Place::Userspace { name, dir } => (Value::Text(name.clone()), Value::Text(dir.to_string_lossy().into_owned())),
    }
}
