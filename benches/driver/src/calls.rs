//! The cost of calls: the C benchmark plain and in each setup in turn, many short runs, each compared with the plain run beside it.
//!
//! A machine that slows down for a second then slows both of a pair. In every other round the plain run comes second, and the
//! setups go backwards, so that none always comes after the same one.

use std::collections::BTreeMap;
use std::fs;

use crate::setup::{Setup, exists, output};
use crate::stats::Spread;
use crate::table::Table;
use crate::{Fault, Paths};

/// Setups that are measured together.
struct Group {
    gated: &'static [Setup],
    rounds: usize,
    /// How many calls the C benchmark is to make at a time. Among 8192 the journal grows once.
    batch: u32,
}

const GROUPS: [Group; 5] = [
    Group { gated: &[Setup::PlainAgain, Setup::Preloaded, Setup::Journal, Setup::JournalQuotas], rounds: 121, batch: 8192 },
    Group { gated: &[Setup::Callers], rounds: 21, batch: 2048 },
    Group { gated: &[Setup::TextLog], rounds: 11, batch: 2048 },
    Group { gated: &[Setup::Strace], rounds: 11, batch: 256 },
    Group { gated: &[Setup::Bpftrace], rounds: 7, batch: 1024 },
];

/// The C benchmark's names, and what people call them.
const CALLS: [(&str, &str); 8] = [
    ("shmget", "shmget, existing key"),
    ("shmget-0600", "the same asking 0600"),
    ("shmget-creat", "the same with IPC_CREAT"),
    ("shmget-deep", "shmget in eight frames"),
    ("ipc-stat", "IPC_STAT"),
    ("attach-detach", "attach + detach"),
    ("create-remove", "create + remove"),
    ("whole-life", "create, attach, touch, remove, detach"),
];

/// Calls to nanoseconds, of one run.
pub type Run = BTreeMap<String, f64>;

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
        format!("{median:.3}x (half of the runs {low:.3} to {high:.3}), {:+.1} ns", self.added_ns)
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
    let mut all = Costs { plain: BTreeMap::new(), costs: BTreeMap::new(), notes: Vec::new() };
    for group in &GROUPS {
        let needed = match group.gated[0] {
            Setup::Strace => Some("strace"),
            Setup::Bpftrace => Some("bpftrace"),
            _ => None,
        };
        if let Some(program) = needed.filter(|program| !exists(program)) {
            all.notes.push(format!("{program} not run: it is not installed"));
            continue;
        }
        let mut lost = Lost::default();
        match measure_group(paths, group, &mut lost) {
            Ok(pairs) => all.add(group, &pairs),
            Err(fault) if needed.is_some() => all.notes.push(format!("{} not run: {fault}", group.gated[0].name())),
            Err(fault) => return Err(fault),
        }
        if lost.records > 0 {
            all.notes.push(format!("bpftrace lost {} of {} records: its buffer was full", lost.records, lost.of));
        }
    }
    Ok(all)
}

/// The pairs of a plain and a gated run, by round and setup.
fn measure_group(paths: &Paths, group: &Group, lost: &mut Lost) -> Result<Vec<Vec<(Run, Run)>>, Fault> {
    let mut rounds = Vec::new();
    for round in 0..group.rounds {
        let mut pairs = vec![Default::default(); group.gated.len()];
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        let backwards = round % 2 == 1;
        if backwards {
            order.reverse();
        }
        for at in order {
            let mut gated = Run::new();
            if backwards {
                gated = run(paths, group.gated[at], group.batch, lost)?;
            }
            let plain = run(paths, Setup::Plain, group.batch, lost)?;
            if !backwards {
                gated = run(paths, group.gated[at], group.batch, lost)?;
            }
            pairs[at] = (plain, gated);
        }
        rounds.push(pairs);
    }
    Ok(rounds)
}

fn run(paths: &Paths, setup: Setup, batch: u32, lost: &mut Lost) -> Result<Run, Fault> {
    let mut stage = setup.stage(paths)?;
    let mut command = stage.command(&paths.calls.to_string_lossy());
    command.args(["measure", &batch.to_string()]);
    let text = output(command).map_err(|fault| format!("{}: {fault}", setup.name()))?;
    if setup == Setup::Bpftrace {
        stage.finish();
        lost.count(&fs::read_to_string(stage.audit_log()).unwrap_or_default());
    }
    Ok(parse(&text))
}

/// What the C benchmark printed.
pub fn parse(text: &str) -> Run {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter_map(|(call, ns)| Some((call.to_owned(), ns.parse().ok()?))).collect()
}

/// What bpftrace dropped: an audit with holes is cheaper than one without.
#[derive(Default)]
struct Lost {
    records: u64,
    of: u64,
}

impl Lost {
    fn count(&mut self, audit: &str) {
        let number = |line: &str| line.strip_prefix("Lost ")?.split(' ').next()?.parse::<u64>().ok();
        let lost = audit.lines().filter_map(number).sum::<u64>();
        self.records += lost;
        self.of += lost + audit.lines().filter(|line| line.contains(") = ")).count() as u64;
    }
}

impl Costs {
    fn add(&mut self, group: &Group, rounds: &[Vec<(Run, Run)>]) {
        for (call, _) in CALLS {
            let plain = rounds.iter().flatten().filter_map(|(plain, _)| plain.get(call).copied());
            // The first group has the most calls a run.
            self.plain.entry(call.to_owned()).or_insert_with(|| Spread::of(&plain.collect::<Vec<_>>()).median);
            for (at, setup) in group.gated.iter().enumerate() {
                let pairs = rounds.iter().filter_map(|pairs| Some((*pairs[at].0.get(call)?, *pairs[at].1.get(call)?)));
                let (ratios, added): (Vec<f64>, Vec<f64>) = pairs.map(|(plain, gated)| (gated / plain, gated - plain)).unzip();
                let cost = Cost { ratio: Spread::of(&ratios), added_ns: Spread::of(&added).median };
                self.costs.insert((call.to_owned(), setup.name()), cost);
            }
        }
    }

    /// What `call` costs in a setup, if that was measured.
    pub fn of(&self, call: &str, setup: &str) -> Option<Cost> {
        self.costs.iter().find(|((of, name), _)| of == call && *name == setup).map(|(_, cost)| *cost)
    }

    pub fn table(&self) -> Table {
        let setups: Vec<Setup> = GROUPS.iter().flat_map(|group| group.gated.iter().copied()).collect();
        let names = setups.iter().map(|setup| setup.name());
        let mut table = Table::new(["", "plain, ns"].into_iter().chain(names));
        for (call, title) in CALLS {
            let plain = self.plain.get(call).map_or("-".into(), |ns| format!("{ns:.0}"));
            let cells = setups.iter().map(|setup| self.of(call, setup.name()).map_or("-".into(), Cost::short));
            table.row([title.to_owned(), plain].into_iter().chain(cells));
        }
        table
    }

    /// What there is to say about the table.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
