//! What goes wrong around the commands that read: no session, one that is written meanwhile, processes that end, that are hidden or another user's,
//! ids that come again, and readers that leave. Each of `ls`, `show`, `rm`, `gc`, `report` (its page too) and `log` has a plain answer.

mod common;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use common::{Named, place, refused, shmgate, unread};
use serde_json::Value;
use shmgate_testkit::compile::program;
use shmgate_testkit::{
    Agent, Namespace, Outcome, Process, Run, Session, Status, command, isolated_trials, root_trials, run_trials, trials,
};

fn main() -> ExitCode {
    let mut trials = trials![
        no_session_is_said,
        a_journal_is_read_while_it_is_written,
        processes_may_end_meanwhile,
        readers_may_leave,
        a_reader_that_leaves_changes_no_verdict,
        a_follower_ends_with_its_reader,
    ];
    trials.extend(isolated_trials![what_was_agreed_to_is_done_though_nobody_reads_of_it]);
    trials.extend(root_trials![
        another_users_session_is_refused,
        a_hidden_process_is_not_gone,
        what_a_journal_knows_of_an_earlier_segment_is_not_told,
    ]);
    run_trials(trials)
}

/// The commands that read a session.
fn readers(session: &Path, page: &Path) -> [Vec<String>; 7] {
    let (session, page) = (session.to_str().unwrap(), page.to_str().unwrap());
    [
        &["report", session][..],
        &["report", "--json", session],
        &["report", "--html", page, session],
        &["report", "--html", "-", session],
        &["log", session],
        &["log", "--json", session],
        &["log", "--follow", session],
    ]
    .map(|words| words.iter().map(ToString::to_string).collect())
}

/// `show` of a segment that is there, with what a session knows of it.
fn show(namespace: &Namespace, id: i64, session: &Path) -> Run {
    shmgate(["show", "--kernel", "--json", &id.to_string(), "--session"]).arg(session).namespace(namespace)
}

fn no_session_is_said() {
    let (namespace, temp) = (Namespace::fresh(), place());
    let id = Agent::native(&namespace).number("get 77 4096 01600");
    let (missing, empty, file) = (temp.path().join("missing"), temp.path().join("empty"), temp.path().join("file"));
    std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(&empty).unwrap();
    fs::write(&file, "").unwrap();
    let page = temp.path().join("page");
    for (session, why) in [(missing, "no such directory"), (empty, "journal"), (file, "not a directory")] {
        let words = [session.to_str().unwrap(), why];
        for reader in readers(&session, &page) {
            let outcome = shmgate(&reader).output();
            refused(&outcome, 2, &words);
            assert_eq!(outcome.stdout, "", "{reader:?}");
        }
        refused(&show(&namespace, id, &session).output(), 2, &words);
        assert!(!page.exists());
    }
}

/// Fails unless the command said something whole: lines, JSON, or a page.
#[track_caller]
fn whole(outcome: Outcome) {
    let said = outcome.silent().stdout;
    let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
    let is_whole = match said.as_bytes() {
        [b'<', ..] => said.ends_with("</html>\n"),
        [b'{', ..] => is_json(&said) || said.lines().all(is_json),
        _ => said.ends_with('\n'),
    };
    assert!(is_whole, "{} ... {}", said.chars().take(200).collect::<String>(), &said[said.len().saturating_sub(200)..]);
}

/// Many records, until it is dropped.
fn busy(namespace: &Namespace, session: &Session, script: &str) -> Process {
    let busy = session.run(namespace).args(["--", "sh", "-c", script]).arg(program("churn")).spawn();
    let has_begun = || fs::metadata(session.directory().join("journal")).is_ok_and(|meta| meta.len() > 100_000);
    while !has_begun() {
        assert!(std::time::Instant::now() < busy.deadline(), "nothing is written");
        std::thread::yield_now();
    }
    busy
}

