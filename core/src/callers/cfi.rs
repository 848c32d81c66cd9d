//! The tables of `.eh_frame`: which rules hold at an address of a module's code.
//!
//! The linker's table (`.eh_frame_hdr`) is searched for the function (an FDE), whose instructions are followed up to the address. Nothing in
//! these tables is trusted: reads stay within the module, and what no compiler writes ends the search.

use super::memory::Window;
use super::module::Module;
use super::registers::{COUNT, PC};
use super::rules::{Base, Cursor, Means, Rule, Rules};

/// Sets of rules that a function's instructions may put aside. Compilers use one, seldom two.
const MOST_REMEMBERED: usize = 2;

/// What a function's description says in general (a CIE).
struct Common {
    code_factor: u64,
    data_factor: i64,
    encoding: u8,
    has_augmentation: bool,
    is_signal: bool,
    /// Its instructions.
    from: u64,
    to: u64,
}

/// The rules at `pc`, and whether the frame is one that the kernel made for a signal's handler to return to.
#[inline(never)]
pub fn rules(module: &Module, pc: u64, window: &mut Window) -> Option<(Rules, bool)> {
    let mut cursor = function(module, pc, window)?;
    // A length, where the common part is, what addresses are described, and then instructions.
    let place = cursor.at;
    let back = u32::from_le_bytes(cursor.take()?);
    let common = common(module, place.checked_sub(u64::from(back)).filter(|_| back != 0)?, cursor.window)?;
    let begin = pointer(&mut cursor, common.encoding)?;
    let len = pointer(&mut cursor, common.encoding & 0x0f)?;
    if pc.checked_sub(begin)? >= len {
        return None;
    }
    if common.has_augmentation {
        let len = cursor.unsigned()?;
        cursor.at = cursor.at.checked_add(len)?;
    }
    let mut program = Program {
        module,
        common: &common,
        initial: Rules::NONE,
        rules: Rules::NONE,
        aside: [Rules::NONE; MOST_REMEMBERED],
        kept: 0,
    };
    let Cursor { at, end, window } = cursor;
    program.run(&mut Cursor { window, at: common.from, end: common.to }, begin, pc)?;
    program.initial = program.rules;
    program.run(&mut Cursor { window, at, end }, begin, pc)?;
    Some((program.rules, common.is_signal))
}

/// Where the description of the function at `pc` goes on behind its length, if it can be found.
fn function<'a>(module: &Module, pc: u64, window: &'a mut Window) -> Option<Cursor<'a>> {
    const FOUR_BYTES: u8 = 0x03;
    const SIGNED_FROM_TABLE: u8 = 0x3b;
    let table = module.frames;
    if !(module.start..module.end).contains(&table) {
        return None;
    }
    let mut cursor = Cursor { window, at: table, end: module.end };
    let [version, section, count, entries] = cursor.take()?;
    if version != 1 || count != FOUR_BYTES || entries != SIGNED_FROM_TABLE {
        return None;
    }
    pointer(&mut cursor, section)?;
    let count = u64::from(u32::from_le_bytes(cursor.take()?));
    let first = cursor.at;
    let mut entry = |number: u64| {
        let at = first.checked_add(number * 8)?;
        let bytes: [u8; 8] = (at.checked_add(8)? <= module.end).then(|| cursor.window.read(at))??;
        let half = |at: usize| i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some((table.wrapping_add_signed(half(0).into()), table.wrapping_add_signed(half(4).into())))
    };
    // The last one that begins at or below the address.
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if entry(middle)?.0 <= pc { low = middle + 1 } else { high = middle }
    }
    let (_, at) = entry(low.checked_sub(1)?)?;
    section_of(module, at, cursor.window)
}

/// The part of `.eh_frame` at `at`, behind its length.
fn section_of<'a>(module: &Module, at: u64, window: &'a mut Window) -> Option<Cursor<'a>> {
    if !(module.start..module.end).contains(&at) {
        return None;
    }
    let mut cursor = Cursor { window, at, end: module.end };
    let len = match u32::from_le_bytes(cursor.take()?) {
        u32::MAX => cursor.word()?,
        len => len.into(),
    };
    cursor.end = cursor.at.checked_add(len).filter(|end| *end <= module.end)?;
    Some(cursor)
}

