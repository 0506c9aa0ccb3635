// Shared by all pages: API requests, messages and browser storage. Text is set by textContent only.

import { createElement, drawImage } from "./answer.js";

export const SIDE = 28;

/** Names of the classes that the server collects; a label is a position among them. */
export const classes = JSON.parse(document.body.dataset.classes);

/** What the pages call the things that are drawn, see words.py: {one: "digit", several: "digits", ...}. */
export const words = JSON.parse(document.body.dataset.words);

const RETRY_MS = 3000; // when the server does not say how long to wait
const MAX_RETRY_MS = 60000;

/** An error response of the API. */
export class ApiError extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter; // s, or null
  }
}

/**
 * Send a request to the API and return the decoded JSON; `body` is sent as JSON, or as it is if it is a Blob. Throws
 * ApiError, or TypeError if the server cannot be reached.
 */
export async function request(path, { body, token, signal, keepalive = false } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  const isFile = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = isFile ? body.type : "application/json";
  const response = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers,
    body: body === undefined || isFile ? body : JSON.stringify(body),
    signal,
    keepalive, // so that it is sent while the page is left
    credentials: "omit",
    cache: "no-store",
  });
  if (response.ok) return response.json();
  throw await responseError(response);
}

/** The ApiError that a response describes. */
export async function responseError(response) {
  const error = await response.json().catch(() => ({}));
  const detail = typeof error.detail === "string" ? error.detail : `the server answered with status ${response.status}`;
  const wait = response.headers.get("Retry-After");
  return new ApiError(response.status, detail, /^\d+$/.test(wait) ? Number(wait) : null);
}

/** The text that describes a failed request. */
export function errorText(error) {
  return error instanceof ApiError ? error.message : "the server cannot be reached";
}

/** Milliseconds until a failed request may be sent again; null if it would fail again. */
export function retryDelay(error) {
  if (!(error instanceof ApiError)) return RETRY_MS;
  // A 409 that says when to try again: collecting is closed.
  if (error.status !== 429 && error.status < 500 && (error.status !== 409 || error.retryAfter === null)) return null;
  return error.retryAfter === null ? RETRY_MS : Math.min(1000 * error.retryAfter, MAX_RETRY_MS);
}

/** "a" or "an", as it is said before a number, a letter or a word; words.py has the same rule. */
export function article(name) {
  return /^(8|11$|18$|[aefhilmnorsx]$|(?!u$|uni|use|eu|one)[aeiou])/i.test(String(name)) ? "an" : "a";
}

/** "1 digit", "2 digits", "1,000 digits". */
export function plural(n, one, several = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : several}`;
}

/** A date and a time as the visitor writes them. */
export function dateText(date) {
  return new Date(date).toLocaleString(navigator.languages, { dateStyle: "medium", timeStyle: "short" });
}

/** Make an element with a date and a time. */
export function timeElement(date) {
  const time = createElement("time", { text: dateText(date) });
  time.dateTime = new Date(date).toISOString();
  return time;
}

export function showMessage(element, text, kind = "") {
  element.textContent = text;
  element.className = `message ${kind}`;
}

/** Show a text in a status or an alert. Screen readers announce it whenever it is written, also if it is the same. */
export function announce(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Enable or disable a button. `disabled` is not used, because it takes the keyboard focus from the pressed button. */
export function setEnabled(button, enabled) {
  button.setAttribute("aria-disabled", String(!enabled));
}

/** Show figures [[name, number or text]] in a definition list. */
export function showFigures(list, entries) {
  list.replaceChildren(...entries.map(([name, value]) => createElement("div", {
    children: [createElement("dt", { text: name }), createElement("dd", { text: typeof value === "number" ? value.toLocaleString("en") : value })],
  })));
}

/** Show facts [[name, text]] in a definition list. */
export function showFacts(list, facts) {
  list.replaceChildren(...facts.flatMap(([name, text]) => [createElement("dt", { text: name }), createElement("dd", { text })]));
}

/** Make a picture of a square image; `label` says what it shows to those who do not see it. */
export function pictureOf(image, label) {
  const picture = createElement("canvas", { className: "picture" });
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", label);
  drawImage(picture, image);
  return picture;
}

/** Make a random UUID. crypto.randomUUID exists only on https and localhost. */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** A value in browser storage. The browser may refuse access; the value is then not remembered. */
export function storedValue(storage, key) {
  return {
    get() { try { return storage()[key] ?? null; } catch { return null; } },
    set(value) { try { storage()[key] = value; } catch { /* not remembered */ } },
    remove() { try { delete storage()[key]; } catch { /* was not remembered */ } },
  };
}

/** Records in browser storage, each under its own key, so that tabs do not overwrite each other's records. */
export function storedRecords(storage, prefix) {
  const parse = (text) => { try { return JSON.parse(text); } catch { return null; } };
  return {
    all() {
      try {
        return Object.entries(storage()).filter(([key]) => key.startsWith(prefix)).map(([, text]) => parse(text));
      } catch {
        return [];
      }
    },
    /** Store a record; returns whether the browser has stored it. */
    put(id, record) {
      try {
        storage().setItem(prefix + id, JSON.stringify(record));
        return true;
      } catch {
        return false;
      }
    },
    remove(id) { try { storage().removeItem(prefix + id); } catch { /* was not stored */ } },
  };
}
