//! Sizes as people write them: `4096`, `64K`, `1.5`-less whole numbers with K, M, G, T or KiB, MiB, GiB, TiB, all powers of 1024.

use core::fmt;

/// Why a text is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeError {
    /// No digits at the start.
    NoNumber,
    /// A suffix that is none of the known ones.
    BadSuffix,
    /// More than 2^64 - 1 bytes.
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SizeError::TooLarge => "too large: at most 2^64-1 bytes",
            _ => "not a size: write bytes as a whole number with an optional K, M, G, T, KiB, MiB, GiB or TiB",
        })
    }
}

impl core::error::Error for SizeError {}

/// Reads a size; returns bytes.
///
/// # Errors
/// [`SizeError`], when `text` is not a whole number with an optional suffix, or too large.
///
/// ```
/// assert_eq!(shmgate_core::policy::size::parse("64MiB"), Ok(64 << 20));
/// ```
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(SizeError::NoNumber);
    }
    let (number, suffix) = text.split_at(digits);
    let shift = match suffix {
        "" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return Err(SizeError::BadSuffix),
    };
    let number: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
    number.checked_mul(1 << shift).ok_or(SizeError::TooLarge)
}

/// Bytes for people: exact as long as that is short (`2052 KiB`), rounded to a tenth of a unit else.
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("EiB", 60), ("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("bytes", 0)];
        if self.0 == 0 {
            return f.write_str("0 bytes");
        }
        let exact = units.iter().find(|(_, shift)| self.0 & ((1 << shift) - 1) == 0);
        let largest = units.iter().find(|(_, shift)| self.0 >> shift > 0);
        match (exact, largest) {
            (Some((unit, shift)), _) if self.0 >> shift < 100_000 => write!(f, "{} {unit}", self.0 >> shift),
            (_, Some((unit, shift))) => {
                // Without floating point: its formatting is 20 KB of the library.
                let tenths = ((u128::from(self.0) * 10 + (1 << (shift - 1))) >> shift) as u64;
                write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
            (_, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn suffixes_are_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("1K", 1024), ("1KiB", 1024), ("3M", 3 << 20), ("2GiB", 2 << 30), ("1T", 1 << 40)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "K", "-1", "+1", "1.5M", "12Q", "1k", "1KB", "1 M", "0x10", "1MM", "١"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("18446744073709551616"), Err(SizeError::TooLarge));
        assert_eq!(parse("16777216T"), Err(SizeError::TooLarge));
    }

    #[test]
    fn sizes_are_written_exactly_while_that_is_short() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (5000, "5000 bytes"),
            (4096, "4 KiB"),
            ((2 << 20) + 4096, "2052 KiB"),
            (64 << 20, "64 MiB"),
            ((5 << 30) + 1, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn a_number_with_a_suffix_is_that_many(number in 0_u64..1 << 24, shift in 0_usize..5) {
            let suffix = ["", "K", "M", "G", "T"][shift];
            prop_assert_eq!(parse(&format!("{number}{suffix}")), Ok(number << (10 * shift)));
        }

        #[test]
        fn a_written_whole_size_reads_back(number in 1_u64..1024, shift in 1_usize..5) {
            let text = Size(number << (10 * shift)).to_string().replace(' ', "");
            prop_assert_eq!(parse(&text), Ok(number << (10 * shift)));
        }
    }
}
