//! Each quota by itself: where it begins, its errno, and what its reason tells.

use libtest_mimic::Trial;
use shmgate_testkit::on_each_backend;

use crate::scene;

pub fn trials() -> Vec<Trial> {
    on_each_backend![trial:
        session_bytes_are_whole_pages,
        session_segments,
        session_attaches,
        segment_size,
        process_bytes_are_each_processs_own,
        process_segments,
        process_attaches,
        look_ups_cost_nothing,
        failed_calls_cost_nothing,
        zero_means_none,
        reasons_tell_what_how_much_and_who,
        foreign_segments_are_not_on_the_books,
    ]
}

fn session_bytes_are_whole_pages() {
    let mut scene = scene("[quota.session]\nbytes = \"12K\"\n");
    let first = scene.agent.number("get 0 1 0600");
    let second = scene.agent.number("get 0 4097 0600");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    assert_eq!(scene.agent.ask(&format!("rm {first}")), "0");
    assert_eq!(scene.agent.ask("get 0 4097 0600"), "ENOSPC");
    scene.agent.number("get 0 4096 0600");
    assert_eq!(scene.agent.ask(&format!("rm {second}")), "0");
    scene.agent.number("get 0 8192 0600");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
}

fn session_segments() {
    let mut scene = scene("[quota.session]\nsegments = 2\n");
    let first = scene.agent.number("get 0 0x1000000 0600");
    scene.agent.number("get 0x5e000001 1 01600");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    assert_eq!(scene.agent.ask("get 0x5e000002 1 01600"), "ENOSPC");
    assert_eq!(scene.agent.ask("get 0x5e000002 1 03600"), "ENOSPC");
    assert_eq!(scene.agent.ask(&format!("rm {first}")), "0");
    scene.agent.number("get 0x5e000002 1 03600");
}

fn session_attaches() {
    let mut scene = scene("[quota.session]\nattaches = 2\n");
    let shmid = scene.agent.number("get 0 1 0600");
    let at = format!("at {shmid}");
    let first = scene.agent.number(&at);
    scene.agent.number(&format!("{at} 010000"));
    assert_eq!(scene.agent.ask(&at), "EMFILE");
    assert_eq!(scene.another().ask(&at), "EMFILE");
    assert_eq!(scene.agent.ask(&format!("stat {shmid}")), "nattch 2 mode 0600");
    assert_eq!(scene.agent.ask(&format!("dt {first}")), "0");
    scene.another().number(&at);
}

fn segment_size() {
    let mut scene = scene("[quota.segment]\nsize = \"8K\"\n");
    scene.agent.number("get 0 8192 0600");
    assert_eq!(scene.agent.ask("get 0 8193 0600"), "EINVAL");
    assert_eq!(scene.agent.ask("get 0x5e000001 0x100000 01600"), "EINVAL");
    // Somebody else's larger one may be used.
    let large = scene.bare.number("get 0x5e000001 0x100000 01600");
    assert_eq!(scene.agent.number("get 0x5e000001 0x100000 01600"), large);
    scene.agent.number(&format!("at {large}"));
}

fn process_bytes_are_each_processs_own() {
    let mut scene = scene("[quota.process]\nbytes = \"8K\"\n");
    let mut other = scene.another();
    scene.agent.number("get 0 8192 0600");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    let theirs = other.number("get 0 4096 0600");
    other.number("get 0 4096 0600");
    assert_eq!(other.ask("get 0 1 0600"), "ENOSPC");
    // Whoever removes it: what it was goes off its creator's books.
    assert_eq!(scene.agent.ask(&format!("rm {theirs}")), "0");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    other.number("get 0 4096 0600");
}

fn process_segments() {
    let mut scene = scene("[quota.process]\nsegments = 1\n");
    let shmid = scene.agent.number("get 0 1 0600");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    scene.another().number("get 0 1 0600");
    scene.agent.ask("child get 0 1 0600").parse::<i64>().expect("a child has a quota of its own");
    assert_eq!(scene.agent.ask(&format!("rm {shmid}")), "0");
    scene.agent.number("get 0 1 0600");
}

