// Sends drawn digits by itself, and keeps them in this browser until the server confirms that they are stored.

import { ApiError, classes, request, retryDelay, storedRecords } from "./common.js";

const BATCH = 20; // digits in one request
const HOLD_MS = 3000; // the newest digit waits so long, so that it can be deleted
const MOST_KEEPALIVE_BYTES = 60000; // browsers let a page that is left send 64 KiB

const saved = storedRecords(() => localStorage, "fastnn.digit.");

// Another server may have had this address, with other classes; its drawings stay until it is back. Before there were
// classes, labels were digits.
const isDigit = (digit) => typeof digit?.id === "string" && Array.isArray(digit.image) && digit.image.length === 784
  && digit.label in classes && classes[digit.label] === (digit.name ?? String(digit.label));

const bodyOf = (digits, contributor) => ({ digits: digits.map(({ id, image, label }) => ({ id, image, label })), contributor });

/** Fires "change" when digits are added, deleted or sent, and "failure" with the error. */
export class Outbox extends EventTarget {
  unsent = saved.all().filter(isDigit).sort((a, b) => a.drawn - b.drawn); // of an earlier visit, or of another tab
  sent = []; // since the page was opened
  savesAll = true; // whether the browser has saved all digits that wait
  closed = false; // whether the server has refused the last ones because collecting is closed
  #name;
  #newest = null; // the digit that waits
  #inFlight = [];
  #timer = 0;

  constructor(name) {
    super();
    this.#name = name;
  }

  get deletable() {
    return this.#newest !== null && !this.#inFlight.includes(this.#newest);
  }

  /** Keep a digit, and send those before it. */
  add(digit) {
    this.savesAll = saved.put(digit.id, digit) && this.savesAll;
    this.unsent.push(digit);
    this.#newest = digit;
    this.#changed();
    this.#send();
    this.#later(HOLD_MS);
  }

  deleteNewest() {
    if (!this.deletable) return;
    this.#remove([this.#newest]);
    this.#changed();
  }

  /** Send all, the newest digit too. */
  flush() {
    this.#newest = null;
    this.#send();
  }

  /** Change the name of the digits of this visit; those that are sent already are sent again, with the name. */
  rename(name) {
    this.#name = name;
    this.#send();
  }

  /** Send what waits while the page is being left; the answer does not arrive. */
  flushOnLeaving() {
    let body = null;
    for (let n = 1; n <= this.unsent.length; n++) {
      const longer = JSON.stringify(bodyOf(this.unsent.slice(0, n), this.#name));
      if (longer.length > MOST_KEEPALIVE_BYTES) break;
      body = longer;
    }
    if (body === null) return;
    // If it fails, the digits are still saved, and the next visit sends them: the server stores no digit twice.
    fetch("api/digits", {
      method: "POST", headers: { "Content-Type": "application/json" }, body, keepalive: true, credentials: "omit",
    }).catch(() => {});
  }

  #later(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), delay);
  }

  #remove(digits) {
    digits.forEach(({ id }) => saved.remove(id));
    this.unsent = this.unsent.filter((digit) => !digits.includes(digit));
    if (digits.includes(this.#newest)) this.#newest = null;
    this.savesAll ||= this.unsent.length === 0;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** Send one batch after the other; a digit leaves this browser only when the server has it on disk. */
  async #send(size = BATCH) {
    if (this.#inFlight.length) return; // what is added meanwhile follows
    const waiting = this.unsent.filter((digit) => digit !== this.#newest).slice(0, size);
    const renamed = this.sent.filter(({ sentAs }) => sentAs !== this.#name).slice(0, size);
    const batch = this.#inFlight = waiting.length ? waiting : renamed;
    if (!batch.length) return;
    const name = this.#name;
    try {
      await request("api/digits", { body: bodyOf(batch, name) });
      this.closed = false;
      batch.forEach((digit) => { digit.sentAs = name; });
      if (batch === waiting) {
        this.sent.push(...batch);
        this.#remove(batch);
      }
      this.#inFlight = [];
      this.#changed();
      this.#send(size);
    } catch (error) {
      this.#inFlight = [];
      this.#failed(error, batch, size);
    }
  }

  #failed(error, batch, size) {
    const delay = retryDelay(error);
    this.closed = error instanceof ApiError && error.status === 409;
    const refused = error instanceof ApiError && delay === null;
    // One digit that the server refuses must not hold up the others.
    if (refused && batch.length > 1) {
      this.#send(1);
      return;
    }
    if (refused) {
      this.#remove(batch);
      this.sent = this.sent.filter((digit) => !batch.includes(digit));
    }
    this.dispatchEvent(Object.assign(new Event("failure"), { error, refused }));
    this.#changed();
    if (refused) this.#send(size);
    else this.#later(delay ?? HOLD_MS);
  }
}
