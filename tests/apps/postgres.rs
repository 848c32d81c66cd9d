//! PostgreSQL with all its shared memory in System V segments, from initdb to an ordinary stop.

use crate::App;
use crate::gated::{Program, run};
use crate::need::{self, Need};

pub const APP: App = App { name: "postgres", needs: &[Need::Postgres], test };

fn test() -> Result<String, String> {
    let gated = run(&Program {
        command: &["sh", "postgres.sh"],
        files: &[("postgres.sh", include_str!("programs/postgres.sh"))],
        path: need::postgres().as_deref(),
        not_root: true,
        ..Program::default()
    })?;
    if !gated.status.success() {
        let server = gated.file("server.log");
        return Err(gated.telling(&format!("ended with {}\nserver: {server}", gated.status)));
    }
    // Both settings, pgbench's books in balance, a plan of two parallel workers, and the count they came to.
    for line in [
        "number of transactions actually processed: 100/100",
        "sysv\nsysv\nt",
        "Workers Launched: 2",
        "\n100000\n",
        "server stopped",
    ] {
        if !gated.stdout.contains(line) {
            return Err(gated.telling(&format!("expected to read {line:?}")));
        }
    }
    gated.left_behind(&[])?;
    gated.agrees(&["postgres"], 80)
}
