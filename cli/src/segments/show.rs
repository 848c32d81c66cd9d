//! `shmgate show`: one segment in full, and every process that holds it.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use shmgate_core::text::json::Utc;

use super::columns::ALL;
use super::holders::{self, Holder, Search};
use super::json::{self, SCHEMA, string};
use super::maps::Mapping;
use super::options::ShowOptions;
use super::origin::{self, Found, Origin};
use super::survey::Survey;
use super::table::{self, Cell, Style, printable};
use super::{Place, Segment};
use crate::failure::{FAILED, Failure, words, written};

/// Everything that was found out of a segment.
pub struct View<'a> {
    pub segment: &'a Segment,
    pub survey: &'a Survey,
    pub search: &'a Search,
    pub origin: &'a Origin,
    /// What a search for the key's path found, if there was one.
    pub found: Option<&'a Found>,
}

/// Shows the segment; returns the exit status.
pub fn show(options: &ShowOptions) -> Result<u8, Failure> {
    let survey = Survey::of(&options.at)?;
    let segment = options.target.find(&survey)?;
    let search = holders::search(segment);
    let origin = Origin::of(segment, &search, &options.sessions, true)?;
    let key = search.key(segment);
    let mut found = Found::default();
    for directory in &options.find_paths {
        directory.metadata().map_err(|error| Failure::new(FAILED, format!("{}: {}", directory.display(), words(&error))))?;
        if key != 0 {
            origin::find(directory, key, &mut found);
        }
    }
    let found = Some(&found).filter(|_| !options.find_paths.is_empty());
    let view = View { segment, survey: &survey, search: &search, origin: &origin, found };
    let text = if options.json { view.json() } else { view.text(table::has_colours()) };
    written(io::stdout().write_all(text.as_bytes()))?;
    Ok(survey.status())
}

/// The paths of which the key may have been made, each with its project.
fn paths<'a>(origin: &'a Origin, found: Option<&'a Found>) -> impl Iterator<Item = (String, i32, &'static str)> + 'a {
    let recorded = origin.paths.iter().map(|(path, proj)| (path.clone(), *proj, "recorded"));
    let searched = found.into_iter().flat_map(|found| &found.paths);
    recorded.chain(searched.map(|(path, proj)| (path.to_string_lossy().into_owned(), i32::from(*proj), "found")))
}

