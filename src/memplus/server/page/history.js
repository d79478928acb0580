// The states that a memory can go back to.
import { at, call, get } from "./api.js";
import { dropAnswers } from "./ask.js";
import { announce, ask, button, h, table } from "./dom.js";
import { count, counted, since } from "./format.js";

export async function history({ name, may, again }) {
  const states = (await get(at`v1/memories/${name}/history`)).data.reverse();
  const now = states[0];
  const rows = states.map((one, place) => [
    what(one), count(one.tokens), count(one.waiting), since(one.time),
    place === 0 ? h("span", { class: "badge" }, "Now") : may("write") && back(name, one, now, again),
  ]);
  return [
    h("p", {}, "The memory can become what it was. What came later is gone then, unless a fork keeps it."),
    states.length > 0 && table("States, the newest first", ["State", "Tokens", "Waiting", "When", ""], rows),
  ];
}

const named = (one) => (one.write ? `After write ${one.write}` : "The beginning") + (one.waiting ? `, ${counted(one.waiting, "token")} waiting` : "");
const what = (one) => named(one) + (one.what === "forget" ? ", and forgetting" : "");

function back(name, state, now, again) {
  const to = named(state).replace(/^./, (first) => first.toLowerCase());
  return button("Go back here", async () => {
    const done = await ask(`Go back to ${to}?`, {
      action: "Go back", kind: "danger",
      body: [h("p", {}, `${counted(Math.max(0, now.tokens + now.waiting - state.tokens - state.waiting), "token")} that were written later are gone then.`)],
      handler: () => call("POST", at`v1/memories/${name}/rollback`, { commit: state.commit }),
    });
    if (!done) return;
    dropAnswers(name);
    await again();
    announce(`The memory is what it was ${to}.`);
  }, "quiet", `Go back to ${to}`);
}
