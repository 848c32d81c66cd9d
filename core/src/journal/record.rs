//! A call's record: an event as the words of a slot, or several, and back.
//!
//! Decoding trusts nothing: a word that no writer writes makes the record damaged, never more.

#![forbid(unsafe_code)]

use super::format::{Kind, MOST_TEXT, Words};
use super::stack;
use crate::call::{Call, CallKind, Denial, Outcome, PermSet, Reason, Verdict};
use crate::errno::Errno;

/// A call as the journal keeps it. Times are in the journal's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the call began.
    pub ticks: u64,
    /// How long it took.
    pub duration: u64,
    pub pid: u32,
    pub tid: u32,
    /// The effective user id.
    pub uid: u32,
    pub call: Call<'a>,
    /// Which backend served it.
    pub backend: u8,
    pub outcome: Outcome,
}

/// A verdict as a number, its reason as a number, and the denial if it is one.
fn verdict_parts(verdict: Verdict) -> (u8, u8, Option<Denial>) {
    match verdict {
        Verdict::Allowed => (0, 0, None),
        Verdict::Denied(denial) => (1, reason_number(denial.reason), Some(denial)),
        Verdict::WouldDeny(denial) => (2, reason_number(denial.reason), Some(denial)),
        Verdict::Masked { .. } => (3, 0, None),
        Verdict::Logged { .. } => (4, 0, None),
    }
}

fn reason_number(reason: Reason) -> u8 {
    match reason {
        Reason::SegmentSize => 1,
        Reason::ProcessBytes => 2,
        Reason::ProcessSegments => 3,
        Reason::ProcessAttaches => 4,
        Reason::SessionBytes => 5,
        Reason::SessionSegments => 6,
        Reason::SessionAttaches => 7,
        Reason::WorldAccess => 8,
        Reason::Rule(_) => 9,
        Reason::Config => 10,
        Reason::Internal => 11,
        Reason::LedgerFull => 12,
    }
}

fn reason(number: u8, rule: u16) -> Option<Reason> {
    Some(match number {
        1 => Reason::SegmentSize,
        2 => Reason::ProcessBytes,
        3 => Reason::ProcessSegments,
        4 => Reason::ProcessAttaches,
        5 => Reason::SessionBytes,
        6 => Reason::SessionSegments,
        7 => Reason::SessionAttaches,
        8 => Reason::WorldAccess,
        9 => Reason::Rule(rule),
        10 => Reason::Config,
        11 => Reason::Internal,
        12 => Reason::LedgerFull,
        _ => return None,
    })
}

/// Two halves as a word, the lower first.
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// A duration in 32 bits: 28 of it, and how often it was halved. Exact below 2^28 ticks, a tenth of a second.
#[inline]
fn short_duration(ticks: u64) -> u64 {
    if ticks < 1 << 28 { ticks } else { halved_duration(ticks) }
}

#[cold]
fn halved_duration(ticks: u64) -> u64 {
    let halvings = (64 - ticks.leading_zeros()).saturating_sub(28).min(15);
    (ticks >> halvings).min(0xfff_ffff) | u64::from(halvings) << 28
}

fn long_duration(short: u64) -> u64 {
    (short & 0xfff_ffff) << (short >> 28 & 0xf)
}

/// Set in a long call's last word where the slots behind it have a denial or an IPC_SET.
const DETAILED: u64 = 1 << 24;
const SET_PRESENT: u64 = 1 << 32;

/// A record as slots: the first words have still to be marked with their kind and place.
#[derive(Debug)]
pub struct Slots<'a> {
    pub kind: Kind,
    pub first: Words,
    more: [Words; 3],
    more_count: usize,
    text: &'a [u8],
}

impl<'a> Slots<'a> {
    /// A process's record.
    pub fn process(ticks: u64, pid: u32, exe: &'a [u8]) -> Slots<'a> {
        let exe = &exe[..exe.len().min(MOST_TEXT)];
        let first = [0, ticks, pid.into(), (exe.len() as u64) << 8 | exe.len().div_ceil(24) as u64];
        Slots { kind: Kind::Process, first, more: [[0; 4]; 3], more_count: 0, text: exe }
    }

    /// A module's record: a file with this `bias`, whose build id of `id_len` bytes and path are `text`.
    pub fn module(ticks: u64, bias: u64, id_len: usize, text: &'a [u8]) -> Slots<'a> {
        let first = stack::module_words(ticks, bias, id_len, text.len());
        Slots { kind: Kind::Module, first, more: [[0; 4]; 3], more_count: 0, text }
    }

    /// How many slots it takes.
    pub fn count(&self) -> u64 {
        (1 + self.more_count + self.text.len().div_ceil(24)) as u64
    }

    /// The slots behind the first.
    pub fn behind(&self) -> impl Iterator<Item = Words> {
        let texts = self.text.chunks(24).map(|part| {
            let mut bytes = [0; 24];
            bytes[..part.len()].copy_from_slice(part);
            let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|byte| bytes[at * 8 + byte]));
            [0, word(0), word(1), word(2)]
        });
        self.more[..self.more_count].iter().copied().chain(texts)
    }
}

