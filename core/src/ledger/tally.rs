//! A running total in shared memory that is never below the truth.
//!
//! The truth is a sum over slots. Whoever takes something first writes its slot, then adds here; whoever gives something back
//! frees its slot first, then subtracts. A process killed between the two leaves the total too high, never too low, so that a
//! quota cannot be overrun; when a quota is reached, [`Tally::recompute`] sets the total to the sum again.
//!
//! An epoch and a count of changes in the upper bits make that safe without a lock. Recomputing takes effect only if nothing was
//! added or subtracted since it began (one up and one down are two changes); and a subtraction that finds the epoch changed is
//! left out, since the new sum may already lack its slot.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;

use crate::atomic::AtomicU64;

// A word: the value, how often it was changed, and the epoch.
const VALUE_BITS: u32 = 40;
const CHANGE_BITS: u32 = 12;
const VALUE: u64 = (1 << VALUE_BITS) - 1;
const ONE_CHANGE: u64 = 1 << VALUE_BITS;
const CHANGES: u64 = ((1 << CHANGE_BITS) - 1) << VALUE_BITS;
const EPOCH_SHIFT: u32 = VALUE_BITS + CHANGE_BITS;

/// The total. All zeros is a new one.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Tally(AtomicU64);

/// The epoch at the moment of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u64);

impl Tally {
    /// The largest amount that is told apart from more.
    pub const MOST: u64 = VALUE >> 4;

    /// The total now.
    pub fn get(&self) -> u64 {
        self.0.load(SeqCst) & VALUE
    }

    /// The epoch, to be taken before a slot is freed.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.0.load(SeqCst) >> EPOCH_SHIFT)
    }

    /// Adds `amount` if the total stays within `limit`.
    ///
    /// # Errors
    /// The total, if it would not.
    pub fn add(&self, amount: u64, limit: Option<u64>) -> Result<(), u64> {
        let next = |now: u64| {
            let sum = (now & VALUE) + amount.min(Self::MOST);
            (limit.is_none_or(|limit| sum <= limit)).then(|| changed(now, sum.min(VALUE)))
        };
        self.0.fetch_update(SeqCst, SeqCst, next).map(|_| ()).map_err(|now| now & VALUE)
    }

    /// Subtracts what a slot freed since `epoch` held.
    pub fn subtract(&self, amount: u64, epoch: Epoch) {
        let next = |now: u64| {
            let value = (now & VALUE).saturating_sub(amount.min(Self::MOST));
            (now >> EPOCH_SHIFT == epoch.0).then(|| changed(now, value))
        };
        // Of another epoch: the sum that began it may already lack the slot.
        let _ = self.0.fetch_update(SeqCst, SeqCst, next);
    }

    /// Sets the total to `sum`'s result and starts a new epoch, unless others change it all the time: then it stays as it is, too
    /// high at worst.
    pub fn recompute(&self, sum: impl Fn() -> u64) {
        for _ in 0..16 {
            let before = self.0.load(SeqCst);
            let after = ((before >> EPOCH_SHIFT).wrapping_add(1) << EPOCH_SHIFT) | sum().min(VALUE);
            // The number of changes is part of the word: one up and one down meanwhile do not look like none.
            if self.0.compare_exchange(before, after, SeqCst, SeqCst).is_ok() {
                return;
            }
        }
    }

    /// Empties it for its next owner; what somebody subtracts late does not touch that one's.
    pub fn clear(&self) {
        self.recompute(|| 0);
    }
}

fn changed(now: u64, value: u64) -> u64 {
    (now >> EPOCH_SHIFT << EPOCH_SHIFT) | ((now & CHANGES).wrapping_add(ONE_CHANGE) & CHANGES) | value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_still_within() {
        let tally = Tally::default();
        assert_eq!(tally.add(3, Some(3)), Ok(()));
        assert_eq!(tally.add(1, Some(3)), Err(3));
        tally.subtract(1, tally.epoch());
        assert_eq!(tally.add(1, Some(3)), Ok(()));
    }

    #[test]
    fn a_subtraction_from_before_a_recomputation_is_left_out() {
        let tally = Tally::default();
        tally.add(5, None).unwrap();
        let epoch = tally.epoch();
        tally.recompute(|| 2);
        tally.subtract(3, epoch);
        assert_eq!(tally.get(), 2);
    }

    #[test]
    fn a_recomputation_overtaken_by_a_change_does_not_count() {
        let tally = Tally::default();
        let first = core::cell::Cell::new(true);
        tally.recompute(|| {
            if first.replace(false) {
                tally.add(7, None).unwrap();
                return 0;
            }
            7
        });
        assert_eq!(tally.get(), 7);
    }

    #[test]
    fn one_up_and_one_down_meanwhile_void_a_sum_too() {
        let tally = Tally::default();
        tally.add(5, None).unwrap();
        let first = core::cell::Cell::new(true);
        tally.recompute(|| {
            if first.replace(false) {
                tally.add(1, None).unwrap();
                tally.subtract(1, tally.epoch());
                return 4;
            }
            5
        });
        assert_eq!(tally.get(), 5);
    }

    #[test]
    fn huge_amounts_do_not_spill_into_the_epoch() {
        let tally = Tally::default();
        for _ in 0..100 {
            tally.add(u64::MAX, None).unwrap();
        }
        assert_eq!(tally.epoch(), Epoch(0));
        assert!(tally.add(1, Some(1 << 39)).is_err());
    }
}
