"use strict";

// Where calls came from, in a session that was recorded with --callers. Equal stacks are in the page once.

const hasStacks = stacks.length > 0;

/** The stack of a segment's making, an attach or a call; null if it was not recorded. (A list without any has an empty column.) */
const stackOf = (list, index) => list.stack[index] ?? null;
const stackText = (stack) => stacks[stack].map((line) => strings[line]).join("\n");
/** A line each, which shows where it begins if it is longer than the page is wide. */
const stackLines = (stack) => stacks[stack].map((line) => el("span", { class: "frame" }, `${strings[line]}\n`));
/** The function that made the call, with its line. */
const lineText = (stack) => (stack === null ? "–" : strings[lines[stack]]);

const stackBox = (stack) => el("pre", {}, stackLines(stack));
/** The same, in a list: a line that opens. */
const foldedStack = (stack) =>
  stack === null ? "–" : el("details", {}, el("summary", { class: "mono" }, lineText(stack)), stackBox(stack));

/** A table's column of them, if there are any. */
const lineColumns = (stack) => (hasStacks ? [{
  title: "Line", width: 240, mono: true, value: (row) => lineText(stack(row)),
  hover: (row) => (stack(row) === null ? null : stackText(stack(row))),
}] : []);
