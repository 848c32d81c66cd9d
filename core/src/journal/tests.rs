//! The journal as a file: what is written is read back in order, and no file makes the reader fall.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::format::{BLOCK_SLOTS, HEADER_LEN, SLOT_LEN};
use super::record::{Owner, Record};
use super::{Item, Journal, OpenError, Reader, Timeline};
use crate::call::{Call, Denial, Outcome, Reason};
use crate::errno::Errno;
use crate::identity::Identity;

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
    c_path: CString,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let c_path = CString::new(path.as_os_str().as_bytes()).unwrap();
    Place { _dir: dir, path, c_path }
}

fn append(journal: &Journal, identity: &Identity, call: Call<'_>, outcome: Outcome) {
    let (ticks, me) = (journal.now(), identity.me());
    let owner = Owner { pid: identity.pid(), tid: me.tid(), uid: identity.uid() };
    let Owner { pid, tid, uid } = owner;
    let record = Record { ticks, duration: 5, pid, tid, uid, call, backend: 0, outcome };
    journal.append((identity, me, owner), &record, None);
}

/// A journal of `count` calls, of which each tenth was denied and each seventh is an ftok.
fn written(count: u64) -> Place {
    let place = place();
    Journal::create(&place.c_path).unwrap();
    let (journal, identity) = (Journal::open(&place.c_path).unwrap(), Identity::new());
    for number in 0..count {
        let (call, outcome) = if number % 10 == 0 {
            let denial = Denial::plain(Reason::SessionBytes, Errno::ENOSPC);
            (Call::Shmget { key: 0, size: number, flags: 0 }, Outcome::denied(denial))
        } else if number % 7 == 0 {
            (Call::Ftok { path: b"/a/path/that/takes/more/than/one/slot", proj: number as i32 }, Outcome::of(Ok(number)))
        } else {
            (Call::Shmdt { addr: number }, Outcome::of(Ok(0)))
        };
        append(&journal, &identity, call, outcome);
    }
    place
}

/// The numbers of the calls that a timeline gives, and how many slots are damaged.
fn read(path: &CString) -> Result<(Vec<u64>, usize), OpenError> {
    let mut timeline = Timeline::new(Reader::open(path)?);
    let slots = timeline.poll();
    let numbers = slots.into_iter().map(|slot| match timeline.event(slot, None).unwrap().call {
        Call::Shmget { size, .. } => size,
        Call::Ftok { proj, path } => {
            assert_eq!(path, b"/a/path/that/takes/more/than/one/slot");
            proj as u64
        }
        Call::Shmdt { addr } => addr,
        other => panic!("{other:?}"),
    });
    let numbers = numbers.collect();
    Ok((numbers, timeline.damaged().count()))
}

#[test]
fn calls_come_back_in_their_order_through_many_steps_of_growth() {
    let place = written(50_000);
    assert_eq!(read(&place.c_path), Ok(((0..50_000).collect(), 0)));
    assert_eq!(Reader::open(&place.c_path).unwrap().count(), (50_000, 5_000));
}

#[test]
fn a_process_is_known_by_its_executable() {
    let place = written(3);
    let mut timeline = Timeline::new(Reader::open(&place.c_path).unwrap());
    let slot = timeline.poll()[0];
    let exe = std::env::current_exe().unwrap();
    assert_eq!(timeline.event(slot, None).unwrap().exe, Some(exe.as_os_str().as_bytes()));
}

#[test]
fn threads_write_side_by_side() {
    let place = place();
    Journal::create(&place.c_path).unwrap();
    let (journal, identity) = (Journal::open(&place.c_path).unwrap(), Identity::new());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (journal, identity) = (&journal, &identity);
            scope.spawn(move || {
                for number in 0..5_000 {
                    append(journal, identity, Call::Shmdt { addr: thread * 5_000 + number }, Outcome::of(Ok(0)));
                }
            });
        }
    });
    let (mut numbers, damaged) = read(&place.c_path).unwrap();
    numbers.sort_unstable();
    assert_eq!((numbers, damaged), ((0..40_000).collect(), 0));
}

