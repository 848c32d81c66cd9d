//! The state of a live `top`: what is looked at, chosen, sorted and filtered, and what keys do to it. It knows no terminal.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::activity::Activity;
use super::details::Details;
use super::grid::{Grid, Sample, Subject};
use super::options::TopOptions;
use crate::failure::Failure;

/// The tables that one can turn to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Segments,
    Processes,
    Denials,
}

impl View {
    pub const ALL: [View; 3] = [View::Segments, View::Processes, View::Denials];

    pub fn name(self) -> &'static str {
        match self {
            View::Segments => "Segments",
            View::Processes => "Processes",
            View::Denials => "Denials",
        }
    }
}

/// Where one is in a table.
#[derive(Debug, Default)]
struct Place {
    /// The row that is chosen: what it is about, and where it stood when that was last there.
    subject: Option<Subject>,
    at: usize,
    /// The first row on the screen.
    pub first: usize,
    sort: Option<&'static str>,
    is_reversed: bool,
}

/// What is in the place of the tables.
#[derive(Debug)]
pub enum Over {
    Keys,
    /// One row in full: its text, and the first line on the screen.
    Details(Details, usize),
}

/// What the loop around has to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Draw,
    /// Everything anew: somebody else has written onto the terminal.
    Redraw,
    Suspend,
    Quit,
}

pub struct App<'a> {
    options: &'a TopOptions,
    pub activity: Option<Activity>,
    pub sample: Sample,
    pub view: View,
    /// The table, sorted and filtered.
    pub grid: Grid,
    places: [Place; 3],
    pub filter: String,
    /// The filter is being written.
    pub is_typing: bool,
    /// Nothing is looked at until it is let go.
    pub is_held: bool,
    pub over: Option<Over>,
    /// A word for the last line, until the next key.
    pub message: Option<String>,
    /// Rows on the screen, as the last drawing had them.
    pub page: usize,
}

