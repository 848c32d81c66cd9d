//! No room: full disks, file size limits, closed pipes, little address space. The host must not notice.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;

use libtest_mimic::Trial;
use shmgate_testkit::compile::program;
use shmgate_testkit::trial::is_root;
use shmgate_testkit::{Namespace, Run, Session, Status, command, library, root_trials, trials};

use crate::{LARGE, own_lines};

pub fn trials() -> Vec<Trial> {
    let mut all = trials![
        full_log_is_said_once,
        unwritable_log_is_said_once,
        log_that_is_a_pipe_nobody_reads,
        file_size_limit_does_not_kill_log,
        file_size_limit_does_not_kill_journal,
        who_cant_make_the_journal_grow_is_alone_in_that,
        closed_pipe_does_not_kill,
        a_full_pipe_and_signals_lose_no_line,
        little_address_space,
    ];
    // Where root may not have a namespace it may not mount either.
    let disks = root_trials![
        full_disk_under_the_log,
        a_line_that_a_full_disk_tore,
        a_small_file_system_under_a_namespace,
        room_that_the_dead_had,
        full_disk_under_the_journal,
        what_a_full_disk_loses_is_counted
    ];
    all.extend(disks.into_iter().map(|trial| trial.with_ignored_flag(!is_root() || !Namespace::available())));
    all
}

fn full_log_is_said_once() {
    let run = Run::new(program("traps/each_call")).gated().env("SHMGATE_LOG", "/dev/full").output();
    assert!(run.stdout.ends_with("alive\n") && run.status == Status::Exited(0), "{run}");
    assert_eq!(own_lines(&run.stderr).len(), 1, "{run}");
}

fn unwritable_log_is_said_once() {
    for log in ["/nonexistent/folder/log", "/dev/null/log", "/proc/self/nothing"] {
        let run = Run::new(program("traps/each_call")).gated().env("SHMGATE_LOG", log).output();
        assert!(run.stdout.ends_with("alive\n") && run.status == Status::Exited(0), "{run}");
        assert_eq!(own_lines(&run.stderr).len(), 1, "{log}: {run}");
    }
}

fn log_that_is_a_pipe_nobody_reads() {
    let place = tempfile::tempdir().expect("temporary directory");
    let log = place.path().join("pipe");
    let made = Run::new("mkfifo").arg(&log).output();
    assert_eq!(made.status, Status::Exited(0), "{made}");
    let native = Run::new(program("traps/each_call")).output().silent();
    let each = || Run::new(program("traps/each_call")).gated().env("SHMGATE_LOG", &log).output().success();
    let nobody = each();
    // Somebody has it open, and lets it become full.
    let reader = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&log).expect("pipe");
    while (&reader).write(&[b'x'; 4096]).is_ok() {}
    let full = each();
    for run in [nobody, full] {
        assert_eq!(run.stdout, native.stdout);
        assert_eq!(own_lines(&run.stderr).len(), 1, "{run}");
    }
}

fn file_size_limit_does_not_kill_log() {
    let place = tempfile::tempdir().expect("temporary directory");
    let limits = || Run::new(program("traps/limits")).arg("200").gated();
    let log = limits().env("SHMGATE_LOG", place.path().join("log")).output().success();
    assert_eq!(log.stdout, "bad: 0\n");
    assert!(own_lines(&log.stderr).len() <= 1, "{log}");
    let stderr = File::create(place.path().join("stderr")).expect("file");
    let said = limits().env("SHMGATE_LOG", "stderr").stderr(stderr).output().success();
    assert_eq!(said.stdout, "bad: 0\n");
}

fn file_size_limit_does_not_kill_journal() {
    let namespace = Namespace::fresh();
    let session = Session::with_policy(&namespace, LARGE);
    // More calls than fit into what a journal has at the start: it must grow, and may not.
    let run = Run::new(program("traps/limits")).arg("200000").namespace(&namespace).session(&session).output().success();
    assert_eq!(run.stdout, "bad: 0\n");
    assert!(own_lines(&run.stderr).len() <= 1, "{run}");
    // What was lost may be said, by the reader too; it reads to the end.
    let read = Run::new(command()).arg("log").arg(session.directory()).arg("--json").output().success();
    assert!(read.stdout.lines().count() > 1000);
}

/// What a process can't record takes no room from the others' records, however much it is.
fn who_cant_make_the_journal_grow_is_alone_in_that() {
    let namespace = Namespace::fresh();
    let session = Session::with_policy(&namespace, LARGE);
    let run =
        |name, args: &[&str]| Run::new(program(name)).args(args).namespace(&namespace).session(&session).output().success();
    run("traps/limits", &["200000"]);
    run("hammer", &["1", "20000", "0"]);
    let read = Run::new(command()).arg("log").arg(session.directory()).output().success();
    assert_eq!(read.stdout.matches("shmget(key=0x5e000040, size=0").count(), 20_000);
}

