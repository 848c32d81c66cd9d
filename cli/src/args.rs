//! The command line: help, completions and man pages are made of these definitions.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use shmgate_core::backend::userspace::layout::SEGMENTS;
use shmgate_core::policy::size::{self, SizeError};

use crate::failure::{Failure, USAGE, written};
use crate::report::{FailOnOption, ReportOptions};
use crate::segments::options::{GcOptions, LsOptions, RmOptions, ShowOptions};
use crate::top::options::TopOptions;

#[derive(Debug, Parser)]
#[command(
    name = "shmgate",
    version,
    about = "Watch and limit what a program does with System V shared memory",
    long_about = "Runs a program, unchanged, so that each of its System V shared memory calls (shmget, shmat, shmdt, shmctl, and \
                  ftok) is recorded and held to quotas and rules, in it and in all processes that it starts. The other commands tell what \
                  a run did and leaked (log, report), and of all segments who made and who holds them (ls, show, top), and remove what \
                  nobody owns up to (rm, gc).",
    after_help = "Examples:
  Show each call as it happens:
    shmgate run --log - -- ipcmk -M 4096
  Let a server and its children hold 64 MiB at most:
    shmgate run --max-bytes 64M -- ./server
  Keep the records, read them, and see what was leaked:
    shmgate run --session /tmp/s -- ./server
    shmgate log /tmp/s
    shmgate report /tmp/s
  What segments there are, and who made them:
    shmgate ls
  The same live, with who holds them:
    shmgate top",
    arg_required_else_help = true,
    subcommand_required = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(RunOptions),
    Log(LogOptions),
    Ls(LsOptions),
    Show(ShowOptions),
    Rm(RmOptions),
    Gc(GcOptions),
    Top(TopOptions),
    Report(ReportOptions),
    /// Work with policy files
    #[command(subcommand, arg_required_else_help = true)]
    Policy(PolicyCommand),
    /// Work with the namespaces of the userspace backend
    #[command(
        subcommand,
        arg_required_else_help = true,
        long_about = "Lists, makes, removes and checks namespaces of the userspace backend. A namespace is a directory in which the \
                      processes that name it with SHMGATE_NAMESPACE have their segments: a name means one of \
                      /dev/shm/shmgate-UID, or a shared one in /dev/shm, an absolute path the directory itself.\n\n\
                      A name is 1 to 64 letters, digits, - _ . and begins with neither - nor .; a directory's path has at most 200 bytes.",
        after_help = "Examples:
  shmgate namespace list
  shmgate namespace remove default"
    )]
    Namespace(NamespaceCommand),
    /// Print a shell's completion script
    #[command(
        long_about = "Prints a completion script for a shell to standard output.",
        after_help = "Examples:
  shmgate completions bash > ~/.local/share/bash-completion/completions/shmgate
  shmgate completions zsh > ~/.zfunc/_shmgate
  shmgate completions fish > ~/.config/fish/completions/shmgate.fish"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory, made if need be
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say whether a policy file is right, and what it holds
    #[command(
        long_about = "Reads a policy file and says in short what it holds, or at which line and column it is wrong (exit status 2). A \
                      rule that can never hold is wrong too.",
        after_help = "Examples:
  shmgate policy check limits.toml
  generate-policy | shmgate policy check -"
    )]
    Check {
        /// The policy file; - reads standard input
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum NamespaceCommand {
    /// List the namespaces
    #[command(
        long_about = "Lists your namespaces in /dev/shm/shmgate-UID, the shared ones in /dev/shm, and one elsewhere that \
                      SHMGATE_NAMESPACE names: their segments, the bytes of these as asked for, and the live processes that have called \
                      in them. What no name leads to, as another user's shared one, is listed by its directory. The exit status is 1 if one can't be read: it is listed with ? and the \
                      reason is said on standard error.",
        after_help = "Examples:
  shmgate namespace list
  shmgate namespace list --json | jq '.namespaces[] | select(.processes == 0)'"
    )]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    Create(CreateOptions),
    /// Remove a namespace and its segments
    #[command(
        long_about = "Removes a namespace's files, and the segments' memory with them, and then its directory. Processes that have \
                      segments attached keep these until they detach. While live processes hold segments it refuses (exit status 1).\n\n\
                      With --force such processes go on in what is removed: what they look up is still there, what they attach is gone \
                      (ENOENT, EIDRM), and nobody else sees what they create. End them first, if you can.",
        after_help = "Examples:
  shmgate namespace remove build
  shmgate namespace remove --force /dev/shm/shmgate-1000/build"
    )]
    Remove {
        /// Remove it although processes hold segments, or although it is damaged
        #[arg(short, long)]
        force: bool,
        /// The namespace: a name or an absolute directory
        name: OsString,
    },
    /// Say what is wrong with a namespace, and mend it
    #[command(
        long_about = "Checks a namespace's registry and files, and prints what is wrong, a line each. The exit status is 1 if anything \
                      is, or with --repair if anything remains. What is checked may be in use.",
        after_help = "Examples:
  shmgate namespace check default
  shmgate namespace check --repair default

