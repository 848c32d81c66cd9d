//! The options of `ls`, `show`, `rm` and `gc`, and their help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::columns::{self, Column};
use super::target::Target;
use crate::system;

/// List shared memory segments
#[derive(Debug, Args)]
#[command(
    long_about = "Lists the System V shared memory segments of the kernel (of the IPC namespace in which it is called) and of your userspace \
                  namespaces: who made them and who used them last, with names as far as these processes live, and their state.\n\n\
                  In the column STATUS, orphan means that nobody has the segment attached and that its creator is gone; dest, that it was \
                  removed and goes with its last attach; locked, that it stays in memory. AGE counts from the segment's creation, or from the last \
                  IPC_SET. Times are UTC. The exit status is 1 if a namespace can't be read.",
    after_help = columns::with_help("Examples:
  What is there:
    shmgate ls
  What nobody owns up to, the largest last:
    shmgate ls --orphans --older-than 1h --sort SIZE
  What everybody may read or write, with the command that made it:
    shmgate ls --world -o +COMMAND
  Ids of a user's segments in the kernel, for a script:
    shmgate ls --kernel --owner postgres -n -o ID
  The same with everything else that is known, as JSON:
    shmgate ls --json | jq '.sharedmemory[] | select(.orphan)'")
)]
pub struct LsOptions {
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub at: Where,
    #[command(flatten)]
    pub output: Output,
}

/// Show a segment and who holds it
#[derive(Debug, Args)]
#[command(
    long_about = "Shows one segment in full, and every process that has it attached: pid, user, container or control group, addresses, whether it \
                  may write, since when, and the command. A number is an id, 0x... a key. What can't be seen for lack of rights is said.\n\n\
                  Since when something is attached, which executable created the segment and which path its key came from, the journals of \
                  sessions know: those given with --session, and those in which creator and holders run.\n\n\
                  The exit status is 1 if there is no such segment, 2 if it may be one of several.",
    after_help = "Examples:
  Who keeps the database from starting:
    shmgate show 0x0052e2c1
  A segment of a userspace namespace:
    shmgate show --namespace build 32769
  Which file below /srv the key was made of:
    shmgate show --find-path /srv 0x5e000001
  The pids that hold it:
    shmgate show --json 5 | jq '.holders[].pid'"
)]
pub struct ShowOptions {
    /// The segment: its id, or its key as 0x5e000001
    #[arg(value_name = "ID|KEY", value_parser = Target::parse)]
    pub target: Target,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Ask the journal of the session in DIR too; may be given more than once
    #[arg(long = "session", value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub sessions: Vec<PathBuf>,
    /// Look below DIR for files of which ftok makes the key; may be given more than once
    #[arg(long = "find-path", value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub find_paths: Vec<PathBuf>,
    #[command(flatten)]
    pub at: Where,
}

/// Remove segments
#[derive(Debug, Args)]
#[command(
    long_about = "Removes segments: those that are named, or those that the filters let through, or of the named ones those that they let \
                  through. It prints them first, and asks; where standard input is no terminal it needs --yes.\n\n\
                  What is attached stays, unless --force is given: then it is marked, its key is free at once, and its memory goes with its last \
                  attach. A segment that changed since it was listed, or whose id was given out again, stays. The exit status is 1 if \
                  anything that was named, or was to be removed, stays.",
    after_help = "Examples:
  By id, and by key:
    shmgate rm 5 0x5e000001
  What a user left, without asking:
    shmgate rm --yes --orphans --owner build
  What would be removed:
    shmgate rm --dry-run --world",
    group = clap::ArgGroup::new("which").args(["targets", "orphans", "world", "owner", "key", "older_than"]).required(true).multiple(true)
)]
pub struct RmOptions {
    /// Segments: ids, or keys as 0x5e000001
    #[arg(value_name = "ID|KEY", value_parser = Target::parse)]
    pub targets: Vec<Target>,
    /// Remove what is attached too
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub consent: Consent,
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub at: Where,
}

/// Remove segments that nobody owns up to
#[derive(Debug, Args)]
#[command(
    long_about = "Removes orphans: segments that nobody has attached, whose creator is gone, that are older than --older-than and have not been \
                  attached or detached for as long, and that are not on a keep list. Yours, or everybody's as root. It prints them first, and \
                  asks; where standard input is no terminal it needs --yes.\n\n\
                  A keep list is a file with an id or a key (0x...) a line, and comments after #. The exit status is 1 if anything that was to be \
                  removed stays.",
    after_help = "Examples:
  What would be removed:
    shmgate gc --dry-run
  From cron, all but one:
    shmgate gc --yes --older-than 1d --keep 0x5e000001
  What tests left, at once:
    shmgate gc --yes --older-than 0s --owner build

