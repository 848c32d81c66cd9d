//! A report as a page: one file that needs nothing else, with a timeline, findings and tables. docs/report.md describes it.
//!
//! The page's parts are in `page/`, and are put in as they are. What a session adds is one JSON object in a script element, of which
//! no browser runs anything; the page's scripts make text nodes of its strings, never HTML.

mod data;
mod interned;
mod object;
pub mod records;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::Report;
use crate::failure::{FAILED, Failure, words};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which they need each other.
const SCRIPTS: [&str; 10] = [
    include_str!("page/format.js"),
    include_str!("page/data.js"),
    include_str!("page/stacks.js"),
    include_str!("page/chart.js"),
    include_str!("page/bars.js"),
    include_str!("page/details.js"),
    include_str!("page/timeline.js"),
    include_str!("page/table.js"),
    include_str!("page/tabs.js"),
    include_str!("page/page.js"),
];

/// Writes the page to a file.
pub fn write_file(report: &mut Report, path: &Path) -> Result<(), Failure> {
    let said = |error| format!("{}: {}", path.display(), words(&error));
    let file = File::create(path).map_err(|error| Failure::usage(said(error)))?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    write(report, &mut out).and_then(|()| out.flush()).map_err(|error| Failure::new(FAILED, said(error)))
}

/// Writes the page.
pub fn write(report: &mut Report, out: &mut dyn Write) -> io::Result<()> {
    let mut rest = PAGE;
    while let Some((text, (name, after))) = rest.split_once("{{").and_then(|(text, rest)| Some((text, rest.split_once("}}")?)))
    {
        out.write_all(text.as_bytes())?;
        match name {
            "style" => out.write_all(STYLE.as_bytes())?,
            "script" => SCRIPTS.iter().try_for_each(|script| out.write_all(script.as_bytes()))?,
            _ => data::write(report, &mut InScript(out))?,
        }
        rest = after;
    }
    out.write_all(rest.as_bytes())
}

/// JSON as a script element can hold it: without a `<`, which is in strings only, nothing in it ends the element or begins a comment.
struct InScript<'a>(&'a mut dyn Write);

impl Write for InScript<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (at, part) in bytes.split(|&byte| byte == b'<').enumerate() {
            if at > 0 {
                self.0.write_all(b"\\u003c")?;
            }
            self.0.write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_each_part_and_loads_nothing() {
        let places: Vec<_> = PAGE.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0)).collect();
        assert_eq!(places, ["style", "data", "script"]);
        for part in [PAGE, STYLE].into_iter().chain(SCRIPTS) {
            for outside in
                ["http:", "https:", "//cdn", "@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML", "insertAdjacentHTML"]
            {
                assert!(!part.contains(outside), "{outside}");
            }
        }
        assert!(PAGE.contains("default-src 'none'"));
    }

    #[test]
    fn nothing_ends_the_element_that_holds_the_data() {
        let mut out = Vec::new();
        let text = "</script><!-- <script> ]]> \u{2028} \"";
        serde_json::to_writer(InScript(&mut out), text).unwrap();
        assert!(!out.contains(&b'<'));
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
