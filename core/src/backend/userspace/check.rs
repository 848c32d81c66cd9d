//! A namespace seen from outside, for the command: what is in it, what is wrong with it, mending and removing it.
//!
//! Looking changes nothing and takes no lock. What is looked at may change meanwhile: a fault is one only if it stays.

use core::sync::atomic::Ordering::SeqCst;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File as StdFile, FileType, Permissions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::books::{Writer, bucket_of};
use super::files::REMOVED;
use super::holders::Use;
use super::huge;
use super::layout::{
    BLOCKS, Block, HOLDER_SEQUENCES, Holder, Layout, MAGIC, PROCESSES, SEGMENTS, Segment, State, VERSION, Word, id, split,
};
use super::life::{Asker, Life, life_byte};
use super::registry::Registry;
use super::survey::{Survey, survey};
use crate::sys::{self, File};

/// How often, and after how long, a namespace is looked at again that has a fault: somebody may be in the middle of something.
const LOOKS: u32 = 8;
const BETWEEN_LOOKS: Duration = Duration::from_millis(3);
/// How many milliseconds a repair waits for the lock.
const WAIT_FOR_LOCK: u32 = 5000;

/// The limits that a namespace is made with; `None` for the kernel's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes that a segment may have.
    pub shmmax: Option<u64>,
    /// Segments, at most [`SEGMENTS`].
    pub shmmni: Option<u64>,
    /// Pages of all segments.
    pub shmall: Option<u64>,
}

/// What is in a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Segments that are there, removed ones that are attached among them.
    pub segments: u64,
    /// Their sizes, as asked for.
    pub bytes: u64,
    /// Processes that have called and live.
    pub processes: u64,
}

/// A live process that holds a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// 0 if it is not known yet.
    pub pid: u32,
    pub shmid: i32,
}

/// Something wrong with a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// One line.
    pub text: String,
    /// True if [`repair`] mends it.
    pub can_be_mended: bool,
}

/// True if `dir` holds a namespace, whole or not.
pub fn exists(dir: &Path) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir())
        && fs::symlink_metadata(dir.join("registry")).is_ok_and(|meta| meta.is_file())
}

fn fault(dir: &Path, what: impl core::fmt::Display) -> String {
    format!("namespace {}: {what}", dir.display())
}

fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Opens a namespace that is there.
pub(super) fn open(dir: &Path) -> Result<Registry, String> {
    // Whoever looks makes none: it may be being removed.
    Registry::open_if_there(dir)?.ok_or_else(|| fault(dir, "there is none"))
}

/// Makes a namespace: a private one, or one that every user may share.
///
/// # Errors
/// A message for people: there is one, or it can't be made.
pub fn create(dir: &Path, limits: &Limits, shared: bool) -> Result<(), String> {
    if exists(dir) {
        let hint = format!("use another name, or remove it with: shmgate namespace remove {}", dir.display());
        return Err(fault(dir, format!("is there already; {hint}")));
    }
    let registry = Registry::open_or_create(dir)?;
    let header = &registry.layout().header;
    for (limit, value) in [(&header.shmmax, limits.shmmax), (&header.shmmni, limits.shmmni), (&header.shmall, limits.shmall)] {
        if let Some(value) = value {
            limit.store(value, SeqCst);
        }
    }
    if shared {
        header.shared.store(1, SeqCst);
        share(dir).map_err(|error| {
            // Half of it is no use to anybody.
            let _ = remove(dir);
            fault(dir, words(&error))
        })?;
    }
    Ok(())
}

/// Opens a new namespace to all users; its directory last, so that nobody sees it half done.
fn share(dir: &Path) -> io::Result<()> {
    let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    let lives = dir.join("lives");
    StdFile::options().write(true).create(true).truncate(false).open(&lives)?;
    let removed = dir.join(REMOVED);
    fs::create_dir(&removed)?;
    open(&lives, 0o666)?;
    open(&removed, 0o777)?;
    open(&dir.join("registry"), 0o666)?;
    open(dir, 0o1777)
}

/// The file of lives; `None` if no process has ever lived there.
pub(super) fn lives(dir: &Path) -> Option<File> {
    let path = CString::new(dir.join("lives").as_os_str().as_bytes()).ok()?;
    File::open(&path, libc::O_RDWR | libc::O_NOFOLLOW, 0).ok()
}

