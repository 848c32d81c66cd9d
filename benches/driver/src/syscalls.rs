//! System calls that the gate adds to a call: those of a program that makes 20000 calls, less those of one that makes 10000.

use std::collections::BTreeMap;

use crate::setup::{Setup, exists, output};
use crate::table::Table;
use crate::{Fault, Paths};

const MORE: i64 = 10_000;
const SETUPS: [Setup; 3] = [Setup::Plain, Setup::Journal, Setup::JournalQuotas];

/// System calls to how often they were made.
type Calls = BTreeMap<String, i64>;

/// How many more system calls MORE more calls mean, by setup. Empty where strace is missing.
pub struct Counts(Vec<(Setup, Calls)>);

/// Counts, if strace is there.
pub fn measure(paths: &Paths) -> Result<Counts, Fault> {
    if !exists("strace") {
        return Ok(Counts(Vec::new()));
    }
    let mut all = Vec::new();
    for setup in SETUPS {
        let mut more = count(paths, setup, 2 * MORE)?;
        for (name, calls) in count(paths, setup, MORE)? {
            *more.entry(name).or_default() -= calls;
        }
        more.retain(|_, calls| *calls != 0);
        all.push((setup, more));
    }
    Ok(Counts(all))
}

fn count(paths: &Paths, setup: Setup, calls: i64) -> Result<Calls, Fault> {
    let stage = setup.stage(paths)?;
    let log = paths.work.join("strace");
    let log_name = log.to_string_lossy();
    let mut command = stage.under_strace(&["-f", "-c", "-U", "calls,name", "-o", &log_name], &paths.calls.to_string_lossy());
    command.args(["loop", "shmget", &calls.to_string()]);
    output(command)?;
    let text = std::fs::read_to_string(&log).map_err(|error| format!("{log_name}: {error}"))?;
    let lines = text.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    let counts = lines.filter_map(|(calls, name)| Some((name.trim().to_owned(), calls.parse().ok()?)));
    Ok(counts.filter(|(name, _)| name != "total").collect())
}

impl Counts {
    /// How many a call the journal adds to the plain program's.
    pub fn added_per_call(&self) -> Option<f64> {
        let sum = |of: Setup| self.0.iter().find(|(setup, _)| *setup == of).map(|(_, calls)| calls.values().sum::<i64>());
        Some((sum(Setup::Journal)? - sum(Setup::Plain)?) as f64 / MORE as f64)
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new(["", "all", "which"]);
        for (setup, calls) in &self.0 {
            let mut list: Vec<_> = calls.iter().collect();
            list.sort_by_key(|(_, calls)| -**calls);
            let which: Vec<String> = list.iter().map(|(name, calls)| format!("{name} {calls}")).collect();
            table.row([setup.name().to_owned(), calls.values().sum::<i64>().to_string(), which.join(", ")]);
        }
        table
    }
}
