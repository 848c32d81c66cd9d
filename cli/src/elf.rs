//! What an executable's ELF header says about whether a library can be preloaded into it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, FileKind, elf};

/// What kind of machine code a file holds: its class, byte order and machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    pub is_64: bool,
    pub is_little_endian: bool,
    pub machine: u16,
}

/// An ELF file, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    pub machine: Machine,
    /// The program interpreter, which loads the file and its libraries.
    pub loader: Option<String>,
    /// Neither loader nor a library's name: it is an executable that needs no loader.
    pub is_static: bool,
}

impl Elf {
    /// Reads an ELF file's headers; `None` if it is none.
    ///
    /// # Errors
    /// When the file can't be read; [`io::ErrorKind::InvalidData`] for a damaged one.
    pub fn read(path: &Path) -> io::Result<Option<Elf>> {
        let mut file = File::open(path)?;
        let mut magic = [0; 4];
        if file.read(&mut magic)? < 4 || magic != elf::ELFMAG {
            return Ok(None);
        }
        file.rewind()?;
        // Headers only: executables of several hundred megabytes exist.
        let cache = ReadCache::new(BufReader::new(file));
        let elf = match FileKind::parse(&cache) {
            Ok(FileKind::Elf32) => parse::<elf::FileHeader32<Endianness>, _>(&cache),
            Ok(FileKind::Elf64) => parse::<elf::FileHeader64<Endianness>, _>(&cache),
            _ => None,
        };
        elf.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// True if the loader is glibc's, whose rules for preloading are the ones that the library is made for.
    pub fn has_glibc_loader(&self) -> bool {
        let name = self.loader.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path));
        name.is_none_or(|name| ["ld-linux", "ld64.so.", "ld.so."].iter().any(|prefix| name.starts_with(prefix)))
    }
}

fn parse<'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(data: R) -> Option<Elf> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let machine = Machine {
        is_64: header.is_type_64(),
        is_little_endian: endian == Endianness::Little,
        machine: header.e_machine(endian).0,
    };
    let mut elf = Elf { machine, loader: None, is_static: true };
    for segment in header.program_headers(endian, data).ok()? {
        if let Ok(Some(loader)) = segment.interpreter(endian, data) {
            elf.loader = Some(String::from_utf8_lossy(loader).into_owned());
        }
        if let Ok(Some(dynamic)) = segment.dynamic(endian, data) {
            // The loader itself has no loader either, but a library's name: it can be run, and preloads.
            elf.is_static &= !dynamic.iter().any(|entry| entry.tag(endian) == elf::DT_SONAME);
        }
    }
    elf.is_static &= elf.loader.is_none();
    Some(elf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_a_dynamic_program_of_this_machine() {
        let elf = Elf::read(Path::new("/proc/self/exe")).unwrap().unwrap();
        assert!(!elf.is_static && elf.has_glibc_loader(), "{elf:?}");
        assert_eq!(elf.machine.is_64, cfg!(target_pointer_width = "64"));
        let loader = Elf::read(Path::new(elf.loader.as_deref().unwrap())).unwrap().unwrap();
        assert!(!loader.is_static && loader.loader.is_none() && loader.machine == elf.machine, "{loader:?}");
    }

    #[test]
    fn loaders_of_other_libcs_are_known() {
        let with = |loader: &str| {
            let machine = Machine { is_64: true, is_little_endian: true, machine: 62 };
            Elf { machine, loader: Some(loader.into()), is_static: false }.has_glibc_loader()
        };
        assert!(with("/lib64/ld-linux-x86-64.so.2") && with("/lib/ld-linux-aarch64.so.1") && with("/lib/ld64.so.1"));
        assert!(!with("/lib/ld-musl-x86_64.so.1") && !with("/system/bin/linker64"));
    }

    #[test]
    fn what_is_no_elf_is_none_and_half_of_one_is_damaged() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("x");
        let read = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            Elf::read(&file).map_err(|error| error.kind())
        };
        for bytes in [&b""[..], b"#!/bin/sh\n"] {
            assert_eq!(read(bytes), Ok(None));
        }
        for bytes in [&b"\x7fELF"[..], b"\x7fELF\x02\x01\x01 and nothing more"] {
            assert_eq!(read(bytes), Err(io::ErrorKind::InvalidData));
        }
    }
}
