//! `shmgate namespace`: the namespaces of the userspace backend, listed, made, removed and checked.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shmgate_core::backend::userspace::check::{self, Hold, Limits, Usage};
use shmgate_core::backend::userspace::place::{SHARED, directory, open_to_all, root, shared_directory};

use crate::args::CreateOptions;
use crate::environment::variable;
use crate::failure::{FAILED, Failure, quoted, say, words, written};
use crate::isolation;
use crate::segments::holders::search_all;
use crate::segments::json::string;
use crate::segments::options::Where;
use crate::segments::survey::Survey;
use crate::segments::table::printable;

/// The directory that a name on the command line means.
pub fn named(name: &OsStr) -> Result<PathBuf, Failure> {
    directory(text_of(name)?).map_err(Failure::usage)
}

fn text_of(name: &OsStr) -> Result<&str, Failure> {
    name.to_str().ok_or_else(|| Failure::usage(format!("namespace {}: not UTF-8", name.display())))
}

/// That there is no namespace in a directory.
pub fn none(dir: &Path) -> Failure {
    let what = match strangers(dir) {
        _ if dir.is_symlink() => "is a symbolic link; name the directory itself".to_owned(),
        _ if is_closed(dir) => "Permission denied; do it as the user whose it is".to_owned(),
        Some(theirs) => format!("there is none; {theirs}"),
        None => "there is none; see those that are there with: shmgate namespace list".to_owned(),
    };
    Failure::new(FAILED, format!("namespace {}: {what}", dir.display()))
}

/// True if the caller may not look into a directory.
fn is_closed(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join("registry")).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// What to say of another user's shared namespace, if it has the name of this private one, which leads to it for nobody else.
pub fn strangers(private: &Path) -> Option<String> {
    let name = private.file_name().filter(|_| isolation::base().is_ok_and(|base| private.parent() == Some(&base)))?;
    let shared = shared_directory(name.to_str()?).ok().filter(|dir| check::exists(dir))?;
    let owner = fs::symlink_metadata(&shared).ok()?.uid();
    Some(format!("name the shared one of user {owner} by its directory: {}", shared.display()))
}

/// A namespace of the user's, or a shared one.
#[derive(Debug)]
pub struct Named {
    /// What leads to it: a name, or else its directory.
    pub name: String,
    pub dir: PathBuf,
    pub is_shared: bool,
}

