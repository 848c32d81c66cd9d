//! `shmgate ls`.

mod common;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use common::{Named, refused, shmgate};
use serde_json::Value;
use shmgate_testkit::compile::program;
use shmgate_testkit::{Agent, Namespace, Outcome, Run, Status, command, isolated_trials, root_trials, run_trials, trials};

fn main() -> ExitCode {
    let mut trials = trials![
        segments_of_both_backends_are_listed_alike,
        states_are_told,
        a_table_has_the_columns_that_were_asked_for,
        a_list_may_be_cut_short_by_its_reader,
        colours_are_for_terminals,
        a_broken_namespace_costs_the_others_nothing,
        what_is_asked_wrongly_is_said,
    ];
    trials.extend(isolated_trials![filters_hold_together]);
    trials.extend(root_trials![
        pids_of_another_pid_namespace_are_nobodys_here,
        times_of_another_time_namespace_are_nobodys_here,
        a_creator_that_saw_anothers_proc_is_not_gone,
    ]);
    run_trials(trials)
}

/// `shmgate ls --json` in `namespace`, with the segments it lists.
fn listed(namespace: &Namespace, arguments: &[&str]) -> Vec<Value> {
    let said = shmgate(["ls", "--json"]).args(arguments).namespace(namespace).output().silent().stdout;
    let list: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(list["schema"], 1);
    list["sharedmemory"].as_array().unwrap().clone()
}

/// The segment with this id.
fn segment(namespace: &Namespace, arguments: &[&str], id: i64) -> Value {
    let all = listed(namespace, arguments);
    all.iter().find(|segment| segment["id"] == id).unwrap_or_else(|| panic!("no {id} in {all:?}")).clone()
}

/// The same, as `shmgate show` has it.
fn segment_shown(namespace: &Namespace, arguments: &[&str], id: i64) -> Value {
    let show = shmgate(["show", "--json"]).args(arguments).arg(id.to_string()).namespace(namespace);
    serde_json::from_str(&show.output().silent().stdout).unwrap()
}

fn segments_of_both_backends_are_listed_alike() {
    let (namespace, own) = (Namespace::fresh(), Named::new("alike"));
    let (mut native, mut gated) = (Agent::native(&namespace), own.agent());
    let one = |agent: &mut Agent, place: &[&str]| {
        let id = agent.number(&format!("get 77 9000 0{:o}", 0o1640));
        assert_eq!(segment(&namespace, place, id)["attach"], Value::Null);
        agent.number(&format!("at {id}"));
        agent.number(&format!("at {id}"));
        let mut segment = segment(&namespace, place, id);
        // The command that gates it has another pid.
        let pid = agent.number("pid");
        assert_eq!(segment["cpid"], pid);
        assert_eq!(segment["creator"]["name"], "agent");
        assert_eq!(segment["last"]["pid"], pid);
        assert!(segment["command"].as_str().unwrap().contains("agent"));
        let fields = segment.as_object_mut().unwrap();
        // What has to differ.
        for field in ["id", "cpid", "lpid", "creator", "last", "backend", "namespace", "directory", "command", "swap"] {
            assert!(fields.remove(field).is_some(), "{field}");
        }
        for field in ["attach", "ctime", "age", "idle"] {
            assert_ne!(fields.remove(field), Some(Value::Null), "{field}");
        }
        segment
    };
    let kernel = one(&mut native, &["--kernel"]);
    assert_eq!(kernel, one(&mut gated, &["--namespace", &own.name]));
    assert_eq!(kernel["nattch"], 2);
    assert_eq!(kernel["key"], "0x0000004d");
    assert_eq!((&kernel["perms"], &kernel["mode"]), (&"rw-r-----".into(), &"0640".into()));
    // Without a place, all of them.
    let said = shmgate(["ls", "--json", "--key", "77"]).namespace(&namespace).output().stdout;
    let all: Value = serde_json::from_str(&said).unwrap();
    let places: Vec<&Value> = all["sharedmemory"].as_array().unwrap().iter().map(|segment| &segment["namespace"]).collect();
    assert!(places.contains(&&Value::Null) && places.contains(&&own.name.as_str().into()), "{said}");
}

