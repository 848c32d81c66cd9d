//! How the library gets in, and when the first call comes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use shmgate_testkit::compile::{program, program_at, program_with, shared};
use shmgate_testkit::trial::{as_root, is_root};
use shmgate_testkit::{Namespace, Run, Session, library, trials};

use crate::own_lines;

pub fn trials() -> Vec<Trial> {
    let mut all = trials![
        call_before_our_constructor,
        call_from_another_librarys_constructor,
        dlopen_instead_of_preload,
        deepbind_plugin_is_gated,
        deepbind_is_kept_when_asked,
        deepbind_is_left_alone_with_nothing_set,
        dlopen_honours_the_callers_run_path,
        linked_program_is_gated,
        missing_functions_do_not_end_the_host,
        what_auto_cant_replace_is_said_once,
    ];
    all.push(as_root(
        "auto_goes_to_the_namespace_of_the_user_at_that_time",
        auto_goes_to_the_namespace_of_the_user_at_that_time,
    ));
    let secure = as_root("at_secure_program_ignores_the_environment", at_secure_program_ignores_the_environment);
    all.push(secure.with_ignored_flag(!is_root() || ignores_setuid(&std::env::temp_dir())));
    all
}

/// Whether the file system is mounted nosuid: no start from there is a privileged one.
fn ignores_setuid(place: &Path) -> bool {
    let place = std::ffi::CString::new(place.to_str().expect("UTF-8")).expect("no NUL");
    // SAFETY: zeros are a valid statvfs, and the kernel fills it.
    unsafe {
        let mut about: libc::statvfs = std::mem::zeroed();
        libc::statvfs(place.as_ptr(), &mut about) == 0 && about.f_flag & libc::ST_NOSUID != 0
    }
}

/// How often the journal has a successful shmget of this key.
#[track_caller]
fn made(session: &Session, key: &str) -> usize {
    let calls = session.calls("shmget");
    calls.iter().filter(|call| call["args"]["key"] == key && call["errno"].is_null()).count()
}

fn what_auto_cant_replace_is_said_once() {
    let library = format!("LD_PRELOAD={}", library().display());
    let run = Run::new(program("without_shm")).arg(library).arg("SHMGATE_NAMESPACE=/dev/null/none").arg("--");
    let run = run.arg(program("traps/each_call")).output().success();
    assert!(run.stdout.contains("ENOSYS") && run.stdout.ends_with("alive\n"), "{run}");
    let said = own_lines(&run.stderr);
    assert!(said.len() == 1 && said[0].contains("can't replace it: namespace /dev/null/none: "), "{run}");
}

fn auto_goes_to_the_namespace_of_the_user_at_that_time() {
    const NOBODYS: &str = "64321";
    let set = format!("LD_PRELOAD={}", library().display());
    let run = Run::new(program("without_shm")).args([&set, "SHMGATE_NAMESPACE=dropped", "--"]);
    let run = run.arg(program("traps/dropped")).arg(NOBODYS).output();
    let places = ["/dev/shm", "/tmp"].map(|root| Path::new(root).join(format!("shmgate-{NOBODYS}")));
    let is_its_own = places.iter().any(|place| place.join("dropped").exists());
    for place in places {
        let _ = fs::remove_dir_all(place);
    }
    let said = run.silent().stdout;
    assert!(said.lines().count() == 5 && said.lines().all(|line| line.ends_with(": ok")), "{said}");
    assert!(is_its_own);
}

fn call_before_our_constructor() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let early = Run::new(program("traps/early")).namespace(&namespace).session(&session).output().silent();
    assert_eq!(early.stdout, "early: ok\nmain's: 1\n");
    // The preinit function's call, and main's look-up.
    assert_eq!(made(&session, "0x5e000050"), 2, "the call before all constructors is not recorded");
    let failed: Vec<_> = session.calls("shmget").into_iter().filter(|call| call["errno"] == "ENOENT").collect();
    for key in ["0x5e000053", "0x5e000054", "0x5e000055"] {
        let late = failed.iter().filter(|call| call["args"]["key"] == key).count();
        assert_eq!(late, 1, "exit handler, destructor, end of a thread: the call with key {key}");
    }
}

