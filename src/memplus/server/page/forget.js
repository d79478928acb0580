// Forgetting: first what would go and what remains, then, on a second word, the deed.
import { at, call, Failure } from "./api.js";
import { dropAnswers } from "./ask.js";
import { actions, announce, attempt, button, card, check, field, form, h, list, some, submit } from "./dom.js";
import { counted } from "./format.js";
import { to } from "./memories.js";
import { quoted, sourceName } from "./quote.js";

let prepared = {};
addEventListener("otherkey", () => { prepared = {}; });

/** Go to a memory's forgetting with a choice made. */
export function prepare(name, choice) {
  prepared = { name, ...choice };
  location.hash = to(name, "forget");
}

const options = (held) => [["none", "Choose a source"], ...held.sources.map((one, place) => [place, sourceName(one.source)])];

export function forgetting({ name, held: atFirst, refresh }) {
  let held = atFirst;
  const given = prepared.name === name ? prepared : {};
  prepared = {};
  const result = h("div", {});
  const gone = async () => {
    dropAnswers(name);
    held = await refresh();
    made.querySelector("select").replaceChildren(...options(held).map(([value, text]) => h("option", { value }, text)));
    made.reset();
    return held;
  };
  const source = held.sources.findIndex((one) => one.source === given.source);
  let choices = 0;
  const made = form({ class: "card" }, async (values) => {
    const mine = ++choices;
    result.replaceChildren();
    const asked = choice(values, held);
    const told = await call("POST", at`v1/memories/${name}/forget`, { ...asked, dry_run: true });
    if (mine === choices) show(result, wouldGo(told, asked, held, { name, gone, result, made }));
  },
  h("p", {}, "Everything goes that any of these names. You see what that is before anything is done."),
  field("Source", { tag: "select", name: "source", options: options(held), value: source < 0 ? "none" : source }),
  field("Words in the text", { name: "match", maxlength: 1000 }),
  field("Writes by number", { name: "writes", inputmode: "numeric", pattern: "[0-9, ]*", value: given.writes ?? "", hint: "Such as 3, 4, 9." }),
  check("Leave no trace", { name: "rebuild", hint: "All other texts are written again, since later ones had taken notice of what goes. Slow for a large memory." }),
  actions(submit("Show what would go")));
  made.querySelector("select").value = source < 0 ? "none" : String(source);
  made.addEventListener("input", () => { choices += 1; result.replaceChildren(); });  // a late preview is of another choice
  return [made, result];
}

function choice({ source, match, writes, rebuild }, held) {
  const asked = { rebuild: Boolean(rebuild) };
  if (source !== "none") asked.source = held.sources[source].source;
  if (match) asked.match = match;
  const numbers = writes.split(/[ ,]+/).filter(Boolean).map(Number);
  if (numbers.length) asked.write = numbers;
  if (Object.keys(asked).length === 1) throw new Failure("Name a source, some words or writes.", { id: "" });
  return asked;
}

function show(place, card) {
  place.replaceChildren(card);
  card.querySelector("h3").focus();
  card.scrollIntoView({ block: "nearest" });
}

const amount = (told) => some([
  told.count > 0 && counted(told.count, "write"), told.tail_tokens > 0 && `${counted(told.tail_tokens, "token")} that wait`,
]).join(" and ") || "nothing";

function wouldGo(told, asked, held, { name, gone, result, made }) {
  const trouble = h("div", {});
  const forget = async () => {
    const done = await call("POST", at`v1/memories/${name}/forget`, asked);
    show(result, hasGone(done, await gone()));
  };
  const kept = held.tokens + held.waiting - told.tokens - told.tail_tokens;
  const shown = card(`Would go: ${amount(told)}`,
    told.writes.map((one) => quoted({ ...one, write: one.id })),
    told.count > told.writes.length && h("p", {}, `And ${counted(told.count - told.writes.length, "write")} more.`),
    h("h4", {}, "What remains"),
    list(`Here: ${counted(Math.max(0, kept), "token")}.`, ...elsewhere(told), "No earlier states: they hold what is forgotten, so they end with it."),
    trouble,
    actions(
      button(`Forget ${amount(told)}`, () => attempt(shown, trouble, forget), "danger"),
      button("Keep it", () => { result.replaceChildren(); made.querySelector("select").focus(); announce("Nothing was forgotten."); }, "quiet")),
  );
  return shown;
}

/** Where else it stands: forgetting here does not reach there. */
function elsewhere(told) {
  const links = told.remains_in.flatMap((one, place) => [place > 0 && ", ", h("a", { href: to(one, "forget") }, one)]);
  return [
    links.length > 0 && h("span", {}, "In forks and copies, which keep it: ", links, "."),
    told.remains_elsewhere && "In memories that this key does not see.",
    !told.all_checked && "Not every other memory was looked through for it.",
    links.length === 0 && !told.remains_elsewhere && told.all_checked && "In no other memory of yours. Exported files are not known here.",
  ];
}

function hasGone(gone, now) {
  const also = Object.entries(gone.also_removed).map(([what, count]) => `Removed with it: ${count} ${what.replaceAll("_", " ")}.`);
  announce(`${amount(gone)} forgotten.`);
  return card(`Forgotten: ${amount(gone)}`,
    list(`Here remain ${counted(now.tokens + now.waiting, "token")}.`, also, ...elsewhere(gone)));
}
