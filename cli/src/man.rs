//! `shmgate man`: the man pages, from the definitions in `args`; for `make install`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use crate::args;
use crate::failure::{Failure, words};

/// Where a reader may want to go next, beside the pages above and below.
const NEXT: [(&str, &[&str]); 11] = [
    ("shmgate", &["ipcs", "ipcrm", "lsipc"]),
    ("shmgate-run", &["shmgate-log", "shmgate-report", "shmgate-top", "shmgate-policy-check", "shmgate-namespace"]),
    ("shmgate-log", &["shmgate-run", "shmgate-report"]),
    ("shmgate-report", &["shmgate-run", "shmgate-log"]),
    ("shmgate-ls", &["shmgate-show", "shmgate-rm", "shmgate-top", "ipcs", "lsipc"]),
    ("shmgate-show", &["shmgate-ls", "shmgate-rm", "lsipc"]),
    ("shmgate-rm", &["shmgate-ls", "shmgate-gc", "ipcrm"]),
    ("shmgate-gc", &["shmgate-ls", "shmgate-rm"]),
    ("shmgate-top", &["shmgate-ls", "shmgate-show", "shmgate-run"]),
    ("shmgate-policy-check", &["shmgate-run"]),
    ("shmgate-namespace", &["shmgate-run", "shmgate-ls"]),
];

/// Writes a page for the command and one for each subcommand.
pub fn write(directory: &Path) -> Result<u8, Failure> {
    // `help` has no page.
    let mut command = args::definitions().disable_help_subcommand(true);
    command.build();
    fs::create_dir_all(directory)
        .and_then(|()| pages(&command, "shmgate", directory))
        .map_err(|error| Failure::usage(format!("{}: {}", directory.display(), words(&error))))?;
    Ok(0)
}

fn pages(command: &Command, name: &str, directory: &Path) -> io::Result<()> {
    fs::write(directory.join(format!("{name}.1")), page(command, name)?)?;
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        pages(subcommand, &format!("{name}-{}", subcommand.get_name()), directory)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    let version = concat!("shmgate ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name.to_uppercase()).source(version).manual("shmgate");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    let usage = command.clone().render_usage().to_string();
    writeln!(out, ".SH SYNOPSIS\n{}", escaped(usage.strip_prefix("Usage: ").unwrap_or(&usage)))?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.get_subcommands().any(|subcommand| !subcommand.is_hide_set()) {
        man.render_subcommands_section(&mut out)?;
    }
    // Examples and the like, whose lines stay as they are.
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for section in text.split("\n\n").filter(|section| !section.is_empty()) {
        let (heading, lines) = section.split_once('\n').unwrap_or((section, ""));
        writeln!(out, ".SH {}\n.nf\n{}\n.fi", heading.trim_end_matches(':').to_uppercase(), escaped(lines))?;
    }
    let see: Vec<String> = see_also(command, name).iter().map(|page| escaped(page) + "(1)").collect();
    writeln!(out, ".SH \"SEE ALSO\"\n{}", see.join(", "))?;
    Ok(out)
}

fn see_also(command: &Command, name: &str) -> Vec<String> {
    let above = name.match_indices('-').map(|(at, _)| name[..at].to_owned());
    let below = command.get_subcommands().filter(|one| !one.is_hide_set()).map(|one| format!("{name}-{}", one.get_name()));
    let next = NEXT.iter().filter(|(page, _)| *page == name).flat_map(|(_, next)| *next).map(|&page| page.to_owned());
    above.chain(below).chain(next).collect()
}

/// Text for roff: no backslash, and no line that begins as a request does.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let line = |line: &str| {
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
