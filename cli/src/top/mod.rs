//! `shmgate top`: segments, their holders, call rates and denials, live in the terminal, or once for scripts.
//!
//! | module | holds |
//! | --- | --- |
//! | `options` | the options, and their help |
//! | `activity` | what a session's calls come to, as they are recorded |
//! | `grid` | one look at everything, and the tables made of it |
//! | `totals` | what stands above the tables |
//! | `details` | one row in full |
//! | `app` | what is looked at, and what keys do |
//! | `draw` | how that looks |
//! | `terminal` | the terminal: taken, given back, keys and signals |
//! | `once` | the same without a terminal, as text and JSON |
//!
//! Looking changes nothing. A look costs what `ls` and one pass through /proc cost, whatever is shown.

mod activity;
mod app;
mod details;
mod draw;
mod grid;
mod once;
pub mod options;
mod terminal;
mod totals;

use std::time::Instant;

use app::{App, Next};
use options::TopOptions;
use terminal::{Event, Terminal};

use crate::failure::{FAILED, Failure, words};

/// Shows what there is until the user has seen enough; returns the exit status.
pub fn top(options: &TopOptions) -> Result<u8, Failure> {
    if options.once {
        return once::print(options);
    }
    terminal::check()?;
    // Before the terminal is taken: what can't be looked at is said on it.
    let mut app = App::new(options)?;
    let fault = |error: std::io::Error| Failure::new(FAILED, format!("terminal: {}", words(&error)));
    let mut terminal = Terminal::take().map_err(fault)?;
    let mut next_look = Instant::now() + options.interval;
    loop {
        terminal.draw(|frame| draw::draw(&mut app, frame)).map_err(fault)?;
        let next = match terminal.wait(next_look).map_err(fault)? {
            Event::Key(key) => app.press(key),
            Event::Resized => Next::Draw,
            Event::Continued => Next::Redraw,
            Event::Stop => Next::Suspend,
            Event::Ended => Next::Quit,
            Event::Time => {
                app.look()?;
                next_look = Instant::now() + options.interval;
                Next::Draw
            }
        };
        match next {
            Next::Draw => {}
            Next::Redraw => terminal.retake().map_err(fault)?,
            Next::Suspend => terminal.suspend().map_err(fault)?,
            Next::Quit => return Ok(terminal.give_back()),
        }
    }
}