/// Locks a segment of the kernel's.
fn lock(namespace: &Namespace, id: i64) {
    let lock = move || {
        const SHM_LOCK: i32 = 11;
        // SAFETY: SHM_LOCK takes no pointer.
        let failed = unsafe { libc::shmctl(id as i32, SHM_LOCK, std::ptr::null_mut()) } != 0;
        if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: a system call only.
    unsafe { Run::new("true").namespace(namespace).prepare(lock) }.output().success();
}

fn states_are_told() {
    let (namespace, own) = (Namespace::fresh(), Named::new("states"));
    for (place, agent) in
        [(["--kernel"].as_slice(), Agent::native as fn(&Namespace) -> Agent), (&["--namespace", &own.name], |_| unreachable!())]
    {
        let is_kernel = place.len() == 1;
        let start = || if is_kernel { agent(&namespace) } else { own.agent() };
        let status = |id| segment(&namespace, place, id)["status"].clone();
        let (mut holder, mut creator) = (start(), start());
        let (left, removed) = (creator.number("get 5 4096 01600"), creator.number("get 6 4096 01600"));
        assert_eq!(status(left), Value::Null);
        holder.number(&format!("at {left}"));
        holder.number(&format!("at {removed}"));
        if is_kernel {
            lock(&namespace, left);
            assert_eq!(status(left), "locked");
        }
        creator.number(&format!("rm {removed}"));
        assert_eq!(status(removed), "dest");
        assert_eq!(segment(&namespace, place, removed)["key"], "0x00000000");
        creator.kill();
        // Its creator is gone, but it is in use.
        assert_eq!(segment(&namespace, place, left)["orphan"], false);
        assert_eq!(segment(&namespace, place, left)["creator"]["gone"], true);
        holder.kill();
        assert_eq!(status(left), if is_kernel { "orphan,locked" } else { "orphan" });
        assert_eq!(listed(&namespace, place).len(), 1, "the removed one went with its last attach");
    }
}

/// There a process is 1 that is another one here.
fn pids_of_another_pid_namespace_are_nobodys_here() {
    let (namespace, own) = (Namespace::fresh(), Named::new("pids"));
    let inside = own.run("unshare").args(["-p", "-f", "--mount-proc"]).arg(program("agent"));
    let mut agent = Agent::start(inside.namespace(&namespace));
    assert_eq!(agent.number("pid"), 1);
    let id = agent.number("get 77 4096 01600");
    let place = ["--namespace", &own.name];
    let not_known = serde_json::json!({"pid": 1, "name": null, "gone": false});
    let look = || {
        let segment = segment(&namespace, &place, id);
        let of = |field: &str| segment[field].clone();
        (of("creator"), of("last"), of("command"), of("orphan"))
    };
    let unknown = |last: &Value| (not_known.clone(), last.clone(), Value::Null, false.into());
    assert_eq!(look(), unknown(&Value::Null));
    agent.number(&format!("at {id}"));
    assert_eq!(look(), unknown(&not_known));
    let removal = shmgate(["namespace", "remove", &own.name]).namespace(&namespace).output();
    let holder = segment_shown(&namespace, &place, id)["holders"][0]["pid"].clone();
    assert_ne!(holder, 1);
    refused(&removal, 1, &[&format!("live process {holder} holds 1 segment")]);
    // What has left its life by exec is not gone.
    agent.number("dt 0");
    agent.ask("ungated");
    assert_eq!(look(), unknown(&not_known));
    let gc = shmgate(["gc", "-n", "--older-than", "0s"]).args(place).namespace(&namespace).output().success();
    assert_eq!(gc.stdout, "nothing to remove\n");
}

/// There a process began at another time.
fn times_of_another_time_namespace_are_nobodys_here() {
    if !Path::new("/proc/self/ns/time").exists() {
        return;
    }
    let (namespace, own) = (Namespace::fresh(), Named::new("times"));
    let inside = own.run("unshare").args(["-T", "-f", "--boottime", "100000"]).arg(program("agent"));
    let mut agent = Agent::start(inside.namespace(&namespace));
    let id = agent.number("get 77 4096 01600");
    let place = ["--namespace", &own.name];
    let not_known = serde_json::json!({"pid": agent.number("pid"), "name": null, "gone": false});
    let segment = segment(&namespace, &place, id);
    assert_eq!((&segment["creator"], &segment["orphan"]), (&not_known, &false.into()));
}

/// There its pid was another process's.
fn a_creator_that_saw_anothers_proc_is_not_gone() {
    let (namespace, own) = (Namespace::fresh(), Named::new("proc"));
    let inside = own.run("unshare").args(["-p", "-f"]).arg(program("agent"));
    let mut agent = Agent::start(inside.namespace(&namespace));
    let id = agent.number("get 77 4096 01600");
    agent.number(&format!("at {id}"));
    let place = ["--namespace", &own.name];
    let pid = segment_shown(&namespace, &place, id)["holders"][0]["pid"].to_string();
    agent.number("dt 0");
    let there = Run::new("nsenter").args(["--target", &pid, "--pid", "unshare", "--mount-proc"]).arg(command());
    let gc = there.args(["gc", "-n", "--older-than", "0s"]).args(place).namespace(&namespace).output().success();
    assert_eq!(gc.stdout, "nothing to remove\n");
}

fn table(namespace: &Namespace, arguments: &[&str]) -> String {
    shmgate(["ls", "--kernel"]).args(arguments).namespace(namespace).output().silent().stdout
}

fn a_table_has_the_columns_that_were_asked_for() {
    let namespace = Namespace::fresh();
    assert_eq!(table(&namespace, &["-n"]), "");
    let mut agent = Agent::native(&namespace);
    let ids = [(1, 9000), (2, 1 << 20), (3, 100)].map(|(key, size)| agent.number(&format!("get {key} {size} 01606")));
    let usual = table(&namespace, &[]);
    let head = usual.lines().next().unwrap();
    assert!(head.starts_with("KEY ") && head.ends_with(" NAMESPACE") && !usual.contains('\x1b'), "{usual}");
    // Numbers end where their column's name ends.
    let end = head.find(" SIZE").unwrap() + 5;
    assert!(usual.lines().skip(1).map(|line| &line[..end]).all(|line| line.ends_with(['K', 'M', 'B'])), "{usual}");
    assert!(usual.contains("8.8K") && usual.contains(&format!("{} agent", agent.pid())), "{usual}");
    let by_size = table(&namespace, &["-n", "-b", "-o", "id,size", "--sort", "size", "--reverse"]);
    let rows: Vec<Vec<i64>> =
        by_size.lines().map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect()).collect();
    assert_eq!(rows, [vec![ids[1], 1 << 20], vec![ids[0], 9000], vec![ids[2], 100]]);
    let more = table(&namespace, &["-o", "+COMMAND"]);
    assert!(more.lines().next().unwrap().ends_with(" NAMESPACE COMMAND"), "{more}");
    assert!(more.lines().nth(1).unwrap().ends_with("/agent"), "{more}");
    let json: Vec<Value> = listed(&namespace, &["--kernel", "-o", "KEY,id"]);
    assert_eq!(json[0].to_string(), format!("{{\"id\":{},\"key\":\"0x00000001\"}}", ids[0]));
}