fn call_from_another_librarys_constructor() {
    let plain = shared("traps/constructor_lib", "libplain.so", &[]);
    let first = shared("traps/constructor_lib", "libfirst.so", &["-Wl,-z,initfirst".to_owned()]);
    let native = Run::new(program("traps/constructed")).env("LD_PRELOAD", &plain).output().silent();
    let (ours, plain, first) = (library().display(), plain.display(), first.display());
    // The later in the list, the earlier its constructor; with initfirst even before libc's.
    for order in [format!("{plain}:{ours}"), format!("{ours}:{plain}"), format!("{ours}:{first}"), format!("{first}:{ours}")] {
        let namespace = Namespace::fresh();
        let session = Session::watching(&namespace);
        let run = Run::new(program("traps/constructed")).namespace(&namespace).session(&session);
        let run = run.env("LD_PRELOAD", &order).output().silent();
        assert_eq!(run.stdout, native.stdout);
        assert_eq!(made(&session, "0x5e000051"), 2, "the constructor's call and main's look-up, preloaded as {order}");
        assert_eq!(session.calls("shmat").len(), 1, "{order}");
    }
}

fn dlopen_instead_of_preload() {
    let place = tempfile::tempdir().expect("temporary directory");
    let log = place.path().join("log");
    let native = Run::new(program("traps/by_dlopen")).arg("libc.so.6").output().silent();
    let opened = Run::new(program("traps/by_dlopen")).arg(library()).env("SHMGATE_LOG", &log).output().silent();
    assert_eq!(opened.stdout, native.stdout);
    let lines = fs::read_to_string(&log).expect("log");
    assert_eq!(lines.lines().count(), 3, "three calls by dlsym, one by libc:\n{lines}");
}

fn plugin() -> PathBuf {
    shared("traps/plugin_lib", "libplugin.so", &[])
}

fn deepbind_host() -> PathBuf {
    program_with("traps/deepbind", "traps-deepbind", &["-rdynamic".to_owned()])
}

fn deepbind_plugin_is_gated() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let run = Run::new(deepbind_host()).arg(plugin()).namespace(&namespace).session(&session);
    assert_eq!(run.output().silent().stdout, "bound to 1\n", "the flag has an effect still");
    assert_eq!(made(&session, "0x5e000068"), 1, "the plugin's call escaped");
}

fn deepbind_is_kept_when_asked() {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let run = Run::new(deepbind_host()).arg(plugin()).namespace(&namespace).session(&session);
    assert_eq!(run.env("SHMGATE_DEEPBIND", "keep").output().silent().stdout, "bound to 2\n");
    assert_eq!(made(&session, "0x5e000068"), 0);
}

fn deepbind_is_left_alone_with_nothing_set() {
    let native = Run::new(deepbind_host()).arg(plugin()).output().silent();
    assert_eq!(native.stdout, "bound to 2\n");
    let gated = Run::new(deepbind_host()).arg(plugin()).gated().output().silent();
    assert_eq!(gated.stdout, native.stdout, "nothing is set, so nothing may change");
}

fn dlopen_honours_the_callers_run_path() {
    let folder = plugin().parent().expect("the plugin's folder").to_owned();
    for (tags, name) in [("--enable-new-dtags", "runpath"), ("--disable-new-dtags", "rpath")] {
        let options = ["-rdynamic".to_owned(), format!("-Wl,{tags},-rpath,{}", folder.display())];
        let host = program_with("traps/deepbind", &format!("traps-deepbind-{name}"), &options);
        Run::new(&host).arg("libplugin.so").output().silent();
        Run::new(&host).arg("libplugin.so").gated().output().silent();
        let namespace = Namespace::fresh();
        let session = Session::watching(&namespace);
        Run::new(&host).arg("libplugin.so").namespace(&namespace).session(&session).output().silent();
        assert_eq!(made(&session, "0x5e000068"), 1, "{name}");
    }
    // Not found is still an error of dlopen's, with its message.
    let missing = Run::new(deepbind_host()).arg("libplugin-that-is-not.so").gated().env("SHMGATE_LOG", "/dev/null").output();
    assert!(missing.stdout.contains("libplugin-that-is-not.so: cannot open shared object file"), "{missing}");
}

