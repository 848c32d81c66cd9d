//! Text for people: bytes of paths and names, times and durations.

use std::fmt;

/// Bytes as text that can't break a line or drive a terminal; what is no UTF-8 becomes `\377`.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
        }
        chunk.invalid().iter().for_each(|byte| text += &format!("\\{byte:03o}"));
    }
    text
}

/// A path as [`printable`], with a word for none.
pub fn path(bytes: &[u8]) -> String {
    match bytes {
        shmgate_core::call::NULL_PATH => "NULL".into(),
        b"" => "an empty path".into(),
        bytes => printable(bytes),
    }
}

/// Nanoseconds as people count them.
pub struct Span(pub u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name): (u64, &str) = match self.0 {
            0..1_000_000 => (1_000, "us"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            1_000_000_000..600_000_000_000 => (1_000_000_000, "s"),
            600_000_000_000..36_000_000_000_000 => (60_000_000_000, "min"),
            _ => (3_600_000_000_000, "h"),
        };
        f.pad(&format!("{:.1} {name}", self.0 as f64 / unit as f64))
    }
}

/// `1 call`, `2 calls`.
pub fn plural(count: u64, one: &str) -> String {
    let (start, end) = match one.strip_suffix('y') {
        Some(start) if count != 1 => (start, "ies"),
        _ if count != 1 && (one.ends_with("ss") || one.ends_with("ch")) => (one, "es"),
        _ if count != 1 => (one, "s"),
        _ => (one, ""),
    };
    format!("{count} {start}{end}")
}

/// As many ids are told one by one.
const MOST_IDS: usize = 5;

/// `id 7`, `ids 7, 8`, and of many the first ones.
pub fn some(one: &str, ids: impl ExactSizeIterator<Item = i32>) -> String {
    let (count, more) = (ids.len(), ids.len().saturating_sub(MOST_IDS));
    let first: Vec<String> = ids.take(MOST_IDS).map(|id| id.to_string()).collect();
    let and = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{one}{} {}{and}", if count == 1 { "" } else { "s" }, first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable(b"a\x1b[31m\n\xff\xc3\xa4"), "a\\u{1b}[31m\\n\\377\u{e4}");
    }

    #[test]
    fn many_ids_are_told_in_short() {
        assert_eq!(
            [some("id", 7..8), some("id", 7..9), some("id", 0..7)],
            ["id 7", "ids 7, 8", "ids 0, 1, 2, 3, 4 and 2 more"]
        );
    }

    #[test]
    fn counts_have_their_plural() {
        assert_eq!([plural(1, "attach"), plural(2, "process"), plural(0, "call")], ["1 attach", "2 processes", "0 calls"]);
    }
}