pub(super) fn is_alive(lives: Option<&File>, process: u16) -> bool {
    lives.is_some_and(|lives| lives.is_byte_locked(life_byte(process.into())).unwrap_or(true))
}

/// True if a process lives that has called in this namespace.
pub fn is_lived_in(dir: &Path) -> bool {
    let Ok(lives) = StdFile::options().read(true).write(true).open(dir.join("lives")) else { return false };
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: life_byte(0) as _,
        l_len: PROCESSES as _,
        l_pid: 0,
    };
    // SAFETY: `lock` outlives the call, which only asks.
    let failed = unsafe { libc::fcntl(lives.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } != 0;
    failed || i32::from(lock.l_type) != libc::F_UNLCK
}

/// What is in the namespace.
///
/// # Errors
/// A message for people: it is damaged, or not the caller's.
pub fn usage(dir: &Path) -> Result<Usage, String> {
    let Survey { segments, processes } = survey(dir)?;
    let bytes = segments.iter().fold(0_u64, |bytes, segment| bytes.saturating_add(segment.size));
    Ok(Usage { segments: segments.len() as u64, bytes, processes })
}

/// The live processes that hold segments, sorted.
///
/// # Errors
/// A message for people: the namespace is damaged, or not the caller's.
pub fn holds(dir: &Path) -> Result<Vec<Hold>, String> {
    let registry = open(dir)?;
    let lives = lives(dir);
    let mut holds = BTreeSet::new();
    for (index, segment) in registry.segments().iter().enumerate() {
        let word = segment.load();
        if word.state != State::Free {
            let shmid = id(index, word.sequence);
            for holder in holders(&registry, segment, word, shmid) {
                if let Some(pid) = registry.pid_of(holder.life())
                    && is_alive(lives.as_ref(), holder.process)
                {
                    holds.insert(Hold { pid, shmid });
                }
            }
        }
    }
    Ok(holds.into_iter().collect())
}

pub(super) fn holders(registry: &Registry, segment: &Segment, word: Word, shmid: i32) -> Vec<Holder> {
    let blocks = block_chain(registry, segment, shmid).0;
    let places = segment.holders.iter().chain(blocks.iter().flat_map(|(_, block)| block.holders.iter()));
    let mine = |holder: &Holder| holder.sequence == word.sequence % HOLDER_SEQUENCES;
    places.filter_map(|place| Holder::from_u64(place.load(SeqCst))).filter(mine).collect()
}

/// The blocks of a segment, and the link in its chain that leads nowhere, if there is one.
fn block_chain<'a>(registry: &'a Registry, segment: &Segment, shmid: i32) -> (Vec<(usize, &'a Block)>, Option<u32>) {
    let mut blocks: Vec<(usize, &Block)> = Vec::new();
    let mut link = segment.more.load(SeqCst) as u32;
    while let Some(index) = (link as usize).checked_sub(1) {
        let block = registry.block(index).filter(|block| (block.next.load(SeqCst) >> 32) as i32 == shmid);
        let Some(block) = block.filter(|_| blocks.iter().all(|(known, _)| *known != index)) else {
            return (blocks, Some(link));
        };
        blocks.push((index, block));
        link = block.next.load(SeqCst) as u32;
    }
    (blocks, None)
}

/// Which of a namespace's own files a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Registry,
    Draft,
    Lives,
    /// What was written to a limit: see [`super::proc`].
    Limit,
    Segment(i32),
}

impl Own {
    fn of(name: &[u8]) -> Option<Own> {
        match name {
            b"registry" => Some(Own::Registry),
            b"lives" => Some(Own::Lives),
            b"limit.shmmax" | b"limit.shmall" | b"limit.shmmni" | b"limit.shm_rmid_forced" => Some(Own::Limit),
            _ if name.starts_with(b".registry.") => Some(Own::Draft),
            _ => {
                let number = str::from_utf8(name.strip_prefix(b"segment.")?).ok()?;
                let id: i32 = number.parse().ok()?;
                (id.to_string() == number).then_some(Own::Segment(id))
            }
        }
    }
}

