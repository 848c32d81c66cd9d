//! Sizes: what is accepted is what the grammar says, and its number is right.

use shmgate_core::policy::size::{Size, parse};

/// The number of bytes by another way of reading: `None` for what is no size or too large.
fn expected(text: &str) -> Option<u64> {
    let unit = ["KiB", "MiB", "GiB", "TiB", "K", "M", "G", "T"].iter().position(|unit| text.ends_with(unit));
    let digits = unit.map_or(text, |at| &text[..text.len() - if at < 4 { 3 } else { 1 }]);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bytes = digits
        .bytes()
        .try_fold(0_u128, |sum, digit| Some(sum * 10 + u128::from(digit - b'0')).filter(|sum| *sum <= u128::from(u64::MAX)))?;
    let factor = unit.map_or(1, |at| 1024_u128.pow(at as u32 % 4 + 1));
    u64::try_from(bytes * factor).ok()
}

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = parse(text);
    assert_eq!(parsed.ok(), expected(text), "{text:?}");
    match parsed {
        Ok(bytes) => {
            assert_eq!(parse(&bytes.to_string()), Ok(bytes));
            assert!(super::is_plain_line(&Size(bytes).to_string()));
        }
        Err(error) => assert!(super::is_plain_line(&error.to_string())),
    }
}
