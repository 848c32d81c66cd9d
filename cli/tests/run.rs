//! `shmgate run`: exit statuses, options, policy, what it says afterwards.

mod common;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use common::{Named, place, refused, run, shmgate};
use shmgate_testkit::compile::program;
use shmgate_testkit::{Agent, Namespace, Run, Status, Userspace, command, executable, library, run_trials, trials};

/// The kernel's backend, chosen by auto, has no namespaces: that the option does nothing is said.
fn a_namespace_that_is_not_used_is_said() {
    let own = Named::new("unused");
    let run = |more: &[&str]| shmgate(["run", "--namespace", &own.name]).args(more).args(["--", "true"]).output().success();
    let said = run(&[]).stderr;
    assert!(said.starts_with("shmgate: warning: --namespace is not used") && said.lines().count() == 1, "{said}");
    run(&["-q"]).silent();
    run(&["--backend", "userspace"]).silent();
    Run::new(shmgate_testkit::command()).args(["namespace", "remove"]).arg(&own.dir).output().silent();
}

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
        what_is_left_in_a_namespace_is_said,
        who_holds_what_is_left_can_be_asked,
        a_namespace_that_is_not_used_is_said,
        a_dry_run_denies_nothing_and_says_so,
        the_environment_is_as_the_options,
        options_win_over_the_environment,
        what_is_wrong_in_the_environment_is_an_error_before_the_start,
        hints_can_be_copied,
        nothing_is_left_of_a_run_that_did_not_start,
        help_that_cant_be_written_is_an_error,
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
    fs::write(temp.path().join("plain"), "echo").unwrap();
    executable::write(&temp.path().join("orphan"), b"#!/no/such/interpreter\n", 0o755).unwrap();
    refused(&run([at("none")]).output(), 127, &["none", "No such file"]);
    refused(&run(["no-such-command"]).output(), 127, &["no-such-command", "not found in PATH"]);
    refused(&run([""]).output(), 127, &["name is empty"]);
    refused(&run([at("plain")]).output(), 126, &["plain", "executable"]);
    refused(&run([at("")]).output(), 126, &["is a directory"]);
    refused(&run([at("orphan")]).output(), 126, &["orphan", "interpreter"]);
    refused(&run(["plain"]).env("PATH", temp.path()).output(), 126, &["plain is not executable"]);
    refused(&run(["plain"]).directory(temp.path()).output(), 127, &["write ./plain"]);
    // The shell runs a script without its name in it, as execvp has it.
    executable::write(&temp.path().join("nameless"), b"exit 9", 0o755).unwrap();
    assert_eq!(run([at("nameless")]).output().status, Status::Exited(9));
}

