//! What can be gated, what is refused, and how the library is found.

mod common;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::{compile, place, refused, run, shmgate};
use shmgate_testkit::{Outcome, Run, Status, command, executable, library, root_trials, run_trials, trials};

fn main() -> ExitCode {
    let mut all = trials![
        a_static_program_is_refused,
        a_damaged_program_is_refused,
        a_program_for_another_loader_is_refused,
        a_program_for_another_machine_is_refused,
        scripts_are_judged_by_their_interpreter,
        an_executable_that_cant_be_read,
        the_loader_as_command_is_gated,
        the_library_beside_and_in_lib_is_found,
        a_missing_library_is_said,
        a_library_that_ld_preload_cant_name,
        preloads_of_others_stay_and_stay_first,
    ];
    all.extend(root_trials![
        setuid_and_setgid_are_refused,
        roots_own_setuid_program_is_gated,
        capabilities_are_refused_for_users
    ]);
    run_trials(all)
}

/// Refused without `--allow-ungated`, and run with it: in silence with `-q`, with a warning without.
#[track_caller]
fn ungated(program: &Path, why: &str) {
    let hint = ["--allow-ungated", why];
    refused(&run([program]).output(), 125, &hint);
    let allowed = |options: &[&str]| shmgate(["run", "--allow-ungated"]).args(options).arg("--").arg(program).output();
    let said = allowed(&[]);
    assert_eq!((said.status, said.stdout.as_str()), (Status::Exited(0), "hello\n"), "{said}");
    assert!(said.stderr.starts_with("shmgate: warning: ") && said.stderr.contains(why), "{said}");
    assert_eq!(allowed(&["-q"]).silent().stdout, "hello\n");
}

fn a_static_program_is_refused() {
    for flag in ["-static", "-static-pie"] {
        let temp = place();
        ungated(&compile("hello", temp.path(), &[flag]), "linked statically");
    }
}

fn a_program_for_another_loader_is_refused() {
    let temp = place();
    let program = compile("hello", temp.path(), &["-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"]);
    refused(&run([program]).output(), 125, &["ld-musl-x86_64.so.1", "--allow-ungated"]);
}

fn a_program_for_another_machine_is_refused() {
    let temp = place();
    let program = compile("hello", temp.path(), &[]);
    let mut bytes = fs::read(&program).unwrap();
    // e_machine: none that any machine has.
    bytes[18..20].copy_from_slice(&0x7fff_u16.to_ne_bytes());
    executable::write(&program, &bytes, 0o755).unwrap();
    refused(&run([&program]).output(), 125, &["another architecture"]);
}

/// execvp would give it to the shell.
fn a_damaged_program_is_refused() {
    let temp = place();
    let program = compile("hello", temp.path(), &[]);
    let bytes = fs::read(&program).unwrap();
    executable::write(&program, &bytes[..100], 0o755).unwrap();
    refused(&run([&program]).output(), 125, &["damaged ELF file"]);
}

fn scripts_are_judged_by_their_interpreter() {
    let temp = place();
    let tool = compile("hello", temp.path(), &["-static"]);
    let script = temp.path().join("script");
    let line = |line: &str| {
        executable::write(&script, format!("#!{line}\necho hello\n").as_bytes(), 0o755).unwrap();
        run([&script]).env("PATH", format!("{}:/usr/bin:/bin", temp.path().display())).output()
    };
    for good in ["/bin/sh", " /bin/sh -e", "/usr/bin/env sh", "/usr/bin/env -S sh -e"] {
        assert_eq!(line(good).silent().stdout, "hello\n", "{good}");
    }
    let tool_path = tool.to_str().unwrap();
    for bad in [tool_path, "/usr/bin/env hello", &format!("/usr/bin/env {tool_path}")] {
        refused(&line(bad), 125, &[tool_path, "linked statically"]);
    }
    refused(&line("/usr/bin/env -S -i sh"), 125, &["cleared environment"]);
}

fn an_executable_that_cant_be_read() {
    let temp = place();
    let program = compile("hello", temp.path(), &[]);
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o111)).unwrap();
    let outcome = run([&program]).output();
    // Root reads everything.
    if fs::read(&program).is_ok() {
        assert_eq!(outcome.silent().stdout, "hello\n");
    } else {
        refused(&outcome, 125, &["can't be read", "--allow-ungated"]);
    }
}

fn the_loader_as_command_is_gated() {
    let temp = place();
    let program = compile("hello", temp.path(), &[]);
    let loader =
        ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"].into_iter().find(|path| Path::new(path).exists());
    let Some(loader) = loader else { return };
    let done = shmgate(["run", "--log", "-", "--", loader]).arg(program).output().success();
    assert_eq!(done.stderr.matches("shmget(").count(), 1, "{done}");
}

/// The built command and library, installed as they are told.
fn install(command_at: &Path, library_at: Option<&Path>) -> PathBuf {
    for path in [Some(command_at), library_at].into_iter().flatten() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
    }
    executable::copy(command(), command_at).unwrap();
    if let Some(library_at) = library_at {
        fs::copy(library(), library_at).unwrap();
    }
    command_at.to_owned()
}

