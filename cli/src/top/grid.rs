//! What `top` shows, as tables: segments, processes and denials, each a [`Grid`] of values that can be sorted, filtered and printed.

use std::rc::Rc;
use std::time::Duration;

use super::activity::{Activity, Both, Denied, OfProcess};
use super::options::TopOptions;
use crate::failure::Failure;
use crate::report;
use crate::segments::columns::{self, Value};
use crate::segments::holders::{self, Search};
use crate::segments::ls::style;
use crate::segments::processes::Who;
use crate::segments::survey::Survey;
use crate::segments::table::{self, Cell, Style};
use crate::segments::{Place, Segment};

/// Columns of the segments, in their order; those of a session are between these two lists.
const BEFORE: [&str; 9] = ["KEY", "ID", "PERMS", "OWNER", "SIZE", "RSS", "NATTCH", "STATUS", "AGE"];
const OF_CALLS: [&str; 4] = ["CALLS/S", "CALLS", "ERRORS", "DENIED"];
const AFTER: [&str; 2] = ["NAMESPACE", "CREATOR"];
/// Who holds it: the last column, as it may be long.
const HOLDERS: &str = "HOLDERS";

/// Everything that one look found.
pub struct Sample {
    pub survey: Survey,
    /// The indices of the segments that are wanted, and who holds each.
    pub segments: Vec<(usize, Search)>,
    /// In seconds since the epoch.
    pub now: u64,
}

impl Sample {
    /// Looks at the segments that the options choose, and at what `activity` has of them.
    ///
    /// # Errors
    /// As for [`Survey::look`].
    pub fn take(options: &TopOptions, activity: Option<&Activity>) -> Result<Sample, Failure> {
        let survey = Survey::look(&options.at)?;
        let is_wanted = |segment: &Segment| {
            options.filters.take(segment, survey.now) && activity.is_none_or(|activity| activity.tally.of(segment).is_some())
        };
        let wanted: Vec<usize> = (0..survey.segments.len()).filter(|&at| is_wanted(&survey.segments[at])).collect();
        let segments: Vec<&Segment> = wanted.iter().map(|&at| &survey.segments[at]).collect();
        let searches = holders::search_all(&segments);
        let now = survey.now;
        Ok(Sample { segments: wanted.into_iter().zip(searches).collect(), survey, now })
    }

    /// Whether a session's process lives. One in a PID namespace that is not seen from here is taken for gone.
    pub fn who(&self, pid: u32, process: &OfProcess) -> Who {
        self.survey.processes.who(pid, process.last / 1_000_000_000)
    }

    /// The segments, each with what is known of its holders.
    pub fn each(&self) -> impl Iterator<Item = (&Segment, &Search)> {
        self.segments.iter().map(|(at, search)| (&self.survey.segments[*at], search))
    }
}

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Segment(Rc<Place>, i32),
    Process(u32),
    /// By its number.
    Denial(u64),
}

/// A row of values, and how each looks.
#[derive(Debug)]
pub struct Row {
    pub subject: Subject,
    pub values: Vec<Value>,
    styles: Vec<Style>,
}

impl Row {
    pub fn plain(subject: Subject, values: Vec<Value>) -> Row {
        Row { subject, styles: vec![Style::Plain; values.len()], values }
    }

    /// The text of each cell.
    pub fn cells(&self) -> Vec<Cell> {
        let cells = self.values.iter().zip(&self.styles);
        cells.map(|(value, &style)| Cell { text: table::text(value, false), style }).collect()
    }
}

/// A table.
#[derive(Debug, Default)]
pub struct Grid {
    pub columns: Vec<&'static str>,
    pub rows: Vec<Row>,
}

impl Grid {
    /// The segments. In a session each has what its calls came to.
    pub fn segments(sample: &Sample, activity: Option<&Activity>) -> Grid {
        let has_namespaces = sample.each().any(|(segment, _)| *segment.place != Place::Kernel);
        let columns = Grid::columns_of_segments(activity.is_some(), has_namespaces);
        let row = |(segment, search): (&Segment, &Search)| {
            let counts =
                activity.map(|activity| (activity, activity.tally.of(segment).map(|it| it.counts).unwrap_or_default()));
            let cell = |&name: &&str| match (columns::find(name), counts) {
                (Ok(column), _) => ((column.of)(segment, &sample.survey), style(column, segment)),
                (Err(_), Some((activity, counts))) if name != HOLDERS => of_calls(name, activity, &counts),
                _ => (holders_in_short(search, sample), Style::Plain),
            };
            let (values, styles) = columns.iter().map(cell).unzip();
            Row { subject: Subject::Segment(segment.place.clone(), segment.id), values, styles }
        };
        Grid { rows: sample.each().map(row).collect(), columns }
    }

