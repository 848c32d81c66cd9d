//! AFL++ fuzzes a small program: its map of branches is a segment that the fuzzer, the fork server, and each forked child use.

use crate::gated::{Backend, Program, run};
use crate::need::Need;
use crate::{App, BOTH, Told};

const NEEDS: &[Need] = &[Need::Program("afl-fuzz", "afl++"), Need::Program("afl-cc", "afl++")];

pub const APP: App = App { name: "afl", needs: NEEDS, backends: BOTH, test, is_steady: false };

fn test(backend: Backend) -> Result<Told, String> {
    let gated = run(&Program {
        backend,
        command: &["sh", "afl.sh"],
        files: &[("afl.sh", include_str!("programs/afl.sh")), ("fuzzed.c", include_str!("programs/fuzzed.c"))],
        ..Program::default()
    })?;
    if !gated.status.success() {
        return Err(gated.telling(&format!("ended with {}\nafl-fuzz: {}", gated.status, gated.file("afl.out"))));
    }
    let stats = gated.file("found/default/fuzzer_stats");
    let number = |name: &str| -> u64 {
        let line = stats.lines().filter_map(|line| line.split_once(':')).find(|(field, _)| field.trim() == name);
        line.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
    };
    let (execs, paths) = (number("execs_done"), number("corpus_count"));
    if execs < 100 || paths < 2 {
        return Err(gated.telling(&format!("{execs} executions and {paths} paths\n{stats}")));
    }
    gated.left_behind(&[])?;
    let mut told = Told::of(&gated, &["afl-fuzz", "fuzzed"], 4)?;
    told.numbers = format!("{execs} executions, {paths} paths; {}", told.numbers);
    Ok(told)
}