Files:
  /etc/shmgate/keep, ~/.config/shmgate/keep (in XDG_CONFIG_HOME, if set)
    keep lists, read if they are there and --keep-file is not given"
)]
pub struct GcOptions {
    /// Age of what is removed: a number with s, m, h, d or w
    #[arg(long, value_name = "AGE", value_parser = parse_age, default_value = "1h")]
    pub older_than: u64,
    /// Keep this segment, an id or a key as 0x5e000001; may be given more than once
    #[arg(long, value_name = "ID|KEY", value_parser = Target::parse)]
    pub keep: Vec<Target>,
    /// Keep those in this list, instead of those in the usual ones
    #[arg(long, value_name = "FILE")]
    pub keep_file: Option<PathBuf>,
    /// Only those of this user, a name or a number
    #[arg(long, value_name = "USER", value_parser = parse_user)]
    pub owner: Option<u32>,
    #[command(flatten)]
    pub consent: Consent,
    #[command(flatten)]
    pub at: Where,
}

/// Whether to do it.
#[derive(Clone, Copy, Debug, Args)]
pub struct Consent {
    /// Do it without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Only print what would be removed
    #[arg(short = 'n', long, conflicts_with = "yes")]
    pub dry_run: bool,
}

/// Which places to look in.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Places")]
pub struct Where {
    /// Only the kernel's segments
    #[arg(long)]
    pub kernel: bool,
    /// Only those of a userspace namespace, a name or an absolute directory; may be given more than once
    #[arg(long = "namespace", value_name = "N")]
    pub namespaces: Vec<OsString>,
}

/// Which segments to take: those that all of these let through.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub struct Filters {
    /// Only those that nobody has attached and whose creator is gone
    #[arg(long)]
    pub orphans: bool,
    /// Only those that everybody may read or write (0006 in the mode)
    #[arg(long)]
    pub world: bool,
    /// Only those of this user, a name or a number
    #[arg(long, value_name = "USER", value_parser = parse_user)]
    pub owner: Option<u32>,
    /// Only those with this key, as 0x5e000001 or as a number
    #[arg(long, value_name = "KEY", value_parser = parse_key, allow_hyphen_values = true)]
    pub key: Option<i32>,
    /// Only those of at least this age: a number with s, m, h, d or w
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub older_than: Option<u64>,
}

/// How to print them.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The columns, with commas between; + before the first adds to the usual ones
    #[arg(short = 'o', long = "output", value_name = "COLUMNS", hide_possible_values = true, value_parser = columns::SEVERAL)]
    pub columns: Option<Columns>,
    /// Sort by this column
    #[arg(long, value_name = "COLUMN", hide_possible_values = true, value_parser = columns::ONE)]
    pub sort: Option<&'static Column>,
    /// The last first
    #[arg(short, long)]
    pub reverse: bool,
    /// Print sizes in bytes
    #[arg(short, long)]
    pub bytes: bool,
    /// Print no names of columns
    #[arg(short, long)]
    pub noheadings: bool,
}

/// Columns that were asked for: a type, as clap would take a `Vec` for several values.
#[derive(Clone, Debug)]
pub struct Columns(pub Vec<&'static Column>);

fn parse_user(text: &str) -> Result<u32, &'static str> {
    match text.parse() {
        Ok(uid) => Ok(uid),
        Err(_) => system::user_id(text).ok_or("no such user"),
    }
}

/// A key in the forms that people write it in: hexadecimal, or decimal as ipcs -p and shmget's callers have it.
pub fn parse_key(text: &str) -> Result<i32, &'static str> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let key = match hex {
        Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16).ok().map(u32::cast_signed),
        Some(_) => None,
        None => text.parse::<i32>().ok().or_else(|| text.parse::<u32>().ok().map(u32::cast_signed)),
    };
    key.ok_or("not a key: write it as 0x5e000001, or as a number")
}

/// Seconds.
fn parse_age(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        // A bare number might mean days, and gc would go by it.
        None => (text, if text == "0" { "s" } else { "" }),
    };
    let unit = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err("not an age: write a number with s, m, h, d or w, as 90m"),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or("not an age: write a number with s, m, h, d or w, as 90m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_people_write_them() {
        for (text, key) in
            [("0x5e000001", 0x5e00_0001), ("0xFFFFFFFF", -1), ("-1", -1), ("4294967295", -1), ("77", 77), ("0x0", 0)]
        {
            assert_eq!(parse_key(text), Ok(key), "{text}");
        }
        for text in ["", "0x", "0x+1", "0x123456789", "4294967296", "key", "5 ", "0x-1"] {
            assert!(parse_key(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_are_read_as_people_write_them() {
        for (text, seconds) in [("0", 0), ("30s", 30), ("90m", 5400), ("1h", 3600), ("2d", 172_800), ("1w", 604_800)] {
            assert_eq!(parse_age(text), Ok(seconds), "{text}");
        }
        for text in ["", "5", "h", "1x", "-1h", "1h30m", "99999999999999999999", "18446744073709551615w", "1.5h"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }
}
