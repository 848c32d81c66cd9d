//! How a frame's registers come from those of the frame it called: rules, and doing as they say.

use super::memory::Window;
use super::registers::{COUNT, PC, R12, R15, RBP, RBX, RSP, Registers};

/// How a register of the caller is found. A kind, and a number of 29 bits, so that a whole set is small: it may lie on a signal stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule(u32);

/// What a rule says, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// It is as the called function left it.
    Same,
    /// It can't be found.
    Undefined,
    /// It lies at this distance from the frame's base.
    At(i32),
    /// It is the frame's base and this distance.
    Is(i32),
    /// It is in another register.
    In(u32),
    /// An expression, at this distance from the module's start, says where it lies.
    AtExpression(u32),
    /// An expression says what it is.
    IsExpression(u32),
}

impl Rule {
    pub const SAME: Rule = Rule(0);
    pub const UNDEFINED: Rule = Rule(1 << 29);

    /// A rule that means this; `None` if its number is too large to be true.
    pub fn of(means: Means) -> Option<Rule> {
        let near = |distance: i32| (-(1 << 28)..1 << 28).contains(&distance).then_some(distance as u32 & 0x1fff_ffff);
        let small = |number: u32| (number < 1 << 29).then_some(number);
        let (kind, number) = match means {
            Means::Same => (0, 0),
            Means::Undefined => (1, 0),
            Means::At(distance) => (2, near(distance)?),
            Means::Is(distance) => (3, near(distance)?),
            Means::In(register) => (4, small(register)?),
            Means::AtExpression(place) => (5, small(place)?),
            Means::IsExpression(place) => (6, small(place)?),
        };
        Some(Rule(kind << 29 | number))
    }

    pub fn means(self) -> Means {
        let number = self.0 & 0x1fff_ffff;
        let distance = (self.0 << 3) as i32 >> 3;
        match self.0 >> 29 {
            0 => Means::Same,
            2 => Means::At(distance),
            3 => Means::Is(distance),
            4 => Means::In(number),
            5 => Means::AtExpression(number),
            6 => Means::IsExpression(number),
            _ => Means::Undefined,
        }
    }
}

/// What the frame's base (DWARF: the canonical frame address) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A register and a distance.
    Register(u8, i32),
    /// An expression at this distance from the module's start.
    Expression(u32),
}

/// All that is needed to go from a frame to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub base: Base,
    pub registers: [Rule; COUNT],
}

impl Rules {
    pub const NONE: Rules = Rules { base: Base::Register(RSP as u8, 0), registers: [Rule::SAME; COUNT] };

    /// True if there is no caller.
    pub fn is_outermost(&self) -> bool {
        self.registers[PC] == Rule::UNDEFINED
    }

    /// Makes the registers the caller's. `start` is where the module's code begins, `code` a window for reading there.
    #[inline(never)]
    pub fn step(&self, registers: &mut Registers, start: u64, stack: &mut Window, code: &mut Window) -> Option<()> {
        let of = &Registers(registers.0);
        let base = match self.base {
            Base::Register(number, distance) => of.0.get(usize::from(number))?.wrapping_add_signed(distance.into()),
            Base::Expression(place) => evaluate(start + u64::from(place), None, of, stack, code)?,
        };
        registers.0[RSP] = base;
        for (number, rule) in self.registers.iter().enumerate() {
            registers.0[number] = match rule.means() {
                Means::Same => continue,
                Means::Undefined => 0,
                Means::At(distance) => stack.word(base.wrapping_add_signed(distance.into()))?,
                Means::Is(distance) => base.wrapping_add_signed(distance.into()),
                Means::In(other) => *of.0.get(other as usize)?,
                Means::AtExpression(place) => {
                    let at = evaluate(start + u64::from(place), Some(base), of, stack, code)?;
                    stack.word(at)?
                }
                Means::IsExpression(place) => evaluate(start + u64::from(place), Some(base), of, stack, code)?,
            };
        }
        Some(())
    }

    /// The rules as one word, if they are of the usual kind: the base by a register, the code's address below it, and the registers that a
    /// function has to keep as they were, or close below. Bits 0-3 the register, 4-27 the distance in words, then six registers' places.
    pub fn pack(&self) -> Option<u64> {
        if self.is_outermost() {
            return Some(OUTERMOST);
        }
        let Base::Register(register, distance) = self.base else { return None };
        let words = distance / 8;
        if register > 15 || distance % 8 != 0 || words.abs() >= 1 << 23 || self.registers[PC].means() != Means::At(-8) {
            return None;
        }
        let mut packed = u64::from(register) | u64::from(words as u32 & 0xff_ffff) << 4;
        for (number, rule) in self.registers.iter().enumerate().filter(|(number, _)| *number != PC) {
            let kept = KEPT.iter().position(|kept| *kept == number);
            match (rule.means(), kept) {
                (Means::Same, _) | (Means::Undefined, None) => {}
                (Means::At(distance), Some(place)) if distance % 8 == 0 && (1..64).contains(&(-distance / 8)) => {
                    packed |= ((-distance / 8) as u64) << (28 + 6 * place);
                }
                _ => return None,
            }
        }
        Some(packed)
    }
}

/// The registers that a function has to keep, and that rules as a word have a place for.
const KEPT: [usize; 6] = [RBX, RBP, R12, R12 + 1, R12 + 2, R15];
/// Rules as a word: there is no caller. No frame is 64 MiB below its base.
const OUTERMOST: u64 = 0x80_0000 << 4;

/// True if rules as a word say that there is no caller.
pub fn is_outermost(packed: u64) -> bool {
    packed == OUTERMOST
}

