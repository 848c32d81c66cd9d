//! The options of `top`, and their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::grid::Grid;
use crate::segments::columns::Offering;
use crate::segments::options::{Filters, Where};

/// Watch segments, their holders, calls and denials as they change
#[derive(Debug, Args)]
#[command(
    long_about = "Shows the shared memory segments of the kernel (of the IPC namespace in which it is called) and of your userspace namespaces in the \
                  terminal, with the processes that hold them, anew each second. With a session's directory: the segments that its processes use, how many \
                  calls a second each takes, the processes themselves, and what was denied. Without one nobody counts calls.\n\n\
                  Keys: up and down choose, Enter looks at one, Tab or 1, 2, 3 turn to segments, processes and denials, < and > choose the column to \
                  sort by, r reverses, / filters, Space holds it, ? shows all keys, q ends.\n\n\
                  --once prints what there is now and ends, for scripts; a session's rates are then those of the last --interval. The exit status is \
                  1 if a namespace can't be read or the journal is damaged, 2 without a terminal or without the session.",
    after_help = "Examples:
  All segments:
    shmgate top
  A run in another terminal:
    shmgate run --session /tmp/s -- ./server
    shmgate top /tmp/s
  A userspace namespace, what has the most attaches first:
    shmgate top --namespace build --sort NATTCH
  What was called in the last ten seconds, for a script:
    shmgate top --once --json --interval 10 /tmp/s | jq .calls"
)]
pub struct TopOptions {
    /// The directory of a session, as given to shmgate run --session
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub session: Option<PathBuf>,
    /// Seconds between two looks, 0.1 to 3600
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_interval, default_value = "1")]
    pub interval: Duration,
    /// Print what there is now, and end
    #[arg(long)]
    pub once: bool,
    /// Print it as JSON
    #[arg(long, requires = "once")]
    pub json: bool,
    /// Sort by this column; the largest number comes first
    #[arg(long, value_name = "COLUMN", hide_possible_values = true, value_parser = COLUMN)]
    pub sort: Option<&'static str>,
    /// The other way round
    #[arg(short, long)]
    pub reverse: bool,
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub at: Where,
}

const COLUMN: Offering<&'static str> =
    Offering { parse: Grid::column_of_segments, names: || Grid::columns_of_segments(true, true) };

fn parse_interval(text: &str) -> Result<Duration, &'static str> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not an interval: write seconds from 0.1 to 3600"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_bounds() {
        assert_eq!(parse_interval("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_interval("3600"), Ok(Duration::from_secs(3600)));
        for text in ["", "0", "0.09", "-1", "3601", "1s", "nan", "inf", "1e9"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
