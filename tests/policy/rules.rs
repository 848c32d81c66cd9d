//! Rules, forbid-world-access, masks, and the dry run.

use libtest_mimic::Trial;
use serde_json::Value;
use shmgate_testkit::compile::program;
use shmgate_testkit::on_each_backend;

use crate::scene;

pub fn trials() -> Vec<Trial> {
    let mut all = on_each_backend![trial:
        world_access_is_forbidden_where_it_is_given,
        world_access_is_no_matter_of_look_ups,
        masks_take_bits_away,
        the_first_match_decides,
        rules_by_call_and_command,
        rules_by_key,
        rules_by_size_and_mode,
        rules_by_executable,
        an_errno_of_choice,
        logged_calls_are_marked,
        dry_run_denies_nothing_and_says_what_it_would,
    ];
    all.extend(on_each_backend![as_root: rules_by_uid]);
    all
}

fn world_access_is_forbidden_where_it_is_given() {
    let mut scene = scene("forbid-world-access = true\n");
    for mode in ["0666", "0604", "0602"] {
        assert_eq!(scene.agent.ask(&format!("get 0 1 {mode}")), "EACCES", "{mode}");
        assert_eq!(scene.agent.ask(&format!("get 0x5e000001 1 01{}", &mode[1..])), "EACCES", "{mode}");
    }
    assert!(scene.agent.ask("denial").contains("0602"), "the mode is in the reason");
    assert_eq!(scene.agent.ask("get 0x5e000001 0 0"), "ENOENT", "nothing was made");
    let shmid = scene.agent.number("get 0 1 0661");
    assert_eq!(scene.agent.ask(&format!("set {shmid} 0606")), "EACCES");
    assert_eq!(scene.agent.ask(&format!("stat {shmid}")), "nattch 0 mode 0661");
    assert_eq!(scene.agent.ask(&format!("set {shmid} 0640")), "0");
    assert_eq!(scene.agent.ask(&format!("stat {shmid}")), "nattch 0 mode 0640");
}

fn world_access_is_no_matter_of_look_ups() {
    let mut scene = scene("forbid-world-access = true\n");
    let theirs = scene.bare.number("get 0x5e000001 4096 01666");
    assert_eq!(scene.agent.number("get 0x5e000001 0 0666"), theirs);
    // The bits of a look-up are what is asked for, not what is given.
    assert_eq!(scene.agent.number("get 0x5e000001 4096 01666"), theirs);
    scene.agent.number(&format!("at {theirs}"));
    assert_eq!(scene.agent.ask("get 0x5e000001 4096 03666"), "EEXIST");
}

fn masks_take_bits_away() {
    let mut scene = scene("[[rule]]\nname = \"no strangers\"\nmode = \"0007\"\naction = \"mask\"\nmask = \"0007\"\n");
    let shmid = scene.agent.number("get 0x5e000001 1 01666");
    assert_eq!(scene.bare.ask(&format!("stat {shmid}")), "nattch 0 mode 0660");
    assert_eq!(scene.agent.ask(&format!("set {shmid} 0707")), "0");
    assert_eq!(scene.bare.ask(&format!("stat {shmid}")), "nattch 0 mode 0700");
    let private = scene.agent.number("get 0 1 0777");
    assert_eq!(scene.bare.ask(&format!("stat {private}")), "nattch 0 mode 0770");
    let plain = scene.agent.number("get 0 1 0600");
    assert_eq!(scene.bare.ask(&format!("stat {plain}")), "nattch 0 mode 0600");
    let verdicts: Vec<Value> = scene.session.calls("shmget").into_iter().map(|record| record["verdict"].clone()).collect();
    assert_eq!(verdicts, ["masked", "masked", "allowed"]);
    let first = scene.session.calls("shmget").remove(0);
    assert!(first["reason"].as_str().is_some_and(|reason| reason.contains("no strangers")), "{first}");
}

fn the_first_match_decides() {
    let mut scene = scene(
        "forbid-world-access = true\n\
         [[rule]]\nkey = \"0x5e000001\"\naction = \"allow\"\n\
         [[rule]]\nname = \"closed\"\ncall = \"shmget\"\nkey = \"0x5e000000-0x5e0000ff\"\naction = \"deny\"\n\
         [[rule]]\nkey = 0x5e000002\naction = \"allow\"\n",
    );
    scene.agent.number("get 0x5e000001 1 01600");
    assert_eq!(scene.agent.ask("get 0x5e000002 1 01600"), "EACCES", "the second rule comes before the third");
    assert!(scene.agent.ask("denial").contains("closed"));
    assert_eq!(scene.agent.ask("get 0x5e0000ff 1 0600"), "EACCES", "look-ups too");
    scene.agent.number("get 0x5e000100 1 01600");
    scene.agent.number("get 0 1 0600");
}

fn rules_by_call_and_command() {
    let mut scene = scene(
        "[[rule]]\ncall = \"shmctl\"\ncmd = [\"IPC_RMID\", \"SHM_LOCK\"]\naction = \"deny\"\n\
         [[rule]]\ncall = [\"shmat\", \"ftok\"]\naction = \"deny\"\nerrno = \"EPERM\"\n",
    );
    let shmid = scene.agent.number("get 0 1 0600");
    assert_eq!(scene.agent.ask(&format!("rm {shmid}")), "EACCES");
    assert_eq!(scene.agent.ask(&format!("stat {shmid}")), "nattch 0 mode 0600");
    assert_eq!(scene.agent.ask(&format!("at {shmid}")), "EPERM");
    assert_eq!(scene.agent.ask("key / 1"), "EPERM");
}

