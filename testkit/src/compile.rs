//! C programs and helper libraries of `tests/programs`, compiled once into `target/test-programs`.
//!
//! Several test threads and several test binaries may want one program at the same time: each compiles to a
//! name of its own and renames, so a reader never sees half a file.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use crate::artifacts::{target, workspace};

/// What all programs are compiled with. `-pthread` also links: threads are everywhere in these tests.
const FLAGS: [&str; 6] = ["-O1", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-pthread"];

/// The folder of the C sources.
pub fn sources() -> PathBuf {
    workspace().join("tests/programs")
}

/// The executable made from `tests/programs/NAME.c`; NAME may have a folder.
pub fn program(name: &str) -> PathBuf {
    build(name, &name.replace('/', "-"), &[])
}

/// The same under another file name, with further arguments for gcc (libraries, run paths).
pub fn program_with(name: &str, output: &str, extra: &[String]) -> PathBuf {
    build(name, output, extra)
}

/// The executable at a path of the test's own, made anew: for programs linked with what lies in a temporary place.
pub fn program_at(name: &str, path: &Path, extra: &[String]) {
    gcc(&sources().join(format!("{name}.c")), path, extra);
}

/// A shared library made from `tests/programs/NAME.c`, as `lib/OUTPUT`: in a folder of its own, so that a
/// run path can name that folder.
pub fn shared(name: &str, output: &str, extra: &[String]) -> PathBuf {
    let mut arguments = vec!["-shared".to_owned(), "-fPIC".to_owned()];
    arguments.extend_from_slice(extra);
    build(name, &format!("lib/{output}"), &arguments)
}

/// All behaviours, by the names of their sources: `tests/programs/FOLDER/*.c`.
pub fn programs_in(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(sources().join(folder))
        .expect("folder of C programs")
        .filter_map(|entry| {
            let file = entry.expect("directory entry").file_name().into_string().ok()?;
            Some(format!("{folder}/{}", file.strip_suffix(".c")?))
        })
        .collect();
    names.sort();
    names
}

fn build(name: &str, output: &str, extra: &[String]) -> PathBuf {
    type Slots = Mutex<HashMap<PathBuf, Arc<OnceLock<()>>>>;
    static BUILT: OnceLock<Slots> = OnceLock::new();
    let path = target().join("test-programs").join(output);
    let slot = {
        let mut slots = BUILT.get_or_init(Default::default).lock().expect("no test panics with this lock");
        slots.entry(path.clone()).or_default().clone()
    };
    slot.get_or_init(|| {
        let source = sources().join(format!("{name}.c"));
        if !fresh(&path, &source) {
            gcc(&source, &path, extra);
        }
    });
    path
}

/// Whether `path` is newer than its source and than the headers that programs include.
fn fresh(path: &Path, source: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let Some(made) = time(path) else { return false };
    let headers =
        [sources().join("trace.h"), sources().join("books.h"), workspace().join("include/shmgate.h"), PathBuf::from(file!())];
    let newest = headers.iter().filter_map(|header| time(header)).chain([time(source).unwrap_or_else(SystemTime::now)]).max();
    newest.is_some_and(|newest| made > newest)
}

fn gcc(source: &Path, path: &Path, extra: &[String]) {
    let folder = path.parent().expect("a program lies in a folder");
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let scratch = tempfile::Builder::new()
        .prefix(".building-")
        .tempdir_in(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let unfinished = scratch.path().join("out");
    let result = Command::new("gcc")
        .args(FLAGS)
        .arg("-I")
        .arg(sources())
        .arg("-I")
        .arg(workspace().join("include"))
        .arg("-o")
        .arg(&unfinished)
        .arg(source)
        .args(extra)
        .output()
        .expect("gcc runs");
    assert!(result.status.success(), "gcc {}:\n{}", source.display(), String::from_utf8_lossy(&result.stderr));
    fs::rename(&unfinished, path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