#[inline(never)]
fn common(module: &Module, at: u64, window: &mut Window) -> Option<Common> {
    const ABSOLUTE: u8 = 0;
    let mut cursor = section_of(module, at, window)?;
    if cursor.take()? != [0; 4] || !matches!(cursor.byte()?, 1 | 3) {
        return None;
    }
    let mut letters = [0; 8];
    let mut count = 0;
    loop {
        match cursor.byte()? {
            0 => break,
            letter => *letters.get_mut(count)? = letter,
        }
        count += 1;
    }
    let code_factor = cursor.unsigned()?;
    let data_factor = cursor.signed()?;
    // A byte in the first version and a number afterwards, which are the same for a register this small.
    if cursor.byte()? != PC as u8 {
        return None;
    }
    let mut common = Common {
        code_factor,
        data_factor,
        encoding: ABSOLUTE,
        has_augmentation: letters[0] == b'z',
        is_signal: false,
        from: cursor.at,
        to: cursor.end,
    };
    if let [b'z', letters @ ..] = &letters[..count] {
        let len = cursor.unsigned()?;
        common.from = cursor.at.checked_add(len)?;
        for letter in letters {
            match letter {
                b'R' => common.encoding = cursor.byte()?,
                b'L' => drop(cursor.byte()?),
                b'P' => {
                    let encoding = cursor.byte()?;
                    // Where it points is nothing to us, and it may point at a pointer.
                    pointer(&mut cursor, encoding & 0x0f)?;
                }
                b'S' => common.is_signal = true,
                _ => return None,
            }
        }
    } else if count != 0 {
        return None;
    }
    Some(common)
}

/// An address, encoded as the byte says.
fn pointer(cursor: &mut Cursor<'_>, encoding: u8) -> Option<u64> {
    let at = cursor.at;
    let value = match encoding & 0x0f {
        0x00 | 0x04 | 0x0c => cursor.word()?,
        0x01 => cursor.unsigned()?,
        0x02 => u16::from_le_bytes(cursor.take()?).into(),
        0x03 => u32::from_le_bytes(cursor.take()?).into(),
        0x09 => cursor.signed()? as u64,
        0x0a => i64::from(i16::from_le_bytes(cursor.take()?)) as u64,
        0x0b => i64::from(i32::from_le_bytes(cursor.take()?)) as u64,
        _ => return None,
    };
    match encoding & 0xf0 {
        0x00 => Some(value),
        0x10 => Some(at.wrapping_add(value)),
        _ => None,
    }
}

/// The instructions of a description at work.
struct Program<'a> {
    module: &'a Module,
    common: &'a Common,
    /// What holds at the function's begin, which registers may be given back.
    initial: Rules,
    rules: Rules,
    aside: [Rules; MOST_REMEMBERED],
    kept: usize,
}

