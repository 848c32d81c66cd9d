//! TOML 1.1, as far as a policy has use for it: tables, arrays, strings and bare words.
//!
//! A bare word (a number, true, false, a date) stays as it is written, for whoever knows what is expected there; since no
//! policy has a fraction or a date, those are not read here. The toml crate would be a tenth of the library that is in every process;
//! the tests hold this reader to it.

use core::str::Chars;

/// What is wrong, and the byte where it is.
pub type Fault = (usize, String);

/// Something of the file, and the byte where it begins.
#[derive(Debug)]
pub struct Spanned<T> {
    start: usize,
    inner: T,
}

impl<T> Spanned<T> {
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    pub fn start(&self) -> usize {
        self.start
    }
}

pub type Key = Spanned<String>;
pub type Value = Spanned<Data>;

/// A value.
#[derive(Debug)]
pub enum Data {
    /// A string, without its quotes and escapes.
    Text(String),
    /// What is written without quotes.
    Bare(String),
    Array(Vec<Value>),
    Table(Table),
}

/// A table: its keys in the order of the file.
#[derive(Debug)]
pub struct Table {
    entries: Vec<(Key, Value)>,
    made: Made,
}

/// What made a table, which says what may still be added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// A header of a table in it: its own header may follow.
    Implicitly,
    /// A dotted key.
    ByKey,
    /// Its header.
    ByHeader,
    /// Braces: it is complete.
    Inline,
}

/// The most keys of a table, dots of a key, and arrays or tables in each other: far beyond any policy.
const MOST_KEYS: usize = 64;
const DEEPEST: usize = 64;

/// Reads a whole file.
///
/// # Errors
/// What is no TOML.
pub fn parse(text: &str) -> Result<Table, Fault> {
    let mut reader = Reader { len: text.len(), rest: text.chars() };
    let mut root = Table::new(Made::ByHeader);
    let mut table = &mut root;
    reader.eat("\u{feff}");
    loop {
        reader.gap()?;
        let start = reader.at();
        if reader.rest.as_str().is_empty() {
            return Ok(root);
        } else if reader.eat("[") {
            let array = reader.eat("[");
            let path = reader.path()?;
            if !reader.eat(if array { "]]" } else { "]" }) {
                return reader.fault(if array {
                    "expected ]] after the table's name"
                } else {
                    "expected ] after the table's name"
                });
            }
            table = root.open(start, path, array)?;
        } else {
            reader.assign(table, 0)?;
        }
        reader.blank();
        reader.comment()?;
        if !reader.is_line_end() {
            return reader.fault("expected the end of the line");
        }
    }
}

impl Table {
    fn new(made: Made) -> Table {
        Table { entries: Vec::new(), made }
    }

    pub fn iter(&self) -> impl Iterator<Item = &(Key, Value)> {
        self.entries.iter()
    }

    fn find(&self, key: &Key) -> Option<usize> {
        self.entries.iter().position(|(known, _)| known.inner == key.inner)
    }

    fn add(&mut self, key: Key, start: usize, inner: Data) -> Result<&mut Data, Fault> {
        if self.entries.len() == MOST_KEYS {
            return Err((key.start, format!("more than {MOST_KEYS} keys in a table")));
        }
        Ok(&mut self.entries.push_mut((key, Spanned { start, inner })).1.inner)
    }

    /// The table at the end of `path`, which is made as `made` where it is not there yet.
    fn descend(&mut self, path: Vec<Key>, made: Made) -> Result<&mut Table, Fault> {
        let mut table = self;
        for key in path {
            let start = key.start;
            let data = match table.find(&key) {
                Some(at) => &mut table.entries[at].1.inner,
                None => table.add(key, start, Data::Table(Table::new(made)))?,
            };
            let by_key = made == Made::ByKey;
            let inner = data.open_table().filter(|inner| !by_key || inner.made != Made::ByHeader);
            table = inner.ok_or_else(|| again(start))?;
            if by_key {
                table.made = made;
            }
        }
        Ok(table)
    }