What --repair mends:
  totals and chains, the lock of a process that is gone, blocks of holders
  and files of segments that are gone. It gives back segments that nobody holds
  and that are removed or go by shm_rmid_forced, too: the next call that creates
  would, they are no fault"
    )]
    Check {
        /// Mend what can be mended
        #[arg(long)]
        repair: bool,
        /// The namespace: a name or an absolute directory
        name: OsString,
    },
    /// Remove an isolated namespace when nobody is left in it
    #[command(hide = true)]
    Watch {
        /// Its directory; standard input ends with the run
        directory: PathBuf,
    },
}

/// Make a namespace with limits of its own
#[derive(Debug, Args)]
#[command(
    long_about = "Makes a namespace. One without limits of its own need not be made: the first process that names it makes it. Sizes \
                  take K, M, G, T, KiB, MiB, GiB, TiB, all powers of 1024. The limits are what the kernel has in \
                  /proc/sys/kernel/shmmax, shmmni and shmall; without options they are the kernel's own.\n\n\
                  With --shared several users share it: a segment's owner and mode say who may attach it, and the kernel holds everybody \
                  to that. By its name others find only one that root made; another's they name by its directory, \
                  /dev/shm/shmgate-shared-NAME. docs/namespaces.md says what it can't promise among users who distrust each other.",
    after_help = "Examples:
  shmgate namespace create build
  shmgate namespace create --shmmax 64M --shmmni 16 small
  shmgate namespace create --shared lab
  shmgate run --backend userspace --namespace small -- ./server"
)]
pub struct CreateOptions {
    /// Make it for all users: each has its own segments there, and shares those whose mode allows it
    #[arg(long)]
    pub shared: bool,
    /// Bytes that a segment may have
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_hyphen_values = true)]
    pub shmmax: Option<u64>,
    /// Segments that there may be, at most 32768
    #[arg(long, value_name = "N", value_parser = parse_shmmni, allow_hyphen_values = true)]
    pub shmmni: Option<u64>,
    /// Pages that all segments may have together
    #[arg(long, value_name = "PAGES", value_parser = parse_count, allow_hyphen_values = true)]
    pub shmall: Option<u64>,
    /// The namespace: a name or an absolute directory
    pub name: OsString,
}

