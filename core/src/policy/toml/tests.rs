//! Tests of `toml`: the toml crate says what is right.

use super::*;
use ::toml::de::{DeTable, DeValue};
use proptest::prelude::*;

/// What the reader made of a value, as the toml crate writes it; `None` for what only the latter tells from other bare words.
fn same(ours: &Data, theirs: &DeValue<'_>) -> bool {
    match (ours, theirs) {
        (Data::Text(ours), DeValue::String(theirs)) => ours == theirs,
        (Data::Bare(ours), DeValue::Boolean(theirs)) => *ours == theirs.to_string(),
        (Data::Bare(ours), DeValue::Integer(theirs)) => ours.replace('_', "").ends_with(theirs.as_str()),
        // A date may go on behind a blank; that is an error here, as any date in a policy.
        (Data::Bare(_), DeValue::Float(_) | DeValue::Datetime(_)) => true,
        (Data::Array(ours), DeValue::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs.iter()).all(|(ours, theirs)| same(&ours.inner, theirs.get_ref()))
        }
        (Data::Table(ours), DeValue::Table(theirs)) => same_table(ours, theirs),
        _ => false,
    }
}

fn same_table(ours: &Table, theirs: &DeTable<'_>) -> bool {
    ours.entries.len() == theirs.len()
        && ours
            .iter()
            .all(|(key, value)| theirs.get(key.inner.as_str()).is_some_and(|theirs| same(&value.inner, theirs.get_ref())))
}

/// True if there is a word in it that is no value of TOML's: it is refused later, as no policy has a use for it.
fn has_strange_word(data: &Data) -> bool {
    match data {
        Data::Text(_) => false,
        Data::Bare(word) => !["1", "2", "true"].contains(&word.as_str()),
        Data::Array(list) => list.iter().any(|one| has_strange_word(&one.inner)),
        Data::Table(table) => table.iter().any(|(_, value)| has_strange_word(&value.inner)),
    }
}

/// True if the toml crate reads `text` alike; a refusal of both is alike.
fn agrees(text: &str) -> bool {
    match (parse(text), DeTable::parse(text)) {
        (Ok(ours), Ok(theirs)) => same_table(&ours, theirs.get_ref()),
        (Ok(ours), Err(_)) => has_strange_word(&Data::Table(ours)),
        // By TOML 1.0 a dotted key adds nothing to [[tables]]; the crate lets one of three parts.
        (Err(ours), Ok(_)) => text.contains("[[") && ours.1 == again(0).1,
        (Err(_), Err(_)) => true,
    }
}

#[test]
fn what_is_toml_is_read_as_the_toml_crate_reads_it() {
    for text in [
        "",
        "\u{feff}a = 1",
        "# comment\r\n\r\n\t# another\na = 1 # behind\r\n",
        "a.b.c = 1\na.b.d = 2\na . e = 3\n\"q.q\".'l l' = true",
        "1 = 1\n-_ = 0x1F\n'' = ''",
        "a = \"\\b\\t\\n\\f\\r\\e\\\"\\\\\\x41\\u00e9\\U0001F600\"",
        "a = 'C:\\path'\nb = \"é # no comment\"",
        "a = \"\"\"\none\n two \\\n   three \\  \r\n\r\n four\"\"\"",
        "a = \"\"\"\"quoted\"\"\"\"\"\nb = '''\n'one' ''two'' '''",
        "a = \"\"\"\"\"\"\nb = ''''''\nc = ''",
        "a = [1, 2,\n # in between\n 3, # last\n]\nb = []\nc = [[], [1], ['x', {}]]",
        "a = { b = 1, c.d = 2, c.e = [ { f = 3 } ] }\nb = {}",
        "a = {\n b = 1, # TOML 1.1\n c = 2,\n}",
        "[a]\nb = 1\n[a.c]\nd = 2\n[ e . 'f' ] # spaces\ng = 3",
        "[a.b.c]\nx = 1\n[a.b]\ny = 2\n[a]\nz = 3",
        "[a]\nb.c = 1\n[a.b.d]\ne = 2",
        "[[r]]\na = 1\n[[r]]\n[r.s]\nb = 2\n[[r.t]]\n[[r.t]]\n[[r]]\n[r.s]",
        "[[a.b]]\n[a]\nc = 1",
        "a = +0\nb = -1_000\nc = 0o17\nd = 0b1_0\ne = 1.5e3\nf = 2026-11-22T02:11:01Z\ng = 02:11:01\nh = -inf\ni = nan",
        "[a.b]\nc.d = 1\nc.e = 2\n[a]\nf.g = 1",
    ] {
        assert!(DeTable::parse(text).is_ok(), "{text:?} is to be TOML");
        assert!(agrees(text), "{text:?}: {:?}", parse(text));
    }
}

