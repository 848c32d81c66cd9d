//! `shmgate top`: once, for scripts; and live, in a terminal that tmux makes.

mod common;
#[path = "common/tmux.rs"]
mod tmux;

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use common::{Named, place, refused, shmgate, until_ended};
use serde_json::Value;
use shmgate_core::journal::format::{HEADER_LEN, SLOT_LEN};
use shmgate_testkit::compile::program;
use shmgate_testkit::run::TIMEOUT;
use shmgate_testkit::trial::trial;
use shmgate_testkit::{Agent, Namespace, Run, Session, Status, command, executable, root_trials, run_trials, trials};
use tmux::Tmux;

fn main() -> ExitCode {
    let mut all = trials![
        segments_come_with_their_holders,
        a_session_has_its_own_segments_and_calls,
        the_same_id_in_another_namespace_is_another_segment,
        an_id_that_comes_again_counts_anew,
        rates_are_those_of_the_interval,
        quotas_and_denials_are_told,
        a_dry_run_denies_nothing,
        processes_that_end_are_gone,
        a_person_reads_it_too,
        a_live_look_needs_a_terminal,
        what_is_asked_wrongly_is_said,
        a_damaged_journal_is_said,
        a_broken_namespace_costs_the_others_nothing,
        a_reader_that_leaves_is_no_error,
    ];
    all.extend(root_trials![what_rights_do_not_show_is_said]);
    let is_there = tmux::is_there();
    let live: [(&str, fn()); 11] = [
        ("what_happens_is_seen", what_happens_is_seen),
        ("keys_lead_everywhere", keys_lead_everywhere),
        ("it_can_be_held", it_can_be_held),
        ("quitting_leaves_the_terminal_as_it_was", quitting_leaves_the_terminal_as_it_was),
        ("a_signal_leaves_the_terminal_as_it_was", a_signal_leaves_the_terminal_as_it_was),
        ("it_stops_and_goes_on", it_stops_and_goes_on),
        ("what_is_typed_while_it_is_stopped_stays", what_is_typed_while_it_is_stopped_stays),
        ("a_small_terminal_is_told", a_small_terminal_is_told),
        ("it_ends_with_its_terminal", it_ends_with_its_terminal),
        ("colours_can_be_refused", colours_can_be_refused),
        ("what_goes_is_said", what_goes_is_said),
    ];
    for (name, body) in live {
        let name = if is_there { format!("in_tmux::{name}") } else { format!("in_tmux::{name} (skipped: needs tmux)") };
        all.push(trial(name, body).with_ignored_flag(!is_there));
    }
    run_trials(all)
}

/// `shmgate top --once` with these arguments.
fn once(namespace: &Namespace, arguments: &[&str]) -> Run {
    shmgate(["top", "--once"]).args(arguments).namespace(namespace)
}

