// The last requests, for whoever looks for one by its id.
import { get } from "./api.js";
import { button, field, h, head, table } from "./dom.js";
import { count, moment, seconds } from "./format.js";

const MOST = 200;

export async function requests({ may, again }) {
  const all = (await get(`v1/requests?limit=${MOST}`)).data;
  const place = h("div", {});
  const told = h("p", { class: "hint", role: "status" });
  const find = field("Find by id, route, status or error", { type: "search", spellcheck: "false", on: { input: draw } });

  function draw() {
    const wanted = find.querySelector("input").value.trim();
    const shown = all.filter((one) => !wanted || [one.id, one.route, one.code, String(one.status)].some((text) => text.includes(wanted)));
    told.textContent = wanted ? `${count(shown.length)} of ${count(all.length)}` : "";
    place.replaceChildren(table("Requests, the newest first", ["Request", "When", "Route", "Status", "Took"], shown.map(row)));
  }

  draw();
  return {
    title: "Requests",
    body: [
      head("Requests", button("Look again", () => again())),
      h("p", { class: "lead" }, `The last ones of ${may("admin") ? "all your keys" : "this key"}. What was said in them is not kept.`),
      find, told, place,
    ],
  };
}

/** The hour, and the day where it is not today. */
function when(time) {
  const date = new Date(1000 * time);
  const today = date.toDateString() === new Date().toDateString();
  return moment(time, today ? date.toLocaleTimeString("en") : undefined);
}

function row(one) {
  const bad = one.status >= 400;
  return [
    h("code", { class: "id" }, one.id), when(one.time), `${one.method} ${one.route}`,
    h("span", { class: bad ? "badge bad" : "badge" }, one.code ? `${one.status} ${one.code}` : String(one.status)), h("span", { class: "figures" }, seconds(one.seconds)),
  ];
}
