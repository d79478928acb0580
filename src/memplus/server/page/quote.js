// A text that was written, quoted with where it is from.
import { h } from "./dom.js";
import { counted, percent } from "./format.js";

const ENDS = /[.!?:"'”’»)\]]\s*$/;

export const sourceName = (source) => source || "no source";

/** A write, or a part of one, and how much an answer drew on it. */
export function quoted(one, more) {
  const told = [sourceName(one.source)];
  told.push(one.write === null ? "waits to be written" : `write ${one.write}`);
  const share = one.share ?? undefined;
  const bar = share !== undefined && h("span", { class: "share", "aria-hidden": "true" }, h("span", {}));
  if (bar) bar.firstChild.style.width = percent(share);
  const figures = [
    share !== undefined && `${percent(share)} of the attention`,
    typeof one.score === "number" && `found with ${one.score.toFixed(2)}`,
    share === undefined && one.tokens && counted(one.tokens, "token"),
  ].filter(Boolean);
  return h("figure", { class: "quote" },
    h("blockquote", { class: `${one.start > 0 ? "from" : ""} ${ENDS.test(one.text) ? "" : "on"}` }, one.text.trim()),
    h("figcaption", {}, h("span", { class: "source" }, told.join(", ")), h("span", { class: "figures" }, bar, figures.join(", ")), more));
}