#[track_caller]
fn json(namespace: &Namespace, arguments: &[&str]) -> Value {
    let said = once(namespace, arguments).arg("--json").output().silent();
    assert_eq!(said.status, Status::Exited(0));
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn ids(look: &Value) -> Vec<i64> {
    look["segments"].as_array().unwrap().iter().map(|one| one["id"].as_i64().unwrap()).collect()
}

#[track_caller]
fn segment(look: &Value, id: i64) -> &Value {
    look["segments"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id} in {look:#}"))
}

fn segments_come_with_their_holders() {
    let (namespace, own) = (Namespace::fresh(), Named::new("holders"));
    let (mut one, mut two, mut other) = (Agent::native(&namespace), Agent::native(&namespace), own.agent_in(&namespace));
    let (small, large) = (one.number("get 77 4096 01600"), one.number("get 78 90000 01600"));
    for line in [format!("at {small}"), format!("at {small}"), format!("at {large}")] {
        one.number(&line);
    }
    two.number(&format!("at {small}"));
    let elsewhere = other.number("get 0 5000 01600");
    other.number(&format!("at {elsewhere}"));
    let look = json(&namespace, &["--kernel"]);
    assert_eq!(ids(&look), [large, small], "the largest first");
    let holder = |pid: i64, attaches: i64| serde_json::json!({"pid": pid, "name": "agent", "attaches": attaches});
    let mut pids = [(i64::from(one.pid()), 2), (i64::from(two.pid()), 1)];
    pids.sort_unstable();
    assert_eq!(
        segment(&look, small)["holders"],
        serde_json::json!([holder(pids[0].0, pids[0].1), holder(pids[1].0, pids[1].1)])
    );
    let totals = &look["totals"];
    let of = |name: &str| totals[name].as_u64().unwrap();
    assert_eq!((of("segments"), of("size"), of("attaches"), of("holders")), (2, 94096, 4, 2));
    assert_eq!(look["session"], Value::Null);
    let look = json(&namespace, &["--namespace", &own.name]);
    assert_eq!(ids(&look), [elsewhere]);
    let pid = other.number("pid");
    assert_eq!(look["segments"][0]["holders"], serde_json::json!([holder(pid, 1)]));
    // Both, and of these what a filter takes.
    let look = json(&namespace, &["--kernel", "--namespace", &own.name, "--sort", "id", "--reverse"]);
    assert_eq!((ids(&look).len(), ids(&look)[0]), (3, small.min(elsewhere)));
    assert_eq!(ids(&json(&namespace, &["--kernel", "--key", "77"])), [small]);
}

fn a_session_has_its_own_segments_and_calls() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut stranger = Agent::native(&namespace);
    let (theirs, used) = (stranger.number("get 77 4096 01600"), stranger.number("get 78 4096 01600"));
    let mut agent = Agent::gated(&namespace, &session);
    let made = agent.number("get 0 9000 01600");
    agent.number(&format!("at {made}"));
    agent.number("get 78 0 0");
    agent.number("child get 78 0 0");
    assert_eq!(agent.ask("get 79 0 0"), "ENOENT");
    // SHM_REMAP needs an address.
    assert_eq!(agent.ask(&format!("at {made} 040000")), "EINVAL");
    assert_eq!(agent.ask("at 77777"), "EINVAL");
    let look = json(&namespace, &[text(&session.directory())]);
    let mut seen = ids(&look);
    seen.sort_unstable();
    assert_eq!(seen, [used, made], "and not {theirs}");
    let total = |it: &Value, name: &str| it[name]["total"].as_i64().unwrap();
    assert_eq!((total(&look, "calls"), total(&look, "errors"), total(&look, "denied")), (7, 3, 0));
    assert_eq!((&look["calls"]["shmget"]["total"], &look["calls"]["shmat"]["total"]), (&4.into(), &3.into()));
    assert_eq!((total(segment(&look, made), "calls"), total(segment(&look, made), "errors")), (3, 1));
    assert_eq!(total(segment(&look, used), "calls"), 2);
    let process = look["processes"].as_array().unwrap().iter().find(|one| one["pid"] == agent.pid()).unwrap();
    assert_eq!((&process["lives"], &process["attaches"], total(process, "calls")), (&true.into(), &1.into(), 6));
    assert!(process["exe"].as_str().unwrap().ends_with("/agent"), "{process}");
    assert_eq!(look["in_use"], serde_json::json!({"bytes": 12288, "segments": 1, "attaches": 1}));
    assert_eq!(look["session"], text(&session.directory()));
    assert_eq!(look["lost"], 0);
}

fn the_same_id_in_another_namespace_is_another_segment() {
    let namespace = Namespace::fresh();
    let (own, other) = (Named::new("own"), Named::new("other"));
    let temp = place();
    let dir = temp.path().join("s");
    let run = shmgate(["run", "-q", "--backend", "userspace", "--namespace", &own.name, "--session"]).arg(&dir).arg("--");
    let mut agent = Agent::start(run.arg(program("agent")));
    let mut stranger = other.agent();
    let id = agent.number("get 0 4096 01600");
    assert_eq!(stranger.number("get 0 4096 01600"), id, "namespaces begin alike");
    let look = json(&namespace, &[text(&dir)]);
    assert_eq!(ids(&look), [id]);
    assert_eq!(look["segments"][0]["namespace"], own.name);
    assert_eq!(look["in_use"]["segments"], 1);
    agent.number(&format!("rm {id}"));
    assert_eq!(json(&namespace, &[text(&dir)])["in_use"]["segments"], 0, "the stranger's is not the session's");
}

fn an_id_that_comes_again_counts_anew() {
    let namespace = Namespace::on_userspace();
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    let first = agent.number("get 0 4096 01600");
    agent.number(&format!("at {first}"));
    agent.number(&format!("rm {first}"));
    // Removed and held: it is there, with its calls.
    let at = ["--namespace", text(namespace.userspace().unwrap().directory())];
    let session = session.directory();
    let look = |first: &str| json(&Namespace::fresh(), &[at[0], at[1], first]);
    let seen = look(text(&session));
    assert_eq!((&seen["segments"][0]["status"], &seen["segments"][0]["calls"]["total"]), (&"dest".into(), &3.into()));
    agent.number("dt 0");
    assert_eq!(ids(&look(text(&session))), [0; 0]);
    let mut id = agent.number("get 0 8192 01600");
    while id != first && id & 0x7fff != first & 0x7fff {
        agent.number(&format!("rm {id}"));
        id = agent.number("get 0 8192 01600");
    }
    let seen = look(text(&session));
    assert_eq!((ids(&seen), &seen["segments"][0]["calls"]["total"]), (vec![id], &1.into()));
}

fn rates_are_those_of_the_interval() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let churn = Run::new(program("churn")).arg("360").namespace(&namespace);
    churn.session(&session).output().silent().success();
    let look = |interval: &str| json(&namespace, &["--interval", interval, text(&session.directory())]);
    let now = look("1");
    assert_eq!((&now["in_use"]["segments"], &now["in_use"]["bytes"]), (&0.into(), &0.into()), "all were removed");
    // Five calls a round, all within the last hour.
    let hour = look("3600");
    assert_eq!((&hour["calls"]["total"], &hour["calls"]["a_second"]), (&1800.into(), &0.5.into()));
    assert_eq!(hour["interval"], 3600.0);
    assert_eq!(hour["calls"]["shmat"]["a_second"], 0.1);
    // Whatever has rested for longer than that has no rate.
    let last = || look("0.1")["calls"]["a_second"].as_f64().unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while last() > 0.0 {
        assert!(Instant::now() < deadline, "a rate stays");
    }
}

