//! `shmgate show`.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use common::{Named, place, refused, shmgate};
use serde_json::Value;
use shmgate_testkit::huge::Pool;
use shmgate_testkit::{Agent, Namespace, Run, Session, Status, command, root_trials, run_trials, trials};

fn main() -> ExitCode {
    let mut trials = trials![
        holders_are_found_with_their_addresses,
        holders_in_user_space_are_found_by_their_files,
        holders_of_a_segment_that_was_left_a_file_are_found,
        what_is_mapped_and_not_attached_is_no_attach,
        the_same_id_in_another_ipc_namespace_is_another_segment,
        a_removed_segment_tells_the_key_it_had,
        journals_tell_since_when_and_from_which_path,
        files_that_give_the_key_are_found,
        what_can_not_be_shown_is_said,
        processes_that_end_meanwhile_do_not_matter,
        a_person_reads_it_too,
    ];
    trials.extend(root_trials![what_rights_do_not_show_is_counted, holders_of_huge_pages_are_found_and_since_when]);
    run_trials(trials)
}

/// In the kernel, unless a namespace is named: other tests have theirs.
fn show(arguments: &[&str]) -> Run {
    let place = if arguments.contains(&"--namespace") { None } else { Some("--kernel") };
    shmgate(["show"]).args(place).args(arguments)
}

fn shown(namespace: &Namespace, arguments: &[&str]) -> Value {
    let said = show(arguments).arg("--json").namespace(namespace).output().silent().stdout;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Pids of the holders with the accesses and the starts of their mappings.
fn holders(shown: &Value) -> Vec<(i64, Vec<String>, Vec<String>)> {
    let texts = |holder: &Value, field: &str| {
        holder["mappings"].as_array().unwrap().iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
    };
    let one = |holder: &Value| (holder["pid"].as_i64().unwrap(), texts(holder, "access"), texts(holder, "start"));
    shown["holders"].as_array().unwrap().iter().map(one).collect()
}

/// The starts of a process's mappings whose path has `part`, as /proc has them.
fn mapped(pid: i64, part: &str) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let lines = maps.lines().filter(|line| line.contains(part));
    lines.map(|line| format!("0x{}", line.split('-').next().unwrap().trim_start_matches('0'))).collect()
}

fn holders_are_found_with_their_addresses() {
    let namespace = Namespace::fresh();
    let (mut one, mut two, mut bystander) = (Agent::native(&namespace), Agent::native(&namespace), Agent::native(&namespace));
    let id = one.number("get 77 9000 01600");
    let other = bystander.number("get 78 9000 01600");
    bystander.number(&format!("at {other}"));
    assert_eq!(holders(&shown(&namespace, &["0x4d"])), []);
    one.number(&format!("at {id}"));
    two.number(&format!("at {id} 010000"));
    two.number(&format!("at {id}"));
    let child = two.number("hold");
    let shown = shown(&namespace, &[&id.to_string()]);
    assert_eq!((&shown["nattch"], &shown["attaches_seen"]), (&5.into(), &5.into()));
    let mut expected: Vec<(i64, Vec<String>)> =
        [i64::from(one.pid()), two.pid().into(), child].map(|pid| (pid, mapped(pid, "/SYSV0000004d"))).to_vec();
    expected.sort();
    let found = holders(&shown);
    assert_eq!(found.iter().map(|(pid, _, starts)| (*pid, starts.clone())).collect::<Vec<_>>(), expected);
    let accesses = |of: i64| found.iter().find(|(pid, ..)| *pid == of).map(|(_, accesses, _)| accesses.clone()).unwrap();
    assert_eq!(accesses(one.pid().into()), ["rw-"]);
    let mut of_child = accesses(child);
    of_child.sort();
    assert_eq!(of_child, ["r--", "rw-"]);
    let holder = &shown["holders"][0];
    assert_eq!(holder["name"], "agent");
    assert!(holder["command"].as_str().unwrap().ends_with("agent") && holder["cgroup"].is_string(), "{holder}");
    // SAFETY: it always succeeds.
    assert_eq!(holder["uid"], unsafe { libc::getuid() });
}

