//! `shmgate run`: exit statuses, options, policy, what it says afterwards.

mod common;

use std::fs;
use std::process::ExitCode;

use common::{place, refused, run, shmgate, write};
use shmgate_testkit::{Status, run_trials, trials};

fn main() -> ExitCode {
    run_trials(trials![
        the_status_is_the_commands,
        what_is_no_command,
        bad_usage_is_one_line,
        a_bad_policy_has_line_and_column,
        policy_check_says_what_a_file_holds,
        a_log_that_cant_be_written_is_an_error_before_the_start,
        a_relative_log_lands_here,
        lines_go_to_standard_error,
        denials_and_what_is_left_are_said,
        a_dry_run_denies_nothing_and_says_so,
        nothing_inherited_stands_against_the_session,
        completions_man_pages_and_version,
    ])
}

fn the_status_is_the_commands() {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        let outcome = run(["sh", "-c", script]).output();
        assert_eq!((outcome.status, outcome.stderr.as_str()), (Status::Exited(status), ""), "{script}");
    }
}

fn what_is_no_command() {
    let temp = place();
    let at = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    write(&temp.path().join("plain"), "echo", 0o644);
    write(&temp.path().join("orphan"), "#!/no/such/interpreter\n", 0o755);
    refused(&run([at("none")]).output(), 127, &["none", "No such file"]);
    refused(&run(["no-such-command"]).output(), 127, &["no-such-command", "not found in PATH"]);
    refused(&run([""]).output(), 127, &["not found"]);
    refused(&run([at("plain")]).output(), 126, &["plain", "executable"]);
    refused(&run([at("")]).output(), 126, &["is a directory"]);
    refused(&run([at("orphan")]).output(), 126, &["orphan", "interpreter"]);
    refused(&run(["plain"]).env("PATH", temp.path()).output(), 126, &["plain is not executable"]);
    refused(&run(["plain"]).directory(temp.path()).output(), 127, &["write ./plain"]);
    // The shell runs a script without its name in it, as execvp has it.
    write(&temp.path().join("nameless"), "exit 9", 0o755);
    assert_eq!(run([at("nameless")]).output().status, Status::Exited(9));
}

fn bad_usage_is_one_line() {
    for (arguments, parts) in [
        (&["run", "--frob", "--", "true"][..], &["--frob", "shmgate run --help"][..]),
        (&["run", "--max-bytes", "12Q", "--", "true"], &["12Q", "--max-bytes", "not a size"]),
        (&["run", "--max-segments", "many", "--", "true"], &["many", "not a count"]),
        (&["run", "--backend", "kernal", "--", "true"], &["unknown backend \"kernal\"", "auto, kernel"]),
        (&["run", "--backend", "user", "--", "true"], &["unknown backend", "userspace"]),
        (&["run"], &["COMMAND"]),
        (&["run", "--isolate", "--backend", "kernel", "--", "true"], &["--isolate", "--backend kernel", "shmgate run --help"]),
        (&["run", "--isolate", "--namespace", "n", "--", "true"], &["--isolate", "--namespace", "shmgate run --help"]),
        (&["frob"], &["frob"]),
        (&["log"], &["SESSION"]),
    ] {
        refused(&shmgate(arguments).output(), 2, parts);
    }
    refused(&run(["true"]).env("SHMGATE_BACKEND", "kernal").output(), 2, &["SHMGATE_BACKEND", "kernal"]);
}

fn a_bad_policy_has_line_and_column() {
    let temp = place();
    let file = temp.path().join("p.toml");
    let name = file.to_str().unwrap();
    write(&file, "dry-run = false\n[quota.session]\nbytes = \"12Q\"\n", 0o644);
    let place_of = format!("policy {name}:3:9: found \"12Q\", expected a size");
    refused(&shmgate(["run", "--policy", name, "--", "true"]).output(), 2, &[&place_of]);
    refused(&shmgate(["policy", "check", name]).output(), 2, &[&place_of["policy ".len()..]]);
    write(&file, "frob = 1\n", 0o644);
    refused(&shmgate(["policy", "check", name]).output(), 2, &[":1:1: unknown key \"frob\""]);
    refused(&shmgate(["run", "--policy", "/no/such.toml", "--", "true"]).output(), 2, &["policy /no/such.toml: No such file"]);
}

fn policy_check_says_what_a_file_holds() {
    let temp = place();
    let file = temp.path().join("p.toml");
    write(&file, "[quota.session]\nbytes = \"1G\"\n[[rule]]\nname = \"mine\"\naction = \"deny\"\n", 0o644);
    let said = shmgate(["policy", "check", file.to_str().unwrap()]).output().silent().stdout;
    let expected =
        format!("{}: ok\n  the session: at most 1 GiB\n  rule \"mine\": deny with EACCES (any call)\n", file.display());
    assert_eq!(said, expected);
    // The tests' stdin is empty, and an empty policy is one.
    let said = shmgate(["policy", "check", "-"]).output().silent().stdout;
    assert_eq!(said, "standard input: ok\n  nothing: all calls pass\n");
}

fn a_log_that_cant_be_written_is_an_error_before_the_start() {
    let temp = place();
    let mark = temp.path().join("mark");
    for log in ["/no/such/place.log", "/", "/dev/null/x"] {
        refused(&shmgate(["run", "--log", log, "--", "touch"]).arg(&mark).output(), 2, &["log ", log]);
    }
    assert!(!mark.exists());
}

