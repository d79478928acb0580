// A key is asked for; it stays in this tab and goes nowhere but to this server.
import { Failure } from "./api.js";
import { actions, field, form, h, hint, problem, submit } from "./dom.js";

export function signIn(start, refused) {
  const made = form({ class: "card narrow" }, async ({ key }) => {
    // A header carries nothing else, and the page shows keys that it may not show whole with an ellipsis.
    if (!/^[!-~]+$/.test(key.trim())) throw new Failure("A key is letters, digits and hyphens; copy it whole, as it was first shown.", { id: "" });
    await start(key.trim());
  },
  refused && problem(refused),
  field("Key", {
    name: "key", type: "password", required: true, spellcheck: "false",
    "aria-invalid": refused && "true", hint: "It begins with mp-. Whoever runs this server makes keys.",
  }),
  actions(submit("Sign in")),
  hint("It is kept until this tab is closed, and sent to this server only."));
  const body = [h("div", { class: "welcome" },
    h("span", { class: "mark large", "aria-hidden": "true" }),
    h("h1", {}, "Sign in"),
    h("p", { class: "lead" }, "What this server remembers for you."), made)];
  return { title: "Sign in", body, focus: made.querySelector("input") };
}
