//! What the library shows to the linker: the symbols of `tests/exports.txt`, libc.so.6 alone, its soname, its size.

use std::fs;

use libtest_mimic::Trial;
use shmgate_testkit::{Run, library, trials, workspace};

pub fn trials() -> Vec<Trial> {
    trials![symbols_are_exactly_the_list, only_libc_is_needed, soname, size]
}

fn symbols_are_exactly_the_list() {
    let listed = Run::new("nm").args(["-D", "--defined-only"]).arg(library()).output().silent();
    let mut symbols: Vec<&str> = listed.stdout.lines().filter_map(|line| line.split_whitespace().last()).collect();
    symbols.sort_unstable();
    let text = fs::read_to_string(workspace().join("tests/exports.txt")).expect("tests/exports.txt");
    let mut expected: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    expected.sort_unstable();
    assert_eq!(symbols, expected, "exported, then tests/exports.txt; change both together, and never version a symbol");
}

fn dynamic(tag: &str) -> Vec<String> {
    let listed = Run::new("readelf").arg("-d").arg(library()).output().success();
    let lines = listed.stdout.lines().filter(|line| line.contains(tag));
    lines.filter_map(|line| Some(line.split_once('[')?.1.trim_end_matches(']').to_owned())).collect()
}

fn only_libc_is_needed() {
    assert_eq!(dynamic("(NEEDED)"), ["libc.so.6"], "each further library costs every start of a host");
}

fn soname() {
    assert_eq!(dynamic("(SONAME)"), ["libshmgate.so.0"]);
}

fn size() {
    let bytes = fs::metadata(library()).expect("library").len();
    assert!(bytes < 600_000, "{bytes} bytes");
}