/// A directory's files.
#[derive(Default)]
struct Files {
    /// A namespace's own.
    own: Vec<(PathBuf, Own)>,
    /// One that is none of them.
    other: Option<PathBuf>,
    /// A shared namespace's directory for removed segments.
    removed: Option<PathBuf>,
}

impl Files {
    fn of(dir: &Path) -> io::Result<Files> {
        let mut files = Files::default();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let is = |of: fn(&FileType) -> bool| entry.file_type().is_ok_and(|kind| of(&kind));
            if entry.file_name() == REMOVED && is(FileType::is_dir) {
                let Files { own, other, .. } = Files::of(&entry.path())?;
                files.own.extend(own);
                files.other = other.or(files.other);
                files.removed = Some(entry.path());
                continue;
            }
            let is_good = |which: &Own| is(FileType::is_file) || is(FileType::is_symlink) && matches!(which, Own::Segment(_));
            match Own::of(entry.file_name().as_bytes()).filter(is_good) {
                Some(which) => files.own.push((entry.path(), which)),
                None => files.other = Some(entry.path()),
            }
        }
        Ok(files)
    }
}

/// Removes one of a namespace's files; with the link to a segment's of huge pages that file, too.
fn remove_file(path: &Path) -> io::Result<()> {
    let link = CString::new(path.as_os_str().as_bytes())?;
    huge::unlink(&link).map_err(|errno| io::Error::from_raw_os_error(errno.0))
}

/// Removes a namespace, whoever uses it: its own files, and then the directory.
///
/// # Errors
/// A message for people.
pub fn remove(dir: &Path) -> Result<(), String> {
    let fault = |what: &str| fault(dir, what);
    // In a shared one everybody can remove something: half of it would go.
    let owner = fs::symlink_metadata(dir).map_err(|error| fault(&words(&error)))?.uid();
    if sys::geteuid() != 0 && sys::geteuid() != owner {
        return Err(fault(&format!("belongs to user {owner}, and only that user or root can remove it")));
    }
    let Files { mut own, other, removed } = Files::of(dir).map_err(|error| fault(&words(&error)))?;
    // The registry last: until then whoever comes joins what goes, and does not begin anew in the middle of it.
    own.sort_by_key(|(_, which)| *which == Own::Registry);
    for (path, _) in own {
        match remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("{}: {}", path.display(), words(&error)));
            }
            _ => {}
        }
    }
    if let Some(removed) = removed {
        // With something in it that is not its own it stays, and is spoken of below.
        let _ = fs::remove_dir(removed);
    }
    if let Some(other) = other {
        return Err(fault(&format!("removed, but {} is not its own: the directory stays", other.display())));
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            Err(fault("removed, but somebody uses it again; end that first, and try again"))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(&words(&error))),
        _ => Ok(()),
    }
}

/// What is wrong with the namespace.
///
/// # Errors
/// A message for people: it can't be looked at.
pub fn check(dir: &Path) -> Result<Vec<Fault>, String> {
    if !exists(dir) {
        return Err(fault(dir, "there is none"));
    }
    if let Some(fault) = unreadable(dir).map_err(|error| fault(dir, words(&error)))? {
        return Ok(vec![fault]);
    }
    let registry = open(dir)?;
    let look = || Look::at(&registry, dir).map_err(|error| fault(dir, words(&error)));
    let mut faults = look()?;
    for _ in 1..LOOKS {
        if faults.is_empty() {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
        // A set: a registry that is damaged all over has a hundred thousand.
        let now: BTreeSet<Fault> = look()?.into_iter().collect();
        faults.retain(|fault| now.contains(fault));
    }
    Ok(faults)
}

/// What keeps the registry from being read at all.
fn unreadable(dir: &Path) -> io::Result<Option<Fault>> {
    let mut file = StdFile::open(dir.join("registry"))?;
    let (size, expected) = (file.metadata()?.len(), size_of::<Layout>() as u64);
    let mut start = [0; 16];
    let what = if file.read_exact(&mut start).is_err() {
        Some(format!("registry: {size} bytes, expected {expected}"))
    } else {
        let word = |at: usize| u64::from_le_bytes(start[at..at + 8].try_into().unwrap_or_default());
        match (word(0), word(8)) {
            (MAGIC, VERSION) if size == expected => None,
            (MAGIC, VERSION) => Some(format!("registry: {size} bytes, expected {expected}")),
            (MAGIC, version) => Some(format!("registry: version {version}, expected {VERSION}: another shmgate made it")),
            (magic, _) => Some(format!("registry: magic {magic:#018x}, expected {MAGIC:#018x}")),
        }
    };
    Ok(what.map(|text| Fault { text, can_be_mended: false }))
}

/// One look at a namespace.
struct Look<'a> {
    registry: &'a Registry,
    dir: &'a Path,
    lives: Option<File>,
    faults: Vec<Fault>,
}

