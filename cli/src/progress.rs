//! How far long work has come: a line on standard error that appears once the work has lasted noticeably, and that is gone when it is done.
//! There is none where standard error is no terminal, or a dumb one. It has no colour.
//!
//! Whoever does the work draws the line, between two steps: nothing else is to be written to the terminal meanwhile.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that takes less shows nothing.
const NOTICEABLE: Duration = Duration::from_millis(300);
/// At most so many steps are taken between two looks at the clock.
const BATCH: u64 = 64;

/// Work that is going on.
pub struct Progress {
    what: &'static str,
    steps: Option<u64>,
    done: u64,
    /// The clock is looked at when so many are done.
    next: u64,
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Of work that begins now, and takes as many steps, if that is known.
    pub fn of(what: &'static str, steps: Option<u64>) -> Progress {
        Progress { what, steps, done: 0, next: 1, began: Instant::now(), bar: None }
    }

    /// One more step is done.
    pub fn step(&mut self) {
        self.done += 1;
        if self.done >= self.next {
            self.look();
        }
    }

    fn look(&mut self) {
        let elapsed = self.began.elapsed();
        if elapsed >= NOTICEABLE {
            let bar = self.bar.get_or_insert_with(|| bar(self.what, self.steps));
            bar.set_position(self.done);
        }
        // Again after some 20 ms, as fast as it has been.
        let steps = self.done / (1 + elapsed.as_millis() as u64 / 20);
        self.next = self.done + steps.clamp(1, BATCH);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The same items, each a step of `what`. The line goes with the iterator.
pub fn over<T: IntoIterator<IntoIter: ExactSizeIterator>>(what: &'static str, items: T) -> impl Iterator<Item = T::Item> {
    over_if(true, what, items)
}

/// The same, if it is to be shown at all.
pub fn over_if<T: IntoIterator<IntoIter: ExactSizeIterator>>(
    is_shown: bool,
    what: &'static str,
    items: T,
) -> impl Iterator<Item = T::Item> {
    let items = items.into_iter();
    let mut progress = is_shown.then(|| Progress::of(what, Some(items.len() as u64)));
    items.inspect(move |_| progress.iter_mut().for_each(Progress::step))
}

fn bar(what: &'static str, steps: Option<u64>) -> ProgressBar {
    let form = if steps.is_some() { "{msg} [{bar:30}] {percent}%" } else { "{msg}: {human_pos}" };
    let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(steps, ProgressDrawTarget::stderr_with_hz(10))
        .with_style(style.progress_chars("=> "))
        .with_message(what)
}
