"use strict";

// The tables: what columns they have, and what a row leads to.

/**
 * The tables' definitions by the tabs' names. `timeline` is where their rows lead to, `find(tab, text)` shows a tab's rows with `text`;
 * `below(box, row)` tells of the active row in a box below the table.
 */
function tableDefinitions(timeline, find) {
  const at = (title, time, width = 116) => ({
    title, width, right: true, isTime: true, value: time, text: (row) => since(time(row)),
    hover: (row) => (time(row) === null ? null : utc(session.startNs, time(row))),
  });
  const number = (title, value, width = 84, look) => ({ title, width, right: true, isCount: true, value, text: (row) => cell(value(row)), look });
  const bytes = (title, value, width = 104) => ({
    title, width, right: true, isCount: true, value, text: (row) => size(value(row)),
    hover: (row) => (value(row) === null ? "not known" : `${count(value(row))} bytes`),
  });
  const text = (title, value, width, more = {}) => ({ title, width, value, ...more });
  const bad = (value) => (row) => (value(row) ? "bad" : null);
  const meets = (from, to) => (row, start, end) => from(row) <= end && to(row) >= start;

  const lifetime = (row) => endOf(row) - segments.from[row];
  const errors = (list) => number("Errors", (row) => list[row].errors, 76, bad((row) => list[row].errors));
  const denied = (list) => number("Denied", (row) => list[row].denied, 76, bad((row) => list[row].denied));
  const callsTable = (list) => ({
    length: list.length,
    columns: [
      at("At", (row) => timeOf(list[row])),
      text("Process", (row) => who(records.process[list[row]]), 170, { hover: (row) => programs[processes.program[records.process[list[row]]]].exe }),
      text("What", (row) => STATES[records.state[list[row]]], 138, { look: (row) => ["dim", null, "bad", null][records.state[list[row]]] }),
      text("Call", (row) => strings[records.call[list[row]]], 400, { mono: true }),
      text("Result", (row) => strings[records.result[list[row]]], 130, { mono: true }),
      { title: "Took", width: 84, right: true, isTime: true, isCount: true, value: (row) => records.duration[list[row]], text: (row) => duration(records.duration[list[row]]) },
      ...lineColumns((row) => stackOf(records, list[row])),
      text("Reason", (row) => (records.reason[list[row]] === null ? "–" : strings[records.reason[list[row]]]), 380),
    ],
    below: hasStacks ? (box, row) => showStack(box, list[row]) : null,
    overlaps: (row, from, to) => timeOf(list[row]) >= from && timeOf(list[row]) <= to,
    open: (row) => timeline.showCall(list[row]),
  });
  const calls = ["shmget", "shmat", "shmdt", "shmctl", "ftok"];

  return {
    Segments: {
      length: segmentCount,
      columns: [
        text("Id", (row) => segments.shmid[row], 96, { right: true, text: (row) => String(segments.shmid[row]) }),
        text("Key", (row) => segments.key[row], 112, { mono: true, text: (row) => keyName(segments.key[row]) }),
        bytes("Size", (row) => segments.size[row]),
        text("Mode", (row) => segments.mode[row], 66, { mono: true, text: (row) => modeName(segments.mode[row]) }),
        text("Created by", (row) => (segments.created[row] ? who(segments.by[row]) : "(not here)"), 168, { look: (row) => (segments.created[row] ? null : "dim") }),
        ...lineColumns((row) => stackOf(segments, row)),
        at("From", (row) => segments.from[row]),
        { title: "For", width: 92, right: true, isTime: true, isCount: true, value: lifetime, text: (row) => duration(lifetime(row)) },
        number("Attaches", (row) => segments.attaches[row], 90),
        text("Removed by", (row) => (segments.removed[row] === null ? "–" : who(segments.removed_by[row])), 168),
        at("Removed", (row) => segments.removed[row]),
        text("Now", stateOf, 160, { look: (row) => (isLeaked(row) ? "bad" : null), text: (row) => (isLeaked(row) ? `${stateOf(row)} (leak)` : stateOf(row)) }),
      ],
      overlaps: meets((row) => segments.from[row], endOf),
      choose: (row) => timeline.select(row, { isGlance: true }),
      open: (row) => timeline.select(row, { isZoomed: true }),
    },
    Processes: {
      length: processes.pid.length,
      columns: [
        text("Pid", (row) => processes.pid[row], 90, { right: true, text: (row) => String(processes.pid[row]) }),
        text("Program", (row) => programName(processes.program[row]), 200, { hover: (row) => programs[processes.program[row]].exe }),
        text("User id", (row) => processes.uid[row], 84, { right: true, text: (row) => (processes.uid[row] === null ? "?" : String(processes.uid[row])) }),
        at("First call", (row) => processes.first[row]), at("Last call", (row) => processes.last[row]),
        number("Calls", (row) => processes.calls[row]),
        number("Errors", (row) => processes.errors[row], 84, bad((row) => processes.errors[row])),
        number("Denied", (row) => processes.denied[row], 84, bad((row) => processes.denied[row])),
        bytes("Peak", (row) => processes.peak[row]),
        text("End", (row) => PROCESS_ENDS[processes.end[row]], 180),
      ],
      overlaps: meets((row) => processes.first[row], (row) => processes.last[row]),
      open: (row) => timeline.show(processes.first[row] - SHORTEST, processes.last[row] + SHORTEST, true),
    },
    Programs: {
      length: programs.length,
      columns: [
        text("Program", (row) => programs[row].exe ?? "(unknown)", 300),
        number("Processes", (row) => programs[row].processes, 100), number("Calls", (row) => programs[row].calls),
        ...calls.map((name, index) => number(name, (row) => programs[row].kinds[index], 76)),
        errors(programs), denied(programs),
        number("Created", (row) => programs[row].created), number("Removed", (row) => programs[row].removed), bytes("Peak", (row) => programs[row].peak),
      ],
      open: (row) => find("Processes", fileName(programs[row].exe)),
    },
    Keys: {
      length: keys.length,
      columns: [
        text("Key", (row) => keys[row].key >>> 0, 120, { mono: true, text: (row) => keyName(keys[row].key) }),
        number("Calls", (row) => keys[row].calls), errors(keys), denied(keys),
        number("Segments", (row) => keys[row].segments, 96), bytes("Peak", (row) => keys[row].peak),
        text("ftok of", (row) => keys[row].ftok.join(", ") || "–", 420, { mono: true }),
      ],
      open: (row) => find("Segments", keyName(keys[row].key)),
    },
    Calls: callsTable(Int32Array.from(records.time.keys())),
    "Errors and denials": callsTable(marks),
  };
}

