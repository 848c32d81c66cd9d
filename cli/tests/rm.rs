//! `shmgate rm` and `shmgate gc`.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{ChildStdin, ChildStdout, ExitCode};

use common::{Named, place, refused, shmgate};
use shmgate_testkit::process::readable;
use shmgate_testkit::{
    Agent, Namespace, Outcome, Process, Run, Status, command, isolated_trials, root_trials, run_trials, trials,
};

fn main() -> ExitCode {
    let mut trials = trials![
        segments_in_user_space_are_removed_alike,
        what_is_attached_stays_unless_forced,
        what_is_named_wrongly_is_said,
        whoever_sits_at_the_terminal_is_asked,
        another_segment_of_the_same_id_stays,
        what_is_used_while_it_is_asked_about_stays,
        what_the_killed_held_goes_at_once,
    ];
    // They look at all that is there, and remove what nobody owns up to.
    trials.extend(isolated_trials![
        segments_are_removed_by_id_and_key,
        nothing_goes_without_consent,
        filters_choose_what_goes,
        orphans_go_and_others_stay,
        what_is_on_a_keep_list_stays,
    ]);
    trials.extend(root_trials![another_users_segments_stay, an_owner_removes_what_its_mode_hides]);
    run_trials(trials)
}

fn shm(namespace: &Namespace, arguments: &[&str]) -> Outcome {
    shmgate(arguments).namespace(namespace).output()
}

/// The keys that there are, sorted.
fn keys(namespace: &Namespace, place: &[&str]) -> Vec<i64> {
    let said = shmgate(["ls", "-n", "-o", "KEY"]).args(place).namespace(namespace).output().silent().stdout;
    let mut keys: Vec<i64> = said.lines().map(|key| i64::from_str_radix(&key[2..], 16).unwrap()).collect();
    keys.sort();
    keys
}

const KERNEL: &[&str] = &["--kernel"];

fn segments_are_removed_by_id_and_key() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let ids = [1, 2, 3].map(|key| agent.number(&format!("get {key} 4096 01600")).to_string());
    let said = shm(&namespace, &["rm", "--yes", "--kernel", &ids[0], "0x3", &ids[0]]).silent().stdout;
    assert!(said.starts_with("KEY ") && said.contains("0x00000001") && said.ends_with("removed 2 segments\n"), "{said}");
    assert_eq!(keys(&namespace, KERNEL), [2]);
    assert_eq!(agent.ask(&format!("stat {}", ids[0])), "EINVAL");
    // One that is not there does not keep the others.
    let outcome = shm(&namespace, &["rm", "--yes", "--kernel", &ids[0], "0x2"]);
    refused(&outcome, 1, &[&ids[0], "no such segment"]);
    assert_eq!(keys(&namespace, KERNEL), [] as [i64; 0]);
}

fn segments_in_user_space_are_removed_alike() {
    let (namespace, own) = (Namespace::fresh(), Named::new("removed"));
    let at = ["--namespace", &own.name];
    let mut agent = own.agent();
    let id = agent.number("get 1 4096 01600");
    agent.number("get 2 4096 01600");
    let n = agent.number(&format!("at {id}"));
    let shown = format!("shmgate show --namespace {} {id}, ", own.name);
    refused(&shm(&namespace, &["rm", "--yes", at[0], at[1], "0x1"]), 1, &["1 attached", &shown, "--force"]);
    agent.number(&format!("dt {n}"));
    shm(&namespace, &["rm", "--yes", at[0], at[1], "0x1"]).silent();
    assert_eq!(keys(&namespace, &at), [2]);
    assert_eq!(agent.ask(&format!("stat {id}")), "EINVAL");
    drop(agent);
    shm(&namespace, &["gc", "--yes", "--older-than", "0s", at[0], at[1]]).silent();
    assert_eq!(keys(&namespace, &at), [] as [i64; 0]);
    assert!(shmgate(["namespace", "check", &own.name]).output().silent().stdout.contains("ok"));
}