    /// The table that a header begins at `start`.
    fn open(&mut self, start: usize, mut path: Vec<Key>, array: bool) -> Result<&mut Table, Fault> {
        let Some(key) = path.pop() else { return Ok(self) };
        let parent = self.descend(path, Made::Implicitly)?;
        let twice = again(key.start);
        let new = Table::new(Made::ByHeader);
        let table = match parent.find(&key) {
            None if array => {
                parent.add(key, start, Data::Array(vec![Spanned { start, inner: Data::Table(new) }]))?.open_table()
            }
            None => parent.add(key, start, Data::Table(new))?.open_table(),
            Some(at) => {
                let data = &mut parent.entries[at].1.inner;
                let is_open = data.open_table().is_some();
                match data {
                    Data::Array(list) if array && is_open => {
                        list.push_mut(Spanned { start, inner: Data::Table(new) }).inner.open_table()
                    }
                    Data::Table(table) if !array && table.made == Made::Implicitly => {
                        table.made = Made::ByHeader;
                        Some(table)
                    }
                    _ => None,
                }
            }
        };
        table.ok_or(twice)
    }
}

impl Data {
    /// The table that it is, or the last one of [[tables]], if anything may be added to it.
    fn open_table(&mut self) -> Option<&mut Table> {
        match self {
            Data::Table(table) if table.made != Made::Inline => Some(table),
            Data::Array(list) => list.last_mut()?.inner.open_table(),
            _ => None,
        }
    }
}

fn again(start: usize) -> Fault {
    (start, "it has a value already, expected each key and table once".into())
}

/// Reads from the front of what is left.
struct Reader<'i> {
    len: usize,
    rest: Chars<'i>,
}

