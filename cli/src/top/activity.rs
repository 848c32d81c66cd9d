//! What a session's calls come to as they are recorded: by segment and by process, in all and since the last look; and its denials.
//!
//! Memory is bounded by what the session has, not by how long it calls: no call is kept. Like the report it knows nothing of forks and exits: a
//! child's inherited attaches are not among a process's. Times are nanoseconds since the epoch.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use shmgate_core::call::{Call, Verdict};
use shmgate_core::journal::Timeline;
use shmgate_core::ledger::{self, Ledger};
use shmgate_core::policy::Policy;
use shmgate_core::sys;
use shmgate_core::text::Event;
use shmgate_core::text::reason::ReasonText;

use crate::failure::{FAILED, Failure};
use crate::members::identity;
use crate::report::{Counts, names_a_segment};
use crate::segments::{Place, Segment};
use crate::{log, sessions};

/// As many denials are kept, the last ones.
const MOST_DENIALS: usize = 1000;

/// A session that is followed.
#[derive(Debug)]
pub struct Activity {
    pub tally: Tally,
    pub policy: Option<Policy>,
    /// By what the file is known from another in its place.
    identity: Option<(u64, u64)>,
    journal: PathBuf,
    timeline: Timeline,
    ledger: Option<Ledger>,
    /// What can't be read of it beside the journal.
    faults: Vec<String>,
    /// When it was looked at last; 0 before that.
    looked: u64,
    /// The time to which the recent counts belong.
    pub span: Duration,
}

impl Activity {
    /// Opens the session in `dir`.
    ///
    /// # Errors
    /// A [`Failure`] if there is none, or if its journal can't be read.
    pub fn open(dir: &Path) -> Result<Activity, Failure> {
        let session = sessions::open(dir)?;
        let journal = dir.join("journal");
        let timeline = Timeline::new(log::open(&journal)?);
        let (policy, ledger) = (session.policy(), session.ledger());
        let faults = [policy.as_ref().err(), ledger.as_ref().err()].into_iter().flatten().map(ToString::to_string).collect();
        let policy = policy.ok().flatten();
        Ok(Activity {
            tally: Tally::default(),
            policy,
            identity: identity(&journal),
            journal,
            timeline,
            ledger: ledger.ok(),
            faults,
            looked: 0,
            span: Duration::ZERO,
        })
    }

    /// Takes in what has been recorded since the last look, at `now`. At the first one, what began in the `interval` before is recent.
    ///
    /// # Errors
    /// That the session is gone, or that another has come into its place.
    pub fn look(&mut self, now: u64, interval: Duration) -> Result<(), Failure> {
        if identity(&self.journal) != self.identity {
            return Err(Failure::new(FAILED, format!("{}: the session is gone, or another", self.journal.display())));
        }
        let is_first = self.looked == 0;
        let before = now.saturating_sub(interval.as_nanos() as u64);
        self.span = if is_first { interval } else { Duration::from_nanos(now.saturating_sub(self.looked)) };
        self.looked = now;
        self.tally.begin();
        for slot in self.timeline.poll() {
            if let Some(event) = self.timeline.event(slot, self.policy.as_ref()) {
                self.tally.add(&event, !is_first || event.time_ns >= before);
            }
        }
        Ok(())
    }

    /// A recent count as one a second, in tenths.
    pub fn a_second(&self, recent: u64) -> u64 {
        (u128::from(recent) * 10_000 / self.span.as_millis().max(1)) as u64
    }

    /// What the session has in use of its quotas, if its books can be read: of the segments that they have, those that are there.
    pub fn in_use(&self, there: &[Segment]) -> Option<ledger::Counters> {
        let ledger = self.ledger.as_ref()?;
        // Elsewhere others have the same ids.
        let its = there.iter().filter(|segment| self.tally.of(segment).is_some());
        let there: HashSet<(i32, u64)> = its.map(|segment| (segment.id, segment.size)).collect();
        let mut used = ledger::Counters { attaches: ledger.live_attaches(), ..ledger::Counters::default() };
        for segment in ledger.noted_segments().filter(|noted| there.contains(&(noted.shmid, noted.size))) {
            used.segments += 1;
            used.bytes = used.bytes.saturating_add(segment.size.checked_next_multiple_of(sys::page_size()).unwrap_or(u64::MAX));
        }
        Some(used)
    }

