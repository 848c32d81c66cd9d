"use strict";

// Numbers, sizes and times as the rest of shmgate writes them, and elements of the page.

const UNITS = [["EiB", 60], ["PiB", 50], ["TiB", 40], ["GiB", 30], ["MiB", 20], ["KiB", 10], ["bytes", 0]]
  .map(([name, shift]) => ({ name, scale: 2 ** shift }));

/** Bytes: exact as long as that is short (`2052 KiB`), rounded to a tenth of a unit else. */
function size(bytes) {
  if (bytes === null) return "?";
  if (bytes === 0) return "0 bytes";
  const exact = UNITS.find(({ scale }) => bytes % scale === 0);
  if (exact && bytes / exact.scale < 100_000) return `${bytes / exact.scale} ${exact.name}`;
  const largest = UNITS.find(({ scale }) => bytes >= scale) ?? UNITS.at(-1);
  return `${(bytes / largest.scale).toFixed(1)} ${largest.name}`;
}

/** A count, in groups of three digits; in a table, 0 is a dash, which is easier to pass over. (Intl would take a second for a long table.) */
const count = (value) => (value < 1000 ? String(value) : String(value).replace(/\B(?=(\d{3})+$)/g, ","));
const cell = (value) => (value ? count(value) : "–");

/** `1 call`, `2 calls`. */
function plural(value, one) {
  const many = one.endsWith("y") ? `${one.slice(0, -1)}ies` : /(ss|ch)$/.test(one) ? `${one}es` : `${one}s`;
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Nanoseconds as people count them. */
function duration(ns) {
  const [unit, name] =
    ns < 1e6 ? [1e3, "us"] : ns < 1e9 ? [1e6, "ms"] : ns < 600e9 ? [1e9, "s"] : ns < 36_000e9 ? [60e9, "min"] : [3600e9, "h"];
  return `${(ns / unit).toFixed(1)} ${name}`;
}

/** Whole and decimal seconds as hours, minutes and seconds. */
function clock(ns, decimals) {
  const whole = Math.floor(ns / 1e9);
  const two = (value) => String(value).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  const seconds = two(whole % 60) + (decimals ? `.${String(Math.floor(ns % 1e9)).padStart(9, "0").slice(0, decimals)}` : "");
  if (days) return `${days}d ${two(hours)}:${two(minutes)}:${seconds}`;
  return hours ? `${hours}:${two(minutes)}:${seconds}` : `${minutes}:${seconds}`;
}

/** The same as a date: RFC 3339, UTC, to the nanosecond. `start` is the first call's, in ns since the epoch, as a BigInt. */
function utc(start, ns) {
  const at = start + BigInt(Math.round(ns));
  const seconds = new Date(Number(at / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(at % 1_000_000_000n).padStart(9, "0")}Z`;
}

/** A key as shmget has it: 0 is IPC_PRIVATE, null is not known. */
const keyName = (key) => (key === null ? "?" : key === 0 ? "IPC_PRIVATE" : `0x${(key >>> 0).toString(16).padStart(8, "0")}`);

const modeName = (mode) => (mode === null ? "?" : mode.toString(8).padStart(4, "0"));

/** The last part of a path. */
const fileName = (path) => path?.slice(path.lastIndexOf("/") + 1) ?? "(unknown)";

/**
 * An element. Texts become text nodes, so that nothing in a session's names is ever read as HTML; attributes that are null, undefined or
 * false are left out, `on…` are listeners.
 */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const byId = (id) => document.getElementById(id);
