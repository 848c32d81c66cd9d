//! ipcmk, ipcs and ipcrm: by id, by key, all at once, and one segment left for the session's end to tell of.

use crate::gated::{Backend, Program, run};
use crate::need::Need;
use crate::{App, BOTH, Told};

pub const APP: App = App {
    name: "util_linux",
    needs: &[Need::Program("ipcmk", "util-linux"), Need::Program("ipcs", "util-linux"), Need::Program("ipcrm", "util-linux")],
    backends: BOTH,
    test,
    is_steady: true,
};

const PRINTED: &str = "\
two: 2
mode=0640
bytes=8192
segments allocated 2
min seg size (bytes) = 1
none: 0
ipcrm: invalid id (the first)
again: 1
none: 0
";

fn test(backend: Backend) -> Result<Told, String> {
    let gated = run(&Program {
        backend,
        command: &["sh", "util_linux.sh"],
        files: &[("util_linux.sh", include_str!("programs/util_linux.sh"))],
        ..Program::default()
    })?;
    gated.succeeded()?;
    gated.printed(PRINTED)?;
    gated.left_behind(&["12288 bytes, 0 attached"])?;
    Told::of(&gated, &["ipcmk", "ipcs", "ipcrm"], 15)
}
