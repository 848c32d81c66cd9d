//! PHP's sysvshm and shmop, in four processes. PHP opens its extensions with RTLD_DEEPBIND, which puts libc before
//! any preloaded library: unless the gate takes that flag away, none of their calls reaches it.

use crate::App;
use crate::gated::{Gated, Program, run};
use crate::need::Need;

const NEEDS: &[Need] =
    &[Need::Success(&["php", "-r", "exit(extension_loaded('sysvshm') && extension_loaded('shmop') ? 0 : 1);"], "php-cli")];

pub const APP: App = App { name: "php", needs: NEEDS, test };

/// The counter-proof: with the flag kept, the same program's calls are seen by strace and not by the gate.
pub const KEEP_DEEPBIND: App = App { name: "php_keep_deepbind", needs: NEEDS, test: test_keep };

const PRINTED: &str = "\
hello from worker 1
hello from worker 2
hello from worker 3
size: 8192
removed
";

fn test() -> Result<String, String> {
    let gated = php(&[])?;
    let interpreter = gated.records.first().map_or("", |record| record.exe.rsplit('/').next().unwrap_or_default());
    if !interpreter.starts_with("php") {
        return Err(gated.telling("the journal's first record is not of PHP, or there is none"));
    }
    gated.agrees(&[interpreter], 40)
}

fn test_keep() -> Result<String, String> {
    let gated = php(&["--keep-deepbind"])?;
    let recorded = gated.records.iter().filter(|record| record.call.is_some()).count();
    let asked = gated.kernel_calls().len();
    if recorded != 0 || asked < 40 {
        return Err(format!("expected calls that all escape, but {recorded} of {asked} are in the journal"));
    }
    Ok(format!("all {asked} calls escape, as they must when RTLD_DEEPBIND stays"))
}

fn php(options: &[&str]) -> Result<Gated, String> {
    let gated = run(&Program {
        command: &["php", "php.php"],
        files: &[("php.php", include_str!("programs/php.php"))],
        options,
        ..Program::default()
    })?;
    gated.succeeded()?;
    gated.printed(PRINTED)?;
    gated.left_behind(&[])?;
    Ok(gated)
}
