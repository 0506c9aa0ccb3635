// The digits to review one by one, and the verdicts on them. A verdict counts at once, and is sent behind the scenes.

import { Lease } from "./review-lease.js";
import { RESULT, Sender } from "./review-sender.js";

const BATCH = 30; // digits that are fetched at once
const MOST = 100; // the server gives no more

/**
 * Fires "change" when something is to be shown anew, "saved" when no verdict waits, "refused" with the error when another
 * reviewer was faster, and "failure" with the error and the number of verdicts that were taken back.
 */
export class ReviewQueue extends EventTarget {
  digits = []; // to review, the first one first
  reviewed = []; // by this tab: {digit, action, state, label}
  counts = { pending: 0, accepted: 0, rejected: 0 };
  history = []; // latest reviews: {action, label, reviewer, created}
  #desk;
  #lease;
  #sender;
  #skipped = new Set(); // ids
  #touched = []; // ids of all digits of verdicts, in their order

  constructor(desk) {
    super();
    this.#desk = desk;
    this.#lease = new Lease(desk);
    this.#sender = new Sender(desk);
    for (const kind of ["change", "saved"]) this.#sender.addEventListener(kind, () => this.#fire(kind));
    this.#sender.addEventListener("refused", (event) => this.#drop(event));
    this.#sender.addEventListener("failure", (event) => this.#takeBack(event));
  }

  get unsaved() {
    return this.#sender.unsaved;
  }

  /** How many digits are at hand that were not skipped. */
  get fresh() {
    return this.digits.filter(({ id }) => !this.#skipped.has(id)).length;
  }

  /** Fetch more digits; those that were skipped come last. */
  async fetch() {
    const lease = this.#lease;
    // The answer may not know of the verdicts that wait, nor of those that are given until it is here.
    const known = this.#touched.length - this.unsaved;
    const found = await lease.fetch({ limit: Math.min(MOST, BATCH + this.#skipped.size) });
    if (lease !== this.#lease) return;
    const recent = new Set([...this.#touched.slice(known), ...this.digits.map(({ id }) => id)]);
    // The first digit is on the screen: it stays where it is.
    const skipped = this.digits.findIndex(({ id }, k) => k > 0 && this.#skipped.has(id));
    this.digits.splice(skipped < 0 ? this.digits.length : skipped, 0, ...found.digits.filter(({ id }) => !recent.has(id)));
    if (known === this.#touched.length) {
      this.counts = { pending: found.pending, accepted: found.accepted, rejected: found.rejected };
      this.history = found.history;
    }
    this.#fire("change");
  }

  /** Give a verdict on the first digit: accept, reject or relabel. */
  judge(action, { label, reviewer }) {
    const digit = this.digits[0];
    this.#give({ action, digit, reviewer, created: Date.now(), label: action === "reject" ? null : label ?? digit.label });
  }

  /** Put the first digit at the end, without a verdict. */
  skip() {
    const digit = this.digits.shift();
    this.#skipped.add(digit.id);
    this.digits.push(digit);
    this.#fire("change");
  }

  /** Take the last verdict of this tab back. */
  undo({ reviewer }) {
    const { digit, action, state, label } = this.reviewed.at(-1);
    this.#give({ action: "undo", digit, reviewer, created: Date.now(), undone: { digit, action, state, label } });
  }

  /** Give the digits back for other reviewers. */
  async release() {
    const lease = this.#lease;
    this.#lease = new Lease(this.#desk);
    this.digits = [];
    this.#skipped.clear();
    await lease.release();
  }

  /** Forget everything, for another token. */
  clear() {
    this.release();
    this.#sender.clear();
    this.#touched = [];
  }

  #give(verdict) {
    this.#apply(verdict);
    this.#touched.push(verdict.digit.id);
    this.#sender.give(verdict);
    this.#fire("change");
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
    this.digits = this.digits.filter((one) => one !== digit);
    if (action === "undo") {
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

  /** Leave a digit to another reviewer, with all that was decided about it here. */
  #drop({ verdict, error }) {
    const { digit, action } = verdict;
    const others = (one) => one.digit !== digit;
    this.#sender.forget(digit);
    this.reviewed = this.reviewed.filter(others);
    this.digits = this.digits.filter((one) => one !== digit);
    this.#fire("refused", { error, action });
  }

  #takeBack({ error, verdicts }) {
    for (const verdict of verdicts) this.#revert(verdict);
    this.#touched.length -= verdicts.length;
    this.#fire("failure", { error, n: verdicts.length });
  }

  #fire(kind, detail = {}) {
    this.dispatchEvent(Object.assign(new Event(kind), detail));
  }
}