fn nothing_goes_without_consent() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let id = agent.number("get 1 4096 01600").to_string();
    let outcome = shm(&namespace, &["rm", "--kernel", &id]);
    refused(&outcome, 2, &["no terminal", "--yes", "--dry-run"]);
    assert!(outcome.stdout.contains("0x00000001"), "it says what it would do: {outcome}");
    let said = shm(&namespace, &["rm", "--kernel", "--dry-run", &id]).silent().stdout;
    assert!(said.contains("0x00000001") && said.ends_with("would remove 1 segment, 4K\n"), "{said}");
    drop(agent);
    refused(&shm(&namespace, &["gc", "--kernel", "--older-than", "0s"]), 2, &["no terminal", "--yes"]);
    let said = shm(&namespace, &["gc", "--kernel", "--older-than", "0s", "-n"]).silent().stdout;
    assert!(said.contains("would remove 1 segment"), "{said}");
    assert_eq!(keys(&namespace, KERNEL), [1]);
}

fn what_is_attached_stays_unless_forced() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let (id, other) = (agent.number("get 1 4096 01600"), agent.number("get 2 4096 01600"));
    agent.number(&format!("at {id}"));
    let outcome = shm(&namespace, &["rm", "--yes", "--kernel", "0x1", "0x2"]);
    refused(&outcome, 1, &["1 attached", &format!("see who with shmgate show --kernel {id}, "), "--force"]);
    assert_eq!(agent.ask(&format!("stat {other}")), "EINVAL", "the other one went");
    assert_eq!(agent.ask(&format!("stat {id}")), "nattch 1 mode 0600");
    shm(&namespace, &["rm", "--yes", "--kernel", "--force", "0x1"]).silent();
    assert_eq!(agent.ask(&format!("stat {id}")), "nattch 1 mode 01600");
    let again = shm(&namespace, &["rm", "--yes", "--kernel", "--force", &id.to_string()]);
    refused(&again, 1, &["removed already", "last attach"]);
}

fn filters_choose_what_goes() {
    let namespace = Namespace::fresh();
    let (mut living, mut gone) = (Agent::native(&namespace), Agent::native(&namespace));
    living.number("get 1 4096 01600");
    living.number("get 2 4096 01606");
    gone.number("get 3 4096 01600");
    gone.number("get 4 4096 01606");
    gone.kill();
    shm(&namespace, &["rm", "--yes", "--kernel", "--orphans", "--world"]).silent();
    assert_eq!(keys(&namespace, KERNEL), [1, 2, 3]);
    // Of those that are named, those that the filter lets through.
    shm(&namespace, &["rm", "--yes", "--kernel", "--world", "0x1", "0x2"]).silent();
    assert_eq!(keys(&namespace, KERNEL), [1, 3]);
    shm(&namespace, &["rm", "--yes", "--kernel", "--key", "0x3"]).silent();
    let said = shm(&namespace, &["rm", "--yes", "--kernel", "--world"]).silent().stdout;
    assert_eq!(said, "nothing to remove\n");
    assert_eq!(keys(&namespace, KERNEL), [1]);
}

fn what_is_named_wrongly_is_said() {
    let namespace = Namespace::fresh();
    refused(&shm(&namespace, &["rm", "--yes"]), 2, &["ID|KEY", "shmgate rm --help"]);
    refused(&shm(&namespace, &["rm", "--yes", "--kernel"]), 2, &["ID|KEY"]);
    refused(&shm(&namespace, &["rm", "x"]), 2, &["neither an id"]);
    refused(&shm(&namespace, &["rm", "--yes", "--dry-run", "1"]), 2, &["--dry-run"]);
    refused(&shm(&namespace, &["gc", "--older-than", "soon"]), 2, &["not an age"]);
    refused(&shm(&namespace, &["gc", "--keep", "x"]), 2, &["neither an id"]);
    let owns = [Named::new("rm-one"), Named::new("rm-two")];
    let mut agents = owns.each_ref().map(Named::agent);
    for agent in &mut agents {
        agent.number("get 77 4096 01600");
    }
    let both = ["rm", "--yes", "--namespace", &owns[0].name, "--namespace", &owns[1].name, "0x4d"];
    refused(&shm(&namespace, &both), 2, &["--kernel or --namespace"]);
    for own in &owns {
        assert_eq!(keys(&namespace, &["--namespace", &own.name]), [77]);
    }
}

