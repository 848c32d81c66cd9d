//! `shmgate man`: the man pages, from the definitions in `args`; for `make install`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use crate::args;
use crate::failure::{Failure, words};

/// Writes a page for the command and one for each subcommand.
pub fn write(directory: &Path) -> Result<u8, Failure> {
    let mut command = args::definitions();
    command.build();
    fs::create_dir_all(directory)
        .and_then(|()| pages(&command, "shmgate", directory))
        .map_err(|error| Failure::usage(format!("{}: {}", directory.display(), words(&error))))?;
    Ok(0)
}

fn pages(command: &Command, name: &str, directory: &Path) -> io::Result<()> {
    fs::write(directory.join(format!("{name}.1")), page(command, name)?)?;
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help") {
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
    let see = ["shmgate", "shmgate-run", "shmgate-log", "ipcs", "ipcrm"].into_iter().filter(|page| *page != name);
    writeln!(out, ".SH \"SEE ALSO\"\n{}", see.map(|page| escaped(page) + "(1)").collect::<Vec<_>>().join(", "))?;
    Ok(out)
}

/// Text for roff: no backslash, and no line that begins as a request does.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let line = |line: &str| {
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
