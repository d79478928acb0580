// What a memory holds: by source, and text by text.
import { at, call, get } from "./api.js";
import { announce, button, field, form, h, hint, paged, table } from "./dom.js";
import { prepare } from "./forget.js";
import { count, counted, moment } from "./format.js";
import { quoted, sourceName } from "./quote.js";

const PAGE = 20;

export async function contents({ name, held, may }) {
  return [
    h("h3", {}, "By source"), sources(name, held, may("write")),
    h("h3", {}, "Find"), finding(name),
    h("h3", {}, "Text by text"), await texts(name, may("write")),
  ];
}

function sources(name, held, mayWrite) {
  if (!held.sources.length) return hint("Nothing is written here.");
  const rows = held.sources.map((one) => [
    h("span", { class: "name" }, sourceName(one.source)), count(one.writes), count(one.tokens), count(one.waiting),
    mayWrite && forgetButton(`everything from ${sourceName(one.source)}`, name, { source: one.source }),
  ]);
  const heads = ["Source", "Writes", "Tokens", "Waiting", ""];
  return [
    table("What is held, by source", heads, rows),
    held.more_sources > 0 && hint(`And ${counted(held.more_sources, "source")} more.`),
  ];
}

const forgetButton = (what, name, choice) => button("Forget", () => prepare(name, choice), "quiet", `Forget ${what}`);

function finding(name) {
  const results = h("div", {});
  return [
    form({ class: "card row" }, async ({ query }) => {
      const found = await call("POST", at`v1/memories/${name}/search`, { query });
      results.replaceChildren(...found.data.map((one) => quoted(one)));
      if (!found.data.length) results.append(hint("Nothing was found."));
      announce(`${counted(found.data.length, "text")} found.`);
    },
    field("What is it about?", { name: "query", required: true }), h("button", {}, "Find")), results,
  ];
}

async function texts(name, mayWrite) {
  const list = h("div", {});
  let after = 0;

  async function load() {
    const page = await get(at`v1/memories/${name}/writes?limit=${PAGE}&after=${after}`);
    list.append(...page.data.map((one) => shown(one, name, mayWrite)));
    if (page.tail) list.append(quoted({ ...page.tail, write: null }));
    if (!list.children.length) list.append(hint("Nothing is written here."));
    if (after) announce(`${counted(page.data.length, "text")} more.`);
    after = page.last_id ?? after;
    return page.has_more;
  }

  return paged(list, load);
}

function shown(one, name, mayWrite) {
  return quoted({ ...one, write: one.id }, [
    h("span", { class: "figures" }, moment(one.time)),
    mayWrite && forgetButton(`write ${one.id}`, name, { writes: one.id }),
  ]);
}
