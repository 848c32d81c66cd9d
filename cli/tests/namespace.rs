//! `shmgate namespace`, and `shmgate run --isolate`.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use common::{Named, place, refused, shmgate, until_ended};
use shmgate_core::backend::userspace::layout::{Header, Layout};
use shmgate_core::backend::userspace::place::directory;
use shmgate_testkit::compile::program;
use shmgate_testkit::run::TIMEOUT;
use shmgate_testkit::{Agent, Namespace, Run, Status, Userspace, root_trials, run_trials, trials};

fn main() -> ExitCode {
    let several_users = root_trials![
        the_kernel_keeps_out_whom_the_mode_keeps_out,
        whoever_detaches_last_frees_a_removed_segment,
        a_shared_namespace_is_removed_whole_or_not_at_all,
        limits_of_a_shared_namespace_are_its_owners_to_set,
        only_a_trusted_shared_namespace_is_found_by_its_name,
        where_none_can_be_made_the_cause_is_said,
    ];
    let mut trials = trials![
        a_shared_namespace_is_made_listed_and_removed,
        a_namespace_is_made_with_limits_listed_and_removed,
        names_that_are_none_are_refused,
        what_can_not_be_made_leaves_nothing,
        a_directory_that_can_not_be_one_is_said_with_what_helps,
        a_namespace_in_use_is_not_removed,
        one_made_anew_is_left_alone_by_the_one_before,
        only_its_own_files_are_removed,
        a_healthy_namespace_is_ok_while_it_is_used,
        what_is_wrong_is_said_and_mended,
        what_goes_by_rmid_forced_is_not_counted_and_freed,
        what_a_process_left_is_no_fault_and_given_back,
        damage_all_over_is_said_soon,
        a_registry_that_is_none_is_said,
        an_isolated_run_leaves_nothing,
        an_isolated_namespace_goes_though_its_run_is_killed,
        what_a_killed_isolated_run_and_its_watcher_left_goes_with_the_next,
        a_daemon_keeps_its_isolated_namespace,
    ];
    trials.extend(several_users);
    run_trials(trials)
}

/// A place for a namespace that is not among the user's.
fn away() -> (tempfile::TempDir, PathBuf) {
    let temp = place();
    let parent = temp.path().join("parent");
    fs::create_dir(&parent).unwrap();
    (temp, parent.join("n"))
}

fn namespace(arguments: &[&str]) -> Run {
    shmgate(["namespace"]).args(arguments)
}

/// What the list says of a namespace: segments, bytes, processes.
fn listed(name: &str) -> Option<[u64; 3]> {
    // Other namespaces, broken by other tests, are no matter.
    let said = namespace(&["list", "--json"]).output().stdout;
    let list: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(list["schema"], 1);
    let row = list["namespaces"].as_array().unwrap().iter().find(|row| row["name"] == name)?;
    Some(["segments", "bytes", "processes"].map(|field| row[field].as_u64().unwrap()))
}

fn a_namespace_is_made_with_limits_listed_and_removed() {
    let own = Named::new("limits");
    let create = || namespace(&["create", "--shmmax", "64K", "--shmmni", "2", "--shmall", "17", &own.name]).output();
    create().silent();
    refused(&create(), 1, &["is there already", &own.name, "shmgate namespace remove"]);
    let spaced = place();
    let spaced = spaced.path().join("a b");
    let with = |verb: &str| namespace(&[verb, spaced.to_str().unwrap()]).output();
    with("create").silent();
    // A directory elsewhere is listed if the environment names it.
    let table = namespace(&["list"]).env("SHMGATE_NAMESPACE", &spaced).output().stdout;
    assert!(table.lines().any(|line| line.starts_with(spaced.to_str().unwrap())), "{table}");
    refused(&with("create"), 1, &[&format!("shmgate namespace remove '{}'", spaced.display())]);
    with("remove").silent();
    assert_eq!(listed(&own.name), Some([0, 0, 0]));
    let mut agent = own.agent();
    assert_eq!(agent.ask("get 0 65537 0600"), "EINVAL");
    agent.number("get 0 65536 0600");
    assert_eq!(agent.ask("get 0 8192 0600"), "ENOSPC");
    agent.number("get 0 1000 0600");
    assert_eq!(agent.ask("get 0 1 0600"), "ENOSPC");
    assert_eq!(listed(&own.name), Some([2, 66536, 1]));
    let table = namespace(&["list"]).output().stdout;
    let line = |start: &str| table.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    let columns: Vec<String> = line(&own.name).split_whitespace().map(str::to_owned).collect();
    assert_eq!(columns[1..], ["2", "66536", "1", "no"], "{table}");
    assert_eq!(line("NAME").find("SHARED"), line(&own.name).rfind("no"), "{table}");
    drop(agent);
    namespace(&["remove", &own.name]).output().silent();
    assert!(!own.dir.exists());
    refused(&namespace(&["remove", &own.name]).output(), 1, &["there is none", "shmgate namespace list"]);
    refused(&namespace(&["check", &own.name]).output(), 1, &["there is none"]);
}

