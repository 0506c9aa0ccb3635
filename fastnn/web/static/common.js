// What all pages share: asking the server, and small pieces of the page. Text goes in by textContent alone.

export const SIDE = 28;

const SOON = 3000; // ms; then a server that did not say when is asked once more
const LATE = 60000; // ms; no page waits longer than that

export class Refused extends Error {
  constructor(status, detail, wait) {
    super(detail);
    this.status = status;
    this.wait = wait; // s, or null
  }
}

/** Ask the API; returns its answer, or throws Refused, or TypeError where the server cannot be reached. */
export async function ask(path, { body, token, signal } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    credentials: "omit",
    cache: "no-store",
  });
  if (answer.ok) return answer.json();
  const told = await answer.json().catch(() => ({}));
  const detail = typeof told.detail === "string" ? told.detail : `the server answered ${answer.status}`;
  const wait = answer.headers.get("Retry-After");
  throw new Refused(answer.status, detail, /^\d+$/.test(wait) ? Number(wait) : null);
}

export function explain(error) {
  return error instanceof Refused ? error.message : "the server cannot be reached";
}

/** In how many ms the same question may be answered; null where it never will be. */
export function later(error) {
  if (!(error instanceof Refused)) return SOON;
  if (error.status !== 429 && error.status < 500) return null;
  return error.wait === null ? SOON : Math.min(1000 * error.wait, LATE);
}

export const find = (id) => document.getElementById(id);

/** Make an element with text or children in it. */
export function make(tag, { className, text, children = [] } = {}) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

export function say(element, text, kind = "") {
  element.textContent = text;
  element.className = `message ${kind}`;
}

/** Let a button be pressed or not. Not by `disabled`, which takes the keyboard's focus from the button just pressed. */
export function allow(button, may) {
  button.setAttribute("aria-disabled", String(!may));
}

/** Show 784 values, 255 = paper, on a canvas of 28 by 28. */
export function paint(canvas, image) {
  const context = canvas.getContext("2d");
  const data = context.createImageData(SIDE, SIDE);
  image.forEach((value, position) => data.data.set([value, value, value, 255], 4 * position));
  context.putImageData(data, 0, 0);
}

/** Make a list of bars; returns a function that shows values: [{share, text, best}]. */
export function bars(list, names) {
  const rows = names.map((name) => {
    const fill = make("div", { className: "fill" });
    const value = make("span", { className: "value", text: "–" });
    const row = make("li", { children: [make("span", { text: name }), make("div", { className: "track", children: [fill] }), value] });
    return { row, fill, value };
  });
  list.replaceChildren(...rows.map(({ row }) => row));
  return (values) => rows.forEach(({ row, fill, value }, position) => {
    const { share, text, best } = values[position];
    fill.style.width = `${100 * share}%`;
    value.textContent = text;
    row.className = best ? "best" : "";
  });
}

export function figures(list, entries) {
  list.replaceChildren(...entries.map(([name, value]) => make("div", {
    children: [make("dt", { text: name }), make("dd", { text: value.toLocaleString("en") })],
  })));
}

/** A UUID; crypto.randomUUID is there only on https and localhost. */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Storage that a browser may refuse. */
export function remembered(storage, key) {
  return {
    get() { try { return storage()[key] ?? null; } catch { return null; } },
    set(value) { try { storage()[key] = value; } catch { /* nothing is remembered, then */ } },
    forget() { try { delete storage()[key]; } catch { /* as above */ } },
  };
}

/** Records of which each has a key of its own in such a storage, so that no tab writes over those of another. */
export function shelf(storage, prefix) {
  const read = (text) => { try { return JSON.parse(text); } catch { return null; } };
  return {
    all() {
      try {
        return Object.entries(storage()).filter(([key]) => key.startsWith(prefix)).map(([, text]) => read(text));
      } catch {
        return [];
      }
    },
    /** Whether it is kept. */
    put(id, record) {
      try {
        storage().setItem(prefix + id, JSON.stringify(record));
        return true;
      } catch {
        return false;
      }
    },
    drop(id) { try { storage().removeItem(prefix + id); } catch { /* then it was not kept either */ } },
    /** Call back when another tab has put or dropped something. */
    watch(changed) {
      addEventListener("storage", ({ key }) => { if (key === null || key.startsWith(prefix)) changed(); });
    },
  };
}
