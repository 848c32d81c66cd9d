//! A call's stack in the journal: the frames' places, and the modules that they speak of.
//!
//! A frame is a word: the slot of its module's record, whatever process wrote that, and the place in the module's file. So a
//! frame is right whatever is loaded and unloaded, forked and executed afterwards.

#![forbid(unsafe_code)]

use super::format::{MOST_TEXT, Words};

/// Frames of a call that are kept at most, the innermost ones. They fill six slots.
pub const MOST_FRAMES: usize = 18;
/// Bits of a frame's word that are the place; then a flag, and then the module's slot.
const PLACE_BITS: u32 = 34;
const IS_SIGNAL: u64 = 1 << PLACE_BITS;

/// A frame: where a call is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The slot of the module's record.
    pub module: u64,
    /// The last byte of the call instruction, or where a signal interrupted, as an address in the module's file.
    pub offset: u64,
    /// The kernel made it: the frame before is a signal's handler, the next one what it interrupted.
    pub is_signal: bool,
}

impl Frame {
    /// `None` if its numbers are beyond all measure.
    pub fn encode(self) -> Option<u64> {
        let fits = self.offset < 1 << PLACE_BITS && self.module < 1 << (63 - PLACE_BITS);
        let signal = if self.is_signal { IS_SIGNAL } else { 0 };
        fits.then_some(self.module << (PLACE_BITS + 1) | signal | self.offset)
    }

    fn decode(word: u64) -> Frame {
        Frame { module: word >> (PLACE_BITS + 1), offset: word & (IS_SIGNAL - 1), is_signal: word & IS_SIGNAL != 0 }
    }
}

/// Why a stack has no more frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum End {
    /// The program or the thread began there.
    Outermost = 0,
    /// There are more, which were not kept.
    More = 1,
    /// The caller could not be found: code without tables of its frames.
    #[default]
    Unknown = 2,
}

/// The frames of a call, the innermost first: the function that made the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stack {
    words: [u64; MOST_FRAMES],
    count: usize,
    pub end: End,
}

impl Stack {
    /// Adds a frame; false if there is no room for it.
    pub fn push(&mut self, frame: u64) -> bool {
        let Some(word) = self.words.get_mut(self.count) else { return false };
        *word = frame;
        self.count += 1;
        true
    }

    /// The frames.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = Frame> {
        self.words[..self.count].iter().map(|word| Frame::decode(*word))
    }

    /// How many slots it takes.
    pub fn slots(&self) -> u64 {
        self.count.max(1).div_ceil(3) as u64
    }

    /// The first slot.
    pub fn first(&self) -> Words {
        let [a, b, c, ..] = self.words;
        [(self.count as u64) << 32 | (self.end as u64) << 40, a, b, c]
    }

    /// The slots behind the first.
    pub fn behind(&self) -> impl Iterator<Item = Words> {
        self.words[3..self.count.max(3)].chunks(3).map(|words| {
            let mut slot = [0; 4];
            slot[1..=words.len()].copy_from_slice(words);
            slot
        })
    }

    /// How many frames the stack with this first slot has; `None` for words that no writer writes.
    pub(super) fn count(first: &Words) -> Option<usize> {
        Some((first[0] >> 32 & 0xff) as usize).filter(|count| *count <= MOST_FRAMES)
    }

    /// The stack of these slots; `None` for words that no writer writes.
    pub(super) fn decode(first: &Words, behind: &[Words]) -> Option<Stack> {
        let end = match first[0] >> 40 & 0xff {
            0 => End::Outermost,
            1 => End::More,
            2 => End::Unknown,
            _ => return None,
        };
        let mut stack = Stack { end, ..Stack::default() };
        let words = std::iter::once(first).chain(behind).flat_map(|slot| &slot[1..]);
        words.take(Stack::count(first)?).all(|word| stack.push(*word)).then_some(stack)
    }
}

/// A file that was loaded in a process: its first slot's words, and the text behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Module {
    /// What has to be added to an address in the file to get the one in the process.
    pub bias: u64,
    /// Its build id, empty if it has none.
    pub build_id: Vec<u8>,
    /// Its path as the process sees it, or the name by which it was loaded; empty if not known.
    pub path: Vec<u8>,
}

/// The first slot of a module's record, whose text is its build id of `id_len` bytes and its path behind that, `text_len` bytes in all.
pub(super) fn module_words(ticks: u64, bias: u64, id_len: usize, text_len: usize) -> Words {
    let last = text_len.div_ceil(24) as u64 | (text_len as u64) << 8 | (id_len as u64) << 24;
    [0, ticks, bias, last]
}

impl Module {
    /// The module of a record's first slot and text; `None` for words that no writer writes.
    pub(super) fn decode(first: &Words, text: &[u8]) -> Option<Module> {
        let (build_id, path) = text.split_at_checked((first[3] >> 24 & 0xff) as usize)?;
        (text.len() <= MOST_TEXT).then(|| Module { bias: first[2], build_id: build_id.to_vec(), path: path.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes_the_same(
            frames in proptest::collection::vec((0_u64..1 << 29, 0_u64..1 << 34, any::<bool>()), 0..MOST_FRAMES + 3), end in 0..3,
        ) {
            let frames: Vec<Frame> =
                frames.into_iter().map(|(module, offset, is_signal)| Frame { module, offset, is_signal }).collect();
            let mut stack = Stack { end: [End::Outermost, End::More, End::Unknown][end as usize], ..Stack::default() };
            for (at, frame) in frames.iter().enumerate() {
                prop_assert_eq!(stack.push(frame.encode().unwrap()), at < MOST_FRAMES);
            }
            let behind: Vec<Words> = stack.behind().collect();
            prop_assert_eq!(behind.len() as u64 + 1, stack.slots());
            prop_assert_eq!(Stack::decode(&stack.first(), &behind), Some(stack));
            prop_assert_eq!(stack.frames().collect::<Vec<_>>(), &frames[..frames.len().min(MOST_FRAMES)]);
        }

        #[test]
        fn any_words_are_answered(first: Words, behind: Vec<Words>, text: Vec<u8>) {
            let _ = Stack::decode(&first, &behind);
            let _ = Module::decode(&first, &text);
        }
    }
}
