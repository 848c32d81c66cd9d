"use strict";

// The session, and what the page works out from it: states, rows of the timeline, what was in use when.
//
// Lists are columns (an array a field), and things refer to each other by index. Times are ns since the session's first call.

const session = JSON.parse(byId("data").textContent);
const { programs, processes, segments, attaches, records, keys, findings, strings, stacks, lines } = session;
session.startNs = BigInt(session.start);

/** What came of calls: by `records.state`. */
const STATES = ["done", "error", "denied", "would be denied"];
const ERROR = 1;
/** The calls that the timeline marks: those that failed, were denied or would have been. */
const marks = Int32Array.from(records.time.keys()).filter((record) => records.state[record] > 0);
const timeOf = (record) => records.time[record];
/** How attaches ended: by `attaches.end`. */
const ENDS = ["attached", "detached", "until the process's end", "replaced by another attach"];
const READONLY = 1, INHERITED = 2;
/** How processes ended: by `processes.end`. */
const PROCESS_ENDS = ["lives", "became another program", "ended"];

/** A time since the session's first call: all in one unit, so that they can be compared at a glance. */
function since(ns) {
  if (ns === null) return "–";
  const [sign, positive] = ns < 0 ? ["−", -ns] : ["+", ns];
  if (session.span >= 600e9) return `${sign}${clock(positive, 3)}`;
  const [unit, name, decimals] = session.span < 1e6 ? [1e3, "us", 1] : session.span < 1e9 ? [1e6, "ms", 3] : [1e9, "s", 6];
  return `${sign}${(positive / unit).toFixed(decimals)} ${name}`;
}

const segmentCount = segments.shmid.length;

const programName = (program) => fileName(programs[program].exe);
const who = (process) => (process === null ? "–" : `${processes.pid[process]} ${programName(processes.program[process])}`);

/** When a segment's bar ends: at the end of the session, if it was still there. */
const endOf = (segment) => segments.to[segment] ?? session.span;

/** What became of a segment, in the words of `shmgate report`. */
function stateOf(segment) {
  if (segments.vanished[segment]) return "gone, removed outside";
  const isRemoved = segments.removed[segment] !== null;
  if (isRemoved) return segments.to[segment] !== null ? "gone" : "removed, but held";
  if (segments.open[segment]) return "attached";
  return segments.created[segment] ? "left" : "–";
}

const isLeaked = (segment) => segments.leaked[segment] === 1;

/** Lists of indices by the segment that they belong to, each in the order of time: those of `segment` are `list[from[segment]..from[segment + 1]]`. */
function bySegment(owner, time) {
  const from = new Int32Array(segmentCount + 1);
  for (const segment of owner) if (segment !== null) from[segment + 1]++;
  for (let segment = 0; segment < segmentCount; segment++) from[segment + 1] += from[segment];
  const next = from.slice();
  const list = new Int32Array(from[segmentCount]);
  owner.forEach((segment, index) => { if (segment !== null) list[next[segment]++] = index; });
  for (let segment = 0; segment < segmentCount; segment++) {
    list.subarray(from[segment], from[segment + 1]).sort((one, other) => time[one] - time[other]);
  }
  return { of: (segment) => list.subarray(from[segment], from[segment + 1]) };
}

const attachesOf = bySegment(attaches.segment, attaches.from);
const marksOf = bySegment(records.segment.map((segment, record) => (records.state[record] > 0 ? segment : null)), records.time);

/** When an attach ended, as far as the session saw. */
const attachEnd = (attach) => attaches.to[attach] ?? session.span;

/** As many attaches of a segment are drawn side by side; the last strip takes the rest. */
const STRIPS = 3;

/** The strip of each attach within its segment's bar. */
const stripOf = (() => {
  const strip = new Uint8Array(attaches.segment.length);
  for (let segment = 0; segment < segmentCount; segment++) {
    const busy = new Float64Array(STRIPS).fill(-Infinity);
    for (const attach of attachesOf.of(segment)) {
      const free = busy.findIndex((until) => until <= attaches.from[attach]);
      strip[attach] = free < 0 ? STRIPS - 1 : free;
      busy[strip[attach]] = Math.max(busy[strip[attach]], attachEnd(attach));
    }
  }
  return strip;
})();

/** Segments in the order of their creation. */
const inOrder = Int32Array.from(segments.shmid.keys()).sort((one, other) => segments.from[one] - segments.from[other] || one - other);

/** The timeline's rows: a segment each, or as few as it takes, those of a row one after another. */
function rowsOf(isSeparate) {
  if (isSeparate) return Array.from(inOrder, (segment) => Int32Array.of(segment));
  const ends = inOrder.slice().sort((one, other) => endOf(one) - endOf(other));
  const rowOf = new Int32Array(segmentCount);
  const rows = [], free = [];
  let ended = 0;
  for (const segment of inOrder) {
    while (ended < segmentCount && endOf(ends[ended]) < segments.from[segment]) free.push(rowOf[ends[ended++]]);
    rowOf[segment] = free.pop() ?? rows.push([]) - 1;
    rows[rowOf[segment]].push(segment);
  }
  return rows.map((row) => Int32Array.from(row));
}

/** How much was in use: `value[i]` from `time[i]` to `time[i + 1]`. */
function inUse(changes) {
  // What goes at a time goes before what comes.
  changes.sort((one, other) => one.at - other.at || one.by - other.by);
  const time = [], value = [];
  let now = 0;
  for (const { at, by } of changes) {
    now += by;
    if (time.at(-1) === at) value[value.length - 1] = now;
    else time.push(at), value.push(now);
  }
  return { time, value, most: value.reduce((most, one) => Math.max(most, one), 0) };
}

/** What a list's item adds while it was there for certain: from its call's end on. What is over at once was there for a moment. */
const comesAndGoes = (changes, list, item, by) => {
  const from = list.from[item] + list.took[item], to = list.to[item];
  if (to !== null && to < from) return;
  changes.push({ at: from, by });
  if (to !== null) changes.push({ at: Math.max(to, from + 1), by: -by });
};

function segmentChanges(amount) {
  const changes = [];
  for (const segment of inOrder) {
    if (segments.created[segment]) comesAndGoes(changes, segments, segment, amount(segment));
  }
  return changes;
}

function attachChanges() {
  const changes = [];
  attaches.from.forEach((_, attach) => comesAndGoes(changes, attaches, attach, 1));
  return changes;
}

/** What the chart can show: a series, how to write its values, the session's quota. Each series is made when it is first asked for. */
const measures = {
  bytes: {
    text: size, limit: session.limits?.bytes ?? null,
    series: () => inUse(segmentChanges((segment) => Math.ceil((segments.size[segment] ?? 0) / session.page) * session.page)),
  },
  segments: { text: count, limit: session.limits?.segments ?? null, series: () => inUse(segmentChanges(() => 1)) },
  attaches: { text: count, limit: session.limits?.attaches ?? null, series: () => inUse(attachChanges()) },
};
for (const measure of Object.values(measures)) {
  const make = measure.series;
  let made = null;
  measure.series = () => (made ??= make());
}

/** The first index in a sorted list of which `key(list[index])` is at least `least`. */
function firstFrom(list, least, key = (value) => value) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(list[middle]) < least) low = middle + 1;
    else high = middle;
  }
  return low;
}