fn a_shared_namespace_is_made_listed_and_removed() {
    let own = Named::shared("common");
    let create = |arguments: &[&str]| namespace(&["create"]).args(arguments).args([&own.name]).output();
    create(&["--shared", "--shmmni", "1"]).silent();
    let mode = |name: &str| fs::metadata(own.dir.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(["", "registry", "lives", "removed"].map(mode), [0o1777, 0o666, 0o666, 0o777]);
    refused(&create(&["--shared"]), 1, &["is there already", "shmgate namespace remove"]);
    // A program finds it by its name.
    let mut agent = own.agent();
    agent.number("get 0 4096 0600");
    assert_eq!(agent.ask("get 0 4096 0600"), "ENOSPC");
    assert_eq!(listed(&own.name), Some([1, 4096, 1]));
    let table = namespace(&["list"]).output().stdout;
    assert!(table.lines().any(|line| line.starts_with(&own.name) && line.ends_with(" yes")), "{table}");
    namespace(&["check", &own.name]).output().silent();
    namespace(&["remove", &own.name]).output().silent();
    assert!(!own.dir.exists());
    // A private one of the name would be hidden by it.
    create(&[]).silent();
    refused(&create(&["--shared"]), 1, &["private one of this name", "shmgate namespace remove /"]);
    namespace(&["remove", &own.name]).output().silent();
}

/// Whether a user of no rights can read a file.
fn can_read(path: &Path) -> bool {
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--", "cat"];
    let said = Run::new("setpriv").args(user).arg(path).output();
    assert!(said.status == Status::Exited(0) || said.stderr.contains("Permission denied"), "{said}");
    said.status == Status::Exited(0)
}

fn the_kernel_keeps_out_whom_the_mode_keeps_out() {
    let namespace = Userspace::shared();
    let mut agent = Agent::start(Run::on_userspace(program("agent"), &namespace));
    let shmid = agent.number(&format!("get 77 4096 0{:o}", 0o1600));
    let file = namespace.directory().join(format!("segment.{shmid}"));
    assert!(!can_read(&file), "0600, another's");
    agent.number(&format!("set {shmid} 0604"));
    assert!(can_read(&file), "0604, another's");
    agent.number(&format!("give {shmid} 65534 0640"));
    assert!(can_read(&file), "given to the user, who created it not");
    agent.number(&format!("give {shmid} 65534 0060"));
    assert!(!can_read(&file), "the owner's bits count, and not the group's");
    agent.number(&format!("give {shmid} 0 0600"));
    assert!(!can_read(&file), "taken back");
}

fn whoever_detaches_last_frees_a_removed_segment() {
    let namespace = Userspace::shared();
    let agent = |uid| {
        let mut agent = Agent::start(Run::on_userspace(program("agent"), &namespace));
        agent.number(&format!("uid {uid}"));
        agent
    };
    let (mut creator, mut other, mut third) = (agent(65533), agent(65534), agent(65532));
    let shmid = creator.number(&format!("get 77 4096 0{:o}", 0o1666));
    let attached = other.number(&format!("at {shmid}"));
    creator.number(&format!("rm {shmid}"));
    let removed = namespace.directory().join(format!("removed/segment.{shmid}"));
    assert!(removed.exists() && !namespace.directory().join(format!("segment.{shmid}")).exists());
    let again = third.number(&format!("at {shmid}"));
    third.number(&format!("dt {again}"));
    other.number(&format!("dt {attached}"));
    assert!(!removed.exists());
    // A file of another in that directory is not taken for the segment.
    let shmid = creator.number(&format!("get 77 4096 0{:o}", 0o1666));
    creator.number(&format!("at {shmid}"));
    creator.number(&format!("rm {shmid}"));
    let removed = namespace.directory().join(format!("removed/segment.{shmid}"));
    fs::remove_file(&removed).unwrap();
    fs::write(&removed, [0; 4096]).unwrap();
    fs::set_permissions(&removed, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(third.ask(&format!("at {shmid}")), "EIDRM");
}

fn a_shared_namespace_is_removed_whole_or_not_at_all() {
    let namespace = Userspace::shared();
    let mut agent = Agent::start(Run::on_userspace(program("agent"), &namespace));
    agent.number("uid 65534");
    let shmid = agent.number("get 0 4096 0600");
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let remove = |force: &[&str]| {
        let command = Run::new("setpriv").args(user).arg(shmgate_testkit::command()).args(["namespace", "remove"]).args(force);
        command.arg(namespace.directory()).output()
    };
    for force in [&[][..], &["--force"]] {
        refused(&remove(force), 1, &["belongs to user 0", "only that user or root can remove it"]);
    }
    assert!(namespace.directory().join(format!("segment.{shmid}")).exists());
}

fn limits_of_a_shared_namespace_are_its_owners_to_set() {
    let namespace = Userspace::shared();
    let set = |user: &[&str], bytes: u64| {
        let write = format!("echo {bytes} >/proc/sys/kernel/shmmax");
        Run::on_userspace("setpriv", &namespace).args(user).args(["--", "sh", "-c", &write]).output()
    };
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let refused = set(&nobody, 1 << 30);
    assert!(refused.status != Status::Exited(0) && refused.stderr.contains("Permission denied"), "{refused}");
    set(&[], 65536).silent();
    let mut other = Agent::start(Run::on_userspace(program("agent"), &namespace));
    other.number("uid 65534");
    assert_eq!(other.ask("get 0 65537 0600"), "EINVAL");
    other.number("get 0 65536 0600");
}

fn only_a_trusted_shared_namespace_is_found_by_its_name() {
    let own = Named::shared("squatted");
    namespace(&["create", "--shared", &own.name]).output().silent();
    std::os::unix::fs::chown(&own.dir, Some(65534), None).unwrap();
    std::os::unix::fs::chown(own.dir.join("registry"), Some(65534), None).unwrap();
    let private = directory(&own.name).unwrap();
    assert_ne!(private, own.dir);
    let dir = own.dir.to_str().unwrap();
    let table = namespace(&["list"]).output().stdout;
    assert!(table.lines().any(|line| line.starts_with(&format!("{dir} ")) && line.ends_with(" yes")), "{table}");
    assert!(!table.lines().any(|line| line.starts_with(&own.name)), "{table}");
    let theirs = format!("name the shared one of user 65534 by its directory: {dir}");
    for command in ["check", "remove"] {
        refused(&namespace(&[command, &own.name]).output(), 1, &["there is none", &theirs]);
    }
    let run = || shmgate(["run", "--backend", "userspace", "--namespace", &own.name, "--", "true"]).output();
    let said = run();
    assert_eq!(said.stderr, format!("shmgate: warning: namespace {}: made anew, for you alone; {theirs}\n", private.display()));
    run().silent();
    own.agent().number("get 0 4096 0600");
    assert!(private.join("registry").exists());
    fs::remove_dir_all(&private).unwrap();
    // Named by its directory it is what the user wants.
    shmgate(["run", "-q", "--backend", "userspace", "--namespace", dir, "--", "ipcmk", "-M", "1"]).output().success();
    // A registry that is not the directory's owner's is nobody's.
    std::os::unix::fs::chown(own.dir.join("registry"), Some(65533), None).unwrap();
    refused(&namespace(&["check", dir]).output(), 1, &["open to others"]);
}

fn names_that_are_none_are_refused() {
    let temp = place();
    for name in ["", ".x", "-x", "a/b", "a b", &"x".repeat(65)] {
        let rule = ["is no namespace", "1 to 64 letters", "neither - nor .", "absolute directory"];
        for command in ["create", "remove", "check"] {
            refused(&namespace(&[command, "--", name]).output(), 2, &rule);
        }
        if !name.is_empty() {
            refused(&shmgate(["run", "--", "true"]).env("SHMGATE_NAMESPACE", name).output(), 2, &rule);
        }
    }
    refused(&namespace(&["create", "--shmmni", "32769", "x"]).output(), 2, &["at most 32768"]);
    refused(&namespace(&["create", "--shmmax", "1Q", "x"]).output(), 2, &["1Q", "not a size"]);
    let within = temp.path().join("no/such");
    refused(
        &namespace(&["create", within.to_str().unwrap()]).output(),
        1,
        &["No such file", "the directory above it has to be there"],
    );
    // Somebody's symbolic link is not followed, with a slash behind it neither.
    let (own, link) = (temp.path().join("own"), temp.path().join("link"));
    namespace(&["create", own.to_str().unwrap()]).output().silent();
    std::os::unix::fs::symlink(&own, &link).unwrap();
    for end in ["", "/", "/."] {
        let link = format!("{}{end}", link.display());
        let said = shmgate(["run", "-q", "--backend", "userspace", "--namespace", &link, "--", "ipcmk", "-M", "1"]).output();
        assert!(said.status != Status::Exited(0) && said.stderr.contains("is a symbolic link"), "{said}");
    }
    // A directory without a registry is left alone, whatever is in it.
    fs::write(temp.path().join("lives"), "").unwrap();
    refused(&namespace(&["remove", "--force", temp.path().to_str().unwrap()]).output(), 1, &["there is none"]);
    assert!(temp.path().join("lives").exists());
}

fn what_can_not_be_made_leaves_nothing() {
    let (_temp, dir) = away();
    let name = dir.to_str().unwrap();
    let limited = ["-c", "ulimit -f 100; exec \"$@\"", "sh"];
    let create = ["namespace", "create", name];
    let run = ["run", "--backend", "userspace", "--namespace", name, "--", "true"];
    for (arguments, status) in [(&create[..], 1), (&run, 2)] {
        let said = Run::new("sh").args(limited).arg(shmgate_testkit::command()).args(arguments).output();
        refused(&said, status, &["can't be made: File too large", "KiB", "ulimit -f"]);
        assert!(!dir.exists());
    }
    let long = dir.with_file_name("x".repeat(201 - dir.parent().unwrap().as_os_str().len() - 1));
    for (arguments, status) in [(&create[..2], 1), (&run[..4], 2)] {
        let said = shmgate(arguments).arg(&long).args(if status == 2 { &["true"][..] } else { &[] }).output();
        refused(&said, status, &["has too long a path", "at most 200 bytes"]);
        assert!(!long.exists());
    }
}

fn where_none_can_be_made_the_cause_is_said() {
    let mounted = |options: &str, script: &str| {
        let script = format!("mount -t tmpfs {options} none /dev/shm && {script}");
        Run::new("unshare").args(["--mount", "sh", "-c", &script]).arg(shmgate_testkit::command()).output()
    };
    let create = "\"$0\" namespace create x";
    let said = mounted("-o size=256k", &format!("{create} || {{ ls /dev/shm/shmgate-0; exit 1; }}"));
    refused(&said, 1, &["can't be made: No space left on device", "it needs", "KiB"]);
    assert_eq!(said.stdout, "");
    let said = mounted("-o ro", create);
    refused(&said, 1, &["Read-only file system", "SHMGATE_NAMESPACE=/some/directory"]);
    assert!(!said.stderr.contains("above"), "{said}");
    let isolated = "\"$0\" run --isolate -- true";
    refused(&mounted("-o ro", isolated), 2, &["Read-only file system", "--namespace /some/directory"]);
    // Somebody else was there first.
    let said = mounted("-o mode=1777", &format!("mkdir /dev/shm/shmgate-0 && chown 65534 /dev/shm/shmgate-0 && {create}"));
    refused(&said, 1, &["/dev/shm/shmgate-0: belongs to user 65534", "SHMGATE_NAMESPACE=/some/directory"]);
    let said = mounted("-o mode=1777", &format!("mkdir -m 777 /dev/shm/shmgate-0 && {isolated}"));
    refused(&said, 2, &["/dev/shm/shmgate-0: is open to others", "chmod 700 /dev/shm/shmgate-0"]);
    // That of the environment, too.
    let script =
        "\"$0\" namespace create x && SHMGATE_NAMESPACE=/dev/shm/shmgate-0/x setpriv --reuid 65534 --clear-groups \"$0\" ls";
    refused(&mounted("-o mode=1777", script), 1, &["/dev/shm/shmgate-0/x: Permission denied"]);
    // All others are shown.
    let script = "\"$0\" namespace create --shared s && mkdir -m 700 /dev/shm/shmgate-65534 && \
                  setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" ";
    for what in ["namespace list", "ls"] {
        let said = mounted("-o mode=1777", &format!("{script}{what}"));
        refused(&said, 1, &["/dev/shm/shmgate-65534: Permission denied"]);
        assert!(what == "ls" || said.stdout.contains("\ns "), "{said}");
    }
    let said = mounted("-o mode=1777", "\"$0\" namespace create /");
    refused(&said, 1, &["namespace /: is open to others", "name a new one in it"]);
    assert!(!said.stderr.contains("chmod") && !said.stderr.contains("above"), "{said}");
}

fn a_directory_that_can_not_be_one_is_said_with_what_helps() {
    let (_temp, dir) = away();
    let create = || namespace(&["create", dir.to_str().unwrap()]).output();
    fs::write(&dir, "").unwrap();
    refused(&create(), 1, &["is not a directory; name one"]);
    fs::remove_file(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    let set_mode = |mode| fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o755);
    refused(&create(), 1, &["is open to others (mode 0755)", "name a new one in it"]);
    set_mode(0o700);
    create().success();
    set_mode(0o755);
    let check = namespace(&["check", dir.to_str().unwrap()]).output();
    refused(&check, 1, &["is open to others (mode 0755)", &format!("chmod 700 {}", dir.display())]);
}

fn a_namespace_in_use_is_not_removed() {
    let own = Named::new("used");
    let mut agent = own.agent();
    let shmid = agent.number("get 0 4096 0600");
    let pid = agent.number("pid");
    agent.number(&format!("at {shmid} 0"));
    refused(&namespace(&["remove", &own.name]).output(), 1, &[&format!("live process {pid} holds 1 segment"), "--force"]);
    assert_eq!(listed(&own.name), Some([1, 4096, 1]));
    namespace(&["remove", "--force", &own.name]).output().silent();
    assert!(!own.dir.exists());
}

/// Ids come again in a new namespace, and so do files' names.
fn one_made_anew_is_left_alone_by_the_one_before() {
    for (own, shared) in [(Named::new("anew"), &[][..]), (Named::shared("anew"), &["--shared"])] {
        let create = || namespace(&["create"]).args(shared).arg(&own.name).output().silent();
        create();
        let [mut before, mut holder] = [own.agent(), own.agent()];
        let shmid = before.number("get 77 4096 01600");
        let at = before.number(&format!("at {shmid} 0"));
        holder.number(&format!("at {shmid} 0"));
        namespace(&["remove", "--force", &own.name]).output().silent();
        create();
        let mut anew = own.agent();
        assert_eq!(anew.number("get 77 4096 01600"), shmid);
        anew.number(&format!("at {shmid} 0"));
        let file = own.dir.join(format!("segment.{shmid}"));
        fs::write(&file, [7; 4096]).unwrap();
        assert_eq!(before.ask(&format!("at {shmid} 0")), "EIDRM");
        assert_eq!(before.number(&format!("rm {shmid}")), 0);
        assert_eq!(before.number(&format!("dt {at}")), 0);
        assert_eq!(before.ask(&format!("stat {shmid}")), "nattch 1 mode 01600", "its other holder lives");
        holder.number("dt 0");
        assert_eq!(before.ask(&format!("stat {shmid}")), "EINVAL");
        assert_eq!(fs::read(&file).unwrap(), [7; 4096], "what is another's stays as it is");
        anew.number(&format!("at {shmid} 0"));
        assert_eq!(anew.ask(&format!("stat {shmid}")), "nattch 2 mode 0600");
    }
}

fn only_its_own_files_are_removed() {
    let (_temp, dir) = away();
    let name = dir.to_str().unwrap();
    namespace(&["create", name]).output().silent();
    fs::write(dir.join("segment.07"), "mine").unwrap();
    fs::write(dir.join("segment.8"), "its").unwrap();
    refused(&namespace(&["remove", name]).output(), 1, &["segment.07 is not its own", "stays"]);
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["segment.07"]);
}

fn a_healthy_namespace_is_ok_while_it_is_used() {
    let own = Named::new("healthy");
    let mut agent = own.agent();
    for key in 0..40 {
        let shmid = agent.number(&format!("get {key} 4096 0{:o}", 0o1600));
        agent.number(&format!("at {shmid} 0"));
        if key % 3 == 0 {
            assert_eq!(agent.number(&format!("rm {shmid}")), 0);
        }
    }
    for arguments in [&["check"][..], &["check", "--repair"]] {
        let said = namespace(arguments).args([&own.name]).output().silent().stdout;
        assert_eq!(said, format!("{}: ok\n", own.name));
    }
}

/// Writes into a registry.
fn damage(dir: &Path, at: usize, bytes: &[u8]) {
    let registry = fs::File::options().write(true).open(dir.join("registry")).unwrap();
    registry.write_all_at(bytes, at as u64).unwrap();
}

fn what_is_wrong_is_said_and_mended() {
    let own = Named::new("wrong");
    let mut agent = own.agent();
    let shmid = agent.number(&format!("get 77 5000 0{:o}", 0o1600));
    agent.number(&format!("at {shmid} 0"));
    damage(&own.dir, offset_of!(Layout, header) + offset_of!(Header, in_use), &77_u64.to_le_bytes());
    damage(&own.dir, offset_of!(Layout, header) + offset_of!(Header, last), &u64::MAX.to_le_bytes());
    damage(&own.dir, offset_of!(Layout, used), &[0; 8]);
    damage(&own.dir, offset_of!(Layout, buckets), &[0; 4 << 16]);
    damage(&own.dir, offset_of!(Layout, buckets) + 4, &9_u32.to_le_bytes());
    fs::write(own.dir.join("segment.2000000"), "").unwrap();
    fs::write(own.dir.join(".registry.1.2"), "").unwrap();
    let faults = [
        "totals: 77 segments, but there are 1".to_owned(),
        "header: last slot 18446744073709551615".to_owned(),
        "not marked as used".to_owned(),
        "chain 1: leads to slot 8".to_owned(),
        format!("segment {shmid}: not in the chain of its key"),
        "segment.2000000: a file of nothing".to_owned(),
        ".registry.1.2: a file of nothing".to_owned(),
    ];
    let said = namespace(&["check", &own.name]).output();
    refused(&said, 1, &["7 faults", &format!("shmgate namespace check --repair {}", own.name)]);
    let mended = namespace(&["check", "--repair", &own.name]).output().silent();
    for fault in &faults {
        assert!(said.stdout.lines().any(|line| line.contains(fault)), "{fault} in {said}");
        assert!(mended.stdout.lines().any(|line| line.contains("mended: ") && line.contains(fault)), "{fault} in {mended}");
    }
    assert_eq!((said.stdout.lines().count(), mended.stdout.lines().count()), (7, 8), "{said}{mended}");
    namespace(&["check", &own.name]).output().silent();
    assert_eq!(agent.number("get 77 5000 0"), shmid);
    assert!(own.dir.join(format!("segment.{shmid}")).exists());
}

/// A program that ends with a removed segment attached: no fault, and nothing that is there any more.
fn what_a_process_left_is_no_fault_and_given_back() {
    let own = Named::new("killed");
    let mut agent = own.agent();
    let shmid = agent.number("get 0 4096 0600");
    agent.number(&format!("at {shmid} 0"));
    agent.number(&format!("rm {shmid}"));
    let file = own.dir.join(format!("segment.{shmid}"));
    namespace(&["check", "--repair", &own.name]).output().silent();
    fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(b"something", 0).unwrap();
    assert_ne!(fs::metadata(&file).unwrap().blocks(), 0);
    drop(agent);
    assert_eq!(listed(&own.name), Some([0, 0, 0]));
    for (arguments, is_kept) in [(&["check"][..], true), (&["check", "--repair"], false)] {
        let said = namespace(arguments).args([&own.name]).output().silent();
        assert_eq!(said.stdout, format!("{}: ok\n", own.name));
        // The file may be kept for another segment: its memory is not.
        assert_eq!(fs::metadata(&file).is_ok_and(|meta| meta.blocks() != 0), is_kept);
    }
    assert_eq!(listed(&own.name), Some([0, 0, 0]));
}

fn what_goes_by_rmid_forced_is_not_counted_and_freed() {
    let own = Named::new("forced");
    let mut agent = own.agent();
    let shmid = agent.number("get 77 4096 01600");
    agent.number(&format!("at {shmid} 0"));
    agent.number("get 78 4096 01600");
    let file = own.dir.join(format!("segment.{shmid}"));
    fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(b"something", 0).unwrap();
    // A shell that ends by _exit: nobody has taken it over yet.
    own.run("sh").args(["-c", "echo 1 >/proc/sys/kernel/shm_rmid_forced"]).output().silent();
    assert_eq!(listed(&own.name), Some([2, 8192, 1]));
    let rows = || shmgate(["ls", "--namespace", &own.name, "--json"]).output().success().stdout;
    assert!(rows().contains(&shmid.to_string()), "{}", rows());
    drop(agent);
    assert_eq!(listed(&own.name), Some([0, 0, 0]));
    assert!(!rows().contains(&shmid.to_string()), "{}", rows());
    assert!(namespace(&["check", &own.name]).output().success().stdout.ends_with(": ok\n"), "it is no fault");
    assert_ne!(fs::metadata(&file).unwrap().blocks(), 0);
    namespace(&["check", "--repair", &own.name]).output().success();
    assert_eq!(fs::metadata(&file).map_or(0, |meta| meta.blocks()), 0);
}

fn damage_all_over_is_said_soon() {
    let (_temp, dir) = away();
    let name = dir.to_str().unwrap();
    namespace(&["create", name]).output().silent();
    damage(&dir, offset_of!(Layout, buckets), &[0x7f; 4 << 16]);
    refused(&namespace(&["check", name]).output(), 1, &[&format!("{} faults", 1 << 16)]);
    namespace(&["check", "--repair", name]).output().silent();
    namespace(&["check", name]).output().silent();
    fs::remove_file(dir.join("lives")).unwrap();
    fs::create_dir(dir.join("lives")).unwrap();
    let said = namespace(&["check", name]).output();
    refused(&said, 1, &["1 fault;"]);
    assert_eq!(said.stdout, format!("{name}: lives: no file: nobody can attach or create anything\n"));
}

fn a_registry_that_is_none_is_said() {
    let (_temp, dir) = away();
    let name = dir.to_str().unwrap();
    let check = |part: &str| {
        let said = namespace(&["check", "--repair", name]).output();
        refused(&said, 1, &["1 fault;", "shmgate namespace remove --force"]);
        assert!(said.stdout.contains(part), "{said}");
    };
    namespace(&["create", name]).output().silent();
    damage(&dir, offset_of!(Header, version), &99_u64.to_le_bytes());
    check("version 99");
    damage(&dir, offset_of!(Header, magic), b"SHMGATED");
    check("magic");
    fs::write(dir.join("registry"), "short").unwrap();
    check("5 bytes");
    refused(&namespace(&["remove", name]).output(), 1, &["damaged", "--force"]);
    namespace(&["remove", "--force", name]).output().silent();
    assert!(!dir.exists());
}

fn isolated<A: AsRef<OsStr>>(command: impl IntoIterator<Item = A>) -> Run {
    shmgate(["run", "--isolate", "--"]).args(command)
}

fn an_isolated_run_leaves_nothing() {
    let mut seen = Vec::new();
    for status in [0, 3] {
        let script = format!("echo $SHMGATE_BACKEND; echo $SHMGATE_NAMESPACE; ipcmk -M 4096; exit {status}");
        let said = isolated(["sh", "-c", &script]).output();
        assert_eq!((said.status, said.stderr.as_str()), (Status::Exited(status), ""));
        let lines: Vec<&str> = said.stdout.lines().collect();
        let dir = Path::new(lines[1]);
        assert_eq!((lines[0], dir.parent()), ("userspace", directory("x").unwrap().parent()), "{said}");
        assert!(lines.last().unwrap().starts_with("Shared memory id: ") && !dir.exists(), "{said}");
        seen.push(dir.to_owned());
    }
    assert_ne!(seen[0], seen[1]);
    let said = isolated(["/bin/sh", "-c", "echo $SHMGATE_NAMESPACE; kill -KILL $$"]).output();
    assert_eq!((said.status, said.stderr.as_str()), (Status::Exited(137), ""));
    assert!(!Path::new(said.stdout.trim()).exists());
}

/// The directory of an isolated agent's namespace, by the agent's environment.
fn namespace_of(pid: i32) -> PathBuf {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let value = environment.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"SHMGATE_NAMESPACE="));
    PathBuf::from(str::from_utf8(value.unwrap()).unwrap())
}