fn process_attaches() {
    let mut scene = scene("[quota.process]\nattaches = 2\n");
    let shmid = scene.agent.number("get 0 1 0600");
    let at = format!("at {shmid}");
    scene.agent.number(&at);
    scene.agent.number(&at);
    assert_eq!(scene.agent.ask(&at), "EMFILE");
    // A child has inherited two.
    assert_eq!(scene.agent.ask(&format!("child {at}")), "EMFILE");
    scene.another().number(&at);
    assert_eq!(scene.agent.ask("dt 0"), "0");
    assert_eq!(scene.agent.ask("dt 0"), "EINVAL");
    scene.agent.number(&at);
    assert_eq!(scene.agent.ask(&at), "EMFILE");
}

fn look_ups_cost_nothing() {
    let mut scene = scene("[quota.session]\nbytes = \"4K\"\nsegments = 1\n");
    let shmid = scene.agent.number("get 0x5e000001 4096 01600");
    for _ in 0..3 {
        assert_eq!(scene.agent.number("get 0x5e000001 4096 01600"), shmid);
        assert_eq!(scene.agent.number("get 0x5e000001 0 0"), shmid);
        // An error of the kernel's own is the kernel's, with the quota full too.
        assert_eq!(scene.agent.ask("get 0x5e000001 4096 03600"), "EEXIST");
        assert_eq!(scene.agent.ask("get 0x5e000001 4097 01600"), "EINVAL");
        assert_eq!(scene.agent.ask("get 0x5e000002 4096 0600"), "ENOENT");
    }
}

fn failed_calls_cost_nothing() {
    let mut scene = scene("[quota.session]\nbytes = \"8K\"\nsegments = 2\nattaches = 1\n");
    for _ in 0..5 {
        assert_eq!(scene.agent.ask("get 0 0 0600"), "EINVAL");
        assert_eq!(scene.agent.ask("get 0x5e000002 4096 0600"), "ENOENT");
        assert_eq!(scene.agent.ask("at 999999"), "EINVAL");
        assert_eq!(scene.agent.ask("get 0 12288 0600"), "ENOSPC");
    }
    let shmid = scene.agent.number("get 0 8192 0600");
    scene.agent.number(&format!("at {shmid}"));
}

fn zero_means_none() {
    let mut scene = scene("[quota.session]\nsegments = 0\nattaches = 0\n");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    let shmid = scene.bare.number("get 0 1 0600");
    assert_eq!(scene.agent.ask(&format!("at {shmid}")), "EMFILE");
    assert_eq!(scene.agent.ask(&format!("stat {shmid}")), "nattch 0 mode 0600");
}

fn reasons_tell_what_how_much_and_who() {
    let mut scene = scene("[quota.session]\nbytes = \"16K\"\nattaches = 3\nsegments = 3\n[quota.segment]\nsize = \"1M\"\n");
    assert_eq!(scene.agent.ask("denial"), "");
    let mut other = scene.another();
    let shmid = scene.agent.number("get 0 12288 0600");
    let told = |agent: &mut shmgate_testkit::Agent, command: &str, errno: &str, parts: &[&str]| {
        assert_eq!(agent.ask(command), errno);
        let reason = agent.ask("denial");
        for part in parts {
            assert!(reason.contains(part), "no \"{part}\" in: {reason}");
        }
    };
    let holder = scene.agent.pid().to_string();
    told(&mut other, "get 0 8192 0600", "ENOSPC", &["8 KiB", "12 KiB of 16 KiB", &holder]);
    told(&mut other, "get 0 0x200000 0600", "EINVAL", &["2 MiB", "1 MiB"]);
    other.number("get 0 1 0600");
    told(&mut other, "get 0 1 0600", "ENOSPC", &["4 KiB", "16 KiB of 16 KiB", &holder]);
    for _ in 0..3 {
        scene.agent.number(&format!("at {shmid}"));
    }
    told(&mut other, &format!("at {shmid}"), "EMFILE", &["3 of 3", &holder]);
    // It stays until the next denial: a success does not wipe it out.
    let last = other.ask("denial");
    assert_eq!(other.ask(&format!("stat {shmid}")), "nattch 3 mode 0600");
    assert_eq!(other.ask("denial"), last);
}

fn foreign_segments_are_not_on_the_books() {
    let mut scene = scene("[quota.session]\nbytes = \"4K\"\nsegments = 1\n");
    let theirs = scene.bare.number("get 0x5e000003 0x100000 01600");
    scene.agent.number("get 0 4096 0600");
    // Removing what was never counted must not make room.
    assert_eq!(scene.agent.ask(&format!("rm {theirs}")), "0");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
}
