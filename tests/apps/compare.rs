//! Holds the journal against strace: thread by thread the same calls, in the same order, with the same arguments and
//! results. Between threads only strace's order is known, and the journal need not agree with it.
//!
//! Two differences are the gate's own way of keeping a policy: see [`found_or_created`] and [`set_from_a_copy`]. A third, the
//! question whether there is anything to replace: see [`is_probe`].

use std::collections::BTreeMap;

use crate::call::{Args, Call};

const CREAT: u32 = libc::IPC_CREAT as u32;
const EXCL: u32 = libc::IPC_EXCL as u32;

/// Compares, and returns how many records there were.
///
/// # Errors
/// The first difference of each thread that has one.
pub fn compare(kernel: &[Call], journal: &[Call]) -> Result<usize, String> {
    let (kernel, journal_of) = (by_thread(kernel), by_thread(journal));
    let mut threads: Vec<u32> = kernel.keys().chain(journal_of.keys()).copied().collect();
    threads.sort_unstable();
    threads.dedup();
    let differences: Vec<String> = threads
        .iter()
        .filter_map(|tid| {
            let asked = kernel.get(tid).map_or(&[][..], Vec::as_slice);
            let told = journal_of.get(tid).map_or(&[][..], Vec::as_slice);
            compare_thread(asked, told).err()
        })
        .collect();
    if differences.is_empty() { Ok(journal.len()) } else { Err(differences.join("\n")) }
}

fn by_thread(calls: &[Call]) -> BTreeMap<u32, Vec<Call>> {
    let mut threads: BTreeMap<u32, Vec<Call>> = BTreeMap::new();
    for call in calls {
        threads.entry(call.tid).or_default().push(call.clone());
    }
    threads
}

fn compare_thread(mut kernel: &[Call], journal: &[Call]) -> Result<(), String> {
    for (done, record) in journal.iter().enumerate() {
        let mut next = taken(record, kernel);
        while next.is_none() && kernel.first().is_some_and(is_probe) {
            kernel = &kernel[1..];
            next = taken(record, kernel);
        }
        let Some(taken) = next else {
            let asked = kernel.first().map_or("nothing more".to_owned(), Call::to_string);
            return Err(format!("record {done} of its thread:\n  journal {record}\n  strace  {asked}"));
        };
        kernel = &kernel[taken..];
    }
    // A thread that died inside a call may have left no record of it.
    match kernel.iter().find(|call| call.answer.is_some() && !is_probe(call)) {
        Some(call) => Err(format!("missing in the journal ({} calls from here on): {call}", kernel.len())),
        None => Ok(()),
    }
}

/// How many of the kernel's next calls this record stands for; None if it does not fit.
fn taken(record: &Call, kernel: &[Call]) -> Option<usize> {
    let next = kernel.first()?;
    if next == record || (next.answer.is_none() && next.args == record.args) {
        return Some(1);
    }
    match record.args {
        Args::Shmctl { cmd: libc::IPC_SET, .. } => set_from_a_copy(record, next).then_some(1),
        Args::Shmget { key, size, flags } if key != libc::IPC_PRIVATE as u32 && flags & CREAT != 0 && flags & EXCL == 0 => {
            found_or_created(record, kernel, key, size, flags)
        }
        _ => None,
    }
}

/// A quota must know whether a shmget makes a segment, and `IPC_CREAT` alone does not say. With quotas on the gate
/// asks in two steps: a look-up without `IPC_CREAT`, and where that finds nothing, a creation with `IPC_EXCL`; where
/// somebody else was quicker, again from the start. The program made one call and gets the last step's answer.
fn found_or_created(record: &Call, kernel: &[Call], key: u32, size: u64, flags: u32) -> Option<usize> {
    let is = |call: &Call, flags| call.args == Args::Shmget { key, size, flags };
    let failed = |call: &Call, errno: &str| matches!(&call.answer, Some(Err(name)) if name == errno);
    let mut taken = 0;
    loop {
        let look_up = kernel.get(taken).filter(|call| is(call, flags & !CREAT))?;
        taken += 1;
        if !failed(look_up, "ENOENT") {
            return (look_up.answer == record.answer).then_some(taken);
        }
        let creation = kernel.get(taken).filter(|call| is(call, flags | EXCL))?;
        taken += 1;
        if !failed(creation, "EEXIST") {
            return (creation.answer == record.answer).then_some(taken);
        }
    }
}

/// What a policy says of an `IPC_SET` holds only if the host's buffer can't change between the check and the call: the
/// gate hands the kernel a copy, and the journal names the host's own buffer. Everything else must be equal.
fn set_from_a_copy(record: &Call, kernel: &Call) -> bool {
    match (&record.args, &kernel.args) {
        (&Args::Shmctl { shmid, cmd, buf: own }, &Args::Shmctl { shmid: asked, cmd: same, buf: copy }) => {
            (shmid, cmd) == (asked, same)
                && own != 0
                && copy != 0
                && (kernel.answer.is_none() || kernel.answer == record.answer)
        }
        _ => false,
    }
}

/// Where the backend is yet to be found out (`auto`), and the host opens a file of /proc that the userspace one has too, the gate asks the
/// kernel for its limits: an `IPC_INFO` that the program did not make.
fn is_probe(kernel: &Call) -> bool {
    const IPC_INFO: i32 = 3;
    matches!(kernel.args, Args::Shmctl { shmid: 0, cmd: IPC_INFO, buf } if buf != 0) && matches!(kernel.answer, Some(Ok(_)))
}