impl Program<'_> {
    /// Follows instructions, which begin to hold at `address`, up to those for `pc`.
    #[inline(never)]
    fn run(&mut self, cursor: &mut Cursor<'_>, mut address: u64, pc: u64) -> Option<()> {
        while cursor.at < cursor.end && address <= pc {
            let byte = cursor.byte()?;
            let low = byte & 0x3f;
            let advance = match (byte >> 6, byte) {
                (1, _) => u64::from(low),
                (0, 0x01) => {
                    address = pointer(cursor, self.common.encoding)?;
                    continue;
                }
                (0, 0x02) => cursor.byte()?.into(),
                (0, 0x03) => u16::from_le_bytes(cursor.take()?).into(),
                (0, 0x04) => u32::from_le_bytes(cursor.take()?).into(),
                (2, _) => {
                    let distance = self.factored(cursor.unsigned()? as i64)?;
                    self.set(low.into(), Means::At(distance))?;
                    continue;
                }
                (3, _) => {
                    self.give_back(low.into());
                    continue;
                }
                _ => {
                    self.other(byte, cursor)?;
                    continue;
                }
            };
            address = address.checked_add(advance.checked_mul(self.common.code_factor)?)?;
        }
        Some(())
    }

    fn other(&mut self, byte: u8, cursor: &mut Cursor<'_>) -> Option<()> {
        match byte {
            0x00 => {}
            0x05 => {
                let register = cursor.unsigned()?;
                let distance = self.factored(cursor.unsigned()? as i64)?;
                self.set(register, Means::At(distance))?;
            }
            0x06 => {
                let register = cursor.unsigned()?;
                self.give_back(register);
            }
            0x07 => self.set(cursor.unsigned()?, Means::Undefined)?,
            0x08 => self.set(cursor.unsigned()?, Means::Same)?,
            0x09 => {
                let register = cursor.unsigned()?;
                self.set(register, Means::In(u32::try_from(cursor.unsigned()?).ok()?))?;
            }
            0x0a => {
                *self.aside.get_mut(self.kept)? = self.rules;
                self.kept += 1;
            }
            0x0b => {
                self.kept = self.kept.checked_sub(1)?;
                self.rules = self.aside[self.kept];
            }
            0x0c => {
                let register = u8::try_from(cursor.unsigned()?).ok()?;
                self.rules.base = Base::Register(register, i32::try_from(cursor.unsigned()?).ok()?);
            }
            0x0d => {
                let Base::Register(_, distance) = self.rules.base else { return None };
                self.rules.base = Base::Register(u8::try_from(cursor.unsigned()?).ok()?, distance);
            }
            0x0e => {
                let Base::Register(register, _) = self.rules.base else { return None };
                self.rules.base = Base::Register(register, i32::try_from(cursor.unsigned()?).ok()?);
            }
            0x0f => self.rules.base = Base::Expression(self.expression(cursor)?),
            0x10 => {
                let register = cursor.unsigned()?;
                let place = self.expression(cursor)?;
                self.set(register, Means::AtExpression(place))?;
            }
            0x11 => {
                let register = cursor.unsigned()?;
                let distance = self.factored(cursor.signed()?)?;
                self.set(register, Means::At(distance))?;
            }
            0x12 => {
                let register = u8::try_from(cursor.unsigned()?).ok()?;
                self.rules.base = Base::Register(register, self.factored(cursor.signed()?)?);
            }
            0x13 => {
                let Base::Register(register, _) = self.rules.base else { return None };
                self.rules.base = Base::Register(register, self.factored(cursor.signed()?)?);
            }
            0x14 => {
                let register = cursor.unsigned()?;
                let distance = self.factored(cursor.unsigned()? as i64)?;
                self.set(register, Means::Is(distance))?;
            }
            0x15 => {
                let register = cursor.unsigned()?;
                let distance = self.factored(cursor.signed()?)?;
                self.set(register, Means::Is(distance))?;
            }
            0x16 => {
                let register = cursor.unsigned()?;
                let place = self.expression(cursor)?;
                self.set(register, Means::IsExpression(place))?;
            }
            // How much of a function's arguments is on the stack.
            0x2e => drop(cursor.unsigned()?),
            0x2f => {
                let register = cursor.unsigned()?;
                let distance = self.factored((cursor.unsigned()? as i64).checked_neg()?)?;
                self.set(register, Means::At(distance))?;
            }
            _ => return None,
        }
        Some(())
    }

    fn factored(&self, number: i64) -> Option<i32> {
        i32::try_from(number.checked_mul(self.common.data_factor)?).ok()
    }

    /// Where an expression is; passes it by.
    fn expression(&self, cursor: &mut Cursor<'_>) -> Option<u32> {
        let at = cursor.at;
        let len = cursor.unsigned()?;
        cursor.at = cursor.at.checked_add(len).filter(|next| *next <= cursor.end)?;
        u32::try_from(at - self.module.start).ok()
    }

    /// Vector registers have rules too sometimes, which are nothing to us.
    fn set(&mut self, register: u64, means: Means) -> Option<()> {
        let rule = Rule::of(means)?;
        if register < COUNT as u64 {
            self.rules.registers[register as usize] = rule;
        }
        Some(())
    }

    fn give_back(&mut self, register: u64) {
        if register < COUNT as u64 {
            self.rules.registers[register as usize] = self.initial.registers[register as usize];
        }
    }
}
