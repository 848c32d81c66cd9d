"use strict";

// Puts the page together: its head, the totals, the findings, and the parts that the other files hold.

/** As many findings of a kind are shown at first, and at each wish for more. */
const FEW_FINDINGS = 3, MORE_FINDINGS = 100;

function showHead() {
  byId("session").textContent = session.session;
  document.title = `${fileName(session.session)} – shmgate report`;
  const names = programs.map((one) => fileName(one.exe));
  const some = names.slice(0, 4).join(", ") + (names.length > 4 ? ` and ${names.length - 4} more` : "");
  const when = byId("when");
  if (session.calls > 0) {
    const date = utc(session.startNs, 0);
    when.append(
      el("span", { title: `${date} to ${utc(session.startNs, session.span)}` }, `${date.slice(0, 10)} ${date.slice(11, 19)} UTC, ${duration(session.span)}`),
      ` · ${some || "no program known"}`);
  } else {
    when.append("No calls were recorded.");
  }
  if (session.running) when.append(" ", el("span", { class: "chip" }, "still running: this is what it has done so far"));
  byId("footer").textContent =
    `Made by shmgate ${session.version}. Times count from the session's first call; the date, in UTC, shows under the pointer.`;

  const notices = [];
  if (session.damage) notices.push(session.damage);
  if (session.lost > 0) notices.push(`${plural(session.lost, "call")} not recorded: the journal could not grow.`);
  if (session.left_out) notices.push(session.left_out);
  byId("notices").append(...notices.map((text) => el("p", { class: "notice" }, text)));
}

function showTotals() {
  const { peak, limits } = session;
  const of = (limit, text) => (limit === null || limit === undefined ? "" : `of ${text(limit)} allowed`);
  const failed = session.denied + session.would_deny;
  const left = Array.from(segments.shmid.keys()).filter((segment) => stateOf(segment) === "left").length;
  const totals = [
    ["Calls", count(session.calls), `${plural(processes.pid.length, "process")}, ${plural(programs.length, "program")}`],
    ["Errors", count(session.errors), session.errors ? "results of −1" : ""],
    [limits?.dry_run ? "Would be denied" : "Denied", count(failed), limits?.dry_run ? "dry run" : limits ? "by the policy" : "no policy", session.denied > 0],
    ["Segments", count(segmentCount), `at most ${count(peak.segments)} at a time${limits?.segments != null ? `, ${count(limits.segments)} allowed` : ""}`],
    ["Most memory", size(peak.bytes), of(limits?.bytes, size)],
    ["Most attaches", count(peak.attaches), of(limits?.attaches, count)],
    ["Left behind", count(left), left ? `created, not removed${session.running ? " yet" : ""}` : "", segments.leaked.includes(1)],
  ];
  byId("totals").append(...totals.map(([name, value, more, isBad]) =>
    el("div", {}, el("dt", {}, name), el("dd", { class: isBad ? "bad" : null }, value), el("dd", {}, more))));
}

function showFindings(timeline) {
  const box = byId("findings");
  if (findings.length === 0) {
    return box.append(el("p", { class: "none" }, session.calls > 0 ? "None: nothing was found that needs doing." : "None."));
  }
  const kinds = Map.groupBy(findings, (one) => one.name);
  for (const [name, of] of kinds) box.append(findingsOf(timeline, name, of));
}

function findingsOf(timeline, name, of) {
  const list = el("ul");
  const button = el("button", { type: "button", class: "plain" });
  let shown = 0;
  const all = session.findings_of[name];
  const cut = of.length < all ? el("p", { class: "muted", hidden: true }, `The page has the first ${count(of.length)} of ${count(all)}.`) : null;
  const more = (amount) => {
    list.append(...of.slice(shown, shown + amount).map((one) => finding(timeline, one)));
    shown = Math.min(of.length, shown + amount);
    const here = of.length < all ? `${count(of.length)} that the page has of ${count(all)}` : count(all);
    button.textContent = `show ${Math.min(MORE_FINDINGS, of.length - shown)} more of ${here}`;
    button.hidden = shown === of.length;
    if (cut) cut.hidden = !button.hidden;
  };
  button.addEventListener("click", () => {
    const next = list.children.length;
    more(MORE_FINDINGS);
    // The button may be gone: the keyboard goes on where the new ones begin.
    list.children[next]?.querySelector("button, summary")?.focus();
  });
  more(FEW_FINDINGS);
  const { severity, advice } = of[0];
  return el("div", { class: "kind" },
    el("div", { class: "head" },
      el("span", { class: `chip ${severity}` }, severity), el("h3", {}, name), all > 1 ? el("span", { class: "muted" }, count(all)) : null),
    el("p", { class: "advice" }, `What to do: ${advice}.`), list, button, cut);
}