/// Run a command through the gate
#[derive(Debug, Args)]
#[command(
    long_about = "Runs a command with libshmgate.so preloaded: in the command and in all processes that it starts, each System V shared \
                  memory call is recorded, and held to the limits.\n\n\
                  The exit status is the command's own, 128 + n if signal n ended it, 125 if it can't be gated, 126 if it can't be \
                  executed, 127 if it is not found, 2 for bad usage, a bad policy or a bad session, and 1 if it succeeded \
                  but --fail-on names something found. Afterwards shmgate says on standard \
                  error what was denied and which segments were left behind.\n\n\
                  Limits count all processes of the session together. Sizes take K, M, G, T, KiB, MiB, GiB, TiB, all powers of 1024. An \
                  option wins over the policy file.",
    after_help = "Examples:
  Show each call as it happens:
    shmgate run --log - -- ipcmk -M 4096
  Write the calls to a file, as JSON lines:
    shmgate run --json --log calls.jsonl -- ./server
  Limit what a server and its children may hold:
    shmgate run --max-bytes 64M --max-segments 8 -- ./server
  See what a policy would deny, without denying it:
    shmgate run --policy limits.toml --dry-run -- ./server
  Keep the records, and read them:
    shmgate run --session /tmp/s -- ./server
    shmgate log /tmp/s
  Fail if a segment is left behind:
    shmgate run --fail-on leak -- make check
  Run tests that leave segments behind, and leave none:
    shmgate run --isolate -- make check
  See from which line each call comes:
    shmgate run --callers --session /tmp/s -- ./server
    shmgate log /tmp/s

Environment:
  SHMGATE_LIB
    where libshmgate.so is, if not beside the command or in ../lib
  SHMGATE_LOG, SHMGATE_LOG_FORMAT, SHMGATE_BACKEND, SHMGATE_NAMESPACE,
  SHMGATE_POLICY
    as --log, --json, --backend, --namespace and --policy, which win
  SHMGATE_CALLERS
    on or off (the default): on is as --callers
  SHMGATE_SESSION
    the session to join without --session. A run within a run so joins
    the outer one's, with its limits
  XDG_RUNTIME_DIR
    sessions without --session are kept in its directory shmgate while
    they last; without it in /tmp/shmgate-UID",
    override_usage = "shmgate run [OPTIONS] -- COMMAND [ARGUMENT]..."
)]
pub struct RunOptions {
    /// What serves the calls
    #[arg(long, value_name = "B", value_parser = ["auto", "kernel", "userspace"])]
    pub backend: Option<String>,
    /// The namespace of the userspace backend
    #[arg(long, value_name = "N")]
    pub namespace: Option<OsString>,
    /// Serve the calls in a userspace namespace for this run alone, gone with all its memory after the last of its processes
    #[arg(long, conflicts_with = "namespace")]
    pub isolate: bool,
    /// Write a line for each call to FILE; - is standard error
    #[arg(long, value_name = "FILE|-")]
    pub log: Option<PathBuf>,
    /// Write the log as JSON lines; alone, to standard error
    #[arg(long)]
    pub json: bool,
    /// Keep the session in DIR, or join the session there; without it, the session is gone at the end
    #[arg(long, value_name = "DIR")]
    pub session: Option<PathBuf>,
    /// Record where each call comes from: function, file and line of its callers, which shmgate log and report show (the lines of --log
    /// don't; shmgate log --follow does, while the command runs)
    #[arg(long)]
    pub callers: bool,
    /// Run a command that can't be gated (static, setuid, another architecture) all the same
    #[arg(long)]
    pub allow_ungated: bool,
    /// Leave RTLD_DEEPBIND on libraries that the command opens, whose calls then pass the gate by
    #[arg(long)]
    pub keep_deepbind: bool,
    #[command(flatten)]
    pub fail_on: FailOnOption,
    /// Say nothing afterwards
    #[arg(short, long)]
    pub quiet: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
    // Last: the options after it would come under its heading.
    #[command(flatten)]
    pub limits: Limits,
}

