//! `shmgate run`: exit statuses, options, policy, sessions, what it says afterwards.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::ExitCode;
use std::time::Instant;

use common::{place, refused, run, shmgate, until_ended, write};
use shmgate_testkit::run::TIMEOUT;
use shmgate_testkit::{Agent, Namespace, Status, command, root_trials, run_trials, trials};

fn main() -> ExitCode {
    let mut all = trials![
        the_status_is_the_commands,
        what_is_no_command,
        bad_usage_is_one_line,
        a_bad_policy_has_line_and_column,
        policy_check_says_what_a_file_holds,
        a_bad_session_is_refused,
        a_log_that_cant_be_written_is_an_error_before_the_start,
        a_relative_log_lands_here,
        lines_go_to_standard_error,
        denials_and_what_is_left_are_said,
        a_dry_run_denies_nothing_and_says_so,
        a_joined_session_keeps_its_policy,
        nothing_inherited_stands_against_the_session,
        a_run_within_a_run_has_its_own_session,
        temporary_sessions_go,
        a_daemon_keeps_its_session,
        what_a_killed_run_left_is_swept,
        completions_man_pages_and_version,
    ];
    all.extend(root_trials![a_session_of_somebody_else_is_refused]);
    run_trials(all)
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
        (&["run", "--backend", "userspace", "--", "true"], &["no userspace backend"]),
        (&["run"], &["COMMAND"]),
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

fn a_bad_session_is_refused() {
    let temp = place();
    let at = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    let with = |dir: &str| shmgate(["run", "--session", dir, "--", "true"]).output();
    fs::create_dir(at("open")).unwrap();
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o755)).unwrap();
    refused(&with(&at("open")), 2, &["open to others", "chmod 700"]);
    symlink(at("open"), at("link")).unwrap();
    refused(&with(&at("link")), 2, &["symbolic link"]);
    refused(&with(&at("no/parent")), 2, &["No such file"]);
    assert_eq!(with(&at("good")).status, Status::Exited(0));
    fs::write(temp.path().join("good/ledger"), "short").unwrap();
    refused(&with(&at("good")), 2, &["ledger", "damaged"]);
    refused(&shmgate(["log", &at("none")]).output(), 2, &["no such directory"]);
}

fn a_session_of_somebody_else_is_refused() {
    let temp = place();
    let dir = temp.path().join("s");
    let name = dir.to_str().unwrap();
    assert_eq!(shmgate(["run", "--session", name, "--", "true"]).output().status, Status::Exited(0));
    std::os::unix::fs::chown(&dir, Some(12345), None).unwrap();
    refused(&shmgate(["run", "--session", name, "--", "true"]).output(), 2, &["belongs to user 12345"]);
    refused(&shmgate(["log", name]).output(), 2, &["belongs to user 12345"]);
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

fn a_joined_session_keeps_its_policy() {
    let temp = place();
    let dir = temp.path().join("s");
    let with = |options: &[&str], script: &str| {
        shmgate(["run", "--session"]).arg(&dir).args(options).args(["--", "sh", "-c", script]).output()
    };
    with(&["--max-bytes", "4K"], "true").silent();
    let said = with(&[], "! ipcmk -M 8192 2>/dev/null").success();
    assert!(said.stderr.contains("1 call was denied; see: shmgate log "), "{said}");
    with(&["--max-bytes", "4096"], "true").silent();
    refused(&with(&["--max-bytes", "8K"], "true"), 2, &["has another policy"]);
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
    assert!(plain.contains("SHMGATE_LOG=old.log\n"), "{plain}");
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

fn a_run_within_a_run_has_its_own_session() {
    let shmgate = command().to_str().unwrap();
    let script = format!("echo $SHMGATE_SESSION; {shmgate} run -- sh -c 'echo $SHMGATE_SESSION; echo $LD_PRELOAD; exit 5'");
    let outcome = run(["sh", "-c", &script]).output();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Status::Exited(5), ""));
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines[0] != lines[1] && !lines[2].contains(':'), "{outcome}");
}

fn temporary_sessions_go() {
    let temp = place();
    for runtime in [temp.path(), "/no/such/place".as_ref()] {
        let session = run(["sh", "-c", "echo $SHMGATE_SESSION"]).env("XDG_RUNTIME_DIR", runtime).output().silent().stdout;
        assert!(session.contains("/shmgate") && !std::path::Path::new(session.trim()).exists(), "{session}");
        assert_eq!(session.starts_with(temp.path().to_str().unwrap()), runtime == temp.path());
    }
    assert_eq!(fs::metadata(temp.path().join("shmgate")).unwrap().permissions().mode() & 0o777, 0o700);
}

