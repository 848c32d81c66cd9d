//! Real programs, unmodified, under `shmgate run` with log, journal and quotas on: each must do its work, and the
//! journal must hold the calls that strace counts, the same with the same results.
//!
//! `packages.sh` installs what they need. An ordinary user without a package has its application skipped, by name and
//! counted as ignored; for root that is a failure.

mod call;
mod checks;
mod compare;
mod gated;
mod journal;
mod need;
mod perl;
mod php;
mod place;
mod postgres;
mod strace;
mod stress_ng;
mod sysv_ipc;
mod tree;
mod util_linux;
mod xvfb;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Trial};

use crate::need::Need;

/// One application: what it needs, and its test, which returns a sentence with the numbers.
pub struct App {
    name: &'static str,
    needs: &'static [Need],
    test: fn() -> Result<String, String>,
}

const APPS: [App; 8] =
    [postgres::APP, xvfb::APP, sysv_ipc::APP, perl::APP, php::APP, php::KEEP_DEEPBIND, stress_ng::APP, util_linux::APP];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let report = Arc::new(Mutex::new(Vec::new()));
    let mut trials = checks::trials();
    trials.extend(APPS.iter().map(|app| trial(app, &report)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    for line in report.lock().expect("no test panics while it reports").iter() {
        println!("{line}");
    }
    conclusion.exit_code()
}

/// The test of an application, or its name with what is missing.
fn trial(app: &'static App, report: &Arc<Mutex<Vec<String>>>) -> Trial {
    let missing = need::missing(app.needs);
    let skipped = !missing.is_empty() && place::effective_uid() != 0;
    let name = if skipped { format!("{} (skipped: needs {missing})", app.name) } else { app.name.to_owned() };
    let report = Arc::clone(report);
    Trial::test(name, move || {
        if !missing.is_empty() {
            return Err(format!("needs {missing}: run tests/apps/packages.sh").into());
        }
        let numbers = (app.test)()?;
        report.lock().expect("no test panics while it reports").push(format!("{}: {numbers}", app.name));
        Ok(())
    })
    .with_ignored_flag(skipped)
}