/// The options that make or change a policy.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Quotas and rules, a TOML file
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Bytes that the session's segments may have together
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_hyphen_values = true)]
    pub max_bytes: Option<u64>,
    /// Segments that the session may have
    #[arg(long, value_name = "N", value_parser = parse_count, allow_hyphen_values = true)]
    pub max_segments: Option<u64>,
    /// Bytes that a segment may have
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_hyphen_values = true)]
    pub max_segment_size: Option<u64>,
    /// Attaches that the session may have
    #[arg(long, value_name = "N", value_parser = parse_count, allow_hyphen_values = true)]
    pub max_attaches: Option<u64>,
    /// Refuse segments that others can read or write (0006 in the mode)
    #[arg(long)]
    pub forbid_world_access: bool,
    /// Deny nothing, only note what would be denied
    #[arg(long)]
    pub dry_run: bool,
}

/// Print the calls that a session recorded
#[derive(Debug, Args)]
#[command(
    long_about = "Prints the calls that a session recorded, a line each. The exit status is 1 if its journal is damaged: what can be read \
                  is printed all the same.",
    after_help = "Examples:
  shmgate log /tmp/s
  shmgate log --json /tmp/s | jq 'select(.verdict == \"denied\")'
  shmgate log --follow --time /tmp/s"
)]
pub struct LogOptions {
    /// The session's directory, as given to shmgate run --session
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub session: PathBuf,
    /// Print JSON lines
    #[arg(long)]
    pub json: bool,
    /// Go on as calls come, until no process of the session is left
    #[arg(short, long)]
    pub follow: bool,
    /// Put the time (UTC) before each line; JSON lines have it anyway
    #[arg(short, long)]
    pub time: bool,
}

fn parse_size(text: &str) -> Result<u64, SizeError> {
    size::parse(text)
}

fn parse_shmmni(text: &str) -> Result<u64, String> {
    match parse_count(text)? {
        count if count <= SEGMENTS as u64 => Ok(count),
        _ => Err(format!("at most {SEGMENTS} segments can be")),
    }
}

fn parse_count(text: &str) -> Result<u64, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or("not a count: write a whole number, 0 or more")
}

/// The definitions, for what is generated from them.
pub fn definitions() -> clap::Command {
    Cli::command()
}

/// What completions offer of a command: clap can add subcommands but take none away, and hidden ones are nobody's to type.
pub fn without_hidden(command: &clap::Command) -> clap::Command {
    let shown = clap::Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .args(command.get_arguments().cloned())
        .subcommands(command.get_subcommands().filter(|one| !one.is_hide_set()).map(without_hidden))
        .disable_help_subcommand(command.is_disable_help_subcommand_set());
    match command.get_version() {
        Some(version) => shown.version(version.to_owned()),
        None => shown,
    }
}

/// Reads the command line.
pub fn parse() -> Result<Command, Failure> {
    Cli::try_parse().and_then(|cli| without_conflict(cli.command)).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            written(error.print()).err().unwrap_or_else(|| Failure::new(0, ""))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Failure::new(USAGE, "")
        }
        _ => Failure::usage(condense(&error.to_string())),
    })
}

/// Conflicts by an option's value, which clap's definitions can't tell.
fn without_conflict(command: Command) -> Result<Command, clap::Error> {
    match &command {
        Command::Run(options) if options.isolate && options.backend.as_deref() == Some("kernel") => {
            let mut definitions = definitions();
            definitions.build();
            let run = definitions.find_subcommand_mut("run").expect("run is defined above");
            let message = "the argument '--isolate' cannot be used with '--backend kernel'";
            Err(run.error(ErrorKind::ArgumentConflict, message))
        }
        _ => Ok(command),
    }
}