fn rules_by_key() {
    let mut scene = scene("[[rule]]\nkey = [\"private\", 77, \"0x1000-0x1fff\"]\naction = \"deny\"\n");
    for key in ["0", "77", "0x1000", "0x1234", "0x1fff"] {
        assert_eq!(scene.agent.ask(&format!("get {key} 1 01600")), "EACCES", "{key}");
    }
    for key in ["76", "0x0fff", "0x2000", "-1"] {
        scene.agent.number(&format!("get {key} 1 01600"));
    }
    // Calls by id have no key to match.
    let shmid = scene.bare.number("get 77 1 01600");
    scene.agent.number(&format!("at {shmid}"));
    assert_eq!(scene.agent.ask(&format!("rm {shmid}")), "0");
}

fn rules_by_size_and_mode() {
    let mut scene = scene(
        "[[rule]]\nsize = { min = \"8K\", max = \"16K\" }\naction = \"deny\"\n\
         [[rule]]\nmode = \"0020\"\naction = \"deny\"\nerrno = \"EROFS\"\n",
    );
    for (size, answer) in [("8191", None), ("8192", Some("EACCES")), ("16384", Some("EACCES")), ("16385", None)] {
        let got = scene.agent.ask(&format!("get 0 {size} 0600"));
        assert_eq!(answer.unwrap_or(&got), got, "{size}");
        assert_eq!(got.parse::<i64>().is_ok(), answer.is_none(), "{size}: {got}");
    }
    assert_eq!(scene.agent.ask("get 0 1 0620"), "EROFS");
    scene.agent.number("get 0 1 0604");
}

fn rules_by_executable() {
    let exe = program("agent").canonicalize().expect("path");
    let exact = exe.to_str().expect("UTF-8").to_owned();
    for (pattern, matches) in
        [(exact.as_str(), true), ("*/agent", true), ("*/age?t", true), ("/usr/bin/*", false), ("/agent", false)]
    {
        let mut scene = scene(&format!("[[rule]]\nexe = \"{pattern}\"\naction = \"deny\"\n"));
        let answer = scene.agent.ask("get 0 1 0600");
        assert_eq!(answer == "EACCES", matches, "{pattern}: {answer}");
    }
}

fn rules_by_uid() {
    let mut scene = scene("[[rule]]\nuid = [1234, 65534]\naction = \"deny\"\n");
    scene.agent.number("get 0 1 0600");
    assert_eq!(scene.agent.ask("uid 65534"), "0");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "EACCES");
    assert_eq!(scene.agent.ask("uid 0"), "0");
    scene.agent.number("get 0 1 0600");
}

fn an_errno_of_choice() {
    for errno in ["ENOSPC", "ENOMEM", "EINVAL", "EPERM", "EIDRM"] {
        let mut scene = scene(&format!("[[rule]]\naction = \"deny\"\nerrno = \"{errno}\"\n"));
        assert_eq!(scene.agent.ask("get 0 1 0600"), errno);
        assert_eq!(scene.agent.ask("at 0"), errno);
        assert_eq!(scene.agent.ask("stat 0"), errno);
    }
    // As if the key were taken; but then it is not there.
    let mut scene = scene("[[rule]]\nmode = \"0006\"\naction = \"deny\"\nerrno = \"EEXIST\"\n");
    assert_eq!(scene.agent.ask("get 77 1 01606"), "EEXIST");
    assert_eq!(scene.session.calls("shmget")[0]["verdict"], "denied");
    assert_eq!(scene.agent.ask("get 77 0 0"), "ENOENT");
}

fn logged_calls_are_marked() {
    let mut scene = scene("[[rule]]\nname = \"watched\"\nkey = 77\naction = \"log\"\n");
    scene.agent.number("get 77 1 01600");
    scene.agent.number("get 78 1 01600");
    let records = scene.session.calls("shmget");
    assert_eq!(records[0]["verdict"], "logged");
    assert!(records[0]["reason"].as_str().is_some_and(|reason| reason.contains("watched")), "{}", records[0]);
    assert_eq!(records[1]["verdict"], "allowed");
}

fn dry_run_denies_nothing_and_says_what_it_would() {
    let mut scene = scene(
        "dry-run = true\nforbid-world-access = true\n[quota.session]\nbytes = \"8K\"\nattaches = 1\n\
         [[rule]]\ncall = \"shmctl\"\ncmd = \"IPC_RMID\"\naction = \"deny\"\n\
         [[rule]]\nmode = \"0040\"\naction = \"mask\"\nmask = \"0040\"\n",
    );
    let shmid = scene.agent.number("get 0 8192 0600");
    scene.agent.number("get 0 8192 0600");
    scene.agent.number("get 0 1 0602");
    scene.agent.number(&format!("at {shmid}"));
    scene.agent.number(&format!("at {shmid}"));
    let masked = scene.agent.number("get 0 1 0640");
    assert_eq!(scene.bare.ask(&format!("stat {masked}")), "nattch 0 mode 0640", "a dry run changes nothing");
    assert_eq!(scene.agent.ask(&format!("rm {shmid}")), "0");
    let records = scene.session.records();
    let verdicts: Vec<&str> = records.iter().filter_map(|record| record["verdict"].as_str()).collect();
    assert_eq!(verdicts.len(), 7);
    for (number, expected) in
        [(0, "allowed"), (1, "would-deny"), (2, "would-deny"), (3, "allowed"), (4, "would-deny"), (6, "would-deny")]
    {
        assert_eq!(verdicts[number], expected, "{}", records[number]);
    }
    assert_eq!(records[1]["errno"], Value::Null, "the call was made");
    assert!(records[1]["reason"].as_str().is_some_and(|reason| reason.contains("8 KiB of 8 KiB")), "{}", records[1]);
}