/// `SOURCE.c` linked with the library by its soname, below `folder`; `before` stands before the library.
fn linked_behind(source: &str, folder: &Path, name: &str, before: &[&str]) -> PathBuf {
    for link in ["libshmgate.so", "libshmgate.so.0"] {
        symlink(library(), folder.join(link)).expect("symbolic link");
    }
    let ours = [format!("-L{}", folder.display()), "-lshmgate".to_owned(), format!("-Wl,-rpath,{}", folder.display())];
    let options: Vec<String> = before.iter().map(|&option| option.to_owned()).chain(ours).collect();
    let host = folder.join(name);
    program_at(source, &host, &options);
    host
}

fn linked(folder: &Path, name: &str) -> PathBuf {
    linked_behind("traps/secure", folder, name, &[])
}

fn linked_program_is_gated() {
    let place = tempfile::tempdir().expect("temporary directory");
    let host = linked(place.path(), "plain");
    let log = place.path().join("log");
    let run = Run::new(host).env("SHMGATE_LOG", &log).output().silent();
    assert!(run.stdout.starts_with("secure: 0\nlibrary: ours\n"), "{run}");
    assert_eq!(fs::read_to_string(log).expect("log").lines().count(), 2);
}

fn missing_functions_do_not_end_the_host() {
    let place = tempfile::tempdir().expect("temporary directory");
    let host = linked_behind("traps/behind_libc", place.path(), "behind", &["-Wl,--no-as-needed", "-lc"]);
    let log = place.path().join("log");
    let run = Run::new(host).env("SHMGATE_LOG", &log).output().silent();
    // The system calls take the place of what is missing; where there is none, it is an error.
    let answers: Vec<&str> = run.stdout.lines().filter_map(|line| Some(line.rsplit_once(": ")?.1)).collect();
    assert_eq!(answers, ["ok", "ok", "ok", "ok", "EINVAL", "ENOSYS", "ENOSYS", "NULL"], "{run}");
    assert_eq!(fs::read_to_string(log).expect("log").lines().count(), 6);
}

fn at_secure_program_ignores_the_environment() {
    let place = tempfile::tempdir().expect("temporary directory");
    let mode = |path: &Path, bits| fs::set_permissions(path, fs::Permissions::from_mode(bits)).expect("chmod");
    mode(place.path(), 0o777);
    let host = linked(place.path(), "setuid");
    // A copy: where the library was built may be closed to others.
    for link in ["libshmgate.so", "libshmgate.so.0"] {
        fs::remove_file(place.path().join(link)).expect("remove");
        fs::copy(library(), place.path().join(link)).expect("copy");
    }
    mode(&host, 0o4755);
    let policy = place.path().join("policy.toml");
    fs::write(&policy, "forbid-world-access = true\n").expect("policy");
    let (log, session) = (place.path().join("log"), place.path().join("session"));
    let run = |secure: bool| {
        let run = Run::new(&host).env("SHMGATE_LOG", &log).env("SHMGATE_POLICY", &policy).env("SHMGATE_BACKEND", "nonsense");
        let run = if secure { run.env("SHMGATE_SESSION", &session) } else { run };
        let nobody = move || {
            // SAFETY: system calls without memory.
            let dropped = unsafe { libc::setgid(65534) == 0 && (!secure || libc::setuid(65534) == 0) };
            if dropped { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: `nobody` makes system calls only.
        unsafe { run.prepare(nobody) }.output()
    };
    let secure = run(true).silent();
    assert!(secure.stdout.starts_with("secure: 1\nlibrary: ours\n"), "{secure}");
    assert!(secure.stdout.contains("0666): ok"), "the policy was taken from the environment: {secure}");
    assert!(!log.exists() && !session.exists(), "something was written for a privileged program");
    // The same environment does refuse where the start is not privileged: the test would notice.
    let plain = run(false);
    assert!(plain.stdout.contains("0666): EPERM"), "{plain}");
}
