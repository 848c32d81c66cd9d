//! Xvfb and x11perf: server and client share pictures by MIT-SHM, and the server keeps its screen in a segment too.

use crate::gated::{Backend, Program, run};
use crate::need::Need;
use crate::{App, BOTH, Told};

pub const APP: App = App {
    name: "xvfb",
    needs: &[Need::Program("Xvfb", "xvfb"), Need::Program("x11perf", "x11-apps")],
    backends: BOTH,
    test,
    is_steady: false,
};

fn test(backend: Backend) -> Result<Told, String> {
    let gated = run(&Program {
        backend,
        command: &["sh", "xvfb.sh"],
        files: &[("xvfb.sh", include_str!("programs/xvfb.sh"))],
        ..Program::default()
    })?;
    if !gated.status.success() {
        return Err(gated.telling(&format!("ended with {}\nXvfb: {}", gated.status, gated.file("xvfb.err"))));
    }
    for square in ["ShmPutImage 100x100 square", "ShmPutImage 500x500 square"] {
        if !gated.stdout.lines().any(|line| line.contains("reps @") && line.ends_with(square)) {
            return Err(gated.telling(&format!("no measurement of {square}")));
        }
    }
    // Xvfb itself never removes its screen: 1024 x 768 pixels of 4 bytes and the header of an XWD file.
    gated.left_behind(&["3148960 bytes, 0 attached"])?;
    Told::of(&gated, &["Xvfb", "x11perf"], 50)
}