fn holders_in_user_space_are_found_by_their_files() {
    let (namespace, own) = (Namespace::fresh(), Named::new("held"));
    let (mut one, mut two) = (own.agent_in(&namespace), own.agent_in(&namespace));
    let id = one.number("get 77 9000 01600");
    let show = || shown(&namespace, &["--namespace", &own.name, "0x4d"]);
    assert_eq!(holders(&show()), []);
    one.number(&format!("at {id}"));
    two.number(&format!("at {id} 010000"));
    let child = two.number("hold");
    let (one, two) = (one.number("pid"), two.number("pid"));
    let mut expected = [one, two, child].map(|pid| (pid, mapped(pid, &format!("/segment.{id}")))).to_vec();
    expected.sort();
    let show = show();
    assert_eq!(holders(&show).into_iter().map(|(pid, _, starts)| (pid, starts)).collect::<Vec<_>>(), expected);
    assert_eq!((&show["nattch"], &show["attaches_seen"]), (&3.into(), &3.into()));
    let of = |pid| holders(&show).into_iter().find(|(one, ..)| *one == pid).unwrap().1;
    assert_eq!((of(one), of(two)), (vec!["rw-".to_owned()], vec!["r--".to_owned()]));
}

fn holders_of_a_segment_that_was_left_a_file_are_found() {
    let (namespace, own) = (Namespace::fresh(), Named::new("left"));
    let mut agent = own.agent_in(&namespace);
    let pid = agent.number("pid");
    for _ in 0..40 {
        let id = agent.number("get 0 9000 0600");
        let at = agent.number(&format!("at {id}"));
        if mapped(pid, &format!("/segment.{id}")).is_empty() {
            let shown = shown(&namespace, &["--namespace", &own.name, &id.to_string()]);
            let starts: Vec<_> = holders(&shown).into_iter().map(|(pid, _, starts)| (pid, starts.len())).collect();
            assert_eq!((&shown["nattch"], starts), (&1.into(), vec![(pid, 1)]));
            return;
        }
        agent.number(&format!("dt {at}"));
        agent.number(&format!("rm {id}"));
    }
    panic!("no file was left to a later segment");
}

fn what_is_mapped_and_not_attached_is_no_attach() {
    // The second attach leaves a hidden page.
    let (namespace, own) = (Namespace::fresh(), Named::new("anchored"));
    let mut agent = own.agent_in(&namespace);
    for size in [4096, 9000] {
        let id = agent.number(&format!("get 0 {size} 0600"));
        for _ in 0..3 {
            agent.number(&format!("at {id}"));
        }
        let pid = agent.number("pid");
        let show = || shown(&namespace, &["--namespace", &own.name, &id.to_string()]);
        assert_eq!(mapped(pid, &format!("/segment.{id}")).len(), 4, "there is none to be told apart");
        assert_eq!((&show()["nattch"], &show()["attaches_seen"]), (&3.into(), &3.into()));
        assert_eq!(holders(&show())[0].2.len(), 3);
    }
}

fn the_same_id_in_another_ipc_namespace_is_another_segment() {
    if !Namespace::available() {
        return;
    }
    let namespaces = [Namespace::fresh(), Namespace::fresh()];
    let mut agents = namespaces.each_ref().map(Agent::native);
    let ids = agents.each_mut().map(|agent| agent.number("get 77 4096 01600"));
    assert_eq!(ids[0], ids[1]);
    for agent in &mut agents {
        agent.number(&format!("at {}", ids[0]));
    }
    for (namespace, agent) in namespaces.iter().zip(&agents) {
        let pids: Vec<i64> = holders(&shown(namespace, &["0x4d"])).into_iter().map(|(pid, ..)| pid).collect();
        assert_eq!(pids, [i64::from(agent.pid())]);
    }
}

fn a_removed_segment_tells_the_key_it_had() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let id = agent.number("get 77 4096 01600");
    agent.number(&format!("at {id}"));
    agent.number(&format!("rm {id}"));
    let shown = shown(&namespace, &[&id.to_string()]);
    assert_eq!((&shown["key"], &shown["original_key"]), (&"0x00000000".into(), &"0x0000004d".into()));
    assert_eq!(shown["status"], "dest");
    let text = show(&[&id.to_string()]).namespace(&namespace).output().silent().stdout;
    assert!(text.contains("before its removal 0x0000004d"), "{text}");
    // Who looks for it by that key is told which it was.
    let by_key = show(&["0x4d"]).namespace(&namespace).output();
    refused(&by_key, 1, &["removed", &format!("shmgate show --kernel {id}")]);
    refused(&show(&["0x4e"]).namespace(&namespace).output(), 1, &["no such segment", "shmgate ls"]);
}

