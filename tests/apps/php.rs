//! PHP's sysvshm and shmop, in four processes. PHP opens its extensions with RTLD_DEEPBIND, which puts libc before
//! any preloaded library: unless the gate takes that flag away, none of their calls reaches it.

use crate::call::Call;
use crate::gated::{Backend, Gated, Program, run};
use crate::need::Need;
use crate::{App, BOTH, Told};

const NEEDS: &[Need] =
    &[Need::Success(&["php", "-r", "exit(extension_loaded('sysvshm') && extension_loaded('shmop') ? 0 : 1);"], "php-cli")];

pub const APP: App = App { name: "php", needs: NEEDS, backends: BOTH, test, is_steady: true };

/// The counter-proof: with the flag kept, the same program's calls are seen by strace and not by the gate.
pub const KEEP_DEEPBIND: App =
    App { name: "php_keep_deepbind", needs: NEEDS, backends: BOTH, test: test_keep, is_steady: false };

const PRINTED: &str = "\
hello from worker 1
hello from worker 2
hello from worker 3
size: 8192
removed
";

fn test(backend: Backend) -> Result<Told, String> {
    let gated = php(backend)?;
    let interpreter = gated.records.first().map_or("", |record| record.exe.rsplit('/').next().unwrap_or_default());
    if !interpreter.starts_with("php") {
        return Err(gated.telling("the journal's first record is not of PHP, or there is none"));
    }
    Told::of(&gated, &[interpreter], 40)
}

fn test_keep(backend: Backend) -> Result<Told, String> {
    let gated = run(&program(backend, &["--keep-deepbind"]))?;
    let recorded = gated.records.iter().filter(|record| record.call.is_some()).count();
    let asked = gated.kernel_calls();
    let refused = |call: &Call| call.answer == Some(Err("ENOSYS".to_owned()));
    // Without the kernel's calls the first of them is the program's end, and strace must see that one.
    let (least, as_expected) = match backend {
        Backend::Kernel => (40, gated.status.success()),
        Backend::Userspace => (1, !gated.status.success() && asked.iter().all(refused)),
    };
    if recorded != 0 || asked.len() < least || !as_expected {
        let told = format!("expected calls that all escape, but {recorded} of {} are in the journal", asked.len());
        return Err(gated.telling(&told));
    }
    let numbers = format!("all {} calls escape, as they must when RTLD_DEEPBIND stays", asked.len());
    Ok(Told { numbers, outcomes: Vec::new() })
}

fn php(backend: Backend) -> Result<Gated, String> {
    let gated = run(&program(backend, &[]))?;
    gated.succeeded()?;
    gated.printed(PRINTED)?;
    gated.left_behind(&[])?;
    Ok(gated)
}

fn program<'a>(backend: Backend, options: &'a [&'a str]) -> Program<'a> {
    let files = &[("php.php", include_str!("programs/php.php"))];
    Program { backend, command: &["php", "php.php"], files, options, ..Program::default() }
}
