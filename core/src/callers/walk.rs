//! Going from frame to frame.

use super::cfi;
use super::memory::Window;
use super::module::{Module, Modules, mix};
use super::registers::{PC, RSP, Registers};
use super::rules;
use super::tables::Tables;
use crate::journal::stack::End;

/// A loaded file as a walk came upon it.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    pub module: Module,
    /// Tells where it is loaded, as [`Module::place`].
    pub place: u64,
    /// Tells it from every other file and every other place where it is loaded.
    pub identity: u64,
}

impl Loaded {
    fn of(module: Module, tables: &Tables) -> Loaded {
        let place = module.place();
        // The head is read once; where it said the build id to be, it is still, or another one.
        let mut window = Window::around(module.start);
        let build_id = tables.build_id(place).unwrap_or_else(|| {
            window = Window::default();
            let build_id = module.head(&mut window).build_id;
            tables.keep_build_id(place, build_id);
            build_id
        });
        let mut identity = place;
        for word in 0..build_id.len / 8 {
            identity = mix(identity, window.word(build_id.at + word * 8).unwrap_or_default());
        }
        Loaded { module, place, identity }
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
    registers: &mut Registers,
    mut visit: impl FnMut(&Loaded, Frame) -> bool,
) -> End {
    // The registers are on the stack too, mostly on the same page as what is read first.
    let mut stack = Window::around(core::ptr::from_ref(registers).addr() as u64);
    let mut loaded: Option<Loaded> = None;
    let mut is_exact = true;
    for _ in 0..MOST_STEPS {
        if registers.0[PC] == 0 {
            return End::Outermost;
        }
        let address = registers.0[PC].wrapping_sub(u64::from(!is_exact));
        if !loaded.as_ref().is_some_and(|loaded| loaded.has(address)) {
            let Some(module) = modules.of(address) else { return End::Unknown };
            loaded = Some(Loaded::of(module, tables));
        }
        let Some(here) = &loaded else { return End::Unknown };
        let key = mix(here.identity, address);
        let Some(packed) = tables.rules(key) else {
            match slow_step(here, address, registers, &mut stack, (tables, key), &mut visit) {
                Ok(is_signal) => is_exact = is_signal,
                Err(end) => return end,
            }
            continue;
        };
        if !visit(here, Frame { address, is_signal: false }) {
            return End::More;
        }
        if rules::is_outermost(packed) {
            return End::Outermost;
        }
        if rules::step(packed, registers, &mut stack).is_none() {
            return End::Unknown;
        }
        is_exact = false;
    }
    End::More
}

/// A step by rules that have to be found first; returns whether the frame was a signal's.
#[cold]
#[inline(never)]
fn slow_step(
    here: &Loaded,
    address: u64,
    registers: &mut Registers,
    stack: &mut Window,
    (tables, key): (&Tables, u64),
    visit: &mut dyn FnMut(&Loaded, Frame) -> bool,
) -> Result<bool, End> {
    let mut code = Window::default();
    let found = cfi::rules(&here.module, address, &mut code);
    let is_signal = found.is_some_and(|(_, is_signal)| is_signal);
    if !visit(here, Frame { address, is_signal }) {
        return Err(End::More);
    }
    let (rules, _) = found.ok_or(End::Unknown)?;
    if let Some(packed) = rules.pack().filter(|_| !is_signal) {
        tables.keep_rules(key, packed);
    }
    if rules.is_outermost() {
        return Err(End::Outermost);
    }
    let below = registers.0[RSP];
    rules.step(registers, here.module.start, stack, &mut code).ok_or(End::Unknown)?;
    // A handler may be on a stack of its own; otherwise callers are further up.
    if is_signal || registers.0[RSP] > below { Ok(is_signal) } else { Err(End::Unknown) }
}
