//! The userspace backend against the kernel's own calls: the C benchmark on either in turn, as in `calls`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::calls::parse;
use crate::setup::output;
use crate::stats::Spread;
use crate::table::Table;
use crate::{Fault, Paths};

const BATCH: &str = "8192";
/// Pairs of runs of everything, and of what takes longer.
const ROUNDS: usize = 31;
const FEWER_ROUNDS: usize = 11;
/// Segments beside the one that is measured, and other processes that have it attached.
const SEGMENTS: &str = "30000";
const OTHERS: &str = "10";
const MANY_OTHERS: &str = "1000";

/// A call's name, what people call it, and its bound against the kernel's.
const AGAINST_KERNEL: [(&str, &str, f64); 6] = [
    ("shmget", "shmget, existing key, flags 0", 0.25),
    ("shmget-0600", "shmget, existing key, 0600", 0.8),
    ("ipc-stat", "IPC_STAT, only the caller attached", 0.8),
    ("attach-detach", "attach + detach", 1.0),
    ("create-remove", "create + remove, never attached", 0.3),
    ("whole-life", "create, attach, touch, remove, detach", 1.1),
];
const OTHERS_BOUND: f64 = 15.0;
const FULL_BOUND: f64 = 1.2;
const MANY_OTHERS_BOUND: f64 = 1.3;

/// A namespace of our own in memory, gone when dropped.
struct Namespace<'a> {
    paths: &'a Paths,
    dir: PathBuf,
}

impl<'a> Namespace<'a> {
    fn new(paths: &'a Paths, name: &str) -> Result<Namespace<'a>, Fault> {
        let memory =
            fs::canonicalize(paths.work.join("memory")).map_err(|error| format!("{}/memory: {error}", paths.work.display()))?;
        let dir = memory.join(name);
        let mut create = Command::new(&paths.command);
        create.args(["namespace", "create", "--shmmni", "32768"]).arg(&dir);
        let namespace = Namespace { paths, dir };
        output(create)?;
        Ok(namespace)
    }

    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = kernel(self.paths, arguments);
        command.env("LD_PRELOAD", &self.paths.library).env("SHMGATE_BACKEND", "userspace").env("SHMGATE_NAMESPACE", &self.dir);
        command
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn kernel(paths: &Paths, arguments: &[&str]) -> Command {
    let mut command = Command::new(&paths.calls);
    command.args(arguments);
    command
}

/// The ratios of `second` to `first`, by call, of runs in turn.
fn ratios(
    rounds: usize,
    calls: &[&'static str],
    first: &dyn Fn() -> Command,
    second: &dyn Fn() -> Command,
) -> Result<Vec<(Spread, f64)>, Fault> {
    let mut pairs = Vec::new();
    for round in 0..rounds {
        let run = |command: Command| output(command).map(|text| parse(&text));
        pairs.push(if round % 2 == 0 {
            let one = run(first())?;
            (one, run(second())?)
        } else {
            let two = run(second())?;
            (run(first())?, two)
        });
    }
    let of = |call: &&str| {
        let both = pairs.iter().filter_map(|(one, two)| Some((*one.get(*call)?, *two.get(*call)?)));
        let (ratios, times): (Vec<f64>, Vec<f64>) = both.map(|(one, two)| (two / one, two)).unzip();
        (Spread::of(&ratios), Spread::of(&times).median)
    };
    Ok(calls.iter().map(of).collect())
}

/// The table: what was compared, its bound, what came out.
pub fn measure(paths: &Paths) -> Result<Table, Fault> {
    let mut table = Table::new(["", "bound", "measured", "ns", "met"]);
    let mut row = |what: &str, against: &str, most: f64, (ratio, ns): (Spread, f64)| {
        let Spread { low, median, high } = ratio;
        table.row([
            what.to_owned(),
            format!("<= {most} x {against}"),
            format!("{median:.2}x (half of the runs {low:.2} to {high:.2})"),
            format!("{ns:.0}"),
            if median <= most { "yes" } else { "NO" }.to_owned(),
        ]);
    };
    let calls = AGAINST_KERNEL.map(|(call, _, _)| call);
    let all = ["measure", BATCH];
    let one = Namespace::new(paths, "one")?;
    let own = || one.run(&all);
    for ((_, title, most), found) in AGAINST_KERNEL.into_iter().zip(ratios(ROUNDS, &calls, &|| kernel(paths, &all), &own)?) {
        row(title, "kernel", most, found);
    }

    let among = ["among", OTHERS, BATCH, "ipc-stat"];
    let found = ratios(FEWER_ROUNDS, &["ipc-stat"], &|| kernel(paths, &among), &|| one.run(&among))?;
    row(&format!("IPC_STAT, {OTHERS} others attached"), "kernel", OTHERS_BOUND, found[0]);

    let full = Namespace::new(paths, "full")?;
    output(full.run(&["fill", SEGMENTS]))?;
    for ((_, title, _), found) in AGAINST_KERNEL.into_iter().zip(ratios(FEWER_ROUNDS, &calls, &own, &|| full.run(&all))?) {
        row(&format!("{title}, among {SEGMENTS} segments"), "with one", FULL_BOUND, found);
    }

    let alone = ["among", "0", BATCH, "attach-detach"];
    let among = ["among", MANY_OTHERS, BATCH, "attach-detach"];
    let found = ratios(FEWER_ROUNDS, &["attach-detach"], &|| one.run(&alone), &|| one.run(&among))?;
    row(&format!("attach + detach, {MANY_OTHERS} others attached"), "alone", MANY_OTHERS_BOUND, found[0]);
    Ok(table)
}
