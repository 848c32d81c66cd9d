//! stress-ng's shm-sysv stressor, two of them at once: odd flags, huge pages that are not there, ids and addresses
//! that never were, forked children that attach, and `IPC_CREAT` without `IPC_EXCL` throughout.

use crate::gated::{Backend, Program, run};
use crate::need::Need;
use crate::{App, BOTH, Told};

pub const APP: App =
    App { name: "stress_ng", needs: &[Need::Program("stress-ng", "stress-ng")], backends: BOTH, test, is_steady: false };

fn test(backend: Backend) -> Result<Told, String> {
    let command = "stress-ng --shm-sysv 2 --shm-sysv-ops 40 --shm-sysv-bytes 1M --shm-sysv-segs 4 --timeout 60";
    let command: Vec<&str> = command.split(' ').collect();
    let gated = run(&Program { backend, command: &command, ..Program::default() })?;
    gated.succeeded()?;
    if !format!("{}{}", gated.stdout, gated.stderr).contains("successful run completed") {
        return Err(gated.telling("stress-ng does not say that its run was successful"));
    }
    gated.left_behind(&[])?;
    Told::of(&gated, &["stress-ng"], 500)
}