    /// Calls that could not be recorded.
    pub fn lost(&self) -> u64 {
        self.timeline.reader().header().lost.load(Relaxed)
    }

    /// What is wrong with the session's files.
    pub fn faults(&self) -> impl Iterator<Item = String> {
        let damaged = self.timeline.damaged().min().map(|offset| format!("the journal is damaged at offset {offset}"));
        self.faults.iter().cloned().chain(damaged)
    }
}

/// Counts in all, and those of the last look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Both {
    pub all: Counts,
    pub recent: Counts,
}

impl Both {
    fn add(&mut self, event: &Event<'_>, is_recent: bool) {
        self.all.add(event);
        if is_recent {
            self.recent.add(event);
        }
    }
}

/// A segment, as calls name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name {
    is_kernels: bool,
    id: i32,
}

/// What calls told of a segment.
#[derive(Debug, Default)]
pub struct OfSegment {
    pub counts: Both,
    key: Option<i32>,
    /// Its creator and its size, if the session may have created it.
    created: Option<(u32, u64)>,
    /// Those that calls made, and that are open.
    attaches: u64,
    is_removed: bool,
}

/// What a process did.
#[derive(Debug, Default)]
pub struct OfProcess {
    pub counts: Both,
    /// Its executable's path, if it is known.
    pub exe: Option<String>,
    pub uid: u32,
    /// Those that it made, and has.
    pub attaches: u64,
    /// When it called last.
    pub last: u64,
}

/// A call that the policy refused, or would have.
#[derive(Debug)]
pub struct Denied {
    pub time: u64,
    /// How many there were with it.
    pub number: u64,
    pub pid: u32,
    pub reason: String,
    /// As `shmgate log` writes it.
    pub line: String,
}

/// What a session's calls come to.
#[derive(Debug, Default)]
pub struct Tally {
    pub counts: Both,
    /// By their pids as they see them.
    pub processes: BTreeMap<u32, OfProcess>,
    pub denials: VecDeque<Denied>,
    segments: HashMap<Name, OfSegment>,
    by_key: HashMap<(bool, i32), Name>,
    /// What a process has attached at an address, and since when.
    open: HashMap<(u32, u64), (Name, u64)>,
}

impl Tally {
    /// What a session knows of a segment. Of several namespaces with the same id, what else calls told says which is meant.
    pub fn of(&self, segment: &Segment) -> Option<&OfSegment> {
        let is_kernels = *segment.place == Place::Kernel;
        let known = self.segments.get(&Name { is_kernels, id: segment.id })?;
        let is_it = match (known.created, known.key) {
            // The kernel shows a creator's pid as it is here, which may be another than in its own PID namespace.
            (Some((pid, size)), _) => size == segment.size && (is_kernels || pid == segment.cpid),
            (None, Some(key)) => segment.key == 0 || segment.key == key,
            (None, None) => true,
        };
        is_it.then_some(known)
    }

    /// Since when a process, by its own pid, has something attached at `address`.
    pub fn since(&self, pid: u32, address: u64) -> Option<u64> {
        self.open.get(&(pid, address)).map(|(_, time)| *time)
    }

    /// What a process has attached: addresses, ids, and since when.
    pub fn attaches(&self, pid: u32) -> Vec<(u64, i32, u64)> {
        let own = self.open.iter().filter(|((owner, _), _)| *owner == pid);
        let mut own: Vec<_> = own.map(|((_, address), (name, time))| (*address, name.id, *time)).collect();
        own.sort_unstable();
        own
    }

    /// Begins a look: nothing is recent yet.
    fn begin(&mut self) {
        let all = self.segments.values_mut().map(|it| &mut it.counts);
        let all = all.chain(self.processes.values_mut().map(|it| &mut it.counts)).chain([&mut self.counts]);
        all.for_each(|counts| counts.recent = Counts::default());
    }

