//! `make bench`: what shmgate costs, measured plain and gated in turn.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `setup` | a configuration: how a program is started in it, its session or log, and what has to run beside it |
//! | `calls` | the cost of calls: the C benchmark in one configuration after another, many short runs |
//! | `startup` | the cost of a program's start |
//! | `syscalls` | system calls that the gate adds, counted by strace |
//! | `library` | the library's size, and what it needs |
//! | `userspace` | the userspace backend against the kernel's calls |
//! | `machine` | what it was measured on |
//! | `stats`, `table` | medians and quartiles; aligned tables |
//!
//! A number that is not as hoped is printed, and no failure: only what cannot be run at all is.

mod calls;
mod library;
mod machine;
mod setup;
mod startup;
mod stats;
mod syscalls;
mod table;
mod userspace;

use std::path::PathBuf;
use std::process::ExitCode;

use calls::Costs;
use table::Table;

/// What cannot be run, and why.
pub type Fault = String;

/// Where things are.
pub struct Paths {
    pub library: PathBuf,
    pub command: PathBuf,
    pub audit: PathBuf,
    /// The C benchmark.
    pub calls: PathBuf,
    /// A preloadable library with nothing in it.
    pub empty: PathBuf,
    /// A directory of our own.
    pub work: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let Ok([library, command, audit, work]) = <[PathBuf; 4]>::try_from(arguments) else {
        eprintln!("bench: usage: shmgate-bench LIBRARY COMMAND AUDIT WORK; it is for bench.sh to call");
        return ExitCode::from(2);
    };
    let paths = Paths { library, command, audit, calls: work.join("calls"), empty: work.join("empty.so"), work };
    match run(&paths) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(paths: &Paths) -> Result<(), Fault> {
    let before = machine::load();
    println!("{}\n", machine::description());
    let costs = calls::measure(paths)?;
    println!("A call's cost: times plain, and nanoseconds more (medians of pairs of runs)\n\n{}", costs.table());
    for note in costs.notes() {
        println!("{note}\n");
    }
    let start = startup::measure(paths)?;
    println!("The start of /bin/true (medians)\n\n{}", start.table());
    let syscalls = syscalls::measure(paths)?;
    println!("System calls of 10000 more calls of shmget, by strace\n\n{}", syscalls.table());
    println!("Bounds\n\n{}", bounds(paths, &costs, &start, &syscalls)?);
    println!("The userspace backend\n\n{}", userspace::measure(paths)?);
    println!("Load average before {before}, after {}.", machine::load());
    Ok(())
}

/// The numbers that shmgate is to reach, and whether it does.
fn bounds(paths: &Paths, costs: &Costs, start: &startup::Starts, syscalls: &syscalls::Counts) -> Result<Table, Fault> {
    let mut table = Table::new(["", "bound", "measured", "met"]);
    let mut row = |what: &str, bound: &str, measured: String, met: Option<bool>| {
        let met = met.map_or("?", |met| if met { "yes" } else { "NO" });
        table.row([what.into(), bound.into(), measured, met.into()]);
    };
    let ratio = |call: &str, setup: &str| costs.of(call, setup).map(|cost| cost.ratio);
    let said = |call: &str, setup: &str| costs.of(call, setup).map_or("not measured".into(), |cost| cost.in_full());
    let within = |call: &str, setup: &str, most: f64| ratio(call, setup).map(|ratio| ratio.median <= most);

    let added = costs.of("shmget", "preloaded").map(|cost| cost.added_ns);
    row("shmget, nothing set", "<= 1.05x", said("shmget", "preloaded"), within("shmget", "preloaded", 1.05));
    row("", "<= +10 ns", added.map_or("not measured".into(), |ns| format!("{ns:+.1} ns")), added.map(|ns| ns <= 10.0));
    row("shmget, journal", "<= 1.5x", said("shmget", "journal"), within("shmget", "journal", 1.5));
    let counted = syscalls.added_per_call();
    let more = counted.map_or("not measured".into(), |more| format!("{more:.4} a call"));
    // The file's growth, once in thousands of calls, is no cost of each.
    row("", "no system call added", more, counted.map(|more| more < 0.002));
    row("shmget, journal and quotas", "<= 1.6x", said("shmget", "journal+quotas"), within("shmget", "journal+quotas", 1.6));
    let attach = "attach-detach";
    row(
        "attach + detach, journal and quotas",
        "<= 1.08x",
        said(attach, "journal+quotas"),
        within(attach, "journal+quotas", 1.08),
    );
    let deep = costs.of("shmget-deep", "callers").map(|cost| cost.added_ns);
    let measured = deep.map_or("not measured".into(), |ns| format!("{ns:+.0} ns"));
    row("shmget in eight frames, with callers", "<= +2000 ns", measured, deep.map(|ns| ns <= 2000.0));
    let start_added = start.added_ms("preloaded");
    let measured = start_added.map_or("not measured".into(), |ms| format!("{ms:+.3} ms"));
    row("start of /bin/true, nothing set", "<= +0.3 ms", measured, start_added.map(|ms| ms <= 0.3));
    let library = library::look(&paths.library)?;
    row("libraries needed", "libc alone", library.needed.join(" "), Some(library.needed == ["libc.so.6"]));
    let stripped = if library.stripped { "stripped" } else { "not stripped" };
    row(
        "the library's size",
        "< 600 KB",
        format!("{:.1} KB, {stripped}", library.bytes as f64 / 1000.0),
        Some(library.bytes < 600_000),
    );
    Ok(table)
}
