//! Finding the segments: the kernel's, and those of all userspace namespaces of the user, or of those that were asked for.
//!
//! Looking changes nothing. A namespace that can't be read is said, and costs the others nothing.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use shmgate_core::backend::userspace::check;
use shmgate_core::backend::userspace::survey::{self, survey};

use super::options::Where;
use super::processes::{Processes, Who};
use super::users::Users;
use super::{Place, Segment, kernel};
use crate::failure::{FAILED, Failure, say};
use crate::namespace;

/// What was found.
#[derive(Debug)]
pub struct Survey {
    pub segments: Vec<Segment>,
    /// When, in seconds since the epoch.
    pub now: u64,
    pub processes: Processes,
    pub users: Users,
    /// What can't be read, and why.
    pub faults: Vec<String>,
}

impl Survey {
    /// Looks where `at` says, and says what can't be read.
    ///
    /// # Errors
    /// As for [`Survey::look`].
    pub fn of(at: &Where) -> Result<Survey, Failure> {
        Survey::look(at).inspect(|found| found.faults.iter().for_each(say))
    }

    /// Looks where `at` says.
    ///
    /// # Errors
    /// A [`Failure`] for a namespace that is none, if no other was asked for, and where the kernel was asked for and has no segments to offer.
    pub fn look(at: &Where) -> Result<Survey, Failure> {
        let processes = Processes::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut found = Survey { segments: Vec::new(), now, processes, users: Users::default(), faults: Vec::new() };
        let asks_all = !at.kernel && at.namespaces.is_empty();
        if at.kernel || asks_all {
            match kernel::segments(&found.processes) {
                Ok(segments) => found.segments.extend(segments),
                // All that there is may well be none.
                Err(_) if asks_all => {}
                Err(errno) => {
                    let hint = "leave out --kernel for the userspace backend's segments";
                    let what = format!("the kernel's System V shared memory: {}; {hint}", errno.text());
                    return Err(Failure::new(FAILED, what));
                }
            }
        }
        if asks_all {
            for one in namespace::all(|fault| found.faults.push(fault))? {
                found.look_into(Place::Userspace { name: one.name, dir: one.dir });
            }
        }
        for name in &at.namespaces {
            let dir = namespace::named(name)?;
            if !check::exists(&dir) {
                let none = namespace::none(&dir);
                if at.namespaces.len() == 1 {
                    return Err(none);
                }
                found.faults.push(none.message);
                continue;
            }
            found.look_into(Place::Userspace { name: name.to_string_lossy().into_owned(), dir });
        }
        Ok(found)
    }

    /// Adds the segments of a userspace namespace, unless it has been looked into.
    fn look_into(&mut self, place: Place) {
        let Place::Userspace { dir, .. } = &place else { return };
        let is_known = |known: &Segment| matches!(&*known.place, Place::Userspace { dir: known, .. } if known == dir);
        if self.segments.iter().any(is_known) {
            return;
        }
        let segments = match survey(dir) {
            Ok(survey) => survey.segments,
            Err(error) => {
                // One that was removed meanwhile is no fault.
                if check::exists(dir) {
                    self.faults.push(error);
                }
                return;
            }
        };
        let place = Rc::new(place);
        self.segments.extend(segments.into_iter().map(|segment| from_registry(segment, &place, &self.processes)));
    }

    /// The exit status, if all else goes well.
    pub fn status(&self) -> u8 {
        if self.faults.is_empty() { 0 } else { FAILED }
    }
}

fn from_registry(segment: survey::Segment, place: &Rc<Place>, processes: &Processes) -> Segment {
    // Pids are as their processes saw themselves. Of the last user's PID namespace nothing is known: it is taken for the creator's.
    let (creator, last) = match segment.creator_began {
        Some(start) => {
            let creator = processes.who_began(segment.cpid, start);
            let last = || processes.who(segment.lpid, segment.atime.max(segment.dtime));
            (creator.clone(), if segment.lpid == segment.cpid { creator } else { last() })
        }
        None => (Who::Unknown, Who::Unknown),
    };
    Segment {
        place: place.clone(),
        id: segment.shmid,
        key: segment.key,
        mode: segment.mode,
        uid: segment.uid,
        gid: segment.gid,
        cuid: segment.cuid,
        cgid: segment.cgid,
        size: segment.size,
        file: segment.file,
        rss: Some(segment.resident),
        // tmpfs counts what is swapped out as resident.
        swap: None,
        nattch: segment.nattch,
        cpid: segment.cpid,
        lpid: segment.lpid,
        atime: segment.atime,
        dtime: segment.dtime,
        ctime: segment.ctime,
        creator,
        last,
    }
}