fn bad_usage_is_one_line() {
    for (arguments, parts) in [
        (&["run", "--frob", "--", "true"][..], &["--frob", "shmgate run --help"][..]),
        (&["run", "--max-bytes", "12Q", "--", "true"], &["12Q", "--max-bytes", "not a size"]),
        (&["run", "--max-segments", "many", "--", "true"], &["many", "not a count"]),
        (&["run", "--backend", "kernal", "--", "true"], &["'kernal'", "--backend", "auto, kernel, userspace"]),
        (&["run", "--max-bytes", "-1", "--", "true"], &["'-1'", "--max-bytes", "not a size"]),
        (&["run", "--max-segments", "-1", "--", "true"], &["'-1'", "not a count"]),
        (&["run", "--policy", "-", "--", "true"], &["--policy -", "standard input is the command's"]),
        (&["completions", "tcsh"], &["'tcsh'", "[possible values: bash, elvish, fish, powershell, zsh]"]),
        (&["help", "frob"], &["frob"]),
        (&["run"], &["COMMAND"]),
        (&["run", "--isolate", "--backend", "kernel", "--", "true"], &["--isolate", "--backend kernel", "shmgate run --help"]),
        (
            &["run", "--namespace", "n", "--backend", "kernel", "--", "true"],
            &["--namespace: the kernel's", "--backend userspace"],
        ),
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
    fs::write(&file, "dry-run = false\n[quota.session]\nbytes = \"12Q\"\n").unwrap();
    let place_of = format!("policy {name}:3:9: found \"12Q\", expected a size");
    refused(&shmgate(["run", "--policy", name, "--", "true"]).output(), 2, &[&place_of]);
    refused(&shmgate(["policy", "check", name]).output(), 2, &[&place_of["policy ".len()..]]);
    fs::write(&file, "frob = 1\n").unwrap();
    refused(&shmgate(["policy", "check", name]).output(), 2, &[":1:1: unknown key \"frob\""]);
    refused(
        &shmgate(["run", "--policy", "/no/such.toml", "--", "true"]).output(),
        2,
        &["policy /no/such.toml: No such file", "that you can read"],
    );
}

fn policy_check_says_what_a_file_holds() {
    let temp = place();
    let file = temp.path().join("p.toml");
    fs::write(&file, "[quota.session]\nbytes = \"1G\"\n[[rule]]\nname = \"mine\"\nuid = 7\naction = \"deny\"\n").unwrap();
    let said = shmgate(["policy", "check", file.to_str().unwrap()]).output().silent().stdout;
    let expected =
        format!("{}: ok\n  the session: at most 1 GiB\n  rule \"mine\": deny with EACCES (any call; uid 7)\n", file.display());
    assert_eq!(said, expected);
    fs::write(&file, "[[rule]]\nuid = 1\nsize = { min = 1 }\ncall = \"shmat\"\naction = \"deny\"\n").unwrap();
    let part = "p.toml:3:8: the rule never holds: size is for shmget, the rule's other conditions for shmat";
    refused(&shmgate(["policy", "check", file.to_str().unwrap()]).output(), 2, &[part]);
    refused(&shmgate(["run", "--policy", file.to_str().unwrap(), "--", "true"]).output(), 2, &[part]);
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
    assert!(lines[1].ends_with(&format!("4096 bytes, 0 attached; remove it with: shmgate rm --kernel {shmid}")), "{said}");
    shmgate(["run", "-q", "--max-segments", "1", "--", "sh", "-c", script]).output().success().silent();
    // Gone by itself, or by the command: nothing to say.
    run(["sh", "-c", "ipcrm -m $(ipcmk -M 4096 | sed 's/.* //')"]).output().silent();
}

fn what_is_left_in_a_namespace_is_said() {
    let namespace = Userspace::fresh();
    let dir = namespace.directory().to_str().unwrap();
    let there = || shmgate(["run", "--backend", "userspace", "--namespace", dir]);
    let said = there().args(["--", "ipcmk", "-M", "4096"]).output().success();
    assert!(said.stderr.starts_with("shmgate: left behind: shmid 32768, key 0x"), "{said}");
    let (_, hint) = said.stderr.trim_end().split_once("4096 bytes, 0 attached; remove it with: shmgate ").expect("a hint");
    assert_eq!(hint, format!("rm --namespace {dir} 32768"));
    shmgate(hint.split(' ')).arg("--yes").output().silent();
    // It was removed, and what is to be removed with its last attach is none to tell of.
    let left = there().args(["--", "sh", "-c", "ipcs -m | grep -c ^0x || true"]).output().silent();
    assert_eq!(left.stdout, "0\n");
    // Where the kernel has none, `auto` is the namespace too.
    let launcher = Run::new(program("without_shm")).arg("--").arg(command()).args(["run", "--namespace", dir]);
    let auto = launcher.env("SHMGATE_LIB", library()).args(["--", "ipcmk", "-M", "4096"]).output().success();
    assert!(auto.stderr.contains(&format!(": shmgate rm --namespace {dir} ")), "{auto}");
}

/// It may be in use on purpose.
fn who_holds_what_is_left_can_be_asked() {
    let (temp, namespace) = (place(), Namespace::fresh());
    let file = temp.path().join("said");
    let script = "exec \"$0\" run -- \"$1\" 2>\"$2\"";
    let run = Run::new("sh").args(["-c", script]).arg(command()).arg(program("agent")).arg(&file);
    let (mut agent, mut holder) = (Agent::start(run.namespace(&namespace)), Agent::native(&namespace));
    let id = agent.number("get 77 4096 01600");
    holder.number(&format!("at {id}"));
    assert_eq!(agent.finish(), Status::Exited(0));
    let said = fs::read_to_string(&file).unwrap();
    let (_, hint) = said.trim_end().split_once("4096 bytes, 1 attached; see who holds it with: shmgate ").expect(&said);
    let shown = shmgate(hint.split(' ')).namespace(&namespace).output().silent().stdout;
    assert!(shown.contains(&format!("\n{} ", holder.pid())), "{shown}");
}

fn a_dry_run_denies_nothing_and_says_so() {
    let said = shmgate(["run", "--dry-run", "--max-bytes", "4K", "--", "ipcmk", "-M", "8192"]).output().success();
    assert!(said.stderr.starts_with("shmgate: 1 call would have been denied (dry run); "), "{said}");
}

/// What a command finds in its environment under `run` with these options and variables.
fn environment(place: &Path, options: &[&str], variables: &[(&str, &str)]) -> String {
    let run = shmgate(["run"]).args(options).args(["--", "env"]).directory(place);
    variables.iter().fold(run, |run, (name, value)| run.env(name, value)).output().silent().stdout
}

fn the_environment_is_as_the_options() {
    let temp = place();
    let here = fs::canonicalize(temp.path()).unwrap();
    fs::write(temp.path().join("p.toml"), "quota.session.segments = 1\n").unwrap();
    let with =
        [("SHMGATE_LOG_FORMAT", "json"), ("SHMGATE_LOG", "old.log"), ("SHMGATE_NAMESPACE", "n"), ("SHMGATE_POLICY", "p.toml")];
    let found = environment(temp.path(), &[], &with);
    for line in [&format!("SHMGATE_LOG={}/old.log\n", here.display()), "SHMGATE_LOG_FORMAT=json\n", "SHMGATE_NAMESPACE=n\n"] {
        assert!(found.contains(line), "{line}{found}");
    }
    // The policy holds, with the options worked in, and the session has it.
    assert!(!found.contains("p.toml") && found.contains("/policy.toml\n"), "{found}");
    let limited = |options: &[&str], script: &str| {
        let run =
            shmgate(["run"]).args(options).args(["--", "sh", "-c", script]).env("SHMGATE_POLICY", temp.path().join("p.toml"));
        run.output().success().stderr
    };
    let said =
        limited(&["--max-segment-size", "4K"], "! ipcmk -M 8192 2>/dev/null && ipcmk -M 4096 && ! ipcmk -M 1 2>/dev/null");
    assert!(said.contains("2 calls were denied; "), "{said}");
    fs::write(temp.path().join("none.toml"), "").unwrap();
    let option = temp.path().join("none.toml");
    assert!(!limited(&["--policy", option.to_str().unwrap()], "ipcmk -M 1 && ipcmk -M 1").contains("denied"));
    // The format of a log that an option asks for is the environment's.
    let json =
        shmgate(["run", "-q", "--log", "-", "--", "ipcmk", "-M", "1"]).env("SHMGATE_LOG_FORMAT", "json").output().success();
    assert!(json.stderr.starts_with("{\"schema\":1,"), "{json}");
    // Where the log says it, nobody is told to make one.
    let log =
        shmgate(["run", "--max-bytes", "0", "--", "ipcmk", "-M", "1"]).env("SHMGATE_LOG", temp.path().join("log")).output();
    assert!(log.stderr.contains("the log says which and why"), "{log}");
}

fn options_win_over_the_environment() {
    let temp = place();
    fs::write(temp.path().join("p.toml"), "dry-run = true\n").unwrap();
    let session = fs::canonicalize(temp.path()).unwrap().join("s");
    let full = environment(
        temp.path(),
        &["--session", "s", "--log", "x.log", "--json", "--max-bytes", "1M", "--backend", "kernel", "--keep-deepbind"],
        &[
            ("SHMGATE_SESSION", "/elsewhere"),
            ("SHMGATE_POLICY", "p.toml"),
            ("SHMGATE_LOG", "old.log"),
            ("SHMGATE_LOG_FORMAT", "nonsense"),
            ("SHMGATE_BACKEND", "nonsense"),
            ("SHMGATE_DEEPBIND", "nonsense"),
        ],
    );
    for line in [
        format!("SHMGATE_SESSION={}\n", session.display()),
        format!("SHMGATE_POLICY={}/policy.toml\n", session.display()),
        format!("SHMGATE_LOG={}\n", session.with_file_name("x.log").display()),
        "SHMGATE_LOG_FORMAT=json\n".into(),
        "SHMGATE_BACKEND=kernel\n".into(),
        "SHMGATE_DEEPBIND=keep\n".into(),
    ] {
        assert!(full.contains(&line), "{line}{full}");
    }
    let policy = fs::read_to_string(session.join("policy.toml")).unwrap();
    assert!(policy.contains("dry-run = true") && policy.contains("bytes = 1048576"), "{policy}");
}

fn what_is_wrong_in_the_environment_is_an_error_before_the_start() {
    let temp = place();
    let mark = temp.path().join("mark");
    for (name, value, parts) in [
        ("SHMGATE_BACKEND", "kernal", &["kernal"][..]),
        ("SHMGATE_LOG_FORMAT", "xml", &["unknown format \"xml\", use text or json"]),
        ("SHMGATE_DEEPBIND", "foo", &["unknown value \"foo\", use keep"]),
        ("SHMGATE_NAMESPACE", "a/b", &["\"a/b\" is no namespace"]),
        ("SHMGATE_POLICY", "/no/such.toml", &["/no/such.toml: No such file"]),
        ("SHMGATE_SESSION", "/no/such", &["/no/such: no such directory"]),
        ("SHMGATE_LOG", "/no/such/log", &["log /no/such/log"]),
    ] {
        let parts = [if name == "SHMGATE_LOG" { "log" } else { name }].iter().chain(parts).copied().collect::<Vec<_>>();
        refused(&run(["touch"]).arg(&mark).env(name, value).output(), 2, &parts);
    }
    refused(&shmgate(["run", "--namespace", "a/b", "--", "touch"]).arg(&mark).output(), 2, &["--namespace", "is no namespace"]);
    assert!(!mark.exists());
    // Set to nothing is not set.
    let names = ["BACKEND", "LOG_FORMAT", "DEEPBIND", "NAMESPACE", "POLICY", "SESSION", "LOG"];
    names.iter().fold(run(["true"]), |run, name| run.env(format!("SHMGATE_{name}"), "")).output().silent();
}

fn hints_can_be_copied() {
    let temp = place();
    let dir = temp.path().join("it's a $place");
    let said = shmgate(["run", "--max-bytes", "0", "--session"])
        .arg(&dir)
        .args(["--", "sh", "-c", "! ipcmk -M 1 2>&1"])
        .output()
        .success();
    let hint = said.stderr.trim().rsplit("see: ").next().unwrap();
    let path = format!("{}:/usr/bin:/bin", shmgate_testkit::command().parent().unwrap().display());
    let copied = shmgate_testkit::Run::new("sh").args(["-c", hint]).env("PATH", path).output().silent();
    assert!(copied.stdout.contains("[denied: session bytes: "), "{copied}");
}

fn nothing_is_left_of_a_run_that_did_not_start() {
    let temp = place();
    let (dir, orphan) = (temp.path().join("s"), temp.path().join("orphan"));
    executable::write(&orphan, b"#!/no/such/interpreter\n", 0o755).unwrap();
    let start = || shmgate(["run", "--session"]).arg(&dir).arg("--").arg(&orphan).output();
    refused(&start(), 126, &["interpreter"]);
    assert!(!dir.exists());
    let command = shmgate_testkit::command().display();
    let script = format!("ulimit -f 1; exec {command} run --session {} -- true", dir.display());
    refused(&shmgate_testkit::Run::new("sh").args(["-c", &script]).output(), 2, &["File too large"]);
    assert!(!dir.exists());
    // One that was there stays.
    shmgate(["run", "--session"]).arg(&dir).args(["--", "true"]).output().silent();
    refused(&start(), 126, &["interpreter"]);
    assert!(dir.join("journal").exists());
}

fn help_that_cant_be_written_is_an_error() {
    for arguments in ["run --help", "--version", "help run", "completions bash"] {
        let script = format!("{} {arguments} >/dev/full", shmgate_testkit::command().display());
        refused(&shmgate_testkit::Run::new("sh").args(["-c", &script]).output(), 1, &["standard output: No space left"]);
    }
}

fn completions_man_pages_and_version() {
    let temp = place();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shmgate(["completions", shell]).output().silent().stdout;
        assert!(script.contains("max-segment-size") && script.contains("repair"), "{shell}");
        assert!(!script.contains("man pages") && !script.contains("watch"), "{shell}");
        // Columns of ls and top; clap's scripts for elvish and PowerShell have no values.
        let has_values = ["bash", "zsh", "fish"].contains(&shell);
        assert_eq!(script.contains("NATTCH") && script.contains("CALLS/S"), has_values, "{shell}");
        // bash has the subcommands alone, without what they are for.
        assert!(!script.contains("shmgate__subcmd__man") && !script.contains("shmgate,man)"), "{shell}");
    }
    let pages = temp.path().join("man1");
    shmgate(["man"]).arg(&pages).output().silent();
    for page in [
        "shmgate",
        "shmgate-run",
        "shmgate-log",
        "shmgate-ls",
        "shmgate-show",
        "shmgate-rm",
        "shmgate-gc",
        "shmgate-top",
        "shmgate-report",
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
    assert_eq!(fs::read_dir(&pages).unwrap().count(), 17);
    for page in fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path()) {
        let text = fs::read_to_string(&page).unwrap().replace("\\-", "-");
        for name in text.split([' ', ',', '\n']).filter_map(|word| word.strip_suffix("(1)")) {
            let is_there = !name.starts_with("shmgate") || pages.join(format!("{name}.1")).exists();
            assert!(is_there, "{name}(1) in {}", page.display());
        }
        let (_, see) = text.split_once("\n.SH \"SEE ALSO\"\n").unwrap();
        let others: &[&str] = match page.file_stem().unwrap().to_str().unwrap() {
            "shmgate" => &["shmgate-run(1)", "shmgate-top(1)", "shmgate-completions(1)", "ipcs(1)"],
            "shmgate-ls" => &["shmgate(1)", "shmgate-show(1)", "lsipc(1)"],
            "shmgate-namespace" => &["shmgate(1)", "shmgate-namespace-check(1)"],
            "shmgate-namespace-check" => &["shmgate(1)", "shmgate-namespace(1)"],
            _ => &["shmgate(1)"],
        };
        others.iter().for_each(|other| assert!(see.contains(other), "{other} in {see}"));
    }
    assert!(!pages.join("shmgate-man.1").exists() && !pages.join("shmgate-namespace-watch.1").exists());
    assert_eq!(shmgate(["--version"]).output().silent().stdout, concat!("shmgate ", env!("CARGO_PKG_VERSION"), "\n"));
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["log", "--help"],
        &["ls", "--help"],
        &["show", "--help"],
        &["rm", "--help"],
        &["gc", "--help"],
        &["report", "--help"],
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