/// How many slots are behind a long record's first.
pub fn behind(words: &Words) -> usize {
    (words[3] & 0xff) as usize
}

/// The length of a long record's text in bytes.
pub fn text_len(words: &Words) -> usize {
    (words[3] >> 8 & 0xffff) as usize
}

fn first_word(call: CallKind, verdict: u8, backend: u8, duration: u64) -> u64 {
    (call as u64) << 4 | u64::from(verdict) << 8 | u64::from(backend & 0xf) << 12 | short_duration(duration) << 32
}

/// A call that nothing stood against in one slot, if its numbers are as small as they mostly are.
#[inline]
pub fn compact(ticks: u64, duration: u64, backend: u8, call: &Call<'_>, result: Result<u64, Errno>) -> Option<Words> {
    // A result, or an errno as a negative number.
    let result = match result {
        Ok(value) => i64::try_from(value).ok()?,
        Err(errno) => -i64::from(errno.0),
    };
    let (numbers, rest) = match *call {
        Call::Shmget { key, size, flags } => {
            (pair(key as u32, flags as u32), pair(u32::try_from(size).ok()?, i32::try_from(result).ok()? as u32))
        }
        Call::Shmat { shmid, addr: 0, flags } => (pair(shmid as u32, flags as u32), result as u64),
        Call::Shmdt { addr } => (result as u64, addr),
        Call::Shmctl { shmid, cmd, buf, set: None } if buf >> 48 == 0 => {
            (pair(shmid as u32, cmd as u32), buf | u64::from(i16::try_from(result).ok()? as u16) << 48)
        }
        _ => return None,
    };
    Some([first_word(call.kind(), 0, backend, duration), ticks, numbers, rest])
}

impl<'a> Record<'a> {
    /// The record in as few slots as it needs.
    pub fn encode(&self) -> Slots<'a> {
        let plain = self.outcome.verdict == Verdict::Allowed;
        match compact(self.ticks, self.duration, self.backend, &self.call, self.outcome.result).filter(|_| plain) {
            Some(first) => Slots { kind: Kind::Call, first, more: [[0; 4]; 3], more_count: 0, text: b"" },
            None => self.long(),
        }
    }

    fn long(&self) -> Slots<'a> {
        let (verdict, reason, denial) = verdict_parts(self.outcome.verdict);
        let rule = self.outcome.verdict.rule().unwrap_or(0);
        let (result, errno) = match self.outcome.result {
            Ok(value) => (value, 0),
            Err(errno) => (u64::MAX, errno.0 as u16),
        };
        let (low, high, argument, set, text): (i32, i32, u64, Option<PermSet>, &[u8]) = match self.call {
            Call::Shmget { key, size, flags } => (key, flags, size, None, b""),
            Call::Shmat { shmid, addr, flags } => (shmid, flags, addr, None, b""),
            Call::Shmdt { addr } => (0, 0, addr, None, b""),
            Call::Shmctl { shmid, cmd, buf, set } => (shmid, cmd, buf, set, b""),
            Call::Ftok { path, proj } => (proj, 0, 0, None, path),
        };
        let text = &text[..text.len().min(MOST_TEXT)];
        let mut more = [[0, argument, result, 0], [0; 4], [0; 4]];
        let detailed = denial.is_some() || set.is_some();
        if let Some(denial) = denial {
            more[0][3] = u64::from(reason) | (denial.errno.0 as u64 & 0xffff) << 8;
            more[1] = [0, denial.asked, denial.used, denial.limit];
            more[2] = [0, denial.holder.0.into(), denial.holder.1, 0];
        }
        if let Some(set) = set {
            more[0][3] |= SET_PRESENT;
            more[2][1] |= u64::from(set.mode) << 32;
            more[2][3] = pair(set.uid, set.gid);
        }
        let more_count = if detailed { 3 } else { 1 };
        let count = more_count + text.len().div_ceil(24);
        let last = count as u64
            | (text.len() as u64) << 8
            | if detailed { DETAILED } else { 0 }
            | u64::from(errno) << 32
            | u64::from(rule) << 48;
        let word = first_word(self.call.kind(), verdict, self.backend, self.duration);
        let first = [word, self.ticks, pair(low as u32, high as u32), last];
        Slots { kind: Kind::LongCall, first, more, more_count, text }
    }

    /// The record of a call's slots: the first, and those behind it. `text` is a place for a path.
    ///
    /// Returns `None` for words that no writer writes.
    pub fn decode(kind: Kind, words: &Words, behind: &[Words], owner: Owner, text: &'a mut Vec<u8>) -> Option<Record<'a>> {
        let call_number = (words[0] >> 4) as u8 & 0xf;
        let call_kind = CallKind::ALL.into_iter().find(|&known| known as u8 == call_number)?;
        let signed =
            |value: i64| if value < 0 { Err(Errno(value.unsigned_abs().min(0xffff) as i32)) } else { Ok(value as u64) };
        let (low, high) = halves(words[2]);
        let (low, high) = (low as i32, high as i32);
        let rest = words[3];
        let (call, outcome) = if kind == Kind::Call {
            let (call, result) = match call_kind {
                CallKind::Shmget => {
                    let (size, result) = halves(rest);
                    (Call::Shmget { key: low, size: size.into(), flags: high }, i64::from(result as i32))
                }
                CallKind::Shmat => (Call::Shmat { shmid: low, addr: 0, flags: high }, rest as i64),
                CallKind::Shmdt => (Call::Shmdt { addr: rest }, words[2] as i64),
                CallKind::Shmctl => {
                    let buf = rest & ((1 << 48) - 1);
                    (Call::Shmctl { shmid: low, cmd: high, buf, set: None }, i64::from((rest >> 48) as u16 as i16))
                }
                CallKind::Ftok => return None,
            };
            (call, Outcome::of(signed(result)))
        } else {
            decode_long(call_kind, words, behind, text)?
        };
        Some(Record {
            ticks: words[1],
            duration: long_duration(words[0] >> 32),
            pid: owner.pid,
            tid: owner.tid,
            uid: owner.uid,
            call,
            backend: (words[0] >> 12) as u8 & 0xf,
            outcome,
        })
    }
}

