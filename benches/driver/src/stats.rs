//! Medians and quartiles.

/// The middle of some numbers, and the range of the middle half of them.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// Of `numbers`; not-a-number if there are none.
    pub fn of(numbers: &[f64]) -> Spread {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: usize| sorted.get(sorted.len().saturating_sub(1) * share / 4).copied().unwrap_or(f64::NAN);
        Spread { low: at(1), median: at(2), high: at(3) }
    }
}