fn quotas_and_denials_are_told() {
    let namespace = Namespace::fresh();
    let session = Session::with_options(&namespace, &["--max-bytes", "64K", "--max-segments", "3"]);
    let mut agent = Agent::gated(&namespace, &session);
    agent.number("get 0 40000 01600");
    for _ in 0..3 {
        assert_eq!(agent.ask("get 0 40000 01600"), "ENOSPC");
    }
    let look = json(&namespace, &[text(&session.directory())]);
    assert_eq!(look["limits"], serde_json::json!({"bytes": 65536, "segments": 3, "attaches": null}));
    assert_eq!(look["in_use"]["bytes"], 40960);
    assert_eq!((&look["denied"]["total"], &look["errors"]["total"]), (&3.into(), &0.into()));
    let denials = look["denials"].as_array().unwrap();
    assert_eq!(denials.len(), 3);
    assert_eq!(denials[0]["pid"], agent.pid());
    assert!(denials[0]["reason"].as_str().unwrap().starts_with("session bytes: 40 KiB asked"), "{}", denials[0]);
    let line = denials[0]["line"].as_str().unwrap();
    assert!(line.contains("shmget(key=IPC_PRIVATE, size=40000") && line.contains("[denied: session bytes"), "{line}");
}

fn processes_that_end_are_gone() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    let id = agent.number("get 0 4096 01600");
    agent.number(&format!("at {id}"));
    let directory = session.directory();
    let state = || json(&namespace, &[text(&directory)]);
    assert_eq!(state()["processes"][0]["lives"], true);
    agent.kill();
    let look = state();
    assert_eq!((&look["processes"][0]["lives"], &look["in_use"]["attaches"]), (&false.into(), &0.into()));
    assert_eq!(segment(&look, id)["holders"], serde_json::json!([]));
    assert_eq!(look["totals"]["orphans"], 1);
}