    /// The columns of segments; some are there only if there is something to say in them.
    pub fn columns_of_segments(has_calls: bool, has_namespaces: bool) -> Vec<&'static str> {
        let of_calls = OF_CALLS.into_iter().filter(|_| has_calls);
        let after = AFTER.into_iter().filter(|&name| has_namespaces || name != "NAMESPACE");
        BEFORE.into_iter().chain(of_calls).chain(after).chain([HOLDERS]).collect()
    }

    /// The column of segments with this name, in capitals or not.
    ///
    /// # Errors
    /// That there is none, and which there are.
    pub fn column_of_segments(name: &str) -> Result<&'static str, String> {
        let all = Grid::columns_of_segments(true, true);
        let found = all.iter().find(|column| column.eq_ignore_ascii_case(name));
        found.copied().ok_or_else(|| format!("no such column; there are {}", all.join(", ")))
    }

    /// A session's processes.
    pub fn processes(sample: &Sample, activity: &Activity) -> Grid {
        let columns = ["PID", "USER", "CALLS/S", "CALLS", "ERRORS", "DENIED", "ATTACHES", "IDLE", "STATE", "PROGRAM"];
        let row = |(&pid, process): (&u32, &OfProcess)| {
            let who = sample.who(pid, process);
            let idle = Duration::from_nanos((sample.now * 1_000_000_000).saturating_sub(process.last));
            let mut values = vec![Value::Number(pid.into()), Value::Text(sample.survey.users.user(process.uid))];
            let mut styles = vec![Style::Plain; 2];
            for name in OF_CALLS {
                let (value, style) = of_calls(name, activity, &process.counts);
                values.push(value);
                styles.push(style);
            }
            values.extend([
                Value::Number(if matches!(who, Who::Gone) { 0 } else { process.attaches }),
                Value::Age(idle.as_secs()),
                match who {
                    Who::Alive(_) => Value::Text("lives".into()),
                    Who::Gone => Value::Text("gone".into()),
                    Who::Unknown => Value::Nothing,
                },
                process.exe.clone().map_or(Value::Nothing, Value::Text),
            ]);
            styles.resize(values.len(), Style::Plain);
            Row { subject: Subject::Process(pid), values, styles }
        };
        Grid { columns: columns.to_vec(), rows: activity.tally.processes.iter().map(row).collect() }
    }

    /// What was denied, or would have been, the last first.
    pub fn denials(activity: &Activity) -> Grid {
        let row = |denied: &Denied| {
            let values = vec![
                Value::Time(denied.time / 1_000_000_000),
                Value::Number(denied.pid.into()),
                Value::Text(denied.reason.clone()),
                Value::Text(call_of(&denied.line).to_owned()),
            ];
            Row::plain(Subject::Denial(denied.number), values)
        };
        Grid { columns: vec!["TIME", "PID", "REASON", "CALL"], rows: activity.tally.denials.iter().rev().map(row).collect() }
    }

    /// True if the numbers of this column stand to the right.
    pub fn is_number(&self, at: usize) -> bool {
        let name = self.columns[at];
        columns::find(name)
            .map_or(OF_CALLS.contains(&name) || ["PID", "ATTACHES", "FOR"].contains(&name), |column| column.is_number)
    }

    /// Sorts by a column: numbers the largest first, words from A to Z. Rows with the same value stay in their order.
    pub fn sort(&mut self, name: &str, is_reversed: bool) {
        let Some(at) = self.columns.iter().position(|column| *column == name) else { return };
        if self.is_number(at) {
            self.rows.sort_by(|one, other| other.values[at].cmp(&one.values[at]));
        } else {
            self.rows.sort_by(|one, other| one.values[at].cmp(&other.values[at]));
        }
        if is_reversed {
            self.rows.reverse();
        }
    }

    /// Leaves only rows that have each of the words somewhere, in capitals or not.
    pub fn filter(&mut self, words: &str) {
        let words = words.to_lowercase();
        self.rows.retain(|row| {
            let text = row.cells().iter().map(|cell| cell.text.to_lowercase()).collect::<Vec<_>>().join(" ");
            words.split_whitespace().all(|word| text.contains(word))
        });
    }
}

/// What a line of the log has between the pid and the reason.
fn call_of(line: &str) -> &str {
    let call = line.split_once(' ').map_or(line, |(_, call)| call);
    call.rsplit_once(" [").map_or(call, |(call, _)| call)
}

fn of_calls(name: &str, activity: &Activity, counts: &Both) -> (Value, Style) {
    let report::Counts { errors, denied, would_deny, .. } = counts.all;
    let warned = |count: u64| if count > 0 { Style::Warning } else { Style::Plain };
    match name {
        "CALLS/S" => (Value::Rate(activity.a_second(counts.recent.total())), Style::Plain),
        "CALLS" => (Value::Number(counts.all.total()), Style::Plain),
        "ERRORS" => (Value::Number(errors), Style::Plain),
        _ => (Value::Number(denied + would_deny), warned(denied + would_deny)),
    }
}

/// Names of the processes, each with how many there are if there are several.
fn holders_in_short(search: &Search, sample: &Sample) -> Value {
    let mut names: Vec<(String, usize)> = Vec::new();
    for holder in &search.holders {
        let name = sample.survey.processes.find(holder.pid).map_or_else(|| "?".to_owned(), |process| process.name.clone());
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => names.push((name, 1)),
        }
    }
    let shown = |(name, count): (String, usize)| if count > 1 { format!("{count}*{name}") } else { name };
    let text = names.into_iter().map(shown).collect::<Vec<_>>().join(" ");
    if text.is_empty() { Value::Nothing } else { Value::Text(text) }
}
