// Which view stands in the page, who is signed in, and whether the server is well.
import { Failure, get, hasKey, keepKey, useKey } from "./api.js";
import { actions, announce, button, h, problem, some } from "./dom.js";
import { keys } from "./keys.js";
import { memories } from "./memories.js";
import { memory } from "./memory.js";
import { requests } from "./requests.js";
import { server } from "./server.js";
import { signIn } from "./signin.js";

const VIEWS = [
  [/^$/, memories],
  [/^memories\/([^/]+)(?:\/(\w+))?$/, memory],
  [/^requests$/, requests],
  [/^keys$/, keys],
  [/^server$/, server],
];
const STATES = {
  ready: "Ready", loading: "Loading the model", draining: "Stopping", failed: "Not working", away: "Not reachable",
};
const POLL = 30_000;
const POLL_SOON = 1_500;
const main = document.getElementById("main");
const sections = document.getElementById("sections");
const signOut = document.getElementById("sign-out");
let session;
let turn = 0;
let failing = false;
let state;
let timer;

const path = () => (location.hash.startsWith("#/") ? location.hash.slice(2) : "");

async function found() {
  if (!session) {
    session = await get("v1/keys/current");
    keepKey();
  }
  const context = { may: (scope) => session.scopes.includes(scope), session, again: show, changed: startAgain };
  for (const [pattern, view] of VIEWS) {
    const parts = path().match(pattern);
    if (parts) return view(context, ...parts.slice(1).map((one) => one && decoded(one)));
  }
  throw nothing();
}

const nothing = () => new Failure("There is nothing at this address.", { id: "", status: 404 });

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    throw nothing();
  }
}

/** Put the view of the address into the page, and the reader before it. */
async function show({ focus = true } = {}) {
  const mine = ++turn;
  main.setAttribute("aria-busy", "true");
  let view;
  let error;
  try {
    view = await found();
  } catch (caught) {
    error = caught;
  }
  if (mine !== turn) return;
  failing = Boolean(error) && error.status !== 401;
  if (error) view = error.status === 401 ? refused(error) : failed(error);
  main.removeAttribute("aria-busy");
  main.replaceChildren(...some(view.body));
  document.title = `${view.title} · memplus`;
  showSections();
  if (!focus) return;
  const place = view.focus ?? main.querySelector("h1");
  if (place.tabIndex < 0) place.tabIndex = -1;
  place.focus();
  if (!view.focus) scrollTo(0, 0);
}

/** Whoever has no key, or one that the server does not know, is asked for one. */
function refused(error) {
  const given = hasKey();
  session = undefined;
  if (given) useKey("");
  return signIn(startAgain, given && error);
}

function failed(error) {
  const title = error.status === 404 ? "Not found" : "This did not work";
  const again = actions(button("Try again", () => show()), h("a", { href: "#/" }, "To the memories"));
  return { title, body: [h("h1", {}, title), problem(error), again] };
}

/** After signing in or out: everything is asked anew. */
function startAgain(key) {
  if (key !== undefined) useKey(key);
  session = undefined;
  return show();
}

function showSections() {
  const links = [["", "Memories"], ["requests", "Requests"], ["keys", "Keys", "admin"], ["server", "Server"]];
  const seen = links.filter(([, , scope]) => !scope || session?.scopes.includes(scope));
  const here = path().startsWith("memories") ? "" : path();
  sections.hidden = !session;
  signOut.hidden = !hasKey();
  sections.replaceChildren(...seen.map(([to, text]) =>
    h("a", { href: `#/${to}`, "aria-current": to === here && "page" }, text)));
}

/** Whether a form holds something that nobody has sent. */
const typed = () => Array.from(main.querySelectorAll("input, textarea, select")).some((one) => (
  one.type === "checkbox" ? one.checked : one.tagName === "SELECT" ? one.selectedIndex > 0 : one.value !== one.defaultValue));

/** Whether the server is well, from time to time while the page is looked at. */
async function watch() {
  let now = "away";
  try {
    now = (await (await fetch("ready", { cache: "no-store" })).json()).status;
  } catch { /* not reachable */ }
  if (now !== state) {
    const was = state;
    state = now;
    const shown = document.getElementById("state");
    shown.dataset.state = now;
    shown.textContent = STATES[now] ?? now;
    if (was && now === "ready" && (failing || !typed())) show({ focus: false });
  }
  clearTimeout(timer);
  timer = setTimeout(() => (document.hidden ? document.addEventListener("visibilitychange", watch, { once: true }) : watch()),
    now === "ready" ? POLL : POLL_SOON);
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
signOut.addEventListener("click", () => {
  startAgain("").then(() => announce("Signed out."));
});
addEventListener("hashchange", () => show());
addEventListener("unreachable", watch);
show({ focus: false });
watch();
