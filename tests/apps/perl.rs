//! Perl: its own shmget, shmread, shmwrite and shmctl, IPC::SysV, IPC::SharedMem, and a forked child.

use crate::App;
use crate::gated::{Program, run};
use crate::need::Need;

pub const APP: App =
    App { name: "perl", needs: &[Need::Success(&["perl", "-MIPC::SysV", "-MIPC::SharedMem", "-e", "1"], "perl")], test };

const PRINTED: &str = "\
child reads: from the parent
parent reads: from the child!
exists: 1
the same: 1
gone: 1
IPC::SharedMem reads: 4711 of 64 bytes
attached: 1
";

fn test() -> Result<String, String> {
    let gated = run(&Program {
        command: &["perl", "perl.pl"],
        files: &[("perl.pl", include_str!("programs/perl.pl"))],
        ..Program::default()
    })?;
    gated.succeeded()?;
    gated.printed(PRINTED)?;
    gated.left_behind(&[])?;
    gated.agrees(&["perl"], 25)
}
