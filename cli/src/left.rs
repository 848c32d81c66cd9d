//! The segments that a session left behind, as `run` tells of them at its end, with `--callers` those that one line made as one.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use shmgate_core::backend::Served;
use shmgate_core::journal::format;
use shmgate_core::ledger;
use shmgate_core::names::Key;
use shmgate_core::session::Session;

use crate::environment::Segments;
use crate::failure::say;
use crate::report::some;
use crate::symbols::{Callers, makers};
use crate::system;

/// As many lines tell of segments, and as many ids are in a hint.
const MOST: usize = 20;

/// What was left behind, and where that is.
pub struct Left<'a> {
    segments: Vec<Segment>,
    option: &'a str,
}

struct Segment {
    shmid: i32,
    key: i32,
    size: u64,
    /// `None` if its mode forbids a look.
    nattch: Option<u64>,
    /// The stack that made it, if it was recorded.
    maker: Option<Rc<Callers>>,
}

impl<'a> Left<'a> {
    /// Those of the session that are still there.
    pub fn of(session: &Session, Segments { served, option }: &'a Segments) -> Left<'a> {
        let ledger = session.ledger().ok();
        let mut segments: Vec<Segment> =
            ledger.iter().flat_map(|ledger| ledger.segments(served)).filter_map(|one| look(&one, served)).collect();
        let reader = session.reader().ok().filter(|reader| reader.header().version() == Some(format::VERSION));
        if let Some(reader) = reader.filter(|_| !segments.is_empty()) {
            let mut makers = makers(reader);
            for segment in &mut segments {
                segment.maker = makers.remove(&segment.shmid).filter(|maker| !maker.frames.is_empty());
            }
        }
        Left { segments, option }
    }

    /// Says them, but for those of these ids and keys, which are told of as leaks.
    pub fn tell(&self, leaked: &HashSet<(i32, i32)>) {
        let mut groups: Vec<Vec<&Segment>> = Vec::new();
        let mut known: HashMap<&Rc<Callers>, usize> = HashMap::new();
        for segment in self.segments.iter().filter(|one| !leaked.contains(&(one.shmid, one.key))) {
            // Who holds one is asked of each.
            let maker = segment.maker.as_ref().filter(|_| segment.nattch == Some(0));
            match maker.map(|maker| *known.entry(maker).or_insert(groups.len())) {
                Some(at) if at < groups.len() => groups[at].push(segment),
                _ => groups.push(vec![segment]),
            }
        }
        for group in groups.iter().take(MOST) {
            say(self.line(group));
            if let Some(callers) = &group[0].maker {
                callers.to_string().lines().for_each(say);
            }
        }
        if let more @ 1.. = groups.iter().skip(MOST).map(Vec::len).sum::<usize>() {
            say(format!("left behind: {more} more segments"));
        }
    }

    fn line(&self, group: &[&Segment]) -> String {
        let hint = self.how(group);
        if let [one] = group {
            let attached = one.nattch.map_or("?".to_owned(), |nattch| nattch.to_string());
            let Segment { shmid, key, size, .. } = one;
            return format!("left behind: shmid {shmid}, key {}, {size} bytes, {attached} attached; {hint}", Key(*key));
        }
        let bytes = group.iter().map(|one| one.size).fold(0, u64::saturating_add);
        let ids = some("shmid", group.iter().map(|one| one.shmid));
        format!("left behind: {} segments, {bytes} bytes in all, 0 attached: {ids}; {hint}", group.len())
    }

    /// How to remove those of these ids and keys; `None` if they are not all here.
    pub fn hint(&self, wanted: &[(i32, i32)]) -> Option<String> {
        let wanted: HashSet<_> = wanted.iter().copied().collect();
        let these: Vec<&Segment> = self.segments.iter().filter(|one| wanted.contains(&(one.shmid, one.key))).collect();
        (!these.is_empty() && these.len() == wanted.len()).then(|| self.how(&these))
    }

    fn how(&self, segments: &[&Segment]) -> String {
        let option = self.option;
        match segments {
            [Segment { shmid, nattch: Some(1..), .. }] => format!("see who holds it with: shmgate show {option} {shmid}"),
            [Segment { shmid, .. }] => format!("remove it with: shmgate rm {option} {shmid}"),
            _ if segments.len() > MOST => format!("remove them, and all other orphans, with: shmgate rm {option} --orphans"),
            _ => {
                let ids: Vec<String> = segments.iter().map(|one| one.shmid.to_string()).collect();
                format!("remove them with: shmgate rm {option} {}", ids.join(" "))
            }
        }
    }
}

fn look(noted: &ledger::Segment, served: &Served) -> Option<Segment> {
    let seen = system::segment(served, noted.shmid);
    // It goes with its last attach.
    if seen.is_some_and(|seen| seen.is_removed) {
        return None;
    }
    let nattch = seen.map(|seen| seen.nattch);
    Some(Segment { shmid: noted.shmid, key: noted.key, size: noted.size, nattch, maker: None })
}
