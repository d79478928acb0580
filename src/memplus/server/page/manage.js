// A memory as a whole: a second one, a file of it, its end.
import { at, call, Failure, send } from "./api.js";
import { dropAnswers } from "./ask.js";
import { actions, announce, ask, attempt, button, card, facts, field, form, h } from "./dom.js";
import { count } from "./format.js";
import { to } from "./memories.js";

export function managing({ name, held, may }) {
  return [
    may("write") && card("Fork",
      h("p", {}, "A second memory that begins as this one. From then on each goes its own way; what they share is kept once."),
      forking(name)),
    exporting(name),
    card("How it is kept", facts([
      ["Model", held.model], ["Long-term rows", `${count(held.long_term_rows)} a layer, ${held.rows}`], ["Short-term rows", `${count(held.short_term_rows)} a layer`],
    ])),
    may("write") && deleting(name),
  ];
}

function forking(name) {
  return form({ class: "row" }, async ({ fork }) => {
    const made = await call("POST", at`v1/memories/${name}/fork`, { name: fork });
    announce(`${made.id} begins as ${name}.`);
    location.hash = to(made.id);
  },
  field("Name of the fork", { name: "fork", required: true, maxlength: 200 }), h("button", {}, "Fork"));
}

function exporting(name) {
  const trouble = h("div", {});
  const save = async () => {
    const blob = await (await send("GET", at`v1/memories/${name}/export`)).blob();
    const link = h("a", { href: URL.createObjectURL(blob), download: `${name}.memory` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    announce(`${name} was exported.`);
  };
  const shown = card("Export",
    h("p", {}, "All of it, with its texts, in one file that another server of the same model can import."),
    trouble, actions(button("Export", () => attempt(shown, trouble, save))));
  return shown;
}

function deleting(name) {
  const remove = async () => {
    const done = await ask(`Delete ${name}?`, {
      action: "Delete it", kind: "danger",
      body: [
        h("p", {}, "Everything in it is gone then, its history too. Forks and exported files stay as they are."),
        field("Type its name", { name: "typed", required: true }),
      ],
      handler: async ({ typed }) => {
        if (typed !== name) throw new Failure("That is another name; nothing was deleted.", { id: "" });
        return call("DELETE", at`v1/memories/${name}`);
      },
    });
    if (!done) return;
    dropAnswers(name);
    announce(`${name} was deleted.`);
    location.hash = "#/";
  };
  return card("Delete",
    h("p", {}, "The whole memory. To remove a part of it, forget that instead."),
    actions(button("Delete this memory", remove, "danger")));
}
