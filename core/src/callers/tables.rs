//! What a process remembers of its walks: rules of the addresses that it met, and which modules the journal knows.
//!
//! Any thread and any handler reads and writes at any time. An entry of the rules is two words of which the first is the key mixed with
//! the second: a torn one has nobody's key. An entry of the modules is one word. A forked child inherits both, and both hold for it.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::module::BuildId;

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
    /// Build ids by modules' places: 48 bits of address, 6 of length, and 10 that tell the place.
    build_ids: Box<[AtomicU64]>,
}

impl Tables {
    pub fn new() -> Tables {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Tables {
            rules: (0..RULES).map(|_| [const { AtomicU64::new(0) }; 2]).collect(),
            modules: zeros(MODULES),
            build_ids: zeros(MODULES),
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

    fn build_id_at(&self, place: u64) -> &AtomicU64 {
        &self.build_ids[(place >> 54) as usize % MODULES]
    }

    /// Where the build id of the module at this place is.
    pub fn build_id(&self, place: u64) -> Option<BuildId> {
        let word = self.build_id_at(place).load(Relaxed);
        let build_id = BuildId { at: word & ((1 << 48) - 1), len: word >> 48 & 63 };
        (word != 0 && (word >> 54) == place & 0x3ff).then_some(build_id)
    }

    /// Remembers where a build id is, in the place of another's.
    pub fn keep_build_id(&self, place: u64, build_id: BuildId) {
        let BuildId { at, len } = build_id;
        self.build_id_at(place).store((place & 0x3ff) << 54 | (len & 63) << 48 | at & ((1 << 48) - 1), Relaxed);
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
            let build_id = BuildId { at: slot, len: 20 };
            tables.keep_build_id(place, build_id);
            prop_assert_eq!(tables.build_id(place), Some(build_id));
            prop_assert_eq!(tables.build_id(place ^ 1), None);
            prop_assert_eq!(tables.slot(place ^ 1, identity), None);
        }
    }
}
