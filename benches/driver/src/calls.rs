//! The cost of calls: the C benchmark in one setup after another, many short runs, each compared with the plain run of its round.
//!
//! A machine that slows down for a second then slows both of a pair. Every other round goes backwards, so that a setup does
//! not always come after the same one.

use std::collections::BTreeMap;
use std::fs;

use crate::setup::{Setup, exists, output};
use crate::stats::Spread;
use crate::table::Table;
use crate::{Fault, Paths};

/// Setups that are measured together.
struct Group {
    setups: &'static [Setup],
    rounds: usize,
    /// How many calls the C benchmark is to make at a time. Among 8192 the journal grows once.
    batch: u32,
}

const GROUPS: [Group; 3] = [
    Group {
        setups: &[
            Setup::Plain,
            Setup::PlainAgain,
            Setup::Preloaded,
            Setup::Journal,
            Setup::JournalQuotas,
            Setup::TextLog,
        ],
        rounds: 21,
        batch: 8192,
    },
    Group {
        setups: &[Setup::Plain, Setup::Strace],
        rounds: 11,
        batch: 256,
    },
    Group {
        setups: &[Setup::Plain, Setup::Bpftrace],
        rounds: 5,
        batch: 1024,
    },
];

/// The C benchmark's names, and what people call them.
const CALLS: [(&str, &str); 6] = [
    ("shmget", "shmget, existing key"),
    ("shmget-creat", "the same with IPC_CREAT"),
    ("ipc-stat", "IPC_STAT"),
    ("attach-detach", "attach + detach"),
    ("create-remove", "create + remove"),
    ("whole-life", "create, attach, touch, remove, detach"),
];

/// Calls to nanoseconds, of one run.
type Run = BTreeMap<String, f64>;

/// What a call costs in a setup, compared with plain.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub ratio: Spread,
    pub added_ns: f64,
}

impl Cost {
    fn short(self) -> String {
        format!("{:.2}x {:+.0}", self.ratio.median, self.added_ns)
    }

    /// With half of the pairs' range.
    pub fn in_full(self) -> String {
        let Spread { low, median, high } = self.ratio;
        format!(
            "{median:.3}x (half of the runs {low:.3} to {high:.3}), {:+.1} ns",
            self.added_ns
        )
    }
}

/// All costs.
pub struct Costs {
    plain: BTreeMap<String, f64>,
    costs: BTreeMap<(String, &'static str), Cost>,
    notes: Vec<String>,
}

/// Measures every setup that can be had here.
pub fn measure(paths: &Paths) -> Result<Costs, Fault> {
    let mut all = Costs {
        plain: BTreeMap::new(),
        costs: BTreeMap::new(),
        notes: Vec::new(),
    };
    for group in &GROUPS {
        let needed = match group.setups[1] {
            Setup::Strace => Some("strace"),
            Setup::Bpftrace => Some("bpftrace"),
            _ => None,
        };
        if let Some(program) = needed.filter(|program| !exists(program)) {
            all.notes.push(format!("{program} not run: it is not installed"));
            continue;
        }
        match measure_group(paths, group, &mut all.notes) {
            Ok(runs) => all.add(group, &runs),
            Err(fault) if needed.is_some() => all.notes.push(format!("{} not run: {fault}", group.setups[1].name())),
            Err(fault) => return Err(fault),
        }
    }
    Ok(all)
}

/// The runs, by round and setup.
fn measure_group(paths: &Paths, group: &Group, notes: &mut Vec<String>) -> Result<Vec<Vec<Run>>, Fault> {
    let mut rounds = Vec::new();
    for round in 0..group.rounds {
        eprint!(
            "\r{}: round {} of {}   ",
            group.setups.last().map_or("", |setup| setup.name()),
            round + 1,
            group.rounds
        );
        let mut runs = vec![Run::new(); group.setups.len()];
        let mut order: Vec<usize> = (0..runs.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            runs[at] = run(paths, group.setups[at], group.batch, notes)?;
        }
        rounds.push(runs);
    }
    eprint!("\r{:60}\r", "");
    Ok(rounds)
}

fn run(paths: &Paths, setup: Setup, batch: u32, notes: &mut Vec<String>) -> Result<Run, Fault> {
    let mut stage = setup.stage(paths)?;
    let mut command = stage.command(&paths.calls.to_string_lossy());
    command.args(["measure", &batch.to_string()]);
    let text = output(command).map_err(|fault| format!("{}: {fault}", setup.name()))?;
    if setup == Setup::Bpftrace {
        stage.finish();
        note_lost(&fs::read_to_string(stage.audit_log()).unwrap_or_default(), notes);
    }
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    Ok(lines
        .filter_map(|(call, ns)| Some((call.to_owned(), ns.parse().ok()?)))
        .collect())
}

/// bpftrace drops records when its buffer is full: an audit with holes is cheaper than one without.
fn note_lost(audit: &str, notes: &mut Vec<String>) {
    let lost = audit
        .lines()
        .filter_map(|line| line.strip_prefix("Lost ")?.split_once(' ')?.0.parse::<u64>().ok())
        .sum::<u64>();
    let kept = audit.lines().filter(|line| line.contains(") = ")).count();
    if lost > 0 {
        notes.push(format!("bpftrace lost {lost} of {} records in a run", lost + kept as u64));
    }
}

impl Costs {
    fn add(&mut self, group: &Group, rounds: &[Vec<Run>]) {
        for (call, _) in CALLS {
            let plain: Vec<f64> = rounds.iter().filter_map(|runs| runs[0].get(call).copied()).collect();
            // The first group has the most calls a run.
            self.plain.entry(call.to_owned()).or_insert_with(|| Spread::of(&plain).median);
            for (at, setup) in group.setups.iter().enumerate().skip(1) {
                let pairs = rounds
                    .iter()
                    .filter_map(|runs| Some((*runs[0].get(call)?, *runs[at].get(call)?)));
                let (ratios, added): (Vec<f64>, Vec<f64>) = pairs.map(|(plain, gated)| (gated / plain, gated - plain)).unzip();
                let cost = Cost {
                    ratio: Spread::of(&ratios),
                    added_ns: Spread::of(&added).median,
                };
                self.costs.insert((call.to_owned(), setup.name()), cost);
            }
        }
    }

    /// What `call` costs in a setup, if that was measured.
    pub fn of(&self, call: &str, setup: &str) -> Option<Cost> {
        self.costs
            .iter()
            .find(|((of, name), _)| of == call && *name == setup)
            .map(|(_, cost)| *cost)
    }

    pub fn table(&self) -> Table {
        let setups: Vec<Setup> = GROUPS.iter().flat_map(|group| group.setups[1..].iter().copied()).collect();
        let names = setups.iter().map(|setup| setup.name());
        let mut table = Table::new(["", "plain, ns"].into_iter().chain(names));
        for (call, title) in CALLS {
            let plain = self.plain.get(call).map_or("-".into(), |ns| format!("{ns:.0}"));
            let cells = setups
                .iter()
                .map(|setup| self.of(call, setup.name()).map_or("-".into(), Cost::short));
            table.row([title.to_owned(), plain].into_iter().chain(cells));
        }
        table
    }

    /// What there is to say about the table.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