/// A run that is about to be killed, with one process that has called; and the run's watcher.
struct Doomed {
    agent: Agent,
    pid: i32,
    watcher: Ended,
    dir: PathBuf,
}

impl Doomed {
    fn start(host: &Namespace) -> Doomed {
        let mut agent = Agent::start(isolated([program("agent")]).namespace(host));
        let pid = agent.number("pid") as i32;
        let dir = namespace_of(pid);
        assert!(dir.file_name().unwrap().to_str().unwrap().starts_with(&format!("isolated.{}.", agent.pid())), "{dir:?}");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", agent.pid())).unwrap();
        let mut others = children.split_whitespace().map(|child| child.parse().unwrap()).filter(|child| *child != pid);
        Doomed { watcher: Ended(others.next().expect("a watcher")), agent, pid, dir }
    }

    fn kill_run(&self) {
        drop(Ended(self.agent.pid()));
        until_ended(self.agent.pid(), Instant::now() + TIMEOUT);
    }
}

fn an_isolated_namespace_goes_though_its_run_is_killed() {
    let host = Namespace::fresh();
    let mut doomed = Doomed::start(&host);
    doomed.kill_run();
    let shmid = doomed.agent.number("get 0 4096 0600");
    doomed.agent.number(&format!("at {shmid} 0"));
    assert!(doomed.dir.exists());
    let Doomed { agent, watcher, dir, .. } = doomed;
    drop(agent);
    until_ended(watcher.0, Instant::now() + TIMEOUT);
    assert!(!dir.exists());
}

