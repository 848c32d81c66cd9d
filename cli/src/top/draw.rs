//! How the state looks on the screen.
//!
//! From above: a title, the totals, the tables' names in a session, the chosen table, the chosen segment's holders if there is room,
//! and a line of keys. Colours are left out where NO_COLOR is set; bold and reversed text is not.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style as Look};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Wrap};

use shmgate_core::text::json::Utc;

use super::app::{App, Over, View};
use super::details;
use super::grid::Grid;
use super::totals;
use crate::segments::table::{Cell, Style, has_colours, printable};

/// What is needed to show anything.
const LEAST: (u16, u16) = (40, 8);
/// Rows that the holders of the chosen segment take at most, and the height from which they are shown.
const HOLDERS: (u16, u16) = (9, 18);
/// Columns that go first if there is no room for all.
const SPARE: [&str; 8] = ["NAMESPACE", "PERMS", "RSS", "AGE", "OWNER", "CREATOR", "ERRORS", "KEY"];

const KEYS: [(&str, &str); 13] = [
    ("up, down, k, j", "choose a row; also page up and down, home and end"),
    ("Enter", "look at it: a segment's holders, a process's calls, a denial's reason"),
    ("Esc", "back; without anything to go back from, the filter goes"),
    ("Tab, 1, 2, 3", "segments, processes, denials (of a session)"),
    ("<, >", "sort by the column to the left, to the right"),
    ("r", "the other way round"),
    ("/", "show only rows with all of these words; Enter keeps them, Esc drops them"),
    ("Space", "hold it as it is; again to go on"),
    ("Ctrl-L", "draw everything anew"),
    ("Ctrl-Z", "stop, until the shell's fg"),
    ("?", "these keys"),
    ("q, Ctrl-C", "end"),
    ("", "numbers are sorted the largest first, words from A to Z"),
];

/// Draws everything.
pub fn draw(app: &mut App<'_>, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("{}x{} is too small: top needs {}x{}; q ends", area.width, area.height, LEAST.0, LEAST.1);
        return frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
    }
    // A small terminal shows fewer of them rather than no rows.
    let most = usize::from(area.height) - 6;
    let totals = totals::lines(&app.sample, app.activity.as_ref());
    let totals = totals.iter().flat_map(|Cell { text, style }| {
        wrapped(&printable(text), usize::from(area.width)).into_iter().map(|line| Line::styled(line, look(*style)))
    });
    let totals: Vec<Line<'_>> = totals.take(most).collect();
    let has_views = app.activity.is_some();
    let holders = holders(app, area.width).filter(|_| area.height >= HOLDERS.1 && app.over.is_none()).unwrap_or_default();
    let [title, above, views, body, below, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(totals.len() as u16),
        Constraint::Length(u16::from(has_views)),
        Constraint::Fill(1),
        Constraint::Length(holders.len() as u16),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_title(app, frame, title);
    frame.render_widget(Text::from(totals), above);
    if has_views {
        frame.render_widget(view_names(app), views);
    }
    match &mut app.over {
        Some(Over::Keys) => draw_keys(frame, body),
        Some(Over::Details(details, first)) => {
            let heading = Line::styled(format!("{} (Esc: back)", details.title), Modifier::BOLD);
            let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(body);
            app.page = usize::from(rest.height).max(1);
            let mut lines: Vec<Line<'_>> =
                details.lines.iter().flat_map(|line| wrapped(line, usize::from(rest.width))).map(Line::raw).collect();
            *first = (*first).min(lines.len().saturating_sub(app.page));
            frame.render_widget(heading, head);
            frame.render_widget(Text::from(lines.split_off(*first)), rest);
        }
        None => draw_grid(app, frame, body),
    }
    frame.render_widget(Text::from(holders), below);
    draw_last_line(app, frame, keys);
}

fn draw_title(app: &App<'_>, frame: &mut Frame<'_>, area: Rect) {
    let at = &app.options().at;
    let place = match app.session() {
        Some(dir) => printable(&format!("session {}", dir.display())),
        None if at.kernel && at.namespaces.is_empty() => "the kernel".into(),
        None if at.namespaces.is_empty() => "the kernel and all namespaces".into(),
        None => {
            let names = at.namespaces.iter().map(|name| format!("namespace {}", name.display()));
            printable(&names.chain(at.kernel.then(|| "the kernel".into())).collect::<Vec<_>>().join(", "))
        }
    };
    let time = Utc(app.sample.now * 1_000_000_000).to_string();
    let time = time.split(['T', '.']).nth(1).unwrap_or_default();
    let every = if app.is_held { "held".to_owned() } else { format!("every {}s", app.options().interval.as_secs_f64()) };
    let line = Line::from(vec![Span::styled("shmgate top", Modifier::BOLD), format!(" {place}").into()]);
    frame.render_widget(line, area);
    let right = format!(" {time} UTC, {every}");
    if let Some(start) = area.width.checked_sub(right.chars().count() as u16) {
        frame.render_widget(Line::raw(right), Rect { x: area.x + start, width: area.width - start, ..area });
    }
}

