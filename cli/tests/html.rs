//! `shmgate report --html`: the file, and the page in a real browser. Where there is no Chromium, the tests in it are skipped by name.

#[path = "common/browser.rs"]
mod browser;
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use browser::Browser;
use common::{compile, place, refused, shmgate};
use serde_json::Value;
use shmgate_testkit::compile::program;
use shmgate_testkit::trial::trial;
use shmgate_testkit::{Agent, Namespace, Outcome, Run, Session, Status, executable, run_trials, trials};

fn main() -> ExitCode {
    let mut all = trials![
        a_page_is_one_file,
        what_cannot_be_written_is_said,
        names_are_no_html,
        what_is_cut_is_counted,
        equal_stacks_are_there_once
    ];
    let in_browser: [(&str, fn()); 8] = [
        ("a_page_tells_the_session", a_page_tells_the_session),
        ("the_keyboard_is_enough", the_keyboard_is_enough),
        ("tables_are_sorted_and_filtered", tables_are_sorted_and_filtered),
        ("findings_that_are_cut_are_counted", findings_that_are_cut_are_counted),
        ("a_page_has_two_looks", a_page_has_two_looks),
        ("calls_have_their_lines", calls_have_their_lines),
        ("a_long_session_is_quick", a_long_session_is_quick),
        ("an_empty_session_has_a_page", an_empty_session_has_a_page),
    ];
    let is_there = browser::find().is_some();
    for (name, body) in in_browser {
        let name =
            if is_there { format!("in_a_browser::{name}") } else { format!("in_a_browser::{name} (skipped: needs chromium)") };
        all.push(trial(name, body).with_ignored_flag(!is_there));
    }
    run_trials(all)
}

fn report(session: &Path, options: &[&str]) -> Outcome {
    shmgate(["report"]).args(options).arg(session).output()
}

/// A text that would run, were it ever taken for HTML.
const HOSTILE: &str = "<img src=x onerror=owned=1><script>owned=1<!--";

/// A session with a leak, errors, denials, and a program and a rule of bad names; and its page.
fn page() -> (Session, PathBuf) {
    let namespace = Namespace::fresh();
    let policy =
        format!("[quota.session]\nbytes = \"64K\"\n[[rule]]\nname = \"</script>{HOSTILE}\"\nkey = 7\naction = \"deny\"\n");
    let session = Session::with_policy(&namespace, &policy);
    let exe = session.place().join(HOSTILE);
    executable::copy(&program("agent"), &exe).unwrap();
    let mut agent = Agent::start(Run::new(&exe).session(&session).namespace(&namespace));
    let kept = agent.number("get 0 4096 01600");
    let gone = agent.number("get 5 8192 01666");
    for id in [kept, gone] {
        agent.number(&format!("at {id}"));
    }
    assert_eq!(agent.ask("get 7 1 0"), "EACCES");
    assert_eq!(agent.ask("get 9 1 0"), "ENOENT");
    assert_eq!(agent.ask("get 0 1000000 01600"), "ENOSPC");
    assert_eq!(agent.ask(&format!("rm {gone}")), "0");
    assert_eq!(agent.ask("dt 0"), "0");
    assert_eq!(agent.ask("dt 1"), "0");
    assert_eq!(agent.finish(), Status::Exited(0));
    let page = written(&session.directory());
    (session, page)
}

/// The page of a session, beside it.
#[track_caller]
fn written(session: &Path) -> PathBuf {
    let page = session.with_file_name("page.html");
    let said = report(session, &["--html", page.to_str().unwrap()]).silent();
    assert_eq!(said.stdout, "");
    page
}

/// The object that the page's scripts read.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("<script id=\"data\" type=\"application/json\">").expect("the data");
    serde_json::from_str(rest.split_once("</script>").unwrap().0).expect("JSON")
}