fn orphans_go_and_others_stay() {
    let namespace = Namespace::fresh();
    let (mut living, mut gone, mut holder) = (Agent::native(&namespace), Agent::native(&namespace), Agent::native(&namespace));
    living.number("get 1 4096 01600");
    gone.number("get 2 4096 01600");
    let held = gone.number("get 3 4096 01600");
    holder.number(&format!("at {held}"));
    gone.kill();
    assert_eq!(shm(&namespace, &["gc", "--yes", "--kernel"]).silent().stdout, "nothing to remove\n", "an hour is not over");
    let said = shm(&namespace, &["gc", "--yes", "--kernel", "--older-than", "0s"]).silent().stdout;
    assert!(said.ends_with("removed 1 segment\n"), "{said}");
    assert_eq!(keys(&namespace, KERNEL), [1, 3]);
}

fn what_is_on_a_keep_list_stays() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let ids = [1, 2, 3, 4].map(|key| agent.number(&format!("get {key} 4096 01600")));
    agent.kill();
    let temp = place();
    let usual = temp.path().join("shmgate/keep");
    fs::create_dir(temp.path().join("shmgate")).unwrap();
    fs::write(&usual, "0x00000001 # the server's\n\n").unwrap();
    let gc = |arguments: &[&str]| {
        let run = shmgate(["gc", "--yes", "--kernel", "--older-than", "0s"]).args(arguments);
        run.env("XDG_CONFIG_HOME", temp.path()).namespace(&namespace).output()
    };
    gc(&["--keep", "0x2", "--keep", &ids[2].to_string()]).silent();
    assert_eq!(keys(&namespace, KERNEL), [1, 2, 3]);
    let list = temp.path().join("list");
    fs::write(&list, format!("{}\n# 0x1\n0x2\n", ids[2])).unwrap();
    let keep_file = ["--keep-file", list.to_str().unwrap()];
    fs::write(&usual, "0x1\n0x2 0x3\n").unwrap();
    refused(&gc(&[]), 2, &[usual.to_str().unwrap(), "line 2", "neither an id"]);
    refused(&gc(&["--keep-file", "/no/such/list"]), 2, &["/no/such/list", "No such file"]);
    assert_eq!(keys(&namespace, KERNEL), [1, 2, 3]);
    gc(&keep_file).silent();
    assert_eq!(keys(&namespace, KERNEL), [2, 3]);
}

/// The command on a terminal, up to its question.
struct Asked {
    process: Process,
    keys: ChildStdin,
    screen: ChildStdout,
}

impl Asked {
    fn new(namespace: &Namespace, arguments: &str) -> Asked {
        let script = format!("{} {arguments}", command().display());
        let run = Run::new("script").args(["-qefc", &script, "/dev/null"]).namespace(namespace);
        let (process, keys, screen) = run.interactive();
        let mut asked = Asked { process, keys, screen };
        asked.until("[y/N] ");
        asked
    }

    /// Reads the screen up to this text.
    fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            assert!(readable(self.screen.as_raw_fd(), self.process.deadline()), "no {text:?} in time: {seen}");
            let mut bytes = [0; 4096];
            match self.screen.read(&mut bytes) {
                Ok(0) | Err(_) => panic!("it ended without {text:?}: {seen}"),
                Ok(count) => seen.push_str(&String::from_utf8_lossy(&bytes[..count])),
            }
        }
        seen
    }

    /// Answers, and gives what is said then and the exit status.
    fn answer(mut self, answer: &str) -> (String, Status) {
        writeln!(self.keys, "{answer}").unwrap();
        let mut rest = Vec::new();
        let _ = self.screen.read_to_end(&mut rest);
        drop(self.keys);
        (String::from_utf8_lossy(&rest).into_owned(), self.process.wait().status)
    }
}

