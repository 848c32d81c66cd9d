//! `shmgate completions`: a shell's completion script, from the definitions in `args`.

use std::io::{self, Write};

use clap_complete::Shell;

use crate::args;
use crate::failure::{Failure, written};

/// Prints the script.
pub fn print(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::without_hidden(&args::definitions()), "shmgate", &mut script);
    written(io::stdout().write_all(&script))?;
    Ok(0)
}
