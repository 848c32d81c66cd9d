"use strict";

// The timeline's upper canvas: what was in use, errors and denials, the axis. Where much falls on one pixel, it is drawn as one: the work of
// a frame is a pass over what is in view, the drawing never more than the pixels.

const CHART = { top: 14, height: 104, lane: 17, axis: 24 };
CHART.lanes = CHART.top + CHART.height + 8;
CHART.total = CHART.lanes + 2 * CHART.lane + CHART.axis;
const PROGRAM_COLOURS = 6;

/** The page's colours as the canvases need them: resolved for the look in use. */
function palette() {
  const probe = document.body.appendChild(el("i", { hidden: true }));
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["panel", "raised", "text", "muted", "line", "accent", "chosen", "error", "warning", "bar", "bar-edge", "area"];
  const colours = Object.fromEntries(names.map((name) => [name, colour(name)]));
  const ofPrograms = Array.from({ length: PROGRAM_COLOURS }, (_, index) => colour(`program-${index}`));
  const other = colour("program-other");
  // The programs with the most calls have colours of their own.
  const busiest = [...programs.keys()].sort((one, other) => programs[other].calls - programs[one].calls);
  colours.program = [];
  busiest.forEach((program, rank) => (colours.program[program] = ofPrograms[rank] ?? other));
  colours.busiest = busiest;
  probe.remove();
  return colours;
}

/** Sets a canvas's size, and its scale for the screen's pixels; returns its context, cleared. */
function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    [canvas.width, canvas.height] = [wide, high];
    [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  return context;
}

const SECOND = 1e9;
const LONG_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400].map((s) => s * SECOND);

/** The distance of the axis's ticks: a round one, at least `least` ns. */
function tickStep(least) {
  if (least >= SECOND) return LONG_STEPS.find((step) => step >= least) ?? Math.ceil(least / (86_400 * SECOND)) * 86_400 * SECOND;
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least);
}

/** A tick's label: with as many decimals as tell it from its neighbours. */
function tickLabel(ns, step, farthest) {
  if (ns === 0) return "0";
  const decimals = (unit) => Math.max(0, Math.min(9, Math.ceil(-Math.log10(step / unit) - 1e-9)));
  if (farthest < 120 * SECOND) {
    const [unit, name] = farthest < 1e3 ? [1, "ns"] : farthest < 1e6 ? [1e3, "us"] : farthest < SECOND ? [1e6, "ms"] : [SECOND, "s"];
    return `${(ns / unit).toFixed(decimals(unit))} ${name}`;
  }
  const sign = ns < 0 ? "−" : "";
  return sign + clock(Math.abs(ns), decimals(SECOND));
}

/** A span of time on a canvas: `left` and `width` in pixels, `from` and `to` in ns. */
class Scale {
  constructor(from, to, left, width) {
    Object.assign(this, { from, to, left, width, perPixel: (to - from) / width });
  }
  x(time) { return this.left + (time - this.from) / this.perPixel; }
  time(x) { return this.from + (x - this.left) * this.perPixel; }
  ticks() {
    const step = tickStep(this.perPixel * 96);
    const ticks = [];
    for (let index = Math.ceil(this.from / step); index * step <= this.to; index++) ticks.push(index * step);
    return ticks.map((time) => ({ x: Math.round(this.x(time)) + 0.5, label: tickLabel(time, step, Math.max(this.to, -this.from)) }));
  }
}

function drawGrid(context, scale, colours, height) {
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.beginPath();
  for (const { x } of scale.ticks()) context.moveTo(x, 0), context.lineTo(x, height);
  context.stroke();
}

