//! Which loaded file an address belongs to.
//!
//! `_dl_find_object` (glibc 2.35) answers without a lock, in a signal handler and beside a dlopen too; what it says of a file whose code is
//! on the caller's stack stays true meanwhile. `dl_iterate_phdr` takes the loader's lock, which a call must not wait for.

use core::ffi::{c_int, c_void};

use super::memory::Window;

/// glibc's `struct dl_find_object`.
#[repr(C)]
struct Found {
    flags: u64,
    map_start: u64,
    map_end: u64,
    link_map: u64,
    eh_frame: u64,
    /// Of two machines there are fields more.
    reserved: [u64; 9],
}

/// The public beginning of glibc's `struct link_map`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LinkMap {
    bias: u64,
    name: u64,
}

/// A loaded file: a program, a library, the kernel's vDSO.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Where it is mapped.
    pub start: u64,
    pub end: u64,
    /// What is to be added to the addresses in the file.
    pub bias: u64,
    /// The table of its functions' frames (`PT_GNU_EH_FRAME`).
    pub frames: u64,
    /// The address of the name by which it was loaded; an empty one for the program itself.
    pub name: u64,
    link_map: u64,
}

impl Module {
    /// Tells this loading of a file from another, as far as that can be without looking into it.
    pub fn place(&self) -> u64 {
        [self.start, self.end, self.name, self.link_map].into_iter().fold(self.frames, mix)
    }

    /// Its build id, and the end of its first segment.
    #[inline(never)]
    pub fn head(&self, window: &mut Window) -> Head {
        let mut head = Head::default();
        let _ = self.read_head(window, &mut head);
        head
    }

    fn read_head(&self, window: &mut Window, head: &mut Head) -> Option<()> {
        const PT_LOAD: u32 = 1;
        const PT_NOTE: u32 = 4;
        if window.read(self.start)? != *b"\x7fELF\x02\x01" {
            return None;
        }
        let table = self.start.checked_add(window.word(self.start + 32)?)?;
        let count = u16::from_le_bytes(window.read(self.start + 56)?);
        for number in 0..u64::from(count.min(64)) {
            let entry = table.checked_add(number * 56)?;
            if !(self.start..self.end).contains(&entry) {
                return None;
            }
            let kind = u32::from_le_bytes(window.read(entry)?);
            if kind != PT_LOAD && kind != PT_NOTE {
                continue;
            }
            let address = self.bias.checked_add(window.word(entry + 16)?)?;
            let (file_len, len) = (window.word(entry + 32)?, window.word(entry + 40)?);
            if kind == PT_LOAD && head.first_end == 0 {
                head.first_end = address.checked_add(len)?;
            } else if kind == PT_NOTE && head.build_id.len == 0 {
                head.build_id = self.build_id(window, address, file_len).unwrap_or_default();
            }
        }
        Some(())
    }

    /// Looks for a build id among the notes at `at`.
    fn build_id(&self, window: &mut Window, mut at: u64, len: u64) -> Option<BuildId> {
        const NT_GNU_BUILD_ID: u32 = 3;
        let end = at.checked_add(len)?;
        if at < self.start || end > self.end {
            return None;
        }
        while at.checked_add(16)? <= end {
            let [name_len, len, kind] =
                [0, 4, 8].map(|field| window.read(at + field).map(u32::from_le_bytes)).map(Option::unwrap_or_default);
            let contents = at.checked_add(12)?.checked_add(u64::from(name_len).next_multiple_of(4))?;
            if kind == NT_GNU_BUILD_ID && name_len == 4 && window.read(at + 12)? == *b"GNU\0" {
                let is_whole = contents.checked_add(len.into())? <= end && u64::from(len) <= MOST_BUILD_ID;
                return is_whole.then_some(BuildId { at: contents, len: len.into() });
            }
            at = contents.checked_add(u64::from(len).next_multiple_of(4))?;
        }
        None
    }
}

/// The longest build id that is kept, in bytes: SHA-1's have 20.
const MOST_BUILD_ID: u64 = 32;

/// Where a build id is in memory, and its length in bytes, 0 if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildId {
    pub at: u64,
    pub len: u64,
}

/// What a module's first page tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    pub build_id: BuildId,
    /// Where its first segment ends in memory; 0 if not known.
    pub first_end: u64,
}

/// Mixes a word into a hash.
#[inline]
pub fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Who knows which files are loaded.
#[derive(Clone, Copy, Debug)]
pub struct Modules {
    find: unsafe extern "C" fn(*mut c_void, *mut Found) -> c_int,
}

impl Modules {
    /// `None` where the loader has no such function.
    pub fn new() -> Option<Modules> {
        // SAFETY: the name is NUL-terminated.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) };
        // SAFETY: glibc's function of this name has this type.
        let find = (!found.is_null()).then(|| unsafe { core::mem::transmute::<*mut c_void, _>(found) })?;
        Some(Modules { find })
    }

    /// The file that the code at `pc` came from.
    #[inline]
    pub fn of(&self, pc: u64) -> Option<Module> {
        let mut found = Found { flags: 0, map_start: 0, map_end: 0, link_map: 0, eh_frame: 0, reserved: [0; 9] };
        // SAFETY: `found` has room for the answer; `pc` is only a number to the function.
        if unsafe { (self.find)(pc as *mut c_void, &raw mut found) } != 0 || found.link_map == 0 {
            return None;
        }
        // SAFETY: the loader's own structure, which lives as long as the file is loaded.
        let LinkMap { bias, name } = unsafe { core::ptr::with_exposed_provenance::<LinkMap>(found.link_map as usize).read() };
        let Found { map_start: start, map_end: end, link_map, eh_frame: frames, .. } = found;
        Some(Module { start, end, bias, frames, name, link_map })
    }
}
