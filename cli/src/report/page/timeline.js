"use strict";

// The timeline: which span of time is seen, and how mouse and keys change it.

/** As short as a span can be seen, in ns. */
const SHORTEST = 200;
/** Up to as many segments have a row each from the start. */
const FEW = 60;

const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

class Timeline {
  /** `onView` is called when another span is seen, `onSelect` with a segment that was chosen, or null. */
  constructor({ onView, onSelect }) {
    Object.assign(this, { onView, onSelect });
    this.box = byId("timeline");
    this.scroll = byId("rows-scroll");
    const pad = Math.max(session.span * 0.015, 500);
    this.whole = [-pad, session.span + pad];
    this.view = [...this.whole];
    this.selected = null;
    this.measure = measures.bytes;
    this.separate(segmentCount <= FEW);
    this.colours = palette();
    this.listen();
    new ResizeObserver(() => this.redraw()).observe(this.box);
  }

  get isWhole() { return this.view[0] === this.whole[0] && this.view[1] === this.whole[1]; }

  /** The times in view that are of the session. */
  get seen() { return this.isWhole ? [-Infinity, Infinity] : this.view; }

  separate(isSeparate) {
    this.isSeparate = isSeparate;
    this.rows = rowsOf(isSeparate);
    byId("separate").checked = isSeparate;
    byId("rows-space").style.height = `${Math.max(1, this.rows.length) * ROW.height + 1}px`;
    this.rowOf = new Int32Array(segmentCount);
    this.rows.forEach((row, index) => row.forEach((segment) => (this.rowOf[segment] = index)));
  }

  recolour() {
    this.colours = palette();
    this.redraw();
  }

