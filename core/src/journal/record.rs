//! A call's record: an event as sixteen words, and back.
//!
//! Decoding trusts nothing: a word that no writer writes makes the record damaged, never more.

use super::format::SLOT_WORDS;
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

/// A record's words; the first is left for the stamp.
pub type Words = [u64; SLOT_WORDS];

/// The part of a verdict that fits a byte, and a rule's index.
fn verdict_parts(verdict: Verdict) -> (u8, u8, u16, Option<Denial>) {
    match verdict {
        Verdict::Allowed => (0, 0, 0, None),
        Verdict::Denied(denial) => (1, reason_number(denial.reason), rule_of(denial.reason), Some(denial)),
        Verdict::WouldDeny(denial) => (2, reason_number(denial.reason), rule_of(denial.reason), Some(denial)),
        Verdict::Masked { rule } => (3, 0, rule, None),
        Verdict::Logged { rule } => (4, 0, rule, None),
    }
}

fn rule_of(reason: Reason) -> u16 {
    if let Reason::Rule(rule) = reason { rule } else { 0 }
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

const SET_PRESENT: u64 = 1 << 48;

impl<'a> Record<'a> {
    /// The record as words. A path is not among them: it follows in text slots.
    #[inline]
    pub fn encode(&self) -> Words {
        let (verdict, reason, rule, denial) = verdict_parts(self.outcome.verdict);
        let (result, errno) = match self.outcome.result {
            Ok(value) => (value, 0),
            Err(errno) => (u64::MAX, errno.0 as u32),
        };
        let mut words = [0; SLOT_WORDS];
        words[1] = self.ticks;
        words[2] = self.duration;
        words[3] = pair(self.pid, self.tid);
        words[4] = u64::from(self.uid)
            | (self.call.kind() as u64) << 32
            | u64::from(self.backend) << 40
            | u64::from(verdict) << 48
            | u64::from(reason) << 56;
        words[5] = result;
        words[6] = u64::from(errno) | u64::from(rule) << 32;
        match self.call {
            Call::Shmget { key, size, flags } => {
                words[7] = pair(key as u32, flags as u32);
                words[8] = size;
            }
            Call::Shmat { shmid, addr, flags } => {
                words[7] = pair(shmid as u32, flags as u32);
                words[8] = addr;
            }
            Call::Shmdt { addr } => words[8] = addr,
            Call::Shmctl { shmid, cmd, buf, set } => {
                words[7] = pair(shmid as u32, cmd as u32);
                words[8] = buf;
                if let Some(set) = set {
                    words[13] = SET_PRESENT | u64::from(set.mode) << 32;
                    words[15] = pair(set.uid, set.gid);
                }
            }
            Call::Ftok { proj, .. } => words[7] = u64::from(proj as u32),
        }
        if let Some(denial) = denial {
            words[9] = denial.errno.0 as u64;
            words[10] = denial.asked;
            words[11] = denial.used;
            words[12] = denial.limit;
            words[13] |= u64::from(denial.holder.0);
            words[14] = denial.holder.1;
        }
        words
    }

    /// The record of these words; `path` is what its text slots held.
    ///
    /// Returns `None` for words that no writer writes.
    pub fn decode(words: &Words, path: &'a [u8]) -> Option<Record<'a>> {
        let (low, high) = halves(words[7]);
        let (low, high) = (low as i32, high as i32);
        let call = match (words[4] >> 32) as u8 {
            kind if kind == CallKind::Shmget as u8 => Call::Shmget { key: low, size: words[8], flags: high },
            kind if kind == CallKind::Shmat as u8 => Call::Shmat { shmid: low, addr: words[8], flags: high },
            kind if kind == CallKind::Shmdt as u8 => Call::Shmdt { addr: words[8] },
            kind if kind == CallKind::Shmctl as u8 => {
                let (uid, gid) = halves(words[15]);
                let set = (words[13] & SET_PRESENT != 0).then(|| PermSet { uid, gid, mode: (words[13] >> 32) as u16 });
                Call::Shmctl { shmid: low, cmd: high, buf: words[8], set }
            }
            kind if kind == CallKind::Ftok as u8 => Call::Ftok { path, proj: low },
            _ => return None,
        };
        let errno = words[6] as u32 as i32;
        let rule = (words[6] >> 32) as u16;
        let reason_number = (words[4] >> 56) as u8;
        let denial = || {
            Some(Denial {
                reason: reason(reason_number, rule)?,
                errno: Errno(i32::try_from(words[9]).ok()?),
                asked: words[10],
                used: words[11],
                limit: words[12],
                holder: (words[13] as u32, words[14]),
            })
        };
        let verdict = match (words[4] >> 48) as u8 {
            0 => Verdict::Allowed,
            1 => Verdict::Denied(denial()?),
            2 => Verdict::WouldDeny(denial()?),
            3 => Verdict::Masked { rule },
            4 => Verdict::Logged { rule },
            _ => return None,
        };
        let result = if errno == 0 { Ok(words[5]) } else { Err(Errno(errno)) };
        let (pid, tid) = halves(words[3]);
        Some(Record {
            ticks: words[1],
            duration: words[2],
            pid,
            tid,
            uid: words[4] as u32,
            call,
            backend: (words[4] >> 40) as u8,
            outcome: Outcome { result, verdict },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_call() -> impl Strategy<Value = Call<'static>> {
        let set = proptest::option::of((any::<u32>(), any::<u32>(), any::<u16>()));
        prop_oneof![
            any::<(i32, u64, i32)>().prop_map(|(key, size, flags)| Call::Shmget { key, size, flags }),
            any::<(i32, u64, i32)>().prop_map(|(shmid, addr, flags)| Call::Shmat { shmid, addr, flags }),
            any::<u64>().prop_map(|addr| Call::Shmdt { addr }),
            (any::<(i32, i32, u64)>(), set).prop_map(|((shmid, cmd, buf), set)| Call::Shmctl {
                shmid,
                cmd,
                buf,
                set: set.map(|(uid, gid, mode)| PermSet { uid, gid, mode }),
            }),
            any::<i32>().prop_map(|proj| Call::Ftok { path: b"/tmp/x", proj }),
        ]
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        let denial = (1_u8..13, any::<u16>(), any::<[u64; 3]>(), any::<(u32, u64)>()).prop_map(|(number, rule, [asked, used, limit], holder)| {
            Denial { reason: reason(number, rule).unwrap(), errno: Errno::ENOSPC, asked, used, limit, holder }
        });
        prop_oneof![
            Just(Verdict::Allowed),
            denial.clone().prop_map(Verdict::Denied),
            denial.prop_map(Verdict::WouldDeny),
            any::<u16>().prop_map(|rule| Verdict::Masked { rule }),
            any::<u16>().prop_map(|rule| Verdict::Logged { rule }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_the_same(
            (ticks, duration, pid, tid, uid, backend) in any::<(u64, u64, u32, u32, u32, u8)>(),
            call in any_call(), verdict in any_verdict(), result in any::<u64>(), errno in 0_i32..200,
        ) {
            let result = if errno == 0 { Ok(result) } else { Err(Errno(errno)) };
            let record = Record { ticks, duration, pid, tid, uid, call, backend, outcome: Outcome { result, verdict } };
            prop_assert_eq!(Record::decode(&record.encode(), b"/tmp/x"), Some(record));
        }

        #[test]
        fn any_words_are_answered(words: [u64; SLOT_WORDS]) {
            let _ = Record::decode(&words, b"");
        }
    }
}