fn a_person_reads_it_too() {
    let namespace = Namespace::fresh();
    let session = Session::with_options(&namespace, &["--max-bytes", "64K"]);
    let mut agent = Agent::gated(&namespace, &session);
    let id = agent.number("get 77 9000 01666");
    agent.number(&format!("at {id}"));
    assert_eq!(agent.ask("get 0 60000 01600"), "ENOSPC");
    let said = once(&namespace, &["--interval", "3600", text(&session.directory())]).output().silent();
    assert_eq!(said.status, Status::Exited(0));
    for part in [
        "1 segment; 8.8K, 0B in memory; 1 attach by 1 process\n",
        "calls/s (",
        "; denied 1, ",
        "in use 12 KiB of 64 KiB; segments 1; attaches 1\n",
        "\nKEY ",
        " CALLS/S CALLS ERRORS DENIED ",
        "0x0000004d",
        " rw-rw-rw- ",
        " ATTACHES IDLE STATE PROGRAM\n",
        " lives ",
        "\nTIME ",
        "session bytes: 60 KiB asked",
    ] {
        assert!(said.stdout.contains(part), "{part} is missing in:\n{said}");
    }
    assert!(!said.stdout.contains('\x1b'), "colour is for terminals");
}

fn a_live_look_needs_a_terminal() {
    refused(&shmgate(["top"]).output(), 2, &["standard output is no terminal", "shmgate top --once"]);
}

fn what_is_asked_wrongly_is_said() {
    let temp = place();
    let is_refused = |arguments: &[&str], parts: &[&str]| refused(&shmgate(["top"]).args(arguments).output(), 2, parts);
    is_refused(&["--once", text(temp.path())], &["no journal is there", "shmgate run --session"]);
    is_refused(&["--once", text(&temp.path().join("none"))], &["no such directory", "shmgate run --session"]);
    is_refused(&["--json"], &["--once"]);
    is_refused(&["--once", "--interval", "0"], &["0.1 to 3600"]);
    is_refused(&["--once", "--sort", "colour"], &["no such column", "CALLS/S", "HOLDERS"]);
    refused(&shmgate(["top", "--once", "--namespace", "no-such-one"]).output(), 1, &["shmgate namespace list"]);
}

fn a_damaged_journal_is_said() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let churn = Run::new(program("churn")).arg("200").namespace(&namespace);
    churn.session(&session).output().silent().success();
    let offset = HEADER_LEN + 70 * SLOT_LEN;
    let journal = OpenOptions::new().write(true).open(session.directory().join("journal")).unwrap();
    journal.write_all_at(&[0xa5; SLOT_LEN as usize], offset).unwrap();
    let said = once(&namespace, &[text(&session.directory())]).output();
    assert_eq!(said.status, Status::Exited(1));
    assert!(said.stdout.contains(&format!("the journal is damaged at offset {offset}\n")), "{said}");
    // What can be read is shown.
    let said = once(&namespace, &["--json", text(&session.directory())]).output();
    let look: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.status, &look["calls"]["total"]), (Status::Exited(1), &999.into()));
}

