//! What only the end tells: leaks, attaches that lasted as long as their process, limits that were near.

use std::collections::HashSet;
use std::fs;

use shmgate_core::policy::size::Size;
use shmgate_core::policy::{Policy, Quota};
use shmgate_core::sys::page_size;

use super::{About, Findings, Kind, named, program, who};
use crate::report::lives::is_created;
use crate::report::model::{AttachEnd, End, Index, Model, Moment, Peak};

/// A limit is near from this part of it on.
const NEAR: (u64, u64) = (9, 10);

pub fn look(model: &Model, policy: Option<&Policy>, findings: &mut Findings) {
    leaks(model, findings);
    never_detached(model, findings);
    if let Some(policy) = policy {
        quotas(model, policy, findings);
    }
    system_limits(model, findings);
}

fn leaks(model: &Model, findings: &mut Findings) {
    // While the session lasts: a process that does not call may have it from its parent.
    let maybe_inherited: HashSet<Index> = match model.is_running {
        true => model.attaches.iter().filter(|one| one.end != AttachEnd::Detached).map(|one| one.segment).collect(),
        false => HashSet::new(),
    };
    for (index, segment) in (0..).zip(&model.segments) {
        let is_over = model.processes[segment.met.process as usize].end != End::Lives
            && segment.open == 0
            && !maybe_inherited.contains(&index);
        if is_created(segment) && segment.removed.is_none() && segment.vanished.is_none() && is_over {
            let about = About::segment(model, index, segment.met.process);
            findings.note(Kind::Leak, (index.into(), 0), about, segment.met, || {
                let creator = who(model, segment.met.process);
                format!("{} was created by {creator} and never removed; nobody has it attached", named(segment))
            });
        }
    }
}

fn never_detached(model: &Model, findings: &mut Findings) {
    for attach in model.attaches.iter().filter(|attach| attach.end == AttachEnd::ProcessEnd) {
        let process = attach.from.process;
        let subject = (attach.segment.into(), process.into());
        findings.note(Kind::NeverDetached, subject, About::segment(model, attach.segment, process), attach.from, || {
            let segment = named(&model.segments[attach.segment as usize]);
            let end = if model.processes[process as usize].end == End::Replaced { "executed another program" } else { "ended" };
            format!("{} {end} with {segment} attached at {:#x}", who(model, process), attach.addr)
        });
    }
}

fn quotas(model: &Model, policy: &Policy, findings: &mut Findings) {
    let Some(first) = model.segments.first().map(|segment| segment.met) else { return };
    near(model, "the session", (&policy.session, &model.peak, 0), first, findings);
    for (index, process) in (1_u64..).zip(&model.processes) {
        let at = Moment { time: process.first, process: index as Index - 1, ..first };
        near(model, &who(model, index as Index - 1), (&policy.process, &process.peak, index), at, findings);
    }
    let created = model.segments.iter().filter(|segment| is_created(segment));
    if let (Some(limit), Some(largest)) = (policy.segment_size, created.max_by_key(|segment| segment.size)) {
        let size = largest.size.unwrap_or(0);
        if is_near(size, limit) {
            findings.note(Kind::NearLimit, (u64::MAX, 0), About::process(largest.met.process), largest.met, || {
                format!("{} is {} of the {} that a segment may have", named(largest), Size(size), Size(limit))
            });
        }
    }
}

/// Tells of the quotas of `who` that were nearly used up. A subject's number tells one from another.
///
/// Where a quota was reached, its denials say so already.
fn near(model: &Model, who: &str, (quota, peak, subject): (&Quota, &Peak, u64), at: Moment, findings: &mut Findings) {
    let rows = [
        ("bytes", quota.bytes, peak.bytes),
        ("segments", quota.segments, peak.segments),
        ("attaches", quota.attaches, peak.attaches),
    ];
    let is_denied = findings.denied_quotas(subject == 0);
    for (number, (what, limit, most)) in (0..).zip(rows) {
        let Some(limit) = limit.filter(|&limit| is_near(most, limit)) else { continue };
        if is_denied[number as usize] {
            continue;
        }
        let at = evidence(model, at, what, subject);
        findings.note(Kind::NearLimit, (u64::MAX - 1 - number, subject), About::process(at.process), at, || match what {
            "bytes" => format!("{who} had {} of {} in use", Size(most), Size(limit)),
            _ => format!("{who} had {most} of {limit} {what} in use"),
        });
    }
}

/// The last record that added to what was counted.
fn evidence(model: &Model, at: Moment, what: &str, subject: u64) -> Moment {
    let is_its = |one: &Moment| subject == 0 || one.process == at.process;
    let last = match what {
        "attaches" => model.attaches.iter().rev().map(|attach| attach.from).find(is_its),
        _ => model.segments.iter().rev().filter(|one| is_created(one)).map(|segment| segment.met).find(is_its),
    };
    last.unwrap_or(at)
}

fn is_near(most: u64, limit: u64) -> bool {
    most > 0 && u128::from(most) * u128::from(NEAR.1) >= u128::from(limit) * u128::from(NEAR.0)
}

/// The kernel's limits, as they are now: the journal does not know what they were.
fn system_limits(model: &Model, findings: &mut Findings) {
    let Some(last) = model.segments.iter().rev().find(|one| is_created(one) && one.backend == "kernel") else { return };
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().parse::<u64>().ok();
    let pages = read("shmall").map(|pages| pages.saturating_mul(page_size()));
    for (number, name, limit, most) in
        [(10, "shmmni", read("shmmni"), model.peak.segments), (11, "shmall", pages, model.peak.bytes)]
    {
        let Some(limit) = limit.filter(|&limit| is_near(most, limit)) else { continue };
        let about = About::process(last.met.process);
        findings.note(Kind::NearLimit, (u64::MAX - number, 0), about, last.met, || {
            let (most, limit) = match name {
                "shmall" => (Size(most).to_string(), Size(limit).to_string()),
                _ => (format!("{most} segments"), limit.to_string()),
            };
            let program = program(model, model.processes[last.met.process as usize].program);
            format!("the session had {most} in use of the {limit} that the kernel allows all programs together ({name}); last {program}")
        });
    }
}