fn a_journal_is_read_while_it_is_written() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let id = Agent::native(&namespace).number("get 77 4096 01600");
    let writer = busy(&namespace, &session, "while :; do \"$0\" 20; done");
    for reader in &readers(&session.directory(), Path::new("/dev/stdout"))[..6] {
        (0..3).for_each(|_| whole(shmgate(reader).output()));
    }
    whole(show(&namespace, id, &session.directory()).output());
    drop(writer);
}

fn processes_may_end_meanwhile() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::native(&namespace);
    let id = agent.number("get 77 4096 01600");
    agent.number(&format!("at {id}"));
    let come_and_go = busy(&namespace, &session, "while :; do \"$0\" 3 & \"$0\" 3 & \"$0\" 3 & wait; done");
    let directory = session.directory();
    for _ in 0..3 {
        for reader in &readers(&directory, Path::new("/dev/stdout"))[..6] {
            whole(shmgate(reader).output());
        }
        for words in [&["ls", "-o", "+COMMAND"][..], &["ls", "--json"], &["gc", "-n"], &["rm", "-n", "--world"]] {
            whole(shmgate(words).arg("--kernel").namespace(&namespace).output());
        }
        let shown = show(&namespace, id, &directory).output().silent().stdout;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&shown["attaches_seen"], &shown["holders"][0]["pid"]), (&1.into(), &agent.pid().into()), "{shown}");
    }
    drop(come_and_go);
}

/// In namespaces that begin anew, pids and ids come again.
fn what_a_journal_knows_of_an_earlier_segment_is_not_told() {
    let session = Session::watching(&Namespace::fresh());
    let script = "echo 'get 77 4096 03600' | \"$0\" >&2; exec \"$1\" show --kernel --json --session \"$2\" 0x4d";
    let created = || {
        let run = Run::new("unshare").args(["-p", "-f", "--mount-proc", "sh", "-c", script]).arg(program("agent"));
        let run = run.arg(command()).arg(session.directory()).session(&session);
        let shown: Value = serde_json::from_str(&run.output().success().stdout).unwrap();
        (shown["cpid"].clone(), shown["id"].clone(), shown["created"].as_str().unwrap().to_owned())
    };
    let (one, two) = (created(), created());
    assert_eq!((&one.0, &one.1), (&two.0, &two.1), "they are told apart by that");
    assert!(one.2 < two.2, "{one:?} {two:?}");
}

/// Readers of what is there, without a word of a session.
const LOOKS: [&[&str]; 8] = [
    &["ls", "--kernel"],
    &["ls", "--kernel", "--json"],
    &["show", "--kernel", "0x4d"],
    &["show", "--kernel", "--json", "0x4d"],
    &["rm", "--kernel", "-n", "0x4d"],
    &["rm", "--kernel", "-n", "--key", "0x4e"],
    &["gc", "--kernel", "-n", "--older-than", "0s"],
    &["gc", "--kernel", "-n"],
];

fn readers_may_leave() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    agent.number("get 77 4096 01600");
    agent.finish();
    for look in LOOKS {
        unread(look).namespace(&namespace).output().silent();
    }
    for reader in readers(&session.directory(), Path::new("/dev/null")) {
        unread(&reader).namespace(&namespace).output().silent();
    }
}

fn a_reader_that_leaves_changes_no_verdict() {
    let temp = place();
    let session = temp.path().join("s");
    shmgate(["run", "-q", "--session"]).arg(&session).arg("--").arg(program("findings/leak")).output().silent();
    for form in [&[][..], &["--json"], &["--html", "-"]] {
        let judged = unread(["report", "--fail-on", "leak"]).args(form).arg(&session).output();
        assert_eq!((judged.status, judged.stderr.as_str()), (Status::Exited(1), ""), "{form:?}");
    }
    fs::write(session.join("policy.toml"), "dry-run = ?").unwrap();
    refused(&unread(["report"]).arg(&session).output(), 1, &["policy.toml:1:11: "]);
    let broken = Named::new("unread");
    shmgate(["namespace", "create", &broken.name]).output().silent();
    fs::write(broken.dir.join("registry"), "no registry").unwrap();
    refused(&unread(["ls", "--namespace", &broken.name]).output(), 1, &["damaged"]);
}