fn a_page_is_one_file() {
    let (session, page) = page();
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(report(&session.directory(), &["--html", "-"]).silent().stdout, page);
    let data = data(&page);
    let segments = &data["segments"];
    assert_eq!(segments["size"], serde_json::json!([4096, 8192]));
    assert_eq!((&segments["leaked"][0], &segments["leaked"][1], &segments["to"][0]), (&1.into(), &0.into(), &Value::Null));
    assert!(segments["removed"][1].as_i64() <= segments["to"][1].as_i64(), "{segments}");
    assert_eq!(data["records"]["state"], serde_json::json!([0, 0, 0, 0, 2, 1, 2, 0, 0, 0]));
    assert_eq!(data["records"]["segment"], serde_json::json!([0, 1, 0, 1, null, null, null, 1, 0, 1]));
    assert_eq!(data["attaches"]["segment"], serde_json::json!([0, 1]));
    assert_eq!((&data["calls"], &data["denied"], &data["limits"]["bytes"]), (&10.into(), &2.into(), &65536.into()));
    // No stacks were recorded.
    for list in [&data["stacks"], &data["lines"], &segments["stack"], &data["attaches"]["stack"], &data["records"]["stack"]] {
        assert_eq!(list, &serde_json::json!([]));
    }
    // The same findings as the other forms have.
    let json: Value = serde_json::from_str(&report(&session.directory(), &["--json"]).silent().stdout).unwrap();
    let summaries =
        |of: &Value| of["findings"].as_array().unwrap().iter().map(|one| one["summary"].clone()).collect::<Vec<_>>();
    assert!(!summaries(&data).is_empty());
    assert_eq!(summaries(&data), summaries(&json));
    let failed = report(&session.directory(), &["--fail-on", "leak", "--html", "/dev/null"]);
    assert_eq!((failed.status, failed.stderr.as_str()), (Status::Exited(1), ""));
}

/// A session with more leaks than go into a page, and its page.
fn cut_page() -> (Session, PathBuf) {
    let namespace = Namespace::fresh();
    let session = Session::watching(&namespace);
    let mut agent = Agent::gated(&namespace, &session);
    for _ in 0..1003 {
        agent.number("get 0 4096 01600");
    }
    agent.finish();
    let page = written(&session.directory());
    (session, page)
}

fn what_is_cut_is_counted() {
    let (_session, page) = cut_page();
    let data = data(&fs::read_to_string(page).unwrap());
    assert_eq!((data["findings"].as_array().unwrap().len(), &data["findings_of"]["leak"]), (1000, &1003.into()));
    assert!(data["left_out"].as_str().unwrap().contains("left out: 3 findings;"), "{}", data["left_out"]);
}

fn what_cannot_be_written_is_said() {
    let (_session, page) = page();
    let directory = page.with_file_name("session");
    let nowhere = page.with_file_name("no").join("page.html");
    refused(&report(&directory, &["--html", nowhere.to_str().unwrap()]), 2, &["no/page.html: No such file or directory"]);
    refused(&report(&directory, &["--html", "/dev/full"]), 1, &["/dev/full: No space left on device"]);
    let both = report(&directory, &["--html", "-", "--json"]);
    assert_eq!(both.status, Status::Exited(2), "{both}");
}

fn names_are_no_html() {
    let (_session, page) = page();
    let page = fs::read_to_string(page).unwrap();
    assert!(!page.contains("<img") && !page.contains("<script>owned"), "a name came through");
    assert_eq!(page.matches("</script>").count(), 2);
    let data = data(&page);
    let reason = data["strings"].as_array().unwrap().iter().find(|one| one.as_str().unwrap().contains("onerror"));
    assert!(reason.unwrap().as_str().unwrap().contains("</script><img"), "{data}");
    assert!(data["programs"][0]["exe"].as_str().unwrap().ends_with(HOSTILE), "{data}");
}