  /** Draws before the next frame, once. */
  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const width = this.scroll.clientWidth;
    // Rows of several segments have no label beside them.
    const left = this.isSeparate ? Math.min(170, Math.max(96, width * 0.14)) : 106;
    this.scale = new Scale(this.view[0], this.view[1], left, Math.max(10, width - left - 6));
    drawChart(byId("chart"), this.scale, this.colours, this.measure);
    const { rows, isSeparate, selected } = this;
    const [top, height] = [this.scroll.scrollTop, this.scroll.clientHeight];
    drawRows(byId("rows"), this.scale, this.colours, { rows, top, height, isSeparate, selected });
  }

  /** Shows this span, as far as there is something. With `isSmooth` it glides there, if the reader likes motion. */
  show(from, to, isSmooth = false) {
    const [first, last] = this.whole;
    const wide = Math.min(Math.max(to - from, SHORTEST), last - first);
    const middle = (from + to) / 2;
    const start = Math.min(Math.max(middle - wide / 2, first), last - wide);
    const target = wide === last - first ? [...this.whole] : [start, start + wide];
    cancelAnimationFrame(this.glide);
    if (!isSmooth || isCalm.matches) return this.see(target);
    const [before, began] = [[...this.view], performance.now()];
    const step = (now) => {
      const part = Math.min(1, Math.max(0, now - began) / 140);
      const ease = part * (2 - part);
      if (part === 1) return this.see(target);
      this.view = before.map((from, end) => from + (target[end] - from) * ease);
      this.redraw();
      this.glide = requestAnimationFrame(step);
    };
    this.glide = requestAnimationFrame(step);
  }

  see(view) {
    this.view = view;
    this.redraw();
    clearTimeout(this.told);
    this.told = setTimeout(() => this.onView(), 60);
  }

  zoom(factor, around = (this.view[0] + this.view[1]) / 2, isSmooth = true) {
    const [from, to] = this.view;
    // At either end the place under the pointer gives way: clamping is show's.
    this.show(around - (around - from) * factor, around + (to - around) * factor, isSmooth);
  }

  move(part) {
    const by = (this.view[1] - this.view[0]) * part;
    this.show(this.view[0] + by, this.view[1] + by, true);
  }

  reset() { this.show(...this.whole, true); }

  /** Chooses a segment, and brings it into sight. If it is only glanced at, its details are left closed. */
  select(segment, { isZoomed = false, isGlance = false } = {}) {
    this.selected = segment;
    if (segment !== null) {
      const [from, to] = [segments.from[segment], endOf(segment)];
      const [start, end] = this.view;
      if (isZoomed) this.show(from - (to - from) * 0.1 - SHORTEST, to + (to - from) * 0.1 + SHORTEST, true);
      else if (to < start || from > end) this.show(from - (end - start) / 2, from + (end - start) / 2, true);
      const y = this.rowOf[segment] * ROW.height;
      const { scrollTop, clientHeight } = this.scroll;
      if (y < scrollTop) this.scroll.scrollTop = y;
      else if (y + ROW.height > scrollTop + clientHeight) this.scroll.scrollTop = y + ROW.height - clientHeight;
    }
    this.redraw();
    if (!isGlance || !byId("details").hidden) this.onSelect(segment);
  }

  /** The segment `by` places from the one that is chosen, in the order of creation; the first in view if none is. */
  selectNext(by) {
    if (segmentCount === 0) return;
    if (this.selected === null) {
      const first = inOrder.findIndex((segment) => endOf(segment) >= this.view[0]);
      return this.select(inOrder[first < 0 ? segmentCount - 1 : first]);
    }
    const place = inOrder.indexOf(this.selected) + by;
    this.select(inOrder[Math.min(Math.max(place, 0), segmentCount - 1)]);
  }

  /** Goes to the next error or denial after the middle of what is seen, or the one before. */
  seekMark(isForward) {
    const middle = (this.view[0] + this.view[1]) / 2;
    const next = firstFrom(marks, middle, timeOf);
    const isAtOne = this.shown !== undefined && Math.abs(timeOf(this.shown) - middle) < this.scale.perPixel;
    const from = isAtOne ? marks.indexOf(this.shown) : -1;
    const mark = marks[from >= 0 ? from + (isForward ? 1 : -1) : isForward ? next : next - 1];
    if (mark !== undefined) this.showCall(mark);
  }

  /** Brings a call into the middle. */
  showCall(record) {
    this.shown = record;
    const wide = this.isWhole ? (this.view[1] - this.view[0]) / 20 : this.view[1] - this.view[0];
    const at = timeOf(record);
    this.show(at - wide / 2, at + wide / 2, true);
    if (records.segment[record] !== null) this.select(records.segment[record]);
    byId("status").textContent = `${since(at)}: ${callText(record)}`;
  }

  listen() {
    const { box, scroll } = this;
    scroll.addEventListener("scroll", () => this.redraw());
    byId("separate").addEventListener("change", (event) => {
      this.separate(event.target.checked);
      this.redraw();
    });
    byId("measure").addEventListener("change", (event) => {
      this.measure = measures[event.target.value];
      this.redraw();
    });
    const press = (id, what) => byId(id).addEventListener("click", what);
    press("earlier", () => this.move(-0.25));
    press("later", () => this.move(0.25));
    press("zoom-in", () => this.zoom(0.5));
    press("zoom-out", () => this.zoom(2));
    press("reset", () => this.reset());
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    box.addEventListener("pointerdown", (event) => this.drag(event));
    box.addEventListener("pointermove", (event) => this.hover(event));
    box.addEventListener("pointerleave", () => this.unhover());
    box.addEventListener("dblclick", () => this.reset());
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 0.8 : 0.15;
    const does = {
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), _: () => this.zoom(2),
      ArrowLeft: () => this.move(-far), ArrowRight: () => this.move(far),
      Home: () => this.move(-1e9), End: () => this.move(1e9),
      ArrowUp: () => this.selectNext(-1), ArrowDown: () => this.selectNext(1),
      PageUp: () => this.selectNext(-15), PageDown: () => this.selectNext(15),
      Enter: () => this.selected !== null && this.select(this.selected, { isZoomed: true }),
      n: () => this.seekMark(true), p: () => this.seekMark(false),
      0: () => this.reset(), Escape: () => (this.selected === null ? this.reset() : this.select(null)),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  wheel(event) {
    const isOurs = event.ctrlKey || document.activeElement === this.box;
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || (event.shiftKey && isOurs)) {
      event.preventDefault();
      const by = (event.deltaX || event.deltaY) * this.scale.perPixel;
      return this.show(this.view[0] + by, this.view[1] + by);
    }
    if (!isOurs) return;
    event.preventDefault();
    this.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.006), this.scale.time(this.place(event).x), false);
  }

  place(event) {
    const { left, top } = this.box.getBoundingClientRect();
    return { x: event.clientX - left - this.box.clientLeft, y: event.clientY - top - this.box.clientTop };
  }

  /** A drag chooses the span to see, a click the segment under it. */
  drag(event) {
    if (event.button !== 0) return;
    const from = this.place(event);
    // Not where the rows' scroll bar is.
    if (from.x > this.scale.left + this.scale.width) return;
    const brush = byId("brush");
    const within = (x) => Math.min(Math.max(x, this.scale.left), this.scale.left + this.scale.width);
    const span = (event) => [within(from.x), within(this.place(event).x)].sort((one, other) => one - other);
    const listening = new AbortController();
    const on = (name, what) => this.box.addEventListener(name, what, { signal: listening.signal });
    const isDrag = ([start, end]) => end - start > 4;
    this.box.setPointerCapture(event.pointerId);
    on("pointermove", (event) => {
      const [start, end] = span(event);
      brush.hidden = !isDrag([start, end]);
      [brush.style.left, brush.style.width] = [`${start}px`, `${end - start}px`];
    });
    const end = () => { brush.hidden = true; listening.abort(); };
    on("pointercancel", end);
    on("pointerup", (event) => {
      end();
      const [start, stop] = span(event);
      if (isDrag([start, stop])) this.show(this.scale.time(start), this.scale.time(stop), true);
      else if (this.segmentAt(from) !== null) this.select(this.segmentAt(from));
    });
  }

  /** The segment under a place, within two pixels. */
  segmentAt({ x, y }) {
    const row = this.rows[Math.floor((y - CHART.total - 1 + this.scroll.scrollTop) / ROW.height)];
    if (!row || y < CHART.total || x < 0) return null;
    if (x < this.scale.left) return this.isSeparate ? row[0] : null;
    const time = this.scale.time(x);
    const at = firstFrom(row, time - 2 * this.scale.perPixel, endOf);
    return at < row.length && segments.from[row[at]] <= time + 2 * this.scale.perPixel ? row[at] : null;
  }

  hover(event) {
    const place = this.place(event);
    const cursor = byId("cursor");
    cursor.hidden = place.x < this.scale.left || place.x > this.scale.left + this.scale.width;
    cursor.style.transform = `translateX(${place.x}px)`;
    cursor.classList.toggle("left", place.x > this.scale.left + this.scale.width - 130);
    cursor.firstElementChild.textContent = since(this.scale.time(place.x));
    showTip(event, tipAt(this, place));
  }

  unhover() {
    byId("cursor").hidden = true;
    showTip(null, null);
  }
}
