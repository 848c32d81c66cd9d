//! PostgreSQL with all its shared memory in System V segments: from initdb to an ordinary stop, and through a kill of its postmaster,
//! after which none may start before the last backend is gone.

use crate::gated::{Backend, Program, run};
use crate::need::{self, Need};
use crate::{App, BOTH, Told};

pub const APP: App = App { name: "postgres", needs: &[Need::Postgres], backends: BOTH, test, is_steady: false };

pub const CRASH: App =
    App { name: "postgres_crash", needs: &[Need::Postgres], backends: BOTH, test: test_crash, is_steady: false };

fn test(backend: Backend) -> Result<Told, String> {
    // Both settings, pgbench's books in balance, a plan of two parallel workers, and the count they came to.
    let expected = [
        "number of transactions actually processed: 100/100",
        "sysv\nsysv\nt",
        "Workers Launched: 2",
        "\n100000\n",
        "server stopped",
    ];
    postgres(backend, ("postgres.sh", include_str!("programs/postgres.sh")), &expected, 80)
}

fn test_crash(backend: Backend) -> Result<Told, String> {
    // What a second postmaster finds out by IPC_STAT, and what a third does when nobody is attached any more.
    let expected = [
        "refused: pre-existing shared memory block",
        "is still in use",
        "recovered: database system was not properly shut down",
        "rows: 1000",
        "server stopped",
    ];
    postgres(backend, ("postgres_crash.sh", include_str!("programs/postgres_crash.sh")), &expected, 40)
}

/// What both scripts begin with.
const CLUSTER: (&str, &str) = ("cluster.sh", include_str!("programs/cluster.sh"));

fn postgres(backend: Backend, script: (&str, &str), expected: &[&str], at_least: usize) -> Result<Told, String> {
    let gated = run(&Program {
        backend,
        command: &["sh", script.0],
        files: &[CLUSTER, script],
        path: need::postgres().as_deref(),
        not_root: true,
        ..Program::default()
    })?;
    if !gated.status.success() {
        let server = gated.file("server.log");
        return Err(gated.telling(&format!("ended with {}\nserver: {server}", gated.status)));
    }
    for line in expected {
        if !gated.stdout.contains(line) {
            return Err(gated.telling(&format!("expected to read {line:?}")));
        }
    }
    gated.left_behind(&[])?;
    Told::of(&gated, &["postgres"], at_least)
}
