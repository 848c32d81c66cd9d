//! The journal: fixed-size binary records in a file that all processes of a session map and append to.
//!
//! [`format`] says what a file looks like, [`record`] turns an event into words and back, [`stack`] where it came from, [`writer`] appends, [`reader`] reads, while
//! others write too, and [`timeline`] puts what it reads in order. docs/journal.md is the format's description for people; a change of it raises [`format::VERSION`].

pub mod format;
pub mod reader;
pub mod record;
pub mod stack;
pub mod timeline;
pub mod writer;

pub use format::SLOT_LEN;
pub use reader::{Item, OpenError, Reader};
pub use timeline::{Image, Timeline};
pub use writer::Journal;

#[cfg(test)]
mod tests;