fn what_a_killed_isolated_run_and_its_watcher_left_goes_with_the_next() {
    // One for all: a user's own namespaces can't look into each other's processes.
    let host = Namespace::fresh();
    let list = || namespace(&["list"]).namespace(&host).output().stdout;
    let Doomed { mut agent, pid, watcher, dir } = {
        let doomed = Doomed::start(&host);
        drop(Ended(doomed.watcher.0));
        doomed.kill_run();
        doomed
    };
    drop(watcher);
    let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
    // It has not called yet: that it will is known by its environment.
    assert!(list().contains(&name));
    let shmid = agent.number("get 0 4096 0600");
    agent.number(&format!("at {shmid} 0"));
    isolated(["true"]).namespace(&host).output().silent();
    assert!(list().contains(&name));
    drop(agent);
    let deadline = Instant::now() + TIMEOUT;
    until_ended(pid, deadline);
    // While an isolated namespace is being made, by another test, a list sweeps nothing; and another's may be about to.
    while list().contains(&name) || dir.exists() {
        assert!(Instant::now() < deadline, "{name} stays");
    }
}

/// The command ends and leaves a process that goes on: so does its namespace, and a watcher removes it.
fn a_daemon_keeps_its_isolated_namespace() {
    let (temp, host) = (place(), Namespace::fresh());
    let fifo = temp.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    // Open for both, so that neither side waits for the other to come.
    let mut end = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let daemon = "sh -c 'echo $$ $SHMGATE_NAMESPACE; exec >/dev/null 2>&1; read end; ipcmk -M 4096; read end'";
    let script = format!("said=$(setsid {daemon} <{} & ); echo $said", fifo.display());
    let said = isolated(["sh", "-c", &script]).namespace(&host).output().success();
    let (pid, dir) = said.stdout.trim().split_once(' ').unwrap();
    let daemon = Ended(pid.parse().unwrap());
    let line = "shmgate: processes of the isolated namespace still run; it goes with the last of them: ";
    assert!(said.stderr.lines().any(|said| said == format!("{line}{dir}")), "{said}");
    // Neither the next run nor a list takes it away.
    isolated(["true"]).namespace(&host).output().silent();
    std::io::Write::write_all(&mut end, b"go\n").unwrap();
    let deadline = Instant::now() + TIMEOUT;
    let until = |what: &dyn Fn() -> bool| {
        while !what() {
            assert!(Instant::now() < deadline, "{dir} stays as it is");
            std::thread::yield_now();
        }
    };
    let name = Path::new(dir).file_name().unwrap().to_str().unwrap();
    until(&|| listed(name).is_some_and(|[segments, ..]| segments == 1));
    std::io::Write::write_all(&mut end, b"end\n").unwrap();
    until_ended(daemon.0, deadline);
    until(&|| !Path::new(dir).exists());
}

/// A process that is ended with the test.
struct Ended(i32);

impl Drop for Ended {
    fn drop(&mut self) {
        // SAFETY: a plain system call; the process is the test's own, and if it has ended its pid is not in use again so soon.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}
