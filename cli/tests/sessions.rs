//! The sessions of `shmgate run`: whose they are, who joins them, and when they go.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::process::ExitCode;
use std::time::Instant;

use common::{place, refused, run, shmgate, until_ended};
use shmgate_testkit::run::TIMEOUT;
use shmgate_testkit::{Agent, Namespace, Outcome, Run, Status, command, root_trials, run_trials, trials};

fn main() -> ExitCode {
    let mut all = trials![
        a_bad_session_is_refused,
        a_joined_session_keeps_its_policy,
        a_run_within_a_run_joins_its_session,
        the_outer_limits_hold_within,
        what_the_outer_session_cant_give_is_refused,
        a_session_of_its_own_within_a_run_is_said,
        a_damaged_session_is_not_joined,
        temporary_sessions_go,
        a_session_has_its_mode_whatever_the_umask,
        a_daemon_keeps_its_session,
        what_a_killed_run_left_is_swept,
    ];
    all.extend(root_trials![a_session_of_somebody_else_is_refused]);
    run_trials(all)
}

fn a_bad_session_is_refused() {
    let temp = place();
    let at = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    let with = |dir: &str| shmgate(["run", "--session", dir, "--", "true"]).output();
    fs::create_dir(at("open")).unwrap();
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o755)).unwrap();
    refused(&with(&at("open")), 2, &["open to others", "0700"]);
    symlink(at("open"), at("link")).unwrap();
    for link in ["link", "link/", "link/."] {
        refused(&with(&at(link)), 2, &["symbolic link"]);
    }
    refused(&with(&at("no/parent")), 2, &["No such file", "above it has to be there"]);
    refused(&run(["true"]).env("SHMGATE_SESSION", temp.path()).output(), 2, &["SHMGATE_SESSION", "there is none"]);
    assert_eq!(with(&at("good")).status, Status::Exited(0));
    fs::write(temp.path().join("good/ledger"), "short").unwrap();
    refused(&with(&at("good")), 2, &["ledger", "damaged", "use a new directory"]);
    refused(&shmgate(["log", &at("none")]).output(), 2, &["no such directory"]);
    refused(&shmgate(["log", "/usr"]).output(), 2, &["session /usr: no journal is there", "shmgate run --session"]);
    refused(&shmgate(["log", &at("good/journal")]).output(), 2, &["is not a directory; name the session's"]);
    symlink(at("good"), at("way")).unwrap();
    refused(&shmgate(["log", &at("way/")]).output(), 2, &["symbolic link"]);
}

fn a_session_has_its_mode_whatever_the_umask() {
    let temp = place();
    let script = "umask 0177; exec \"$@\"";
    let dir = temp.path().join("s");
    let run =
        Run::new("/bin/sh").args(["-c", script, "sh"]).arg(command()).args(["run", "--session"]).arg(&dir).args(["--", "true"]);
    assert_eq!(run.output().status, Status::Exited(0));
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
}

fn a_session_of_somebody_else_is_refused() {
    let temp = place();
    let dir = temp.path().join("s");
    let name = dir.to_str().unwrap();
    assert_eq!(shmgate(["run", "--session", name, "--", "true"]).output().status, Status::Exited(0));
    std::os::unix::fs::chown(&dir, Some(12345), None).unwrap();
    refused(&shmgate(["run", "--session", name, "--", "true"]).output(), 2, &["belongs to user 12345", "of your own"]);
    refused(&shmgate(["log", name]).output(), 2, &["belongs to user 12345", "use it as that user"]);
    std::os::unix::fs::chown(&dir, Some(0), None).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    refused(&shmgate(["log", name]).output(), 2, &["open to others", "chmod 700"]);
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

/// A shell script under `run OPTIONS`, in which `$shmgate` is the command.
fn script(options: &[&str], script: &str) -> Outcome {
    shmgate(["run"]).args(options).args(["--", "sh", "-c", script]).env("shmgate", command()).output()
}

fn a_run_within_a_run_joins_its_session() {
    let inner = "$shmgate run -- sh -c 'echo $SHMGATE_SESSION; echo $LD_PRELOAD; exit 5'";
    let outcome = script(&[], &format!("echo $SHMGATE_SESSION; {inner}"));
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Status::Exited(5), ""));
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines[0] == lines[1] && !lines[2].contains(':'), "{outcome}");
    // The outer one goes on after the inner one, and says alone what is left behind.
    let both = script(&[], "$shmgate run -- ipcmk -M 4096 >/dev/null; test -e $SHMGATE_SESSION/journal").success();
    assert_eq!(both.stderr.matches("left behind").count(), 1, "{both}");
}

fn the_outer_limits_hold_within() {
    let outcome =
        script(&["-q", "--max-segments", "1"], "$shmgate run -q -- ipcmk -M 4096 && ! $shmgate run -q -- ipcmk -M 4096");
    assert!(outcome.success().stderr.contains("No space left on device"));
}

