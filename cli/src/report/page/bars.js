"use strict";

// The timeline's lower canvas: segments as bars, with their attaches, errors and denials. As in the chart, what falls on one pixel is drawn as one.

const ROW = { height: 26, pad: 2, strips: 10 };

/** Segments' bars, of the rows from the pixel `top` on. */
function drawRows(canvas, scale, colours, { rows, top, height, isSeparate, selected }) {
  const context = prepare(canvas, scale.left + scale.width, height);
  drawGrid(context, scale, colours, height);
  const hatch = hatching(context, colours);
  for (let row = Math.floor(top / ROW.height); row < rows.length && row * ROW.height < top + height; row++) {
    const y = row * ROW.height - top;
    const segmentsOfRow = rows[row];
    context.save();
    context.beginPath();
    context.rect(scale.left, y, scale.width, ROW.height);
    context.clip();
    let run = null;
    const flush = () => {
      if (run) context.fillStyle = colours["bar-edge"], context.fillRect(run.from, y + ROW.pad, Math.max(1, run.to - run.from), ROW.height - 2 * ROW.pad);
      run = null;
    };
    for (let at = firstFrom(segmentsOfRow, scale.from, endOf); at < segmentsOfRow.length; at++) {
      const segment = segmentsOfRow[at];
      if (segments.from[segment] > scale.to) break;
      const [from, to] = [scale.x(segments.from[segment]), scale.x(endOf(segment))];
      if (to - from < 2.5 && segment !== selected) {
        // Too short to show anything of it: neighbours on the same pixels are one.
        if (run && from <= run.to + 1) run.to = Math.max(run.to, to, from + 1);
        else flush(), (run = { from, to: Math.max(to, from + 1.5) });
        continue;
      }
      flush();
      drawSegment(context, scale, colours, hatch, { segment, y, from, to, isSeparate, isSelected: segment === selected });
    }
    flush();
    for (const segment of segmentsOfRow) {
      // On a bar that has no room for one, they are in the chart's lanes.
      if (isSeparate || endOf(segment) - segments.from[segment] > 8 * scale.perPixel) drawMarksOf(context, scale, colours, segment, y);
    }
    context.restore();
    if (isSeparate) drawLabel(context, scale, colours, segmentsOfRow[0], y, segmentsOfRow[0] === selected);
  }
  if (rows.length === 0) {
    context.textAlign = "left";
    context.fillStyle = colours.muted;
    context.fillText("no segment was created or used", scale.left + 8, height / 2);
  }
}

function drawSegment(context, scale, colours, hatch, { segment, y, from, to, isSeparate, isSelected }) {
  const [left, right] = [Math.max(from, scale.left - 4), Math.min(to, scale.left + scale.width + 4)];
  const [top, high] = [y + ROW.pad, ROW.height - 2 * ROW.pad];
  // A gap to the next one, which may follow at once.
  const wide = Math.max(1, right - left - (right - left > 4 ? 1 : 0));
  context.fillStyle = colours.bar;
  context.fillRect(left, top, wide, high);
  const removed = segments.removed[segment];
  if (removed !== null) {
    const held = Math.max(left, scale.x(removed));
    if (left + wide - held > 1) context.fillStyle = hatch, context.fillRect(held, top, left + wide - held, high);
  }
  if (wide > 3) drawAttaches(context, scale, colours, segment, y);
  context.fillStyle = isLeaked(segment) ? colours.error : colours["bar-edge"];
  // What was there before has no left edge, what is left behind a thick right one.
  if (segments.created[segment]) context.fillRect(left, top, 1, high);
  if (isLeaked(segment)) context.fillRect(left + wide - 3, top, 3, high);
  else if (segments.to[segment] === null) chevron(context, left + wide, top, high, colours["bar-edge"]);
  if (isSelected) {
    context.strokeStyle = colours.accent;
    context.lineWidth = 2;
    context.strokeRect(left + 1, top + 1, Math.max(1, wide - 2), high - 2);
    context.lineWidth = 1;
  }
  const label = isSeparate ? size(segments.size[segment]) : `${segments.shmid[segment]}  ${keyName(segments.key[segment])}  ${size(segments.size[segment])}`;
  if (wide > 44 && context.measureText(label).width + 12 < wide) {
    context.fillStyle = colours.text;
    context.textAlign = "left";
    context.font = "10px system-ui, sans-serif";
    context.fillText(label, left + 6, top + 6.5);
    context.font = "11px system-ui, sans-serif";
  }
}