fn a_relative_log_lands_here() {
    let temp = place();
    let done = shmgate(["run", "-q", "--log", "a.log", "--", "sh", "-c", "cd / && exec ipcmk -M 4096"])
        .directory(temp.path())
        .output();
    done.silent();
    let lines = fs::read_to_string(temp.path().join("a.log")).unwrap();
    assert!(lines.contains(" shmget(key=0x") && lines.contains("size=4096, IPC_CREAT|0644) = "), "{lines}");
}

fn lines_go_to_standard_error() {
    let text = shmgate(["run", "-q", "--log", "-", "--", "ipcmk", "-M", "4096"]).output().success();
    assert!(text.stderr.contains(" shmget(key=0x"), "{text}");
    for options in [&["--json"][..], &["--json", "--log", "-"]] {
        let json = shmgate(["run", "-q"]).args(options).args(["--", "ipcmk", "-M", "4096"]).output().success();
        let line: serde_json::Value = serde_json::from_str(json.stderr.lines().next().unwrap()).unwrap();
        assert_eq!((&line["schema"], &line["call"]), (&1.into(), &"shmget".into()));
    }
}

fn denials_and_what_is_left_are_said() {
    let script = "ipcmk -M 4096 && ! ipcmk -M 4096 2>/dev/null";
    let said = shmgate(["run", "--max-segments", "1", "--", "sh", "-c", script]).output().success();
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("shmgate: 1 call was denied; ") && lines[0].contains("--log -"), "{said}");
    assert!(lines[1].starts_with("shmgate: left behind: shmid ") && lines[1].contains(", key 0x"), "{said}");
    let shmid = lines[1].rsplit(' ').next().unwrap();
    assert!(lines[1].ends_with(&format!("4096 bytes, 0 attached; remove it with: ipcrm -m {shmid}")), "{said}");
    shmgate(["run", "-q", "--max-segments", "1", "--", "sh", "-c", script]).output().success().silent();
    // Gone by itself, or by the command: nothing to say.
    run(["sh", "-c", "ipcrm -m $(ipcmk -M 4096 | sed 's/.* //')"]).output().silent();
}

fn a_dry_run_denies_nothing_and_says_so() {
    let said = shmgate(["run", "--dry-run", "--max-bytes", "4K", "--", "ipcmk", "-M", "8192"]).output().success();
    assert!(said.stderr.starts_with("shmgate: 1 call would have been denied (dry run); "), "{said}");
}

fn nothing_inherited_stands_against_the_session() {
    let temp = place();
    let environment = |options: &[&str]| {
        let run = shmgate(["run"]).args(options).args(["--", "env"]).directory(temp.path());
        let run = run.env("SHMGATE_SESSION", "/elsewhere").env("SHMGATE_POLICY", "/elsewhere/p.toml");
        run.env("SHMGATE_LOG_FORMAT", "json").env("SHMGATE_LOG", "old.log").output().silent().stdout
    };
    let plain = environment(&[]);
    assert!(!plain.contains("elsewhere") && !plain.contains("SHMGATE_POLICY"), "{plain}");
    let old = fs::canonicalize(temp.path()).unwrap().join("old.log");
    assert!(plain.contains(&format!("SHMGATE_LOG={}\n", old.display())), "{plain}");
    let full =
        environment(&["--session", "s", "--log", "x.log", "--max-bytes", "1M", "--backend", "kernel", "--keep-deepbind"]);
    let session = fs::canonicalize(temp.path()).unwrap().join("s");
    for line in [
        format!("SHMGATE_SESSION={}\n", session.display()),
        format!("SHMGATE_POLICY={}/policy.toml\n", session.display()),
        format!("SHMGATE_LOG={}\n", session.with_file_name("x.log").display()),
        "SHMGATE_LOG_FORMAT=text\n".into(),
        "SHMGATE_BACKEND=kernel\n".into(),
        "SHMGATE_DEEPBIND=keep\n".into(),
    ] {
        assert!(full.contains(&line), "{line}{full}");
    }
}

fn completions_man_pages_and_version() {
    let temp = place();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shmgate(["completions", shell]).output().silent().stdout;
        assert!(script.contains("max-segment-size"), "{shell}");
    }
    let pages = temp.path().join("man1");
    shmgate(["man"]).arg(&pages).output().silent();
    for page in [
        "shmgate",
        "shmgate-run",
        "shmgate-log",
        "shmgate-policy",
        "shmgate-policy-check",
        "shmgate-namespace",
        "shmgate-namespace-list",
        "shmgate-namespace-create",
        "shmgate-namespace-remove",
        "shmgate-namespace-check",
        "shmgate-completions",
    ] {
        let text = fs::read_to_string(pages.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH SYNOPSIS\nshmgate") && text.contains(".SH NAME"), "{text}");
    }
    assert!(!pages.join("shmgate-man.1").exists() && !pages.join("shmgate-namespace-watch.1").exists());
    assert_eq!(shmgate(["--version"]).output().silent().stdout, concat!("shmgate ", env!("CARGO_PKG_VERSION"), "\n"));
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["log", "--help"],
        &["policy", "check", "--help"],
        &["namespace", "--help"],
        &["namespace", "list", "--help"],
        &["namespace", "create", "--help"],
        &["namespace", "remove", "--help"],
        &["namespace", "check", "--help"],
        &["completions", "--help"],
    ] {
        assert!(shmgate(arguments).output().silent().stdout.contains("\nExamples:\n"), "{arguments:?}");
    }
}