fn a_broken_namespace_costs_the_others_nothing() {
    let (namespace, good, temp) = (Namespace::fresh(), Named::new("good"), place());
    // Where the other tests don't come by.
    let bad = Named::at(temp.path().join("bad"));
    let id = good.agent().number("get 0 4096 01600");
    bad.agent().number("get 0 4096 01600");
    std::fs::write(bad.dir.join("registry"), "nonsense").unwrap();
    let said = once(&namespace, &["--namespace", &bad.name, "--namespace", &good.name]).output();
    assert_eq!((said.status, said.stderr.as_str()), (Status::Exited(1), ""));
    assert!(said.stdout.contains(&bad.name) && said.stdout.contains(&format!(" {id} ")), "{said}");
}

fn a_reader_that_leaves_is_no_error() {
    let namespace = Namespace::fresh();
    let script = format!("{} top --once --json --kernel | true; exit ${{PIPESTATUS[0]}}", command().display());
    let said = Run::new("bash").args(["-c", &script]).namespace(&namespace).output().silent();
    assert_eq!(said.status, Status::Exited(0));
}

/// `shmgate top` with these arguments, as bash takes it.
fn line(arguments: &[&str]) -> String {
    format!("{} top {}", command().display(), arguments.join(" "))
}

const SIZE: (u16, u16) = (120, 30);

