// Figures and times as people read them.
import { h } from "./dom.js";

const LOCALE = "en";
const number = new Intl.NumberFormat(LOCALE);
const short = new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: 3 });
const ago = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" });
const STEPS = [[60, "second"], [3600, "minute"], [86400, "hour"], [30 * 86400, "day"], [365 * 86400, "month"], [Infinity, "year"]];
const UNITS = ["bytes", "KB", "MB", "GB", "TB"];

export const count = (value) => number.format(value);
export const counted = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
export const percent = (share) => `${Math.round(100 * share)}%`;

export function bytes(value) {
  let step = 0;
  while (value >= 1000 && step < UNITS.length - 1) { value /= 1000; step += 1; }
  return `${short.format(value)} ${UNITS[step]}`;
}

export function seconds(value) {
  return value < 1 ? `${Math.max(1, Math.round(1000 * value))} ms` : `${short.format(value)} s`;
}

/** How long ago, with the date for whoever points at it. */
export function since(time) {
  if (!time) return "not yet";
  const passed = Math.max(0, Date.now() / 1000 - time);
  const at = STEPS.findIndex(([end]) => passed < end);
  const length = at ? STEPS[at - 1][0] : 1;
  const words = passed < 10 ? "just now" : ago.format(-Math.round(passed / length), STEPS[at][1]);
  return moment(time, words);
}

export function moment(time, words) {
  const date = new Date(1000 * time);
  const full = date.toLocaleString(LOCALE, { dateStyle: "medium", timeStyle: "medium" });
  return h("time", { datetime: date.toISOString(), title: full }, words ?? full);
}
