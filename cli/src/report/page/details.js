"use strict";

// What the timeline says of the thing under the pointer, and of the segment that is chosen.

/** As many attaches, and errors and denials, of a segment are listed. */
const MOST_LISTED = 200;

const callText = (record) => {
  const reason = records.reason[record];
  const result = reason === null ? strings[records.result[record]] : `${STATES[records.state[record]]}: ${strings[reason]}`;
  return `${who(records.process[record])} ${strings[records.call[record]]}: ${result}`;
};

/** The same, and the line that it came from. */
const callLines = (record, start = "") => {
  const stack = stackOf(records, record);
  return [`${start}${callText(record)}`, ...(stack === null ? [] : [`at ${lineText(stack)}`])];
};

/** A time as people read it, with the date and the nanoseconds under the pointer. */
const moment = (ns) => (ns === null ? el("span", {}, "–") : el("span", { title: utc(session.startNs, ns) }, since(ns)));

/** Lines for the pointer's place in a timeline; null for none. */
function tipAt(timeline, place) {
  const { scale, measure } = timeline;
  const time = scale.time(place.x);
  if (place.x < scale.left && !timeline.isSeparate) return null;
  if (place.y < CHART.lanes) {
    if (place.x < scale.left) return null;
    const { time: times, value } = measure.series();
    const at = firstFrom(times, time + scale.perPixel / 2) - 1;
    const now = at < 0 ? 0 : value[at];
    const limit = measure.limit === null ? "" : ` of ${measure.text(measure.limit)}`;
    const name = measure === measures.bytes ? "in use" : measure === measures.segments ? "segments" : "attaches";
    return [`${measure.text(now)}${limit} ${name}`, utc(session.startNs, time)];
  }
  if (place.y < CHART.total - CHART.axis) return marksNear(scale, time, place.y < CHART.lanes + CHART.lane);
  const segment = timeline.segmentAt(place);
  if (segment === null) return null;
  const here = attachesOf.of(segment).filter((attach) => attaches.from[attach] <= time && attachEnd(attach) >= time);
  const lines = [
    `Segment ${segments.shmid[segment]}, key ${keyName(segments.key[segment])}, ${size(segments.size[segment])}, ${stateOf(segment)}`,
    `${segments.created[segment] ? "created" : "first seen"} ${since(segments.from[segment])} by ${who(segments.by[segment])}`,
  ];
  if (segments.removed[segment] !== null) lines.push(`removed ${since(segments.removed[segment])} by ${who(segments.removed_by[segment])}`);
  if (here.length > 0) {
    const names = [...new Set(Array.from(here.subarray(0, 100), (attach) => who(attaches.process[attach])))];
    lines.push(`attached here: ${names.slice(0, 4).join(", ")}${names.length > 4 ? ", …" : ""}`);
  }
  const own = marksOf.of(segment);
  const near = own[firstFrom(own, time - 5 * scale.perPixel, timeOf)];
  if (near !== undefined && timeOf(near) <= time + 5 * scale.perPixel) lines.push(...callLines(near));
  return lines;
}

function marksNear(scale, time, isDenied) {
  const [from, to] = [time - 4 * scale.perPixel, time + 4 * scale.perPixel];
  const near = [];
  for (let at = firstFrom(marks, from, timeOf); at < marks.length && timeOf(marks[at]) <= to; at++) {
    if (records.state[marks[at]] > ERROR === isDenied) near.push(marks[at]);
  }
  if (near.length === 0) return null;
  const more = near.length > 3 ? [`and ${plural(near.length - 3, isDenied ? "more denial" : "more error")}`] : [];
  return [...near.slice(0, 3).flatMap((mark) => callLines(mark, `${since(timeOf(mark))} `)), ...more];
}

/** Shows lines beside the pointer. */
function showTip(event, lines) {
  const tip = byId("tip");
  tip.hidden = lines === null;
  if (lines === null) return;
  tip.replaceChildren(...lines.map((line, index) => el("div", { class: index > 0 ? "muted" : null }, line)));
  const { width, height } = tip.getBoundingClientRect();
  const x = event.clientX + 14 + width > innerWidth ? event.clientX - width - 14 : event.clientX + 14;
  const y = event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18;
  [tip.style.left, tip.style.top] = [`${Math.max(4, x)}px`, `${Math.max(4, y)}px`];
}