fn filters_hold_together() {
    let namespace = Namespace::fresh();
    let (mut living, mut gone) = (Agent::native(&namespace), Agent::native(&namespace));
    living.number("get 1 4096 01600");
    living.number("get 2 4096 01606");
    gone.number("get 3 4096 01602");
    gone.number("get 4 4096 01660");
    gone.kill();
    let keys = |arguments: &[&str]| {
        let mut all = vec!["-n", "-o", "KEY"];
        all.extend(arguments);
        table(&namespace, &all).lines().map(|key| i64::from_str_radix(&key[2..], 16).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&[]), [1, 2, 3, 4]);
    assert_eq!(keys(&["--orphans"]), [3, 4]);
    assert_eq!(keys(&["--world"]), [2, 3]);
    assert_eq!(keys(&["--world", "--orphans"]), [3]);
    assert_eq!(keys(&["--key", "0x4"]), [4]);
    assert_eq!(keys(&["--older-than", "0s"]), [1, 2, 3, 4]);
    assert!(keys(&["--older-than", "1h"]).is_empty());
    // SAFETY: it always succeeds.
    let uid = unsafe { libc::geteuid() };
    assert_eq!(keys(&["--owner", &uid.to_string()]), [1, 2, 3, 4]);
    assert!(keys(&["--owner", &(uid + 1).to_string()]).is_empty());
}

