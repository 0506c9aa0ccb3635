// Screens of digits of one label that are reviewed at once: the one that is shown, those before, and those after it.

import { errorText, plural, retryDelay } from "./common.js";
import { nameOf } from "./review-labels.js";
import { Lease } from "./review-lease.js";
import { RESULT, Sender } from "./review-sender.js";

const SCREEN = 100; // digits
const POLL_MS = 3000; // how often to look for new digits when none is left

/** The mark of a drawing that is of no class; other marks are labels. */
export const REJECT = -1;

/** Digits that are lent to this page, and the marks of the wrong ones: a map from ids to labels or REJECT. */
class Screen {
  digits = [];
  marks = new Map();

  constructor(desk, label) {
    this.lease = new Lease(desk);
    this.label = label;
  }

  /** Fetch the digits; returns how many wait of each class. */
  async load() {
    const { digits, waiting } = await this.lease.fetch({ limit: SCREEN, label: nameOf(this.label) });
    this.digits = digits;
    return waiting;
  }

  /** How many are marked to be rejected, and to be relabelled. */
  get marked() {
    const marks = this.digits.map(({ id }) => this.marks.get(id));
    return [marks.filter((mark) => mark === REJECT).length, marks.filter((mark) => mark >= 0).length];
  }

  verdicts(reviewer) {
    return this.digits.map((digit) => {
      const mark = this.marks.get(digit.id);
      const [action, label] = mark === undefined ? ["accept", digit.label] : mark === REJECT ? ["reject", null] : ["relabel", mark];
      return { action, digit, label, reviewer, screen: this };
    });
  }
}

/** Fires "open" when other digits are shown, and "change" when something else is to be shown anew. */
export class Screens extends EventTarget {
  current = null;
  waiting = {}; // digits by class
  done = { text: "", kind: "" }; // what was done last
  label = 0;
  #desk;
  #sender;
  #past = []; // screens that were accepted, the last one at the end
  #ahead = []; // screens that come next: they are fetched before they are needed
  #loading = false;
  #timer = 0;
  #visit = 0; // changes when another label, or nothing, is shown

  constructor(desk) {
    super();
    this.#desk = desk;
    this.#sender = new Sender(desk);
    this.#sender.addEventListener("change", () => this.#fire("change"));
    this.#sender.addEventListener("saved", () => this.#saved());
    this.#sender.addEventListener("refused", (event) => this.#refused(event));
    this.#sender.addEventListener("failure", (event) => this.#takeBack(event));
  }

  get unsaved() {
    return this.#sender.unsaved;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  /** Show digits of a label; throws if they cannot be loaded. */
  async start(label) {
    this.label = label;
    const visit = this.#visit;
    const screen = new Screen(this.#desk, label);
    const waiting = await screen.load();
    if (visit !== this.#visit) {
      screen.lease.release();
      return;
    }
    this.waiting = waiting;
    this.done = { text: "", kind: "" };
    this.#open(screen);
    this.#fill();
  }

  /** Give all digits back for other reviewers. */
  async stop() {
    this.#visit += 1;
    clearTimeout(this.#timer);
    const screens = [this.current, ...this.#ahead].filter(Boolean);
    this.current = null;
    this.#ahead = [];
    this.#past = [];
    this.#loading = false;
    await Promise.all(screens.map(({ lease }) => lease.release()));
  }

  /** Forget everything, for another token. */
  clear() {
    this.stop();
    this.#sender.clear();
  }

  /** Send the verdicts on the screen, and show the next one at once. */
  accept(text) {
    const verdicts = this.current.verdicts(this.#desk.reviewer);
    this.done = { text, kind: "" };
    this.#advance();
    this.#sender.give(...verdicts);
    this.#fill();
  }

  /** Take the last screen back: its digits and marks are shown again. */
  undo() {
    this.#goBack();
    const screen = this.current;
    screen.isLent = false;
    this.done = { text: "Screen taken back", kind: "" };
    this.#sender.give(...screen.verdicts(this.#desk.reviewer).map(
      ({ action, label, ...verdict }) => ({ ...verdict, action: "undo", undone: { state: RESULT[action], label } })));
    this.#fire("change");
  }

  #open(screen) {
    this.current = screen;
    this.#fire("open");
  }

  #advance() {
    this.#past.push(this.current);
    this.#open(this.#ahead.shift() ?? null);
  }

  #goBack() {
    if (this.current?.digits.length) this.#ahead.unshift(this.current);
    else this.current?.lease.release();
    this.#open(this.#past.pop());
  }

  /** Fetch what is missing: the screen that is shown, and the next one. */
  async #fill() {
    clearTimeout(this.#timer);
    if (this.#loading || (this.current?.digits.length && this.#ahead.length)) return;
    const visit = this.#visit;
    this.#loading = true;
    const screen = this.current?.digits.length ? new Screen(this.#desk, this.label) : this.current ?? new Screen(this.#desk, this.label);
    let wait = POLL_MS;
    let waiting = this.waiting;
    try {
      waiting = await screen.load();
      if (visit === this.#visit && this.done.isFailure) this.done = { text: "", kind: "" };
    } catch (error) {
      if (visit === this.#visit) this.done = { text: `Cannot load more: ${errorText(error)}`, kind: "bad", isFailure: true };
      wait = Math.max(wait, retryDelay(error) ?? 0);
    }
    if (visit !== this.#visit) {
      screen.lease.release();
      return;
    }
    this.#loading = false;
    this.waiting = waiting;
    this.#place(screen);
    if (!this.current.digits.length) this.#timer = setTimeout(() => this.#fill(), wait);
  }

  #place(screen) {
    const isMissing = !this.current?.digits.length;
    if (isMissing) this.#open(screen);
    else if (screen.digits.length) this.#ahead.push(screen);
    else screen.lease.release();
    this.#fire("change");
    if (isMissing && screen.digits.length) this.#fill();
  }

  /** Borrow the digits of a screen again that was taken back; others may have got some of them meanwhile. */
  async #saved() {
    const screen = this.current;
    if (screen?.isLent === false) {
      screen.isLent = true;
      const before = screen.digits;
      await screen.load().catch(() => {});
      if (screen !== this.current || !screen.digits.length) screen.digits = before;
      else this.#fire("open");
    }
    this.#fire("change");
  }

  #refused({ verdict: { digit, screen, action }, error }) {
    this.#sender.forget(digit);
    screen.digits = screen.digits.filter((one) => one !== digit);
    if (screen === this.current) this.#fire("open");
    this.done = { text: `${action === "undo" ? "Not undone" : "Left out"}: ${errorText(error)}`, kind: "bad" };
  }

  #takeBack({ error, verdicts }) {
    if (this.#desk.isRefused(error)) return;
    for (const { screen, action } of verdicts) {
      // The first verdict of a screen brings the whole screen back.
      if (action !== "undo" && this.#past.at(-1) === screen) this.#goBack();
      else if (action === "undo" && this.current === screen) this.#advance();
    }
    this.done = { text: `Failed: ${errorText(error)}. ${plural(verdicts.length, "verdict was", "verdicts were")} taken back`, kind: "bad" };
  }

  #fire(kind) {
    this.dispatchEvent(new Event(kind));
  }
}
