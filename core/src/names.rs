//! The field's names for keys, flags and commands, and how they are written.

#![forbid(unsafe_code)]

use core::fmt;

/// `SHM_EXEC`, which the libc crate has not for every target.
const SHM_EXEC: i32 = 0o100_000;
/// Commands of shmctl that the libc crate has not: `SHM_STAT`, `SHM_INFO`, and since Linux 4.17 `SHM_STAT_ANY`.
pub(crate) const SHM_STAT: i32 = 13;
pub(crate) const SHM_INFO: i32 = 14;
pub(crate) const SHM_STAT_ANY: i32 = 15;

/// AIX's flags of shmget, in bits that Linux leaves free (include/shmgate.h): large pages, pinned pages, addresses for the largest pages.
pub const SHM_LGPAGE: i32 = 0x10_0000;
pub const SHM_PIN: i32 = 0x20_0000;
pub const SHM_HGSEG: i32 = 0x40_0000;
/// All of them: wishes, which no system's shmget gets to see.
pub const SHM_ADVICE: i32 = SHM_LGPAGE | SHM_PIN | SHM_HGSEG;

const SHMGET: &[(&str, i32)] = &[
    ("IPC_CREAT", libc::IPC_CREAT),
    ("IPC_EXCL", libc::IPC_EXCL),
    ("SHM_HUGETLB", libc::SHM_HUGETLB),
    ("SHM_NORESERVE", libc::SHM_NORESERVE),
    ("SHM_LGPAGE", SHM_LGPAGE),
    ("SHM_PIN", SHM_PIN),
    ("SHM_HGSEG", SHM_HGSEG),
];
const SHMAT: &[(&str, i32)] =
    &[("SHM_RDONLY", libc::SHM_RDONLY), ("SHM_RND", libc::SHM_RND), ("SHM_REMAP", libc::SHM_REMAP), ("SHM_EXEC", SHM_EXEC)];
const SHMCTL: &[(&str, i32)] = &[
    ("IPC_RMID", libc::IPC_RMID),
    ("IPC_SET", libc::IPC_SET),
    ("IPC_STAT", libc::IPC_STAT),
    ("IPC_INFO", libc::IPC_INFO),
    ("SHM_LOCK", libc::SHM_LOCK),
    ("SHM_UNLOCK", libc::SHM_UNLOCK),
    ("SHM_STAT", SHM_STAT),
    ("SHM_INFO", SHM_INFO),
    ("SHM_STAT_ANY", SHM_STAT_ANY),
];
/// The bits of a shmget flag that hold the logarithm of the huge page size, when `SHM_HUGETLB` is set.
const HUGE_SHIFT: u32 = 26;
const HUGE_MASK: i32 = 0x3f;

/// The huge page size that shmget's `flags` ask for, as a power of two: 0 is the system's default.
pub fn huge_page_log2(flags: i32) -> u32 {
    ((flags >> HUGE_SHIFT) & HUGE_MASK) as u32
}

/// shmget's flags as `IPC_CREAT|0600`.
pub struct ShmgetFlags(pub i32);
/// shmat's flags as `SHM_RDONLY|SHM_RND`.
pub struct ShmatFlags(pub i32);
/// A key as `0x5e000001`, or `IPC_PRIVATE`.
pub struct Key(pub i32);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            libc::IPC_PRIVATE => f.write_str("IPC_PRIVATE"),
            key => write!(f, "{key:#010x}"),
        }
    }
}

impl fmt::Display for ShmgetFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.0 & 0o777;
        let mut rest = self.0 & !0o777;
        let mut list = List { f, empty: true };
        list.named(SHMGET, &mut rest)?;
        if self.0 & libc::SHM_HUGETLB != 0 && huge_page_log2(rest) != 0 {
            list.item(format_args!("{}<<SHM_HUGE_SHIFT", huge_page_log2(rest)))?;
            rest &= !(HUGE_MASK << HUGE_SHIFT);
        }
        if mode != 0 {
            list.item(format_args!("{mode:04o}"))?;
        }
        list.rest(rest)
    }
}

impl fmt::Display for ShmatFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut list = List { f, empty: true };
        list.named(SHMAT, &mut rest)?;
        list.rest(rest)
    }
}

/// Writes items with `|` between them.
struct List<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    empty: bool,
}

impl List<'_, '_> {
    fn item(&mut self, item: fmt::Arguments<'_>) -> fmt::Result {
        if !self.empty {
            self.f.write_str("|")?;
        }
        self.empty = false;
        self.f.write_fmt(item)
    }

    /// Writes the names whose bits are set, and takes them out of `bits`.
    fn named(&mut self, table: &[(&str, i32)], bits: &mut i32) -> fmt::Result {
        for &(name, bit) in table {
            if *bits & bit != 0 {
                self.item(format_args!("{name}"))?;
                *bits &= !bit;
            }
        }
        Ok(())
    }

    /// Writes what no name was found for, and `0` if there was nothing at all.
    fn rest(&mut self, bits: i32) -> fmt::Result {
        if bits != 0 {
            self.item(format_args!("{bits:#x}"))
        } else if self.empty {
            self.f.write_str("0")
        } else {
            Ok(())
        }
    }
}

/// The name of a shmctl command.
pub fn shmctl_command(cmd: i32) -> Option<&'static str> {
    SHMCTL.iter().find(|&&(_, value)| value == cmd).map(|&(name, _)| name)
}

/// The shmctl command of a name.
pub fn shmctl_command_from_name(name: &str) -> Option<i32> {
    SHMCTL.iter().find(|&&(known, _)| known == name).map(|&(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_as_strace_writes_them() {
        assert_eq!(ShmgetFlags(0).to_string(), "0");
        assert_eq!(ShmgetFlags(0o600).to_string(), "0600");
        assert_eq!(ShmgetFlags(libc::IPC_CREAT | libc::IPC_EXCL | 0o1).to_string(), "IPC_CREAT|IPC_EXCL|0001");
        let huge = libc::SHM_HUGETLB | (21 << HUGE_SHIFT) | 0o600;
        assert_eq!(ShmgetFlags(huge).to_string(), "SHM_HUGETLB|21<<SHM_HUGE_SHIFT|0600");
        assert_eq!(ShmgetFlags(SHM_ADVICE | 0o600).to_string(), "SHM_LGPAGE|SHM_PIN|SHM_HGSEG|0600");
        assert_eq!(ShmgetFlags(0x4_0000).to_string(), "0x40000");
        assert_eq!(ShmatFlags(libc::SHM_RDONLY | libc::SHM_RND).to_string(), "SHM_RDONLY|SHM_RND");
        assert_eq!(ShmatFlags(-1).to_string(), "SHM_RDONLY|SHM_RND|SHM_REMAP|SHM_EXEC|0xffff0fff");
    }

    #[test]
    fn keys_are_written_as_ipcs_writes_them() {
        assert_eq!(Key(0).to_string(), "IPC_PRIVATE");
        assert_eq!(Key(0x5e00_0001).to_string(), "0x5e000001");
        assert_eq!(Key(-1).to_string(), "0xffffffff");
    }

    #[test]
    fn commands_have_names_both_ways() {
        for (name, value) in SHMCTL {
            assert_eq!(shmctl_command(*value), Some(*name));
            assert_eq!(shmctl_command_from_name(name), Some(*value));
        }
        assert_eq!(shmctl_command(99), None);
    }
}