/// The command ends and leaves a process that goes on: its session stays, and the next run finds it unused.
fn a_daemon_keeps_its_session() {
    let temp = place();
    let fifo = temp.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
    assert!(made.success());
    // Open for both, so that neither side waits for the other to come.
    let mut end = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    // Its pid comes from itself: it is in a session of its own then, and what ends the test's group does not end it.
    let daemon = "sh -c 'echo $$; exec >/dev/null 2>&1; read end; ipcmk -M 4096'";
    let daemon = format!("pid=$(setsid {daemon} <{} & ); echo $pid", fifo.display());
    let said = run(["sh", "-c", &daemon]).env("XDG_RUNTIME_DIR", temp.path()).output().success();
    let daemon = Ended(said.stdout.trim().parse().unwrap());
    assert!(
        said.stderr.starts_with("shmgate: processes of the session still run; watch them with: shmgate log --follow "),
        "{said}"
    );
    let session = said.stderr.trim().rsplit(' ').next().unwrap().to_owned();
    run(["true"]).env("XDG_RUNTIME_DIR", temp.path()).output().silent();
    let (follower, _stdin, stdout) = shmgate(["log", "--follow", &session]).interactive();
    end.write_all(b"end\n").unwrap();
    let mut lines = common::Lines::of(stdout, follower.deadline());
    assert!(lines.next().expect("the daemon's call").contains("shmget("));
    assert_eq!(lines.next(), None);
    follower.wait().silent();
    until_ended(daemon.0, Instant::now() + TIMEOUT);
    run(["true"]).env("XDG_RUNTIME_DIR", temp.path()).output().silent();
    assert!(!std::path::Path::new(&session).exists());
}

/// A process that is ended with the test.
struct Ended(i32);

impl Drop for Ended {
    fn drop(&mut self) {
        // SAFETY: a plain system call; the process is the test's own, and if it has ended its pid is not in use again so soon.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}

fn what_a_killed_run_left_is_swept() {
    let (temp, namespace) = (place(), Namespace::fresh());
    let sessions = || fs::read_dir(temp.path().join("shmgate")).map_or(0, Iterator::count);
    let agent = shmgate_testkit::compile::program("agent");
    let mut agent = Agent::start(run([agent]).env("XDG_RUNTIME_DIR", temp.path()).namespace(&namespace));
    let pid = agent.number("pid") as i32;
    // SIGKILL for the run alone: the command goes on.
    assert_eq!(std::process::Command::new("kill").args(["-KILL", &agent.pid().to_string()]).status().unwrap().code(), Some(0));
    assert!(agent.number("get 0 4096 0600") >= 0);
    assert_ne!(pid, agent.pid());
    run(["true"]).env("XDG_RUNTIME_DIR", temp.path()).namespace(&namespace).output().silent();
    assert_eq!(sessions(), 1);
    drop(agent);
    until_ended(pid, Instant::now() + TIMEOUT);
    run(["true"]).env("XDG_RUNTIME_DIR", temp.path()).namespace(&namespace).output().silent();
    assert_eq!(sessions(), 0);
}

fn completions_man_pages_and_version() {
    let temp = place();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shmgate(["completions", shell]).output().silent().stdout;
        assert!(script.contains("max-segment-size"), "{shell}");
    }
    let pages = temp.path().join("man1");
    shmgate(["man"]).arg(&pages).output().silent();
    for page in ["shmgate", "shmgate-run", "shmgate-log", "shmgate-policy", "shmgate-policy-check", "shmgate-completions"] {
        let text = fs::read_to_string(pages.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH SYNOPSIS\nshmgate") && text.contains(".SH NAME"), "{text}");
    }
    assert!(!pages.join("shmgate-man.1").exists());
    assert_eq!(shmgate(["--version"]).output().silent().stdout, concat!("shmgate ", env!("CARGO_PKG_VERSION"), "\n"));
    for arguments in
        [&["--help"][..], &["run", "--help"], &["log", "--help"], &["policy", "check", "--help"], &["completions", "--help"]]
    {
        assert!(shmgate(arguments).output().silent().stdout.contains("\nExamples:\n"), "{arguments:?}");
    }
}
