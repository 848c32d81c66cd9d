//! MPICH's mpivars, in two processes over UCX, which overwrites the first bytes of whatever shmat and shmdt the linker finds, so as to hear of mappings, and
//! makes the calls itself, by libc's syscall. On the kernel's backend these go unseen (docs/limitations.md).

use crate::gated::{Backend, Program, run};
use crate::need::Need;
use crate::{App, Told};

pub const APP: App = App {
    name: "mpich",
    needs: &[Need::Program("mpirun.mpich", "mpich"), Need::Program("mpivars", "mpich")],
    backends: &[Backend::Userspace],
    test,
    is_steady: false,
};

fn test(backend: Backend) -> Result<Told, String> {
    let gated = run(&Program { backend, command: &["mpirun.mpich", "-n", "2", "mpivars"], ..Program::default() })?;
    gated.succeeded()?;
    if !gated.stdout.contains("MPI Control Variables") {
        return Err(gated.telling("mpivars does not list MPI's variables"));
    }
    gated.left_behind(&[])?;
    if !gated.outcomes().iter().any(|outcome| outcome == "shmat: done") {
        return Err(gated.telling("no shmat is in the journal: UCX makes none, or it went past"));
    }
    Told::of(&gated, &["mpivars"], 40)
}