/** The chart of what was in use, the errors and denials under it, the axis. */
function drawChart(canvas, scale, colours, measure) {
  const context = prepare(canvas, scale.left + scale.width, CHART.total);
  drawGrid(context, scale, colours, CHART.total - CHART.axis);
  const { series, limit, text } = measure;
  const { most } = series();
  // A quota far above all use would press the chart flat: then it is said, not drawn.
  const isNear = limit !== null && limit <= 4 * most;
  const top = Math.max(most, isNear ? limit : 0) * 1.06 || 1;
  const bottom = CHART.top + CHART.height;
  const y = (value) => bottom - (value / top) * CHART.height;

  context.save();
  context.beginPath();
  context.rect(scale.left, 0, scale.width, CHART.total);
  context.clip();
  drawSeries(context, scale, colours, series(), y, bottom);
  if (isNear) {
    context.strokeStyle = colours.error;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(scale.left, Math.round(y(limit)) + 0.5);
    context.lineTo(scale.left + scale.width, Math.round(y(limit)) + 0.5);
    context.stroke();
    context.setLineDash([]);
  }
  drawMarks(context, scale, colours);
  context.restore();

  context.textAlign = "right";
  context.fillStyle = colours.muted;
  const edge = scale.left - 8;
  const isCrowded = isNear && Math.abs(y(limit) - y(most)) < 13;
  if (most > 0 && !isCrowded) context.fillText(text(most), edge, y(most));
  context.fillText("0", edge, bottom);
  if (isNear) {
    context.fillStyle = colours.error;
    context.fillText(`quota ${text(limit)}`, edge, y(limit));
  } else if (limit !== null) {
    context.fillText(`quota ${text(limit)}`, edge, bottom - 14);
  }
  [session.limits?.dry_run ? "Would deny" : "Denied", "Errors"].forEach((label, lane) => {
    context.fillStyle = colours.muted;
    context.fillText(label, edge, CHART.lanes + (lane + 0.5) * CHART.lane);
  });
  drawAxis(context, scale, colours);
}

function drawAxis(context, scale, colours) {
  const y = CHART.total - CHART.axis;
  context.strokeStyle = colours.line;
  context.beginPath();
  for (const above of [CHART.top + CHART.height, CHART.lanes + CHART.lane, y]) {
    context.moveTo(scale.left, Math.round(above) + 0.5);
    context.lineTo(scale.left + scale.width, Math.round(above) + 0.5);
  }
  context.stroke();
  context.fillStyle = colours.muted;
  const right = scale.left + scale.width;
  for (const { x, label } of scale.ticks()) {
    const half = context.measureText(label).width / 2;
    context.textAlign = x + half > right - 2 ? "right" : "center";
    context.fillText(label, x + half > right - 2 ? right - 4 : x, y + CHART.axis / 2);
  }
}

/** Steps; of those that fall on one pixel the highest, since that is what a quota looks at. */
function drawSeries(context, scale, colours, { time, value }, y, bottom) {
  if (time.length === 0) return;
  let index = firstFrom(time, scale.from);
  let now = index > 0 ? value[index - 1] : 0;
  let x = scale.left;
  const path = new Path2D();
  path.moveTo(x, y(now));
  while (index < time.length && time[index] <= scale.to) {
    const pixel = Math.floor(scale.x(time[index]));
    // Between two pixels with steps side by side, the line need not go down.
    if (pixel > x) path.lineTo(x, y(now)), path.lineTo(pixel, y(now));
    let most = now;
    for (; index < time.length && Math.floor(scale.x(time[index])) === pixel; index++) {
      now = value[index];
      most = Math.max(most, now);
    }
    path.lineTo(pixel, y(most));
    path.lineTo((x = pixel + 1), y(most));
  }
  const end = Math.max(x, Math.min(scale.left + scale.width, scale.x(session.span)));
  path.lineTo(x, y(now));
  path.lineTo(end, y(now));
  const area = new Path2D(path);
  area.lineTo(end, bottom);
  area.lineTo(scale.left, bottom);
  context.fillStyle = colours.area;
  context.fill(area);
  context.strokeStyle = colours.accent;
  context.lineWidth = 1.5;
  context.stroke(path);
  context.lineWidth = 1;
}

/** Errors and denials, each in its lane, three pixels together: the more, the higher, by the logarithm. */
function drawMarks(context, scale, colours) {
  const wide = 3;
  const slots = Math.ceil(scale.width / wide);
  const counts = [new Uint32Array(slots), new Uint32Array(slots)];
  for (let at = firstFrom(marks, scale.from, timeOf); at < marks.length && timeOf(marks[at]) <= scale.to; at++) {
    const slot = Math.min(slots - 1, Math.floor((timeOf(marks[at]) - scale.from) / scale.perPixel / wide));
    counts[records.state[marks[at]] === ERROR ? 1 : 0][slot]++;
  }
  counts.forEach((of, lane) => {
    context.fillStyle = lane === 0 ? colours.error : colours.warning;
    const bottom = CHART.lanes + (lane + 1) * CHART.lane - 1;
    const [least, room] = [5, CHART.lane - 3 - 5];
    const most = Math.max(8, of.reduce((most, amount) => Math.max(most, amount), 0));
    of.forEach((amount, slot) => {
      if (amount === 0) return;
      const high = least + (room * Math.log(amount)) / Math.log(most);
      context.fillRect(scale.left + slot * wide, bottom - high, wide, high);
    });
  });
}
