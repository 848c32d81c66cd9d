//! Journals: a file of any bytes is read to its end, or refused; what is read prints as a line and as JSON.
//!
//! The first byte of an input says what the rest is: slots behind a good header, the same with each slot's mark made right (a
//! fuzzer would hardly guess marks), or a file's bytes from its very start.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use shmgate_core::journal::format::{HEADER_LEN, Header, Kind, SLOT_LEN, mark};
use shmgate_core::journal::stack::Stack;
use shmgate_core::journal::{Item, Journal, OpenError, Reader, Timeline};
use shmgate_core::policy::Policy;
use shmgate_core::text::json::Json;

/// A good header's bytes, and the name of this thread's file.
fn header() -> &'static [u8] {
    static HEADER: OnceLock<Vec<u8>> = OnceLock::new();
    HEADER.get_or_init(|| {
        let (path, name) = place("header");
        Journal::create(&name).expect("a new journal");
        let bytes = fs::read(&path).expect("the journal just made");
        fs::remove_file(path).expect("the journal just made");
        bytes[..HEADER_LEN as usize].to_vec()
    })
}

/// A path of this thread's own, in memory where there is such a place.
fn place(what: &str) -> (PathBuf, CString) {
    let shared_memory = PathBuf::from("/dev/shm");
    let dir = if shared_memory.is_dir() { shared_memory } else { std::env::temp_dir() };
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    let path = dir.join(format!("shmgate-fuzz-{}-{thread}-{what}", std::process::id()));
    let name = CString::new(path.as_os_str().as_bytes()).expect("no NUL in it");
    (path, name)
}

/// A journal's bytes, as the input wants it.
fn file(data: &[u8]) -> Vec<u8> {
    let Some((&how, rest)) = data.split_first() else {
        return Vec::new();
    };
    if how % 4 == 3 {
        let mut bytes = rest.to_vec();
        bytes.resize(bytes.len().max(HEADER_LEN as usize), 0);
        // What lies behind the header's fields is a page's rest: the input goes on with slots.
        let fields = size_of::<Header>().min(rest.len());
        bytes.truncate(HEADER_LEN as usize);
        bytes[fields..].fill(0);
        bytes.extend(&rest[fields..]);
        return bytes;
    }
    let mut bytes = header().to_vec();
    let slots = rest.len() as u64 / SLOT_LEN;
    // Some slots more than there are: a journal cut off.
    let taken = slots + u64::from(how >> 4);
    let next = offset_of!(Header, next);
    bytes[next..next + 8].copy_from_slice(&taken.to_le_bytes());
    bytes.extend(rest);
    if how % 4 != 0 {
        for (index, slot) in bytes[HEADER_LEN as usize..].chunks_exact_mut(SLOT_LEN as usize).enumerate() {
            let kind = match slot[0] & 0xf {
                0 => continue,
                1 => Kind::Owner,
                2 | 8 | 9 => Kind::Call,
                3 | 10..=12 => Kind::LongCall,
                4 => Kind::Process,
                6 => Kind::Stack,
                7 => Kind::Module,
                _ => Kind::More,
            };
            let word = u64::from_le_bytes(slot[..8].try_into().expect("eight bytes"));
            let marked = word & !0xffff_000f | mark(index as u64, kind);
            slot[..8].copy_from_slice(&marked.to_le_bytes());
        }
    }
    bytes
}

/// One input.
pub fn run(data: &[u8]) {
    let (path, name) = place("journal");
    fs::write(&path, file(data)).expect("room for a file");
    let opened = Reader::open(&name);
    // The reader has it open; a panic leaves no file behind.
    fs::remove_file(path).expect("the file just made");
    read(opened);
}

fn read(opened: Result<Reader, OpenError>) {
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(error) => {
            assert!(super::is_plain_line(&error.to_string()));
            return;
        }
    };
    let slots = reader.slots();
    let _ = reader.is_cut();
    let calls = (0..slots).filter(|&slot| matches!(reader.item(slot), Item::Call(_))).count();
    assert!(matches!(reader.item(u64::MAX), Item::Hole));
    assert!(reader.stack(u64::MAX).is_none() && reader.module(u64::MAX).is_none());
    for slot in 0..slots {
        let _ = reader.module(slot);
        for frame in reader.stack(slot).iter().flat_map(Stack::frames) {
            let _ = reader.module(frame.module);
        }
    }
    let (counted, denials) = reader.count();
    assert!(counted >= denials);

    // A name that must not get into a line as it is.
    let policy = Policy::parse("[[rule]]\nname = \"a\\n\\u001b\\\"b\"\naction = \"log\"\n").expect("a good policy");
    let mut timeline = Timeline::new(reader);
    let found = timeline.poll();
    assert_eq!(found.len(), calls, "each call once");
    assert_eq!(found.iter().collect::<HashSet<_>>().len(), found.len());
    assert!(found.iter().all(|&slot| slot < slots));
    assert!(timeline.poll().is_empty(), "nothing new");
    for (at, slot) in found.into_iter().enumerate() {
        let event = timeline.event(slot, (at % 2 == 0).then_some(&policy)).expect("the call is still there");
        let line = event.to_string();
        assert!(super::is_plain_line(&line), "{line:?}");
        let json = Json(event).to_string();
        assert!(super::is_plain_line(&json), "{json:?}");
        serde_json::from_str::<serde_json::Value>(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    }
    assert!(timeline.damaged().all(|offset| offset >= HEADER_LEN));
}
