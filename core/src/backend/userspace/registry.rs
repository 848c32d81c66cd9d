//! A namespace's directory: the registry that all its processes map, the file of lives, and a file a segment.

use core::ffi::CStr;
use core::fmt::Write;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::anchors::Anchors;
use super::claims::Claims;
use super::layout::{Block, Layout, MAGIC, Process, SEGMENTS, Segment, State, VERSION};
use super::place::{Place, fault};
use crate::atomic::AtomicU64;
use crate::errno::Errno;
use crate::map::{Mapping, View};
use crate::sys::{self, File, Parked};

/// The kernel's own limits, in a fresh IPC namespace.
const SHMMAX: u64 = u64::MAX - (1 << 24);
const SHMALL: u64 = u64::MAX - (1 << 24);
const SHMMNI: u64 = 4096;

/// A namespace, open.
#[derive(Debug)]
pub struct Registry {
    dir: CString,
    /// Its file's device and inode.
    file: (u64, u64),
    layout: View<Layout>,
    is_shared: bool,
    /// The calling process's life while one of its threads has, or tries to get, the lock. A forked child has another life.
    pub(super) thread: AtomicU64,
    /// The file of lives, if the process has asked about many.
    pub(super) kept_lives: Parked,
    pub(super) claims: Claims,
    pub(super) anchors: Anchors,
}

/// A path in a buffer: a call must not allocate.
pub struct PathBuffer {
    bytes: [u8; 256],
    len: usize,
}

impl Default for PathBuffer {
    fn default() -> PathBuffer {
        PathBuffer { bytes: [0; 256], len: 0 }
    }
}

