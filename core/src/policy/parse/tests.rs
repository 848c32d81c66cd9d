//! Tests of `parse`.

use super::*;
use ::toml::de::DeTable;
use proptest::prelude::*;

fn error(text: &str) -> String {
    Policy::parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_a_policy_that_says_nothing() {
    assert!(Policy::parse("").unwrap().is_empty());
    assert!(Policy::parse("# nothing\n").unwrap().is_empty());
}

#[test]
fn everything_a_policy_can_say() {
    let policy = Policy::parse(
        "dry-run = true\nforbid-world-access = true\n[quota]\nsegment.size = '64MiB'\nprocess = { bytes = '1G', segments = 3 }\n\
         [quota.session]\nbytes = 4096\nsegments = 0\nattaches = 7\n\
         [[rule]]\nname = 'x'\ncall = ['shmget', 'shmctl']\nkey = ['private', 0x10, '0x20-0x2f']\nmode = 0o006\n\
         size = { min = '1K' }\nuid = [0, 4294967295]\nexe = '/bin/*'\ncmd = 'IPC_SET'\naction = 'deny'\nerrno = 'ENOSPC'\n\
         [[rule]]\naction = 'mask'\nmask = '0007'\n",
    )
    .unwrap();
    assert!(policy.dry_run && policy.forbid_world_access);
    assert_eq!(policy.segment_size, Some(64 << 20));
    assert_eq!(policy.process, Quota { bytes: Some(1 << 30), segments: Some(3), attaches: None });
    assert_eq!(policy.session, Quota { bytes: Some(4096), segments: Some(0), attaches: Some(7) });
    let rule = &policy.rules[0];
    assert_eq!(rule.keys, [0..=0, 0x10..=0x10, 0x20..=0x2f]);
    assert_eq!((rule.mode, rule.size.clone()), (Some(6), Some(1024..=u64::MAX)));
    assert_eq!(rule.action, Action::Deny(Errno::ENOSPC));
    assert_eq!((policy.rules[1].name.as_str(), policy.rules[1].action), ("rule 2", Action::Mask(7)));
}

#[test]
fn the_example_of_the_documentation_is_a_policy() {
    let page = include_str!("../../../../docs/policy.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let policy = Policy::parse(example).unwrap_or_else(|error| panic!("docs/policy.md, example line {error}"));
    assert!(policy.segment_size.is_some() && policy.forbid_world_access && !policy.dry_run);
    for quota in [policy.process, policy.session] {
        assert!(quota.bytes.is_some() && quota.segments.is_some() && quota.attaches.is_some());
    }
    // Complete: every condition and every action of a rule is shown.
    let shown = |condition: fn(&Rule) -> bool| policy.rules.iter().any(condition);
    assert!(shown(|rule| !rule.exes.is_empty()) && shown(|rule| !rule.calls.is_empty()) && shown(|rule| !rule.uids.is_empty()));
    assert!(shown(|rule| !rule.keys.is_empty()) && shown(|rule| rule.size.is_some()) && shown(|rule| rule.mode.is_some()));
    assert!(shown(|rule| !rule.commands.is_empty()) && shown(|rule| rule.action == Action::Allow));
    assert!(shown(|rule| rule.action == Action::Log) && shown(|rule| matches!(rule.action, Action::Mask(_))));
    assert!(shown(|rule| rule.action == Action::Deny(Errno::EPERM)));
}

#[test]
fn errors_say_where_and_what_was_expected() {
    for (text, start, part) in [
        ("dry-run = 1", "1:11: ", "expected true or false"),
        ("\n\nquotas = 1", "3:1: ", "unknown key \"quotas\", expected one of"),
        ("[quota.session]\nbytes = \"12Q\"", "2:9: ", "found \"12Q\", expected a size"),
        ("[quota.session]\nsegments = -1", "2:12: ", "expected a whole number"),
        ("[[rule]]\nkey = 1", "1:1: ", "a rule without action"),
        ("[[rule]]\naction = 'explode'", "2:10: ", "expected \"deny\""),
        ("[[rule]]\naction = 'mask'", "2:10: ", "without mask"),
        ("[[rule]]\naction = 'log'\nerrno = 'EPERM'", "3:9: ", "only"),
        ("[[rule]]\naction = 'log'\nmode = 666", "3:8: ", "octal"),
        ("[[rule]]\naction = 'log'\nmode = 0x10", "3:8: ", "found 0x10, expected permission bits in octal"),
        ("[[rule]]\naction = 'log'\nsize = { min = 2, max = 1 }", "3:8: ", "min is above max"),
        ("[[rule]]\naction = 'log'\nkey = '9-1'", "3:7: ", "expected a key"),
        ("[[rule]]\naction = 'log'\nuid = []", "3:7: ", "at least one"),
        ("dry-run = \"a\\nb\\u001b[1m\"", "1:11: ", "found \"a\\nb\\u{1b}[1m\""),
        ("a = ", "1:5: ", ""),
        ("dry-run = true\ndry-run = true", "2:1: ", ""),
    ] {
        let error = error(text);
        assert!(error.starts_with(start) && error.contains(part) && !error.contains('\n'), "{text:?}: {error}");
    }
}

proptest! {
    #[test]
    fn a_whole_number_is_one_for_the_toml_crate_too(word in "[+-]?(0[xob])?[0-9a-f_]{1,6}|[0-9]{18,21}") {
        let theirs = DeTable::parse(&format!("x = {word}")).ok().and_then(|table| {
            let number = table.get_ref().get("x")?.get_ref().as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        });
        let ours = Policy::parse(&format!("quota.session.segments = {word}")).ok();
        prop_assert_eq!(ours.map(|policy| policy.session.segments), theirs.map(Some));
    }

    #[test]
    fn any_text_is_answered(text in "(\\[|\\]|[a-z]|\\.|=|'|\"|\n|-|[0-9]| |é){0,60}") {
        for error in [Policy::parse(&text), Policy::parse_strictly(&text)].into_iter().filter_map(Result::err) {
            prop_assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty());
        }
    }
}
