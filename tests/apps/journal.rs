//! Reads a session's journal as `shmgate log SESSION --json` prints it: one object a line, schema 1.

use serde_json::Value;
use shmgate_core::names::SHM_ADVICE;

use crate::call::{Answer, Args, Call};

/// The commands that the journal writes by name; any other is written as its number.
const COMMANDS: [(&str, i32); 9] = [
    ("IPC_RMID", libc::IPC_RMID),
    ("IPC_SET", libc::IPC_SET),
    ("IPC_STAT", libc::IPC_STAT),
    ("IPC_INFO", 3),
    ("SHM_LOCK", 11),
    ("SHM_UNLOCK", 12),
    ("SHM_STAT", 13),
    ("SHM_INFO", 14),
    ("SHM_STAT_ANY", 15),
];

/// One record.
#[derive(Debug)]
pub struct Record {
    /// The name of the call, ftok among them.
    pub name: String,
    /// The call as the kernel was asked; ftok asks it nothing of this kind.
    pub call: Option<Call>,
    pub tid: u32,
    pub uid: u32,
    pub exe: String,
    pub backend: String,
    pub verdict: String,
    /// Why it was denied or changed, empty if it was not.
    pub reason: String,
}

/// Parses all records, in the journal's order.
pub fn parse(lines: &str) -> Result<Vec<Record>, String> {
    lines.lines().map(|line| record(line).map_err(|why| format!("journal: {why}: {line}"))).collect()
}

fn record(line: &str) -> Result<Record, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if integer(&value["schema"])? != 1 {
        return Err("another schema".to_owned());
    }
    let name = string(&value["call"])?;
    let tid = integer(&value["tid"])? as u32;
    let call = match args(&name, &value["args"])? {
        Some(args) => Some(Call { tid, args, answer: Some(answer(&value)?) }),
        None => None,
    };
    Ok(Record {
        name,
        call,
        tid,
        uid: integer(&value["uid"])? as u32,
        exe: string(&value["exe"])?,
        backend: string(&value["backend"])?,
        verdict: string(&value["verdict"])?,
        reason: value["reason"].as_str().unwrap_or_default().to_owned(),
    })
}

fn args(name: &str, args: &Value) -> Result<Option<Args>, String> {
    Ok(Some(match name {
        "shmget" => Args::Shmget {
            key: hex(&args["key"])? as u32,
            size: args["size"].as_u64().ok_or("no size")?,
            // AIX's words are kept from the kernel; stress-ng sets all bits.
            flags: integer(&args["flags"])? as u32 & !(SHM_ADVICE as u32),
        },
        "shmat" => Args::Shmat {
            shmid: integer(&args["shmid"])? as i32,
            addr: hex(&args["addr"])?,
            flags: integer(&args["flags"])? as u32,
        },
        "shmdt" => Args::Shmdt { addr: hex(&args["addr"])? },
        "shmctl" => {
            Args::Shmctl { shmid: integer(&args["shmid"])? as i32, cmd: command(&args["cmd"])?, buf: hex(&args["buf"])? }
        }
        "ftok" => return Ok(None),
        _ => return Err("a call that nobody knows".to_owned()),
    }))
}

fn answer(record: &Value) -> Result<Answer, String> {
    if !record["errno"].is_null() {
        return Ok(Err(string(&record["errno"])?));
    }
    let result = &record["result"];
    if result.is_string() { hex(result).map(Ok) } else { Ok(Ok(integer(result)? as u64)) }
}

fn command(value: &Value) -> Result<i32, String> {
    let text = string(value)?;
    match COMMANDS.iter().find(|(name, _)| *name == text) {
        Some((_, number)) => Ok(*number),
        None => text.parse().map_err(|_| format!("not a command: {text}")),
    }
}

fn integer(value: &Value) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| format!("not an integer: {value}"))
}

fn string(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("not a string: {value}"))
}

fn hex(value: &Value) -> Result<u64, String> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or_else(|| format!("not a 0x number: {value}"))
}
