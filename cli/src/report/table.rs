//! Tables for people: columns as wide as their longest cell, numbers to the right.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

/// Cells of a row; one of a number or a size begins with this, and goes to the right.
pub const RIGHT: char = '>';

/// Writes rows under their headings, two spaces in.
pub fn write(out: &mut dyn Write, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    // In cells of a terminal, of which a Chinese letter takes two.
    let width = |cell: &str| cell.strip_prefix(RIGHT).unwrap_or(cell).width();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| rows.iter().map(|row| width(&row[column])).chain([width(head[column])]).max().unwrap_or(0))
        .collect();
    let heads: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    for row in [&heads].into_iter().chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - width(cell));
            line += "  ";
            match cell.strip_prefix(RIGHT) {
                Some(text) => line = line + &padding + text,
                None => line = line + cell + &padding,
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A cell of a number; 0 is a dash, which is easier to pass over.
pub fn number(count: u64) -> String {
    if count == 0 { format!("{RIGHT}-") } else { format!("{RIGHT}{count}") }
}

/// A cell that goes to the right.
pub fn right(text: impl std::fmt::Display) -> String {
    format!("{RIGHT}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut out = Vec::new();
        let rows = [vec!["a".into(), number(5)], vec!["longer".into(), number(12_345)]];
        write(&mut out, &["NAME", ">N"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  NAME        N\n  a           5\n  longer  12345\n");
    }

    #[test]
    fn wide_letters_take_two_columns() {
        let mut out = Vec::new();
        let rows = [vec!["漢字パス".into(), number(5)], vec!["longer".into(), right("漢")]];
        write(&mut out, &["NAME", ">N"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  NAME       N\n  漢字パス   5\n  longer    漢\n");
    }
}