fn what_the_outer_session_cant_give_is_refused() {
    let refused_within = |outer: &[&str], inner: &str, part: &str| {
        refused(
            &script(outer, &format!("$shmgate run {inner} -- true")),
            2,
            &["SHMGATE_SESSION: session ", part, "--session DIR"],
        );
    };
    refused_within(&["--max-segments", "1"], "--max-segments 2", "has a policy, which holds for this run too");
    refused_within(&["--max-segments", "1"], "--dry-run", "has a policy, which holds for this run too");
    refused_within(&[], "--max-segments 2", "has no policy");
    refused_within(&[], "--isolate", "elsewhere");
    let temp = place();
    let namespace = temp.path().join("made-in-vain");
    refused_within(&[], &format!("--backend userspace --namespace {}", namespace.display()), "elsewhere");
    assert!(!namespace.exists());
    refused_within(&["--isolate"], "--backend kernel", "elsewhere");
    // The same place and the same limits are no others.
    script(&["--isolate"], "$shmgate run --backend userspace -- true").silent();
    script(&["--max-segments", "1"], "$shmgate run --max-segments 1 -- true").silent();
}

fn a_session_of_its_own_within_a_run_is_said() {
    let temp = place();
    let dir = temp.path().join("s");
    let inner = format!("$shmgate run --session {} -- sh -c 'ipcmk -M 4096 && ! ipcmk -M 4096' >/dev/null 2>&1", dir.display());
    // It has the policy that it inherits, and books of its own.
    script(&["-q", "--max-segments", "1"], &format!("ipcmk -M 4096 >/dev/null && {inner}")).silent();
    let loud = script(&["-q", "--max-segments", "1"], &format!("$shmgate run --session {}.2 -- true", dir.display())).success();
    assert!(
        loud.stderr.starts_with("shmgate: warning: this command is counted apart") && loud.stderr.lines().count() == 1,
        "{loud}"
    );
    script(&["-q"], &format!("$shmgate run --session {}.3 -- true", dir.display())).silent();
}

fn a_damaged_session_is_not_joined() {
    let temp = place();
    let dir = temp.path().join("s");
    let with = || shmgate(["run", "-q", "--session"]).arg(&dir).args(["--", "ipcmk", "-M", "4096"]).output();
    with().success();
    let log = || shmgate(["log"]).arg(&dir).output();
    let journal = fs::File::options().write(true).open(dir.join("journal")).unwrap();
    let whole = fs::read(dir.join("journal")).unwrap();
    for (len, bytes) in [(4096, &[][..]), (whole.len() as u64, &[0xa5; 32])] {
        journal.set_len(len).unwrap();
        if !bytes.is_empty() {
            journal.write_all_at(&whole, 0).unwrap();
            journal.write_all_at(bytes, 4096 + 32).unwrap();
        }
        let said = log();
        assert_eq!(said.status, Status::Exited(1), "{said}");
        refused(&with(), 2, &["journal ", " at offset ", "use a new directory", "shmgate log "]);
        refused(&run(["true"]).env("SHMGATE_SESSION", &dir).output(), 2, &["SHMGATE_SESSION: journal ", " at offset "]);
        assert_eq!((log().status, log().stderr), (said.status, said.stderr));
    }
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
    // One for all: a user's own namespaces can't look into each other's processes.
    let (temp, namespace) = (place(), Namespace::fresh());
    let run = |arguments: &[&str]| run(arguments).env("XDG_RUNTIME_DIR", temp.path()).namespace(&namespace).output();
    let fifo = temp.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
    assert!(made.success());
    // Open for both, so that neither side waits for the other to come.
    let mut end = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    // Its pid comes from itself: it is in a session of its own then, and what ends the test's group does not end it.
    let daemon = "sh -c 'echo $$; exec >/dev/null 2>&1; read end; ipcmk -M 4096'";
    let daemon = format!("pid=$(setsid {daemon} <{} & ); echo $pid", fifo.display());
    let said = run(&["sh", "-c", &daemon]).success();
    let daemon = Ended(said.stdout.trim().parse().unwrap());
    assert!(
        said.stderr.starts_with("shmgate: processes of the session still run; watch them with: shmgate log --follow "),
        "{said}"
    );
    let session = said.stderr.trim().rsplit(' ').next().unwrap().to_owned();
    run(&["true"]).silent();
    let (follower, _stdin, stdout) = shmgate(["log", "--follow", &session]).namespace(&namespace).interactive();
    end.write_all(b"end\n").unwrap();
    let mut lines = common::Lines::of(stdout, follower.deadline());
    assert!(lines.next().expect("the daemon's call").contains("shmget("));
    assert_eq!(lines.next(), None);
    follower.wait().silent();
    until_ended(daemon.0, Instant::now() + TIMEOUT);
    run(&["true"]).silent();
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