/** Tells all of a segment under the timeline. */
function showDetails(timeline, segment) {
  const box = byId("details");
  box.hidden = segment === null;
  if (segment === null) return;
  const field = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value));
  const [own, failed] = [attachesOf.of(segment), marksOf.of(segment)];
  const removed = segments.removed[segment];
  const stack = stackOf(segments, segment);
  const found = findings.filter((one) => one.segment === segment);
  box.replaceChildren(
    el("div", { class: "head" },
      el("h3", {}, `Segment ${segments.shmid[segment]}`),
      ...found.map((one) => el("span", { class: `chip ${one.severity}`, title: one.summary }, one.name)),
      el("button", { type: "button", onclick: () => { timeline.select(null); timeline.box.focus(); } }, "Close")),
    el("dl", {},
      field("Key", el("span", { class: "mono" }, keyName(segments.key[segment]))),
      field("Size", size(segments.size[segment]), segments.size[segment] > 1023 ? ` (${count(segments.size[segment])} bytes)` : ""),
      field("Mode", el("span", { class: "mono" }, modeName(segments.mode[segment]))),
      field("State", stateOf(segment)),
      field(segments.created[segment] ? "Created" : "First seen", moment(segments.from[segment]), ` by ${who(segments.by[segment])}`),
      field("Removed", moment(removed), removed !== null ? ` by ${who(segments.removed_by[segment])}` : ""),
      field("Memory gone", moment(segments.to[segment])),
      field("Backend", segments.backend[segment]),
      stack === null ? null
        : el("div", { class: "wide" }, el("dt", {}, segments.created[segment] ? "Where it was created" : "Where it was first seen"), el("dd", {}, stackBox(stack)))),
    el("div", { class: "lists", tabindex: 0, role: "group", "aria-label": "Attaches, errors and denials of the segment" },
      attachList(own), markList(failed)));
  const attached = plural(segments.attaches[segment], "attach");
  byId("status").textContent =
    `Segment ${segments.shmid[segment]}, ${size(segments.size[segment])}, ${stateOf(segment)}, ${attached}, ${count(failed.length)} errors and denials`;
}

function list(title, heads, things, row) {
  if (things.length === 0) return null;
  const cells = (tag, values) => el("tr", {}, values.map((value) => el(tag, {}, value)));
  const more = things.length > MOST_LISTED ? el("p", { class: "muted" }, `and ${count(things.length - MOST_LISTED)} more`) : null;
  const body = Array.from(things.subarray(0, MOST_LISTED), (thing) => cells("td", row(thing)));
  return el("div", {}, el("table", { "aria-label": title }, el("thead", {}, cells("th", heads)), el("tbody", {}, body)), more);
}

const withLine = hasStacks ? ["Line"] : [];

const attachList = (own) => list("Attaches", ["Attached", "For", "Process", "Address", "How it ended", ...withLine], own, (attach) => [
  moment(attaches.from[attach]),
  duration(attachEnd(attach) - attaches.from[attach]),
  who(attaches.process[attach]) + (attaches.flags[attach] & INHERITED ? ", from its parent" : "") + (attaches.flags[attach] & READONLY ? ", read-only" : ""),
  el("span", { class: "mono" }, `0x${attaches.addr[attach].toString(16)}`),
  ENDS[attaches.end[attach]],
  ...(hasStacks ? [foldedStack(stackOf(attaches, attach))] : []),
]);

const markList = (failed) => list("Errors and denials", ["At", "Call", ...withLine], failed, (mark) => [
  moment(timeOf(mark)),
  el("span", { class: "mono" }, callText(mark)),
  ...(hasStacks ? [foldedStack(stackOf(records, mark))] : []),
]);

/** Tells where a call came from, in `box`. */
function showStack(box, record) {
  const stack = stackOf(records, record);
  box.hidden = stack === null;
  if (stack !== null) box.replaceChildren(el("p", { class: "mono" }, `${since(timeOf(record))} ${callText(record)}`), stackBox(stack));
}
