//! Python's sysv_ipc, in two processes.

use crate::gated::{Backend, Program, run};
use crate::need::Need;
use crate::{App, BOTH, Told};

/// The system's interpreter: the package's module is not there for another one.
const PYTHON: &str = "/usr/bin/python3";

pub const APP: App = App {
    name: "sysv_ipc",
    needs: &[Need::Success(&[PYTHON, "-c", "import sysv_ipc"], "python3-sysv-ipc")],
    backends: BOTH,
    test,
    is_steady: true,
};

fn test(backend: Backend) -> Result<Told, String> {
    let gated = run(&Program {
        backend,
        command: &[PYTHON, "-u", "python.py"],
        files: &[("python.py", include_str!("programs/python.py"))],
        ..Program::default()
    })?;
    gated.succeeded()?;
    // The two errors name the key, which comes from the directory's inode.
    let printed: Vec<&str> = gated.stdout.lines().map(|line| line.split(" key ").next().unwrap_or(line)).collect();
    let expected = [
        "attached: 1 size: 10000 mode: 600",
        "reader reads: hello",
        "owner reads: HELLO",
        "the same: True attached: 2",
        "by id: hello",
        "exists: Shared memory with the",
        "mode: 640",
        "gone: No shared memory exists with the",
    ];
    if printed != expected {
        return Err(gated.telling(&format!("expected to read: {expected:#?}")));
    }
    gated.left_behind(&[])?;
    let interpreter = std::fs::canonicalize(PYTHON).map_err(|error| error.to_string())?;
    let interpreter = interpreter.file_name().unwrap_or_default().to_string_lossy();
    Told::of(&gated, &[&interpreter], 30)
}
