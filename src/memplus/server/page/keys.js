// The tenant's keys: made once, shown once.
import { at, call, get, hasKey } from "./api.js";
import { actions, announce, ask, button, check, field, form, h, head, submit, table } from "./dom.js";
import { since } from "./format.js";

const MAY = { read: "ask and look", write: "ask and write", admin: "everything, keys too" };

export async function keys({ session, again, changed }) {
  const all = (await get("v1/keys")).data.reverse();
  const first = !session.required;
  const made = form({ class: "card" }, async ({ name, scope, memory, gateway }, form) => {
    const key = await call("POST", "v1/keys", { name, scopes: [scope], memory, gateway: Boolean(gateway) });
    form.reset();
    await showOnce(key);
    if (hasKey()) await again(); else await changed(key.key);
    announce(`The key ${name} was made.`);
  },
  h("h2", {}, "Make a key"),
  first && h("p", { class: "note" }, "This server has no keys: whoever is on its machine may do everything. From the first key on every request needs one, this page too, so let the first one do everything."),
  field("Name", { name: "name", required: true, maxlength: 100, hint: "For people: whose it is, or what it is for." }),
  field("It may", { tag: "select", name: "scope", options: Object.entries(MAY) }),
  field("Memories", { name: "memory", maxlength: 200, value: session.memory, hint: "The name of its only one, or a beginning with * behind it. Empty: all." }),
  check("Gateway", { name: "gateway", hint: "Its headers that name a user are believed." }),
  actions(submit("Make the key")));
  made.querySelector("select").value = first ? "admin" : "write";
  return { title: "Keys", body: [head("Keys"), listed(all, session, again), made] };
}

function listed(all, session, again) {
  if (!all.length) return null;
  const rows = all.map((one) => [
    [h("span", { class: "name" }, one.name), one.id === session.id && h("span", { class: "badge" }, "This one")],
    h("code", {}, `${one.prefix}…`), MAY[one.scopes.at(-1)] ?? one.scopes.join(", "), one.memory || "all", since(one.created),
    one.revoked ? h("span", { class: "badge" }, "Revoked") : revoking(one, session, again),
  ]);
  return table("Keys", ["Name", "Begins with", "May", "Memories", "Made", ""], rows);
}

function revoking(key, session, again) {
  return button("Revoke", async () => {
    const own = key.id === session.id;
    const done = await ask(`Revoke ${key.name}?`, {
      action: "Revoke it", kind: "danger",
      body: [h("p", {}, `It ends at once${own ? ", and this page is signed out" : ""}. It cannot be taken back; a new key can be made.`)],
      handler: () => call("DELETE", at`v1/keys/${key.id}`),
    });
    if (!done) return;
    await again();
    announce(`The key ${key.name} was revoked.`);
  }, "quiet", `Revoke ${key.name}`);
}

function showOnce(key) {
  const shown = field("Key", { readonly: true, value: key.key, class: "secret", spellcheck: "false" });
  const copy = button("Copy", async () => {
    shown.querySelector("input").select();
    try {
      await navigator.clipboard.writeText(key.key);
    } catch {
      document.execCommand("copy");
    }
    announce("The key was copied.");
  });
  return ask(`The key of ${key.name}`, {
    action: "I have kept it", cancel: "", body: [h("p", {}, "It is shown this once; the server keeps only a digest of it."), shown, h("p", {}, copy)],
    handler: () => true,
  });
}
