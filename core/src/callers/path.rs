//! A loaded file's path, for the journal.

use core::ffi::CStr;
use core::fmt::Write;

use super::memory::Window;
use super::walk::Loaded;
use crate::identity::Me;
use crate::journal::Journal;
use crate::journal::record::Owner;
use crate::sys;
use crate::text::Line;

/// The longest build id and path that are kept, in bytes.
const MOST: usize = 1000;

impl Loaded {
    /// Tells the journal about the file; returns the slot of its record.
    #[cold]
    #[inline(never)]
    pub fn note(&self, journal: &Journal, writer: (Me<'_>, Owner)) -> Option<u64> {
        let mut text = [0; MOST];
        let mut window = Window::default();
        let head = self.module.head(&mut window);
        let id_len = head.build_id.len as usize;
        for (at, place) in (head.build_id.at..).zip(&mut text[..id_len]) {
            [*place] = window.read(at)?;
        }
        let len = id_len + self.path(head.first_end, &mut text[id_len..]);
        journal.append_module(writer, self.module.bias, id_len, &text[..len])
    }

    /// The file's path: as the kernel knows it, or else by the name that was given to the loader. Returns its length.
    fn path(&self, first_end: u64, buffer: &mut [u8]) -> usize {
        let mut link = Line::<64>::new();
        let (start, end) = (self.module.start & !4095, first_end.checked_next_multiple_of(4096).unwrap_or_default());
        let _ = write!(link, "/proc/self/map_files/{start:x}-{end:x}\0");
        let link = CStr::from_bytes_until_nul(link.as_bytes()).unwrap_or_default();
        if let Ok(path @ [b'/', ..]) = sys::read_link(link, buffer) {
            return path.len();
        }
        let mut window = Window::default();
        let name = self.module.name;
        if name == 0 || window.read(name) == Some([0]) {
            return sys::read_link(c"/proc/self/exe", buffer).map_or(0, <[u8]>::len);
        }
        let mut count = 0;
        while let (Some(place), Some([byte])) = (buffer.get_mut(count), window.read(name + count as u64))
            && byte != 0
        {
            *place = byte;
            count += 1;
        }
        count
    }
}
