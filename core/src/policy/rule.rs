//! Rules: which calls they match, and what becomes of those.

use core::ops::RangeInclusive;

use super::Policy;
use crate::call::{Call, CallKind};
use crate::errno::Errno;

/// A rule. A condition that is absent (an empty list) matches every call; a condition on something that a call has not matches none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What reasons call it.
    pub name: String,
    pub calls: Vec<CallKind>,
    /// shmget's key, as the unsigned number that ipcs prints; 0 is `IPC_PRIVATE`.
    pub keys: Vec<RangeInclusive<u32>>,
    /// Any of these bits, in a mode that the call would give a segment.
    pub mode: Option<u16>,
    /// shmget's size in bytes.
    pub size: Option<RangeInclusive<u64>>,
    pub uids: Vec<u32>,
    /// Globs over the executable's path.
    pub exes: Vec<String>,
    /// shmctl's commands.
    pub commands: Vec<i32>,
    pub action: Action,
}

/// What a rule does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The call may go on; no later rule is asked. Quotas hold all the same.
    Allow,
    /// The call fails.
    Deny(Errno),
    /// The call goes on with these mode bits taken away.
    Mask(u16),
    /// The call goes on, and its record names the rule.
    Log,
}

/// Who calls, as far as rules ask.
pub trait Caller {
    /// The effective uid at this moment.
    fn uid(&self) -> u32;
    /// The path of the executable, if it can be known.
    fn exe(&self) -> Option<&[u8]>;
}

/// The mode that a call would give a segment: shmget's when it creates one, IPC_SET's. `None` if it gives none.
pub fn new_mode(call: &Call<'_>, creates: bool) -> Option<u16> {
    match *call {
        Call::Shmget { flags, .. } if creates => Some((flags & 0o777) as u16),
        Call::Shmctl { cmd: libc::IPC_SET, set: Some(set), .. } => Some(set.mode & 0o777),
        _ => None,
    }
}

impl Policy {
    /// The first rule that matches, with its index. `creates` says whether a shmget is about to make a segment.
    pub fn first_match(&self, call: &Call<'_>, creates: bool, caller: &impl Caller) -> Option<(u16, &Rule)> {
        let at = self.rules.iter().position(|rule| rule.matches(call, creates, caller))?;
        Some((at as u16, &self.rules[at]))
    }

    /// A rule's name, for a reason.
    pub fn rule_name(&self, index: u16) -> Option<&str> {
        self.rules.get(usize::from(index)).map(|rule| rule.name.as_str())
    }
}

impl Rule {
    fn matches(&self, call: &Call<'_>, creates: bool, caller: &impl Caller) -> bool {
        let one_of = |wanted: &[i32], value: Option<i32>| wanted.is_empty() || value.is_some_and(|v| wanted.contains(&v));
        let (key, size) = match *call {
            Call::Shmget { key, size, .. } => (Some(key as u32), Some(size)),
            _ => (None, None),
        };
        let command = match *call {
            Call::Shmctl { cmd, .. } => Some(cmd),
            _ => None,
        };
        (self.calls.is_empty() || self.calls.contains(&call.kind()))
            && (self.keys.is_empty() || key.is_some_and(|key| self.keys.iter().any(|range| range.contains(&key))))
            && self.size.as_ref().is_none_or(|range| size.is_some_and(|size| range.contains(&size)))
            && one_of(&self.commands, command)
            && self.mode.is_none_or(|bits| new_mode(call, creates).is_some_and(|mode| mode & bits != 0))
            && (self.uids.is_empty() || self.uids.contains(&caller.uid()))
            && (self.exes.is_empty()
                || caller.exe().is_some_and(|exe| self.exes.iter().any(|glob| glob_matches(glob.as_bytes(), exe))))
    }
}

/// True if `text` is what `glob` describes: `*` stands for any run of bytes (slashes too), `?` for one byte.
pub fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    // Where to go on after the latest `*`, should what follows it not fit: one byte further in the text.
    let mut star: Option<(usize, usize)> = None;
    let (mut g, mut t) = (0, 0);
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g + 1, t));
            g += 1;
        } else if glob.get(g).is_some_and(|&byte| byte == b'?' || byte == text[t]) {
            g += 1;
            t += 1;
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            g = after;
            t = from + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Nobody;

    impl Caller for Nobody {
        fn uid(&self) -> u32 {
            65534
        }
        fn exe(&self) -> Option<&[u8]> {
            Some(b"/usr/bin/psql")
        }
    }

    fn rules(text: &str) -> Policy {
        Policy::parse(text).unwrap()
    }

    const GET: Call<'_> = Call::Shmget { key: 0x1234, size: 4096, flags: libc::IPC_CREAT | 0o666 };

    fn matched(policy: &Policy, call: &Call<'_>, creates: bool) -> Option<String> {
        policy.first_match(call, creates, &Nobody).map(|(_, rule)| rule.name.clone())
    }

    #[test]
    fn the_first_match_decides() {
        let policy = rules(
            "[[rule]]\nname='a'\nkey=1\naction='deny'\n[[rule]]\nname='b'\nkey='0x1000-0x1fff'\naction='allow'\n[[rule]]\nname='c'\naction='deny'",
        );
        assert_eq!(matched(&policy, &GET, false).as_deref(), Some("b"));
        assert_eq!(matched(&policy, &Call::Shmdt { addr: 0 }, false).as_deref(), Some("c"));
    }

    #[test]
    fn a_mode_is_that_of_a_new_segment_only() {
        let policy = rules("[[rule]]\nname='w'\nmode='0006'\naction='deny'");
        assert_eq!(matched(&policy, &GET, true).as_deref(), Some("w"));
        assert_eq!(matched(&policy, &GET, false), None);
        let set = |mode| Call::Shmctl {
            shmid: 1,
            cmd: libc::IPC_SET,
            buf: 1,
            set: Some(crate::call::PermSet { uid: 0, gid: 0, mode }),
        };
        assert_eq!(matched(&policy, &set(0o604), false).as_deref(), Some("w"));
        assert_eq!(matched(&policy, &set(0o660), false), None);
    }

    #[test]
    fn caller_size_and_command_conditions() {
        for (condition, hit) in [
            ("uid=65534", true),
            ("uid=[1,2]", false),
            ("exe='*/psql'", true),
            ("exe='*/php*'", false),
            ("size={min='4K'}", true),
            ("size={max=4095}", false),
            ("cmd='IPC_RMID'", false),
            ("call='shmget'", true),
            ("call=['shmat','shmdt']", false),
        ] {
            let policy = rules(&format!("[[rule]]\n{condition}\naction='deny'"));
            assert_eq!(matched(&policy, &GET, true).is_some(), hit, "{condition}");
        }
    }

    #[test]
    fn globs() {
        for (glob, text, hit) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*/php*", "/usr/bin/php8.2", true),
            ("?", "", false),
            ("a?c*", "abc", true),
            ("*a*b*", "xxaxxbxx", true),
        ] {
            assert_eq!(glob_matches(glob.as_bytes(), text.as_bytes()), hit, "{glob} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_any_star_in_it(text in "[a-c/]{0,12}", at in 0_usize..13) {
            prop_assert!(glob_matches(text.as_bytes(), text.as_bytes()));
            let at = at.min(text.len());
            let starred = format!("{}*{}", &text[..at], &text[at..]);
            prop_assert!(glob_matches(starred.as_bytes(), text.as_bytes()));
        }
    }
}
