//! The same for programs: docs/segments.md has the schema. Field names are the columns', in small letters.

use std::fmt::Write as _;

use shmgate_core::text::Quoted;

use super::Segment;
use super::columns::{Column, Value};
use super::survey::Survey;
use super::table::utc;

/// Raised only if a field's meaning changes; new fields may come any time.
pub const SCHEMA: u32 = 1;

/// A segment's fields, without the braces around them.
pub fn fields<'a>(columns: impl IntoIterator<Item = &'a Column>, segment: &Segment, survey: &Survey) -> String {
    let mut text = String::with_capacity(1024);
    for column in columns {
        text.push_str(if text.is_empty() { "\"" } else { ",\"" });
        text.extend(column.name.chars().map(|letter| letter.to_ascii_lowercase()));
        text.push_str("\":");
        write_value(&mut text, &(column.of)(segment, survey));
    }
    text
}

/// A string with its quotes.
pub fn string(text: &str) -> String {
    Quoted { bytes: text.as_bytes(), json: true }.to_string()
}

/// A value.
pub fn write_value(out: &mut String, value: &Value) {
    // A String takes everything.
    let _ = match value {
        Value::Nothing => write!(out, "null"),
        Value::Flag(is_so) => write!(out, "{is_so}"),
        Value::Number(number) | Value::Size(number) | Value::Age(number) => write!(out, "{number}"),
        Value::Rate(tenths) => write!(out, "{}.{}", tenths / 10, tenths % 10),
        Value::Time(seconds) => write!(out, "\"{}\"", utc(*seconds)),
        Value::Text(text) => write!(out, "{}", Quoted { bytes: text.as_bytes(), json: true }),
        Value::Process(pid, name, is_gone) => {
            let name = name.as_ref().map_or("null".to_owned(), |name| string(name));
            write!(out, "{{\"pid\":{pid},\"name\":{name},\"gone\":{is_gone}}}")
        }
    };
}
