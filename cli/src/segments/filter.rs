//! Choosing among segments.

use super::Segment;
use super::options::Filters;

impl Filters {
    /// True if all that was asked for holds of the segment.
    pub fn take(&self, segment: &Segment, now: u64) -> bool {
        (!self.orphans || segment.is_orphan())
            && (!self.world || segment.is_open_to_all())
            && self.owner.is_none_or(|uid| segment.uid == uid)
            && self.key.is_none_or(|key| segment.key == key)
            && self.older_than.is_none_or(|age| segment.age(now) >= age)
    }
}
