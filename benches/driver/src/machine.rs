//! What it is measured on, without names of hosts.

use std::fs;
use std::thread::available_parallelism;

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// A few lines: processor, kernel, clock, and how we run.
pub fn description() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field("model name").unwrap_or_else(|| "an unnamed processor".into());
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let virtual_machine = field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let memory = line("/proc/meminfo").and_then(|text| {
        let kib: u64 = text.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
        Some(format!("{:.0} GiB of memory", kib as f64 / f64::from(1 << 20)))
    });
    let release = line("/proc/sys/kernel/osrelease").unwrap_or_default();
    let clock = line("/sys/devices/system/clocksource/clocksource0/current_clocksource").unwrap_or_default();
    // Field 41 of stat is the scheduling policy, of which 1 is SCHED_FIFO; the name before may have spaces.
    let policy = line("/proc/self/stat").and_then(|stat| stat.rsplit_once(')')?.1.split_whitespace().nth(38)?.parse().ok());
    let priority = if policy == Some(1) { "at real-time priority" } else { "at normal priority: other work disturbs" };
    let pinned = if available_parallelism().is_ok_and(|cpus| cpus.get() == 1) { "on one CPU" } else { "on any CPU" };
    format!(
        "{model}, {cpus} CPU{}{}, {}\nLinux {}, clock source {clock}\nRun {pinned}, {priority}",
        if cpus == 1 { "" } else { "s" },
        if virtual_machine { " of a virtual machine" } else { "" },
        memory.unwrap_or_default(),
        // What follows the version may name whose machine it is.
        release.split('-').next().unwrap_or_default(),
    )
}

/// The load average of the last minute.
pub fn load() -> String {
    line("/proc/loadavg").and_then(|text| Some(text.split(' ').next()?.to_owned())).unwrap_or_default()
}
