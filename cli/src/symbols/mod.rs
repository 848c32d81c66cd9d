//! Which function, file and line the frames of a recorded stack are: [`Symbols`] asks the journal for a call's stack, and the files that the
//! program was made of ([`module`], [`debug_file`]) for the names.
//!
//! Nothing is fetched from elsewhere, and a file that is not the one that ran (by its build id) is not asked. Where there is no debug
//! information a frame has its module and the place in it, and the function if a symbol table names it.

mod debug_file;
mod makers;
mod module;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Value, json};
use shmgate_core::journal::Reader;
use shmgate_core::journal::stack::{self, End, Stack};

use debug_file::Fate;
pub use makers::makers;
use module::Module;

/// A function that a call was under way in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Its name, demangled.
    pub function: Option<String>,
    /// The source file, as the compiler noted it.
    pub file: Option<String>,
    pub line: Option<u32>,
    /// The path of the program or library; empty if it is not known.
    pub module: String,
    /// What became of that file since it ran, if it is not there as it was.
    pub fate: Option<Fate>,
    /// Where it is in that file, as addr2line reads it.
    pub offset: u64,
    /// The compiler made it a part of the next frame's function.
    pub inlined: bool,
}

/// The callers of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Callers {
    /// The innermost first: the function that made the call.
    pub frames: Vec<Rc<Frame>>,
    /// Why there are no more.
    pub end: End,
}

/// What is known about the code of a session's programs.
#[derive(Default)]
pub struct Symbols {
    /// Modules by the slots of their records: each process has its own.
    slots: HashMap<u64, Rc<Module>>,
    modules: HashMap<(Vec<u8>, Vec<u8>), Rc<Module>>,
    frames: HashMap<stack::Frame, Vec<Rc<Frame>>>,
    /// Whole stacks: a program makes most of its calls from few places.
    stacks: HashMap<Stack, Rc<Callers>>,
}

/// What a debugger calls the frame that the kernel makes.
const SIGNAL: &str = "<signal handler called>";

impl Symbols {
    pub fn new() -> Symbols {
        Symbols::default()
    }

    /// The callers of the call in `slot` of the journal; `None` if they were not recorded.
    pub fn callers(&mut self, reader: &mut Reader, slot: u64) -> Option<Rc<Callers>> {
        let stack = reader.stack(slot)?;
        if let Some(known) = self.stacks.get(&stack) {
            return Some(known.clone());
        }
        let mut frames = Vec::with_capacity(stack.frames().len());
        for frame in stack.frames() {
            if !self.frames.contains_key(&frame) {
                let found = self.look_up(reader, frame);
                self.frames.insert(frame, found);
            }
            frames.extend(self.frames[&frame].iter().cloned());
        }
        let callers = Rc::new(Callers { frames, end: stack.end });
        self.stacks.insert(stack, callers.clone());
        Some(callers)
    }

    /// A frame's functions: more than one if some were made parts of others.
    fn look_up(&mut self, reader: &mut Reader, frame: stack::Frame) -> Vec<Rc<Frame>> {
        let module = self.slots.entry(frame.module).or_insert_with(|| {
            let record = reader.module(frame.module);
            let key = record.map_or_else(Default::default, |record| (record.path, record.build_id));
            let known = self
                .modules
                .entry(key)
                .or_insert_with_key(|(path, build_id)| Rc::new(Module::open(Path::new(OsStr::from_bytes(path)), build_id)));
            known.clone()
        });
        let plain = |function: Option<String>| Frame {
            function,
            file: None,
            line: None,
            module: module.name().to_owned(),
            fate: module.fate(),
            offset: frame.offset,
            inlined: false,
        };
        if frame.is_signal {
            return vec![Rc::new(plain(Some(SIGNAL.to_owned())))];
        }
        let places = module.places(frame.offset);
        let last = places.len().saturating_sub(1);
        let frames = places.into_iter().enumerate().map(|(at, place)| {
            Rc::new(Frame { file: place.file, line: place.line, inlined: at < last, ..plain(place.function) })
        });
        frames.collect()
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names come from files: they must not write on the terminal.
        f.write_str(&printable(self.function.as_deref().unwrap_or("??")))?;
        match (&self.file, self.line) {
            _ if self.function.as_deref() == Some(SIGNAL) => Ok(()),
            (Some(file), Some(line)) => write!(f, " ({}:{line})", printable(file)),
            (Some(file), None) => write!(f, " ({})", printable(file)),
            (None, _) => {
                let module = if self.module.is_empty() { "??" } else { &self.module };
                let fate = match self.fate {
                    Some(Fate::Changed) => ", changed since",
                    Some(Fate::Gone) => ", gone",
                    None => "",
                };
                write!(f, " ({}+{:#x}{fate})", printable(module), self.offset)
            }
        }
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// The callers as lines below a call, each with its end. Those of main are libc's affair.
impl fmt::Display for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, frame) in self.frames.iter().enumerate() {
            writeln!(f, "    {} {frame}", if number == 0 { "at" } else { "by" })?;
            if frame.function.as_deref() == Some("main") {
                return Ok(());
            }
        }
        match self.end {
            End::Outermost => Ok(()),
            End::More => writeln!(f, "    ..."),
            End::Unknown => writeln!(f, "    by callers that could not be found"),
        }
    }
}

impl Callers {
    /// Why there are no more, as JSON has it.
    pub fn end_name(&self) -> &'static str {
        match self.end {
            End::Outermost => "outermost",
            End::More => "more",
            End::Unknown => "unknown",
        }
    }

    /// A value of JSON for each frame.
    pub fn json(&self) -> Vec<Value> {
        let frame = |frame: &Rc<Frame>| {
            json!({
                "function": frame.function, "file": frame.file, "line": frame.line, "module": frame.module,
                "offset": format!("{:#x}", frame.offset), "inlined": frame.inlined, "module_now": frame.fate.map(Fate::name),
            })
        };
        self.frames.iter().map(frame).collect()
    }
}
