//! `top --once`: what there is now, as text for people and as JSON for scripts. docs/top.md has the schema.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

use shmgate_core::call::CallKind;
use shmgate_core::text::json::Utc;

use super::activity::{Activity, Both, Denied, OfProcess};
use super::app::App;
use super::grid::{Grid, Sample};
use super::options::TopOptions;
use super::totals::{self, Totals};
use crate::failure::{FAILED, Failure, written};
use crate::segments::columns::{ALL, Value};
use crate::segments::holders::Search;
use crate::segments::json::{self, string, write_value};
use crate::segments::processes::Who;
use crate::segments::{Segment, table};

/// Raised only if a field's meaning changes; new fields may come any time.
const SCHEMA: u32 = 1;

/// Prints one look; returns the exit status.
pub fn print(options: &TopOptions) -> Result<u8, Failure> {
    let app = App::new(options)?;
    let activity = app.activity.as_ref();
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = if options.json {
        writeln!(out, "{}", to_json(&app.sample, activity, &app.grid, options))
    } else {
        write_text(&mut out, &app.sample, activity, &app.grid)
    };
    written(printed.and_then(|()| out.flush()))?;
    let is_whole = app.sample.survey.faults.is_empty() && activity.is_none_or(|activity| activity.faults().next().is_none());
    Ok(if is_whole { 0 } else { FAILED })
}

fn write_text(out: &mut impl Write, sample: &Sample, activity: Option<&Activity>, segments: &Grid) -> io::Result<()> {
    for line in totals::lines(sample, activity) {
        writeln!(out, "{}", table::printable(&line.text))?;
    }
    write_grid(out, segments)?;
    if let Some(activity) = activity {
        let mut processes = Grid::processes(sample, activity);
        processes.sort("CALLS/S", false);
        write_grid(out, &processes)?;
        write_grid(out, &Grid::denials(activity))?;
    }
    Ok(())
}

/// A table with an empty line before it; nothing if it has no rows.
fn write_grid(out: &mut impl Write, grid: &Grid) -> io::Result<()> {
    if grid.rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let heads = grid.columns.iter().map(|name| table::Cell::heading(*name)).collect();
    let rows: Vec<_> = [heads].into_iter().chain(grid.rows.iter().map(|row| row.cells())).collect();
    let is_number: Vec<bool> = (0..grid.columns.len()).map(|at| grid.is_number(at)).collect();
    table::write(out, &is_number, &rows, table::has_colours())
}

fn to_json(sample: &Sample, activity: Option<&Activity>, order: &Grid, options: &TopOptions) -> String {
    let Totals { segments, orphans, removed, size, rss, attaches, holders, unreadable, .. } = Totals::of(sample);
    let time = table::utc(sample.now);
    let session = options.session.as_ref().map_or("null".to_owned(), |dir| string(&dir.to_string_lossy()));
    let mut text = format!(
        "{{\"schema\":{SCHEMA},\"time\":\"{time}\",\"session\":{session},\n  \"totals\":{{\"segments\":{segments},\"orphans\":{orphans},\
         \"removed\":{removed},\"size\":{size},\"rss\":{rss},\"attaches\":{attaches},\"holders\":{holders},\"processes_unreadable\":{unreadable}}},\n"
    );
    if let Some(activity) = activity {
        let _ = writeln!(text, "  \"interval\":{},", activity.span.as_secs_f64());
        let _ = writeln!(text, "  {},\"lost\":{},", counts(activity, &activity.tally.counts), activity.lost());
        let used = activity.in_use(&sample.survey.segments).map_or("null".into(), |used| {
            format!("{{\"bytes\":{},\"segments\":{},\"attaches\":{}}}", used.bytes, used.segments, used.attaches)
        });
        let limits = activity.policy.as_ref().map(|policy| policy.session).unwrap_or_default();
        let limit = |limit: Option<u64>| limit.map_or("null".into(), |limit| limit.to_string());
        let [bytes, segments, attaches] = [limits.bytes, limits.segments, limits.attaches].map(limit);
        let limits = format!("{{\"bytes\":{bytes},\"segments\":{segments},\"attaches\":{attaches}}}");
        let _ = writeln!(text, "  \"in_use\":{used},\"limits\":{limits},");
    }
    let find = |row: &super::grid::Row| super::details::find(&row.subject, sample);
    let segments = order.rows.iter().filter_map(find).map(|(segment, search)| of_segment(segment, search, sample, activity));
    list(&mut text, "segments", segments);
    if let Some(activity) = activity {
        text.push_str(",\n");
        list(&mut text, "processes", activity.tally.processes.iter().map(|(pid, it)| of_process(*pid, it, sample, activity)));
        text.push_str(",\n");
        let denied = activity.tally.denials.iter();
        let denied = denied.map(|Denied { time, pid, reason, line, .. }| {
            let (time, reason, line) = (Utc(*time), string(reason), string(line));
            format!("{{\"time\":\"{time}\",\"pid\":{pid},\"reason\":{reason},\"line\":{line}}}")
        });
        list(&mut text, "denials", denied);
    }
    text + "}"
}