fn view_names(app: &App<'_>) -> Line<'static> {
    let names = View::ALL.iter().enumerate().flat_map(|(at, view)| {
        let text = format!(" {} {} ", at + 1, view.name());
        let is_chosen = *view == app.view;
        [Span::styled(text, if is_chosen { Modifier::REVERSED } else { Modifier::empty() }), Span::raw(" ")]
    });
    Line::from(names.collect::<Vec<_>>())
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect) {
    let line = |(key, what): &(&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!("{key:16}"), Modifier::BOLD), Span::raw(*what)])
    };
    frame.render_widget(Text::from(KEYS.iter().map(line).collect::<Vec<_>>()), area);
}

fn draw_grid(app: &mut App<'_>, frame: &mut Frame<'_>, area: Rect) {
    let page = usize::from(area.height).saturating_sub(1);
    let (first, chosen) = (app.first(page), app.chosen());
    let grid = &app.grid;
    let mut lines = grid_lines(grid, first, page, usize::from(area.width), app.sorted().0);
    if let Some(line) = chosen.and_then(|chosen| lines.get_mut(1 + chosen - first)) {
        *line = std::mem::take(line).patch_style(Modifier::REVERSED);
    }
    if grid.rows.is_empty() {
        lines.push(Line::raw(nothing(app)));
    }
    frame.render_widget(Text::from(lines), area);
}

/// The head, and `page` rows from `first` on. The head of the column that they are sorted by is underlined.
fn grid_lines(grid: &Grid, first: usize, page: usize, room: usize, sorted: Option<&str>) -> Vec<Line<'static>> {
    let shown: Vec<Vec<Cell>> = grid.rows.iter().skip(first).take(page).map(|row| row.cells()).collect();
    let columns = columns(grid, &shown, room);
    let heads: Vec<Cell> = grid.columns.iter().map(|name| Cell::heading(*name)).collect();
    let underline = |at: usize| if sorted == Some(grid.columns[at]) { Modifier::UNDERLINED } else { Modifier::empty() };
    let head = row_line(grid, &heads, &columns, |at| look(Style::Heading).add_modifier(underline(at)));
    let rows = shown.iter().map(|cells| row_line(grid, cells, &columns, |at| look(cells[at].style)));
    [head].into_iter().chain(rows).collect()
}

/// A word in the place of rows.
fn nothing(app: &App<'_>) -> &'static str {
    match app.view {
        _ if !app.filter.is_empty() => "Nothing passes the filter.",
        View::Segments if app.activity.is_some() => "The session uses no segment that is seen from here.",
        View::Segments => "There is no segment.",
        View::Processes => "No process of the session has called yet.",
        View::Denials => "Nothing was denied.",
    }
}

/// The columns for which there is room, each with its width on the screen.
fn columns(grid: &Grid, rows: &[Vec<Cell>], room: usize) -> Vec<(usize, usize)> {
    let width = |at: usize| {
        let cells = rows.iter().map(|cells| Span::raw(&cells[at].text).width());
        cells.chain([grid.columns[at].len()]).max().unwrap_or(0)
    };
    let mut columns: Vec<(usize, usize)> = (0..grid.columns.len()).map(|at| (at, width(at))).collect();
    let before_last = |columns: &[(usize, usize)]| columns.iter().rev().skip(1).map(|(_, width)| width + 1).sum::<usize>();
    for spare in SPARE {
        // The last one is cut, but a little of it is to be seen.
        if before_last(&columns) + 12 > room {
            columns.retain(|(at, _)| grid.columns[*at] != spare);
        }
    }
    let left = room.saturating_sub(before_last(&columns));
    if let Some((_, width)) = columns.last_mut() {
        *width = left.min(*width);
    }
    columns
}

fn row_line(grid: &Grid, cells: &[Cell], columns: &[(usize, usize)], look: impl Fn(usize) -> Look) -> Line<'static> {
    let mut line = Line::default();
    for &(at, width) in columns {
        let text = cut(&cells[at].text, width);
        let padding = " ".repeat(width.saturating_sub(Span::raw(&text).width()));
        let (before, after) = if grid.is_number(at) { (padding, String::new()) } else { (String::new(), padding) };
        line.push_span(Span::raw(before));
        line.push_span(Span::styled(text, look(at)));
        line.push_span(Span::raw(after + " "));
    }
    line
}

