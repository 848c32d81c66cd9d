//! Reading a journal, also while it is written.
//!
//! The reader maps the file piece by piece for reading only, looks at no byte beyond the file's end, and checks every word: a file
//! cut short or written over gives [`Item::Damaged`], never a crash. It reads by slot; [`super::timeline`] puts what it reads
//! into the order of time.

#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::ffi::CStr;

use super::format::{self, BLOCK_SLOTS, HEADER_LEN, Header, Kind, SLOT_LEN, SLOT_WORDS, Words};
use super::record::{self, Owner, Record};
use super::stack::{Module, Stack};
use super::writer::view;
use crate::call::Verdict;
use crate::errno::Errno;
use crate::map::{Mapping, View};
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
            OpenError::NotAJournal => f.write_str("not a shmgate journal, or its start is damaged"),
            OpenError::Version(version) => {
                write!(
                    f,
                    "journal format {version}; this shmgate reads formats 1 to {}, use the version that wrote it",
                    format::VERSION
                )
            }
        }
    }
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        OpenError::Errno(errno)
    }
}

/// What stands in a slot.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A call.
    Call(Record<'a>),
    /// A process introduces itself, with its executable's path if it is known.
    Process { ticks: u64, pid: u32, exe: Option<&'a [u8]> },
    /// A block's owner, or a part of a record that begins in another slot.
    Part,
    /// Not published: its thread has not come to it yet or never will, or was killed at it.
    Hole,
    /// Bytes that no writer writes.
    Damaged,
}

/// A journal, open for reading.
#[derive(Debug)]
pub struct Reader {
    file: File,
    head: View<Header>,
    piece: Option<(u64, Mapping)>,
    behind: Vec<Words>,
    text: Vec<u8>,
}

/// Slots of a mapping of the reader's.
const PIECE_SLOTS: u64 = 1 << 16;

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
        let head = view(Mapping::file(&file, 0, HEADER_LEN as usize, false)?);
        match head.version() {
            Some(format::WITHOUT_STACKS..=format::VERSION) if head.scale.is_valid() => {}
            None | Some(format::WITHOUT_STACKS..=format::VERSION) => return Err(OpenError::NotAJournal),
            Some(other) => return Err(OpenError::Version(other)),
        }
        Ok(Reader { file, head, piece: None, behind: Vec::new(), text: Vec::new() })
    }

    /// The journal's first page.
    pub fn header(&self) -> &Header {
        &self.head
    }

    /// How many slots threads have taken, and the file has.
    pub fn slots(&self) -> u64 {
        self.taken().min(self.file.size().unwrap_or(0).saturating_sub(HEADER_LEN) / SLOT_LEN)
    }

    fn taken(&self) -> u64 {
        self.header().next.0.load(Acquire)
    }

    /// True if records that were written are not in the file: it was cut.
    ///
    /// A full disk leaves slots beyond the end too; the header knows of those.
    pub fn is_cut(&self) -> bool {
        self.slots() < self.taken() && self.header().lost.load(Relaxed) == 0
    }

    /// What stands in slot `index`; a hole beyond the end.
    pub fn item(&mut self, index: u64) -> Item<'_> {
        let (kind, words) = match self.slot(index) {
            Some(Ok(Some(slot))) => slot,
            None | Some(Ok(None)) => return Item::Hole,
            Some(Err(_)) => return Item::Damaged,
        };
        if matches!(kind, Kind::Owner | Kind::More | Kind::Stack | Kind::Module) {
            return Item::Part;
        }
        self.behind.clear();
        if kind != Kind::Call && self.collect(index, record::behind(&words)).is_none() {
            return Item::Damaged;
        }
        if kind == Kind::Process {
            self.join(&words);
            let exe = (!self.text.is_empty()).then_some(self.text.as_slice());
            return Item::Process { ticks: words[1], pid: words[2] as u32, exe };
        }
        let Some(Ok(Some((Kind::Owner, owner)))) = self.slot(index - index % BLOCK_SLOTS) else { return Item::Damaged };
        let Reader { behind, text, .. } = self;
        Record::decode(kind, &words, behind, Owner::decode(&owner), text).map_or(Item::Damaged, Item::Call)
    }

    /// Collects the `count` slots behind slot `index`.
    fn collect(&mut self, index: u64, count: usize) -> Option<()> {
        self.behind.clear();
        for at in (index + 1..).take(count) {
            let Some(Ok(Some((Kind::More, part)))) = self.slot(at) else { return None };
            self.behind.push(part);
        }
        Some(())
    }

    /// Makes the slots that were collected the text of the record with this first slot.
    fn join(&mut self, first: &Words) {
        self.text.clear();
        self.text.extend(self.behind.iter().flat_map(|part| part[1..].iter().flat_map(|word| word.to_le_bytes())));
        self.text.truncate(record::text_len(first));
    }

    /// The stack of the call in slot `index`; `None` if none was recorded, or it is damaged.
    pub fn stack(&mut self, index: u64) -> Option<Stack> {
        let at = match self.slot(index)?.ok()?? {
            (Kind::Call, _) => index + 1,
            (Kind::LongCall, words) => index + 1 + record::behind(&words) as u64,
            _ => return None,
        };
        // What is in another block is another thread's.
        let Some(Ok(Some((Kind::Stack, first)))) = self.slot(at).filter(|_| at / BLOCK_SLOTS == index / BLOCK_SLOTS) else {
            return None;
        };
        self.collect(at, Stack::count(&first)?.max(1).div_ceil(3) - 1)?;
        Stack::decode(&first, &self.behind)
    }

    /// The module whose record is in slot `index`, as a stack's frame names it; `None` if there is none.
    pub fn module(&mut self, index: u64) -> Option<Module> {
        let Some(Ok(Some((Kind::Module, first)))) = self.slot(index) else { return None };
        self.collect(index, record::behind(&first))?;
        self.join(&first);
        Module::decode(&first, &self.text)
    }

    /// The ticks of the record that begins in slot `index`, if one does; quicker than [`Reader::item`].
    pub(super) fn ticks(&mut self, index: u64) -> Result<Option<u64>, u64> {
        match self.slot(index) {
            Some(Ok(Some((Kind::Call | Kind::LongCall | Kind::Process, words)))) => Ok(Some(words[1])),
            Some(Err(word)) => Err(word),
            // A part of a record is not looked at again, unlike a hole.
            Some(Ok(Some(_))) => Err(0),
            _ => Ok(None),
        }
    }

    /// How many calls are recorded, or were lost, and how many of the recorded ones were denied.
    pub fn count(&mut self) -> (u64, u64) {
        let (mut calls, mut denials) = (self.header().lost.load(Relaxed), 0);
        for index in 0..self.slots() {
            if let Item::Call(record) = self.item(index) {
                calls += 1;
                denials += u64::from(matches!(record.outcome.verdict, Verdict::Denied(_)));
            }
        }
        (calls, denials)
    }

    /// A slot's kind and words, `Ok(None)` if it is not published. `None` beyond the file's end.
    #[allow(clippy::type_complexity)]
    fn slot(&mut self, index: u64) -> Option<Result<Option<(Kind, Words)>, u64>> {
        let number = index / PIECE_SLOTS;
        let at = (index % PIECE_SLOTS) as usize * SLOT_WORDS;
        let has = |(have, mapping): &(u64, Mapping)| *have == number && mapping.words().len() >= at + SLOT_WORDS;
        if !self.piece.as_ref().is_some_and(has) {
            let start = HEADER_LEN.checked_add(number.checked_mul(PIECE_SLOTS * SLOT_LEN)?)?;
            let rest = self.file.size().ok()?.saturating_sub(start);
            let len = rest.min(PIECE_SLOTS * SLOT_LEN) / SLOT_LEN * SLOT_LEN;
            if len < (at + SLOT_WORDS) as u64 * 8 {
                return None;
            }
            self.piece = Some((number, Mapping::file(&self.file, start, len as usize, false).ok()?));
        }
        let slot = self.piece.as_ref()?.1.words().get(at..at + SLOT_WORDS)?;
        let kind = match format::kind(index, slot[0].load(Acquire)) {
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