fn list(text: &mut String, name: &str, items: impl Iterator<Item = String>) {
    let _ = write!(text, "  \"{name}\":[");
    for (at, item) in items.enumerate() {
        text.push_str(if at > 0 { ",\n    " } else { "\n    " });
        text.push_str(&item);
    }
    text.push(']');
}

/// The fields that counts have: `"calls":{…},"errors":…`, without braces around them.
fn counts(activity: &Activity, counts: &Both) -> String {
    let rate = |recent: u64| {
        let mut text = String::new();
        write_value(&mut text, &Value::Rate(activity.a_second(recent)));
        text
    };
    let mut text = format!("\"calls\":{{\"total\":{},\"a_second\":{}", counts.all.total(), rate(counts.recent.total()));
    for (kind, (all, recent)) in CallKind::ALL.iter().zip(counts.all.calls.iter().zip(counts.recent.calls)) {
        let _ = write!(text, ",\"{}\":{{\"total\":{all},\"a_second\":{}}}", kind.name(), rate(recent));
    }
    let (all, recent) = (counts.all, counts.recent);
    for (name, all, recent) in [
        ("errors", all.errors, recent.errors),
        ("denied", all.denied, recent.denied),
        ("would_deny", all.would_deny, recent.would_deny),
    ] {
        let _ = write!(text, "}},\"{name}\":{{\"total\":{all},\"a_second\":{}", rate(recent));
    }
    text + "}"
}

fn of_segment(segment: &Segment, search: &Search, sample: &Sample, activity: Option<&Activity>) -> String {
    let holder = |holder: &crate::segments::holders::Holder| {
        let process = sample.survey.processes.find(holder.pid);
        let name = process.map_or("null".to_owned(), |process| string(&process.name));
        format!("{{\"pid\":{},\"name\":{name},\"attaches\":{}}}", holder.pid, holder.mappings.len())
    };
    let holders: Vec<String> = search.holders.iter().map(holder).collect();
    let known = activity.and_then(|activity| Some((activity, activity.tally.of(segment)?)));
    let calls = known.map_or(String::new(), |(activity, known)| format!(",{}", counts(activity, &known.counts)));
    format!("{{{},\"holders\":[{}]{calls}}}", json::fields(&ALL, segment, &sample.survey), holders.join(","))
}

fn of_process(pid: u32, process: &OfProcess, sample: &Sample, activity: &Activity) -> String {
    let lives = match sample.who(pid, process) {
        Who::Alive(_) => "true",
        Who::Gone => "false",
        Who::Unknown => "null",
    };
    format!(
        "{{\"pid\":{pid},\"uid\":{},\"exe\":{},\"lives\":{},\"attaches\":{},\"last\":\"{}\",{}}}",
        process.uid,
        process.exe.as_ref().map_or("null".to_owned(), |exe| string(exe)),
        lives,
        if lives == "false" { 0 } else { process.attaches },
        Utc(process.last),
        counts(activity, &process.counts)
    )
}
