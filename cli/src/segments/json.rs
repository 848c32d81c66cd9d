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
    let mut text = String::new();
    for column in columns {
        let comma = if text.is_empty() { "" } else { "," };
        // A String takes everything.
        let _ = write!(text, "{comma}\"{}\":{}", column.name.to_ascii_lowercase(), value(&(column.of)(segment, survey)));
    }
    text
}

/// A string with its quotes.
pub fn string(text: &str) -> String {
    Quoted { bytes: text.as_bytes(), json: true }.to_string()
}

fn value(value: &Value) -> String {
    match value {
        Value::Nothing => "null".into(),
        Value::Flag(is_so) => is_so.to_string(),
        Value::Number(number) | Value::Size(number) | Value::Age(number) => number.to_string(),
        Value::Time(seconds) => string(&utc(*seconds)),
        Value::Text(text) => string(text),
        Value::Process(pid, name, is_gone) => {
            let name = name.as_ref().map_or("null".to_owned(), |name| string(name));
            format!("{{\"pid\":{pid},\"name\":{name},\"gone\":{is_gone}}}")
        }
    }
}
