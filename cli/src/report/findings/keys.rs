//! Keys: taken without IPC_EXCL, found with another size, and what ftok makes of files.

use rustc_hash::FxHashMap as HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use shmgate_core::call::Call;
use shmgate_core::errno::Errno;
use shmgate_core::names::Key;

use super::{About, Findings, Kind, named, program, who};
use crate::report::fold::{Effect, Fold, Step};
use crate::report::model::{Index, Moment};
use crate::report::words::{path, printable};

/// What ftok has made so far.
#[derive(Debug, Default)]
pub struct Keys {
    /// A key of a path and the project's lower 8 bits. A relative path is a process's own.
    made: HashMap<(Vec<u8>, u8, Option<Index>), i32>,
    /// What each key came from first, and who asked.
    origins: HashMap<i32, (Vec<u8>, i32, Moment)>,
    /// Keys that came from something else too: told at the end, as files have to be looked at.
    twice: Vec<Twice>,
}

#[derive(Debug)]
struct Twice {
    key: i32,
    paths: [Vec<u8>; 2],
    projs: [i32; 2],
    at: [Moment; 2],
}

impl Keys {
    pub fn see(&mut self, fold: &Fold, step: &Step<'_>, findings: &mut Findings) {
        match step.event.call {
            Call::Shmget { key, size, flags } if key != libc::IPC_PRIVATE => {
                self.squatting(fold, step, (key, flags), findings);
                size_mismatch(fold, step, (key, size), findings);
            }
            Call::Ftok { path, proj } => {
                if let Ok(key) = step.event.outcome.result {
                    self.ftok(path, proj, key as i32, step, findings);
                }
            }
            _ => {}
        }
    }

    fn squatting(&self, fold: &Fold, step: &Step<'_>, (key, flags): (i32, i32), findings: &mut Findings) {
        let (Effect::Created(segment) | Effect::Found(segment)) = step.effect else { return };
        if flags & libc::IPC_CREAT == 0 || flags & libc::IPC_EXCL != 0 {
            return;
        }
        let model = &fold.model;
        let about = About::segment(model, segment, step.at.process);
        let subject = (u64::from(step.program), key as u32 as u64);
        findings.note(Kind::Squatting, subject, about, step.at, || {
            let from = self.origins.get(&key).map_or(String::new(), |(file, ..)| format!(" (ftok of {})", path(file)));
            format!(
                "{} takes key {}{from} with IPC_CREAT but not IPC_EXCL: new, or whoever's is there",
                program(model, step.program),
                Key(key)
            )
        });
    }

    fn ftok(&mut self, file: &[u8], proj: i32, key: i32, step: &Step<'_>, findings: &mut Findings) {
        let owner = (!file.starts_with(b"/")).then_some(step.at.process);
        match self.made.insert((file.to_vec(), proj as u8, owner), key) {
            Some(before) if before != key => {
                let about = About { key: Some(key), ..About::process(step.at.process) };
                // The first key's record is evidence too.
                let first = self.origins.get(&before).filter(|(path, ..)| path == file).map(|(.., at)| *at);
                let subject = (key as u32 as u64, before as u32 as u64);
                let text =
                    format!("{} is another file than before: ftok gives {}, and gave {}", path(file), Key(key), Key(before));
                findings.note_pair(Kind::FtokRecreated, subject, about, (first, step.at), || text);
            }
            _ => {}
        }
        let (first, number, at) = self.origins.entry(key).or_insert_with(|| (file.to_vec(), proj, step.at));
        if first != file || *number != proj {
            let is_known = |twice: &Twice| twice.key == key && twice.paths[1] == file && twice.projs[1] == proj;
            if !self.twice.iter().rev().take(100).any(is_known) {
                let (paths, projs) = ([first.clone(), file.to_vec()], [*number, proj]);
                self.twice.push(Twice { key, paths, projs, at: [*at, step.at] });
            }
        }
    }

    /// Says which of the keys that came twice came from different things.
    pub fn finish(&mut self, findings: &mut Findings) {
        for Twice { key, paths, projs, at } in self.twice.drain(..) {
            if projs[0] == projs[1] && is_same(&paths) {
                continue;
            }
            let subject = (key as u32 as u64, 0);
            let about = About { key: Some(key), ..About::process(at[1].process) };
            findings.note_pair(Kind::FtokCollision, subject, about, (Some(at[0]), at[1]), || {
                let [one, other] = [0, 1].map(|at| format!("{} with project {}", path(&paths[at]), projs[at]));
                format!("ftok gives key {} for {one} and for {other}", Key(key))
            });
        }
    }
}

/// True if two paths name one file, or may do so.
fn is_same(paths: &[Vec<u8>; 2]) -> bool {
    let [one, other] = paths.each_ref().map(|path| Path::new(std::ffi::OsStr::from_bytes(path)));
    if one.is_absolute() && other.is_absolute() {
        let file = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        // `components` does without double slashes and dots.
        return one.components().eq(other.components()) || file(one).is_some_and(|one| file(other) == Some(one));
    }
    // Relative to a directory that is not known: the same name may well be the same file.
    one.file_name() == other.file_name()
}

fn size_mismatch(fold: &Fold, step: &Step<'_>, (key, size): (i32, u64), findings: &mut Findings) {
    let segment = match step.effect {
        Effect::Found(segment) => segment,
        Effect::Failed(Some(segment)) if step.event.outcome.result == Err(Errno::EINVAL) => segment,
        _ => return,
    };
    let model = &fold.model;
    let it = &model.segments[segment as usize];
    let Some(has) = it.size.filter(|&has| size != 0 && has != size && it.key == Some(key)) else { return };
    let subject = (u64::from(segment), u64::from(step.program));
    findings.note(Kind::SizeMismatch, subject, About::made(model, segment, step.at.process), step.at, || {
        let what = if size > has { "which fails (EINVAL)" } else { "and gets the larger one" };
        let creator = who(model, it.met.process);
        printable(
            format!(
                "{} asks for {size} bytes of {}, {what}; {creator} created it with {has}",
                who(model, step.at.process),
                named(it)
            )
            .as_bytes(),
        )
    });
}
