//! What the library is: its size, whether it is stripped, and the libraries it needs.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Fault;
use crate::setup::output;

pub struct Library {
    pub bytes: u64,
    pub stripped: bool,
    pub needed: Vec<String>,
}

/// Asks the file, and readelf about it.
pub fn look(path: &Path) -> Result<Library, Fault> {
    let bytes = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    let mut readelf = Command::new("readelf");
    readelf.args(["--wide", "--dynamic", "--sections"]).arg(path).env("LC_ALL", "C");
    let text = output(readelf)?;
    let needed = text.lines().filter(|line| line.contains("(NEEDED)"));
    let needed = needed.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned()));
    Ok(Library { bytes, stripped: !text.contains(" .symtab "), needed: needed.collect() })
}
