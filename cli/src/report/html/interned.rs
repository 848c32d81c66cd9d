//! What many of a page's things share: each string and each stack is in the page once, and things refer to it by index.

use std::collections::HashMap;
use std::rc::Rc;

use crate::report::Report;
use crate::symbols::{Callers, Frame};

/// The page's strings and stacks.
#[derive(Default)]
pub struct Interned {
    pub strings: Vec<String>,
    strings_known: HashMap<String, usize>,
    /// A stack's lines as `shmgate log` has them, each by its place in `strings`.
    pub stacks: Vec<Vec<usize>>,
    /// The line of code that made the call, in short, for each of `stacks`.
    pub lines: Vec<usize>,
    stacks_known: HashMap<Vec<usize>, usize>,
    /// Processes have stacks of their own, of which most come to the same lines. [`crate::symbols::Symbols`] keeps them, so that no address comes twice.
    callers_known: HashMap<*const Callers, usize>,
}

impl Interned {
    pub fn string(&mut self, text: String) -> usize {
        *self.strings_known.entry(text).or_insert_with_key(|text| {
            self.strings.push(text.clone());
            self.strings.len() - 1
        })
    }

    /// The stack of the call in `slot`, if it was recorded.
    pub fn stack(&mut self, report: &mut Report, slot: u64) -> Option<usize> {
        let callers = report.callers(slot)?;
        let address = Rc::as_ptr(&callers);
        if let Some(known) = self.callers_known.get(&address) {
            return Some(*known);
        }
        let lines: Vec<usize> = callers.to_string().lines().map(|line| self.string(line.trim_start().to_owned())).collect();
        let index = match self.stacks_known.get(&lines) {
            Some(known) => *known,
            None => {
                let line = self.string(callers.frames.first().map_or_else(|| "??".to_owned(), |frame| in_short(frame)));
                self.lines.push(line);
                self.stacks.push(lines.clone());
                self.stacks_known.insert(lines, self.lines.len() - 1);
                self.lines.len() - 1
            }
        };
        self.callers_known.insert(address, index);
        Some(index)
    }
}

/// A frame without its file's directories: `make (leak.c:41)`.
fn in_short(frame: &Frame) -> String {
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let short = Frame { file: frame.file.as_deref().map(name), module: name(&frame.module), ..frame.clone() };
    short.to_string()
}
