//! What a process remembers of its walks: rules of the addresses that it met, and which modules the journal knows.
//!
//! Any thread and any handler reads and writes at any time. An entry of the rules is two words of which the first is the key mixed with
//! the second: a torn one has nobody's key. An entry of the modules is one word. A forked child inherits both, and both hold for it.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Addresses whose rules are remembered: 16 KiB.
const RULES: usize = 1024;
/// Modules that are remembered, in sets of four.
const MODULES: usize = 256;
const SET: usize = 4;

/// Bits of a module's entry that are its slot in the journal; those above tell its place from others, and then its build id.
const SLOT_BITS: u32 = 29;
const PLACE_BITS: u32 = 17;

#[derive(Debug)]
pub struct Tables {
    rules: Box<[[AtomicU64; 2]]>,
    modules: Box<[AtomicU64]>,
}

impl Tables {
    pub fn new() -> Tables {
        Tables {
            rules: (0..RULES).map(|_| [const { AtomicU64::new(0) }; 2]).collect(),
            modules: (0..MODULES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn rules_at(&self, key: u64) -> &[AtomicU64; 2] {
        &self.rules[(key >> 32) as usize % RULES]
    }

    /// The rules that were kept by this key.
    #[inline]
    pub fn rules(&self, key: u64) -> Option<u64> {
        let [check, rules] = self.rules_at(key);
        let rules = rules.load(Relaxed);
        // Zero is what was never written.
        (rules != 0 && check.load(Relaxed) ^ rules == key).then_some(rules)
    }

    /// Keeps rules, in the place of others.
    pub fn keep_rules(&self, key: u64, packed: u64) {
        let [check, rules] = self.rules_at(key);
        check.store(key ^ packed, Relaxed);
        rules.store(packed, Relaxed);
    }

    fn set(&self, place: u64) -> &[AtomicU64] {
        &self.modules[(place >> 56) as usize % (MODULES / SET) * SET..][..SET]
    }

    /// True if a module at this place was remembered.
    pub fn knows_place(&self, place: u64) -> bool {
        self.set(place).iter().any(|entry| {
            let entry = entry.load(Relaxed);
            entry != 0 && (entry >> SLOT_BITS ^ place) & ((1 << PLACE_BITS) - 1) == 0
        })
    }

    fn tag(place: u64, identity: u64) -> u64 {
        (place & ((1 << PLACE_BITS) - 1)) | (identity >> (SLOT_BITS + PLACE_BITS)) << PLACE_BITS
    }

    /// The journal's slot of a module.
    pub fn slot(&self, place: u64, identity: u64) -> Option<u64> {
        let tag = Tables::tag(place, identity);
        let mut entries = self.set(place).iter().map(|entry| entry.load(Relaxed));
        entries.find(|entry| *entry != 0 && entry >> SLOT_BITS == tag).map(|entry| entry & ((1 << SLOT_BITS) - 1))
    }

    /// Remembers the journal's slot of a module, in the place of another if need be.
    pub fn keep_slot(&self, place: u64, identity: u64, slot: u64) {
        let set = self.set(place);
        let entry = Tables::tag(place, identity) << SLOT_BITS | slot & ((1 << SLOT_BITS) - 1);
        let free = set.iter().find(|entry| entry.load(Relaxed) == 0);
        free.unwrap_or(&set[(identity >> 8) as usize % SET]).store(entry, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_found(key: u64, packed in 1_u64.., place: u64, identity: u64, slot in 1_u64..1 << 29, others: Vec<(u64, u64)>) {
            let tables = Tables::new();
            for (key, other) in others {
                tables.keep_rules(key, other);
                tables.keep_slot(key, other, other);
            }
            tables.keep_rules(key, packed);
            prop_assert_eq!(tables.rules(key), Some(packed));
            prop_assert_eq!(tables.rules(key ^ 1), None);
            tables.keep_slot(place, identity, slot);
            prop_assert_eq!(tables.slot(place, identity), Some(slot));
            prop_assert!(tables.knows_place(place));
            prop_assert_eq!(tables.slot(place ^ 1, identity), None);
        }
    }
}
