//! Where a call comes from: the calling thread's stack, walked by the tables that compilers leave for exceptions.
//!
//! [`walk`] goes from frame to frame, by the rules that [`cfi`] finds in the `.eh_frame` of the loaded file ([`module`]) that a
//! frame's code is from, and [`memory`] sees to it that nothing is read that is not there. libgcc's unwinder could not be used: it
//! takes the loader's lock, and a signal handler that interrupted a dlopen would wait for ever.
//!
//! No lock, no allocation after the start, and little stack, since a call may come from a handler. What is remembered (rules, and which
//! modules the journal knows: [`tables`]) may be read and written by any thread and handler at any time.
//!
//! Not supported: other machines than x86-64 and C libraries without `_dl_find_object` ([`Callers::new`] says so), and code without such
//! tables, generated code among it: there a stack ends.

mod cfi;
mod memory;
mod module;
mod path;
mod registers;
mod rules;
mod tables;
mod walk;

use crate::journal::stack::{End, Frame, Stack};
use module::Modules;
use registers::Registers;
use tables::Tables;
pub use walk::Loaded;

/// Who finds out about callers.
#[derive(Debug)]
pub struct Callers {
    modules: Modules,
    tables: Tables,
    /// Where the library itself is mapped.
    own: u64,
}

impl Callers {
    /// # Errors
    /// What is missing, for people.
    pub fn new() -> Result<Callers, &'static str> {
        let modules = Modules::new().filter(|_| cfg!(target_arch = "x86_64")).ok_or("callers need x86-64 and glibc 2.35")?;
        let own = modules.of(Callers::new as *const () as u64).map_or(0, |module| module.start);
        Ok(Callers { modules, tables: Tables::new(), own })
    }

    /// The stack of the call that is under way, without the library's own frames. `note` tells the journal about a module, and returns
    /// the slot of its record.
    #[inline(never)]
    pub fn stack(&self, mut note: impl FnMut(&Loaded) -> Option<u64>) -> Stack {
        let mut stack = Stack::default();
        let mut is_full = false;
        // What is not noted yet is noted between two walks: together they would take too much of a handler's stack.
        while let Some(loaded) = self.collect(&mut stack, is_full) {
            match note(&loaded) {
                Some(slot) => self.tables.keep_slot(loaded.place, loaded.identity, slot),
                None => is_full = true,
            }
        }
        stack
    }

    /// Walks; returns a module that has to be noted first, unless there `is_no_room` for that, which ends the stack.
    #[inline(never)]
    fn collect(&self, stack: &mut Stack, is_no_room: bool) -> Option<Loaded> {
        *stack = Stack::default();
        let mut is_ours = true;
        let mut last = None;
        let mut unknown = None;
        let end = walk::walk(self.modules, &self.tables, &mut Registers::here(), |loaded, frame| {
            is_ours &= loaded.module.start == self.own;
            if is_ours {
                return true;
            }
            let slot = match last {
                Some((identity, slot)) if identity == loaded.identity => Some(slot),
                _ => self.tables.slot(loaded.place, loaded.identity),
            };
            let Some(module) = slot else {
                unknown = Some(*loaded);
                return false;
            };
            last = Some((loaded.identity, module));
            let offset = frame.address.wrapping_sub(loaded.module.bias);
            let word = Frame { module, offset, is_signal: frame.is_signal }.encode();
            word.is_some_and(|word| stack.push(word))
        });
        stack.end = if unknown.is_some() { End::Unknown } else { end };
        unknown.filter(|_| !is_no_room)
    }
}

#[cfg(test)]
mod tests;
