//! The cost of a program's start: `/bin/true`, spawned (by posix_spawn) and waited for, in one setup after another.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::setup::Setup;
use crate::stats::Spread;
use crate::table::Table;
use crate::{Fault, Paths};

const ROUNDS: usize = 600;
const PROGRAM: &str = "/bin/true";

/// What a start costs in each setup.
pub struct Starts {
    names: Vec<&'static str>,
    /// By setup, then round, in milliseconds.
    times: Vec<Vec<f64>>,
}

/// Measures the start plain, with an empty library preloaded (what any library costs), and gated.
pub fn measure(paths: &Paths) -> Result<Starts, Fault> {
    let session = Setup::JournalQuotas.stage(paths)?;
    let mut empty = Command::new(PROGRAM);
    empty.env("LD_PRELOAD", &paths.empty);
    let mut preloaded = Command::new(PROGRAM);
    preloaded.env("LD_PRELOAD", &paths.library);
    let mut commands = [
        ("plain", Command::new(PROGRAM)),
        ("an empty library", empty),
        ("preloaded", preloaded),
        ("journal+quotas", session.command(PROGRAM)),
    ];
    for (_, command) in &mut commands {
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    let mut times = vec![Vec::with_capacity(ROUNDS); commands.len()];
    for _ in 0..ROUNDS {
        for ((_, command), times) in commands.iter_mut().zip(&mut times) {
            let since = Instant::now();
            let ended = command.status().map_err(|error| format!("{PROGRAM}: {error}"))?;
            times.push(since.elapsed().as_secs_f64() * 1e3);
            if !ended.success() {
                return Err(format!("{PROGRAM}: {ended}"));
            }
        }
    }
    Ok(Starts { names: commands.iter().map(|(name, _)| *name).collect(), times })
}

impl Starts {
    /// The milliseconds that a setup adds, in the median of its rounds.
    pub fn added_ms(&self, name: &str) -> Option<f64> {
        let at = self.names.iter().position(|known| *known == name)?;
        let added: Vec<f64> = self.times[at].iter().zip(&self.times[0]).map(|(gated, plain)| gated - plain).collect();
        Some(Spread::of(&added).median)
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new(["", "ms", "more, ms"]);
        for (name, times) in self.names.iter().zip(&self.times) {
            let added = self.added_ms(name).filter(|_| *name != "plain");
            let added = added.map_or(String::new(), |ms| format!("{ms:+.3}"));
            table.row([(*name).to_owned(), format!("{:.3}", Spread::of(times).median), added]);
        }
        table
    }
}
