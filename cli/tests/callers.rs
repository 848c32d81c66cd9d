//! `shmgate run --callers`: which lines calls come from, in all kinds of programs.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use common::{place, refused, shmgate};
use serde_json::Value;
use shmgate_testkit::trial::trial;
use shmgate_testkit::{Outcome, Status, isolated_trials, run_trials, trials};

fn main() -> ExitCode {
    let mut all = trials![
        a_plain_program,
        optimized_without_frame_pointers,
        what_was_made_part_of_another,
        a_library_between,
        processes_and_threads,
        handlers,
        plugins_in_one_place,
        classes_are_demangled,
        stripped_with_a_debug_file,
        stripped_without,
        compressed_and_split_information,
        built_anew_since,
        without_tables,
        generated_code,
        a_deep_stack_is_cut,
        text_is_for_people,
        what_is_left_behind_has_its_maker,
        a_leak_in_the_report_has_its_line,
        leaks_of_one_line_are_one,
        served_in_user_space,
        not_asked_for_nothing_is_kept,
        odd_settings_are_refused,
        that_the_log_has_none_is_said,
        a_damaged_stack_costs_no_record,
    ];
    all.extend(isolated_trials![a_run_tells_a_leak_once_and_with_its_line]);
    let name = "stripped_with_its_symbols_packed";
    let has_xz = common::tool("xz").is_some();
    let name = if has_xz { name.to_owned() } else { format!("{name} (skipped: needs xz)") };
    all.push(trial(name, stripped_with_its_symbols_packed).with_ignored_flag(!has_xz));
    run_trials(all)
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/callers").join(name)
}