function finding(timeline, one) {
  const show = () => {
    if (one.segment !== null) timeline.select(one.segment);
    else timeline.show(one.first - session.span / 40 - SHORTEST, one.last + session.span / 40 + SHORTEST, true);
    timeline.box.scrollIntoView({ block: "center", behavior: isCalm.matches ? "auto" : "smooth" });
    timeline.box.focus({ preventScroll: true });
  };
  const calls = one.evidence.map(({ at, text, stack }) => [
    `${since(at).padEnd(12)} ${text}\n`,
    stack === null ? null : el("span", { class: "stack" }, stackLines(stack)),
  ]);
  const rest = one.count > one.shown ? `and ${plural(one.count - one.shown, "more time")}` : null;
  const what = one.count > 1 ? plural(one.count, "time") : calls.length > 1 ? "the calls" : "the call";
  return el("li", {},
    el("div", { class: "row" }, el("span", {}, one.summary), el("button", { type: "button", class: "plain", onclick: show }, "show")),
    calls.length > 0
      ? el("details", {}, el("summary", {}, what), el("pre", { tabindex: 0 }, calls.flat(), rest))
      : null);
}

function showLegend(colours) {
  const sample = (draw) => {
    const canvas = el("canvas", { "aria-hidden": "true" });
    draw(prepare(canvas, 22, 14), canvas);
    return canvas;
  };
  const item = (draw, text) => el("li", {}, sample(draw), text);
  const bar = (context) => { context.fillStyle = colours.bar; context.fillRect(0, 1, 22, 12); };
  const attaching = new Set(attaches.process.map((process) => processes.program[process]));
  const items = [
    item((context) => { bar(context); context.fillStyle = colours["bar-edge"]; context.fillRect(0, 1, 1, 12); }, "segment"),
    item((context) => { bar(context); context.fillStyle = hatching(context, colours); context.fillRect(8, 1, 14, 12); }, "removed, but held"),
    item((context) => { bar(context); context.fillStyle = colours.error; context.fillRect(0, 1, 1, 12); context.fillRect(19, 1, 3, 12); }, "leak"),
    item((context) => { bar(context); chevron(context, 21, 1, 12, colours["bar-edge"]); }, "still there"),
    item((context) => markShape(context, false, 11, 7, colours), "denial"),
    item((context) => markShape(context, true, 11, 7, colours), "error"),
    ...colours.busiest.slice(0, PROGRAM_COLOURS).filter((program) => attaching.has(program)).map((program) =>
      item((context) => { context.fillStyle = colours.program[program]; context.fillRect(0, 6, 22, 3); }, `attach by ${programName(program)}`)),
  ];
  if (colours.busiest.slice(PROGRAM_COLOURS).some((program) => attaching.has(program))) {
    const other = colours.program[colours.busiest[PROGRAM_COLOURS]];
    items.push(item((context) => { context.fillStyle = other; context.fillRect(0, 6, 22, 3); }, "attach by another program"));
  }
  byId("legend").replaceChildren(...items);
}

/** The select for the look: a browser that keeps nothing for pages of files forgets it, and that is all. */
function listenForLook(onChange) {
  const root = document.documentElement;
  const select = byId("look");
  const apply = () => {
    if (select.value) root.dataset.look = select.value;
    else delete root.dataset.look;
    onChange();
  };
  try {
    select.value = localStorage.getItem("shmgate-look") ?? "";
  } catch { /* no storage */ }
  select.addEventListener("change", () => {
    try {
      localStorage.setItem("shmgate-look", select.value);
    } catch { /* no storage */ }
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
  apply();
}

function start() {
  showHead();
  showTotals();
  let tabs = null;
  const timeline = new Timeline({
    onView: () => tabs?.narrow(),
    onSelect: (segment) => showDetails(timeline, segment),
  });
  showFindings(timeline);
  // Without a call there is nothing to draw, and nothing to look up.
  byId("timeline-section").hidden = session.calls === 0;
  byId("tables").hidden = processes.pid.length === 0;
  if (processes.pid.length > 0) tabs = new Tabs(timeline);
  listenForLook(() => {
    timeline.recolour();
    showLegend(timeline.colours);
  });
}

start();