fn what_was_agreed_to_is_done_though_nobody_reads_of_it() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let (id, other) = (agent.number("get 77 4096 01600"), agent.number("get 78 4096 01600"));
    agent.kill();
    let left = || shmgate(["ls", "--kernel", "-n", "-o", "ID"]).namespace(&namespace).output().silent().stdout;
    // Nobody agrees to this.
    refused(&unread(["rm", "--kernel", "0x4d"]).namespace(&namespace).output(), 2, &["--yes"]);
    assert_eq!(left(), format!("{id}\n{other}\n"));
    unread(["rm", "--kernel", "--yes", "0x4d"]).namespace(&namespace).output().silent();
    assert_eq!(left(), format!("{other}\n"));
    unread(["gc", "--kernel", "--yes", "--older-than", "0s"]).namespace(&namespace).output().silent();
    assert_eq!(left(), "");
}

fn a_follower_ends_with_its_reader() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    let follower = unread(["log", "--follow"]).arg(session.directory()).spawn();
    assert_eq!(agent.ask("get 77 1 0"), "ENOENT");
    follower.wait().silent();
    agent.finish();
}

/// The command as a user without rights.
fn as_user(arguments: &[&str]) -> Run {
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    Run::new("setpriv").args(user).arg(command()).args(arguments).env("HOME", "/no/such/home")
}

fn another_users_session_is_refused() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::native(&namespace);
    let id = agent.number("get 77 4096 01604").to_string();
    // Up to the session everybody may go.
    fs::set_permissions(session.place(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let directory = session.directory();
    let show = ["show", "--kernel", &id, "--session", directory.to_str().unwrap()].map(String::from).to_vec();
    for reader in readers(&directory, Path::new("/dev/null")).iter().chain([&show]) {
        let words: Vec<&str> = reader.iter().map(String::as_str).collect();
        refused(&as_user(&words).namespace(&namespace).output(), 2, &[directory.to_str().unwrap(), "belongs to user 0"]);
    }
}

/// A /proc may hide other users' processes. Who had rights once and gave them up is as hidden.
fn a_hidden_process_is_not_gone() {
    let namespace = Namespace::fresh();
    let (mut agent, mut own) = (Agent::native(&namespace), Agent::native(&namespace));
    agent.number("get 77 4096 01604");
    own.number("uid 65534");
    own.number("get 78 4096 01600");
    let hidden = |words: &str| {
        let script = format!(
            "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$0\" {words}"
        );
        Run::new("unshare").args(["-m", "sh", "-c", &script]).arg(command()).env("HOME", "/no").namespace(&namespace).output()
    };
    let said = hidden("ls --kernel --json").silent().stdout;
    let list: Value = serde_json::from_str(&said).unwrap();
    for (segment, creator) in list["sharedmemory"].as_array().unwrap().iter().zip([agent.pid(), own.pid()]) {
        assert_eq!((&segment["cpid"], &segment["orphan"]), (&creator.into(), &false.into()), "{said}");
        assert_eq!((&segment["creator"]["gone"], &segment["creator"]["name"]), (&false.into(), &Value::Null), "{said}");
    }
    assert_eq!(hidden("gc --kernel --yes --older-than 0s").silent().stdout, "nothing to remove\n");
    agent.number("at 0");
    let said = hidden("show --kernel 0x4d").silent().stdout;
    assert!(said.contains("1 of 1 attaches not seen: their processes are hidden by /proc"), "{said}");
    agent.kill();
    own.kill();
    assert!(hidden("gc --kernel --yes --older-than 0s").success().stdout.ends_with("removed 1 segment\n"));
}