/// Compiles a program or library of `programs/callers`.
fn build(name: &str, output: &Path, options: &[&str]) {
    let compiler = if name.ends_with(".cc") { "g++" } else { "gcc" };
    let mut command = Command::new(compiler);
    command.args(["-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-o"]).arg(output).arg(source(name));
    let done = command.args(options).arg("-ldl").arg("-pthread").output().expect("the compiler runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[track_caller]
fn tool(name: &str, arguments: &[&Path]) {
    let done = Command::new(name).args(arguments).output().expect("binutils are there");
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The line of a source that ends in this comment.
#[track_caller]
fn line(name: &str, mark: &str) -> u64 {
    let text = fs::read_to_string(source(name)).unwrap();
    let at = text.lines().position(|line| line.ends_with(&format!("/* {mark} */")) || line.ends_with(&format!("// {mark}")));
    at.unwrap_or_else(|| panic!("{name} has no {mark}")) as u64 + 1
}

/// The records of a run of `command`, and the session's directory.
#[track_caller]
fn records(dir: &Path, options: &[&str], command: &[&Path]) -> Vec<Value> {
    let session = dir.join("session");
    let _ = fs::remove_dir_all(&session);
    shmgate(["run", "-q", "--callers", "--session"]).arg(&session).args(options).arg("--").args(command).output().silent();
    read(dir)
}

#[track_caller]
fn log(dir: &Path, options: &[&str]) -> Outcome {
    shmgate(["log"]).args(options).arg(dir.join("session")).output()
}

#[track_caller]
fn read(dir: &Path) -> Vec<Value> {
    log(dir, &["--json"]).silent().stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The frames of a record as "function file:line", up to main, those below it left out.
fn frames(record: &Value) -> Vec<String> {
    let mut frames = Vec::new();
    for frame in record["callers"].as_array().unwrap_or_else(|| panic!("no callers in {record}")) {
        let function = frame["function"].as_str().unwrap_or("?");
        let file = frame["file"].as_str().and_then(|file| file.rsplit('/').next()).unwrap_or("?");
        frames.push(format!("{function} {file}:{}", frame["line"].as_u64().unwrap_or(0)));
        if function == "main" {
            break;
        }
    }
    frames
}

/// What `frames` should say: functions, and where they are by the marks in a source.
fn expected(parts: &[(&str, &str, &str)]) -> Vec<String> {
    parts.iter().map(|(function, file, mark)| format!("{function} {file}:{}", line(file, mark))).collect()
}

const PLAIN: [(&str, &str, &str); 4] = [
    ("make", "plain.c", "make"),
    ("aligned", "plain.c", "aligned"),
    ("large", "plain.c", "large"),
    ("main", "plain.c", "main"),
];

/// A program of `plain.c` finds its lines, and ends where it began.
#[track_caller]
fn plain_is_found(records: &[Value]) {
    assert_eq!(records.len(), 2);
    assert_eq!(frames(&records[0]), expected(&PLAIN));
    assert_eq!(frames(&records[1]), expected(&[("main", "plain.c", "remove")]));
    for record in records {
        assert_eq!(record["callers_end"], "outermost", "{record}");
    }
}

fn a_plain_program() {
    let temp = place();
    let program = temp.path().join("plain");
    build("plain.c", &program, &["-g", "-O0"]);
    let records = records(temp.path(), &[], &[&program]);
    plain_is_found(&records);
    let callers = records[0]["callers"].as_array().unwrap();
    assert_eq!(callers[0]["module"].as_str(), program.canonicalize().unwrap().to_str());
    assert_eq!(callers[0]["inlined"], false);
    assert!(callers[0]["offset"].as_str().unwrap().starts_with("0x"));
    assert_eq!(callers.last().unwrap()["function"], "_start");
}

fn optimized_without_frame_pointers() {
    let temp = place();
    let program = temp.path().join("plain");
    for options in [&["-O2", "-fomit-frame-pointer"][..], &["-O1", "-no-pie"], &["-Os", "-static-libgcc"], &["-O3", "-flto"]] {
        build("plain.c", &program, &[&["-g", "-fno-optimize-sibling-calls"], options].concat());
        plain_is_found(&records(temp.path(), &[], &[&program]));
    }
}

fn what_was_made_part_of_another() {
    let temp = place();
    let program = temp.path().join("processes");
    build("processes.c", &program, &["-g", "-O2"]);
    let records = records(temp.path(), &[], &[&program]);
    assert_eq!(frames(&records[0]), expected(&[("ask", "processes.c", "ask"), ("main", "processes.c", "parent")]));
    assert_eq!(records[0]["callers"][0]["inlined"], true);
    assert_eq!(records[0]["callers"][0]["offset"], records[0]["callers"][1]["offset"]);
}

fn a_library_between() {
    let temp = place();
    let (library, program) = (temp.path().join("libbetween.so"), temp.path().join("uses"));
    build("library.c", &library, &["-g", "-O1", "-shared", "-fPIC"]);
    let path = format!("-Wl,-rpath,{}", temp.path().display());
    build("uses_library.c", &program, &["-g", "-O1", library.to_str().unwrap(), &path]);
    let records = records(temp.path(), &[], &[&program]);
    let found =
        [("make", "uses_library.c", "make"), ("with_library", "library.c", "library"), ("main", "uses_library.c", "main")];
    assert_eq!(frames(&records[0]), expected(&found));
    assert_eq!(records[0]["callers"][1]["module"].as_str(), library.canonicalize().unwrap().to_str());
}

fn processes_and_threads() {
    let temp = place();
    let program = temp.path().join("processes");
    build("processes.c", &program, &["-g", "-O0"]);
    let records = records(temp.path(), &[], &[&program]);
    assert_eq!(records.len(), 4);
    for (record, (function, mark)) in
        records.iter().zip([("main", "parent"), ("main", "child"), ("in_thread", "thread"), ("main", "replaced")])
    {
        let found = expected(&[("ask", "processes.c", "ask"), (function, "processes.c", mark)]);
        assert_eq!(frames(record)[..2], found, "{record}");
        assert_eq!(record["callers_end"], "outermost");
    }
}

fn handlers() {
    let temp = place();
    let program = temp.path().join("handler");
    build("handler.c", &program, &["-g", "-O1"]);
    let records = records(temp.path(), &[], &[&program]);
    assert_eq!(records.len(), 2);
    for (record, mark) in records.iter().zip(["first", "second"]) {
        let found = frames(record);
        assert_eq!(found[0], expected(&[("handler", "handler.c", "handler")])[0]);
        assert_eq!(found[1], "<signal handler called> ?:0");
        let around = expected(&[("interrupted", "handler.c", "interrupted"), ("main", "handler.c", mark)]);
        assert_eq!(found[found.len() - 2..], around, "{record}");
    }
}

fn plugins_in_one_place() {
    let temp = place();
    let (one, two, program) = (temp.path().join("one.so"), temp.path().join("two.so"), temp.path().join("plugins"));
    build("plugin.c", &one, &["-g", "-O0", "-shared", "-fPIC", "-DEDITION=1"]);
    build("plugin.c", &two, &["-g", "-O0", "-shared", "-fPIC", "-DEDITION=2"]);
    build("plugins.c", &program, &["-g", "-O0"]);
    let records = records(temp.path(), &[], &[&program, &one, &two, &one, &two, &two]);
    for (record, edition) in records.iter().zip([1, 2, 1, 2, 2]) {
        let (function, run) = (["first_edition", "other_edition"][edition - 1], format!("run {edition}"));
        let call = format!("edition {edition}");
        let found = [(function, "plugin.c", call.as_str()), ("run", "plugin.c", &run), ("main", "plugins.c", "main")];
        assert_eq!(frames(record), expected(&found));
    }
    assert_eq!(records.len(), 5);
}

fn classes_are_demangled() {
    let temp = place();
    let program = temp.path().join("classes");
    for options in [&["-g", "-O1"][..], &["-O1", "-rdynamic"]] {
        build("classes.cc", &program, options);
        let records = records(temp.path(), &[], &[&program]);
        let callers = records[0]["callers"].as_array().unwrap();
        let function = callers[0]["function"].as_str().unwrap();
        assert!(function.starts_with("cache::Pool<long>::grow(std::"), "{function}");
        let with_lines = options[0] == "-g";
        assert_eq!(callers[0]["line"].as_u64(), with_lines.then(|| line("classes.cc", "grow")), "{}", records[0]);
    }
}

/// A stripped program; what was taken from it is in `debug`.
fn stripped(program: &Path, debug: &Path) {
    build("plain.c", program, &["-g", "-O1"]);
    tool("objcopy", &["--only-keep-debug".as_ref(), program, debug]);
    tool("strip", &["--strip-all".as_ref(), program]);
    let link = format!("--add-gnu-debuglink={}", debug.display());
    tool("objcopy", &[link.as_ref(), program]);
}

fn stripped_with_a_debug_file() {
    let temp = place();
    let (program, debug) = (temp.path().join("plain"), temp.path().join("plain.debug"));
    stripped(&program, &debug);
    plain_is_found(&records(temp.path(), &[], &[&program]));
    // In the other place that debuggers look.
    fs::create_dir(temp.path().join(".debug")).unwrap();
    let moved = temp.path().join(".debug/plain.debug");
    fs::rename(&debug, &moved).unwrap();
    plain_is_found(&read(temp.path()));
    // One of another build is not taken.
    let other = temp.path().join("other");
    build("plain.c", &other, &["-g", "-O3", "-DOTHER"]);
    tool("objcopy", &["--only-keep-debug".as_ref(), &other, &moved]);
    assert_eq!(read(temp.path())[0]["callers"][0]["line"], Value::Null);
}

fn stripped_without() {
    let temp = place();
    let (program, debug) = (temp.path().join("plain"), temp.path().join("plain.debug"));
    stripped(&program, &debug);
    fs::remove_file(&debug).unwrap();
    let records = records(temp.path(), &[], &[&program]);
    let callers = records[0]["callers"].as_array().unwrap();
    // Six frames and their places, but no names.
    assert!(callers.len() >= 6, "{}", records[0]);
    for frame in &callers[..4] {
        assert_eq!((&frame["function"], &frame["module_now"]), (&Value::Null, &Value::Null), "{frame}");
        assert_eq!(frame["module"].as_str(), program.canonicalize().unwrap().to_str());
        assert!(u64::from_str_radix(&frame["offset"].as_str().unwrap()[2..], 16).unwrap() > 0);
    }
    let text = log(temp.path(), &[]).silent().stdout;
    assert!(text.contains(&format!("\n    at ?? ({}+0x", program.canonicalize().unwrap().display())), "{text}");
}

/// As Fedora's programs are: the names of functions in a file of their own, packed, in a section.
fn stripped_with_its_symbols_packed() {
    let temp = place();
    let [program, bare, small, packed] = ["plain", "bare", "small", "small.xz"].map(|name| temp.path().join(name));
    build("plain.c", &program, &["-O1"]);
    tool("objcopy", &["--only-keep-debug".as_ref(), &program, &small]);
    tool("xz", &["-9".as_ref(), &small]);
    tool("strip", &["--strip-all".as_ref(), "-o".as_ref(), &bare, &program]);
    let section = format!("--add-section=.gnu_debugdata={}", packed.display());
    let with_section = || {
        fs::remove_file(&program).unwrap();
        tool("objcopy", &[section.as_ref(), &bare, &program]);
    };
    with_section();
    let found = records(temp.path(), &[], &[&program]);
    assert_eq!(frames(&found[0]), ["make ?:0", "aligned ?:0", "large ?:0", "main ?:0"]);
    let text = log(temp.path(), &[]).silent().stdout;
    assert!(text.contains(&format!("\n    at make ({}+0x", program.canonicalize().unwrap().display())), "{text}");
    // Cut off, damaged, none.
    let whole = fs::read(&packed).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for bytes in [&whole[..whole.len() / 2], &damaged, b"\xfd7zXZ\0", b"none"] {
        fs::write(&packed, bytes).unwrap();
        with_section();
        let found = read(temp.path());
        assert_eq!((found.len(), &found[0]["callers"][0]["function"]), (2, &Value::Null));
    }
}

fn compressed_and_split_information() {
    let temp = place();
    let program = temp.path().join("plain");
    build("plain.c", &program, &["-g", "-O1", "-gz"]);
    plain_is_found(&records(temp.path(), &[], &[&program]));
    build("plain.c", &program, &["-g", "-O1", "-gsplit-dwarf", "-gdwarf-5"]);
    plain_is_found(&records(temp.path(), &[], &[&program]));
}

fn built_anew_since() {
    let temp = place();
    let program = temp.path().join("plain");
    build("plain.c", &program, &["-g", "-O1"]);
    plain_is_found(&records(temp.path(), &[], &[&program]));
    fs::remove_file(&program).unwrap();
    build("plain.c", &program, &["-g", "-O3", "-DOTHER"]);
    let records = read(temp.path());
    assert_eq!((&records[0]["callers"][0]["function"], &records[0]["callers"][0]["line"]), (&Value::Null, &Value::Null));
    // It is said why.
    let now = |records: &[Value]| records[0]["callers"][0]["module_now"].clone();
    let says = |what: &str| {
        let text = log(temp.path(), &[]).silent().stdout;
        let frame = text.lines().nth(1).unwrap();
        assert!(frame.starts_with("    at ?? (/") && frame.contains("/plain+0x") && frame.ends_with(what), "{text}");
    };
    assert_eq!(now(&records), "changed");
    says(", changed since)");
    fs::remove_file(&program).unwrap();
    let records = read(temp.path());
    assert_eq!((records.len(), now(&records)), (2, "gone".into()));
    says(", gone)");
}

fn without_tables() {
    let temp = place();
    let program = temp.path().join("plain");
    build("plain.c", &program, &["-g", "-O1", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]);
    let records = records(temp.path(), &[], &[&program]);
    assert_eq!(frames(&records[0]), expected(&PLAIN[..1]));
    assert_eq!(records[0]["callers_end"], "unknown");
    let text = log(temp.path(), &[]).silent().stdout;
    assert!(text.contains("\n    by callers that could not be found\n"), "{text}");
}

fn generated_code() {
    let temp = place();
    let program = temp.path().join("generated");
    build("generated.c", &program, &["-g", "-O1", "-Wno-pedantic"]);
    let records = records(temp.path(), &[], &[&program]);
    assert_eq!((&records[0]["callers"], &records[0]["callers_end"]), (&Value::Array(vec![]), &Value::from("unknown")));
}

fn a_deep_stack_is_cut() {
    let temp = place();
    let program = temp.path().join("deep");
    build("deep.c", &program, &["-g", "-O1", "-fno-optimize-sibling-calls"]);
    let records = records(temp.path(), &[], &[&program]);
    let found = frames(&records[0]);
    assert_eq!(found.len(), 18);
    assert_eq!(found[0], expected(&[("descend", "deep.c", "bottom")])[0]);
    assert!(found[1..].iter().all(|frame| *frame == expected(&[("descend", "deep.c", "descend")])[0]));
    assert_eq!(records[0]["callers_end"], "more");
    assert!(log(temp.path(), &[]).silent().stdout.ends_with(")\n    ...\n"));
}

fn text_is_for_people() {
    let temp = place();
    let program = temp.path().join("plain");
    build("plain.c", &program, &["-g", "-O0"]);
    records(temp.path(), &[], &[&program]);
    let text = log(temp.path(), &[]).silent().stdout;
    let file = source("plain.c").canonicalize().unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().contains(" shmget("), "{text}");
    for (number, (function, name, mark)) in PLAIN.into_iter().enumerate() {
        let word = if number == 0 { "at" } else { "by" };
        let expected = format!("    {word} {function} ({}:{})", file.display(), line(name, mark));
        assert_eq!(lines.next(), Some(expected.as_str()), "{text}");
    }
    // What is below main is left to the JSON form.
    assert!(lines.next().unwrap().contains(" shmctl("), "{text}");
}

fn what_is_left_behind_has_its_maker() {
    let temp = place();
    let program = temp.path().join("leak");
    build("leak.c", &program, &["-g", "-O1", "-fno-inline"]);
    // Without --session as well: the list is made before the session goes.
    let outcome = shmgate(["run", "--callers", "--"]).arg(&program).output().success();
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{outcome}");
    assert!(
        lines[0].starts_with("shmgate: left behind: shmid ") && lines[0].contains(", key 0x5e000072, 4096 bytes"),
        "{outcome}"
    );
    let file = source("leak.c").canonicalize().unwrap();
    for (said, (word, function, mark)) in lines[1..].iter().zip([("at", "make", "make"), ("by", "main", "left")]) {
        assert_eq!(*said, format!("shmgate:     {word} {function} ({}:{})", file.display(), line("leak.c", mark)));
    }
}

fn a_leak_in_the_report_has_its_line() {
    let temp = place();
    let program = temp.path().join("leak");
    build("leak.c", &program, &["-g", "-O1", "-fno-inline"]);
    records(temp.path(), &[], &[&program]);
    let report = |options: &[&str]| shmgate(["report"]).args(options).arg(temp.path().join("session")).output().silent().stdout;
    let text = report(&[]);
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let leak =
        lines.iter().position(|line| line.starts_with("error leak: segment ") && line.contains("key 0x5e000072")).expect(&text);
    let file = source("leak.c").canonicalize().unwrap();
    assert!(lines[leak + 1].contains(" shmget(key=0x5e000072, "), "{text}");
    for (said, (word, function, mark)) in lines[leak + 2..].iter().zip([("at", "make", "make"), ("by", "main", "left")]) {
        assert_eq!(*said, format!("{word} {function} ({}:{})", file.display(), line("leak.c", mark)), "{text}");
    }
    let json: Value = serde_json::from_str(&report(&["--json"])).unwrap();
    let leak = json["findings"].as_array().unwrap().iter().find(|finding| finding["name"] == "leak").unwrap();
    assert_eq!(frames(&leak["evidence"][0]), expected(&[("make", "leak.c", "make"), ("main", "leak.c", "left")]));
    assert_eq!(leak["evidence"][0]["callers_end"], "outermost");
}

/// A program that leaves 14 segments and 2 others behind, each made by a line.
fn leaks(dir: &Path) -> PathBuf {
    let program = dir.join("leaks");
    build("leaks.c", &program, &["-g", "-O0"]);
    program
}

/// The lines below a leak that was made at this mark.
fn leaks_stack(mark: &str) -> [String; 2] {
    let file = source("leaks.c").canonicalize().unwrap();
    let line = |mark| format!("({}:{})", file.display(), line("leaks.c", mark));
    [format!("at leave {}", line(mark)), format!("by main {}", line("main"))]
}

fn leaks_of_one_line_are_one() {
    let temp = place();
    records(temp.path(), &[], &[&leaks(temp.path())]);
    let report = |options: &[&str]| shmgate(["report"]).args(options).arg(temp.path().join("session")).output().silent().stdout;
    let text = report(&[]);
    assert!(text.contains("\nFindings: 2 errors, 0 warnings, 0 notes\n"), "{text}");
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    for (mark, count, bytes) in [("seven", 14, 57_386), ("one", 2, 8192)] {
        let stack = leaks_stack(mark);
        let at = lines.iter().position(|line| *line == stack[0]).unwrap_or_else(|| panic!("no {mark} in {text}"));
        assert_eq!(lines.iter().filter(|line| **line == stack[0]).count(), 1, "{text}");
        assert!(lines[at - 1].contains(" shmget(key=IPC_PRIVATE, ") && lines[at + 1] == stack[1], "{text}");
        assert_eq!(lines[at + 2], if count == 2 { "and 1 more time" } else { "and 13 more times" });
        let start = format!("error leak: {count} segments, {bytes} bytes in all, were created by pid ");
        let end = "(leaks) and other processes and never removed; nobody has them attached: ids ";
        assert!(lines[at - 2].starts_with(&start) && lines[at - 2].contains(end), "{text}");
        assert_eq!(lines[at - 2].ends_with(" and 9 more"), count == 14, "{text}");
    }
    // Programs get each, and a page has the groups.
    let json: Value = serde_json::from_str(&report(&["--json"])).unwrap();
    let of_json = json["findings"].as_array().unwrap();
    assert!(of_json.len() == 16 && of_json.iter().all(|one| one["count"] == 1 && one["shmid"].is_i64()), "{json:#}");
    let page = report(&["--html", "-"]);
    let (_, data) = page.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    let counts: Vec<_> = data["findings"].as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap()).collect();
    assert_eq!((counts, &data["segments"]["leaked"]), (vec![14, 2], &Value::from(vec![1; 16])));
}

fn a_run_tells_a_leak_once_and_with_its_line() {
    let temp = place();
    let program = leaks(temp.path());
    let run = |options: &[&str]| shmgate(["run", "--callers"]).args(options).arg("--").arg(&program).output();
    let with_stacks = |said: &Outcome, seven: &str, one: &str, hints: [&str; 2]| {
        let lines: Vec<&str> = said.stderr.lines().collect();
        assert_eq!(lines.len(), 6, "{said}");
        for (lines, (start, mark, hint)) in lines.chunks(3).zip([(seven, "seven", hints[0]), (one, "one", hints[1])]) {
            assert!(lines[0].starts_with(&format!("shmgate: {start}")) && lines[0].ends_with(hint), "{said}");
            assert_eq!(lines[1..], leaks_stack(mark).map(|line| format!("shmgate:     {line}")), "{said}");
        }
    };
    let ids = "0 1 2 3 4 5 6 8 9 10 11 12 13 14";
    let [all, two] = [ids, "7 15"].map(|ids| format!("; remove them with: shmgate rm --kernel {ids}"));
    let left = run(&[]).success();
    let seven = "left behind: 14 segments, 57386 bytes in all, 0 attached: shmids 0, 1, 2, 3, 4 and 9 more; ";
    with_stacks(&left, seven, "left behind: 2 segments, 8192 bytes in all, 0 attached: shmids 7, 15; ", [&all, &two]);
    let (seven, one) = ("error: leak: 14 segments, 57386 bytes in all, ", "error: leak: 2 segments, 8192 bytes in all, ");
    let failed = run(&["--fail-on", "leak"]);
    with_stacks(&failed, seven, one, [&all, &two]);
    // There nothing is left to remove, and no session to ask.
    let isolated = run(&["--fail-on", "leak", "--isolate"]);
    with_stacks(&isolated, seven, one, [" and 9 more", ""]);
    assert_eq!([failed.status, isolated.status], [Status::Exited(1); 2]);
    // What is told of by another name is left behind all the same.
    let other = run(&["--fail-on", "denied"]).success();
    assert!(other.stderr.starts_with("shmgate: left behind: 14 segments"), "{other}");
}

fn served_in_user_space() {
    let temp = place();
    let program = temp.path().join("plain");
    build("plain.c", &program, &["-g", "-O1"]);
    plain_is_found(&records(temp.path(), &["--isolate"], &[&program]));
}

fn not_asked_for_nothing_is_kept() {
    let temp = place();
    let program = temp.path().join("plain");
    build("plain.c", &program, &["-g", "-O1"]);
    let session = temp.path().join("session");
    let run = || shmgate(["run", "-q", "--session"]).arg(&session).arg("--").arg(&program);
    run().output().silent();
    let version = || fs::read(session.join("journal")).unwrap()[8];
    assert_eq!(version(), 1, "older versions of shmgate read it");
    // Both kinds may be in one session, and the variable is as good as the option.
    run().env("SHMGATE_CALLERS", "on").output().silent();
    run().env("SHMGATE_CALLERS", "off").output().silent();
    assert_eq!(version(), 2);
    let records = read(temp.path());
    let kept: Vec<bool> = records.iter().map(|record| record.get("callers").is_some()).collect();
    assert_eq!(kept, [false, false, true, true, false, false]);
}

fn odd_settings_are_refused() {
    let run = || shmgate(["run", "-q"]);
    refused(&run().env("SHMGATE_CALLERS", "yes").args(["--", "true"]).output(), 2, &["SHMGATE_CALLERS", "use on or off"]);
    run().env("SHMGATE_CALLERS", "yes").args(["--callers", "--", "true"]).output().silent();
}

fn that_the_log_has_none_is_said() {
    let temp = place();
    let program = temp.path().join("plain");
    build("plain.c", &program, &["-g", "-O1"]);
    let (log, session) = (temp.path().join("calls"), temp.path().join("session"));
    let run = |options: &[&str]| {
        shmgate(["run", "--callers"]).args(options).arg("--log").arg(&log).arg("--").arg(&program).output().success().stderr
    };
    let said = run(&[]);
    assert!(
        said.starts_with("shmgate: warning: the log shows no callers; keep them with --session DIR")
            && said.lines().count() == 1
    );
    assert_eq!(run(&["-q"]), "");
    // They are kept.
    assert_eq!(run(&["--session", session.to_str().unwrap()]), "");
    plain_is_found(&read(temp.path()));
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 6, "a line a call, and nothing else");
}

fn a_damaged_stack_costs_no_record() {
    let temp = place();
    let program = temp.path().join("processes");
    build("processes.c", &program, &["-g", "-O0"]);
    let count = records(temp.path(), &[], &[&program]).len();
    let path = temp.path().join("session/journal");
    let whole = fs::read(&path).unwrap();
    // Numbers of frames, and the frames' modules, as nobody writes them.
    let spoil = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        for slot in bytes[4096..].chunks_mut(32).filter(|slot| slot[0] & 15 == 6) {
            slot[at] = byte;
        }
        fs::write(&path, bytes).unwrap();
        read(temp.path())
    };
    for record in spoil(4, 200) {
        assert!(record.get("callers").is_none(), "{record}");
    }
    for record in spoil(15, 0xff) {
        assert_eq!(record["callers"][0]["module"], "", "{record}");
    }
    assert_eq!(spoil(12, 77).len(), count);
}
