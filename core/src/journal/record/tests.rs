//! Tests of `record`.

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
    let denial = (1_u8..13, any::<u16>(), any::<[u64; 3]>(), any::<(u32, u64)>()).prop_map(
        |(number, rule, [asked, used, limit], holder)| Denial {
            reason: reason(number, rule).unwrap(),
            errno: Errno::ENOSPC,
            asked,
            used,
            limit,
            holder,
        },
    );
    prop_oneof![
        Just(Verdict::Allowed),
        denial.clone().prop_map(Verdict::Denied),
        denial.prop_map(Verdict::WouldDeny),
        any::<u16>().prop_map(|rule| Verdict::Masked { rule }),
        any::<u16>().prop_map(|rule| Verdict::Logged { rule }),
    ]
}

fn decode_slots<'a>(slots: &Slots<'_>, owner: Owner, text: &'a mut Vec<u8>) -> Option<Record<'a>> {
    let behind: Vec<Words> = slots.behind().collect();
    assert_eq!((behind.len() as u64 + 1, behind.len()), (slots.count(), super::behind(&slots.first)));
    Record::decode(slots.kind, &slots.first, &behind, owner, text)
}

fn short(record: &Record<'_>) -> Option<Words> {
    let plain = record.outcome.verdict == Verdict::Allowed;
    let compact = || compact(record.ticks, record.duration, record.backend, &record.call, record.outcome.result);
    plain.then(compact).flatten()
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_the_same(
        (ticks, pid, tid, uid, backend) in any::<(u64, u32, u32, u32, u8)>(), duration in 0_u64..1 << 28,
        call in any_call(), verdict in any_verdict(), result in any::<u64>(), small: bool, errno in 0_i32..200,
    ) {
        let result = if errno != 0 { Err(Errno(errno)) } else { Ok(if small { result >> 33 } else { result }) };
        let record = Record {
            ticks, duration, pid, tid, uid, call, backend: backend & 0xf, outcome: Outcome { result, verdict },
        };
        let owner = Owner::decode(&Owner { pid, tid, uid }.encode());
        let (mut text, mut other) = (Vec::new(), Vec::new());
        prop_assert_eq!(decode_slots(&record.long(), owner, &mut text), Some(record));
        if let Some(words) = short(&record) {
            prop_assert_eq!(Record::decode(Kind::Call, &words, &[], owner, &mut other), Some(record));
        }
    }

    #[test]
    fn the_usual_call_takes_one_slot(key: i32, size: u32, shmid in 0..i32::MAX, addr in 0_u64..1 << 47, errno in 0_i32..200) {
        let result = |value: u64| if errno == 0 { Ok(value) } else { Err(Errno(errno)) };
        for (call, result) in [
            (Call::Shmget { key, size: size.into(), flags: 0o1600 }, result(shmid as u64)),
            (Call::Shmat { shmid, addr: 0, flags: 0 }, result(addr)),
            (Call::Shmdt { addr }, result(0)),
            (Call::Shmctl { shmid, cmd: libc::IPC_STAT, buf: addr, set: None }, result(0)),
        ] {
            let record = Record {
                ticks: 1, duration: 2, pid: 3, tid: 4, uid: 5, call, backend: 0, outcome: Outcome::of(result),
            };
            prop_assert!(short(&record).is_some());
        }
    }

    #[test]
    fn a_duration_is_right_to_a_millionth(ticks in 0_u64..1 << 42) {
        let back = long_duration(short_duration(ticks));
        prop_assert!(back <= ticks && ticks - back <= ticks >> 20, "{} {}", ticks, back);
    }

    #[test]
    fn any_words_are_answered(words: Words, behind: Vec<Words>) {
        for kind in [Kind::Call, Kind::LongCall] {
            let _ = Record::decode(kind, &words, &behind, Owner::default(), &mut Vec::new());
        }
    }
}
