//! Reads what `strace -f -o FILE -e raw=shmget,shmat,shmdt,shmctl` wrote: arguments and values come as numbers, so
//! nothing depends on how a version of strace spells a flag. A call that another thread's line cut in two is joined.

use std::collections::HashMap;

use crate::call::{Answer, Args, Call};

/// The system calls to trace; execve says which program a thread runs.
pub const OPTIONS: [&str; 6] =
    ["-f", "-q", "-e", "signal=none", "-eraw=shmget,shmat,shmdt,shmctl", "-etrace=shmget,shmat,shmdt,shmctl,execve"];

/// What strace saw.
#[derive(Debug, Default)]
pub struct Trace {
    /// The calls, each where it returned; those that never returned come last.
    pub calls: Vec<Call>,
    /// The program that each thread started last.
    pub programs: HashMap<u32, String>,
    /// The thread of the first line: the command that strace itself started.
    pub first: u32,
}

/// Parses the whole of a trace.
pub fn parse(text: &str) -> Result<Trace, String> {
    let mut trace = Trace::default();
    let mut waiting: HashMap<u32, Args> = HashMap::new();
    for line in text.lines() {
        parse_line(line, &mut trace, &mut waiting).map_err(|why| format!("strace: {why}: {line}"))?;
    }
    let mut cut: Vec<_> = waiting.into_iter().collect();
    cut.sort_by_key(|(tid, _)| *tid);
    trace.calls.extend(cut.into_iter().map(|(tid, args)| Call { tid, args, answer: None }));
    Ok(trace)
}

fn parse_line(line: &str, trace: &mut Trace, waiting: &mut HashMap<u32, Args>) -> Result<(), String> {
    let (tid, event) = line.split_once(' ').ok_or("no thread id")?;
    let tid: u32 = tid.parse().map_err(|_| "no thread id")?;
    let event = event.trim_start();
    if trace.first == 0 {
        trace.first = tid;
    }
    if let Some(resumed) = event.strip_prefix("<... ") {
        if let Some((_, rest)) = resumed.strip_prefix("shm").and_then(|call| call.split_once(" resumed>")) {
            let args = waiting.remove(&tid).ok_or("the end of a call that did not begin")?;
            trace.calls.push(Call { tid, args, answer: answer(rest)? });
        }
        return Ok(());
    }
    if let Some(command) = event.strip_prefix("execve(\"") {
        let program = command.split('"').next().unwrap_or_default();
        // An attempt that failed is one of a search through PATH.
        if !event.contains(" = -1 ") {
            trace.programs.insert(tid, program.to_owned());
        }
        return Ok(());
    }
    if !event.starts_with("shm") {
        return Ok(());
    }
    let (name, rest) = event.split_once('(').ok_or("no arguments")?;
    if let Some(list) = rest.strip_suffix(" <unfinished ...>") {
        waiting.insert(tid, args(name, list)?);
        return Ok(());
    }
    let (list, rest) = rest.split_once(')').ok_or("no end of the arguments")?;
    let call = Call { tid, args: args(name, list)?, answer: answer(rest)? };
    trace.calls.push(call);
    Ok(())
}

/// `0x1234, 0x1000, 0x3b6` as the arguments of a call; the kernel takes the low half of what is an int.
fn args(name: &str, list: &str) -> Result<Args, String> {
    let values = list.split(", ").map(number).collect::<Result<Vec<u64>, String>>()?;
    match (name, values[..].as_ref()) {
        ("shmget", &[key, size, flags]) => Ok(Args::Shmget { key: key as u32, size, flags: flags as u32 }),
        ("shmat", &[shmid, addr, flags]) => Ok(Args::Shmat { shmid: shmid as i32, addr, flags: flags as u32 }),
        ("shmdt", &[addr]) => Ok(Args::Shmdt { addr }),
        ("shmctl", &[shmid, cmd, buf]) => Ok(Args::Shmctl { shmid: shmid as i32, cmd: cmd as i32, buf }),
        _ => Err(format!("unexpected arguments of {name}")),
    }
}

/// What stands behind a call's closing parenthesis: ` = 0x7f00`, ` = -1 ENOENT (No such file)`, ` = ?`.
fn answer(rest: &str) -> Result<Option<Answer>, String> {
    let (_, value) = rest.split_once("= ").ok_or("no result")?;
    if value.starts_with('?') {
        return Ok(None);
    }
    if let Some(error) = value.strip_prefix("-1 ") {
        let name = error.split(' ').next().unwrap_or_default();
        return Ok(Some(Err(name.to_owned())));
    }
    number(value).map(|value| Some(Ok(value)))
}

fn number(text: &str) -> Result<u64, String> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|_| format!("not a number: {text:?}"))
}