impl<'a> Look<'a> {
    fn at(registry: &'a Registry, dir: &'a Path) -> io::Result<Vec<Fault>> {
        let mut look = Look { registry, dir, lives: lives(dir), faults: Vec::new() };
        look.header();
        look.slots();
        look.totals();
        look.chains();
        look.blocks();
        look.files()?;
        Ok(look.faults)
    }

    fn mendable(&mut self, text: String) {
        self.faults.push(Fault { text, can_be_mended: true });
    }

    fn lasting(&mut self, text: String) {
        self.faults.push(Fault { text, can_be_mended: false });
    }

    fn segments(&self) -> impl Iterator<Item = (usize, &'a Segment, Word)> + use<'a> {
        self.registry.segments().iter().enumerate().map(|(index, segment)| (index, segment, segment.load()))
    }

    fn header(&mut self) {
        let header = &self.registry.layout().header;
        let owner = fs::symlink_metadata(self.dir).map_or(0, |meta| meta.uid());
        if header.owner.load(SeqCst) != u64::from(owner) {
            self.lasting(format!("header: owner {}, but the directory is user {owner}'s", header.owner.load(SeqCst)));
        }
        for (name, ready, most) in [
            ("processes", &header.processes_ready, PROCESSES),
            ("segments", &header.segments_ready, SEGMENTS),
            ("blocks", &header.blocks_ready, BLOCKS),
        ] {
            let ready = ready.load(SeqCst);
            if ready > most as u64 {
                // How many have room in the file is not known any more.
                self.lasting(format!("header: {ready} {name} ready, at most {most} can be"));
            }
        }
        let last = header.last.load(SeqCst);
        if last >= SEGMENTS as u64 {
            self.mendable(format!("header: last slot {last}, at most {} can be", SEGMENTS - 1));
        }
        let writer = header.writer.load(SeqCst);
        let is_gone = |life: Life| self.registry.pid_of(life).is_none() || !is_alive(self.lives.as_ref(), life.process);
        if writer != 0 && Life::from_u64(writer).is_none_or(is_gone) {
            self.mendable("lock: whoever has it is gone".into());
        } else if writer == 0 && !header.change.load(SeqCst).is_multiple_of(2) {
            self.mendable("header: chains are marked as changing, and nobody changes them".into());
        }
        if fs::symlink_metadata(self.dir.join("lives")).is_ok_and(|meta| !meta.is_file()) {
            self.lasting("lives: no file: nobody can attach or create anything".into());
            return;
        }
        let claimed = self.registry.processes().iter().any(|slot| slot.word.load(SeqCst) & 1 != 0);
        if claimed && self.lives.is_none() {
            self.lasting("lives: the file is missing or can't be opened: nobody knows who lives".into());
        }
    }

    fn slots(&mut self) {
        let page_size = sys::page_size();
        let ready = self.registry.processes().len();
        let mut keys = BTreeSet::new();
        for (index, segment, word) in self.segments() {
            let shmid = id(index, word.sequence);
            match word.state {
                State::Free => continue,
                State::Damaged => {
                    self.lasting(format!("slot {index}: state {}, which is none", segment.word.load(SeqCst) & 0xff));
                    continue;
                }
                State::Live => {
                    let key = segment.key.load(SeqCst);
                    if key != 0 && !keys.insert(key) {
                        self.lasting(format!("segment {shmid}: another one has its key {key:#010x} too"));
                    }
                }
                State::Owned => {
                    if self.registry.pid_of(word.owner).is_none() || !is_alive(self.lives.as_ref(), word.owner.process) {
                        self.mendable(format!("segment {shmid}: whoever made or destroyed it is gone"));
                    }
                    continue;
                }
                // If nobody holds it any more, as after exits, the next who creates gives it back.
                State::Removed => {}
            }
            let size = segment.size.load(SeqCst);
            if word.sequence == 0 || size == 0 {
                self.lasting(format!("segment {shmid}: sequence number {}, {size} bytes: neither can be 0", word.sequence));
            }
            let mode = segment.owner(word).mode.load(SeqCst);
            if mode & !0o777 != 0 {
                self.lasting(format!("segment {shmid}: mode {mode:#o}, at most 0777 can be"));
            }
            for holder in holders(self.registry, segment, word, shmid) {
                if usize::from(holder.process) >= ready {
                    self.lasting(format!("segment {shmid}: held by process slot {} of {ready}", holder.process));
                }
            }
            if word.has_file && word.is_there() {
                let wanted = segment.mapped_size(page_size);
                let name = format!("segment.{}", segment.file_id(index));
                let look = if segment.is_huge() { fs::metadata } else { fs::symlink_metadata };
                let meta = look(self.dir.join(&name));
                match meta.or_else(|error| fs::symlink_metadata(self.dir.join(REMOVED).join(&name)).map_err(|_| error)) {
                    Ok(meta) if meta.is_file() && Some(meta.len()) == wanted => {}
                    Ok(meta) => self.lasting(format!("{name}: {} bytes, too few or too many for {size}", meta.len())),
                    Err(error) => self.lasting(format!("{name}: {}", words(&error))),
                }
            }
        }
    }

    fn totals(&mut self) {
        let layout = self.registry.layout();
        let page_size = sys::page_size();
        // Whoever takes the lock next makes them right.
        if layout.header.stale.load(SeqCst) != 0 {
            return;
        }
        let (mut in_use, mut pages) = (0, 0_u64);
        let mut used = vec![false; SEGMENTS];
        for (index, segment, _) in self.segments().filter(|(_, _, word)| word.state != State::Free) {
            in_use += 1;
            pages = pages.wrapping_add(segment.pages(page_size));
            used[index] = true;
        }
        for (name, said, counted) in
            [("segments", layout.header.in_use.load(SeqCst), in_use), ("pages", layout.header.pages.load(SeqCst), pages)]
        {
            if said != counted {
                self.mendable(format!("totals: {said} {name}, but there are {counted}"));
            }
        }
        for (index, is_used) in used.into_iter().enumerate() {
            if (layout.used[index / 64].load(SeqCst) >> (index % 64) & 1 != 0) != is_used {
                self.mendable(format!(
                    "slot {index}: {}",
                    if is_used { "not marked as used" } else { "marked as used, and free" }
                ));
            }
        }
    }

    fn chains(&mut self) {
        let layout = self.registry.layout();
        let mut chained = vec![false; SEGMENTS];
        for (bucket, first) in layout.buckets.iter().enumerate() {
            let mut link = first.load(SeqCst);
            while let Some(index) = (link as usize).checked_sub(1) {
                let Some(segment) = self.registry.segment(index).filter(|_| !chained[index]) else {
                    self.mendable(format!("chain {bucket}: leads to slot {index}, which is not there or in a chain already"));
                    break;
                };
                chained[index] = true;
                let key = segment.key.load(SeqCst);
                if segment.load().state != State::Live || key == 0 || bucket_of(key as i32) != bucket {
                    self.mendable(format!("chain {bucket}: leads to slot {index}, which is not of this chain"));
                }
                link = layout.next[index].load(SeqCst);
            }
        }
        for (index, segment, word) in self.segments() {
            if word.state == State::Live && segment.key.load(SeqCst) != 0 && !chained[index] {
                self.mendable(format!("segment {}: not in the chain of its key", id(index, word.sequence)));
            }
        }
    }

    fn blocks(&mut self) {
        let mut reached = vec![false; BLOCKS];
        for (index, segment, word) in self.segments().filter(|(_, _, word)| word.state != State::Free) {
            let shmid = id(index, word.sequence);
            let (blocks, broken) = block_chain(self.registry, segment, shmid);
            blocks.iter().for_each(|(block, _)| reached[*block] = true);
            if let Some(link) = broken {
                self.lasting(format!("segment {shmid}: its chain of blocks leads to block {}, which is not its own", link - 1));
            }
        }
        let mut asker = Asker::new(self.registry, None);
        let unreached = reached.iter().enumerate().filter(|(_, reached)| !**reached);
        for (index, _) in unreached {
            if let Use::Left(next) = self.registry.use_of(index, &mut asker) {
                let shmid = (next >> 32) as i32;
                self.mendable(if shmid < 0 {
                    format!("block {index}: taken by a process that is gone")
                } else if is_segment(self.registry, shmid) {
                    format!("block {index}: of segment {shmid}, but not in its chain")
                } else {
                    format!("block {index}: of segment {shmid}, which is gone")
                });
            }
        }
    }

    fn files(&mut self) -> io::Result<()> {
        for (path, which) in Files::of(self.dir)?.own {
            if is_left_over(self.registry, which) {
                self.mendable(format!("{}: a file of nothing", path.file_name().unwrap_or_default().display()));
            }
        }
        Ok(())
    }
}

fn is_segment(registry: &Registry, shmid: i32) -> bool {
    split(shmid).is_some_and(|(index, sequence)| {
        registry.segment(index).is_some_and(|segment| {
            let word = segment.load();
            word.state != State::Free && word.sequence == sequence
        })
    })
}

fn is_left_over(registry: &Registry, which: Own) -> bool {
    match which {
        Own::Registry | Own::Lives | Own::Limit => false,
        Own::Draft => true,
        Own::Segment(id) => !is_file_of_segment(registry, id),
    }
}

/// True if the file that `id` names is a segment's, or kept for the next.
fn is_file_of_segment(registry: &Registry, id: i32) -> bool {
    let slot = split(id).and_then(|(index, _)| Some((index, registry.segment(index)?)));
    slot.is_some_and(|(index, segment)| {
        let word = segment.load();
        (word.state != State::Free || word.has_file) && segment.file_id(index) == id
    })
}

/// Mends what can be mended, while others may use the namespace.
///
/// # Errors
/// A message for people: it can't be opened, or somebody keeps the lock.
pub fn repair(dir: &Path) -> Result<(), String> {
    let registry = open(dir)?;
    let claimed = registry.claim_life(sys::getpid()).map_err(|errno| fault(dir, errno.text()))?;
    let life = claimed.life;
    let mut asker = Asker::new(&registry, Some(life));
    registry.settle_forced(life, &mut asker);
    registry.bury_forced(life, &mut asker);
    let done = lock(&registry, life).map_err(|what| fault(dir, what)).and_then(|writer| {
        let header = &registry.layout().header;
        if header.last.load(SeqCst) >= SEGMENTS as u64 {
            header.last.store(0, SeqCst);
        }
        registry.bury(life, &mut asker, |state| matches!(state, State::Removed | State::Owned));
        writer.settle();
        // Under the lock: no segment is made meanwhile.
        for (path, which) in Files::of(dir).map_err(|error| fault(dir, words(&error)))?.own {
            if is_left_over(&registry, which) {
                let _ = remove_file(&path);
            }
        }
        Ok(())
    });
    registry.give_back(life);
    done
}

fn lock(registry: &Registry, life: Life) -> Result<Writer<'_>, String> {
    for _ in 0..WAIT_FOR_LOCK {
        let holder = registry.layout().header.writer.load(SeqCst);
        let is_alive = |holder| holder != life && Asker::new(registry, Some(life)).is_alive(holder);
        if Life::from_u64(holder).is_some_and(is_alive) {
            sys::sleep_us(1000);
        } else if holder != 0 {
            // Whoever takes it from the dead makes anew what they left half done.
            return Ok(registry.write(life));
        } else if let Some(writer) = registry.try_write(life) {
            return Ok(writer);
        }
    }
    let holder = Life::from_u64(registry.layout().header.writer.load(SeqCst));
    let pid = holder.and_then(|holder| registry.pid_of(holder)).map_or("?".to_owned(), |pid| pid.to_string());
    Err(format!("process {pid} has the lock and does not give it back; end it, and try again"))
}