fn journals_tell_since_when_and_from_which_path() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let temp = place();
    let path_of_key = temp.path().join("key");
    fs::write(&path_of_key, "").unwrap();
    let mut agent = Agent::gated(&namespace, &session);
    let key = agent.number(&format!("key {} 82", path_of_key.display()));
    let id = agent.number(&format!("get {key} 4096 01600"));
    agent.number(&format!("at {id}"));
    let known = |shown: &Value| {
        assert_eq!(shown["paths"][0]["path"], path_of_key.to_str().unwrap());
        assert_eq!((&shown["paths"][0]["proj"], &shown["paths"][0]["source"]), (&82.into(), &"recorded".into()));
        assert!(shown["created_by"].as_str().unwrap().ends_with("/agent"), "{shown}");
    };
    // The holder's environment names the session.
    let live = shown(&namespace, &[&id.to_string()]);
    known(&live);
    let since = live["holders"][0]["mappings"][0]["since"].as_str().unwrap();
    assert!(since >= live["created"].as_str().unwrap(), "{live}");
    agent.kill();
    let left = shown(&namespace, &[&id.to_string()]);
    assert_eq!((&left["created_by"], &left["paths"]), (&Value::Null, &Value::Array(vec![])));
    let dir = session.directory().to_str().unwrap().to_owned();
    known(&shown(&namespace, &["--session", &dir, &id.to_string()]));
    let text = show(&["--session", &dir, &id.to_string()]).namespace(&namespace).output().silent().stdout;
    assert!(text.contains(&format!("{}, project 82 'R' (recorded)", path_of_key.display())), "{text}");
}

fn files_that_give_the_key_are_found() {
    let namespace = Namespace::fresh();
    let temp = place();
    let (file, below) = (temp.path().join("a/b c/file"), temp.path().join("a/b c"));
    fs::create_dir_all(&below).unwrap();
    fs::write(&file, "").unwrap();
    let meta = fs::metadata(&file).unwrap();
    // As ftok(3) has it.
    let key = 0x52 << 24 | (meta.dev() as u32 & 0xff) << 16 | meta.ino() as u32 & 0xffff;
    let id = Agent::native(&namespace).number(&format!("get {:#x} 4096 01600", key));
    let search = |id: i64| shown(&namespace, &["--find-path", temp.path().to_str().unwrap(), &id.to_string()]);
    let found = search(id);
    assert_eq!(found["paths"][0]["path"], file.to_str().unwrap());
    assert_eq!((&found["paths"][0]["proj"], &found["paths"][0]["source"]), (&0x52.into(), &"found".into()));
    let private = Agent::native(&namespace).number("get 0 4096 01600");
    assert_eq!(search(private)["paths"], Value::Array(vec![]));
    let missing = show(&["--find-path", "/no/such/place", &id.to_string()]).namespace(&namespace).output();
    refused(&missing, 1, &["/no/such/place", "No such file"]);
}

fn what_can_not_be_shown_is_said() {
    let namespace = Namespace::fresh();
    let show = |arguments: &[&str]| show(arguments).namespace(&namespace).output();
    refused(&show(&["5"]), 1, &["id 5", "no such segment", "shmgate ls"]);
    refused(&show(&["0x4d"]), 1, &["key 0x0000004d", "no such segment"]);
    refused(&show(&["0x0"]), 2, &["IPC_PRIVATE", "by its id"]);
    refused(&show(&["frob"]), 2, &["neither an id", "nor a key"]);
    refused(&show(&[]), 2, &["ID|KEY", "shmgate show --help"]);
    refused(&show(&["--session", "/no/such/session", "5"]), 1, &["no such segment"]);
    let owns = [Named::new("one"), Named::new("two")];
    let mut agents = owns.each_ref().map(Named::agent);
    for agent in &mut agents {
        agent.number("get 77 4096 01600");
    }
    let both = ["--namespace", &owns[0].name, "--namespace", &owns[1].name, "0x4d"];
    refused(&show(&both), 2, &[&owns[0].name, &owns[1].name, "--kernel or --namespace"]);
    assert_eq!(show(&both[2..]).status, Status::Exited(0));
    let bad = ["--namespace", &owns[0].name, "--session", "/no/such/session", "0x4d"];
    refused(&show(&bad), 2, &["/no/such/session", "no such directory"]);
}

