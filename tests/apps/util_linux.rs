//! ipcmk, ipcs and ipcrm: by id, by key, all at once, and one segment left for the session's end to tell of.

use crate::App;
use crate::gated::{Program, run};
use crate::need::Need;

pub const APP: App = App {
    name: "util_linux",
    needs: &[Need::Program("ipcmk", "util-linux"), Need::Program("ipcs", "util-linux"), Need::Program("ipcrm", "util-linux")],
    test,
};

const PRINTED: &str = "\
two: 2
mode=0640
bytes=8192
segments allocated 2
min seg size (bytes) = 1
none: 0
ipcrm: invalid id (0)
again: 1
none: 0
";

fn test() -> Result<String, String> {
    let gated = run(&Program {
        command: &["sh", "util_linux.sh"],
        files: &[("util_linux.sh", include_str!("programs/util_linux.sh"))],
        ..Program::default()
    })?;
    gated.succeeded()?;
    gated.printed(PRINTED)?;
    gated.left_behind(&["12288 bytes, 0 attached"])?;
    gated.agrees(&["ipcmk", "ipcs", "ipcrm"], 15)
}
