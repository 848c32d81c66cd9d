//! `shmgate rm` and `shmgate gc`: what is to go is printed, consented to, looked at again, and removed.
//!
//! Between the last look and the removal somebody may still attach the segment, which then goes with that attach, as with ipcrm. An id does not come again as fast as that:
//! both backends count through their sequence numbers first.

use std::collections::HashMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::rc::Rc;

use shmgate_core::backend::{Choice, Served};
use shmgate_core::errno::Errno;

use super::columns;
use super::keep;
use super::ls::write_table;
use super::options::{Consent, GcOptions, Output, RmOptions, Where};
use super::survey::Survey;
use super::table::size;
use super::{Place, Segment};
use crate::environment::KERNEL;
use crate::failure::{FAILED, Failure, say, written};
use crate::progress::over;
use crate::system;

/// Removes what was named, or what the filters let through.
pub fn rm(options: &RmOptions) -> Result<u8, Failure> {
    let survey = Survey::of(&options.at)?;
    let mut status = survey.status();
    let named = !options.targets.is_empty();
    let mut candidates: Vec<&Segment> = Vec::new();
    for target in &options.targets {
        match target.find(&survey) {
            Ok(segment) if candidates.iter().any(|known| std::ptr::eq(*known, segment)) => {}
            Ok(segment) => candidates.push(segment),
            // The others of the line are still to be seen to.
            Err(failure) if failure.status == FAILED => {
                say(failure.message);
                status = FAILED;
            }
            Err(failure) => return Err(failure),
        }
    }
    if !named {
        candidates.extend(&survey.segments);
    }
    candidates.retain(|segment| options.filters.take(segment, survey.now));
    let mut chosen = Vec::new();
    for segment in candidates {
        let (id, see) = (segment.id, format!("shmgate show {} {}", segment.place.option(), segment.id));
        let stays = match segment.nattch {
            _ if segment.is_removed() => {
                Some(format!("id {id}: is removed already, and goes with its last attach; see: {see}"))
            }
            1.. if !options.force => Some(format!("id {id}: {} attached; see who with {see}, or add --force", segment.nattch)),
            _ => None,
        };
        match stays {
            None => chosen.push(segment),
            Some(why) => {
                say(why);
                // A filter that takes what is in use is no order to remove it.
                status = if named { FAILED } else { status };
            }
        }
    }
    let removed = remove(&chosen, &survey, options.consent, options.force)?;
    Ok(status.max(removed))
}

/// Removes orphans.
pub fn gc(options: &GcOptions) -> Result<u8, Failure> {
    let kept = keep::kept(options)?;
    let survey = Survey::of(&options.at)?;
    let ids = system::ids();
    let is_old = |segment: &&Segment| segment.age(survey.now).min(segment.idle(survey.now)) >= options.older_than;
    let is_asked_for = |segment: &&Segment| options.owner.is_none_or(|uid| segment.uid == uid);
    let is_kept = |segment: &&Segment| kept.iter().any(|target| target.means(segment));
    let orphans = survey.segments.iter().filter(|segment| segment.is_orphan() && !segment.is_removed());
    let (ours, others): (Vec<&Segment>, Vec<&Segment>) = orphans
        .filter(is_old)
        .filter(is_asked_for)
        .filter(|segment| !is_kept(segment))
        .partition(|segment| [0, segment.uid, segment.cuid].contains(&ids.euid));
    if !others.is_empty() {
        say(format!("{} of other users left alone; remove them as root", segments(others.len())));
    }
    let removed = remove(&ours, &survey, options.consent, false)?;
    Ok(survey.status().max(removed))
}

fn segments(count: usize) -> String {
    if count == 1 { "1 segment".to_owned() } else { format!("{count} segments") }
}

/// Prints, asks, and removes; returns the exit status.
fn remove(chosen: &[&Segment], survey: &Survey, consent: Consent, force: bool) -> Result<u8, Failure> {
    if chosen.is_empty() {
        written(writeln!(io::stdout(), "nothing to remove"))?;
        return Ok(0);
    }
    written(list(chosen, survey))?;
    let bytes = chosen.iter().map(|segment| segment.size).fold(0, u64::saturating_add);
    let what = format!("{}, {}", segments(chosen.len()), size(bytes));
    if consent.dry_run {
        written(writeln!(io::stdout(), "would remove {what}"))?;
        return Ok(0);
    }
    if !consent.yes && !agreed(&what)? {
        return Err(Failure::new(FAILED, "nothing removed"));
    }
    let mut remover = Remover { force, served: HashMap::new() };
    let failed = |segment: &&Segment| Some((segment.id, remover.remove(segment).err()?));
    let failures: Vec<(i32, String)> = over("removing", chosen).filter_map(failed).collect();
    for (id, why) in &failures {
        say(format!("id {id}: {why}"));
    }
    written(writeln!(io::stdout(), "removed {}", segments(chosen.len() - failures.len())))?;
    Ok(if failures.is_empty() { 0 } else { FAILED })
}