#[test]
fn what_is_no_toml_is_refused_with_its_place() {
    for (text, start, part) in [
        ("a", 1, "expected ="),
        ("a = ", 4, "expected a value"),
        ("a = @", 4, "expected a value"),
        ("= 1", 0, "expected a key"),
        ("a. = 1", 3, "expected a key"),
        ("a = 1 b = 2", 6, "end of the line"),
        ("a = 1\ra = 2", 5, "end of the line"),
        ("a = [1 2]", 7, "expected , or ]"),
        ("a = [1,,]", 7, "expected a value"),
        ("a = [1", 6, "expected , or ]"),
        ("a = { b = 1", 11, "expected , or }"),
        ("a = { b }", 8, "expected ="),
        ("[a", 2, "expected ]"),
        ("[[a]", 3, "expected ]]"),
        ("[]", 1, "expected a key"),
        ("[a] b = 1", 4, "end of the line"),
        ("a = \"x", 4, "closing \""),
        ("a = 'x\n'", 4, "closing '"),
        ("a = '''x''", 4, "closing '''"),
        ("a = \"\"\"x\"\"\"\"\"\"", 13, "end of the line"),
        ("a = \"\\q\"", 5, "escape"),
        ("a = \"\\ud800\"", 5, "escape"),
        ("a = \"\\u12\"", 5, "escape"),
        ("a = 'x\u{1}'", 6, "control character"),
        ("# x\u{7f}", 3, "control character"),
        ("'''a''' = 1", 2, "expected ="),
        ("a = 1\na = 2", 6, "already"),
        ("a = 1\na.b = 2", 6, "already"),
        ("a.b = 1\na = 2", 8, "already"),
        ("a = {}\na.b = 1", 7, "already"),
        ("a = {b = {}, b.c = 1}", 13, "already"),
        ("[a]\n[a]", 5, "already"),
        ("[a]\n[[a]]", 6, "already"),
        ("[[a]]\n[a]", 7, "already"),
        ("a = []\n[[a]]", 9, "already"),
        ("a = [{}]\n[[a]]", 11, "already"),
        ("a = [{}]\n[a.b]", 10, "already"),
        ("a = {}\n[a.b]", 8, "already"),
        ("a.b = 1\n[a]", 9, "already"),
        ("[t]\na.b = 1\n[t.a]", 15, "already"),
        ("[a.b.c]\n[a]\nb.c.d = 1", 14, "already"),
    ] {
        assert!(DeTable::parse(text).is_err(), "{text:?} is not to be TOML");
        let (at, message) = parse(text).unwrap_err();
        assert!(at == start && message.contains(part), "{text:?}: {at}: {message}");
    }
}

#[test]
fn a_dotted_key_adds_nothing_to_an_array_of_tables() {
    for text in ["[[a.b]]\n[a]\nb.c = 1", "[[a.b]]\n[a]\nb.c.d = 1"] {
        assert_eq!(parse(text).unwrap_err(), again(12));
    }
}

#[test]
fn what_goes_too_far_is_refused() {
    let keys: String = (0..=MOST_KEYS).map(|at| format!("k{at} = 1\n")).collect();
    assert!(parse(&keys).unwrap_err().1.contains("more than 64 keys"));
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
    ] {
        assert!(parse(&text).unwrap_err().1.contains("in each other"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Lines out of pieces that fit together often enough. Numbers are whole: of others only the toml crate knows which are right.
    #[test]
    fn any_text_is_read_as_the_toml_crate_reads_it(
        text in "((\\[\\[?(a|b|'a')(\\.(a|b)){0,2}\\]?\\]|(a|b|\"b\")( ?\\.(a|b)){0,2} ?=? ?(1|true|\"x\\\\n\"|'x'|\"\"\"x\n\"{3,5}|\\[1?,?\n?(2,)?\\]?|\\{(a(\\.b)?=1)?,?(b=\\[\\{\\}\\],?)?\\}?)) ?(#x)?\r?\n){0,5}"
    ) {
        prop_assert!(agrees(&text), "{text:?}: {:?}, the crate: {:?}", parse(&text), DeTable::parse(&text).is_ok());
    }

    #[test]
    fn a_string_is_read_as_the_toml_crate_reads_it(text in "a = (\"|'|\"\"\"|''')([\"'\n x\té\\\\]|\\\\[ubn\\\\\"0]|\r\n){0,8}(\"|'|\"\"\"|''')") {
        prop_assert!(agrees(&text), "{text:?}: {:?}, the crate: {:?}", parse(&text), DeTable::parse(&text));
    }
}