fn whoever_sits_at_the_terminal_is_asked() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    agent.number("get 1 4096 01600");
    for no in ["n", "", "yesterday"] {
        let (said, status) = Asked::new(&namespace, "rm --kernel 0x1").answer(no);
        assert!(said.contains("nothing removed") && status == Status::Exited(1), "{said} {status:?}");
        assert_eq!(keys(&namespace, KERNEL), [1]);
    }
    let (said, status) = Asked::new(&namespace, "rm --kernel 0x1").answer("y");
    assert!(said.contains("removed 1 segment") && status == Status::Exited(0), "{said} {status:?}");
    assert_eq!(keys(&namespace, KERNEL), [] as [i64; 0]);
}

fn another_segment_of_the_same_id_stays() {
    let (namespace, own) = (Namespace::fresh(), Named::new("again"));
    let at = ["--namespace", &own.name];
    let id = own.agent().number("get 1 4096 01600");
    for words in [format!("rm {id}"), "gc --older-than 0s".into()] {
        let asked = Asked::new(&namespace, &format!("{words} --namespace {}", own.name));
        // In a namespace that begins anew, ids do so too.
        shmgate(["namespace", "remove", &own.name]).output().silent();
        assert_eq!(own.agent().number("get 2 4096 01600"), id);
        let (said, status) = asked.answer("y");
        assert!(said.contains("is another segment by now") && said.contains("removed 0 segments"), "{said}");
        assert_eq!(status, Status::Exited(1));
        assert_eq!(keys(&namespace, &at), [2]);
    }
}

fn what_is_used_while_it_is_asked_about_stays() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let id = agent.number("get 1 4096 01600");
    let asked = Asked::new(&namespace, "rm --kernel 0x1");
    agent.number(&format!("at {id}"));
    let (said, status) = asked.answer("y");
    assert!(said.contains("begun to use it") && status == Status::Exited(1), "{said} {status:?}");
    assert_eq!(agent.ask(&format!("stat {id}")), "nattch 1 mode 0600");
}

/// The command as a user without rights.
fn as_user(namespace: &Namespace, arguments: &[&str]) -> Outcome {
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let run = Run::new("setpriv").args(user).arg(command()).args(arguments).args(["--yes", "--kernel"]);
    run.env("HOME", "/no/such/home").namespace(namespace).output()
}

fn an_owner_removes_what_its_mode_hides() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    agent.number("uid 65534");
    agent.number("get 1 4096 01000");
    as_user(&namespace, &["rm", "0x1"]).silent();
    assert_eq!(keys(&namespace, KERNEL), [] as [i64; 0]);
}

fn another_users_segments_stay() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    agent.number("get 1 4096 01600");
    agent.number("get 2 4096 01666");
    agent.kill();
    let as_user = |arguments: &[&str]| as_user(&namespace, arguments);
    for key in ["0x1", "0x2"] {
        refused(&as_user(&["rm", key]), 1, &["as its owner or root"]);
    }
    let outcome = as_user(&["gc", "--older-than", "0s"]);
    assert_eq!(outcome.status, Status::Exited(0), "{outcome}");
    assert!(outcome.stderr.contains("2 segments of other users"), "{outcome}");
    assert_eq!(keys(&namespace, KERNEL), [1, 2]);
}

/// The removal's own look may be the first to notice that its last process is gone.
fn what_the_killed_held_goes_at_once() {
    let (namespace, own) = (Namespace::fresh(), Named::new("killed"));
    let at = ["--namespace", &own.name];
    for words in [&["rm", "--yes", "0x1"][..], &["gc", "--yes", "--older-than", "0s"]] {
        let mut agent = own.agent();
        let id = agent.number("get 1 4096 01600");
        agent.number(&format!("at {id}"));
        agent.kill();
        let said = shm(&namespace, &[words, &at].concat()).silent().stdout;
        assert!(said.ends_with("removed 1 segment\n"), "{said}");
    }
}