/** The tabs and their tables, each made when it is first shown. */
class Tabs {
  constructor(timeline) {
    this.timeline = timeline;
    const definitions = tableDefinitions(timeline, (name, text) => this.find(name, text));
    this.tabs = Object.entries(definitions).map(([name, definition], index) => {
      const panel = el("div", { role: "tabpanel", id: `panel-${index}`, "aria-labelledby": `tab-${index}`, hidden: true });
      const button = el("button", {
        type: "button", role: "tab", id: `tab-${index}`, "aria-controls": panel.id, onclick: () => this.show(index),
      }, `${name} `, el("span", { class: "muted" }, count(definition.length)));
      return { name, definition, panel, button, table: null };
    });
    byId("tabs").append(...this.tabs.map(({ button }) => button));
    byId("tabs").addEventListener("keydown", (event) => this.key(event));
    byId("panels").append(...this.tabs.map(({ panel }) => panel));
    byId("filter").addEventListener("input", () => this.narrow());
    byId("in-view").addEventListener("change", () => this.narrow());
    this.show(0);
  }

  show(index) {
    this.shown = index;
    this.tabs.forEach((tab, other) => {
      tab.panel.hidden = other !== index;
      tab.button.setAttribute("aria-selected", String(other === index));
      tab.button.tabIndex = other === index ? 0 : -1;
    });
    const tab = this.tabs[index];
    if (!tab.table) {
      const { below } = tab.definition;
      const box = below ? el("div", { class: "below", hidden: true }) : null;
      tab.table = new Table(tab.name, below ? { ...tab.definition, choose: (row) => below(box, row) } : tab.definition);
      tab.panel.append(...[tab.table.element, box].filter(Boolean));
    }
    byId("in-view").disabled = !tab.definition.overlaps;
    this.narrow();
  }

  /** Shows the rows of a tab that contain `text`. */
  find(name, text) {
    byId("filter").value = text;
    this.show(this.tabs.findIndex((tab) => tab.name === name));
    this.tabs[this.shown].button.focus();
  }

  /** Applies the filter, and the timeline's span if that is wanted, to the table that is shown. */
  narrow() {
    const { table, definition } = this.tabs[this.shown];
    table.narrow(byId("filter").value, byId("in-view").checked ? this.timeline.seen : null);
    byId("count").textContent =
      table.order.length === definition.length ? plural(definition.length, "row") : `${count(table.order.length)} of ${plural(definition.length, "row")}`;
  }

  key(event) {
    const last = this.tabs.length - 1;
    const to = {
      ArrowLeft: this.shown === 0 ? last : this.shown - 1, ArrowRight: this.shown === last ? 0 : this.shown + 1, Home: 0, End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.show(to);
    this.tabs[to].button.focus();
  }
}