    fn add(&mut self, event: &Event<'_>, is_recent: bool) {
        self.counts.add(event, is_recent);
        self.add_process(event, is_recent);
        // Ids and keys that calls fail with may be anybody's, or nobody's.
        if let Some(name) = self.segment_of(event)
            && (event.outcome.result.is_ok() || self.segments.contains_key(&name))
        {
            let known = self.segments.entry(name).or_default();
            known.counts.add(event, is_recent);
            if known.is_removed && known.attaches == 0 {
                self.segments.remove(&name);
            }
        }
        if let Verdict::Denied(denial) | Verdict::WouldDeny(denial) = event.outcome.verdict {
            if self.denials.len() == MOST_DENIALS {
                self.denials.pop_front();
            }
            let number = self.counts.all.denied + self.counts.all.would_deny;
            let reason = ReasonText { denial, rule: event.rule }.to_string();
            let (time, pid, line) = (event.time_ns, event.pid, event.to_string());
            self.denials.push_back(Denied { time, number, pid, reason, line });
        }
    }

    fn add_process(&mut self, event: &Event<'_>, is_recent: bool) {
        let process = self.processes.entry(event.pid).or_default();
        let exe = event.exe.map(|exe| String::from_utf8_lossy(exe).into_owned());
        if process.exe.is_some() && exe.is_some() && process.exe != exe {
            // By the exec it lost what it had.
            process.attaches = 0;
            let lost: Vec<Name> = self.open.extract_if(|(pid, _), _| *pid == event.pid).map(|(_, (name, _))| name).collect();
            lost.into_iter().for_each(|name| self.let_go(name));
        }
        let process = self.processes.entry(event.pid).or_default();
        process.exe = exe.or(process.exe.take());
        process.uid = event.uid;
        process.last = process.last.max(event.time_ns.saturating_add(event.duration_ns));
        process.counts.add(event, is_recent);
    }

    /// An attach of a segment has ended.
    fn let_go(&mut self, name: Name) {
        if let Some(known) = self.segments.get_mut(&name) {
            known.attaches = known.attaches.saturating_sub(1);
        }
    }

    /// The segment that a call is about, if that is known; and what the call changes of it.
    fn segment_of(&mut self, event: &Event<'_>) -> Option<Name> {
        let is_kernels = event.backend == "kernel";
        let named = |id: i32| Name { is_kernels, id };
        match (event.call, event.outcome.result) {
            (Call::Shmget { key, size, flags }, Ok(id)) => {
                let name = named(id as i32);
                let may_be_new = key == libc::IPC_PRIVATE || flags & libc::IPC_CREAT != 0;
                let is_new = key == libc::IPC_PRIVATE || may_be_new && flags & libc::IPC_EXCL != 0;
                let known = self.segments.entry(name).or_default();
                if is_new || known.is_removed {
                    // Its id was given out again.
                    *known = OfSegment { created: is_new.then_some((event.pid, size)), ..OfSegment::default() };
                }
                known.key = Some(key);
                if key != libc::IPC_PRIVATE {
                    self.by_key.insert((is_kernels, key), name);
                }
                Some(name)
            }
            (Call::Shmget { key, .. }, Err(_)) => self.by_key.get(&(is_kernels, key)).copied(),
            (Call::Shmat { shmid, .. }, Ok(address)) => {
                let before = self.open.insert((event.pid, address), (named(shmid), event.time_ns));
                if before.is_none() {
                    self.processes.entry(event.pid).or_default().attaches += 1;
                    self.segments.entry(named(shmid)).or_default().attaches += 1;
                }
                Some(named(shmid))
            }
            (Call::Shmat { shmid, .. }, Err(_)) => Some(named(shmid)),
            (Call::Shmdt { addr }, Ok(_)) => {
                let (name, _) = self.open.remove(&(event.pid, addr))?;
                let process = self.processes.entry(event.pid).or_default();
                process.attaches = process.attaches.saturating_sub(1);
                self.let_go(name);
                Some(name)
            }
            (Call::Shmctl { shmid, cmd, .. }, result) if names_a_segment(cmd) => {
                let name = named(shmid);
                if cmd == libc::IPC_RMID && result.is_ok() {
                    let known = self.segments.entry(name).or_default();
                    known.is_removed = true;
                    if let Some(key) = known.key.filter(|key| self.by_key.get(&(is_kernels, *key)) == Some(&name)) {
                        self.by_key.remove(&(is_kernels, key));
                    }
                }
                Some(name)
            }
            (Call::Shmdt { .. } | Call::Shmctl { .. } | Call::Ftok { .. }, _) => None,
        }
    }
}
