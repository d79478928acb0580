// The memories that the key reaches.
import { at, call, get } from "./api.js";
import { announce, ask, button, field, h, head, paged, table } from "./dom.js";
import { bytes, count, since } from "./format.js";

const PAGE = 50;
export const to = (name, tab = "") => `#/memories/${encodeURIComponent(name)}${tab && `/${tab}`}`;

export async function memories({ may, session }) {
  const all = [];
  const place = h("div", {});

  async function load() {
    const after = all.at(-1)?.id ?? "";
    const page = await get(at`v1/memories?limit=${PAGE}&after=${after}`);
    all.push(...page.data);
    place.replaceChildren(all.length ? listed(all) : nothing(may("write")));
    if (after) announce(`${count(all.length)} memories are shown.`);
    return page.has_more;
  }

  const buttons = may("write") && [button("New memory", () => make(session), "main"), button("Import", () => bringIn(session))];
  return { title: "Memories", body: [head("Memories", buttons), await paged(place, load)] };
}

function listed(all) {
  const rows = all.map((one) => [
    h("a", { href: to(one.id), class: "name" }, one.id),
    count(one.tokens + one.waiting), bytes(one.bytes), since(one.created), since(one.last_used),
  ]);
  return table("Memories", ["Name", "Tokens", "Size", "Made", "Last used"], rows);
}

function nothing(mayWrite) {
  return h("div", { class: "card empty" },
    h("span", { class: "mark large", "aria-hidden": "true" }),
    h("h2", {}, "Nothing is remembered yet"),
    h("p", {}, "A memory keeps what was written into it, answers questions from it, and says on which of the texts an answer stands. One for each person, project or agent is a good beginning."),
    !mayWrite && h("p", {}, "This key can ask and look, but not write."));
}

async function make(session) {
  const name = await ask("New memory", {
    action: "Make it",
    body: [field("Name", { name: "name", required: true, maxlength: 200, value: session.memory.replace(/\*$/, ""), hint: "For example a person or a project; it cannot hold a slash." })],
    handler: async ({ name }) => (await call("POST", "v1/memories", { name })).id,
  });
  if (name) location.hash = to(name, "write");
}

async function bringIn(session) {
  const name = await ask("Import a memory", {
    action: "Import",
    body: [
      field("File", { name: "file", type: "file", required: true, hint: "As it was exported; every byte of it is checked." }),
      field("Name", { name: "name", required: true, maxlength: 200, value: session.memory.replace(/\*$/, "") }),
    ],
    handler: async ({ file, name }) => (await call("POST", at`v1/memories:import?id=${name}`, file)).id,
  });
  if (!name) return;
  announce(`${name} was imported.`);
  location.hash = to(name);
}

export const summed = (one) => [
  ["Tokens", count(one.tokens + one.waiting)], ["Writes", count(one.writes)], ["Waiting", count(one.waiting)], ["Size", bytes(one.bytes)],
  ["Made", since(one.created)], ["Last used", since(one.last_used)],
];
