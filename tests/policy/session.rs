//! A session's books stay right whoever comes, goes, forks, executes, dies, or removes.

use libtest_mimic::Trial;
use shmgate_testkit::compile::program;
use shmgate_testkit::{Agent, Run, on_each_backend};

use crate::scene;

pub fn trials() -> Vec<Trial> {
    on_each_backend![trial:
        over_fork,
        inherited_attaches_count,
        inherited_attaches_count_once,
        what_forks_took_over_the_limit_is_not_given_again,
        over_exec,
        exec_gives_attaches_back,
        exec_of_an_image_that_makes_no_call,
        exec_of_an_ungated_image_gives_attaches_back,
        over_unrelated_processes,
        over_several_runs,
        killed_holder_gives_attaches_back,
        segments_of_the_killed_count_until_removed,
        removed_by_somebody_ungated,
        removed_by_ipcrm,
        marked_segment_counts_until_its_last_detach,
        marked_segment_held_by_somebody_ungated,
        marked_segment_of_a_killed_holder,
        a_new_segment_under_an_old_key,
        children_that_exit_leave_nothing,
    ]
}

fn over_fork() {
    let mut scene = scene("[quota.session]\nbytes = \"8K\"\n");
    scene.agent.ask("child get 0 4096 0600").parse::<i64>().expect("the child's segment");
    scene.agent.number("get 0 4096 0600");
    assert_eq!(scene.agent.ask("child get 0 1 0600"), "ENOSPC");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
}

fn inherited_attaches_count() {
    let mut scene = scene("[quota.session]\nattaches = 3\n");
    let shmid = scene.agent.number("get 0 1 0600");
    let at = format!("at {shmid}");
    scene.agent.number(&at);
    scene.agent.number("hold");
    scene.agent.number(&at);
    assert_eq!(scene.agent.ask(&at), "EMFILE", "two of ours and the child's one");
    assert_eq!(scene.agent.ask("release"), "0");
    scene.agent.number(&at);
    assert_eq!(scene.agent.ask(&at), "EMFILE");
}

/// A child's own call before our fork handler has it counted already.
fn inherited_attaches_count_once() {
    let scene = scene("[quota.session]\nattaches = 10\n");
    let run = Run::new(program("handler_first")).namespace(&scene.namespace).session(&scene.session);
    assert_eq!(run.output().silent().stdout, "4\n");
}

fn what_forks_took_over_the_limit_is_not_given_again() {
    for how in ["", "dry-run = true\n"] {
        let scene = scene(&format!("{how}[quota.session]\nattaches = 3\n"));
        let run = || Run::new(program("detached_by_child")).arg("3").namespace(&scene.namespace).session(&scene.session);
        let expected = if how.is_empty() { "0\n" } else { "2\n" };
        assert_eq!(run().output().silent().stdout, expected, "{how}");
        let refused = scene.session.calls("shmat").iter().filter(|call| call["verdict"] != "allowed").count();
        assert_eq!(refused, 2, "{how}");
    }
}

fn over_exec() {
    let mut scene = scene("[quota.session]\nbytes = \"8K\"\n[quota.process]\nbytes = \"8K\"\n");
    scene.agent.number("get 0 4096 0600");
    assert_eq!(scene.agent.ask("exec"), "here again");
    scene.agent.number("get 0 4096 0600");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
}

fn exec_gives_attaches_back() {
    let mut scene = scene("[quota.session]\nattaches = 2\n");
    let shmid = scene.agent.number("get 0 1 0600");
    for _ in 0..3 {
        assert_eq!(scene.agent.number(&format!("at {shmid}")), 0);
        assert_eq!(scene.agent.number(&format!("at {shmid}")), 1);
        assert_eq!(scene.agent.ask(&format!("at {shmid}")), "EMFILE");
        assert_eq!(scene.agent.ask("exec"), "here again");
    }
}

fn exec_of_an_image_that_makes_no_call() {
    exec_makes_room_for_another("exec");
}

fn exec_of_an_ungated_image_gives_attaches_back() {
    exec_makes_room_for_another("ungated");
}

/// The process lives on after `exec`, and its attaches are gone, though it makes no call that would tell.
#[track_caller]
fn exec_makes_room_for_another(exec: &str) {
    let mut scene = scene("[quota.session]\nattaches = 2\n");
    let shmid = scene.agent.number("get 0 1 0600");
    let at = format!("at {shmid}");
    let mut other = scene.another();
    scene.agent.number(&at);
    scene.agent.number(&at);
    assert_eq!(other.ask(&at), "EMFILE");
    assert_eq!(scene.agent.ask(exec), "here again");
    other.number(&at);
    other.number(&at);
    assert_eq!(other.ask(&at), "EMFILE");
}

fn over_unrelated_processes() {
    let mut scene = scene("[quota.session]\nbytes = \"12K\"\nsegments = 3\nattaches = 3\n");
    let mut others = [scene.another(), scene.another()];
    let shmid = scene.agent.number("get 0 1 0600");
    for other in &mut others {
        other.number("get 0 1 0600");
        other.number(&format!("at {shmid}"));
    }
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    scene.agent.number(&format!("at {shmid}"));
    for other in &mut others {
        assert_eq!(other.ask("get 0 1 0600"), "ENOSPC");
        assert_eq!(other.ask(&format!("at {shmid}")), "EMFILE");
    }
}

