// Whether the server is well, and where programs reach it.
import { get, send } from "./api.js";
import { button, facts, h, head } from "./dom.js";
import { bytes, count } from "./format.js";

const SAID = {
  ready: "It answers, the model is loaded, and the store takes what is written.",
  loading: "The model is being loaded.",
  draining: "It is about to stop: what runs ends, nothing new begins.",
  failed: "The model could not be loaded, or the store takes nothing. Its log says why.",
};
const FIGURES = [
  ["requests_running", "Questions being answered", count],
  ["requests_waiting", "Questions waiting", count],
  ["memories_open", "Memories open", count],
  ["resident_bytes", "Memories in RAM", bytes],
  ["store_bytes", "Store on the disk", bytes],
];

export async function server({ again }) {
  const [version, ready, metrics] = await Promise.all([
    get("version"),
    fetch("ready", { cache: "no-store" }).then((one) => one.json()),
    send("GET", "metrics").then((one) => one.text()).catch(() => ""),
  ]);
  const figures = FIGURES.map(([name, words, shown]) => {
    const found = metrics.match(new RegExp(`^memplus_${name} (\\S+)$`, "m"));
    return found && [words, shown(Number(found[1]))];
  }).filter(Boolean);
  const base = new URL("v1", document.baseURI.replace(/#.*/, "")).href;
  return {
    title: "Server",
    body: [
      head("Server", button("Look again", () => again())),
      h("section", { class: "card" }, h("h2", {}, "Health"),
        h("p", {}, h("span", { class: ready.status === "ready" ? "badge good" : "badge bad" }, ready.status), " ", SAID[ready.status]),
        facts([["Model", version.model], ["Version", version.version], ...figures])),
      h("section", { class: "card" }, h("h2", {}, "Programs"),
        h("p", {}, "Clients of the OpenAI API need this address and a key; the header ", h("code", {}, "X-Memory-Id"), " names the memory."),
        facts([["Base URL", h("code", {}, base)], ["Tools (MCP)", h("code", {}, new URL("mcp", base).href)]])),
    ],
  };
}
