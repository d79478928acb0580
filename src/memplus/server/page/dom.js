// Elements, made from words: whatever is text stays text.

/** An element: `on` are its listeners by event, all else attributes; children without value are left out. */
export function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if ((value ?? false) === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    } else if (name === "value") made.value = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...some(children));
  return made;
}

/** Those of a list, and of lists in it, that are there. */
export const some = (list) => list.flat(4).filter((one) => (one ?? false) !== false);

let ids = 0;
const newId = () => `n${++ids}`;

/** Say something to people who listen; what is seen is said by other elements. */
export function announce(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  setTimeout(() => { live.textContent = text; }, 60);
}

/** A labelled control: an input unless another tag is named; `options` are those of a select. */
export function field(label, { tag = "input", kind = "field", hint, options = [], ...attributes }) {
  const id = newId();
  const described = hint && `${id}h`;
  const choices = options.map(([value, text]) => h("option", { value }, text));
  return h("p", { class: kind },
    h("label", { for: id }, label),
    h(tag, { id, "aria-describedby": described, autocomplete: "off", ...attributes }, choices),
    hint && h("span", { class: "hint", id: described }, hint));
}

export const check = (label, attributes) => field(label, { kind: "check", type: "checkbox", ...attributes });

export const actions = (...buttons) => h("p", { class: "actions" }, buttons);
export const hint = (...words) => h("p", { class: "hint" }, words);
export const card = (title, ...inside) => h("section", { class: "card" }, h("h3", { tabindex: -1 }, title), inside);
export const submit = (text, kind = "main") => h("button", { class: kind }, text);
export const list = (...items) => h("ul", {}, some(items).map((one) => h("li", {}, one)));
export const head = (title, ...buttons) => h("div", { class: "head" }, h("h1", {}, title), actions(buttons));

/** A button; `label` tells listeners what the eye sees beside it. */
export const button = (text, listener, kind = "", label = undefined) =>
  h("button", { type: "button", class: kind, "aria-label": label, on: { click: listener } }, text);

/** What is loaded page by page: `load` fills it and says whether there is more. */
export async function paged(place, load) {
  const trouble = h("div", {});
  const more = button("Show more", () => attempt(more, trouble, step), "quiet");
  const step = async () => { more.hidden = !await load(); };
  await step();
  return [place, trouble, more];
}

/** A form whose handler gets its values; failures are shown in it, and it is busy meanwhile. */
export function form(attributes, handler, ...children) {
  const trouble = h("div", {});
  const made = h("form", attributes, ...children, trouble);
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    if (made.ariaBusy !== "true") attempt(made, trouble, () => handler(Object.fromEntries(new FormData(made)), made));
  });
  return made;
}

/** What stands in a form, to tell whether it was changed meanwhile. */
export const filled = (made) => JSON.stringify([...new FormData(made)].map(([name, value]) =>
  value instanceof File ? [name, value.name, value.size, value.lastModified] : [name, value]));

/** Do what may fail: busy meanwhile, and what went wrong is said where it happened. */
export async function attempt(busy, trouble, action) {
  trouble.replaceChildren();
  busy.setAttribute("aria-busy", "true");
  try {
    return await action();
  } catch (error) {
    trouble.replaceChildren(problem(error));
  } finally {
    busy.removeAttribute("aria-busy");
  }
}

/** What went wrong, in the server's words, with the id by which its log knows it. */
export function problem(error) {
  const known = error.id !== undefined;
  if (!known) console.error(error);
  const message = known ? error.message : "This page has a fault; the browser's console says more.";
  return h("div", { class: "problem", role: "alert" },
    h("p", {}, message, error.wait ? ` Try again in ${error.wait} seconds.` : ""),
    error.id && h("p", { class: "request" }, "Request ", h("code", {}, error.id)));
}

/** A table that stays one for readers when narrow screens lay it out as blocks. */
export function table(caption, heads, rows) {
  const cells = (row) => row.map((one, place) => (place
    ? h("td", { role: "cell", "data-head": heads[place] }, one) : h("th", { role: "rowheader", scope: "row" }, one)));
  return h("div", { class: "card list" }, h("table", { role: "table" },
    h("caption", { class: "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
      heads.map((one) => h("th", { scope: "col", role: "columnheader" }, one || h("span", { class: "unseen" }, "Actions"))))),
    h("tbody", { role: "rowgroup" }, rows.map((row) => h("tr", { role: "row" }, cells(row))))));
}

export const facts = (pairs) => h("dl", { class: "facts" },
  pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

/** A dialog with a form; resolves to what its handler returned, or undefined when it was left. */
export function ask(title, { body, action, kind = "main", handler, cancel = "Cancel" }) {
  return new Promise((resolve) => {
    let result;
    const id = newId();
    const made = h("dialog", { "aria-labelledby": id });
    const leave = cancel && button(cancel, () => made.close(), "quiet");
    made.append(form({}, async (values) => {
      result = await handler(values);
      made.close();
    }, h("h2", { id }, title), body, actions(submit(action, kind), leave)));
    made.addEventListener("cancel", (event) => cancel || event.preventDefault());
    made.addEventListener("close", () => { made.remove(); resolve(result); });
    document.body.append(made);
    made.showModal();
  });
}
