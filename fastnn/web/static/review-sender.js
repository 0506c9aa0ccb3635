// Sends the verdicts of a reviewer behind the scenes: in their order, several a request, none lost.

import { ApiError, request, retryDelay } from "./common.js";

const MOST = 200; // verdicts in one request

export const hasStatus = (error, ...statuses) => error instanceof ApiError && statuses.includes(error.status);

export const RESULT = { accept: "accepted", relabel: "accepted", reject: "rejected" };

function listed({ action, digit, label, undone }) {
  const verdict = { id: digit.id, action };
  if (action === "relabel") verdict.label = label;
  // Undo only what is known here: another reviewer may have decided since.
  return undone ? { ...verdict, state: undone.state, label: undone.label } : verdict;
}

/**
 * Verdicts {action, digit, label, reviewer, undone: {state, label}}. Fires "change" after each answer, "saved" when none
 * waits, "refused" with the verdict and the error when another reviewer was faster, and "failure" with the error and the
 * verdicts that are taken back, the newest first.
 */
export class Sender extends EventTarget {
  #desk;
  #waiting = []; // not confirmed by the server, oldest first
  #sending = false;

  constructor(desk) {
    super();
    this.#desk = desk;
  }

  get unsaved() {
    return this.#waiting.length;
  }

  give(...verdicts) {
    this.#waiting.push(...verdicts);
    this.#send();
  }

  /** Do not send what waits about a digit. */
  forget(digit) {
    this.#waiting = this.#waiting.filter((verdict) => verdict.digit !== digit);
  }

  clear() {
    this.#waiting = [];
  }

  /** The oldest verdicts of one reviewer. */
  #batch() {
    const [{ reviewer }] = this.#waiting;
    const end = this.#waiting.findIndex((verdict) => verdict.reviewer !== reviewer);
    return this.#waiting.slice(0, Math.min(MOST, end < 0 ? this.#waiting.length : end));
  }

  async #send() {
    if (this.#sending) return;
    this.#sending = true;
    while (this.#waiting.length) {
      const { token } = this.#desk;
      const batch = this.#batch();
      try {
        const body = { reviewer: batch[0].reviewer, reviews: batch.map(listed) };
        const { results } = await request("api/review", { body, token });
        if (token === this.#desk.token) this.#confirm(batch, results);
      } catch (error) {
        if (token !== this.#desk.token) continue;
        // The server is only busy: the verdicts wait a little.
        if (hasStatus(error, 429)) await new Promise((resolve) => { setTimeout(resolve, retryDelay(error)); });
        else this.#takeBack(error);
      }
      this.#fire("change");
    }
    this.#sending = false;
    this.#fire("saved");
  }

  #confirm(batch, results) {
    const sent = new Set(batch);
    this.#waiting = this.#waiting.filter((verdict) => !sent.has(verdict));
    const refused = new Set();
    batch.forEach((verdict, k) => {
      const { status, detail } = results[k];
      // All that was decided about the digit here is void; it is said once.
      if (status === 200 || refused.has(verdict.digit)) return;
      refused.add(verdict.digit);
      this.#fire("refused", { verdict, error: new ApiError(status, detail, null) });
    });
  }

  #takeBack(error) {
    const verdicts = this.#waiting.reverse();
    this.#waiting = [];
    this.#fire("failure", { error, verdicts });
  }

  #fire(kind, detail = {}) {
    this.dispatchEvent(Object.assign(new Event(kind), detail));
  }
}
