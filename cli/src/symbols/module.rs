//! A program or library, and what it and its debug file know about their code.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use addr2line::{Loader, demangle_auto};
use lzma_rust2::XzReader;
use object::read::{Object, ObjectSection, ObjectSymbol, ReadCache};

use super::debug_file::{self, Fate};

/// As many KiB may unpacking a `.gnu_debugdata` take (xz -9 wants 65 MiB), and as many bytes come out of it.
const MOST_TO_UNPACK: u32 = 128 << 10;
const MOST_UNPACKED: u64 = 256 << 20;

/// A function and a line at an address.
#[derive(Debug, Default)]
pub struct Place {
    pub function: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// A loaded file of the programs that ran.
pub struct Module {
    name: String,
    fate: Option<Fate>,
    debug: Option<Loader>,
    /// Functions by address: begin, end, and name as the linker knows it.
    symbols: Vec<(u64, u64, String)>,
}

impl Module {
    /// Opens the file at `path` if it is the one that ran, and what there is of debug information on it.
    pub fn open(path: &Path, build_id: &[u8]) -> Module {
        let name = path.to_string_lossy().into_owned();
        let is_it = path.is_absolute() && debug_file::is_build(path, build_id);
        let fate = if is_it || !path.is_absolute() { None } else { Fate::of(path, build_id) };
        let file = is_it.then_some(path);
        let debug_path = debug_file::find(file, path, build_id);
        let mut symbols = debug_path.as_deref().map(symbols).unwrap_or_default();
        if symbols.is_empty() {
            symbols = file.map(self::symbols).unwrap_or_default();
        }
        let debug = debug_path.and_then(|debug| {
            let supplement = debug_file::supplement(&debug);
            Loader::new_with_sup(debug, supplement).ok()
        });
        Module { name, fate, debug, symbols }
    }

    /// What became of it since it ran.
    pub fn fate(&self) -> Option<Fate> {
        self.fate
    }

    /// The path as the program knew it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is at this address: a function and those that it was made a part of, or at least one place that is not known.
    pub fn places(&self, address: u64) -> Vec<Place> {
        let mut places = Vec::new();
        let frames = self.debug.as_ref().and_then(|debug| debug.find_frames(address).ok());
        if let Some(mut frames) = frames {
            while let Ok(Some(frame)) = frames.next() {
                let function = frame.function.and_then(|function| function.demangle().ok().map(|name| name.into_owned()));
                let location = frame.location;
                places.push(Place {
                    function,
                    file: location.as_ref().and_then(|location| location.file).map(str::to_owned),
                    line: location.and_then(|location| location.line).filter(|line| *line != 0),
                });
            }
        }
        if places.is_empty() {
            places.push(Place::default());
        }
        if let Some(last) = places.last_mut().filter(|last| last.function.is_none()) {
            last.function = self.symbol(address);
        }
        places
    }

    fn symbol(&self, address: u64) -> Option<String> {
        let behind = self.symbols.partition_point(|(begin, ..)| *begin <= address);
        let (_, end, name) = self.symbols.get(behind.checked_sub(1)?)?;
        (address < *end).then(|| demangle_auto(name.as_str().into(), None).into_owned())
    }
}

/// The functions that a file's symbol tables name: the one for the linker too, where it has lost the other, and the one of `.gnu_debugdata`.
fn symbols(path: &Path) -> Vec<(u64, u64, String)> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let cache = ReadCache::new(file);
    let Ok(file) = object::File::parse(&cache) else { return Vec::new() };
    let mut symbols = functions(&file);
    if let Some(small) = small_file(&file)
        && let Ok(small) = object::File::parse(small.as_slice())
    {
        symbols.extend(functions(&small));
    }
    symbols.sort();
    symbols
}

fn functions<'data>(file: &impl Object<'data>) -> Vec<(u64, u64, String)> {
    file.symbols()
        .chain(file.dynamic_symbols())
        .filter(|symbol| symbol.is_definition() && symbol.kind() == object::SymbolKind::Text && symbol.size() > 0)
        .filter_map(|symbol| {
            let end = symbol.address().checked_add(symbol.size())?;
            Some((symbol.address(), end, symbol.name().ok()?.to_owned()))
        })
        .collect()
}

/// The file within the file that some distributions leave in stripped ones: the names of functions that others don't see, packed by xz.
fn small_file<'data>(file: &impl Object<'data>) -> Option<Vec<u8>> {
    let section = file.section_by_name(".gnu_debugdata")?;
    let packed = section.data().ok()?;
    let mut small = Vec::new();
    // A damaged one may be no file, but it must not take all memory.
    XzReader::new_mem_limit(packed, false, MOST_TO_UNPACK).take(MOST_UNPACKED).read_to_end(&mut small).ok()?;
    Some(small)
}