fn decode_long<'a>(kind: CallKind, words: &Words, behind: &[Words], text: &'a mut Vec<u8>) -> Option<(Call<'a>, Outcome)> {
    let (low, high) = halves(words[2]);
    let (low, high) = (low as i32, high as i32);
    let &[_, argument, result, about] = behind.first()?;
    let errno = i32::from((words[3] >> 32) as u16);
    let rule = (words[3] >> 48) as u16;
    let details = if words[3] & DETAILED != 0 { Some((behind.get(1)?, behind.get(2)?)) } else { None };
    let denial = || {
        let (numbers, holder) = details?;
        Some(Denial {
            reason: reason(about as u8, rule)?,
            errno: Errno(i32::from((about >> 8) as u16)),
            asked: numbers[1],
            used: numbers[2],
            limit: numbers[3],
            holder: (holder[1] as u32, holder[2]),
        })
    };
    let verdict = match (words[0] >> 8) as u8 & 0xf {
        0 => Verdict::Allowed,
        1 => Verdict::Denied(denial()?),
        2 => Verdict::WouldDeny(denial()?),
        3 => Verdict::Masked { rule },
        4 => Verdict::Logged { rule },
        _ => return None,
    };
    let texts = behind.get(if details.is_some() { 3 } else { 1 }..)?;
    text.clear();
    text.extend(texts.iter().flat_map(|part| part[1..].iter().flat_map(|word| word.to_le_bytes())));
    text.truncate(text_len(words));
    let call = match kind {
        CallKind::Shmget => Call::Shmget { key: low, size: argument, flags: high },
        CallKind::Shmat => Call::Shmat { shmid: low, addr: argument, flags: high },
        CallKind::Shmdt => Call::Shmdt { addr: argument },
        CallKind::Shmctl => {
            let set = details.filter(|_| about & SET_PRESENT != 0).map(|(_, last)| {
                let (uid, gid) = halves(last[3]);
                PermSet { uid, gid, mode: (last[1] >> 32) as u16 }
            });
            Call::Shmctl { shmid: low, cmd: high, buf: argument, set }
        }
        CallKind::Ftok => Call::Ftok { path: text, proj: low },
    };
    let result = if errno == 0 { Ok(result) } else { Err(Errno(errno)) };
    Some((call, Outcome { result, verdict }))
}

/// Whose a block is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    pub tid: u32,
    /// The effective user id.
    pub uid: u32,
}

impl Owner {
    /// The first slot of the owner's block.
    pub fn encode(self) -> Words {
        [0, pair(self.pid, self.tid), self.uid.into(), 0]
    }

    /// The owner of a block with this first slot.
    pub fn decode(words: &Words) -> Owner {
        let (pid, tid) = halves(words[1]);
        Owner { pid, tid, uid: words[2] as u32 }
    }
}

#[cfg(test)]
mod tests;