/// As much of a text as has room, with a mark where it is cut.
fn cut(text: &str, room: usize) -> String {
    if Span::raw(text).width() <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        let next = format!("{kept}{letter}\u{2026}");
        if Span::raw(&next).width() > room {
            break;
        }
        kept.push(letter);
    }
    kept + "\u{2026}"
}

/// A text in lines of at most `width` letters, broken at blanks where there are any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut rest) = (Vec::new(), text.chars().collect::<Vec<_>>());
    while rest.len() > width.max(1) {
        let blank = rest[..width.max(1)].iter().rposition(|letter| *letter == ' ');
        let left = rest.split_off(blank.map_or(width.max(1), |blank| blank + 1));
        lines.push(rest.into_iter().collect());
        rest = left;
    }
    lines.push(rest.into_iter().collect());
    lines
}

/// The chosen segment's holders, if segments are shown.
fn holders(app: &App<'_>, width: u16) -> Option<Vec<Line<'static>>> {
    let row = app.grid.rows.get(app.chosen()?).filter(|_| app.view == View::Segments)?;
    let (segment, search) = details::find(&row.subject, &app.sample)?;
    let heading = match search.holders.len() {
        0 => format!("Nobody is seen to hold {}.", segment.id),
        _ => format!("Holders of {}:", segment.id),
    };
    let mut lines = vec![Line::raw(""), Line::styled(heading, Modifier::BOLD)];
    if !search.holders.is_empty() {
        let grid = details::holders(search, &app.sample, app.activity.as_ref());
        let room = usize::from(HOLDERS.0) - 2;
        // The head, and if not all have room a line that says so.
        let shown = if grid.rows.len() < room { room - 1 } else { room - 2 };
        lines.extend(grid_lines(&grid, 0, shown, usize::from(width), None));
        if let more @ 1.. = grid.rows.len().saturating_sub(shown) {
            lines.push(Line::raw(format!("{more} more; Enter shows all")));
        }
    }
    Some(lines)
}

fn draw_last_line(app: &App<'_>, frame: &mut Frame<'_>, area: Rect) {
    let line = match &app.message {
        _ if app.is_typing => Line::from(vec![Span::raw(format!("/{}", app.filter)), Span::styled(" ", Modifier::REVERSED)]),
        Some(message) => Line::styled(printable(message), look(Style::Notice)),
        None if !app.filter.is_empty() => Line::raw(format!("filter: {} (Esc: drop)   q: end   ?: keys", app.filter)),
        None => Line::raw("q: end   Enter: look   < >: sort   r: reverse   /: filter   Space: hold   ?: keys"),
    };
    frame.render_widget(line, area);
}

fn look(style: Style) -> Look {
    match style {
        Style::Plain => Look::new(),
        Style::Heading => Look::new().add_modifier(Modifier::BOLD),
        Style::Notice if has_colours() => Look::new().fg(Color::Yellow),
        Style::Warning if has_colours() => Look::new().fg(Color::Red),
        Style::Notice | Style::Warning => Look::new().add_modifier(Modifier::BOLD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_at_blanks() {
        assert_eq!(wrapped("one two three", 8), ["one two ", "three"]);
        assert_eq!(wrapped("longerthanthat", 8), ["longerth", "anthat"]);
        assert_eq!(wrapped("  in", 8), ["  in"]);
        assert_eq!(wrapped("", 8), [""]);
        assert_eq!(wrapped("as long", 0).concat(), "as long");
    }

    #[test]
    fn what_has_no_room_is_cut_with_a_mark() {
        for (text, room, shown) in [
            ("short", 5, "short"),
            ("longer", 5, "long\u{2026}"),
            // Two cells each.
            ("\u{6f22}\u{5b57}\u{30d1}", 6, "\u{6f22}\u{5b57}\u{30d1}"),
            ("\u{6f22}\u{5b57}\u{30d1}", 5, "\u{6f22}\u{5b57}\u{2026}"),
            ("\u{6f22}\u{5b57}\u{30d1}", 4, "\u{6f22}\u{2026}"),
            ("longer", 0, "\u{2026}"),
        ] {
            assert_eq!(cut(text, room), shown, "{text} in {room}");
        }
    }
}