function chevron(context, right, top, high, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(right - 6, top + 4);
  context.lineTo(right - 2, top + high / 2);
  context.lineTo(right - 6, top + high - 4);
  context.stroke();
  context.lineWidth = 1;
}

/** A segment's attaches as strips, in their programs' colours; those of a strip that touch are drawn as one. */
function drawAttaches(context, scale, colours, segment, y) {
  const runs = new Array(STRIPS).fill(null);
  const flush = (strip) => {
    const run = runs[strip];
    if (!run) return;
    context.fillStyle = run.colour;
    context.fillRect(run.from, y + ROW.height - ROW.pad - ROW.strips + strip * 3, Math.max(1, run.to - run.from), 2);
    runs[strip] = null;
  };
  for (const attach of attachesOf.of(segment)) {
    const end = attachEnd(attach);
    if (end < scale.from) continue;
    if (attaches.from[attach] > scale.to) break;
    const strip = stripOf[attach];
    const colour = colours.program[processes.program[attaches.process[attach]]];
    const [from, to] = [Math.max(scale.x(attaches.from[attach]), scale.left - 2), Math.min(scale.x(end), scale.left + scale.width + 2)];
    const run = runs[strip];
    // Attaches one can tell apart keep a gap of a pixel.
    if (run && run.colour === colour && from < run.to + 1) run.to = Math.max(run.to, to);
    else flush(strip), (runs[strip] = { from, to, colour });
  }
  runs.forEach((_, strip) => flush(strip));
}

/** Errors and denials that were about a segment. */
function drawMarksOf(context, scale, colours, segment, y) {
  let last = -Infinity;
  const own = marksOf.of(segment);
  for (let at = firstFrom(own, scale.from, timeOf); at < own.length; at++) {
    const mark = own[at];
    if (timeOf(mark) > scale.to) break;
    const x = scale.x(timeOf(mark));
    if (x - last < 3) continue;
    last = x;
    markShape(context, records.state[mark] === ERROR, x, y + ROW.height / 2 - 1, colours);
  }
}

/** An error is a triangle, a denial a rhombus: one need not tell their colours apart. */
function markShape(context, isError, x, y, colours) {
  const points = isError ? [[0, -5], [5, 4], [-5, 4]] : [[0, -5.5], [5, 0], [0, 5.5], [-5, 0]];
  context.beginPath();
  points.forEach(([dx, dy]) => context.lineTo(x + dx, y + dy));
  context.closePath();
  context.fillStyle = isError ? colours.warning : colours.error;
  context.strokeStyle = colours.panel;
  context.stroke();
  context.fill();
}

function drawLabel(context, scale, colours, segment, y, isSelected) {
  if (isSelected) context.fillStyle = colours.chosen, context.fillRect(0, y, scale.left - 2, ROW.height);
  context.fillStyle = isSelected ? colours.text : colours.muted;
  context.textAlign = "right";
  const key = segments.key[segment];
  const isRoomy = scale.left > 110;
  context.fillText(isRoomy && key ? `${segments.shmid[segment]}  ${keyName(key)}` : segments.shmid[segment], scale.left - 8, y + ROW.height / 2);
}

/** Thin slanting lines over what is removed but held. */
function hatching(context, colours) {
  const tile = el("canvas", { width: 6, height: 6 });
  const pen = tile.getContext("2d");
  pen.fillStyle = colours.panel;
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = colours["bar-edge"];
  pen.beginPath();
  for (const from of [-6, 0, 6]) pen.moveTo(from, 6), pen.lineTo(from + 6, 0);
  pen.stroke();
  return context.createPattern(tile, "repeat");
}
