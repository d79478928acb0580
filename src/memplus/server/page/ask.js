// A question to a memory: the answer, how sure it is, and the texts that it stands on.
import { at, call } from "./api.js";
import { announce, field, filled, form, h, hint, submit } from "./dom.js";
import { counted, percent, seconds } from "./format.js";
import { to } from "./memories.js";
import { quoted } from "./quote.js";

const kept = new Map();
const SHOWN = 3;
addEventListener("otherkey", () => kept.clear());

/** What was answered may be forgotten by now, or be another memory's of this name. */
export const dropAnswers = (name) => kept.delete(name);

export function asking({ name, held, may }) {
  if (!kept.has(name)) kept.set(name, []);
  const told = kept.get(name);
  const answers = h("div", { class: "answers" });
  const draw = () => answers.replaceChildren(...told);
  draw();
  const question = field("Question", { tag: "textarea", name: "question", rows: 2, required: true, hint: "Enter asks; Shift and Enter begin a new line. Asking never changes the memory." });
  const made = form({ class: "card" }, async ({ question, least }) => {
    announce("The memory is being read.");
    const sent = filled(made);
    const asked = { question, evidence: true };
    if (least !== "") asked.min_confidence = Number(least);
    const answer = await call("POST", at`v1/memories/${name}/ask`, asked);
    if (kept.get(name) !== told) return;  // let go meanwhile: it is another's turn, or something was forgotten
    told.unshift(answered(question, answer));
    draw();
    announce(spoken(answer));
    if (filled(made) === sent) made.querySelector("textarea").select();  // else the next one is being typed
  },
  question,
  h("div", { class: "row" },
    submit("Ask"),
    field("Least confidence", { kind: "field small", name: "least", type: "number", min: 0, max: 1, step: 0.01, placeholder: "auto" })));
  made.querySelector("textarea").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    made.requestSubmit();
  });
  const empty = held.tokens + held.waiting === 0;
  return [
    empty && h("p", { class: "note" }, "Nothing is written here yet", may("write") && [": ", h("a", { href: to(name, "write") }, "write the first text")], "."),
    made, answers,
  ];
}

function spoken(answer) {
  const passages = counted(answer.evidence.length, "passage");
  return answer.declined
    ? `The memory declines to answer; its confidence is ${percent(answer.confidence)}.`
    : `Answer: ${answer.answer}. Confidence ${percent(answer.confidence)}; it stands on ${passages}.`;
}

function answered(question, answer) {
  const evidence = answer.evidence.map((one) => quoted(one));
  const rest = evidence.splice(SHOWN);
  const head = answer.declined
    ? [h("p", {}, h("strong", {}, "It declines to answer. "), answer.answer),
      answer.withheld && h("details", {}, h("summary", {}, "What it was not sure enough of"), h("p", {}, answer.withheld))]
    : h("p", { class: "answer" }, answer.answer || "(no words)");
  return h("article", { class: "card" },
    h("h3", { class: "question" }, question), head,
    h("p", { class: "figures" }, `Confidence ${percent(answer.confidence)}, ${seconds(answer.seconds)}, ${counted(answer.usage.total_tokens, "token")}`),
    h("h4", {}, answer.declined ? "What it looked at" : "What it stands on"),
    evidence.length ? evidence : hint("It drew on no text of this memory."),
    rest.length > 0 && h("details", {}, h("summary", {}, `${counted(rest.length, "passage")} more`), rest));
}
