"use strict";

// A table of any length: only the rows in sight are in the page. Sorted by a column's head, filtered by text and by the timeline's span.

const ROW_HEIGHT = 28;

class Table {
  /**
   * `columns`: title, width in px, `value(row)` to sort by, and if they are not the same `text(row)` to show; `right` for numbers, `mono`,
   * `hover(row)`, `look(row)` for a class, `isTime` if filters leave it out, `isCount` if the largest come first. `length` is how many rows there are; `overlaps(row, from, to)` if a row belongs to a span of time;
   * `open(row)` is called for Enter or a double click on it, `choose(row)` when it becomes the active one.
   */
  constructor(label, { columns, length, overlaps, open = () => {}, choose = () => {} }) {
    Object.assign(this, { columns, length, overlaps, open, choose });
    for (const column of columns) column.text ??= (row) => String(column.value(row));
    this.sorted = { column: 0, isUp: true };
    this.order = Array.from({ length }, (_, row) => row);
    this.filter = { text: "", span: null };
    this.active = -1;
    this.id = `table-${label.toLowerCase().replaceAll(" ", "-")}`;
    this.heads = columns.map((column, index) => this.head(column, index));
    this.body = el("tbody", { role: "rowgroup" });
    const widths = columns.map(({ width }) => el("col", { style: `width: ${width}px` }));
    const table = el("table", { role: "presentation", style: `min-width: ${columns.reduce((sum, { width }) => sum + width, 0)}px` },
      el("colgroup", {}, widths), el("thead", { role: "rowgroup" }, el("tr", { role: "row", "aria-rowindex": 1 }, this.heads)), this.body);
    this.empty = el("p", { class: "empty", hidden: true }, "Nothing here.");
    this.element = el("div", { class: "table", role: "grid", tabindex: 0, "aria-label": label, "aria-colcount": columns.length }, table, this.empty);
    this.element.addEventListener("scroll", () => this.draw());
    this.element.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.element);
    this.arrange();
  }

  head(column, index) {
    const sort = () => {
      // Numbers are most wanted from the largest on.
      const isUp = this.sorted.column === index ? !this.sorted.isUp : !column.isCount;
      this.sorted = { column: index, isUp };
      this.arrange();
    };
    const button = el("button", { type: "button", title: `Sort by ${column.title}`, onclick: sort }, column.title, el("span", { "aria-hidden": "true" }));
    return el("th", { role: "columnheader", class: column.right ? "right" : null, "aria-colindex": index + 1 }, button);
  }

  /** The rows in which the filter's words are, each somewhere in the row. */
  wanted() {
    const { text, span } = this.filter;
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    // Made once, at the first filter. Nobody looks for a time by its digits.
    if (words.length > 0) {
      const searched = this.columns.filter(({ isTime }) => !isTime);
      this.hay ??= Array.from({ length: this.length }, (_, row) => searched.map(({ text }) => text(row)).join("\n").toLowerCase());
    }
    const rows = [];
    for (let row = 0; row < this.length; row++) {
      if (span && this.overlaps && !this.overlaps(row, ...span)) continue;
      if (words.every((word) => this.hay[row].includes(word))) rows.push(row);
    }
    return rows;
  }

  /** Filters and sorts anew; the active row stays active, if it is still there. */
  arrange() {
    const active = this.order[this.active];
    this.order = this.wanted();
    const { column, isUp } = this.sorted;
    const values = new Array(this.length);
    for (const row of this.order) values[row] = this.columns[column].value(row);
    const sign = isUp ? 1 : -1;
    // What is not known comes last, up or down; equals stay in the order of time.
    this.order.sort((one, other) => {
      const [left, right] = [values[one], values[other]];
      if (left === right) return one - other;
      if (left === null || right === null) return left === null ? 1 : -1;
      return left < right ? -sign : sign;
    });
    this.heads.forEach((head, index) => {
      const isSorted = index === column;
      head.setAttribute("aria-sort", isSorted ? (isUp ? "ascending" : "descending") : "none");
      head.querySelector("span").textContent = isSorted ? (isUp ? " ▲" : " ▼") : "";
    });
    this.active = active === undefined ? -1 : this.order.indexOf(active);
    this.element.setAttribute("aria-rowcount", this.order.length + 1);
    this.empty.hidden = this.order.length > 0;
    this.draw(true);
  }

  /** Shows rows that contain `text` and, with a `span` of time, belong to it. */
  narrow(text, span) {
    const [from, to] = span ?? [];
    if (this.filter.text === text && this.filter.span?.[0] === from && this.filter.span?.[1] === to) return;
    this.filter = { text, span };
    this.arrange();
  }

  /** Puts the rows in sight into the page; only if they are others than before, unless `isAnew`. */
  draw(isAnew = false) {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - 8);
    const last = Math.min(this.order.length, first + Math.ceil((clientHeight || 520) / ROW_HEIGHT) + 16);
    const drawn = `${first} ${last}`;
    if (drawn === this.drawn && !isAnew) return;
    this.drawn = drawn;
    const spacer = (rows) => el("tr", { class: "spacer", "aria-hidden": "true" }, el("td", { style: `height: ${rows * ROW_HEIGHT}px`, colspan: this.columns.length }));
    const rows = this.order.slice(first, last).map((row, index) => this.row(row, first + index));
    this.body.replaceChildren(spacer(first), ...rows, spacer(this.order.length - last));
    this.mark();
  }

  row(row, place) {
    const cells = this.columns.map(({ text, right, mono, hover, look }) => {
      const shown = text(row);
      const names = [right && "right", mono && "mono", look?.(row)].filter(Boolean).join(" ");
      return el("td", { role: "gridcell", class: names || null, title: hover?.(row) ?? (shown.length > 24 ? shown : null) }, shown);
    });
    const choose = () => this.go(place);
    const open = () => this.open(row);
    return el("tr", { role: "row", id: `${this.id}-${place}`, "aria-rowindex": place + 2, onclick: choose, ondblclick: open }, cells);
  }

  /** Shows which row is the active one. */
  mark() {
    const active = byId(`${this.id}-${this.active}`);
    for (const row of this.body.querySelectorAll(".active")) if (row !== active) row.classList.remove("active"), row.removeAttribute("aria-selected");
    active?.classList.add("active");
    active?.setAttribute("aria-selected", "true");
    if (active) this.element.setAttribute("aria-activedescendant", active.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  /** Makes the row at `place` the active one, and brings it into sight. */
  go(place) {
    if (this.order.length === 0) return;
    this.active = Math.min(Math.max(place, 0), this.order.length - 1);
    const top = this.active * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.element;
    // The head stays above the rows.
    const room = clientHeight - ROW_HEIGHT;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + room) this.element.scrollTop = top + ROW_HEIGHT - room;
    this.draw();
    this.mark();
    this.choose(this.order[this.active]);
  }

  key(event) {
    // A column's head has Enter and Space for itself.
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW_HEIGHT) - 2);
    const to = {
      ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + page, PageUp: this.active - page, Home: 0,
      End: this.order.length - 1,
    }[event.key];
    if (to !== undefined) this.go(to);
    else if (event.key === "Enter" && this.active >= 0) this.open(this.order[this.active]);
    else return;
    event.preventDefault();
  }
}
