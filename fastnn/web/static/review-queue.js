// The digits to review and the verdicts on them. A verdict counts at once, and is sent to the server behind the scenes.

import { ApiError, request, retryDelay } from "./common.js";

export const hasStatus = (error, ...statuses) => error instanceof ApiError && statuses.includes(error.status);

const RESULT = { accept: "accepted", relabel: "accepted", reject: "rejected" };

/**
 * Fires "change" when something is to be shown anew, "saved" when no verdict waits, "skipped" with the error when another
 * reviewer was faster, and "failure" with the error and the number of verdicts that were taken back.
 */
export class ReviewQueue extends EventTarget {
  digits = []; // to review, the first one first
  reviewed = []; // by this tab: {digit, action, state, label}
  counts = { pending: 0, accepted: 0, rejected: 0 };
  history = []; // latest reviews: {action, label, reviewer, created}
  token = "";
  #outbox = []; // verdicts that the server has not confirmed, oldest first
  #touched = []; // ids of all digits of verdicts, in their order
  #sending = false;

  get unsaved() {
    return this.#outbox.length;
  }

  /** Fetch more digits. */
  async fetch() {
    const { token } = this;
    // The answer may not know of the verdicts that wait, nor of those that are given until it is here.
    const known = this.#touched.length - this.#outbox.length;
    const found = await request("api/review?limit=30", { token });
    if (token !== this.token) return;
    const recent = new Set([...this.#touched.slice(known), ...this.digits.map(({ id }) => id)]);
    this.digits.push(...found.digits.filter(({ id }) => !recent.has(id)));
    if (known === this.#touched.length) {
      this.counts = { pending: found.pending, accepted: found.accepted, rejected: found.rejected };
      this.history = found.history;
    }
    this.#fire("change");
  }

  /** Give a verdict on the first digit: accept, reject or relabel. */
  judge(action, { label, reviewer }) {
    const digit = this.digits[0];
    const verdict = { action, digit, reviewer, created: Date.now(), label: action === "reject" ? null : label ?? digit.label };
    this.#give(verdict);
  }

  /** Take the last verdict of this tab back. */
  undo({ reviewer }) {
    const { digit, action, state, label } = this.reviewed.at(-1);
    this.#give({ action: "undo", digit, reviewer, created: Date.now(), undone: { digit, action, state, label } });
  }

  /** Forget everything, for another token. */
  clear() {
    this.digits = [];
    this.#outbox = [];
    this.#touched = [];
  }

  #give(verdict) {
    this.#apply(verdict);
    this.#outbox.push(verdict);
    this.#touched.push(verdict.digit.id);
    this.#fire("change");
    this.#send();
  }

  #apply({ action, digit, label, reviewer, created }) {
    if (action === "undo") {
      const { state } = this.reviewed.pop();
      this.digits.unshift(digit);
      this.#count(state, -1);
    } else {
      this.digits.shift();
      this.reviewed.push({ digit, action, state: RESULT[action], label });
      this.#count(RESULT[action], 1);
    }
    this.history.unshift({ action, label, reviewer, created });
  }

  /** Undo `apply`, for a verdict that could not be saved. */
  #revert({ action, digit, undone }) {
    if (action === "undo") {
      this.digits.shift();
      this.reviewed.push(undone);
      this.#count(undone.state, 1);
    } else {
      this.digits.unshift(digit);
      this.reviewed.pop();
      this.#count(RESULT[action], -1);
    }
    this.history.shift();
  }

  #count(state, change) {
    this.counts[state] += change;
    this.counts.pending -= change;
  }

  /** Send the verdicts one after the other, so that they are saved in the order in which they were given. */
  async #send() {
    if (this.#sending) return;
    this.#sending = true;
    while (this.#outbox.length) {
      const verdict = this.#outbox[0];
      const { token } = this;
      try {
        await this.#post(verdict);
        if (this.#outbox[0] === verdict) this.#outbox.shift();
      } catch (error) {
        if (token !== this.token) break;
        if (hasStatus(error, 404, 409)) this.#skip(verdict, error);
        // The server is only busy: the verdicts wait a little.
        else if (hasStatus(error, 429)) await new Promise((resolve) => { setTimeout(resolve, retryDelay(error)); });
        else this.#takeBack(error);
      }
      this.#fire("change");
    }
    this.#sending = false;
    this.#fire("saved");
  }

  #post({ action, digit, label, reviewer, undone }) {
    const body = { action, reviewer };
    if (action === "relabel") body.label = label;
    // Undo only what this tab has done: another reviewer may have decided since.
    if (undone) Object.assign(body, { state: undone.state, label: undone.label });
    return request(`api/review/${encodeURIComponent(digit.id)}`, { body, token: this.token });
  }

  /** Leave a digit to another reviewer, with all that was decided about it here. */
  #skip({ digit, action }, error) {
    const others = (one) => one.digit !== digit;
    this.#outbox = this.#outbox.filter(others);
    this.reviewed = this.reviewed.filter(others);
    this.digits = this.digits.filter((one) => one !== digit);
    this.#fire("skipped", { error, action });
  }

  #takeBack(error) {
    const n = this.#outbox.length;
    while (this.#outbox.length) this.#revert(this.#outbox.pop());
    this.#touched.length -= n;
    this.#fire("failure", { error, n });
  }

  #fire(kind, detail = {}) {
    this.dispatchEvent(Object.assign(new Event(kind), detail));
  }
}