fn equal_stacks_are_there_once() {
    let temp = place();
    let dir = temp.path().join("s");
    let run = shmgate(["run", "-q", "--callers", "--session"]).arg(&dir).args(["--", "sh", "-c", "\"$0\" 9; \"$0\" 9"]);
    run.arg(program("churn")).output().silent();
    let data = data(&fs::read_to_string(written(&dir)).unwrap());
    // Two processes, and each of nine times five calls, have the same five.
    let stacks = data["stacks"].as_array().unwrap();
    assert_eq!((stacks.len(), data["lines"].as_array().unwrap().len()), (5, 5), "{stacks:?}");
    let of = |list: &str| data[list]["stack"].as_array().unwrap();
    assert_eq!(of("records").chunks(5).collect::<Vec<_>>(), [&of("records")[..5]; 18]);
    assert_eq!((of("segments"), of("attaches")), (&vec![of("records")[0].clone(); 18], &vec![of("records")[1].clone(); 18]));
    let line = |index: &Value| data["strings"][index.as_u64().unwrap() as usize].as_str().unwrap();
    for (stack, short) in stacks.iter().zip(data["lines"].as_array().unwrap()) {
        assert_eq!(stack.as_array().unwrap().len(), 1, "main is the last of interest: {data}");
        let (whole, short) = (line(&stack[0]), line(short));
        assert!(whole.starts_with("at main (/") && whole.contains("/churn+0x") && whole.ends_with(')'), "{whole}");
        assert_eq!(short, format!("main ({}", &whole[whole.rfind('/').unwrap() + 1..]));
    }
}

