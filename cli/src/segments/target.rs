//! What a person calls a segment by: its id, or its key.

use std::fmt;

use super::holders::{Search, search_all};
use super::options::parse_key;
use super::survey::Survey;
use super::{Place, Segment};
use crate::failure::{FAILED, Failure, USAGE};

/// An id or a key. ipcs and `ls` write keys as 0x…, ids in decimals: so are they told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Id(i32),
    Key(i32),
}

impl Target {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Target, &'static str> {
        const FORM: &str = "neither an id, as 32769, nor a key, as 0x5e000001";
        if text.starts_with("0x") || text.starts_with("0X") {
            return match parse_key(text) {
                Ok(0) => Err("IPC_PRIVATE, which is no segment's own key; name it by its id"),
                key => key.map(Target::Key).map_err(|_| FORM),
            };
        }
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_plain).map(Target::Id).ok_or(FORM)
    }

    pub fn means(self, segment: &Segment) -> bool {
        match self {
            Target::Id(id) => segment.id == id,
            Target::Key(key) => segment.key == key,
        }
    }

    /// The one segment that is meant.
    ///
    /// # Errors
    /// A [`Failure`] if there is none, or if it may be one of several.
    pub fn find(self, survey: &Survey) -> Result<&Segment, Failure> {
        let found: Vec<&Segment> = survey.segments.iter().filter(|segment| self.means(segment)).collect();
        match found[..] {
            [one] => Ok(one),
            [] => Err(Failure::new(FAILED, self.none(survey))),
            _ => {
                let places: Vec<String> = found.iter().map(|segment| place(segment)).collect();
                let hint = "say which with --kernel or --namespace N";
                Err(Failure::new(USAGE, format!("{self}: a segment of {}; {hint}", places.join(", and of "))))
            }
        }
    }
}

impl Target {
    /// That there is none. A key that its segment lost by its removal is still in the memory maps of who holds it.
    fn none(self, survey: &Survey) -> String {
        let removed: Vec<&Segment> = survey.segments.iter().filter(|segment| segment.is_removed()).collect();
        let searches = if let Target::Key(_) = self { search_all(&removed) } else { Vec::new() };
        let had_it = |(_, search): &(&&Segment, Search)| search.first_key.map(Target::Key) == Some(self);
        match removed.iter().zip(searches).find(had_it) {
            Some((Segment { id, .. }, _)) => {
                format!(
                    "{self}: removed, but id {id}, which had it, is still held; see by whom with: shmgate show --kernel {id}"
                )
            }
            None => format!("{self}: there is no such segment; see those that are there with: shmgate ls"),
        }
    }
}

/// Where a segment is, in words.
fn place(segment: &Segment) -> String {
    match &*segment.place {
        Place::Kernel => "the kernel".into(),
        Place::Userspace { name, .. } => format!("namespace {name}"),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Id(id) => write!(f, "id {id}"),
            Target::Key(key) => write!(f, "key {key:#010x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_keys_are_told_apart() {
        for (text, target) in [
            ("0", Target::Id(0)),
            ("32769", Target::Id(32769)),
            ("0x5e000001", Target::Key(0x5e00_0001)),
            ("0XFFFFFFFF", Target::Key(-1)),
        ] {
            assert_eq!(Target::parse(text), Ok(target));
        }
        for text in ["", "-1", "+1", "1.0", "0x", "0x0", "0x00000000", "x", "4294967296", "2147483648"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
