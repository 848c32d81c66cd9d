//! The atomics of what processes share, in the backend and the ledger: the processor's, but in unit tests those of [`crate::model`].

#[cfg(not(test))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(test)]
pub use model::{AtomicU32, AtomicU64, fence};

#[cfg(test)]
use crate::model;

/// Adds to a word that the calling thread alone writes: see [`crate::thread::add`].
#[inline(always)]
pub fn add(word: &AtomicU64, amount: u64) {
    #[cfg(test)]
    let word = match word.add_late(amount) {
        true => return,
        false => word.plain(),
    };
    crate::thread::add(word, amount);
}

/// Says that nothing goes on before another thread does something.
#[inline(always)]
pub fn spin_loop() {
    #[cfg(test)]
    model::let_others();
    core::hint::spin_loop();
}
