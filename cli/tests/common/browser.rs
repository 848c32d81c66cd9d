//! Chromium without a window, driven over its debugging pipe: enough to open a page, ask its scripts, and press keys.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shmgate_testkit::process::readable;
use shmgate_testkit::{Process, Run};

/// The browser of this machine, if it has one.
pub fn find() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "chromium-headless-shell", "google-chrome"];
    names.into_iter().find_map(super::common::tool)
}

/// Several at a time are a load for a small machine.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A browser with one page.
pub struct Browser {
    to: ChildStdin,
    from: ChildStdout,
    unread: Vec<u8>,
    last: u64,
    page: Option<String>,
    /// What the page's scripts threw, and what the browser refused them.
    pub complaints: Vec<String>,
    deadline: Instant,
    _process: Process,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts the browser of [`find`].
    pub fn start() -> Browser {
        // It has a socket in TMPDIR, whose path has to be short, and leaves the directory of it there.
        let profile = tempfile::Builder::new().prefix("shmgate-cli-").tempdir_in("/tmp").expect("temporary directory");
        // The pipe is on descriptors 3 and 4. Nothing of it asks the network for anything.
        let words = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
        let options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-quic",
            "--remote-debugging-pipe",
            "--window-size=1280,900",
        ];
        let data = format!("--user-data-dir={}", profile.path().display());
        let run =
            Run::new("sh").args(["-c", words, "sh"]).arg(find().expect("a browser")).args(options).args([&data, "about:blank"]);
        let run = run.env("HOME", profile.path()).env("LC_ALL", "C.UTF-8").env("TMPDIR", profile.path());
        let (process, to, from) = run.timeout(TIMEOUT).interactive();
        let deadline = process.deadline();
        let (unread, complaints) = (Vec::new(), Vec::new());
        let mut browser =
            Browser { to, from, unread, last: 0, page: None, complaints, deadline, _process: process, _profile: profile };
        let targets = browser.call("Target.getTargets", json!({}));
        let page = targets["targetInfos"].as_array().unwrap().iter().find(|one| one["type"] == "page").expect("a page");
        let attached = browser.call("Target.attachToTarget", json!({"targetId": page["targetId"], "flatten": true}));
        browser.page = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a file, and waits until it has drawn itself.
    #[track_caller]
    pub fn open(&mut self, file: &Path) {
        self.call("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        self.until("document.readyState === 'complete' && location.protocol === 'file:'");
        self.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
    }

    /// The value of an expression, or of its promise.
    #[track_caller]
    pub fn ask(&mut self, expression: &str) -> Value {
        let mut answer =
            self.call("Runtime.evaluate", json!({"expression": expression, "awaitPromise": true, "returnByValue": true}));
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer:#}");
        answer["result"]["value"].take()
    }

    /// An element's text.
    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.ask(&format!("document.querySelector({selector:?})?.textContent"));
        text.as_str().unwrap_or_else(|| panic!("no {selector}")).to_owned()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn until(&mut self, expression: &str) {
        // A page that is being left takes the question with it.
        while self.ask(&format!("Boolean({expression})")) != true {
            assert!(Instant::now() < self.deadline, "never: {expression}");
        }
    }

    /// Presses a key, as `KeyboardEvent.key` names it.
    pub fn press(&mut self, key: &str) {
        let number = match key {
            "Tab" => 9,
            "Enter" => 13,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => key.chars().next().map_or(0, |first| first.to_ascii_uppercase() as u32),
        };
        let text = match key {
            "Enter" => "\r",
            one if one.chars().count() == 1 => one,
            _ => "",
        };
        let kind = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        let event = |kind: &str, text: &str| json!({"type": kind, "key": key, "windowsVirtualKeyCode": number, "text": text});
        self.call("Input.dispatchKeyEvent", event(kind, text));
        self.call("Input.dispatchKeyEvent", event("keyUp", ""));
    }

    /// Says what the system would say of the user's wishes: `prefers-color-scheme`, `dark`.
    pub fn prefer(&mut self, feature: &str, value: &str) {
        self.call("Emulation.setEmulatedMedia", json!({"features": [{"name": feature, "value": value}]}));
    }

    /// A command of the debugging protocol, and its result.
    #[track_caller]
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(page) = &self.page {
            message["sessionId"] = page.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser lives");
        loop {
            let mut answer = self.message();
            if answer["id"] == self.last {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            if matches!(answer["method"].as_str(), Some("Runtime.exceptionThrown" | "Log.entryAdded")) {
                self.complaints.push(answer["params"].to_string());
            }
        }
    }

    #[track_caller]
    fn message(&mut self) -> Value {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == 0) {
                let message: Vec<u8> = self.unread.drain(..=end).collect();
                return serde_json::from_slice(&message[..end]).expect("JSON");
            }
            assert!(readable(self.from.as_raw_fd(), self.deadline), "no answer of the browser in time");
            let mut bytes = [0; 1 << 16];
            let count = self.from.read(&mut bytes).expect("the browser lives");
            assert!(count > 0, "the browser has ended");
            self.unread.extend_from_slice(&bytes[..count]);
        }
    }
}