impl View<'_> {
    /// As a person reads it.
    pub fn text(&self, has_colours: bool) -> String {
        let mut text = String::new();
        self.write_segment(&mut text);
        if self.search.holders.is_empty() {
            text.push_str("\nNobody is seen to hold it.\n");
        } else {
            text.push('\n');
            text.push_str(&self.holders_table(has_colours));
        }
        if let Some(gap) = self.gap() {
            let _ = writeln!(text, "\n{gap}");
        }
        text
    }

    /// Labels as `lsipc -i` has them.
    fn write_segment(&self, text: &mut String) {
        let Segment { key, id, size, rss, nattch, ctime, atime, dtime, .. } = *self.segment;
        let users = &self.survey.users;
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "{:20}{value}", format!("{label}:"));
        };
        let column = |name: &str| {
            let column = ALL.iter().find(|column| column.name == name);
            column.map_or(String::new(), |column| table::text(&(column.of)(self.segment, self.survey), false))
        };
        let time = |seconds: u64| match seconds {
            0 => "never".to_owned(),
            seconds => format!("{} ({} ago)", table::utc(seconds), table::age(self.survey.now.saturating_sub(seconds))),
        };
        line(
            "Key",
            &match (key, self.search.key(self.segment)) {
                (0, 0) => "IPC_PRIVATE".into(),
                (0, before) => format!("0x00000000, before its removal {before:#010x}"),
                _ => column("KEY"),
            },
        );
        line("ID", &id.to_string());
        line(
            "Place",
            &match &*self.segment.place {
                Place::Kernel => "the kernel's IPC namespace".into(),
                Place::Userspace { name, dir } => printable(&format!("namespace {name}, {}", dir.display())),
            },
        );
        let Segment { uid, gid, cuid, cgid, .. } = *self.segment;
        line("Owner", &format!("{} ({uid}), group {} ({gid})", users.user(uid), users.group(gid)));
        line("Creator's user", &format!("{} ({cuid}), group {} ({cgid})", users.user(cuid), users.group(cgid)));
        line("Permissions", &format!("{} ({})", column("PERMS"), column("MODE")));
        line("Status", &column("STATUS"));
        let in_memory = rss.map_or(String::new(), |rss| format!(", {} in memory", table::size(rss)));
        line("Size", &format!("{} ({size} bytes){in_memory}", table::size(size)));
        line("Attaches", &nattch.to_string());
        line("Created or changed", &time(ctime));
        line("Last attach", &time(atime));
        line("Last detach", &time(dtime));
        line("Creator", &self.creator(&column("CREATOR")));
        line("Last user", &column("LAST"));
        for (path, proj, how) in paths(self.origin, self.found) {
            line("Key made of", &format!("{}, project {} ({how})", printable(&path), project(proj)));
        }
        let Some(found) = self.found else { return };
        if found.paths.is_empty() {
            let has_key = self.search.key(self.segment) != 0;
            line("Key made of", if has_key { "no file in the given directories" } else { "no path, as it has none" });
        }
        if found.unreadable > 0 {
            line("", &format!("({} directories can't be read)", found.unreadable));
        }
    }

    fn creator(&self, shown: &str) -> String {
        let command = match &self.segment.creator {
            super::Who::Alive(process) => format!(": {}", printable(process.command())),
            _ => String::new(),
        };
        let recorded = match &self.origin.created {
            Some((time, exe)) => {
                let exe = exe.as_ref().map_or(String::new(), |exe| format!(" by {}", printable(exe)));
                format!(", recorded at {}{exe}", Utc(*time))
            }
            None => String::new(),
        };
        format!("{shown}{command}{recorded}")
    }

    /// The processes that hold it, a line a mapping.
    pub fn holders_table(&self, has_colours: bool) -> String {
        let heads = ["PID", "USER", "CONTAINER", "ADDRESS", "ACCESS", "SINCE", "COMMAND"];
        let mut rows = vec![heads.map(|name| Cell { text: name.into(), style: Style::Heading }).to_vec()];
        for holder in &self.search.holders {
            let mut row = |address: String, access: String, since: String| {
                let user = holder.uid.map_or("?".to_owned(), |uid| self.survey.users.user(uid));
                let container = printable(holder.container.shown().unwrap_or("-"));
                let cells = [holder.pid.to_string(), user, container, address, access, since, printable(&self.command(holder))];
                rows.push(cells.map(|text| Cell { text, style: Style::Plain }).to_vec());
            };
            if holder.mappings.is_empty() {
                row("?".into(), "?".into(), "?".into());
            }
            for mapping in &holder.mappings {
                let since = self.since(holder, mapping).map_or("-".to_owned(), |time| table::utc(time / 1_000_000_000));
                row(format!("{:#x}-{:#x}", mapping.range.start, mapping.range.end), mapping.access(), since);
            }
        }
        let mut out = Vec::new();
        let is_number = [true, false, false, false, false, false, false];
        // A Vec takes everything.
        let _ = table::write(&mut out, &is_number, &rows, has_colours);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn command(&self, holder: &Holder) -> String {
        self.survey.processes.find(holder.pid).map_or("?".into(), |process| process.command().to_owned())
    }

    fn since(&self, holder: &Holder, mapping: &Mapping) -> Option<u64> {
        self.origin.since(holder.inner_pid, mapping.range.start)
    }

    /// What of the attaches is not accounted for, and why.
    fn gap(&self) -> Option<String> {
        let (nattch, seen, unreadable) = (self.segment.nattch, self.search.attaches(), self.search.unreadable);
        let missing = nattch.checked_sub(seen).filter(|&missing| missing > 0)?;
        let why = match unreadable {
            0 => "their processes are hidden by /proc, outside of this PID namespace, or came or went meanwhile".into(),
            1 => "1 process can't be looked into; ask as root".into(),
            _ => format!("{unreadable} processes can't be looked into; ask as root"),
        };
        Some(format!("{missing} of {nattch} attaches not seen: {why}"))
    }

    fn json(&self) -> String {
        let Search { holders, unreadable, .. } = self.search;
        let key = self.search.key(self.segment);
        let list = |items: Vec<String>| {
            if items.is_empty() { "[]".to_owned() } else { format!("[\n    {}]", items.join(",\n    ")) }
        };
        let optional = |text: Option<String>| text.map_or("null".to_owned(), |text| string(&text));
        let created = self.origin.created.as_ref();
        let path = |(path, proj, how): (String, i32, &str)| {
            format!("{{\"path\":{},\"proj\":{proj},\"source\":\"{how}\"}}", string(&path))
        };
        format!(
            "{{\"schema\":{SCHEMA},{},\n  \"original_key\":{},\"created\":{},\"created_by\":{},\n  \"paths\":{},\n  \"holders\":{},\n  \
             \"attaches_seen\":{},\"processes_unreadable\":{unreadable}}}\n",
            json::fields(&ALL, self.segment, self.survey),
            optional((key != 0).then(|| format!("{key:#010x}"))),
            optional(created.map(|(time, _)| Utc(*time).to_string())),
            optional(created.and_then(|(_, exe)| exe.clone())),
            list(paths(self.origin, self.found).map(path).collect()),
            list(holders.iter().map(|holder| self.holder_json(holder)).collect()),
            self.search.attaches(),
        )
    }

    fn holder_json(&self, holder: &Holder) -> String {
        let optional = |text: Option<&str>| text.map_or("null".to_owned(), string);
        let mapping = |mapping: &Mapping| {
            format!(
                "{{\"start\":\"{:#x}\",\"end\":\"{:#x}\",\"access\":\"{}\",\"since\":{}}}",
                mapping.range.start,
                mapping.range.end,
                mapping.access(),
                optional(self.since(holder, mapping).map(|time| Utc(time).to_string()).as_deref())
            )
        };
        let process = self.survey.processes.find(holder.pid);
        format!(
            "{{\"pid\":{},\"name\":{},\"command\":{},\"uid\":{},\"user\":{},\"container\":{},\"cgroup\":{},\"mappings\":[{}]}}",
            holder.pid,
            optional(process.as_ref().map(|process| process.name.as_str())),
            optional(process.as_ref().map(|process| process.command())),
            holder.uid.map_or("null".into(), |uid| uid.to_string()),
            optional(holder.uid.map(|uid| self.survey.users.user(uid)).as_deref()),
            optional(holder.container.name.as_deref()),
            optional(holder.container.cgroup.as_deref()),
            holder.mappings.iter().map(mapping).collect::<Vec<_>>().join(",")
        )
    }
}

/// As ftok's callers write it: mostly a letter.
fn project(proj: i32) -> String {
    match u8::try_from(proj) {
        Ok(letter) if letter.is_ascii_graphic() => format!("{proj} '{}'", char::from(letter)),
        _ => proj.to_string(),
    }
}
