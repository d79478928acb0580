// The server's public routes: everything that this page does goes through here.

const KEPT = "memplus-key";
let key = "";
try { key = sessionStorage.getItem(KEPT) ?? ""; } catch { /* kept until the page is left */ }

export const hasKey = () => key !== "";

/** Use another key from now on; whoever keeps something of the one before hears of it, and lets it go. */
export function useKey(value) {
  key = value;
  store("");
  dispatchEvent(new Event("otherkey"));
}

/** The server knows the key: it stays in this tab alone. */
export const keepKey = () => store(key);

function store(value) {
  try {
    if (value) sessionStorage.setItem(KEPT, value); else sessionStorage.removeItem(KEPT);
  } catch { /* as above */ }
}

/** A request that failed: what the server said, and the id by which its log knows it. */
export class Failure extends Error {
  constructor(message, { id, status = 0, code = "", wait = 0 }) {
    super(message);
    Object.assign(this, { id, status, code, wait });
  }
}

export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
}

/** A path with its values escaped: at`v1/memories/${name}`. */
export const at = (strings, ...values) => String.raw({ raw: strings }, ...values.map(encodeURIComponent));

/** The response to a request; `body` is sent as JSON unless it is a form or a file. */
export async function send(method, path, body, { headers = {} } = {}) {
  const id = `page-${randomId()}`;
  const sent = { "X-Request-Id": id, ...headers };
  if (key) sent.Authorization = `Bearer ${key}`;
  const raw = body instanceof FormData || body instanceof Blob || body === undefined;
  if (!raw) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method, headers: sent, body: raw ? body : JSON.stringify(body), cache: "no-store", credentials: "omit",
    });
  } catch {
    dispatchEvent(new Event("unreachable"));
    throw new Failure("The server cannot be reached. What was sent may or may not have arrived.", { id });
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Failure(told.error?.message ?? `The server answered ${response.status}.`, {
    id: response.headers.get("x-request-id") ?? id,
    status: response.status,
    code: told.error?.code,
    wait: Number(response.headers.get("retry-after") ?? 0),
  });
}

export const call = async (...request) => (await send(...request)).json();
export const get = (path) => call("GET", path);