/// A screen's words in one line: where a long line is broken depends on the lengths of paths and pids.
fn flowing(screen: &str) -> String {
    screen.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn what_happens_is_seen() {
    let namespace = Namespace::fresh();
    let session = Session::with_options(&namespace, &["--max-bytes", "64K"]);
    let mut agent = Agent::gated(&namespace, &session);
    let tmux = Tmux::start(&namespace, SIZE, &[]);
    tmux.enter(&line(&["--interval", "0.1", text(&session.directory())]));
    tmux.until("an empty table", |screen| screen.contains("The session uses no segment"));
    let id = agent.number("get 77 9000 01600");
    tmux.until("the segment", |screen| screen.contains("0x0000004d") && screen.contains("Nobody is seen to hold"));
    agent.number(&format!("at {id}"));
    let holder = format!("Holders of {id}:");
    tmux.until("its holder", |screen| screen.contains(&holder) && screen.contains("1 attach by 1 process"));
    assert_eq!(agent.ask("get 0 60000 01600"), "ENOSPC");
    tmux.until("the denial", |screen| screen.contains("denied 1, "));
    agent.number("dt 0");
    agent.number(&format!("rm {id}"));
    tmux.until("the end", |screen| screen.contains("The session uses no segment") && screen.contains("0 segments;"));
}

fn keys_lead_everywhere() {
    let namespace = Namespace::fresh();
    let session = Session::with_options(&namespace, &["--max-bytes", "640K"]);
    let mut agent = Agent::gated(&namespace, &session);
    let (one, two) = (agent.number("get 77 4096 01600"), agent.number("get 78 90000 01600"));
    agent.number(&format!("at {one}"));
    assert_eq!(agent.ask("get 0 900000 01600"), "ENOSPC");
    let tmux = Tmux::start(&namespace, SIZE, &[]);
    tmux.enter(&line(&["--sort", "size", text(&session.directory())]));
    let row = |screen: &str, key: &str| screen.lines().position(|line| line.starts_with(key));
    let is_in_order = |screen: &str, first: &str, second: &str| {
        let (first, second) = (row(screen, first), row(screen, second));
        first.is_some() && first < second
    };
    let (small, large) = ("0x0000004d", "0x0000004e");
    tmux.until("the larger first", |screen| is_in_order(screen, large, small));
    tmux.press(&["r"]);
    tmux.until("the smaller first", |screen| is_in_order(screen, small, large));
    tmux.press(&["r", "<", "<", "<", "<"]);
    tmux.until("keys in their order", |screen| is_in_order(screen, small, large));
    tmux.press(&["Home"]);
    tmux.until("the first row's holders", |screen| screen.contains(&format!("Holders of {one}:")));
    tmux.press(&["Down"]);
    tmux.until("the second's", |screen| screen.contains(&format!("Nobody is seen to hold {two}.")));
    tmux.press(&["k", "Enter"]);
    tmux.until("all of the first", |screen| {
        let screen = flowing(screen);
        screen.contains(&format!("Segment {one} (Esc: back)"))
            && screen.contains("Creator's user:")
            && screen.contains(", recorded at ")
    });
    tmux.press(&["Escape"]);
    tmux.until("the table", |screen| row(screen, small).is_some());
    // All of the words, and another filter begins anew.
    tmux.press(&["/", "n", "o", "n", "e", "Enter"]);
    tmux.until("that nothing passes", |screen| screen.contains("Nothing passes the filter."));
    tmux.press(&["/", "7", ".", "9", "K", "Space", "4", "E", "Enter"]);
    tmux.until("what passes the filter", |screen| row(screen, small).is_none() && row(screen, large).is_some());
    tmux.press(&["Escape"]);
    tmux.until("all again", |screen| row(screen, small).is_some());
    tmux.press(&["2"]);
    let pid = agent.pid();
    tmux.until("the process", |screen| screen.contains("PROGRAM") && screen.contains(&format!("{pid} ")));
    tmux.press(&["Enter"]);
    tmux.until("its calls", |screen| screen.contains(&format!("Process {pid}")) && screen.contains("shmget:"));
    tmux.press(&["Escape"]);
    tmux.until("the processes", |screen| screen.contains("PROGRAM"));
    tmux.press(&["Tab"]);
    tmux.until("the denial", |screen| screen.contains("REASON") && screen.contains("session bytes: 880 KiB asked"));
    tmux.press(&["Enter"]);
    tmux.until("its reason", |screen| flowing(screen).contains("880 KiB asked, 92 KiB of 640 KiB in use"));
    tmux.press(&["q"]);
    tmux.until("the end", |screen| !screen.contains("Denial"));
    // Without a session there is one table.
    tmux.enter(&line(&["--kernel"]));
    tmux.until("the segments", |screen| row(screen, small).is_some());
    tmux.press(&["2"]);
    tmux.until("a word about it", |screen| screen.contains("shmgate top DIR"));
    tmux.press(&["?"]);
    tmux.until("the keys", |screen| screen.contains("hold it as it is"));
    tmux.press(&["q"]);
    tmux.until("the shell", |screen| !screen.contains("hold it as it is"));
}

fn it_can_be_held() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    agent.number("get 77 4096 01600");
    let tmux = Tmux::start(&namespace, SIZE, &[]);
    tmux.enter(&line(&["--kernel", "--interval", "0.1"]));
    tmux.until("the segment", |screen| screen.contains("0x0000004d"));
    tmux.press(&["Space"]);
    tmux.until("that it is held", |screen| screen.contains("UTC, held"));
    agent.number("get 78 4096 01600");
    // A key has it drawn again, and nothing is looked at.
    tmux.press(&["/", "0", "x", "Enter"]);
    let screen = tmux.until("the filter", |screen| screen.contains("filter: 0x"));
    assert!(screen.contains("0x0000004d") && !screen.contains("0x0000004e"), "{screen}");
    tmux.press(&["Space"]);
    tmux.until("the new segment", |screen| screen.contains("0x0000004e"));
}

/// Has a shell in which top was started say whether the terminal is what it was, and with which status top ended.
fn settings_stay(arguments: &[&str], end: impl FnOnce(&Tmux)) -> String {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    agent.number("get 77 4096 01600");
    let tmux = Tmux::start(&namespace, SIZE, &[]);
    tmux.enter("echo what was here");
    tmux.enter(&format!(
        "before=$(stty -a); {}; echo status:$?; test \"$(stty -a)\" = \"$before\" && echo same",
        line(arguments)
    ));
    tmux.until("the segment", |screen| screen.contains("0x0000004d") && !screen.contains("what was here"));
    end(&tmux);
    let screen = tmux.until("its status", |screen| screen.contains("status:") && screen.contains("\nsame"));
    assert!(screen.contains("what was here") && !screen.contains("0x0000004d"), "{screen}");
    // A cursor that is hidden stays so for the shell.
    let cursor = tmux.until("a prompt", |screen| screen.trim_end().ends_with('$'));
    screen + &cursor
}