/// All namespaces that have names, and the one that the environment names, in their order. What can't be looked into is told to `fault`.
pub fn all(mut fault: impl FnMut(String)) -> Result<Vec<Named>, Failure> {
    let mut all = Vec::new();
    for (place, prefix) in [(isolation::base()?.as_path(), ""), (root(), SHARED)] {
        let entries = match fs::read_dir(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                fault(format!("{}: {}", place.display(), words(&error)));
                continue;
            }
            Ok(entries) => entries,
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            // Whatever has no name of a namespace is none.
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else { continue };
            let dir = entry.path();
            if let Ok(meant) = directory(name)
                && check::exists(&dir)
            {
                let name = if meant == dir { name.to_owned() } else { dir.display().to_string() };
                all.push(Named { name, dir, is_shared: !prefix.is_empty() });
            }
        }
    }
    if let Some(one) = of_environment(&mut fault)
        && all.iter().all(|known| known.dir != one.dir)
    {
        all.push(one);
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// The namespace that the environment names, if it is a directory of its own: those with names are found anyway. A name that means nothing, and a
/// directory that can't be looked into, are told to `fault`.
fn of_environment(fault: impl FnOnce(String)) -> Option<Named> {
    let name = variable("SHMGATE_NAMESPACE")?;
    let dir = match named(&name) {
        Ok(dir) if Path::new(&name).is_absolute() => dir,
        Ok(_) => return None,
        Err(failure) => {
            fault(format!("SHMGATE_NAMESPACE: {}", failure.message));
            return None;
        }
    };
    if !check::exists(&dir) {
        if is_closed(&dir) {
            fault(none(&dir).message);
        }
        return None;
    }
    let name = name.into_string().ok()?;
    Some(Named { is_shared: open_to_all(&dir).is_some(), name, dir })
}

/// A line of the list: a namespace, and what is in it; `None` if it can't be read.
type Row = (Named, Option<Usage>);

/// `shmgate namespace list`.
pub fn list(json: bool) -> Result<u8, Failure> {
    isolation::sweep();
    let mut status = 0;
    let mut fault = |what| {
        say(what);
        status = FAILED;
    };
    let mut rows: Vec<Row> = Vec::new();
    for one in all(&mut fault)? {
        match check::usage(&one.dir) {
            Ok(usage) => rows.push((one, Some(usage))),
            // It was removed meanwhile.
            Err(_) if !check::exists(&one.dir) => {}
            Err(error) => {
                fault(error);
                rows.push((one, None));
            }
        }
    }
    let text = if json { as_json(&rows) } else { as_table(&rows) };
    written(io::stdout().write_all(text.as_bytes()))?;
    Ok(status)
}

/// Columns as lsipc has them: names to the left, numbers to the right.
fn as_table(rows: &[Row]) -> String {
    let mut lines = vec![["NAME", "SEGMENTS", "BYTES", "PROCESSES", "SHARED"].map(str::to_owned)];
    lines.extend(rows.iter().map(|(one, usage)| {
        let number = |of: fn(&Usage) -> u64| usage.as_ref().map_or("?".to_owned(), |usage| of(usage).to_string());
        let is_shared = if one.is_shared { "yes" } else { "no" };
        [
            printable(&one.name),
            number(|usage| usage.segments),
            number(|usage| usage.bytes),
            number(|usage| usage.processes),
            is_shared.to_owned(),
        ]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for [name, segments, bytes, processes, is_shared] in &lines {
        let [name_width, segments_width, bytes_width, processes_width] = widths;
        // A String takes everything.
        let _ = writeln!(
            text,
            "{name:name_width$} {segments:>segments_width$} {bytes:>bytes_width$} {processes:>processes_width$} {is_shared}"
        );
    }
    text
}

fn as_json(rows: &[Row]) -> String {
    let objects: Vec<String> = rows
        .iter()
        .map(|(Named { name, dir, is_shared }, usage)| {
            let number = |of: fn(&Usage) -> u64| usage.as_ref().map_or("null".to_owned(), |usage| of(usage).to_string());
            let (segments, bytes) = (number(|usage| usage.segments), number(|usage| usage.bytes));
            let processes = number(|usage| usage.processes);
            format!(
                "\n  {{\"name\":{},\"directory\":{},\"shared\":{is_shared},\"segments\":{segments},\"bytes\":{bytes},\"processes\":{processes}}}",
                string(name),
                string(&dir.to_string_lossy())
            )
        })
        .collect();
    let end = if objects.is_empty() { "" } else { "\n" };
    format!("{{\"schema\":1,\"namespaces\":[{}{end}]}}\n", objects.join(","))
}

/// `shmgate namespace create`.
pub fn create(options: &CreateOptions) -> Result<u8, Failure> {
    let CreateOptions { shmmax, shmmni, shmall, shared, .. } = *options;
    let dir = if shared { shareable(&options.name)? } else { named(&options.name)? };
    if check::exists(&dir) {
        let hint = format!("use another name, or remove it with: shmgate namespace remove {}", quoted(&dir));
        return Err(Failure::new(FAILED, format!("namespace {}: is there already; {hint}", dir.display())));
    }
    check::create(&dir, &Limits { shmmax, shmmni, shmall }, shared).map_err(|error| Failure::new(FAILED, error))?;
    Ok(0)
}

/// The directory of a shared namespace that is to be made.
fn shareable(name: &OsStr) -> Result<PathBuf, Failure> {
    let dir = shared_directory(text_of(name)?).map_err(Failure::usage)?;
    let private = isolation::base()?.join(name);
    if private != dir && check::exists(&private) {
        let hint = format!("use another name, or remove it with: shmgate namespace remove {}", quoted(&private));
        return Err(Failure::new(FAILED, format!("namespace {}: you have a private one of this name; {hint}", name.display())));
    }
    Ok(dir)
}

/// `shmgate namespace remove`.
pub fn remove(name: &OsStr, force: bool) -> Result<u8, Failure> {
    let dir = named(name)?;
    if !check::exists(&dir) {
        return Err(none(&dir));
    }
    if !force {
        let holds = check::holds(&dir)
            .map_err(|error| Failure::new(FAILED, format!("{error}; or add --force to remove it as it is")))?;
        if !holds.is_empty() {
            let who = holders(&holds, &pids_here(name)?);
            let hint = "end them, or add --force";
            return Err(Failure::new(FAILED, format!("namespace {}: {who}; {hint}", dir.display())));
        }
    }
    check::remove(&dir).map_err(|error| Failure::new(FAILED, error))?;
    Ok(0)
}

/// The pids of a namespace's holders as they are seen here. They may be in another PID namespace, or /proc may not show them.
fn pids_here(name: &OsStr) -> Result<BTreeSet<u32>, Failure> {
    let found = Survey::look(&Where { namespaces: vec![name.to_owned()], ..Where::default() })?;
    let searches = search_all(&found.segments.iter().collect::<Vec<_>>());
    Ok(searches.iter().flat_map(|search| &search.holders).map(|holder| holder.pid).collect())
}

/// Who holds what, in short: with their pids as they are seen here, if they are, else as they see themselves.
fn holders(holds: &[Hold], here: &BTreeSet<u32>) -> String {
    const NAMED: usize = 5;
    let own: BTreeSet<u32> = holds.iter().map(|hold| hold.pid).collect();
    let (pids, as_seen) = if here.is_empty() { (&own, " (not to be seen here)") } else { (here, "") };
    let segments = holds.iter().map(|hold| hold.shmid).collect::<BTreeSet<_>>().len();
    let named: Vec<String> = pids.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if pids.len() > NAMED { ", …" } else { "" };
    let (process, hold) = if pids.len() == 1 { ("process", "holds") } else { ("processes", "hold") };
    let segments = if segments == 1 { "1 segment".to_owned() } else { format!("{segments} segments") };
    format!("live {process} {}{more}{as_seen} {hold} {segments}", named.join(", "))
}

/// `shmgate namespace check`.
pub fn check(name: &OsStr, repair: bool) -> Result<u8, Failure> {
    let dir = named(name)?;
    if !check::exists(&dir) {
        return Err(none(&dir));
    }
    let failed = |error: String| Failure::new(FAILED, error);
    let mut faults = check::check(&dir).map_err(failed)?;
    let mut text = String::new();
    let mut line = |what: &str| {
        // A String takes everything.
        let _ = writeln!(text, "{}: {what}", name.display());
    };
    // What is no fault is given back too: removed segments that nobody holds.
    if repair && (faults.is_empty() || faults.iter().any(|fault| fault.can_be_mended)) {
        check::repair(&dir).map_err(failed)?;
        let left = check::check(&dir).map_err(failed)?;
        faults.iter().filter(|fault| !left.contains(fault)).for_each(|fault| line(&format!("mended: {}", fault.text)));
        faults = left;
    }
    faults.iter().for_each(|fault| line(&fault.text));
    if faults.is_empty() {
        line("ok");
    }
    written(io::stdout().write_all(text.as_bytes()))?;
    if faults.is_empty() {
        return Ok(0);
    }
    let count = if faults.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", faults.len()) };
    let what_to_do = if !repair && faults.iter().any(|fault| fault.can_be_mended) {
        format!("mend what can be mended with: shmgate namespace check --repair {}", quoted(name))
    } else {
        format!("when nobody needs it, remove it with: shmgate namespace remove --force {}", quoted(name))
    };
    Err(Failure::new(FAILED, format!("namespace {}: {count}; {what_to_do}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let row = |name: &str, usage| (Named { name: name.into(), dir: "/d".into(), is_shared: name == "b" }, usage);
        let usage = Usage { segments: 2, bytes: 1 << 40, processes: 10 };
        let text = as_table(&[row("a-long-name", Some(usage)), row("b", None)]);
        assert_eq!(
            text,
            "NAME        SEGMENTS         BYTES PROCESSES SHARED\n\
             a-long-name        2 1099511627776        10 no\n\
             b                  ?             ?         ? yes\n"
        );
    }

    #[test]
    fn holders_are_named_once() {
        let hold = |pid, shmid| Hold { pid, shmid };
        let seen = |pids: &[u32]| pids.iter().copied().collect();
        assert_eq!(holders(&[hold(7, 1), hold(7, 2)], &seen(&[7])), "live process 7 holds 2 segments");
        assert_eq!(holders(&[hold(1, 1), hold(2, 1)], &seen(&[7, 9])), "live processes 7, 9 hold 1 segment");
        assert_eq!(holders(&[hold(1, 1)], &seen(&[])), "live process 1 (not to be seen here) holds 1 segment");
    }
}
