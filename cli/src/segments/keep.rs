//! Keep lists: what `gc` leaves alone. A line an id or a key; what stands behind # is a comment.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::options::GcOptions;
use super::target::Target;
use crate::failure::{Failure, words};

/// What is to be kept, by the options and by the lists.
///
/// # Errors
/// A [`Failure`] for a list that can't be read or understood: what stands in it must not be removed by mistake.
pub fn kept(options: &GcOptions) -> Result<Vec<Target>, Failure> {
    let mut kept = options.keep.clone();
    match &options.keep_file {
        Some(file) => kept.extend(read(file, true)?),
        None => {
            for file in usual() {
                kept.extend(read(&file, false)?);
            }
        }
    }
    Ok(kept)
}

fn usual() -> impl Iterator<Item = PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    [PathBuf::from("/etc")].into_iter().chain(config).map(|dir| dir.join("shmgate/keep"))
}

fn read(file: &Path, has_to_be: bool) -> Result<Vec<Target>, Failure> {
    let text = match fs::read_to_string(file) {
        Err(error) if !has_to_be && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => {
            return Err(Failure::usage(format!(
                "keep list {}: {}; name another with --keep-file",
                file.display(),
                words(&error)
            )));
        }
        Ok(text) => text,
    };
    parse(&text).map_err(|(line, what)| Failure::usage(format!("keep list {}, line {line}: {what}", file.display())))
}

fn parse(text: &str) -> Result<Vec<Target>, (usize, String)> {
    let mut kept = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        if !word.is_empty() {
            kept.push(Target::parse(word).map_err(|what| (at + 1, format!("\"{}\" is {what}", word.escape_debug())))?);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_line_each_and_comments() {
        let list = "# ours\n0x0000004d  # the server's\n\n 5\n";
        assert_eq!(parse(list), Ok(vec![Target::Key(77), Target::Id(5)]));
        assert_eq!(parse("5\n6 7\n").unwrap_err().0, 2);
        assert_eq!(parse(""), Ok(vec![]));
    }
}