fn quitting_leaves_the_terminal_as_it_was() {
    for keys in [&["q"][..], &["C-c"], &["Enter", "q"], &["?", "q"]] {
        let screen = settings_stay(&["--kernel"], |tmux| tmux.press(keys));
        assert!(screen.contains("status:0"), "{screen}");
    }
}

fn a_signal_leaves_the_terminal_as_it_was() {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        let screen = settings_stay(&["--kernel", "--interval", "3600"], |tmux| {
            let pid = tmux.foreground().expect("top runs");
            // SAFETY: bash waits for it, so the pid is its own.
            unsafe { libc::kill(pid, signal) };
        });
        assert!(screen.contains(&format!("status:{}", 128 + signal)), "{screen}");
    }
}

fn it_stops_and_goes_on() {
    let screen = settings_stay(&["--kernel"], |tmux| {
        tmux.press(&["C-z"]);
        tmux.until("that it is stopped", |screen| screen.contains("Stopped") && screen.contains("what was here"));
        tmux.enter("clear; echo before; fg");
        tmux.until("the segment again", |screen| screen.contains("0x0000004d"));
        // A stop that comes from elsewhere, too.
        let pid = tmux.foreground().expect("top runs");
        // SAFETY: bash waits for it, so the pid is its own.
        unsafe { libc::kill(pid, libc::SIGTSTP) };
        tmux.until("that it is stopped", |screen| screen.contains("Stopped") && !screen.contains("0x0000004d"));
        tmux.enter("fg; echo what was here; echo status:$?; echo; echo same");
        tmux.until("the segment again", |screen| screen.contains("0x0000004d"));
        tmux.press(&["q"]);
    });
    assert!(screen.contains("status:"), "{screen}");
}

fn what_is_typed_while_it_is_stopped_stays() {
    let namespace = Namespace::fresh();
    let tmux = Tmux::start(&namespace, SIZE, &[]);
    // The terminal shows what is typed while the shell is busy, amid what the shell says: so it is typed afterwards.
    let until_ready = |said: &str| tmux.until(said, |screen| screen.trim_end().ends_with(&format!("\n{said}\n$")));
    tmux.enter("echo one; echo two");
    until_ready("two");
    let is_shown = |screen: &str| screen.contains("There is no segment.");
    tmux.enter(&line(&["--kernel"]));
    tmux.until("top", is_shown);
    tmux.press(&["C-z"]);
    tmux.until("that it is stopped", |screen| screen.contains("Stopped"));
    tmux.enter("echo three");
    until_ready("three");
    tmux.enter("fg");
    tmux.until("top", is_shown);
    tmux.press(&["q"]);
    let screen = tmux.until("the shell", |screen| !is_shown(screen) && screen.trim_end().ends_with('$'));
    let places = ["\none\n", "\ntwo\n", "Stopped", "\nthree\n", "$ fg\n"].map(|part| screen.find(part));
    assert!(places[0].is_some() && places.is_sorted(), "{places:?} in:\n{screen}");
}

fn a_small_terminal_is_told() {
    let namespace = Namespace::fresh();
    Agent::native(&namespace).number("get 77 4096 01600");
    let tmux = Tmux::start(&namespace, (30, 6), &[]);
    tmux.enter(&line(&["--kernel"]));
    tmux.until("what it needs", |screen| screen.contains("30x6 is too small") && screen.contains("40x8"));
    for (width, height) in [(40, 8), (200, 50), (41, 9)] {
        assert!(tmux.say(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]));
        tmux.until("the segment", |screen| screen.contains("4K") && screen.lines().next().is_some_and(|line| line.len() > 38));
    }
    assert!(tmux.say(&["resize-window", "-x", "39", "-y", "8"]));
    tmux.until("what it needs", |screen| screen.contains("39x8 is too small"));
    tmux.press(&["q"]);
    tmux.until("the shell", |screen| screen.trim_end().ends_with('$'));
}

