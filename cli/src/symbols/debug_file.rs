//! Finding the file with a module's debug information, as debuggers do: the file itself, or a separate one, which distributions have in
//! packages of their own.
//!
//! A separate file is found by build id below /usr/lib/debug/.build-id, or by the name in `.gnu_debuglink` beside the module, in `.debug`
//! there, or below /usr/lib/debug; it has to have the same build id, or else the checksum that the link tells.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::read::{Object, ObjectSection, ReadCache};

/// Where distributions put debug files.
const DEBUG: &str = "/usr/lib/debug";

/// A file's build id, and what it says about separate debug information.
#[derive(Default)]
struct Facts {
    build_id: Vec<u8>,
    has_debug: bool,
    /// `.gnu_debuglink`: a file name and a checksum.
    link: Option<(Vec<u8>, u32)>,
    /// `.gnu_debugaltlink`: the path and build id of a file that several share parts in.
    alternative: Option<(Vec<u8>, Vec<u8>)>,
}

fn facts(path: &Path) -> Option<Facts> {
    // A pipe would be waited for.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let cache = ReadCache::new(File::open(path).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let has_debug = [".debug_info", ".zdebug_info"].iter().any(|name| {
        // A stripped file's section may be there still, without contents.
        file.section_by_name(name).is_some_and(|section| section.file_range().is_some_and(|(_, len)| len > 0))
    });
    Some(Facts {
        build_id: file.build_id().ok().flatten().unwrap_or_default().to_vec(),
        has_debug,
        link: file.gnu_debuglink().ok().flatten().map(|(name, checksum)| (name.to_vec(), checksum)),
        alternative: file.gnu_debugaltlink().ok().flatten().map(|(name, id)| (name.to_vec(), id.to_vec())),
    })
}

/// What became of a file that ran, if that is why nothing is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// There is another one in its place.
    Changed,
    Gone,
}

impl Fate {
    /// Of the file at `path` with this build id; `None` if it is there still, or if that can't be told.
    pub fn of(path: &Path, build_id: &[u8]) -> Option<Fate> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Fate::Gone),
            _ => facts(path).filter(|facts| facts.build_id != build_id).map(|_| Fate::Changed),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Fate::Changed => "changed",
            Fate::Gone => "gone",
        }
    }
}

/// True if the file at `path` is the one with this build id, as far as that can be told.
pub fn is_build(path: &Path, build_id: &[u8]) -> bool {
    facts(path).is_some_and(|facts| facts.build_id == build_id)
}

/// The file with the debug information of the module that was at `path`; `file` is the module itself, if it is still there.
pub fn find(file: Option<&Path>, path: &Path, build_id: &[u8]) -> Option<PathBuf> {
    let own = file.and_then(facts);
    if own.as_ref().is_some_and(|own| own.has_debug) {
        return file.map(Path::to_owned);
    }
    if let Some(found) = by_build_id(build_id) {
        return Some(found);
    }
    let (name, checksum) = own?.link?;
    let name = OsStr::from_bytes(&name);
    let folder = path.parent()?;
    let below = Path::new(DEBUG).join(folder.strip_prefix("/").ok()?);
    [folder.join(name), folder.join(".debug").join(name), below.join(name)].into_iter().find(|candidate| {
        let Some(facts) = facts(candidate).filter(|facts| facts.has_debug) else { return false };
        if facts.build_id.is_empty() || build_id.is_empty() {
            checksum_of(candidate) == Some(checksum)
        } else {
            facts.build_id == build_id
        }
    })
}

/// The file that the debug file at `path` shares parts with others in, if it has such (dwz makes them).
pub fn supplement(path: &Path) -> Option<PathBuf> {
    let (name, build_id) = facts(path)?.alternative?;
    let named = path.parent()?.join(OsStr::from_bytes(&name));
    Some(named).filter(|named| is_build(named, &build_id)).or_else(|| by_build_id(&build_id))
}

fn by_build_id(build_id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = build_id.split_first()?;
    let mut name = String::new();
    for byte in rest {
        let _ = write!(name, "{byte:02x}");
    }
    let path = Path::new(DEBUG).join(format!(".build-id/{first:02x}/{name}.debug"));
    is_build(&path, build_id).then_some(path)
}

/// The checksum of `.gnu_debuglink`: CRC-32 as in zlib.
fn checksum_of(path: &Path) -> Option<u32> {
    let mut file = File::open(path).ok()?;
    let mut checksum = u32::MAX;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(!checksum),
            count => checksum = crc(checksum, &buffer[..count]),
        }
    }
}

fn crc(mut checksum: u32, bytes: &[u8]) -> u32 {
    for byte in bytes {
        checksum ^= u32::from(*byte);
        for _ in 0..8 {
            checksum = checksum >> 1 ^ if checksum & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(!crc(u32::MAX, b"123456789"), 0xcbf4_3926);
    }
}