fn a_full_pipe_and_signals_lose_no_line() {
    let run = Run::new(program("traps/interrupted")).gated().env("SHMGATE_LOG", "stderr").output().success();
    assert_eq!(run.stdout, "logged\n");
}

fn closed_pipe_does_not_kill() {
    for format in ["text", "json"] {
        let mut ends = [0; 2];
        // SAFETY: the kernel fills the array with two new descriptors, and each gets its one owner.
        let (reader, writer) = unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
            (OwnedFd::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
        };
        drop(reader);
        let run = Run::new(program("traps/each_call")).gated().env("SHMGATE_LOG", "stderr").env("SHMGATE_LOG_FORMAT", format);
        let default = || {
            // SAFETY: a disposition that exec keeps; Rust's runtime has set it to be ignored.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            Ok(())
        };
        // SAFETY: `default` makes one system call.
        let run = unsafe { run.prepare(default) }.stderr(writer).output();
        assert_eq!(run.status, Status::Exited(0), "{run}");
        assert!(run.stdout.ends_with("alive\n"), "{run}");
    }
}

fn little_address_space() {
    for megabytes in [256u64, 64, 24] {
        let limit = move || {
            let limit = libc::rlimit { rlim_cur: megabytes << 20, rlim_max: megabytes << 20 };
            // SAFETY: one valid struct.
            if unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        let namespace = Namespace::fresh();
        let session = Session::watching(&namespace);
        let native = Run::new(program("traps/each_call")).output().silent();
        let run = Run::new(program("traps/each_call")).namespace(&namespace).session(&session);
        // SAFETY: `limit` makes one system call.
        let run = unsafe { run.prepare(limit) }.output().success();
        assert_eq!(run.stdout, native.stdout, "{megabytes} MB");
        let said = own_lines(&run.stderr).len();
        let recorded = session.records().len();
        assert!(recorded == 5 || said == 1, "{megabytes} MB: {recorded} records, and nobody was told why");
    }
}

/// A small file system of its own at `place`, seen by the process alone. Only system calls: it runs after fork.
fn tiny_disk(place: &Path, options: &'static std::ffi::CStr) -> impl FnMut() -> io::Result<()> + use<> {
    let place = std::ffi::CString::new(place.to_str().expect("UTF-8")).expect("no NUL");
    move || {
        // SAFETY: NUL-terminated strings that live as long as the closure.
        let done = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), libc::MS_REC | libc::MS_PRIVATE, ptr::null()) == 0
                && libc::mount(c"tiny".as_ptr(), place.as_ptr(), c"tmpfs".as_ptr(), 0, options.as_ptr().cast()) == 0
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn full_disk_under_the_log() {
    let place = tempfile::tempdir().expect("temporary directory");
    let many = Run::new(program("hammer")).args(["1", "3000", "0"]).gated().env("SHMGATE_LOG", place.path().join("log"));
    // SAFETY: `tiny_disk` makes system calls only.
    let outcome = unsafe { many.prepare(tiny_disk(place.path(), c"size=64k")) }.output().success();
    assert!(outcome.stdout.ends_with(" 3000 ended\n"), "{outcome}");
    let said = own_lines(&outcome.stderr);
    assert!((1..=2).contains(&said.len()), "once in each of the two processes at most: {outcome}");
}

/// The line that a full disk tore gets an end, and the next line is whole; what could not be logged is counted.
fn a_line_that_a_full_disk_tore() {
    let place = tempfile::tempdir().expect("temporary directory");
    // The session is elsewhere. The disk is full at once, ten bytes on (or else a line might just fit), then it has room.
    let script = r#"cd "$2" && "$0" run --log log -- sh -c '"$0" 1 1000 0
            head -c $((4095 - ($(stat -c %s log) + 9) % 4096)) /dev/zero | tr "\0" "\n" >>log
            cat /dev/zero >rest; "$0" 1 1000 0; rm rest; "$0" 1 3 0' "$1" >/dev/null; cat log"#;
    let run = Run::new("/bin/sh").env("SHMGATE_LIB", library()).args(["-c", script]);
    let run = run.arg(command()).arg(program("hammer")).arg(place.path());
    // SAFETY: `tiny_disk` makes system calls only.
    let outcome = unsafe { run.prepare(tiny_disk(place.path(), c"size=256k")) }.output();
    let (log, said) = (&outcome.stdout, &outcome.stderr);
    let lines = || log.lines().filter(|line| !line.is_empty());
    let is_whole = |line: &&str| line.ends_with('>') && line.matches(" shm").count() == 1;
    let torn: Vec<&str> = lines().filter(|line| !is_whole(line)).collect();
    assert_eq!(torn.len(), 1, "{torn:?}");
    assert!(log.lines().last().is_some_and(|line| is_whole(&line)), "{outcome}");
    let lost = said.lines().find_map(|line| line.strip_prefix("shmgate: ")?.split_once(" calls were not logged"));
    let lost: usize = lost.unwrap_or_else(|| panic!("{said}")).0.parse().expect("number");
    assert!(
        said.contains("shmgate: the log \"/") && said.contains("/log\" can't be written (No space left on device)"),
        "{said}"
    );
    assert_eq!(lost + lines().count() - 1, 2009, "{said}");
}

/// What is promised and not touched yet is no room: touching it would be a SIGBUS.
fn a_small_file_system_under_a_namespace() {
    let place = tempfile::tempdir().expect("temporary directory");
    let script = r#"chmod 700 "$1" && cd / && LD_PRELOAD="$0" SHMGATE_BACKEND=userspace SHMGATE_NAMESPACE="$1"
        export LD_PRELOAD SHMGATE_BACKEND SHMGATE_NAMESPACE
        for n in 1 2 3; do ipcmk -M 10000000; done"#;
    let run = Run::new("/bin/sh").args(["-c", script]).arg(library()).arg(place.path());
    // SAFETY: `tiny_disk` makes system calls only.
    let outcome = unsafe { run.prepare(tiny_disk(place.path(), c"size=24m")) }.output();
    assert_eq!(outcome.stdout.matches("Shared memory id").count(), 2, "{outcome}");
    assert!(outcome.stderr.contains("Cannot allocate memory"), "{outcome}");
}

/// The memory of a removed segment whose last process has ended is room for the next.
fn room_that_the_dead_had() {
    let place = tempfile::tempdir().expect("temporary directory");
    let script = r#"chmod 700 "$2" && LD_PRELOAD="$0" SHMGATE_BACKEND=userspace SHMGATE_NAMESPACE="$2"
        export LD_PRELOAD SHMGATE_BACKEND SHMGATE_NAMESPACE
        for n in 1 2 3; do "$1" 16000000; done"#;
    let run = Run::new("/bin/sh").args(["-c", script]).arg(library()).arg(program("traps/removed_early")).arg(place.path());
    // SAFETY: `tiny_disk` makes system calls only.
    let outcome = unsafe { run.prepare(tiny_disk(place.path(), c"size=24m")) }.output().success().silent();
    assert_eq!(outcome.stdout, "touched\n".repeat(3));
}

fn full_disk_under_the_journal() {
    let place = tempfile::tempdir().expect("temporary directory");
    let session = place.path().join("session");
    let run = Run::new(command()).env("SHMGATE_LIB", library()).args(["run", "-q", "--session"]).arg(&session);
    let run = run.arg("--").arg(program("hammer")).args(["4", "100000", "0"]);
    // Room for a session's start and not for 400,000 records.
    // SAFETY: `tiny_disk` makes system calls only.
    let outcome = unsafe { run.prepare(tiny_disk(place.path(), c"size=8m")) }.output();
    assert_eq!(outcome.status, Status::Exited(0), "{outcome}");
    assert_eq!(outcome.stdout.matches(" 100000 ended\n").count(), 4, "{outcome}");
    own_lines(&outcome.stderr);
}

fn what_a_full_disk_loses_is_counted() {
    let place = tempfile::tempdir().expect("temporary directory");
    let session = place.path().join("session");
    // The disk is gone with the process, so the reading is done there too.
    let script = r#""$0" run --session "$1" -- "$2" 4 100000 0 >/dev/null && "$0" log "$1" --json 2>/dev/null | wc -l"#;
    let run = Run::new("/bin/sh").env("SHMGATE_LIB", library()).args(["-c", script]);
    let run = run.arg(command()).arg(&session).arg(program("hammer"));
    // SAFETY: `tiny_disk` makes system calls only.
    let outcome = unsafe { run.prepare(tiny_disk(place.path(), c"size=8m")) }.output().success();
    let said = own_lines(&outcome.stderr);
    let lost =
        said.iter().find_map(|line| line.strip_prefix("shmgate: ")?.split_once(" calls were not recorded (No space left"));
    let lost: u64 = lost.unwrap_or_else(|| panic!("nobody said that calls are lost: {outcome}")).0.parse().expect("number");
    let recorded: u64 = outcome.stdout.trim().parse().expect("number");
    // The parent's two calls are the others.
    assert_eq!(recorded + lost, 400_002, "{recorded} recorded, {lost} lost");
}