#[test]
fn a_reader_beside_the_writer_sees_each_record_whole_and_once() {
    const COUNT: u64 = 200_000;
    let place = place();
    Journal::create(&place.c_path).unwrap();
    let (journal, identity) = (Journal::open(&place.c_path).unwrap(), Identity::new());
    let mut timeline = Timeline::new(Reader::open(&place.c_path).unwrap());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 1..=COUNT {
                let long = Call::Ftok { path: b"/a/path/that/takes/more/than/one/slot", proj: number as i32 };
                let call = if number % 2 == 0 { long } else { Call::Shmdt { addr: number } };
                append(&journal, &identity, call, Outcome::of(Ok(number % 2 * number)));
            }
        });
        let mut seen = Vec::new();
        loop {
            let last = writer.is_finished();
            for slot in timeline.poll() {
                let event = timeline.event(slot, None).expect("a whole record");
                let (number, expected) = match event.call {
                    Call::Ftok { path, proj } => {
                        assert_eq!(path, b"/a/path/that/takes/more/than/one/slot");
                        (proj as u64, 0)
                    }
                    Call::Shmdt { addr } => (addr, addr),
                    other => panic!("{other:?}"),
                };
                assert_eq!(event.outcome.result, Ok(expected), "torn");
                seen.push(number);
            }
            if last {
                break;
            }
        }
        // A slot that was still empty when the reader passed comes with the next look.
        seen.sort_unstable();
        assert!(seen.into_iter().eq(1..=COUNT), "a record is missing, or came twice");
        assert_eq!(timeline.damaged().count(), 0);
    });
}

#[test]
fn a_follower_sees_what_comes_and_a_late_slot_too() {
    let place = place();
    Journal::create(&place.c_path).unwrap();
    let (journal, identity) = (Journal::open(&place.c_path).unwrap(), Identity::new());
    let mut timeline = Timeline::new(Reader::open(&place.c_path).unwrap());
    assert!(timeline.poll().is_empty());
    // The first leaves the rest of its block open; another thread's block comes behind it.
    append(&journal, &identity, Call::Shmdt { addr: 1 }, Outcome::of(Ok(0)));
    std::thread::scope(|scope| {
        scope.spawn(|| append(&journal, &identity, Call::Shmdt { addr: 2 }, Outcome::of(Ok(0))));
    });
    assert_eq!(timeline.poll().len(), 2);
    append(&journal, &identity, Call::Shmdt { addr: 3 }, Outcome::of(Ok(0)));
    let late = timeline.poll();
    assert_eq!(late.len(), 1);
    assert!(late[0] < BLOCK_SLOTS);
    assert!(timeline.poll().is_empty());
}

#[test]
fn a_cut_journal_gives_what_is_there() {
    let place = written(20_000);
    let file = fs::OpenOptions::new().write(true).open(&place.path).unwrap();
    file.set_len(HEADER_LEN + 1000 * SLOT_LEN + 7).unwrap();
    let (numbers, damaged) = read(&place.c_path).unwrap();
    assert!(numbers.len() > 400 && numbers.len() < 1000 && damaged <= 1, "{} {damaged}", numbers.len());
    assert!(numbers.iter().zip(0..).all(|(number, expected)| *number == expected));
    assert!(Reader::open(&place.c_path).unwrap().is_cut());
    assert!(!Reader::open(&written(10).c_path).unwrap().is_cut());
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut all = fs::read(path).unwrap();
    all[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    fs::write(path, all).unwrap();
}

#[test]
fn damage_is_noticed_where_it_is() {
    let place = written(100);
    overwrite(&place.path, HEADER_LEN + 40 * SLOT_LEN, &[0x5a; 3 * SLOT_LEN as usize]);
    let mut timeline = Timeline::new(Reader::open(&place.c_path).unwrap());
    let found = timeline.poll().len();
    assert!((80..100).contains(&found), "{found}");
    assert!(timeline.damaged().any(|offset| offset == HEADER_LEN + 40 * SLOT_LEN));
}

#[test]
fn what_is_no_journal_of_ours_is_refused() {
    let place = written(1);
    overwrite(&place.path, 8, &[9]);
    assert_eq!(read(&place.c_path), Err(OpenError::Version(9)));
    assert_eq!(Journal::open(&place.c_path).err(), Some(Errno::EINVAL));
    overwrite(&place.path, 0, b"X");
    assert_eq!(read(&place.c_path), Err(OpenError::NotAJournal));
    fs::write(&place.path, "short").unwrap();
    assert_eq!(read(&place.c_path), Err(OpenError::NotAJournal));
}

#[test]
fn a_slot_beyond_the_file_is_a_hole() {
    let place = written(1);
    let mut reader = Reader::open(&place.c_path).unwrap();
    assert_eq!(reader.item(u64::MAX), Item::Hole);
    assert_eq!(reader.item(1 << 40), Item::Hole);
}
