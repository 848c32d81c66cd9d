//! What `make install` puts down is enough to build against and to run: header, library, shmgate.pc, command, man pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use shmgate_testkit::Run;
use shmgate_testkit::artifacts::workspace;
use tempfile::TempDir;

struct Installed {
    _root: TempDir,
    prefix: PathBuf,
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}:\n{}{}", text(&output.stdout), text(&output.stderr));
}

fn install() -> Installed {
    let root = tempfile::tempdir().unwrap();
    let destdir = format!("DESTDIR={}", root.path().display());
    run(Command::new("make").current_dir(workspace()).args(["install", "PREFIX=/opt/shmgate", &destdir]));
    let prefix = root.path().join("opt/shmgate");
    Installed { _root: root, prefix }
}

impl Installed {
    /// Compiles a C program with what shmgate.pc says, below DESTDIR.
    fn compile(&self, source: &Path) -> PathBuf {
        let pc = fs::read_to_string(self.prefix.join("lib/pkgconfig/shmgate.pc")).unwrap();
        let flags = |field: &str| {
            let line = pc.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_else(|| panic!("{field} in {pc}"));
            let prefix = self.prefix.display().to_string();
            let line =
                line.replace("${libdir}", &format!("{prefix}/lib")).replace("${includedir}", &format!("{prefix}/include"));
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let program = self.prefix.join(source.file_stem().unwrap());
        let version = format!("-DVERSION=\"{}\"", env!("CARGO_PKG_VERSION"));
        run(Command::new("cc")
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread", &version])
            .args(flags("Cflags:"))
            .arg(source)
            .args(flags("Libs:"))
            .arg("-o")
            .arg(&program));
        program
    }

    fn linked(&self, program: &Path) -> Run {
        Run::new(program).env("LD_LIBRARY_PATH", self.prefix.join("lib"))
    }
}

#[test]
fn what_is_installed_is_enough_to_build_against_and_to_run() {
    let installed = install();
    for file in [
        "bin/shmgate",
        "lib/libshmgate.so",
        "lib/libshmgate.so.0",
        "include/shmgate.h",
        "share/man/man1/shmgate.1",
        "share/man/man1/shmgate-run.1",
        "share/doc/shmgate/docs/policy.md",
        "share/bash-completion/completions/shmgate",
    ] {
        let meta = fs::metadata(installed.prefix.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(meta.len() > 0, "{file} is empty");
    }
    let pc = fs::read_to_string(installed.prefix.join("lib/pkgconfig/shmgate.pc")).unwrap();
    assert!(pc.contains("prefix=/opt/shmgate\n") && pc.contains(&format!("Version: {}\n", env!("CARGO_PKG_VERSION"))), "{pc}");

    // The command finds the library in ../lib.
    let gated = Run::new(installed.prefix.join("bin/shmgate")).args(["run", "--log", "-", "--", "sh", "-c", "exec true"]);
    gated.output().silent();

    let policy = installed.prefix.join("limits.toml");
    fs::write(&policy, "[quota.segment]\nsize = \"64K\"\n[quota.session]\nsegments = 10\n").unwrap();

    // The example of the documentation, linked.
    let counters = installed.compile(&workspace().join("c-examples/counters.c"));
    let said = installed.linked(&counters).output().success();
    assert!(said.stdout.contains("backend kernel") && said.stdout.contains("4 calls, 0 denied"), "{said}");
    assert_eq!(said.stderr.lines().count(), 4, "a line a call");
    let said = installed.linked(&counters).env("SHMGATE_POLICY", &policy).output().success();
    assert!(said.stdout.contains("denied: segment size") && said.stdout.contains("1 calls, 1 denied"), "{said}");

    let capi = installed.compile(&workspace().join("tests/programs/linked/capi.c"));
    installed.linked(&capi).env("SHMGATE_POLICY", &policy).output().success();

    let destdir = format!("DESTDIR={}", installed._root.path().display());
    run(Command::new("make").current_dir(workspace()).args(["uninstall", "PREFIX=/opt/shmgate", &destdir]));
    for gone in ["bin/shmgate", "lib/libshmgate.so", "share/doc/shmgate"] {
        assert!(!installed.prefix.join(gone).exists(), "{gone}");
    }
}
