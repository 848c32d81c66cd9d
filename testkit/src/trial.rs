//! Tests by name. Those that need what is not there (root, a namespace) are skipped by name and counted.

use std::cell::Cell;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::Namespace;

/// A test for any user.
pub fn trial(name: impl Into<String>, body: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        body();
        Ok(())
    })
}

/// A test that only root can do: ignored, and counted as that, for others, and for a root that may not even make namespaces.
pub fn as_root(name: impl Into<String>, body: impl FnOnce() + Send + 'static) -> Trial {
    trial(format!("{} (needs root)", name.into()), body).with_ignored_flag(!is_root() || !Namespace::available())
}

/// Whether these tests are run by root.
pub fn is_root() -> bool {
    // SAFETY: geteuid always succeeds.
    unsafe { libc::geteuid() == 0 }
}

/// A test that must not run in the machine's own IPC namespace: ignored, and counted as that, where there is no other.
pub fn isolated(name: impl Into<String>, body: impl FnOnce() + Send + 'static) -> Trial {
    trial(format!("{} (needs an IPC namespace)", name.into()), body).with_ignored_flag(!Namespace::available())
}

/// Tests from functions of the same names.
#[macro_export]
macro_rules! trials {
    ($($name:ident),* $(,)?) => { vec![$($crate::trial::trial(stringify!($name), $name)),*] };
}

/// The same for those that need root.
#[macro_export]
macro_rules! root_trials {
    ($($name:ident),* $(,)?) => { vec![$($crate::trial::as_root(stringify!($name), $name)),*] };
}

/// The same for those that must not run in the machine's own IPC namespace.
#[macro_export]
macro_rules! isolated_trials {
    ($($name:ident),* $(,)?) => { vec![$($crate::trial::isolated(stringify!($name), $name)),*] };
}

thread_local! {
    static ON_USERSPACE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the trial that runs on this thread is one of the userspace backend: `Namespace::of_trial` goes by it.
pub(crate) fn is_on_userspace() -> bool {
    ON_USERSPACE.get()
}

/// The second half of a test that runs on each backend.
pub fn on_userspace(body: fn()) {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            ON_USERSPACE.set(false);
        }
    }
    ON_USERSPACE.set(true);
    let _reset = Reset;
    body();
}

/// Tests from functions of the same names, each twice: on the kernel, and on the userspace backend with the kernel's four system calls
/// made to fail. What is named before the names makes one: `trial` or `as_root`.
#[macro_export]
macro_rules! on_each_backend {
    ($trial:ident: $($name:ident),* $(,)?) => {
        vec![$(
            $crate::trial::$trial(stringify!($name), $name),
            $crate::trial::$trial(concat!("userspace::", stringify!($name)), || $crate::trial::on_userspace($name)),
        )*]
    };
}

/// Runs them as `cargo test` expects it: one after the other where they have to share the machine's IPC namespace.
pub fn run_trials(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !Namespace::available() {
        arguments.test_threads = Some(1);
    }
    let code = libtest_mimic::run(&arguments, trials).exit_code();
    // The place of the namespaces that the trials made and removed: if it has others, it stays.
    // SAFETY: geteuid always succeeds.
    let _ = std::fs::remove_dir(format!("/dev/shm/shmgate-{}", unsafe { libc::geteuid() }));
    code
}
