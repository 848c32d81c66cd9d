//! Perl: its own shmget, shmread, shmwrite and shmctl, IPC::SysV, IPC::SharedMem, and a forked child.

use crate::gated::{Backend, Program, run};
use crate::need::Need;
use crate::{App, BOTH, Told};

pub const APP: App = App {
    name: "perl",
    needs: &[Need::Success(&["perl", "-MIPC::SysV", "-MIPC::SharedMem", "-e", "1"], "perl")],
    backends: BOTH,
    test,
    is_steady: true,
};

const PRINTED: &str = "\
child reads: from the parent
parent reads: from the child!
exists: 1
the same: 1
gone: 1
IPC::SharedMem reads: 4711 of 64 bytes
attached: 1
";

fn test(backend: Backend) -> Result<Told, String> {
    let gated = run(&Program {
        backend,
        command: &["perl", "perl.pl"],
        files: &[("perl.pl", include_str!("programs/perl.pl"))],
        ..Program::default()
    })?;
    gated.succeeded()?;
    gated.printed(PRINTED)?;
    gated.left_behind(&[])?;
    Told::of(&gated, &["perl"], 25)
}