fn it_ends_with_its_terminal() {
    let namespace = Namespace::fresh();
    let tmux = Tmux::start(&namespace, SIZE, &[]);
    // Not even a signal tells it.
    tmux.enter(&format!("trap '' HUP; {}", line(&["--kernel", "--interval", "3600"])));
    tmux.until("top", |screen| screen.contains("There is no segment"));
    let pid = tmux.foreground().expect("top runs");
    drop(tmux);
    until_ended(pid, Instant::now() + TIMEOUT);
}

fn colours_can_be_refused() {
    let namespace = Namespace::fresh();
    Agent::native(&namespace).number("get 77 4096 01666");
    let shown = |variables: &[(&str, &str)]| {
        let tmux = Tmux::start(&namespace, SIZE, variables);
        tmux.enter(&line(&["--kernel"]));
        tmux.until("the segment", |screen| screen.contains("rw-rw-rw-"));
        tmux.press(&["Down"]);
        tmux.coloured()
    };
    const RED: &str = "\x1b[38;5;1m";
    let with = shown(&[]);
    assert!(with.contains(RED), "{with:?}");
    let without = shown(&[("NO_COLOR", "1")]);
    assert!(!without.contains("\x1b[38;") && !without.contains("\x1b[31"), "{without:?}");
}

fn what_goes_is_said() {
    let namespace = Namespace::fresh();
    let own = Named::new("goes");
    own.agent().number("get 0 4096 01600");
    let tmux = Tmux::start(&namespace, SIZE, &[]);
    tmux.enter(&format!("{}; echo status:$?", line(&["--interval", "0.1", "--namespace", &own.name])));
    tmux.until("the segment", |screen| screen.contains("4K"));
    std::fs::remove_dir_all(&own.dir).unwrap();
    tmux.until("that it is gone", |screen| screen.contains("there is none") && screen.contains("status:1"));
    let session = Session::watching(&namespace);
    tmux.enter(&format!("clear; {}; echo status:$?", line(&["--interval", "0.1", text(&session.directory())])));
    tmux.until("the session", |screen| screen.contains("The session uses no segment"));
    std::fs::remove_dir_all(session.directory()).unwrap();
    tmux.until("that it is gone", |screen| screen.contains("the session is gone") && screen.contains("status:1"));
}

/// Attaches of processes that may not be looked into: another user's.
fn what_rights_do_not_show_is_said() {
    let namespace = Namespace::fresh();
    let mut agent = Agent::native(&namespace);
    let id = agent.number("get 77 4096 01666");
    agent.number(&format!("at {id}"));
    let nobody = |arguments: &[&str]| {
        // A copy, which anybody may execute.
        let temp = place();
        let copy = temp.path().join("shmgate");
        executable::copy(command(), &copy).unwrap();
        std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let words = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        Run::new("setpriv")
            .args(words)
            .arg(&copy)
            .args(["top", "--once", "--kernel"])
            .args(arguments)
            .namespace(&namespace)
            .output()
    };
    let said = nobody(&[]).silent().stdout;
    assert!(said.contains("1 attach not seen, as ") && said.contains("ask as root"), "{said}");
    let look: Value = serde_json::from_str(&nobody(&["--json"]).silent().stdout).unwrap();
    assert_eq!(look["segments"][0]["holders"], serde_json::json!([]));
    assert!(look["totals"]["processes_unreadable"].as_u64() > Some(0), "{look}");
}

fn a_dry_run_denies_nothing() {
    let namespace = Namespace::fresh();
    let session = Session::with_options(&namespace, &["--max-segments", "1", "--dry-run"]);
    let mut agent = Agent::gated(&namespace, &session);
    agent.number("get 0 4096 01600");
    agent.number("get 0 4096 01600");
    let said = once(&namespace, &[text(&session.directory())]).output().silent().stdout;
    assert!(said.contains("; denied 0, 0/s; would be denied 1, "), "{said}");
}
