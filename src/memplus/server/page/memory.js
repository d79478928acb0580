// One memory: its figures, and a tab for each thing that can be done with it.
import { at, get } from "./api.js";
import { facts, h, list } from "./dom.js";
import { asking } from "./ask.js";
import { contents } from "./contents.js";
import { forgetting } from "./forget.js";
import { history } from "./history.js";
import { managing } from "./manage.js";
import { summed, to } from "./memories.js";
import { writing } from "./write.js";

const TABS = {
  ask: ["Ask", asking, "read"],
  write: ["Write", writing, "write"],
  contents: ["Contents", contents, "read"],
  forget: ["Forget", forgetting, "write"],
  history: ["History", history, "read"],
  manage: ["Manage", managing, "read"],
};

export async function memory(context, name, tab = "ask") {
  const held = await get(at`v1/memories/${name}`);
  const figures = h("div", {}, facts(summed(held)));
  const refresh = async () => {
    const now = await get(at`v1/memories/${name}`);
    figures.replaceChildren(facts(summed(now)));
    return now;
  };
  const shown = Object.entries(TABS).filter(([, [, , scope]]) => context.may(scope));
  const [, [title, view]] = shown.find(([id]) => id === tab) ?? shown[0];
  const heading = h("h2", { tabindex: -1 }, title);
  const body = await view({ ...context, name, held, refresh });
  const links = shown.map(([id, [text]]) => h("a", { href: to(name, id), "aria-current": text === title && "page" }, text));
  return {
    title: `${title}: ${name}`,
    focus: tab === "ask" ? undefined : heading,
    body: [
      h("nav", { class: "back", "aria-label": "Back" }, h("a", { href: "#/" }, "All memories")),
      h("h1", { class: "name" }, name), figures, waiting(held),
      h("nav", { class: "tabs", "aria-label": "This memory" }, links),
      h("section", { class: `tab ${tab}` }, heading, body),
    ],
  };
}

/** What was taken in and is not in the memory, or cannot be. */
function waiting(held) {
  const refused = held.texts_refused.map((one) => one.reason);
  if (held.more_texts_refused) refused.push(`${held.more_texts_refused} more`);
  return [
    held.texts_waiting > 0 && h("p", { class: "note" }, `Said in chats and on its way here: ${held.texts_waiting}.`),
    refused.length > 0 && h("div", { class: "problem" }, h("p", {}, "The memory could not take these texts:"), list(...refused)),
  ];
}
