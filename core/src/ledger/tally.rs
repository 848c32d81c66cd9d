//! A running total in shared memory that is never below the truth.
//!
//! The truth is a sum over slots. Whoever takes something first writes its slot, then adds here; whoever gives something back
//! frees its slot first, then subtracts. A process killed between the two leaves the total too high, never too low, so that a
//! quota cannot be overrun; when a quota is reached, [`Tally::recompute`] sets the total to the sum again.
//!
//! An epoch in the upper bits makes that safe without a lock. Recomputing takes effect only if nothing was added or subtracted
//! since it began; and a subtraction that finds the epoch changed is left out, since the new sum may already lack its slot.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

const VALUE_BITS: u32 = 48;
const VALUE: u64 = (1 << VALUE_BITS) - 1;

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
        Epoch(self.0.load(SeqCst) >> VALUE_BITS)
    }

    /// Adds `amount` if the total stays within `limit`.
    ///
    /// # Errors
    /// The total, if it would not.
    pub fn add(&self, amount: u64, limit: Option<u64>) -> Result<(), u64> {
        self.change(|value| {
            let sum = value + amount.min(Self::MOST);
            if limit.is_some_and(|limit| sum > limit) { None } else { Some(sum.min(VALUE)) }
        })
    }

    /// Subtracts what a slot freed since `epoch` held.
    pub fn subtract(&self, amount: u64, epoch: Epoch) {
        let mut now = self.0.load(SeqCst);
        while now >> VALUE_BITS == epoch.0 {
            let value = (now & VALUE).saturating_sub(amount.min(Self::MOST));
            match self.0.compare_exchange_weak(now, now & !VALUE | value, SeqCst, SeqCst) {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }

    /// Sets the total to `sum`'s result and starts a new epoch, unless others change it all the time: then it stays as it is.
    pub fn recompute(&self, sum: impl Fn() -> Option<u64>) {
        for _ in 0..16 {
            let before = self.0.load(SeqCst);
            let Some(sum) = sum() else { return };
            let after = (before >> VALUE_BITS).wrapping_add(1) << VALUE_BITS | sum.min(VALUE);
            if self.0.compare_exchange(before, after, SeqCst, SeqCst).is_ok() {
                return;
            }
        }
    }

    /// Makes it a new one.
    pub fn clear(&self) {
        self.0.store(0, SeqCst);
    }

    fn change(&self, next: impl Fn(u64) -> Option<u64>) -> Result<(), u64> {
        let mut now = self.0.load(SeqCst);
        loop {
            let value = next(now & VALUE).ok_or(now & VALUE)?;
            match self.0.compare_exchange_weak(now, now & !VALUE | value, SeqCst, SeqCst) {
                Ok(_) => return Ok(()),
                Err(other) => now = other,
            }
        }
    }
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
        tally.recompute(|| Some(2));
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
                return Some(0);
            }
            Some(7)
        });
        assert_eq!(tally.get(), 7);
    }

    #[test]
    fn huge_amounts_do_not_spill_into_the_epoch() {
        let tally = Tally::default();
        for _ in 0..100 {
            tally.add(u64::MAX, None).unwrap();
        }
        assert_eq!(tally.epoch(), Epoch(0));
        assert!(tally.add(1, Some(1 << 40)).is_err());
    }
}