fn a_page_tells_the_session() {
    let (session, page) = page();
    let mut browser = Browser::start();
    browser.open(&page);
    assert_eq!(browser.text("h1"), session.directory().to_str().unwrap());
    assert_eq!(browser.ask("document.title"), "session – shmgate report");
    let totals = browser.text("#totals");
    for part in ["Calls10", "Errors1", "Denied2", "Segments2", "Most memory12 KiBof 64 KiB allowed", "Left behind1"] {
        assert!(totals.contains(part), "{part} is missing in {totals}");
    }
    let findings = browser.text("#findings");
    for part in ["errorleak", "never removed", "What to do: call shmctl(shmid, IPC_RMID, NULL)", "world-access", HOSTILE] {
        assert!(findings.contains(part), "{part} is missing in {findings}");
    }
    let rows = browser.text("#panel-0 tbody");
    for part in ["IPC_PRIVATE", "0x00000005", "8 KiB", "0666", "left (leak)"] {
        assert!(rows.contains(part), "{part} is missing in {rows}");
    }
    // Both canvases have more than one colour.
    for canvas in ["chart", "rows"] {
        let colours = browser.ask(&format!(
            "(() => {{ const canvas = document.getElementById('{canvas}'); \
             const {{ data }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height); \
             return new Set(new Uint32Array(data.buffer)).size; }})()"
        ));
        assert!(colours.as_u64().unwrap() > 5, "{canvas} has {colours} colours");
    }
    assert_eq!(browser.ask("[typeof owned, document.images.length, document.scripts.length].join()"), "undefined,0,2");
    assert_eq!(browser.ask("performance.getEntriesByType('resource').length"), 0, "something was loaded");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

fn the_keyboard_is_enough() {
    let (_session, page) = page();
    let mut browser = Browser::start();
    browser.prefer("prefers-reduced-motion", "reduce");
    browser.open(&page);
    let mut reached = Vec::new();
    while reached.last().is_none_or(|last: &String| last != "filter") {
        browser.press("Tab");
        let focused = "document.activeElement.id || document.activeElement.tagName";
        reached.push(browser.ask(focused).as_str().unwrap().to_owned());
        assert_eq!(
            browser.ask("getComputedStyle(document.activeElement).outlineStyle"),
            "solid",
            "no focus to be seen: {reached:?}"
        );
        assert!(reached.len() < 60, "{reached:?}");
    }
    let place = |id: &str| reached.iter().position(|one| one == id).unwrap_or_else(|| panic!("{id} in {reached:?}"));
    assert!(place("look") < place("measure") && place("measure") < place("timeline") && place("timeline") < place("tab-0"));

    // Zooming out of sight of a segment takes it from the table.
    browser.ask("document.getElementById('in-view').click()");
    browser.ask("document.getElementById('timeline').focus()");
    let count = "document.getElementById('count').textContent";
    assert_eq!(browser.ask(count), "2 rows");
    browser.press("Home");
    (0..12).for_each(|_| browser.press("+"));
    browser.press("Home");
    browser.until(&format!("{count} === '0 of 2 rows'"));
    browser.press("0");
    browser.until(&format!("{count} === '2 rows'"));
    browser.press("ArrowDown");
    browser.press("ArrowDown");
    let status = browser.text("#status");
    assert!(status.contains("8 KiB, gone, 1 attach,"), "{status}");
    assert!(browser.text("#details").contains("0x00000005"));
    // What went wrong is before or after the middle, as the machine was busy.
    browser.press("n");
    browser.press("p");
    let status = browser.text("#status");
    assert!(status.contains("shmget(key="), "{status}");

    browser.press("0");
    browser.until(&format!("{count} === '2 rows'"));
    browser.ask("document.getElementById('tab-0').focus()");
    browser.press("ArrowLeft");
    assert_eq!(browser.ask("document.activeElement.textContent"), "Errors and denials 3");
    browser.ask("document.querySelector('[role=tabpanel]:not([hidden]) .table').focus()");
    browser.press("End");
    let active = "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).textContent";
    let active = browser.ask(active);
    assert!(active.as_str().unwrap().contains("session bytes: 980 KiB asked"), "{active}");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

fn tables_are_sorted_and_filtered() {
    let (_session, page) = page();
    let mut browser = Browser::start();
    browser.open(&page);
    let sizes =
        "[...document.querySelectorAll('#panel-0 tbody tr[role=row] td:nth-child(3)')].map((cell) => cell.textContent).join()";
    assert_eq!(browser.ask(sizes), "4 KiB,8 KiB");
    browser.ask("document.querySelector('#panel-0 th:nth-child(3) button').focus()");
    browser.press("Enter");
    assert_eq!(browser.ask(sizes), "8 KiB,4 KiB");
    assert_eq!(browser.ask("document.querySelector('#panel-0 th:nth-child(3)').ariaSort"), "descending");
    browser.ask("document.getElementById('filter').focus()");
    "private 4".chars().for_each(|key| browser.press(&key.to_string()));
    assert_eq!((browser.ask(sizes), browser.text("#count").as_str()), ("4 KiB".into(), "1 of 2 rows"));
}

fn findings_that_are_cut_are_counted() {
    let (_session, page) = cut_page();
    let mut browser = Browser::start();
    browser.open(&page);
    assert_eq!(browser.text("#findings .head span.muted"), "1,003");
    let button = "#findings .kind > button";
    assert_eq!(browser.text(button), "show 100 more of 1,000 that the page has of 1,003");
    let rest = "#findings .kind > p.muted";
    let is_shown = |browser: &mut Browser| browser.ask(&format!("!document.querySelector('{rest}').hidden"));
    assert_eq!(is_shown(&mut browser), false);
    for _ in 0..10 {
        browser.ask(&format!("document.querySelector('{button}').click()"));
    }
    assert_eq!((is_shown(&mut browser), browser.text(rest).as_str()), (true.into(), "The page has the first 1,000 of 1,003."));
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

fn a_page_has_two_looks() {
    let (_session, page) = page();
    let mut browser = Browser::start();
    browser.open(&page);
    let back = "getComputedStyle(document.body).backgroundColor";
    let drawn = "document.getElementById('chart').toDataURL()";
    let (light, on_light) = (browser.ask(back), browser.ask(drawn));
    browser.prefer("prefers-color-scheme", "dark");
    browser.until(&format!("{back} !== {light}"));
    browser.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
    assert_ne!(browser.ask(drawn), on_light, "the canvas kept its colours");
    browser.ask("(() => { const look = document.getElementById('look'); look.value = 'light'; look.dispatchEvent(new Event('change')); })()");
    assert_eq!(browser.ask(back), light, "the user's choice comes first");
}

fn calls_have_their_lines() {
    let temp = place();
    fs::create_dir(temp.path().join("callers")).unwrap();
    let program = compile("callers/leak", temp.path(), &["-g", "-O1", "-fno-inline"]);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/callers/leak.c");
    let text = fs::read_to_string(&source).unwrap();
    let line = |mark: &str| 1 + text.lines().position(|line| line.ends_with(&format!("/* {mark} */"))).unwrap();
    let file = source.display();
    let stack = |mark: &str| format!("at make ({file}:{})\nby main ({file}:{})\n", line("make"), line(mark));
    let dir = temp.path().join("s");
    shmgate(["run", "-q", "--callers", "--session"]).arg(&dir).arg("--").arg(program).output().silent();

    let mut browser = Browser::start();
    browser.open(&written(&dir));
    let findings = browser.text("#findings");
    assert!(findings.contains("key=0x5e000072, size=4096, IPC_CREAT|0600) = "), "{findings}");
    let leak = browser.text("#findings .kind:has(.error) pre");
    assert!(leak.ends_with(&format!("us>\n{}", stack("left"))), "{leak}");
    // The segment's details.
    browser.ask("document.getElementById('timeline').focus()");
    browser.press("ArrowDown");
    assert_eq!(browser.text("#details .wide"), format!("Where it was created{}", stack("removed")));
    browser.press("ArrowDown");
    assert_eq!(browser.text("#details .wide"), format!("Where it was created{}", stack("left")));
    // A call's, by keyboard, and calls by the function that made them.
    browser.ask("document.getElementById('tab-4').click()");
    let box_below = "#panel-4 .below";
    assert_eq!(browser.ask(&format!("document.querySelector('{box_below}').hidden")), true);
    browser.ask("document.querySelector('#panel-4 .table').focus()");
    browser.press("End");
    let told = browser.text(box_below);
    assert!(told.contains(", IPC_RMID, ") && told.contains("at main (") && !told.contains("make"), "{told}");
    browser.press("Home");
    let told = browser.text(box_below);
    assert!(told.contains("shmget(key=0x5e000071") && told.ends_with(&stack("removed")), "{told}");
    browser.ask("document.getElementById('filter').focus()");
    "make leak".chars().for_each(|key| browser.press(&key.to_string()));
    assert_eq!(browser.text("#count"), "4 of 5 rows");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

fn a_long_session_is_quick() {
    let temp = place();
    let dir = temp.path().join("s");
    let run = shmgate(["run", "-q", "--callers", "--session"]).arg(&dir).arg("--").arg(program("churn")).arg("20000");
    assert_eq!(run.output().silent().status, Status::Exited(0));
    let mut browser = Browser::start();
    let page = written(&dir);
    let size = fs::metadata(&page).unwrap().len();
    assert!(size < 10_000_000, "100,000 calls with their stacks take {size} bytes");
    browser.open(&page);
    assert!(browser.text("#totals").contains("Calls100,000"), "{}", browser.text("#totals"));
    assert_eq!(browser.text("#count"), "20,000 rows");
    browser.ask("document.querySelector('#panel-0 .table').focus()");
    browser.press("End");
    browser.until("document.querySelector('#panel-0 tbody tr.active')?.ariaRowIndex === '20001'");
    let rows = browser.ask("document.querySelectorAll('#panel-0 tbody tr').length").as_u64().unwrap();
    assert!(rows < 100, "{rows} rows are in the page");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

fn an_empty_session_has_a_page() {
    let temp = place();
    let dir = temp.path().join("s");
    assert_eq!(shmgate(["run", "-q", "--session"]).arg(&dir).args(["--", "true"]).output().silent().status, Status::Exited(0));
    let mut browser = Browser::start();
    browser.open(&written(&dir));
    assert_eq!(browser.text("#when"), "No calls were recorded.");
    assert_eq!(browser.text("#findings"), "None.");
    assert_eq!(
        browser.ask("['timeline-section', 'tables'].map((id) => document.getElementById(id).hidden).join()"),
        "true,true"
    );
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}
