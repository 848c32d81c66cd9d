//! The options of `ls`, `show`, `rm` and `gc`, and their help.

use std::ffi::OsString;

use clap::Args;

use super::columns::{self, Column};
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
    shmgate ls --orphans --older-than 1h --sort size
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
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The columns, with commas between; + before the first adds to the usual ones
    #[arg(short = 'o', long = "output", value_name = "COLUMNS", value_parser = columns::parse)]
    pub columns: Option<Columns>,
    /// Sort by this column
    #[arg(long, value_name = "COLUMN", value_parser = columns::find)]
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
        None => (text, "s"),
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
        for text in ["", "h", "1x", "-1h", "1h30m", "99999999999999999999", "18446744073709551615w", "1.5h"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }
}
