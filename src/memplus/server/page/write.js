// Texts and files, written in parts, so that progress is real and nothing is written twice.
import { at, call, Failure, randomId } from "./api.js";
import { actions, announce, button, check, field, filled, form, h, problem, some, submit } from "./dom.js";
import { counted } from "./format.js";
import { to } from "./memories.js";

const PART = 16_384;
const jobs = new Map();
const REFUSED = [400, 413, 415, 422];
let keys = 0;
addEventListener("otherkey", () => {
  keys += 1;
  for (const job of jobs.values()) job.left = true;
  jobs.clear();
});

export function writing({ name, refresh }) {
  const place = h("div", {}, jobs.get(name)?.element);
  const begin = async (made, sent, items, flush) => {
    if (jobs.get(name)?.running) throw new Failure("Something is being written here; wait for its end.", { id: "" });
    const empty = items.find(({ bytes }) => bytes.length === 0);
    if (empty) throw new Failure(`${empty.title} is empty.`, { id: "" });
    const job = new Job(name, items, Boolean(flush), refresh);
    jobs.set(name, job);
    place.replaceChildren(job.element);
    if (await job.run() && filled(made) === sent) made.reset();  // else the next text is there already
  };
  const flush = () => check("Compress the rest at once", { name: "flush", hint: "Otherwise what does not fill a chunk is read as plain text until more comes." });
  return [
    place,
    form({ class: "card" }, ({ text, source, flush }, made) =>
      begin(made, filled(made), [{ title: source || "The text", source, bytes: new TextEncoder().encode(text) }], flush),
    h("h3", {}, "A text"),
    field("Text", { tag: "textarea", name: "text", rows: 7, required: true }),
    field("Source", { name: "source", maxlength: 500, hint: "Where it is from: evidence names it, and all of it can be forgotten by this name." }),
    flush(), actions(submit("Write the text"))),
    form({ class: "card" }, async ({ flush }, made) => {
      const mine = keys;
      const sent = filled(made);
      const chosen = Array.from(made.querySelector("[type=file]").files, async (file) => (
        { title: file.name, file: true, bytes: new Uint8Array(await file.arrayBuffer()) }));
      const items = await Promise.all(chosen);
      if (mine === keys) await begin(made, sent, items, flush);
    },
    h("h3", {}, "Files"),
    field("Text files", { name: "files", type: "file", multiple: true, required: true, hint: "Plain text, gzipped or not. The name of a file is its source." }),
    flush(), actions(submit("Write the files"))),
  ];
}

/** Each part ends behind a line if there is one, else a word, and never within a character. */
function parts(bytes) {
  let text = "\0";
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch { /* packed, or in another encoding: the server knows */ }
  if (text.includes("\0")) return [bytes];
  const made = [];
  for (let start = 0; start < bytes.length; start += made.at(-1).length) {
    const end = start + PART >= bytes.length ? bytes.length : border(bytes, start, start + PART);
    made.push(bytes.subarray(start, end));
  }
  return made;
}

function border(bytes, start, end) {
  const found = [10, 32].map((mark) => bytes.lastIndexOf(mark, end - 1) + 1).find((one) => one > start);
  while (!found && (bytes[end] & 0xc0) === 0x80) end -= 1;
  return found ?? end;
}

/** Several texts on their way into a memory. */
class Job {
  constructor(name, items, flush, refresh) {
    Object.assign(this, { name, flush, refresh, done: 0, running: false, stopping: false, left: false, without: [], told: new Map() });
    this.parts = items.flatMap((item) => parts(item.bytes).map((bytes, place, all) => (
      { ...item, item, bytes, first: place === 0, last: place === all.length - 1, key: `page-${randomId()}` })));
    this.bar = h("progress", { "aria-label": "Written", max: this.parts.length });
    this.status = h("p", {});
    this.trouble = h("div", {});
    this.receipts = h("ul", {});
    this.buttons = actions();
    this.element = h("section", { class: "card" }, h("h3", {}, "Progress"), this.bar, this.status, this.receipts, this.trouble, this.buttons);
  }

  /** Write what is left, until it is done, or fails, or is stopped, or left; whether all is written. */
  async run() {
    const total = this.parts.length;
    let refused;
    this.stopping = false;
    this.running = true;
    this.trouble.replaceChildren();
    this.buttons.replaceChildren(...(total > 1 ? [button("Stop after this part", () => { this.stopping = true; })] : []));
    addEventListener("beforeunload", stay);
    try {
      while (this.done < total && !this.stopping && !this.left) await this.next(this.parts[this.done], total);
    } catch (error) {
      this.trouble.append(problem(error));
      if (REFUSED.includes(error.status)) refused = this.parts[this.done].item;  // it would be again
    }
    removeEventListener("beforeunload", stay);
    this.running = false;
    if (this.left) return false;
    const all = this.done === total;
    this.bar.value = this.done;
    this.status.textContent = all ? `All ${this.without.length ? `but ${this.without.join(", ")}` : "of it"} is written, and lasts.` : `${this.done} of ${counted(total, "part")} are written, and last; the rest is not.`;
    announce(this.status.textContent);
    const goOn = refused ? this.parts.at(-1).item !== refused && button("Go on without it", () => this.skip(refused), "main") : button("Go on", () => this.run(), "main");
    this.buttons.replaceChildren(...some([all ? h("a", { href: to(this.name) }, "Ask about it") : goOn]));
    await this.refresh().catch(() => {});
    return all;
  }

  /** Write the other texts. */
  skip(item) {
    this.without.push(item.title);
    this.parts = this.parts.filter((one, place) => place < this.done || one.item !== item);
    this.bar.max = this.parts.length;
    return this.run();
  }

  async next(part, total) {
    if (total > 1) this.bar.value = this.done;
    this.status.textContent = `${part.title}: part ${this.done + 1} of ${total} is being written.`;
    if (part.first) announce(this.status.textContent);
    const written = await this.send(part);
    this.done += 1;
    const told = this.told.get(part.item) ?? { tokens: 0, writes: 0 };
    this.told.set(part.item, { tokens: told.tokens + written.tokens, writes: told.writes + written.writes.length, waiting: written.waiting });
    this.receipts.replaceChildren(...Array.from(this.told, ([{ title }, { tokens, writes, waiting }]) =>
      h("li", {}, h("strong", {}, title), `: ${counted(tokens, "token")}, ${counted(writes, "write")}`, waiting > 0 && `; ${counted(waiting, "token")} wait for more text`)));
  }

  /** The same key when it is sent again, so that what had arrived is not written twice. */
  send({ file, title, source, bytes, last, key }) {
    const flush = this.flush && last;
    let body = { source, flush, text: file ? "" : new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes) };
    if (file) {
      body = new FormData();
      body.set("file", new File([bytes], title));
      body.set("flush", flush);
    }
    return call("POST", at`v1/memories/${this.name}/` + (file ? "files" : "writes"), body, { headers: { "Idempotency-Key": key } });
  }
}

const stay = (event) => event.preventDefault();