/// Makes the registers the caller's, by rules as a word. `None` if they can't be read, or would not lead up the stack.
#[inline]
pub fn step(packed: u64, registers: &mut Registers, stack: &mut Window) -> Option<()> {
    let words = ((packed << 36) as i64) >> 40;
    let base = registers.0[(packed & 15) as usize].wrapping_add_signed(words * 8);
    let old = core::mem::replace(&mut registers.0[RSP], base);
    registers.0[PC] = stack.word(base.wrapping_sub(8))?;
    let mut below = packed >> 28;
    let mut kept = KEPT.iter();
    while below != 0 {
        let number = *kept.next()?;
        if below & 63 != 0 {
            registers.0[number] = stack.word(base.wrapping_sub((below & 63) * 8))?;
        }
        below >>= 6;
    }
    (base > old).then_some(())
}

/// What a DWARF expression comes to: a length, and operations on a stack of words. As compilers and libc write them for frames:
/// no jumps, so that it ends.
#[inline(never)]
fn evaluate(at: u64, first: Option<u64>, of: &Registers, memory: &mut Window, code: &mut Window) -> Option<u64> {
    let mut cursor = Cursor { window: code, at, end: at.checked_add(256)? };
    let len = cursor.unsigned()?;
    cursor.end = cursor.at.checked_add(len).filter(|end| *end <= cursor.end)?;
    let mut words = [first.unwrap_or_default(), 0, 0, 0, 0, 0, 0, 0];
    let mut count = usize::from(first.is_some());
    while cursor.at < cursor.end {
        let operation = cursor.byte()?;
        let mut pop = || {
            count = count.checked_sub(1)?;
            Some(words[count])
        };
        let value = match operation {
            0x03 => cursor.word()?,
            0x06 => memory.word(pop()?)?,
            0x08 => cursor.byte()?.into(),
            0x09 => i64::from(cursor.byte()? as i8) as u64,
            0x0a => u16::from_le_bytes(cursor.take()?).into(),
            0x0b => i64::from(i16::from_le_bytes(cursor.take()?)) as u64,
            0x0c => u32::from_le_bytes(cursor.take()?).into(),
            0x0d => i64::from(i32::from_le_bytes(cursor.take()?)) as u64,
            0x0e | 0x0f => cursor.word()?,
            0x10 => cursor.unsigned()?,
            0x11 => cursor.signed()? as u64,
            0x12 => {
                let top = pop()?;
                *words.get_mut(count)? = top;
                count += 1;
                top
            }
            0x1a | 0x1c | 0x1e | 0x21 | 0x22 | 0x24..=0x27 | 0x29..=0x2e => {
                let (right, left) = (pop()?, pop()?);
                binary(operation, left, right)?
            }
            0x1f => pop()?.wrapping_neg(),
            0x20 => !pop()?,
            0x23 => pop()?.wrapping_add(cursor.unsigned()?),
            0x30..=0x4f => u64::from(operation - 0x30),
            0x70..=0x8f => {
                let register = *of.0.get(usize::from(operation - 0x70))?;
                register.wrapping_add_signed(cursor.signed()?)
            }
            0x96 => continue,
            _ => return None,
        };
        *words.get_mut(count)? = value;
        count += 1;
    }
    words.get(count.checked_sub(1)?).copied()
}

/// DWARF's operations on two words: and, minus, mul, or, plus, shl, shr, shra, xor, and the comparisons of signed numbers.
fn binary(operation: u8, left: u64, right: u64) -> Option<u64> {
    let (a, b) = (left as i64, right as i64);
    let by = u32::try_from(right).unwrap_or(u32::MAX);
    Some(match operation {
        0x1a => left & right,
        0x1c => left.wrapping_sub(right),
        0x1e => left.wrapping_mul(right),
        0x21 => left | right,
        0x22 => left.wrapping_add(right),
        0x24 => left.checked_shl(by).unwrap_or(0),
        0x25 => left.checked_shr(by).unwrap_or(0),
        0x26 => (a >> by.min(63)) as u64,
        0x27 => left ^ right,
        0x29 => (a == b).into(),
        0x2a => (a >= b).into(),
        0x2b => (a > b).into(),
        0x2c => (a <= b).into(),
        0x2d => (a < b).into(),
        0x2e => (a != b).into(),
        _ => return None,
    })
}

/// A place in a table, and where that ends.
pub struct Cursor<'a> {
    pub window: &'a mut Window,
    pub at: u64,
    pub end: u64,
}

impl Cursor<'_> {
    #[inline]
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let next = self.at.checked_add(N as u64).filter(|next| *next <= self.end)?;
        let bytes = self.window.read(self.at)?;
        self.at = next;
        Some(bytes)
    }

    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub fn word(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// A number of seven bits a byte (LEB128).
    pub fn unsigned(&mut self) -> Option<u64> {
        self.leb().map(|(value, _, _)| value)
    }

    /// As [`Cursor::unsigned`], with a sign.
    pub fn signed(&mut self) -> Option<i64> {
        self.leb().map(|(value, bits, last)| {
            let sign = if last & 0x40 != 0 && bits < 64 { u64::MAX << bits } else { 0 };
            (value | sign) as i64
        })
    }

    fn leb(&mut self) -> Option<(u64, u32, u8)> {
        let (mut value, mut bits) = (0, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << bits;
            bits += 7;
            if byte & 0x80 == 0 {
                return Some((value, bits, byte));
            }
            if bits > 56 {
                return None;
            }
        }
    }
}