fn preload_of(outcome: Outcome) -> OsString {
    let line = outcome.silent().stdout.lines().find_map(|line| line.strip_prefix("LD_PRELOAD=").map(str::to_owned));
    line.expect("LD_PRELOAD is set").into()
}

fn the_library_beside_and_in_lib_is_found() {
    let multiarch = format!("lib/{}-linux-gnu/libshmgate.so", std::env::consts::ARCH);
    for place_of in ["bin/libshmgate.so", "lib/libshmgate.so", "lib/libshmgate.so.0", "lib64/libshmgate.so", &multiarch] {
        let temp = place();
        let library = temp.path().join(place_of);
        let installed = install(&temp.path().join("bin/shmgate"), Some(&library));
        assert_eq!(preload_of(Run::new(installed).args(["run", "--", "env"]).output()), library);
    }
    let temp = place();
    let (link, installed) = (temp.path().join("link"), install(&temp.path().join("bin/shmgate"), None));
    symlink(library(), &link).unwrap();
    assert_eq!(preload_of(Run::new(installed).args(["run", "--", "env"]).env("SHMGATE_LIB", &link).output()), link);
}

fn a_missing_library_is_said() {
    let temp = place();
    let installed = install(&temp.path().join("bin/shmgate"), None);
    let with = |value: &str| Run::new(&installed).args(["run", "--", "true"]).env("SHMGATE_LIB", value).output();
    refused(&with(""), 2, &["libshmgate.so not found in", "/bin, ", "/lib, ", "SHMGATE_LIB"]);
    refused(&with("/no/such.so"), 2, &["SHMGATE_LIB=/no/such.so", "No such file"]);
    refused(&with("/etc/passwd"), 2, &["SHMGATE_LIB=/etc/passwd", "not a shared library"]);
    let other = compile("hello", temp.path(), &["-shared", "-fPIC"]);
    refused(&with(other.to_str().unwrap()), 2, &["SHMGATE_LIB=", "is not libshmgate.so"]);
}

fn a_library_that_ld_preload_cant_name() {
    for name in ["with space", "with:colon", "with$LIB"] {
        let temp = place();
        let program = compile("hello", temp.path(), &[]);
        let library = temp.path().join(name).join("libshmgate.so");
        let installed = install(&temp.path().join("shmgate"), Some(&library));
        let start = |session: &str| {
            let session = temp.path().join(session);
            let run = Run::new(&installed).arg("run").arg("--session").arg(session).arg("--").arg(&program);
            run.env("SHMGATE_LIB", &library).output()
        };
        for _ in 0..2 {
            assert_eq!(start("s").silent().stdout, "hello\n");
        }
        let log = Run::new(&installed).arg("log").arg(temp.path().join("s")).output().silent().stdout;
        assert_eq!(log.matches("shmget(").count(), 2, "{log}");
        refused(&start("a b"), 2, &["LD_PRELOAD can't carry", "--session"]);
        // A temporary session goes, with the link in it.
        let run = Run::new(&installed).args(["run", "--"]).arg(&program).env("SHMGATE_LIB", &library);
        run.env("XDG_RUNTIME_DIR", temp.path()).output().silent();
        assert_eq!(fs::read_dir(temp.path().join("shmgate")).map_or(0, Iterator::count), 0);
    }
}

fn preloads_of_others_stay_and_stay_first() {
    let temp = place();
    let other = temp.path().join("other.so");
    fs::copy(compile("hello", temp.path(), &["-shared", "-fPIC"]), &other).unwrap();
    let expected = format!("{}:{}", other.display(), library().display());
    assert_eq!(preload_of(run(["env"]).env("LD_PRELOAD", &other).output()), *expected);
}

fn setuid_and_setgid_are_refused() {
    for (uid, gid, mode, why) in [(Some(12345), None, 0o4755, "is setuid"), (None, Some(12345), 0o2755, "is setgid")] {
        let temp = place();
        let program = compile("hello", temp.path(), &[]);
        chown(&program, uid, gid).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        ungated(&program, why);
    }
}

fn roots_own_setuid_program_is_gated() {
    let temp = place();
    let program = compile("hello", temp.path(), &[]);
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    let done = shmgate(["run", "--log", "-", "--"]).arg(program).output().success();
    assert_eq!(done.stderr.matches("shmget(").count(), 1, "{done}");
}

fn capabilities_are_refused_for_users() {
    let temp = place();
    fs::set_permissions(temp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let installed = install(&temp.path().join("shmgate"), Some(&temp.path().join("libshmgate.so")));
    let program = compile("hello", temp.path(), &[]);
    let set = std::process::Command::new("setcap").arg("cap_net_raw=ep").arg(&program).status();
    if !set.is_ok_and(|status| status.success()) {
        eprintln!("note: no setcap here, or a file system without capabilities");
        return;
    }
    let as_user = Run::new("setpriv").args(["--reuid", "12345", "--regid", "12345", "--clear-groups", "--"]);
    refused(&as_user.arg(&installed).args(["run", "--"]).arg(&program).output(), 125, &["has file capabilities"]);
    assert_eq!(Run::new(&installed).args(["run", "--"]).arg(&program).output().silent().stdout, "hello\n");
}
