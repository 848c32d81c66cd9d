//! A table for people, as lsipc prints its: a line a row, columns aligned, - where there is nothing.
//!
//! Colours are for terminals, and for those who did not set NO_COLOR.

use std::env;
use std::io::{self, IsTerminal, Write};

use shmgate_core::text::json::Utc;
use unicode_width::UnicodeWidthStr;

use super::columns::Value;

/// How a cell looks on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Plain,
    Heading,
    /// Worth a look.
    Notice,
    Warning,
}

impl Style {
    fn start(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Heading => "\x1b[1m",
            Style::Notice => "\x1b[33m",
            Style::Warning => "\x1b[31m",
        }
    }
}

/// True if standard output takes colours.
pub fn has_colours() -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A cell: its text, and how it looks.
#[derive(Clone, Debug)]
pub struct Cell {
    pub text: String,
    pub style: Style,
}

impl Cell {
    pub fn heading(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), style: Style::Heading }
    }

    /// How many cells of a terminal it takes: a Chinese letter takes two.
    pub fn width(&self) -> usize {
        self.text.width()
    }
}

/// Rows of as many cells as there are columns, of which `is_number` tells whether they stand to the right.
pub fn write(out: &mut impl Write, is_number: &[bool], rows: &[Vec<Cell>], has_colours: bool) -> io::Result<()> {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max();
    let widths: Vec<usize> = (0..is_number.len()).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (at, ((cell, &width), &is_number)) in row.iter().zip(&widths).zip(is_number).enumerate() {
            if at > 0 {
                line.push(' ');
            }
            let padding = " ".repeat(width - cell.width());
            let (before, after) = if is_number { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.push_str(before);
            if has_colours && cell.style != Style::Plain {
                line.push_str(cell.style.start());
                line.push_str(&cell.text);
                line.push_str("\x1b[0m");
            } else {
                line.push_str(&cell.text);
            }
            // Nothing stands behind the last.
            if at + 1 < row.len() {
                line.push_str(after);
            }
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// A value as people read it; sizes in bytes if they are to be exact.
pub fn text(value: &Value, in_bytes: bool) -> String {
    match value {
        Value::Nothing => "-".into(),
        Value::Flag(is_so) => if *is_so { "yes" } else { "no" }.into(),
        Value::Number(number) => number.to_string(),
        Value::Size(bytes) if in_bytes => bytes.to_string(),
        Value::Size(bytes) => size(*bytes),
        Value::Rate(tenths @ 1..100) => format!("{}.{}", tenths / 10, tenths % 10),
        Value::Rate(tenths) => (tenths / 10).to_string(),
        Value::Age(seconds) => age(*seconds),
        Value::Time(seconds) => utc(*seconds),
        Value::Text(text) => printable(text),
        Value::Process(pid, Some(name), _) => format!("{pid} {}", printable(name)),
        Value::Process(pid, None, true) => format!("{pid} gone"),
        Value::Process(pid, None, false) => format!("{pid} ?"),
    }
}

/// The second, as RFC 3339 has it.
pub fn utc(seconds: u64) -> String {
    let text = Utc(seconds.saturating_mul(1_000_000_000)).to_string();
    format!("{}Z", text.split('.').next().unwrap_or(&text))
}

/// Names of processes may hold anything: a row stays a line, and sends nothing to the terminal.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() { printable.extend(character.escape_default()) } else { printable.push(character) }
    }
    printable
}

/// As lsipc writes sizes: powers of 1024, with one digit behind the point where it says something.
pub fn size(bytes: u64) -> String {
    const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    let steps = UNITS.len().min((64 - bytes.max(1).leading_zeros() as usize - 1) / 10);
    if steps == 0 {
        return format!("{bytes}B");
    }
    let unit = 1_u64 << (10 * steps);
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    let letter = UNITS[steps - 1];
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{letter}"),
        (whole, tenth) => format!("{whole}.{tenth}{letter}"),
    }
}

/// The largest unit of which there are two or more, as `ps` readers would: 119s is not yet two minutes.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1K"),
            (9000, "8.8K"),
            (1 << 20, "1M"),
            ((1 << 20) - 1, "1024K"),
            (3 << 30, "3G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172_800, "2d")] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn columns_are_aligned_and_colours_take_no_room() {
        let plain = |text: &str| Cell { text: text.into(), style: Style::Plain };
        let row = |name: &str, number: &str| vec![Cell::heading(name), plain(number), plain("x")];
        let table = |has_colours| {
            let mut out = Vec::new();
            write(&mut out, &[false, true, false], &[row("LONG\u{e4}", "1"), row("A", "100")], has_colours).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(table(false), "LONG\u{e4}   1 x\nA     100 x\n");
        assert_eq!(table(true).replace("\x1b[1m", "").replace("\x1b[0m", ""), table(false));
        assert_eq!(printable("a\n\x1b[2J"), "a\\n\\u{1b}[2J");
    }

    #[test]
    fn wide_letters_take_two_columns() {
        let row = |name: &str, number: &str| [name, number, "x"].map(Cell::heading).to_vec();
        let mut out = Vec::new();
        write(&mut out, &[false, true, false], &[row("漢字", "1"), row("abcde", "漢"), row("e\u{301}", "100")], false).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "漢字    1 x\nabcde  漢 x\ne\u{301}     100 x\n");
    }
}
