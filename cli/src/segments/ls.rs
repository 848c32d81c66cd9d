//! `shmgate ls`.

use std::io::{self, BufWriter, Write};

use super::Segment;
use super::columns::{self, ALL, Column};
use super::json::{self, SCHEMA};
use super::options::{LsOptions, Output};
use super::survey::Survey;
use super::table::{self, Cell, Style};
use crate::failure::{Failure, written};

/// Lists the segments; returns the exit status.
pub fn ls(options: &LsOptions) -> Result<u8, Failure> {
    let survey = Survey::of(&options.at)?;
    let mut rows: Vec<&Segment> = survey.segments.iter().filter(|segment| options.filters.take(segment, survey.now)).collect();
    if let Some(column) = options.output.sort {
        rows.sort_by_cached_key(|segment| (column.of)(segment, &survey));
    }
    if options.output.reverse {
        rows.reverse();
    }
    written(print(&rows, &survey, &options.output))?;
    Ok(survey.status())
}

fn print(rows: &[&Segment], survey: &Survey, output: &Output) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let asked = output.columns.as_ref().map(|columns| columns.0.clone());
    if output.json {
        let columns = asked.unwrap_or_else(|| ALL.iter().collect());
        write!(out, "{{\"schema\":{SCHEMA},\"sharedmemory\":[")?;
        for (at, segment) in rows.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(out, "{comma}\n  {{{}}}", json::fields(columns.iter().copied(), segment, survey))?;
        }
        writeln!(out, "{}]}}", if rows.is_empty() { "" } else { "\n" })?;
    } else {
        write_table(&mut out, rows, survey, &asked.unwrap_or_else(columns::usual), output)?;
    }
    out.flush()
}

/// Segments as a table.
pub fn write_table(
    out: &mut impl Write,
    rows: &[&Segment],
    survey: &Survey,
    columns: &[&Column],
    output: &Output,
) -> io::Result<()> {
    let mut lines = Vec::with_capacity(rows.len() + 1);
    if !output.noheadings {
        lines.push(columns.iter().map(|column| Cell::heading(column.name)).collect());
    }
    for segment in rows {
        let cell = |column: &&Column| Cell {
            text: table::text(&(column.of)(segment, survey), output.bytes),
            style: style(column, segment),
        };
        lines.push(columns.iter().map(cell).collect());
    }
    let is_number: Vec<bool> = columns.iter().map(|column| column.is_number).collect();
    table::write(out, &is_number, &lines, table::has_colours())
}

/// How a segment looks in a column.
pub fn style(column: &Column, segment: &Segment) -> Style {
    match column.name {
        "PERMS" | "MODE" if segment.is_open_to_all() => Style::Warning,
        "STATUS" if segment.is_orphan() || segment.is_removed() => Style::Notice,
        _ => Style::Plain,
    }
}