fn over_several_runs() {
    let mut scene = scene("[quota.session]\nbytes = \"8K\"\n");
    let start = |scene: &crate::Scene| Agent::start(scene.session.run(&scene.namespace).arg("--").arg(program("agent")));
    let mut first = start(&scene);
    let shmid = first.number("get 0 4096 0600");
    first.finish();
    let mut second = start(&scene);
    second.number("get 0 4096 0600");
    assert_eq!(second.ask("get 0 1 0600"), "ENOSPC");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    assert_eq!(scene.agent.ask(&format!("rm {shmid}")), "0");
    second.number("get 0 4096 0600");
}

fn killed_holder_gives_attaches_back() {
    let mut scene = scene("[quota.session]\nattaches = 2\n");
    let shmid = scene.agent.number("get 0 1 0600");
    let at = format!("at {shmid}");
    let mut holder = scene.another();
    holder.number(&at);
    holder.number("hold");
    assert_eq!(scene.agent.ask(&at), "EMFILE", "the holder's one, and its child's");
    holder.kill();
    // The child is killed with its group.
    scene.agent.number(&at);
    scene.agent.number(&at);
    assert_eq!(scene.agent.ask(&at), "EMFILE");
}

fn segments_of_the_killed_count_until_removed() {
    let mut scene = scene("[quota.session]\nbytes = \"8K\"\nsegments = 2\n");
    let mut holder = scene.another();
    let shmid = holder.number("get 0 8192 0600");
    holder.kill();
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC", "the segment is there still");
    assert_eq!(scene.agent.ask(&format!("rm {shmid}")), "0");
    scene.agent.number("get 0 8192 0600");
}

fn removed_by_somebody_ungated() {
    let mut scene = scene("[quota.session]\nbytes = \"8K\"\nsegments = 1\n[quota.process]\nbytes = \"8K\"\nsegments = 1\n");
    for _ in 0..3 {
        let shmid = scene.agent.number("get 0x5e000001 8192 01600");
        assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
        assert_eq!(scene.bare.ask(&format!("rm {shmid}")), "0");
    }
}

fn removed_by_ipcrm() {
    let mut scene = scene("[quota.session]\nsegments = 1\n");
    let shmid = scene.agent.number("get 0 1 0600");
    Run::new("ipcrm").args(["-m", &shmid.to_string()]).namespace(&scene.namespace).output().silent();
    scene.agent.number("get 0 1 0600");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
}

fn marked_segment_counts_until_its_last_detach() {
    let mut scene = scene("[quota.session]\nbytes = \"8K\"\n");
    let shmid = scene.agent.number("get 0 8192 0600");
    scene.agent.number(&format!("at {shmid}"));
    scene.agent.number(&format!("at {shmid}"));
    assert_eq!(scene.agent.ask(&format!("rm {shmid}")), "0");
    let mut other = scene.another();
    assert_eq!(other.ask("get 0 1 0600"), "ENOSPC", "its memory is in use still");
    assert_eq!(scene.agent.ask("dt 0"), "0");
    assert_eq!(other.ask("get 0 1 0600"), "ENOSPC");
    assert_eq!(scene.agent.ask("dt 1"), "0");
    other.number("get 0 8192 0600");
}

fn marked_segment_held_by_somebody_ungated() {
    let mut scene = scene("[quota.session]\nsegments = 1\n");
    let shmid = scene.agent.number("get 0 8192 0600");
    scene.bare.number(&format!("at {shmid}"));
    assert_eq!(scene.agent.ask(&format!("rm {shmid}")), "0");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    assert_eq!(scene.bare.ask("dt 0"), "0");
    scene.agent.number("get 0 1 0600");
}

fn marked_segment_of_a_killed_holder() {
    let mut scene = scene("[quota.session]\nbytes = \"8K\"\n");
    let mut holder = scene.another();
    let shmid = holder.number("get 0 8192 0600");
    holder.number(&format!("at {shmid}"));
    assert_eq!(holder.ask(&format!("rm {shmid}")), "0");
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    holder.kill();
    scene.agent.number("get 0 8192 0600");
}

fn a_new_segment_under_an_old_key() {
    let mut scene = scene("[quota.session]\nbytes = \"8K\"\n");
    let shmid = scene.agent.number("get 0x5e000001 4096 01600");
    scene.agent.number(&format!("at {shmid}"));
    assert_eq!(scene.agent.ask(&format!("rm {shmid}")), "0");
    // The key is free, the memory is not.
    assert_ne!(scene.agent.number("get 0x5e000001 4096 03600"), shmid);
    assert_eq!(scene.agent.ask("get 0 1 0600"), "ENOSPC");
    assert_eq!(scene.agent.ask("dt 0"), "0");
    scene.agent.number("get 0 4096 0600");
}

fn children_that_exit_leave_nothing() {
    let mut scene = scene("[quota.session]\nattaches = 2\n");
    let shmid = scene.agent.number("get 0 1 0600");
    scene.agent.number(&format!("at {shmid}"));
    for round in 0..200 {
        // Its inherited one is the second, so there is no third; and it is given back at its end.
        assert_eq!(scene.agent.ask(&format!("child at {shmid}")), "EMFILE", "round {round}");
    }
    scene.agent.number(&format!("at {shmid}"));
}
