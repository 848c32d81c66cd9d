//! Going from frame to frame.

use super::cfi;
use super::memory::Window;
use super::module::{Head, Module, Modules, mix};
use super::registers::{PC, RSP, Registers};
use super::rules::packed_caller;
use super::tables::Tables;
use crate::journal::stack::End;

/// A loaded file as a walk came upon it.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    pub module: Module,
    pub head: Head,
    /// Tells it from every other file and every other place where it is loaded.
    pub identity: u64,
}

impl Loaded {
    fn of(module: Module, tables: &Tables) -> Loaded {
        let place = module.place();
        // The kernel has to be asked only the first time: what a walk has come upon before was readable, and still is.
        let mut window = if tables.knows_place(place) { Window::around(module.start) } else { Window::default() };
        let head = module.head(&mut window);
        let (mut at, len) = head.build_id;
        let mut identity = place;
        for _ in 0..len / 8 {
            identity = mix(identity, window.word(at).unwrap_or_default());
            at += 8;
        }
        Loaded { module, head, identity }
    }

    fn has(&self, address: u64) -> bool {
        (self.module.start..self.module.end).contains(&address)
    }
}

/// A frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The last byte of the call that is under way in it, or the instruction at which a signal interrupted it.
    pub address: u64,
    /// The kernel made it, for a signal's handler to return to.
    pub is_signal: bool,
}

/// A walk that ends, whatever a damaged stack leads to.
const MOST_STEPS: usize = 64;

/// Walks from the frame with these registers outwards, until `visit` has seen enough (returns false). The frame may be the caller's, if
/// it does not return meanwhile. Returns why the walk ended.
pub fn walk(
    modules: Modules,
    tables: &Tables,
    mut registers: Registers,
    mut visit: impl FnMut(&Loaded, &Frame) -> bool,
) -> End {
    // Our own frame is there, and the caller's mostly on the same page.
    let mut stack = Window::around((&raw const registers).addr() as u64);
    let mut code = Window::default();
    let mut loaded: Option<Loaded> = None;
    let mut is_exact = true;
    for _ in 0..MOST_STEPS {
        let address = registers.0[PC].wrapping_sub(u64::from(!is_exact));
        if registers.0[PC] == 0 {
            return End::Outermost;
        }
        let here = match loaded {
            Some(known) if known.has(address) => known,
            _ => match modules.of(address) {
                Some(module) => *loaded.insert(Loaded::of(module, tables)),
                None => return End::Unknown,
            },
        };
        let key = mix(here.identity, address);
        if let Some(packed) = tables.rules(key) {
            if !visit(&here, &Frame { address, is_signal: false }) {
                return End::More;
            }
            let Ok(caller) = packed_caller(packed, &registers, &mut stack) else { return End::Outermost };
            match caller.filter(|caller| caller.0[RSP] > registers.0[RSP]) {
                Some(caller) => registers = caller,
                None => return End::Unknown,
            }
            is_exact = false;
            continue;
        }
        let found = cfi::rules(&here.module, address, &mut code);
        let is_signal = found.is_some_and(|(_, is_signal)| is_signal);
        if !visit(&here, &Frame { address, is_signal }) {
            return End::More;
        }
        let Some((rules, _)) = found else { return End::Unknown };
        if let Some(packed) = rules.pack().filter(|_| !is_signal) {
            tables.keep_rules(key, packed);
        }
        if rules.is_outermost() {
            return End::Outermost;
        }
        // A handler may be on a stack of its own; otherwise callers are further up.
        match rules.caller(&registers, here.module.start, &mut stack, &mut code) {
            Some(caller) if is_signal || caller.0[RSP] > registers.0[RSP] => registers = caller,
            _ => return End::Unknown,
        }
        is_exact = is_signal;
    }
    End::More
}