fn list(chosen: &[&Segment], survey: &Survey) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write_table(&mut out, chosen, survey, &columns::usual(), &Output::default())?;
    out.flush()
}

/// Asks whoever sits at the terminal.
fn agreed(what: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nobody to ask, as standard input is no terminal: add --yes to remove them, --dry-run to look",
        ));
    }
    let _ = write!(io::stderr(), "Remove {what}? [y/N] ");
    let mut answer = String::new();
    // Ctrl-D leaves the cursor where it is.
    if !matches!(io::stdin().lock().read_line(&mut answer), Ok(1..)) {
        let _ = writeln!(io::stderr());
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Removes segments, wherever they are.
struct Remover {
    force: bool,
    /// Of each userspace namespace.
    served: HashMap<PathBuf, Rc<Served>>,
}

impl Remover {
    /// Removes a segment, if it is still what it was.
    ///
    /// # Errors
    /// Why not, in words.
    fn remove(&mut self, segment: &Segment) -> Result<(), String> {
        let served = self.served(&segment.place)?;
        let (before, now) = (State::of(segment), look(&served, segment)?);
        if (now.key, now.cpid, now.ctime) != (before.key, before.cpid, before.ctime) {
            return Err("is another segment by now, or was changed; look again with: shmgate ls".into());
        }
        if !self.force && now != before {
            return Err("somebody has begun to use it; look again with: shmgate ls".into());
        }
        system::remove(&served, segment.id).map_err(words)
    }

    fn served(&mut self, place: &Place) -> Result<Rc<Served>, String> {
        let Place::Userspace { dir, .. } = place else { return Ok(Rc::new(Served::by(KERNEL))) };
        if let Some(served) = self.served.get(dir) {
            return Ok(served.clone());
        }
        let served = Rc::new(Served::chosen(KERNEL, Choice::Userspace, Some(dir.as_os_str()))?);
        self.served.insert(dir.clone(), served.clone());
        Ok(served)
    }
}

/// What tells a segment from another of the same id, and whether it was used meanwhile. Not its last detach: a look at a userspace segment may
/// be what notes that of a process that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    key: i32,
    cpid: u32,
    ctime: u64,
    atime: u64,
    nattch: u64,
}

impl State {
    fn of(segment: &Segment) -> State {
        let Segment { key, cpid, ctime, atime, nattch, .. } = *segment;
        State { key, cpid, ctime, atime, nattch }
    }
}

/// What a segment is now.
///
/// # Errors
/// That it is gone, or what else keeps from looking, in words.
fn look(served: &Served, segment: &Segment) -> Result<State, String> {
    match system::stat(served, segment.id) {
        Ok(now) => Ok(State {
            key: now.shm_perm.__key,
            cpid: now.shm_cpid as u32,
            ctime: now.shm_ctime as u64,
            atime: now.shm_atime as u64,
            nattch: now.shm_nattch,
        }),
        // Its mode may forbid its owner to read it, but not to remove it.
        Err(Errno::EACCES) => {
            let at = match &*segment.place {
                Place::Kernel => Where { kernel: true, namespaces: Vec::new() },
                Place::Userspace { dir, .. } => Where { kernel: false, namespaces: vec![dir.clone().into()] },
            };
            let survey = Survey::of(&at).map_err(|failure| failure.message)?;
            let now = survey.segments.iter().find(|one| one.id == segment.id);
            now.map(State::of).ok_or_else(|| words(Errno::EINVAL))
        }
        Err(errno) => Err(words(errno)),
    }
}

/// Why a segment can't be looked at or removed.
fn words(errno: Errno) -> String {
    match errno {
        Errno::EPERM => format!("{}; do it as its owner or root", errno.text()),
        Errno::EINVAL | Errno::EIDRM => "is gone already".into(),
        other => other.text().to_owned(),
    }
}