/// clap's message of several paragraphs as one line: what is wrong, its tips, and where the help is.
fn condense(message: &str) -> String {
    let mut paragraphs = message.split("\n\n");
    let wrong = paragraphs.next().unwrap_or_default();
    let mut line = wrong.strip_prefix("error: ").unwrap_or(wrong).lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut help = String::new();
    for paragraph in paragraphs {
        if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            // The words before the first option or argument are the subcommand.
            let words = usage.split_whitespace().take_while(|word| word.starts_with(|first: char| first.is_ascii_lowercase()));
            help = format!("; see {} --help", words.collect::<Vec<_>>().join(" "));
        }
        // Of values, all that are possible are told.
        let tips = paragraph.lines().filter_map(|part| part.trim().strip_prefix("tip: "));
        for tip in tips.filter(|tip| !tip.starts_with("a similar value")) {
            line.push_str("; ");
            line.push_str(tip);
        }
    }
    line + &help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(args: &[&str]) -> String {
        let parsed = Cli::try_parse_from(args).and_then(|cli| without_conflict(cli.command));
        condense(&parsed.expect_err("must be refused").to_string())
    }

    #[test]
    fn the_definitions_hold_together() {
        definitions().debug_assert();
    }

    #[test]
    fn errors_are_a_line_with_what_to_do() {
        for (args, parts) in [
            (&["shmgate", "run", "--frob", "--", "true"][..], &["unexpected argument '--frob'", "see shmgate run --help"][..]),
            (&["shmgate", "run", "--max-bytes", "12Q", "true"], &["invalid value '12Q'", "--max-bytes", "not a size", "MiB"]),
            (&["shmgate", "run", "--max-segments", "-1", "true"], &["-1"]),
            (&["shmgate", "run", "--max-segments", "+1", "true"], &["not a count"]),
            (&["shmgate", "run", "--quiet"], &["COMMAND", "see shmgate run --help"]),
            (&["shmgate", "polcy"], &["unrecognized subcommand 'polcy'", "'policy'", "see shmgate --help"]),
            (&["shmgate", "run", "--isolate", "--backend", "kernel", "true"], &["--backend kernel", "see shmgate run --help"]),
            (
                &["shmgate", "run", "--isolate", "--namespace", "n", "true"],
                &["--isolate", "--namespace", "see shmgate run --help"],
            ),
            (&["shmgate", "namespace", "create", "--shmmni", "40000", "n"], &["at most 32768"]),
            (&["shmgate", "namespace", "remove"], &["NAME", "see shmgate namespace remove --help"]),
            (&["shmgate", "log"], &["SESSION", "see shmgate log --help"]),
            (&["shmgate", "completions", "tcsh"], &["tcsh", "bash", "elvish", "fish", "powershell", "zsh"]),
        ] {
            let message = error(args);
            assert!(!message.contains('\n'), "{message}");
            for part in parts {
                assert!(message.contains(part), "{part} in: {message}");
            }
        }
    }

    /// As where the end of a line of source has lost its backslash.
    #[test]
    fn help_has_no_gaps() {
        fn look(command: &clap::Command) {
            let of_arguments = command.get_arguments().flat_map(|argument| [argument.get_help(), argument.get_long_help()]);
            let texts = [command.get_about(), command.get_long_about()].into_iter().chain(of_arguments).flatten();
            for text in texts.map(ToString::to_string) {
                assert!(!text.contains("  "), "{}: {text}", command.get_name());
            }
            // Examples are indented, columns are a table.
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for section in after.split("\n\n").filter(|section| !section.starts_with("Columns:")) {
                for line in section.lines() {
                    assert!(!line.trim_start().contains("  "), "{}: {line}", command.get_name());
                }
            }
            command.get_subcommands().for_each(look);
        }
        look(&definitions());
    }

    #[test]
    fn what_follows_the_command_is_the_commands() {
        for args in [&["shmgate", "run", "-q", "--", "ls", "-q", "--help"][..], &["shmgate", "run", "-q", "ls", "-q", "--help"]]
        {
            let Command::Run(options) = Cli::try_parse_from(args).unwrap().command else { panic!() };
            assert_eq!(options.command, ["ls", "-q", "--help"]);
        }
        let Command::Run(options) = Cli::try_parse_from(["shmgate", "run", "--", "--odd", "--"]).unwrap().command else {
            panic!()
        };
        assert_eq!(options.command, ["--odd", "--"]);
    }
}