impl PathBuffer {
    /// The path.
    pub fn as_c_str(&self) -> &CStr {
        // The last byte is never written.
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl Write for PathBuffer {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.len + text.len();
        // One byte stays for the NUL.
        self.bytes[..255].get_mut(self.len..end).ok_or(core::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Makes a registry, unless the directory is gone meanwhile.
fn made(dir: &Path) -> Result<(), String> {
    match create(dir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(fault(dir, &format!("can't be made: {}", why_not(errno)))),
    }
}

const OPEN: &str = "is open to others; use a directory of mode 0700, or make it with: shmgate namespace create --shared";

impl Registry {
    /// Opens the namespace in `dir`, and makes it if there is none.
    ///
    /// # Errors
    /// A message for people: it can't be made, is not the caller's, or is damaged.
    pub fn open_or_create(dir: &Path) -> Result<Registry, String> {
        for _ in 0..100 {
            let place = Place::find_or_make(dir)?;
            let opened = Registry::open(dir, &place)
                .and_then(|there| if there.is_none() { made(dir).map(|()| None) } else { Ok(there) });
            if opened.is_err() && place.is_made {
                // What could not be filled goes again; it is another's if it is not empty.
                let _ = fs::remove_dir(dir);
            }
            if let Some(registry) = opened? {
                return Ok(registry);
            }
        }
        Err(fault(dir, "comes and goes; is somebody removing it?"))
    }

    /// Opens the namespace in `dir`; `None` if there is none, or none any more.
    ///
    /// # Errors
    /// A message for people: it is not the caller's, or is damaged.
    pub fn open_if_there(dir: &Path) -> Result<Option<Registry>, String> {
        match Place::find(dir)? {
            Some(place) => Registry::open(dir, &place),
            None => Ok(None),
        }
    }

    /// `None` if there is no registry.
    fn open(dir: &Path, place: &Place) -> Result<Option<Registry>, String> {
        let fault = |what: &str| fault(dir, what);
        let path = |name: &str| CString::new(dir.join(name).as_os_str().as_bytes()).map_err(|_| fault("has a NUL in its name"));
        let file = match File::open(&path("registry")?, libc::O_RDWR | libc::O_NOFOLLOW, 0) {
            Ok(file) => file,
            Err(Errno::ENOENT) if place.shared_by.is_some() => return Err(fault(OPEN)),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(fault(errno.text())),
        };
        let layout = map(&file).map_err(|what| fault(&what))?;
        let stat = sys::stat_fd(file.fd()).map_err(|errno| fault(errno.text()))?;
        if place.shared_by.is_some_and(|owner| owner != stat.st_uid || layout.header.shared.load(SeqCst) == 0) {
            return Err(fault(OPEN));
        }
        Ok(Some(Registry {
            dir: path("")?,
            file: identity(&stat),
            layout,
            is_shared: place.shared_by.is_some(),
            thread: AtomicU64::new(0),
            kept_lives: Parked::anywhere(),
            claims: Claims::default(),
            anchors: Anchors::new().map_err(|errno| fault(errno.text()))?,
        }))
    }

    /// Its directory, for people.
    pub fn name(&self) -> impl core::fmt::Display {
        self.dir.to_string_lossy().trim_end_matches('/').to_owned()
    }

    /// True if several users have it.
    #[inline]
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// The registry's memory.
    #[inline]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Segment slot `index`, if it has ever been used.
    #[inline]
    pub fn segment(&self, index: usize) -> Option<&Segment> {
        let ready = self.layout.header.segments_ready.load(SeqCst) as usize;
        if index < ready { self.layout.segments.get(index) } else { None }
    }

    /// All segment slots that have ever been used.
    pub fn segments(&self) -> &[Segment] {
        &self.layout.segments[..(self.layout.header.segments_ready.load(SeqCst) as usize).min(SEGMENTS)]
    }

    /// All process slots that have ever been used.
    pub fn processes(&self) -> &[Process] {
        let all = &self.layout.processes;
        &all[..(self.layout.header.processes_ready.load(SeqCst) as usize).min(all.len())]
    }

    /// Block `index`, if it has ever been used.
    pub fn block(&self, index: usize) -> Option<&Block> {
        let ready = self.layout.header.blocks_ready.load(SeqCst) as usize;
        if index < ready { self.layout.blocks.get(index) } else { None }
    }

    /// The path of a file of the namespace.
    ///
    /// # Errors
    /// ENOENT if the directory is another's by now: somebody has removed the namespace and made one anew, or the caller sees other
    /// file systems than before. What is done to the other's files would be done to strangers' memory.
    pub fn path(&self, name: core::fmt::Arguments<'_>) -> Result<PathBuffer, Errno> {
        let its = sys::stat(self.path_there(format_args!("registry"))?.as_c_str(), false)?;
        if identity(&its) == self.file { self.path_there(name) } else { Err(Errno::ENOENT) }
    }

    /// As [`Registry::path`], whosever the directory is by now.
    #[inline(never)]
    pub(super) fn path_there(&self, name: core::fmt::Arguments<'_>) -> Result<PathBuffer, Errno> {
        let mut path = PathBuffer::default();
        let dir = self.dir.to_bytes();
        path.bytes[..dir.len()].copy_from_slice(dir);
        path.len = dir.len();
        path.write_fmt(name).map_err(|_| Errno(libc::ENAMETOOLONG))?;
        Ok(path)
    }

    /// Looks whether the file system has room for `pages` more, beside what was promised to segments and not touched yet: touching one
    /// that it has not is SIGBUS. It is asked once a second, and when what it had is nearly promised away: then under the lock.
    /// Here is what costs nothing: true if there is room.
    pub fn has_room(&self, pages: u64, now: u64) -> bool {
        let header = &self.layout().header;
        let less = |left: u64| (left / 8 > pages).then(|| left - pages);
        header.room_at.load(SeqCst) == now && header.room.fetch_update(SeqCst, SeqCst, less).is_ok()
    }

    /// Asks the file system for room. Under the lock.
    ///
    /// # Errors
    /// ENOMEM when it has not so much.
    #[inline(never)]
    pub fn check_room(&self, pages: u64, now: u64) -> Result<(), Errno> {
        let header = &self.layout().header;
        let free = sys::free_bytes(&self.dir)? / sys::page_size();
        // Mostly it is enough to take all of them as untouched.
        let mut left = free.saturating_sub(header.pages.load(SeqCst));
        if left < pages {
            left = free.saturating_sub(self.promised());
        }
        header.room.store(left.saturating_sub(pages), SeqCst);
        header.room_at.store(now, SeqCst);
        if left < pages { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// How many pages segments may touch that have none yet, but for those without a reserve.
    fn promised(&self) -> u64 {
        let reserved = self.segments().iter().enumerate().filter(|(_, segment)| {
            const NOT_THERE: u32 = (libc::SHM_NORESERVE | libc::SHM_HUGETLB) as u32;
            segment.load().state != State::Free && segment.flags.load(SeqCst) & NOT_THERE == 0
        });
        let page = sys::page_size();
        let untouched = |(index, segment): (usize, &Segment)| {
            let word = segment.load();
            let resident = if word.has_file { self.resident(segment.file_id(index)) / page } else { 0 };
            segment.pages(page).saturating_sub(resident)
        };
        reserved.map(untouched).fold(0, u64::saturating_add)
    }

    /// Gives room in the file to the table entries up to `end` bytes from the registry's start.
    ///
    /// # Errors
    /// fallocate's: ENOSPC, …
    #[inline(never)]
    pub fn make_room(&self, start: usize, end: usize) -> Result<(), Errno> {
        // Of a registry that was cut short nothing is left to see, and its file is no longer for us.
        if self.layout().header.magic.load(SeqCst) != MAGIC {
            return Err(Errno::EIDRM);
        }
        let path = self.path(format_args!("registry"))?;
        let file = File::open(path.as_c_str(), libc::O_RDWR | libc::O_NOFOLLOW, 0)?;
        sys::allocate_range(&file, start as u64, (end - start) as u64)
    }
}

fn identity(stat: &libc::stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Bytes that have room from the start.
const FIXED: usize = core::mem::offset_of!(Layout, processes);

fn map(file: &File) -> Result<View<Layout>, String> {
    let size = file.size().map_err(|errno| errno.text().to_owned())?;
    if size != size_of::<Layout>() as u64 {
        return Err(format!("its registry is damaged or of another version ({size} bytes); remove it when nobody uses it"));
    }
    let mapping = Mapping::file(file, 0, size_of::<Layout>(), true).map_err(|errno| errno.text().to_owned())?;
    // SAFETY: Layout is made of atomics alone.
    let layout = unsafe { View::<Layout>::new(mapping) };
    let header = &layout.header;
    if header.magic.load(SeqCst) != MAGIC {
        return Err("its registry is damaged; remove it when nobody uses it".into());
    }
    if header.version.load(SeqCst) != VERSION {
        return Err("was made by another version of shmgate; use another, or remove it when nobody uses it".into());
    }
    Ok(layout)
}

/// Why a registry can't be made, and what it would need.
fn why_not(errno: Errno) -> String {
    let kib = |bytes: usize| bytes.div_ceil(1024);
    match errno {
        Errno::EFBIG => {
            format!("{}; its registry is a file of {} KiB, and ulimit -f allows less", errno.text(), kib(size_of::<Layout>()))
        }
        Errno::ENOSPC => format!("{}; it needs {} KiB there, beside its segments", errno.text(), kib(FIXED)),
        _ => errno.text().to_owned(),
    }
}

/// Makes a registry that nobody sees until it is whole.
fn create(dir: &Path) -> Result<(), Errno> {
    let c_path = |name: String| CString::new(dir.join(name).as_os_str().as_bytes()).map_err(|_| Errno::EINVAL);
    let draft = c_path(format!(".registry.{}.{}", sys::getpid(), crate::clock::monotonic_ns()))?;
    let file = File::open(&draft, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW, 0o600)?;
    let made =
        sys::truncate(&file, size_of::<Layout>() as u64).and_then(|()| sys::allocate(&file, FIXED as u64)).and_then(|()| {
            let mapping = Mapping::file(&file, 0, FIXED, true)?;
            // SAFETY: what is touched of Layout lies before FIXED, and is made of atomics alone.
            let header = unsafe { View::<super::layout::Header>::new(mapping) };
            header.owner.store(sys::geteuid().into(), Relaxed);
            header.shmmax.store(SHMMAX, Relaxed);
            header.shmmni.store(SHMMNI, Relaxed);
            header.shmall.store(SHMALL, Relaxed);
            header.version.store(VERSION, Relaxed);
            header.magic.store(MAGIC, SeqCst);
            sys::link(&draft, &c_path("registry".into())?)
                .or_else(|errno| if errno == Errno::EEXIST { Ok(()) } else { Err(errno) })
        });
    let _ = sys::unlink(&draft);
    made
}