impl Reader<'_> {
    fn at(&self) -> usize {
        self.len - self.rest.as_str().len()
    }

    /// What is wrong here.
    fn fault<T>(&self, what: &str) -> Result<T, Fault> {
        Err((self.at(), what.into()))
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn eat(&mut self, text: &str) -> bool {
        let after = self.rest.as_str().strip_prefix(text);
        if let Some(after) = after {
            self.rest = after.chars();
        }
        after.is_some()
    }

    /// Characters that `wanted` names.
    fn run(&mut self, wanted: fn(char) -> bool) -> &str {
        let rest = self.rest.as_str();
        let after = rest.trim_start_matches(wanted);
        self.rest = after.chars();
        &rest[..rest.len() - after.len()]
    }

    fn blank(&mut self) {
        self.run(|c| c == ' ' || c == '\t');
    }

    fn newline(&mut self) -> bool {
        self.eat("\n") || self.eat("\r\n")
    }

    fn is_line_end(&self) -> bool {
        let rest = self.rest.as_str();
        rest.is_empty() || rest.starts_with('\n') || rest.starts_with("\r\n")
    }

    /// A comment if there is one, up to the line's end.
    fn comment(&mut self) -> Result<(), Fault> {
        if self.eat("#") {
            self.run(|c| !is_control(c));
            if !self.is_line_end() {
                return self.fault("a control character in a comment");
            }
        }
        Ok(())
    }

    /// Blanks, line ends and comments.
    fn gap(&mut self) -> Result<(), Fault> {
        loop {
            self.blank();
            self.comment()?;
            if !self.newline() {
                return Ok(());
            }
        }
    }

    /// A key with its dots, and the blanks around it.
    fn path(&mut self) -> Result<Vec<Key>, Fault> {
        let mut path = Vec::new();
        loop {
            self.blank();
            let start = self.at();
            let inner = match self.peek() {
                Some(quote @ ('"' | '\'')) => self.string(quote, false)?,
                _ => self.run(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_').to_owned(),
            };
            if self.at() == start {
                return self.fault("expected a key");
            }
            path.push(Spanned { start, inner });
            self.blank();
            if !self.eat(".") {
                return Ok(path);
            }
            self.not_too_deep(path.len())?;
        }
    }

    fn not_too_deep(&self, depth: usize) -> Result<(), Fault> {
        if depth < DEEPEST { Ok(()) } else { self.fault("too many tables or arrays in each other") }
    }

    /// `key = value`, into `table`.
    fn assign(&mut self, table: &mut Table, depth: usize) -> Result<(), Fault> {
        let mut path = self.path()?;
        if !self.eat("=") {
            return self.fault("expected = and a value after the key");
        }
        self.blank();
        let value = self.value(depth)?;
        let Some(key) = path.pop() else { return Ok(()) };
        let table = if path.is_empty() { table } else { table.descend(path, Made::ByKey)? };
        match table.find(&key) {
            Some(_) => Err(again(key.start)),
            None => table.add(key, value.start, value.inner).map(drop),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        self.not_too_deep(depth)?;
        let start = self.at();
        let inner = match self.peek() {
            Some(quote @ ('"' | '\'')) => Data::Text(self.string(quote, true)?),
            Some('[') => {
                let mut list = Vec::new();
                self.items("]", |reader| reader.value(depth + 1).map(|value| list.push(value)))?;
                Data::Array(list)
            }
            Some('{') => {
                let mut table = Table::new(Made::Implicitly);
                self.items("}", |reader| reader.assign(&mut table, depth + 1))?;
                table.made = Made::Inline;
                Data::Table(table)
            }
            _ => match self.run(|c| c.is_ascii_alphanumeric() || "+-_.:".contains(c)) {
                "" => return self.fault("expected a value: text in quotes, a number, true, false, [ or {"),
                word => Data::Bare(word.to_owned()),
            },
        };
        Ok(Spanned { start, inner })
    }

    /// An opening bracket, and with commas between them what `item` reads, up to `end`.
    fn items(&mut self, end: &str, mut item: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.rest.next();
        loop {
            self.gap()?;
            if self.eat(end) {
                return Ok(());
            }
            item(self)?;
            self.gap()?;
            if !self.eat(",") {
                return if self.eat(end) { Ok(()) } else { Err((self.at(), format!("expected , or {end}"))) };
            }
        }
    }

    /// A string in quotes; `long` if three of them may go around lines.
    fn string(&mut self, quote: char, long: bool) -> Result<String, Fault> {
        let start = self.at();
        let (one, three) = if quote == '"' { ("\"", "\"\"\"") } else { ("'", "'''") };
        let lines = long && self.eat(three);
        if lines {
            self.newline();
        } else {
            self.rest.next();
        }
        let end = if lines { three } else { one };
        let mut text = String::new();
        loop {
            if self.eat(end) {
                // Quotes right before the last three are the text's.
                for _ in 0..2 {
                    if lines && self.eat(one) {
                        text.push(quote);
                    }
                }
                return Ok(text);
            }
            let here = self.at();
            match self.rest.next() {
                Some('\\') if quote == '"' => self.escape(here, lines, &mut text)?,
                Some(c) if !is_control(c) => text.push(c),
                Some('\n') if lines => text.push('\n'),
                Some('\r') if lines && self.eat("\n") => text.push_str("\r\n"),
                None | Some('\n' | '\r') => return Err((start, format!("a string without its closing {end}"))),
                Some(_) => return Err((here, "a control character in a string, expected an escape such as \\u001b".into())),
            }
        }
    }

    /// What follows a backslash at `here`.
    fn escape(&mut self, here: usize, lines: bool, text: &mut String) -> Result<(), Fault> {
        if lines {
            // At a line's end it takes away all blanks and line ends up to the next character.
            let before = self.rest.clone();
            self.blank();
            if self.newline() {
                self.run(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
                return Ok(());
            }
            self.rest = before;
        }
        let character = match self.rest.next() {
            Some('b') => Some('\u{8}'),
            Some('t') => Some('\t'),
            Some('n') => Some('\n'),
            Some('f') => Some('\u{c}'),
            Some('r') => Some('\r'),
            Some('e') => Some('\u{1b}'),
            Some(same @ ('"' | '\\')) => Some(same),
            Some('x') => self.hexadecimal(2),
            Some('u') => self.hexadecimal(4),
            Some('U') => self.hexadecimal(8),
            _ => None,
        };
        let Some(character) = character else {
            return Err((here, "unknown escape, expected one such as \\\\, \\\", \\n or \\u00e9; text in '' has none".into()));
        };
        text.push(character);
        Ok(())
    }

    /// The character of a number of `digits` digits.
    fn hexadecimal(&mut self, digits: usize) -> Option<char> {
        let mut number = 0;
        for _ in 0..digits {
            number = number << 4 | self.rest.next()?.to_digit(16)?;
        }
        char::from_u32(number)
    }
}

/// What TOML has neither in comments nor in strings.
fn is_control(c: char) -> bool {
    c.is_ascii_control() && c != '\t'
}

#[cfg(test)]
mod tests;
