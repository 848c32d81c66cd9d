//! The terminal: taken for the whole screen, and given back as it was however `top` ends: by a key, a signal, an error or a panic.
//!
//! Signals that would end or stop the process only raise a flag here, and interrupt the wait for a key; then the terminal is given back, and
//! the signal does what it always does. The process stays one thread.
//!
//! crossterm reads a terminal that is gone for ever, in a loop of its own: it is asked for keys only while the terminal is there.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, KeyEvent, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{DefaultTerminal, Frame};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::{flag, low_level};

use crate::environment::variable;
use crate::failure::Failure;
use crate::system::{self, Input};

/// How long a signal may wait to be seen that comes just before the wait.
const STEP: Duration = Duration::from_millis(250);
/// What ends the process.
const ENDS: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Says what is missing for a live look.
///
/// # Errors
/// A [`Failure`] if this is no terminal that can be drawn on.
pub fn check() -> Result<(), Failure> {
    let missing = if !io::stdout().is_terminal() {
        "standard output is no terminal"
    } else if !io::stdin().is_terminal() {
        "standard input is no terminal"
    } else if variable("TERM").is_none_or(|term| term == "dumb") {
        "the terminal can't move its cursor (TERM)"
    } else {
        return Ok(());
    };
    Err(Failure::usage(format!("{missing}; print once what there is with: shmgate top --once")))
}

/// What may come.
pub enum Event {
    Key(KeyEvent),
    Resized,
    /// After a stop, somebody else may have used the terminal.
    Continued,
    Stop,
    Ended,
    /// It is time to look again.
    Time,
}

pub struct Terminal {
    screen: DefaultTerminal,
    ends: Vec<(i32, Arc<AtomicBool>)>,
    stop: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
}

impl Terminal {
    /// Takes it.
    ///
    /// # Errors
    /// The terminal's.
    pub fn take() -> io::Result<Terminal> {
        let noted = |signal| {
            let is_raised = Arc::new(AtomicBool::new(false));
            flag::register(signal, is_raised.clone()).map(|_| is_raised)
        };
        let ends = ENDS.iter().map(|&signal| Ok((signal, noted(signal)?))).collect::<io::Result<_>>()?;
        let (stop, continued) = (noted(SIGTSTP)?, noted(SIGCONT)?);
        let screen = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        Ok(Terminal { screen, ends, stop, continued })
    }

    /// Draws.
    ///
    /// # Errors
    /// The terminal's.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.screen.draw(draw).map(drop)
    }

    /// Waits for a key, a signal or the time.
    ///
    /// # Errors
    /// The terminal's.
    pub fn wait(&mut self, until: Instant) -> io::Result<Event> {
        loop {
            if self.ends.iter().any(|(_, is_raised)| is_raised.load(Relaxed)) {
                return Ok(Event::Ended);
            }
            if self.stop.swap(false, Relaxed) {
                return Ok(Event::Stop);
            }
            if self.continued.swap(false, Relaxed) {
                return Ok(Event::Continued);
            }
            if system::wait_for_input(Duration::ZERO) == Input::Ended {
                return Ok(Event::Ended);
            }
            if event::poll(Duration::ZERO)? {
                match event::read()? {
                    event::Event::Key(key) if key.kind != KeyEventKind::Release => return Ok(Event::Key(key)),
                    event::Event::Resize(..) => return Ok(Event::Resized),
                    _ => continue,
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Event::Time);
            }
            system::wait_for_input(left.min(STEP));
        }
    }

    /// Gives it back while the process is stopped.
    ///
    /// # Errors
    /// The terminal's.
    pub fn suspend(&mut self) -> io::Result<()> {
        leave()?;
        low_level::emulate_default_handler(SIGTSTP)?;
        self.continued.store(false, Relaxed);
        enable_raw_mode()?;
        // To leave it again before would put the cursor back to where it was before the stop.
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        self.screen.clear()
    }

    /// Takes it again, whatever others did to it, and has everything drawn anew.
    ///
    /// # Errors
    /// The terminal's.
    pub fn retake(&mut self) -> io::Result<()> {
        // What is raw already would be left alone.
        disable_raw_mode()?;
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        self.screen.clear()
    }

    /// Gives it back, and ends the process as a signal would if one has come.
    ///
    /// # Returns
    /// The exit status.
    pub fn give_back(self) -> u8 {
        let signal = self.ends.iter().find(|(_, is_raised)| is_raised.load(Relaxed)).map(|(signal, _)| *signal);
        drop(self);
        if let Some(signal) = signal {
            let _ = low_level::emulate_default_handler(signal);
        }
        0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = leave();
    }
}

fn leave() -> io::Result<()> {
    disable_raw_mode()?;
    execute!(io::stdout(), LeaveAlternateScreen, Show)
}