fn a_list_may_be_cut_short_by_its_reader() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    // More than a pipe takes.
    for _ in 0..1000 {
        agent.number("get 0 1 0600");
    }
    let script = r#""$0" ls --kernel | head -n 1; echo "${PIPESTATUS[0]}""#;
    let outcome = Run::new("bash").args(["-c", script]).arg(command()).namespace(&namespace).output().silent();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("KEY"), "{outcome}");
    assert_eq!(lines[1], "0");
}

fn colours_are_for_terminals() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    agent.number("get 1 4096 01606");
    let on_terminal = |name: &str, value: &str| {
        let list = format!("{} ls --kernel", command().display());
        let run = Run::new("script").args(["-qec", &list, "/dev/null"]).env("TERM", "xterm").env(name, value);
        run.namespace(&namespace).output().success().stdout
    };
    let coloured = on_terminal("NO_COLOR", "");
    assert!(coloured.contains("\x1b[31mrw----rw-\x1b[0m") && coloured.contains("\x1b[1mKEY"), "{coloured}");
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert!(!on_terminal(name, value).contains('\x1b'), "{name}");
    }
    assert!(!table(&namespace, &[]).contains('\x1b'));
}

fn a_broken_namespace_costs_the_others_nothing() {
    let namespace = Namespace::fresh();
    let (own, broken) = (Named::new("whole"), Named::new("broken"));
    let id = own.agent().number("get 0 4096 0600");
    shmgate(["namespace", "create", &broken.name]).output().silent();
    fs::write(broken.dir.join("registry"), "no registry").unwrap();
    for (other, what) in [(&broken, "damaged"), (&Named::new("none"), "there is none")] {
        let ls = shmgate(["ls", "-n", "-o", "ID", "--namespace", &own.name, "--namespace", &other.name]);
        let outcome: Outcome = ls.namespace(&namespace).output();
        refused(&outcome, 1, &[other.dir.to_str().unwrap(), what]);
        assert_eq!(outcome.stdout, format!("{id}\n"));
    }
}

fn what_is_asked_wrongly_is_said() {
    let ls = |arguments: &[&str]| shmgate(["ls"]).args(arguments).output();
    refused(&ls(&["--namespace", "there-is-none"]), 1, &["there is none", "shmgate namespace list"]);
    refused(&ls(&["--namespace", "a/b"]), 2, &["is no namespace"]);
    refused(&ls(&["-o", "ID,FROB"]), 2, &["FROB", "no such column", "NATTCH"]);
    refused(&ls(&["--sort", "frob"]), 2, &["no such column"]);
    refused(&ls(&["--key", "frob"]), 2, &["not a key", "0x5e000001"]);
    refused(&ls(&["--owner", "no-such-user-here"]), 2, &["no such user"]);
    refused(&ls(&["--older-than", "1y"]), 2, &["not an age", "90m"]);
    refused(&ls(&["--older-than", "7"]), 2, &["not an age", "90m"]);
    refused(&shmgate(["ls"]).env("SHMGATE_NAMESPACE", "a/b").output(), 1, &["SHMGATE_NAMESPACE", "is no namespace"]);
    assert_eq!(ls(&["--kernel", "--json"]).silent().stdout, "{\"schema\":1,\"sharedmemory\":[]}\n");
    assert_eq!(ls(&["--kernel"]).status, Status::Exited(0));
}