fn processes_that_end_meanwhile_do_not_matter() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let id = agent.number("get 0 4096 0600");
    agent.number(&format!("at {id}"));
    let come_and_go = Run::new("sh").args(["-c", "while :; do (:) & (:) & wait; done"]).spawn();
    for _ in 0..20 {
        let pids: Vec<i64> = holders(&shown(&namespace, &[&id.to_string()])).into_iter().map(|(pid, ..)| pid).collect();
        assert_eq!(pids, [i64::from(agent.pid())]);
    }
    drop(come_and_go);
}

fn a_person_reads_it_too() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let id = agent.number("get 77 9000 01606").to_string();
    let show = || show(&[&id]).namespace(&namespace).output().silent().stdout;
    assert!(show().contains("Nobody is seen to hold it."), "{}", show());
    agent.number(&format!("at {id}"));
    let text = show();
    for part in
        ["0x0000004d", "rw----rw- (0606)", "8.8K (9000 bytes)", "Last detach:        never", "PID USER", "rw-", "/agent"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(text.contains(&format!("\n{} ", agent.pid())) && !text.contains('\x1b'), "{text}");
    let cut =
        Run::new("bash").args(["-c", r#""$0" show --kernel "$1" | true; echo "${PIPESTATUS[0]}""#]).arg(command()).arg(&id);
    assert_eq!(cut.namespace(&namespace).output().silent().stdout, "0\n");
}

fn what_rights_do_not_show_is_counted() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let id = agent.number("get 77 4096 01600").to_string();
    agent.number(&format!("at {id}"));
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let show = |arguments: &[&str]| {
        let run = Run::new("setpriv").args(user).arg(command()).args(["show", "--kernel"]).args(arguments);
        run.namespace(&namespace).output().silent().stdout
    };
    let text = show(&[&id]);
    assert!(text.contains("1 of 1 attaches not seen: ") && text.contains("can't be looked into; ask as root"), "{text}");
    let shown: Value = serde_json::from_str(&show(&["--json", "0x4d"])).unwrap();
    assert_eq!((&shown["nattch"], &shown["attaches_seen"]), (&1.into(), &0.into()));
    assert!(shown["processes_unreadable"].as_u64().unwrap() > 0, "{shown}");
}

/// The kernel has them on a file system of its own, and not where it has the others.
fn holders_of_huge_pages_are_found_and_since_when() {
    let Some(_pool) = Pool::of(2) else { return };
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let (mut gated, mut native) = (Agent::gated(&namespace, &session), Agent::native(&namespace));
    // SHM_HUGETLB, 2 MiB.
    let id = gated.number("get 77 2097152 05600");
    gated.number(&format!("at {id}"));
    native.number(&format!("at {id} 010000"));
    let shown = shown(&namespace, &[&id.to_string()]);
    assert_eq!((&shown["nattch"], &shown["attaches_seen"]), (&2.into(), &2.into()), "{shown}");
    let mut expected = [&gated, &native].map(|one| i64::from(one.pid())).map(|pid| (pid, mapped(pid, "/SYSV0000004d")));
    expected.sort();
    assert_eq!(holders(&shown).into_iter().map(|(pid, _, starts)| (pid, starts)).collect::<Vec<_>>(), expected);
    let mapping = |pid: i32| {
        let holder = shown["holders"].as_array().unwrap().iter().find(|holder| holder["pid"] == pid).unwrap();
        &holder["mappings"][0]
    };
    assert_eq!((&mapping(gated.pid())["access"], &mapping(native.pid())["access"]), (&"rw-".into(), &"r--".into()));
    assert!(mapping(gated.pid())["since"].as_str() >= shown["created"].as_str(), "{shown}");
    assert!(shown["created"].is_string() && mapping(native.pid())["since"].is_null(), "only one is in the session: {shown}");
}
