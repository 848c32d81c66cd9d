//! Real programs, unmodified, under `shmgate run` with log, journal and quotas on: each must do its work, and the
//! journal must hold the calls that strace counts, the same with the same results. Then again on the userspace backend, with the
//! kernel's four system calls made to fail: strace must count none, the namespace be in order, and what came of the calls be the same
//! wherever that is not left to chance.
//!
//! `packages.sh` installs what they need. An ordinary user without a package has its application skipped, by name and
//! counted as ignored; for root that is a failure.

mod afl;
mod call;
mod checks;
mod compare;
mod gated;
mod journal;
mod mpich;
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

use crate::gated::{Backend, Gated};
use crate::need::Need;

/// One application: what it needs, and its test.
pub struct App {
    name: &'static str,
    needs: &'static [Need],
    backends: &'static [Backend],
    test: fn(Backend) -> Result<Told, String>,
    /// True if each run makes the same calls.
    is_steady: bool,
}

/// The backends that most run on.
pub const BOTH: &[Backend] = &[Backend::Kernel, Backend::Userspace];

/// What is told of a run that was as it should be.
pub struct Told {
    /// A sentence.
    numbers: String,
    outcomes: Vec<String>,
}

impl Told {
    /// Of a run whose journal must tell of these programs and of so many calls; see [`Gated::agrees`].
    pub fn of(gated: &Gated, programs: &[&str], at_least: usize) -> Result<Told, String> {
        Ok(Told { numbers: gated.agrees(programs, at_least)?, outcomes: gated.outcomes() })
    }
}

const APPS: [App; 11] = [
    postgres::APP,
    postgres::CRASH,
    xvfb::APP,
    sysv_ipc::APP,
    perl::APP,
    php::APP,
    php::KEEP_DEEPBIND,
    stress_ng::APP,
    util_linux::APP,
    afl::APP,
    mpich::APP,
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let report = Arc::new(Mutex::new(Vec::new()));
    let mut trials = checks::trials();
    for app in &APPS {
        trials.extend(app.backends.iter().map(|backend| trial(app, *backend, &report)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for line in report.lock().expect("no test panics while it reports").iter() {
        println!("{line}");
    }
    conclusion.exit_code()
}

/// The test of an application, or its name with what is missing.
fn trial(app: &'static App, backend: Backend, report: &Arc<Mutex<Vec<String>>>) -> Trial {
    let missing = need::missing(app.needs);
    let skipped = !missing.is_empty() && place::effective_uid() != 0;
    let named = match backend {
        Backend::Kernel => app.name.to_owned(),
        Backend::Userspace => format!("userspace::{}", app.name),
    };
    let name = if skipped { format!("{named} (skipped: needs {missing})") } else { named.clone() };
    let report = Arc::clone(report);
    Trial::test(name, move || {
        if !missing.is_empty() {
            return Err(format!("needs {missing}: run tests/apps/packages.sh").into());
        }
        let told = (app.test)(backend)?;
        if backend == Backend::Userspace && app.is_steady {
            let on_kernel = (app.test)(Backend::Kernel)?.outcomes;
            if told.outcomes != on_kernel {
                return Err(format!("on the kernel: {on_kernel:#?}\nin user space: {:#?}", told.outcomes).into());
            }
        }
        report.lock().expect("no test panics while it reports").push(format!("{named}: {}", told.numbers));
        Ok(())
    })
    .with_ignored_flag(skipped)
}
