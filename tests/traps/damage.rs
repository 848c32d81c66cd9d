//! Sessions that are not ours, linked elsewhere, or damaged under our feet: an error return at worst.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;

use libtest_mimic::Trial;
use shmgate_testkit::compile::program;
use shmgate_testkit::{Agent, Namespace, Outcome, Run, Session, Status, Userspace, command, root_trials, trials};

use crate::own_lines;

pub fn trials() -> Vec<Trial> {
    let mut all = trials![
        symbolic_link_as_session,
        session_open_to_others,
        session_that_is_not_there,
        damaged_ledger_and_journal_under_a_running_host,
        journal_that_is_none,
        ledger_that_is_none,
        journal_or_ledger_behind_a_link,
        registry_cut_short_under_running_hosts,
    ];
    all.extend(root_trials![session_of_another_user]);
    all
}

/// Natively, and with this session directory: first without a policy, then with one.
fn with(session: &Path, policy: bool) -> Outcome {
    let run = Run::new(program("traps/each_call")).gated().env("SHMGATE_SESSION", session);
    if !policy {
        return run.output();
    }
    let file = session.with_file_name("given-policy.toml");
    fs::write(&file, "forbid-world-access = true\n").expect("policy");
    run.env("SHMGATE_POLICY", file).output()
}

/// Without a policy calls pass, with one they are refused; both say why in one line.
#[track_caller]
fn passes_or_refuses(session: &Path, why: &str) {
    let native = Run::new(program("traps/each_call")).output().silent();
    let passed = with(session, false).success();
    assert_eq!(passed.stdout, native.stdout);
    let refused = with(session, true).success();
    assert!(refused.stdout.contains("IPC_CREAT | 0600): EPERM"), "{refused}");
    assert!(refused.stdout.ends_with("alive\n"), "{refused}");
    for outcome in [passed, refused] {
        let said = own_lines(&outcome.stderr);
        assert!(said.len() == 1 && said[0].contains(why), "one line about \"{why}\": {outcome}");
    }
}

fn symbolic_link_as_session() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let link = session.place().join("link");
    symlink(session.directory(), &link).expect("symbolic link");
    passes_or_refuses(&link, "symbolic link");
    assert_eq!(session.records().len(), 0, "it was followed");
}

fn session_open_to_others() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    fs::set_permissions(session.directory(), Permissions::from_mode(0o777)).expect("chmod");
    passes_or_refuses(&session.directory(), "open to others");
}

fn session_that_is_not_there() {
    let place = tempfile::tempdir().expect("temporary directory");
    passes_or_refuses(&place.path().join("none"), "no such directory");
}

fn session_of_another_user() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    chown(session.directory(), Some(65534), Some(65534)).expect("chown");
    passes_or_refuses(&session.directory(), "belongs to user 65534");
}

fn journal_that_is_none() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    fs::write(session.directory().join("journal"), vec![7u8; 1 << 16]).expect("write");
    passes_or_refuses(&session.directory(), "journal");
}

fn ledger_that_is_none() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let ledger = session.directory().join("ledger");
    // The right size, and nothing else.
    let size = fs::metadata(&ledger).expect("ledger").len();
    fs::write(&ledger, vec![7u8; size as usize]).expect("write");
    passes_or_refuses(&session.directory(), "ledger: damaged");
}

fn journal_or_ledger_behind_a_link() {
    for name in ["journal", "ledger"] {
        let namespace = Namespace::fresh();
        let session = Session::watching(&namespace);
        let (file, moved) = (session.directory().join(name), session.place().join(name));
        fs::rename(&file, &moved).expect("rename");
        symlink(&moved, &file).expect("symbolic link");
        passes_or_refuses(&session.directory(), &format!("{name}: Too many levels of symbolic links"));
    }
}

/// A byte after the other, the same each time.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 16
    }
}

fn damaged_ledger_and_journal_under_a_running_host() {
    for seed in 0..24 {
        let namespace = Namespace::fresh();
        let session = Session::with_policy(&namespace, "[quota.session]\nbytes = \"1M\"\nsegments = 50\nattaches = 50\n");
        let mut agent = Agent::gated(&namespace, &session);
        let shmid = agent.number("get 0x5e000080 4096 01600");
        agent.number(&format!("at {shmid}"));
        let mut random = noise(seed);
        for name in ["ledger", "journal"] {
            let file = OpenOptions::new().write(true).open(session.directory().join(name)).expect("open");
            let length = file.metadata().expect("metadata").len();
            // All of it, the first page, or scattered bytes: sizes and indices become anything.
            let (count, reach) = match seed % 3 {
                0 => (length / 8, length),
                1 => (512, 4096),
                _ => (2000, length),
            };
            for index in 0..count {
                let place = if seed % 3 == 2 { random() % reach } else { index * 8 };
                file.write_all_at(&random().to_ne_bytes(), place.min(length - 8)).expect("write");
            }
        }
        // Each call has an answer, whichever; the host lives and says nothing but our own lines.
        for command in
            ["get 0x5e000081 4096 01600", "get 0 8192 0600", "hold", "child at 0", "release", "counters 1", "at 0", "dt 0"]
        {
            agent.ask(command);
        }
        agent.ask(&format!("rm {shmid}"));
        let stderr = agent.stderr();
        let unsure = own_lines(&stderr).iter().any(|line| line.contains("internal error"));
        assert!(!unsure, "seed {seed}: a number was taken without a look at it: {stderr}");
        assert_eq!(agent.finish(), Status::Exited(0), "seed {seed}");
        // A newcomer too: refused or not, but alive.
        let newcomer = Run::new(program("traps/each_call")).namespace(&namespace).session(&session).output().success();
        own_lines(&newcomer.stderr);
    }
}

fn registry_cut_short_under_running_hosts() {
    const FAILING: &str = "\
shmget(0x5e000077, 0, 0): ENOENT
shmget(0x5e000078, PAGE, IPC_CREAT | 0600): EINVAL
shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600): EINVAL
shmctl(shmid, IPC_STAT, &ds): EINVAL
shmctl(shmid, IPC_RMID, NULL): EINVAL
shmat(shmid, NULL, 0): EINVAL
what is attached: kept
";
    // Nothing of it, its first page, and into its tables.
    for size in [0, 4096, 100_000, 300_000] {
        for userspace in [Userspace::fresh(), Userspace::shared()] {
            let directory = userspace.directory();
            let run = Run::on_userspace(program("traps/cut_short"), &userspace)
                .arg(directory)
                .arg(size.to_string())
                .output()
                .success();
            let expected = format!(
                "{FAILING}another process: exit 0\nthreads that had an error: 4\n{FAILING}in a child: kept\nits own SIGBUS: BUS\n\
                 shmdt(data): ok\nshmdt(data): EINVAL\n"
            );
            assert_eq!(run.stdout, expected, "{size}: {run}");
            let said = own_lines(&run.stderr);
            let line = format!("shmgate: namespace {}: its registry was cut short", directory.display());
            assert!(said.len() == 2 && said.iter().all(|said| said.starts_with(&line)), "a line a process: {run}");
            let check = Run::new(command()).args(["namespace", "check"]).arg(directory).output();
            assert!(check.status == Status::Exited(1) && check.stdout.contains("registry: "), "{check}");
        }
    }
}
