//! Tests of the tests: the parser of strace's text, a comparison that must find each kind of difference, and that
//! nothing which a test started outlives it.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::call::{Args, Call};
use crate::compare::compare;
use crate::strace::parse;
use crate::tree::{Tree, alive};

/// A check: its name, and what it finds wrong.
type Check = (&'static str, fn() -> Result<(), String>);

const CHECKS: [Check; 10] = [
    ("checks::a_set_from_a_copy_agrees", a_set_from_a_copy_agrees),
    ("checks::a_probe_is_the_gates_own", a_probe_is_the_gates_own),
    ("checks::a_tree_ends_with_its_daemons", a_tree_ends_with_its_daemons),
    ("checks::a_call_cut_in_two_is_joined", a_call_cut_in_two_is_joined),
    ("checks::errors_and_ints_are_read", errors_and_ints_are_read),
    ("checks::a_call_without_an_end_is_kept", a_call_without_an_end_is_kept),
    ("checks::equal_threads_in_another_order_agree", equal_threads_in_another_order_agree),
    ("checks::differences_are_found", differences_are_found),
    ("checks::a_creation_in_two_steps_agrees", a_creation_in_two_steps_agrees),
    ("checks::a_wrong_creation_in_two_steps_is_found", a_wrong_creation_in_two_steps_is_found),
];

/// The checks as tests.
pub fn trials() -> Vec<Trial> {
    CHECKS.iter().map(|(name, check)| Trial::test(*name, || check().map_err(Into::into))).collect()
}

fn expect(fact: bool, what: &str) -> Result<(), String> {
    if fact { Ok(()) } else { Err(what.to_owned()) }
}

fn calls(text: &str) -> Result<Vec<Call>, String> {
    parse(text).map(|trace| trace.calls)
}

fn a_call_cut_in_two_is_joined() -> Result<(), String> {
    let trace = parse(
        "10  execve(\"/usr/bin/x\", [\"x\", \"= -1\"], 0x7ffc /* 3 vars */ <unfinished ...>\n\
         11  shmat(0x1, 0, 0x1000 <unfinished ...>\n\
         10  <... execve resumed>)             = 0\n\
         10  shmdt(0x7f94 <unfinished ...>\n\
         11  <... shmat resumed>)              = 0x7f9466105000\n\
         10  <... shmdt resumed>)              = -1 EINVAL (Invalid argument)\n\
         10  +++ exited with 0 +++\n",
    )?;
    let shmat = Args::Shmat { shmid: 1, addr: 0, flags: 0o10000 };
    let shmdt = Args::Shmdt { addr: 0x7f94 };
    let expected = [
        Call { tid: 11, args: shmat, answer: Some(Ok(0x7f94_6610_5000)) },
        Call { tid: 10, args: shmdt, answer: Some(Err("EINVAL".to_owned())) },
    ];
    expect(trace.calls == expected, "other calls")?;
    expect(trace.first == 10, "another first thread")?;
    expect(trace.programs[&10] == "/usr/bin/x", "another program")
}

fn errors_and_ints_are_read() -> Result<(), String> {
    let read = calls(
        "7  shmctl(0xffffffff, 0x2, 0x7ffd145d0c80) = -1 EINVAL (Invalid argument)\n\
         7  shmget(0xffffffffcafe0000, 0xffffffffff000000, 0xffffffff) = -1 ENOENT (No such file or directory)\n\
         7  shmget(0, 0x1000, 0x3b6)          = 0\n",
    )?;
    let args: Vec<Args> = read.into_iter().map(|call| call.args).collect();
    let expected = [
        Args::Shmctl { shmid: -1, cmd: 2, buf: 0x7ffd_145d_0c80 },
        Args::Shmget { key: 0xcafe_0000, size: 0xffff_ffff_ff00_0000, flags: u32::MAX },
        Args::Shmget { key: 0, size: 4096, flags: 0o1666 },
    ];
    expect(args == expected, "other arguments")
}

fn a_call_without_an_end_is_kept() -> Result<(), String> {
    let kernel = calls("7  shmdt(0x1000) = 0\n8  shmdt(0x2000) = ?\n7  shmdt(0x3000 <unfinished ...>\n")?;
    expect(kernel.iter().filter(|call| call.answer.is_none()).count() == 2, "not two calls without an answer")?;
    // Recorded or not, either is right, but not in place of another.
    compare(&kernel, &calls("7  shmdt(0x1000) = 0\n")?)?;
    compare(&kernel, &calls("7  shmdt(0x1000) = 0\n7  shmdt(0x3000) = 0\n")?)?;
    expect(compare(&kernel, &calls("7  shmdt(0x3000) = 0\n")?).is_err(), "a missing call was not found")
}

fn equal_threads_in_another_order_agree() -> Result<(), String> {
    let kernel = calls("7  shmdt(0x1000) = 0\n8  shmdt(0x2000) = 0\n7  shmdt(0x3000) = 0\n")?;
    let journal = calls("8  shmdt(0x2000) = 0\n7  shmdt(0x1000) = 0\n7  shmdt(0x3000) = 0\n")?;
    expect(compare(&kernel, &journal)? == 3, "not three records")
}

fn differences_are_found() -> Result<(), String> {
    let kernel = calls("7  shmdt(0x1000) = 0\n7  shmdt(0x2000) = 0\n8  shmget(0x5, 0x1000, 0x780) = 0x3\n")?;
    for (what, journal) in [
        ("a missing call", "7  shmdt(0x1000) = 0\n8  shmget(0x5, 0x1000, 0x780) = 0x3\n"),
        ("a missing thread", "7  shmdt(0x1000) = 0\n7  shmdt(0x2000) = 0\n"),
        ("another order", "7  shmdt(0x2000) = 0\n7  shmdt(0x1000) = 0\n8  shmget(0x5, 0x1000, 0x780) = 0x3\n"),
        ("another argument", "7  shmdt(0x1000) = 0\n7  shmdt(0x2000) = 0\n8  shmget(0x5, 0x1001, 0x780) = 0x3\n"),
        ("another result", "7  shmdt(0x1000) = 0\n7  shmdt(0x2000) = 0\n8  shmget(0x5, 0x1000, 0x780) = 0x4\n"),
        ("another thread", "7  shmdt(0x1000) = 0\n8  shmdt(0x2000) = 0\n8  shmget(0x5, 0x1000, 0x780) = 0x3\n"),
        (
            "a call too many",
            "7  shmdt(0x1000) = 0\n7  shmdt(0x2000) = 0\n7  shmdt(0x3000) = 0\n8  shmget(0x5, 0x1000, 0x780) = 0x3\n",
        ),
    ] {
        expect(compare(&kernel, &calls(journal)?).is_err(), &format!("{what} was not found"))?;
    }
    Ok(())
}

/// 0x380 is `IPC_CREAT|0600`, 0x180 the look-up, 0x780 the creation with `IPC_EXCL`.
fn a_creation_in_two_steps_agrees() -> Result<(), String> {
    let created = "7  shmget(0x5, 0x1000, 0x380) = 0x3\n";
    for (kernel, journal) in [
        ("7  shmget(0x5, 0x1000, 0x180) = 0x3\n", created),
        ("7  shmget(0x5, 0x1000, 0x180) = -1 ENOENT (x)\n7  shmget(0x5, 0x1000, 0x780) = 0x3\n", created),
        (
            "7  shmget(0x5, 0x1000, 0x180) = -1 ENOENT (x)\n7  shmget(0x5, 0x1000, 0x780) = -1 EEXIST (x)\n\
             7  shmget(0x5, 0x1000, 0x180) = 0x3\n",
            created,
        ),
        ("7  shmget(0x5, 0x1000, 0x180) = -1 EACCES (x)\n", "7  shmget(0x5, 0x1000, 0x380) = -1 EACCES (x)\n"),
    ] {
        compare(&calls(kernel)?, &calls(journal)?)?;
    }
    Ok(())
}

fn a_wrong_creation_in_two_steps_is_found() -> Result<(), String> {
    let created = "7  shmget(0x5, 0x1000, 0x380) = 0x3\n";
    for (what, kernel, journal) in [
        ("another id", "7  shmget(0x5, 0x1000, 0x180) = 0x4\n", created),
        ("a look-up alone", "7  shmget(0x5, 0x1000, 0x180) = -1 ENOENT (x)\n", created),
        (
            "the look-up's error as the answer",
            "7  shmget(0x5, 0x1000, 0x180) = -1 ENOENT (x)\n7  shmget(0x5, 0x1000, 0x780) = 0x3\n",
            "7  shmget(0x5, 0x1000, 0x380) = -1 ENOENT (x)\n",
        ),
        ("a private segment in steps", "7  shmget(0, 0x1000, 0x180) = 0x3\n", "7  shmget(0, 0x1000, 0x380) = 0x3\n"),
    ] {
        expect(compare(&calls(kernel)?, &calls(journal)?).is_err(), &format!("{what} was not found"))?;
    }
    Ok(())
}

/// 0x1 is `IPC_SET`.
fn a_set_from_a_copy_agrees() -> Result<(), String> {
    let kernel = calls("7  shmctl(0x3, 0x1, 0x7ffc2000) = 0\n")?;
    compare(&kernel, &calls("7  shmctl(0x3, 0x1, 0x7ffc1000) = 0\n")?)?;
    for other in [
        "7  shmctl(0x3, 0x1, 0) = 0\n",
        "7  shmctl(0x4, 0x1, 0x7ffc1000) = 0\n",
        "7  shmctl(0x3, 0x1, 0x7ffc1000) = -1 EPERM (x)\n",
        "7  shmctl(0x3, 0x2, 0x7ffc1000) = 0\n",
    ] {
        expect(compare(&kernel, &calls(other)?).is_err(), &format!("not found: {other}"))?;
    }
    Ok(())
}

/// 0x3 is `IPC_INFO`.
fn a_probe_is_the_gates_own() -> Result<(), String> {
    let detach = "7  shmdt(0x1000) = 0\n";
    let probed = format!("7  shmctl(0, 0x3, 0x7ffc1000) = 0\n{detach}7  shmctl(0, 0x3, 0x7ffc1000) = 0\n");
    compare(&calls(&probed)?, &calls(detach)?)?;
    compare(&calls(&probed)?, &calls(&probed)?)?;
    let told = compare(&calls(detach)?, &calls(&probed)?);
    expect(told.is_err(), "an IPC_INFO of the journal that nobody made was not found")
}

/// A daemon as they are: forked twice, in a session of its own, its parents gone. It is there still when the command has ended.
fn a_tree_ends_with_its_daemons() -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let script = "(setsid sh -c 'trap \"\" TERM; echo $$ >new; mv new pid; exec sleep 300' &) ; sleep 300";
    let mut command = Command::new("sh");
    command.args(["-c", script]).stderr(Stdio::null()).current_dir(directory.path());
    let mut tree = Tree::start(&mut command).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + Duration::from_secs(20);
    let file = directory.path().join("pid");
    while !file.exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let daemon = fs::read_to_string(&file).map_err(|error| format!("the daemon's pid: {error}"))?;
    let daemon: u32 = daemon.trim().parse().map_err(|_| "no number")?;
    expect(alive(daemon), "the daemon did not start")?;
    let early = tree.wait(Duration::from_millis(20)).map_err(|error| error.to_string())?;
    expect(early.is_none(), "the command ended by itself")?;
    drop(tree);
    expect(!alive(daemon), "the daemon is still there")
}
