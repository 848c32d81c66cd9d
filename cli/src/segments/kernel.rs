//! The kernel's segments, from /proc/sysvipc/shm, which shows them all to everybody; where it is missing, from shmctl.
//!
//! Both through system calls of our own: under a gate libc's functions show a namespace of the userspace backend.

use std::rc::Rc;

use shmgate_core::errno::Errno;
use shmgate_core::sys::File;

use super::processes::{Processes, Who};
use super::{Place, Segment};
use crate::environment::KERNEL;

/// All segments of the IPC namespace, in the order of their slots.
///
/// # Errors
/// The kernel has no System V shared memory, or keeps this process from it.
pub fn segments(processes: &Processes) -> Result<Vec<Segment>, Errno> {
    let place = Rc::new(Place::Kernel);
    let mut segments = match text() {
        Some(text) => text.lines().skip(1).filter_map(|line| parse(line, &place)).collect(),
        None => asked(&place)?,
    };
    for segment in &mut segments {
        segment.creator = processes.who(segment.cpid, segment.ctime);
        segment.last = processes.who(segment.lpid, segment.atime.max(segment.dtime));
    }
    Ok(segments)
}

fn text() -> Option<String> {
    let file = File::open(c"/proc/sysvipc/shm", libc::O_RDONLY, 0).ok()?;
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer, bytes.len() as u64).ok()? {
            [] => break,
            piece => bytes.extend_from_slice(piece),
        }
    }
    // Its head at least: what stands there may be another file.
    let text = String::from_utf8(bytes).ok()?;
    text.trim_start().starts_with("key").then_some(text)
}

/// A line of /proc/sysvipc/shm: proc(5) has the columns.
fn parse(line: &str, place: &Rc<Place>) -> Option<Segment> {
    let mut fields = line.split_ascii_whitespace();
    let key = fields.next()?.parse().ok()?;
    let id = fields.next()?.parse().ok()?;
    let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (size, cpid, lpid, nattch) = (number()?, number()? as u32, number()? as u32, number()?);
    let (uid, gid, cuid, cgid) = (number()? as u32, number()? as u32, number()? as u32, number()? as u32);
    let (atime, dtime, ctime) = (number()?, number()?, number()?);
    let (rss, swap) = (number(), number());
    Some(Segment {
        place: place.clone(),
        id,
        key,
        mode,
        uid,
        gid,
        cuid,
        cgid,
        size,
        file: 0,
        rss,
        swap,
        nattch,
        cpid,
        lpid,
        atime,
        dtime,
        ctime,
        creator: Who::Unknown,
        last: Who::Unknown,
    })
}

/// The same from shmctl, which does not tell what is in memory.
fn asked(place: &Rc<Place>) -> Result<Vec<Segment>, Errno> {
    let segment = |(id, about): (i32, libc::shmid_ds)| Segment {
        place: place.clone(),
        id,
        key: about.shm_perm.__key,
        mode: about.shm_perm.mode.into(),
        uid: about.shm_perm.uid,
        gid: about.shm_perm.gid,
        cuid: about.shm_perm.cuid,
        cgid: about.shm_perm.cgid,
        size: about.shm_segsz as u64,
        file: 0,
        rss: None,
        swap: None,
        nattch: about.shm_nattch,
        cpid: about.shm_cpid as u32,
        lpid: about.shm_lpid as u32,
        atime: about.shm_atime as u64,
        dtime: about.shm_dtime as u64,
        ctime: about.shm_ctime as u64,
        creator: Who::Unknown,
        last: Who::Unknown,
    };
    Ok(KERNEL.segments()?.map(segment).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_the_kernel_writes_it() {
        let place = Rc::new(Place::Kernel);
        let line = "-1990017213      32769  3640                  9000  4905  4906      2  1000  1001  1002  1003 1795326100 1795326101 1795326102                  8192                  4096";
        let segment = parse(line, &place).unwrap();
        assert_eq!((segment.key as u32, segment.id, segment.mode), (0x8962_bf43, 32769, 0o3640));
        assert_eq!((segment.size, segment.rss, segment.swap), (9000, Some(8192), Some(4096)));
        assert_eq!((segment.cpid, segment.lpid, segment.nattch), (4905, 4906, 2));
        assert_eq!((segment.uid, segment.gid, segment.cuid, segment.cgid), (1000, 1001, 1002, 1003));
        assert_eq!((segment.atime, segment.dtime, segment.ctime), (1795326100, 1795326101, 1795326102));
        for broken in ["", "1 2", "x 0 600 1 1 1 1 1 1 1 1 1 1 1 1 1"] {
            assert!(parse(broken, &place).is_none());
        }
    }

    #[test]
    fn both_ways_find_the_same() {
        let segments = || {
            let place = Rc::new(Place::Kernel);
            let (text, asked) = (text()?, asked(&place).ok()?);
            let read: Vec<Segment> = text.lines().skip(1).filter_map(|line| parse(line, &place)).collect();
            let of = |segments: Vec<Segment>| -> Vec<_> {
                segments.iter().map(|one| (one.id, one.key, one.mode, one.size, one.cpid, one.cuid, one.ctime)).collect()
            };
            Some((of(read), of(asked)))
        };
        // Others may create and remove meanwhile, but not each time.
        let same = (0..100).any(|_| segments().is_none_or(|(read, asked)| read == asked));
        assert!(same, "{:?}", segments());
    }
}
