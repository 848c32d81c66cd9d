//! The command `shmgate`: runs programs through the gate and reads what their sessions recorded.
//!
//! | module | holds |
//! | --- | --- |
//! | `args` | the options of all subcommands, and their help |
//! | `run` | `shmgate run`, with `environment`, `library`, `program` (and `elf`, `script`), `sessions` (and `members`), `child`, `summary`, `left`, `isolation` |
//! | `log` | `shmgate log` |
//! | `segments` | `shmgate ls`, `show`, `rm`, `gc` |
//! | `top` | `shmgate top` |
//! | `report` | `shmgate report`, and `run --fail-on` |
//! | `symbols` | functions, files and lines of recorded callers |
//! | `progress` | how far long work has come, on a terminal |
//! | `policy` | `shmgate policy check`, and `run`'s policy options |
//! | `namespace` | `shmgate namespace list`, `create`, `remove`, `check` |
//! | `completions`, `man` | what is generated from the definitions in `args` |
//! | `failure` | errors: one line, and an exit status |
//! | `system`, `child` | the two that need `unsafe`, for system calls |

#![deny(unsafe_code)]

mod args;
mod child;
mod completions;
mod elf;
mod environment;
mod failure;
mod isolation;
mod left;
mod library;
mod log;
mod man;
mod members;
mod namespace;
mod policy;
mod program;
mod progress;
mod report;
mod run;
mod script;
mod segments;
mod sessions;
mod summary;
mod symbols;
mod system;
mod top;

use std::process::ExitCode;

use args::{Command, NamespaceCommand, PolicyCommand};

fn main() -> ExitCode {
    let done = args::parse().and_then(|command| match command {
        Command::Run(options) => run::run(&options),
        Command::Log(options) => log::log(&options),
        Command::Ls(options) => segments::ls(&options),
        Command::Show(options) => segments::show(&options),
        Command::Rm(options) => segments::rm(&options),
        Command::Gc(options) => segments::gc(&options),
        Command::Top(options) => top::top(&options),
        Command::Report(options) => report::report(&options),
        Command::Policy(PolicyCommand::Check { file }) => policy::check(&file),
        Command::Namespace(NamespaceCommand::List { json }) => namespace::list(json),
        Command::Namespace(NamespaceCommand::Create(options)) => namespace::create(&options),
        Command::Namespace(NamespaceCommand::Remove { force, name }) => namespace::remove(&name, force),
        Command::Namespace(NamespaceCommand::Check { repair, name }) => namespace::check(&name, repair),
        Command::Namespace(NamespaceCommand::Watch { directory }) => isolation::watch(&directory),
        Command::Completions { shell } => completions::print(shell),
        Command::Man { directory } => man::write(&directory),
    });
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => failure.report(),
    }
}