impl<'a> App<'a> {
    /// The first look.
    ///
    /// # Errors
    /// A [`Failure`] for a session, a namespace or a kernel that can't be looked at.
    pub fn new(options: &'a TopOptions) -> Result<App<'a>, Failure> {
        let mut activity = options.session.as_deref().map(Activity::open).transpose()?;
        let sample = App::take(options, &mut activity)?;
        let first = if activity.is_some() { "CALLS/S" } else { "SIZE" };
        let place = |sort| Place { sort, ..Place::default() };
        let mut app = App {
            options,
            activity,
            sample,
            view: View::Segments,
            grid: Grid::default(),
            places: [place(options.sort.or(Some(first))), place(Some("CALLS/S")), place(None)],
            filter: String::new(),
            is_typing: false,
            is_held: false,
            over: None,
            message: None,
            page: 1,
        };
        app.places[0].is_reversed = options.reverse;
        app.arrange();
        Ok(app)
    }

    fn take(options: &TopOptions, activity: &mut Option<Activity>) -> Result<Sample, Failure> {
        if let Some(activity) = activity {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            activity.look(now.as_nanos() as u64, options.interval)?;
        }
        Sample::take(options, activity.as_ref())
    }

    /// Looks again, unless it is held.
    ///
    /// # Errors
    /// A [`Failure`] if what was there at the start is gone.
    pub fn look(&mut self) -> Result<(), Failure> {
        if !self.is_held {
            self.sample = App::take(self.options, &mut self.activity)?;
            self.arrange();
            if let Some(Over::Details(details, _)) = &mut self.over {
                details.refresh(&self.sample, self.activity.as_ref());
            }
        }
        Ok(())
    }

    pub fn session(&self) -> Option<&Path> {
        self.options.session.as_deref()
    }

    pub fn options(&self) -> &TopOptions {
        self.options
    }

    fn place(&mut self) -> &mut Place {
        &mut self.places[self.view as usize]
    }

    /// Makes the table anew, and finds the chosen row in it.
    fn arrange(&mut self) {
        self.grid = match (self.view, &self.activity) {
            (View::Processes, Some(activity)) => Grid::processes(&self.sample, activity),
            (View::Denials, Some(activity)) => Grid::denials(activity),
            (_, activity) => Grid::segments(&self.sample, activity.as_ref()),
        };
        let Place { sort, is_reversed, .. } = self.places[self.view as usize];
        self.grid.sort(sort.unwrap_or_default(), is_reversed);
        if !self.filter.is_empty() {
            self.grid.filter(&self.filter);
        }
        let wanted = self.place().subject.clone();
        let at = wanted.and_then(|wanted| self.grid.rows.iter().position(|row| row.subject == wanted));
        let at = at.unwrap_or(self.place().at);
        self.choose(at);
    }

    fn choose(&mut self, at: usize) {
        let at = at.min(self.grid.rows.len().saturating_sub(1));
        let subject = self.grid.rows.get(at).map(|row| row.subject.clone());
        let place = self.place();
        (place.at, place.subject) = (at, subject);
    }

    /// The chosen row, if there is any.
    pub fn chosen(&self) -> Option<usize> {
        let at = self.places[self.view as usize].at;
        (at < self.grid.rows.len()).then_some(at)
    }

    /// The first row to be shown, if there is room for `page` of them.
    pub fn first(&mut self, page: usize) -> usize {
        self.page = page.max(1);
        let (page, rows) = (self.page, self.grid.rows.len());
        let place = self.place();
        place.first = place.first.min(place.at).max((place.at + 1).saturating_sub(page)).min(rows.saturating_sub(page));
        place.first
    }

    /// The column that rows are sorted by, and whether it is the other way round.
    pub fn sorted(&self) -> (Option<&'static str>, bool) {
        let place = &self.places[self.view as usize];
        (place.sort, place.is_reversed)
    }

    /// Does what a key says.
    pub fn press(&mut self, key: KeyEvent) -> Next {
        self.message = None;
        let has = |modifier| key.modifiers.contains(modifier);
        match key.code {
            KeyCode::Char('c') if has(KeyModifiers::CONTROL) => return Next::Quit,
            KeyCode::Char('z') if has(KeyModifiers::CONTROL) => return Next::Suspend,
            KeyCode::Char('l') if has(KeyModifiers::CONTROL) => return Next::Redraw,
            _ if self.is_typing => self.write(key.code),
            _ if self.over.is_some() => return self.press_over(key.code),
            code => return self.press_table(code),
        }
        Next::Draw
    }

    fn write(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        self.arrange();
    }

    fn press_over(&mut self, code: KeyCode) -> Next {
        let page = self.page;
        match (code, &mut self.over) {
            (KeyCode::Char('q'), _) => return Next::Quit,
            (KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('?'), _) => self.over = None,
            (KeyCode::Char(' '), _) => self.is_held ^= true,
            // Drawing knows where the text ends.
            (code, Some(Over::Details(_, first))) => *first = moved(*first, code, page).unwrap_or(*first),
            _ => {}
        }
        Next::Draw
    }

    fn press_table(&mut self, code: KeyCode) -> Next {
        let at = self.places[self.view as usize].at;
        match code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Esc if self.filter.is_empty() => {}
            KeyCode::Esc => {
                self.filter.clear();
                self.arrange();
            }
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.over = Some(Over::Keys),
            KeyCode::Char('/') => {
                self.is_typing = true;
                self.filter.clear();
                self.arrange();
            }
            KeyCode::Char(' ') => self.is_held ^= true,
            KeyCode::Enter | KeyCode::Right => self.open(),
            KeyCode::Tab => self.turn((self.view as usize + 1) % 3),
            KeyCode::BackTab => self.turn((self.view as usize + 2) % 3),
            KeyCode::Char(digit @ '1'..='3') => self.turn(digit as usize - '1' as usize),
            KeyCode::Char('<' | ',') => self.sort_by(-1),
            KeyCode::Char('>' | '.' | 's') => self.sort_by(1),
            KeyCode::Char('r') => {
                self.place().is_reversed ^= true;
                self.arrange();
            }
            code => {
                if let Some(at) = moved(at, code, self.page) {
                    self.choose(at);
                }
            }
        }
        Next::Draw
    }

    fn turn(&mut self, to: usize) {
        if self.activity.is_none() {
            let need = "Processes and denials are a session's: shmgate top DIR";
            self.message = Some(need.into());
            return;
        }
        self.view = View::ALL[to];
        self.arrange();
    }

    /// Sorts by the next column to the right, or to the left.
    fn sort_by(&mut self, step: isize) {
        let count = self.grid.columns.len() as isize;
        let now = self.sorted().0.and_then(|name| self.grid.columns.iter().position(|column| *column == name));
        let next = now.map_or(0, |now| (now as isize + step).rem_euclid(count));
        self.place().sort = self.grid.columns.get(next as usize).copied();
        self.arrange();
    }

    /// Looks at the chosen row.
    fn open(&mut self) {
        let Some(row) = self.chosen().and_then(|at| self.grid.rows.get(at)) else { return };
        let sessions: Vec<PathBuf> = self.session().map(Path::to_owned).into_iter().collect();
        match Details::of(row.subject.clone(), &self.sample, self.activity.as_ref(), &sessions) {
            Ok(details) => self.over = Some(Over::Details(details, 0)),
            Err(failure) => self.message = Some(failure.message),
        }
    }
}

/// Where a key that moves leads from row `at`; `None` for another key.
fn moved(at: usize, code: KeyCode, page: usize) -> Option<usize> {
    Some(match code {
        KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => at.saturating_add(1),
        KeyCode::PageUp => at.saturating_sub(page),
        KeyCode::PageDown => at.saturating_add(page),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => usize::MAX,
        _ => return None,
    })
}
