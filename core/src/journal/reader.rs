//! Reading a journal, also while it is written.
//!
//! The reader maps the file piece by piece for reading only, looks at no byte beyond the file's end, and checks every word: a file
//! cut short or written over gives [`Item::Damaged`], never a crash.

use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::ffi::CStr;

use super::format::{self, CHUNK_LEN, CHUNK_SLOTS, HEADER_LEN, Header, Kind, SLOT_LEN, SLOT_WORDS};
use super::record::{Record, Words};
use super::writer::header;
use crate::errno::Errno;
use crate::map::Mapping;
use crate::sys::File;

/// Why a file can't be read as a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The file can't be opened or mapped.
    Errno(Errno),
    /// It does not begin as a journal does.
    NotAJournal,
    /// It was written by another version of shmgate.
    Version(u64),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Errno(errno) => f.write_str(errno.text()),
            OpenError::NotAJournal => f.write_str("not a shmgate journal"),
            OpenError::Version(version) => {
                write!(f, "journal format {version}, this shmgate reads format {}", format::VERSION)
            }
        }
    }
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        OpenError::Errno(errno)
    }
}

/// What stands at a place of the journal.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A call.
    Call(Record<'a>),
    /// A process introduces itself, with its executable's path if it is known.
    Process { pid: u32, uid: u32, exe: Option<&'a [u8]> },
    /// A slot that its writer has not published: it is at work, or was killed, or the disk was full.
    Hole,
    /// Bytes that no writer writes; the slot's offset in the file.
    Damaged { offset: u64 },
}

/// A journal, open for reading.
#[derive(Debug)]
pub struct Reader {
    file: File,
    head: Mapping,
    piece: Option<(u64, Mapping)>,
    next: u64,
    text: Vec<u8>,
}

impl Reader {
    /// Opens the journal file at `path`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &CStr) -> Result<Reader, OpenError> {
        let file = File::open(path, libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0)?;
        if file.size()? < HEADER_LEN {
            return Err(OpenError::NotAJournal);
        }
        let head = Mapping::file(&file, 0, HEADER_LEN as usize, false)?;
        match header(&head).version() {
            None => return Err(OpenError::NotAJournal),
            Some(format::VERSION) if header(&head).scale.is_valid() => {}
            Some(format::VERSION) => return Err(OpenError::NotAJournal),
            Some(other) => return Err(OpenError::Version(other)),
        }
        Ok(Reader { file, head, piece: None, next: 0, text: Vec::new() })
    }

    /// The journal's first page.
    pub fn header(&self) -> &Header {
        header(&self.head)
    }

    /// The slot that [`Reader::next_item`] reads next.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// True if writers have taken the next slot, so that something stands there, will, or never will.
    pub fn has_next(&self) -> bool {
        self.next < self.header().next.0.load(Acquire)
    }

    /// Reads on from slot `position` again.
    pub fn seek(&mut self, position: u64) {
        self.next = position;
    }

    /// The bytes of slots that the file lacks although records were written there: it was cut. 0 for a whole file.
    ///
    /// Slots beyond the end that no record could be written to (a full disk) do not count, as far as the header knows of them.
    pub fn missing(&self) -> u64 {
        let needed = HEADER_LEN + self.header().next.0.load(Relaxed).saturating_mul(SLOT_LEN);
        let missing = needed.saturating_sub(self.file.size().unwrap_or(0));
        if self.header().lost.load(Relaxed) > 0 { 0 } else { missing }
    }

    /// Reads the next slot, and the text slots that belong to it. `None` at the end of what is in the file.
    pub fn next_item(&mut self) -> Option<Item<'_>> {
        if !self.has_next() {
            return None;
        }
        let index = self.next;
        let (kind, words) = match self.slot(index)? {
            Ok(Some(slot)) => slot,
            Ok(None) => {
                self.next += 1;
                return Some(Item::Hole);
            }
            Err(_) => {
                self.next += 1;
                return Some(self.damaged(index));
            }
        };
        self.next += 1;
        self.text.clear();
        let len = match (kind, words[4] >> 32 & 0xff) {
            (Kind::Process, _) | (Kind::Call, 5) => (words[6] >> 48) as usize,
            _ => 0,
        };
        while self.text.len() < len {
            let Some(Ok(Some((Kind::Text, part)))) = self.slot(self.next) else { return Some(self.damaged(index)) };
            self.next += 1;
            self.text.extend(part[1..].iter().flat_map(|word| word.to_le_bytes()));
        }
        self.text.truncate(len);
        Some(match kind {
            Kind::Call => match Record::decode(&words, &self.text) {
                Some(record) => Item::Call(record),
                None => Item::Damaged { offset: HEADER_LEN + index * SLOT_LEN },
            },
            Kind::Process => Item::Process {
                pid: words[3] as u32,
                uid: words[4] as u32,
                exe: (!self.text.is_empty()).then_some(self.text.as_slice()),
            },
            // Text whose head was never published: its writer was killed in between.
            Kind::Text => Item::Hole,
        })
    }

    fn damaged(&self, index: u64) -> Item<'static> {
        Item::Damaged { offset: HEADER_LEN + index * SLOT_LEN }
    }

    /// A slot's kind and words, `Ok(None)` if it is not published. `None` beyond the file's end.
    #[allow(clippy::type_complexity)]
    fn slot(&mut self, index: u64) -> Option<Result<Option<(Kind, Words)>, u64>> {
        let chunk = index / CHUNK_SLOTS;
        let at = (index % CHUNK_SLOTS) as usize * SLOT_WORDS;
        if self.piece.as_ref().is_none_or(|(have, mapping)| *have != chunk || mapping.words().len() < at + SLOT_WORDS) {
            let start = HEADER_LEN.checked_add(chunk.checked_mul(CHUNK_LEN)?)?;
            let len = self.file.size().ok()?.saturating_sub(start).min(CHUNK_LEN) / SLOT_LEN * SLOT_LEN;
            if len < (at + SLOT_WORDS) as u64 * 8 {
                return None;
            }
            self.piece = Some((chunk, Mapping::file(&self.file, start, len as usize, false).ok()?));
        }
        let slot = self.piece.as_ref()?.1.words().get(at..at + SLOT_WORDS)?;
        let kind = match format::read_stamp(index, slot[0].load(Acquire)) {
            Ok(Some(kind)) => kind,
            Ok(None) => return Some(Ok(None)),
            Err(word) => return Some(Err(word)),
        };
        let mut words = [0; SLOT_WORDS];
        for (word, place) in words.iter_mut().zip(slot) {
            *word = place.load(Relaxed);
        }
        Some(Ok(Some((kind, words))))
    }
}
