// Reviewing digits one after the other.

import { byId, createElement, drawImage, percent } from "./answer.js";
import { classes, dateText, errorText, plural, retryDelay, setEnabled, showFacts, showFigures, showMessage, timeElement } from "./common.js";
import { aLabel, fillLabels, isKey, isTyped, labelOfKey, nameOf } from "./review-labels.js";
import { ReviewQueue } from "./review-queue.js";

const REFILL_BELOW = 12; // fetch more digits when fewer than this are at hand
const POLL_MS = 3000; // how often to look for new digits when the queue is empty
const MOST_BUTTONS = 40; // more classes than these are chosen from a list
const EMPTY = "Nothing to review.";

function logEntry({ action, label, reviewer: name, created }) {
  const text = createElement("span", { text: `${name || "anonymous"} ${verdictText(action, label)} ` });
  return createElement("li", { children: [text, timeElement(created)] });
}

/** What a reviewer did: "accepted a 3". */
export function verdictText(action, label) {
  const texts = { accept: `accepted ${aLabel(label)}`, reject: "rejected a drawing", relabel: `relabelled a drawing as ${nameOf(label)}`, undo: "undid a review" };
  return texts[action] ?? action;
}

export class OneView {
  #desk;
  #queue;
  #keys = []; // buttons, one for each class
  #timer = 0; // for the next look at the queue
  #visible = false;
  #fetching = false;
  #fetchFailed = false; // the last look at the queue failed
  #done = { text: "", kind: "" }; // what was done last

  constructor(desk) {
    this.#desk = desk;
    this.#queue = new ReviewQueue(desk);
    this.#makeKeys();
    byId("accept").addEventListener("click", () => this.#judge("accept"));
    byId("reject").addEventListener("click", () => this.#judge("reject"));
    byId("undo").addEventListener("click", () => this.#undo());
    byId("skip").addEventListener("click", () => this.#skip());
    this.#queue.addEventListener("change", () => this.#render());
    this.#queue.addEventListener("saved", () => this.#refill());
    this.#queue.addEventListener("refused", ({ error, action }) => this.#say(`${action === "undo" ? "Not undone" : "Left out"}: ${errorText(error)}.`, "bad"));
    this.#queue.addEventListener("failure", ({ error, n }) => {
      if (!desk.isRefused(error)) this.#say(`Failed: ${errorText(error)}. ${plural(n, "review was", "reviews were")} taken back.`, "bad");
    });
  }

  get unsaved() {
    return this.#queue.unsaved;
  }

  /** Show the view; throws if the queue cannot be loaded. */
  async show() {
    this.#visible = true;
    await this.#queue.fetch();
    this.#done = { text: this.#queue.digits.length ? "" : EMPTY, kind: "" };
    this.#render();
    this.#poll();
  }

  async hide() {
    this.#visible = false;
    clearTimeout(this.#timer);
    await this.#queue.release();
  }

  clear() {
    this.#queue.clear();
  }

  /** Do what a key says; returns whether it says anything. */
  press(event) {
    if (isKey(event, "accept")) this.#judge("accept");
    else if (isKey(event, "reject")) this.#judge("reject");
    else if (isKey(event, "undo")) this.#undo();
    else if (isKey(event, "skip")) this.#skip();
    else if (isKey(event, "choose") && !isTyped) (byId("keys-list").hidden ? this.#keys[0] : byId("other-label")).focus();
    else if (labelOfKey(event.key) >= 0) this.#relabel(labelOfKey(event.key));
    else return false;
    return true;
  }

  #makeKeys() {
    const asList = classes.length > MOST_BUTTONS;
    byId("keys").hidden = asList;
    byId("keys-list").hidden = !asList;
    byId("keys").classList.toggle("words", !isTyped);
    fillLabels(byId("other-label"));
    byId("relabel").addEventListener("click", () => this.#relabel(Number(byId("other-label").value)));
    if (asList) return;
    this.#keys = classes.map((name, k) => {
      const button = createElement("button", { text: name });
      button.type = "button";
      button.addEventListener("click", () => this.#judge("relabel", k));
      return button;
    });
    byId("keys").replaceChildren(...this.#keys);
  }

  #render() {
    const digit = this.#queue.digits[0];
    const { pending, accepted, rejected } = this.#queue.counts;
    showFigures(byId("figures"), [["waiting", pending], ["accepted", accepted], ["rejected", rejected], ["reviewed by you", this.#queue.reviewed.length]]);
    byId("log").replaceChildren(...this.#queue.history.slice(0, 20).map(logEntry));
    for (const button of [byId("accept"), byId("reject"), byId("relabel"), ...this.#keys]) setEnabled(button, digit);
    setEnabled(byId("skip"), this.#queue.digits.length > 1);
    setEnabled(byId("undo"), this.#queue.reviewed.length > 0);
    drawImage(byId("drawing"), digit ? digit.image : new Array(784).fill(255));
    byId("drawing").setAttribute("aria-label", digit ? `A drawing labelled ${nameOf(digit.label)}` : "No drawing");
    byId("label").textContent = nameOf(digit?.label);
    byId("label").classList.toggle("word", !isTyped);
    byId("accept-text").textContent = digit ? `Accept as ${nameOf(digit.label)}` : "Accept";
    const guess = digit?.predicted_label ?? null;
    byId("predicted").textContent = guess === null ? "" : `The network says ${nameOf(guess)}; ${percent(1 - digit.uncertainty)} for ${nameOf(digit.label)}.`;
    if (guess !== null) byId("other-label").value = String(guess);
    this.#keys.forEach((button, k) => {
      button.className = k === guess ? "guess-key" : "";
      button.setAttribute("aria-label", `It is ${aLabel(k)}${k === guess ? ", as the network says" : ""}`);
    });
    const facts = digit ? [["drawn by", digit.contributor || "anonymous"], ["drawn on", dateText(digit.created)]] : [];
    showFacts(byId("facts"), facts);
    this.#showDone();
  }

  /** Show what was done last, and how much of it is not saved yet. */
  #showDone() {
    const { unsaved } = this.#queue;
    const { text, kind } = this.#done;
    showMessage(byId("message"), unsaved > 1 ? `${text} – saving ${unsaved}` : text, kind);
  }

  #say(text, kind = "") {
    this.#done = { text, kind };
    this.#showDone();
  }

  #judge(action, label) {
    if (!this.#queue.digits.length) return;
    this.#done = { text: { accept: "Accepted", reject: "Rejected", relabel: `Relabelled as ${nameOf(label)}` }[action], kind: "" };
    this.#queue.judge(action, { label, reviewer: this.#desk.reviewer });
    this.#refill();
  }

  /** The digit's own label is not a relabelling. */
  #relabel(label) {
    if (this.#queue.digits[0]?.label === label) this.#judge("accept");
    else this.#judge("relabel", label);
  }

  #skip() {
    if (this.#queue.digits.length < 2) return;
    this.#done = { text: "Skipped: it comes again at the end", kind: "" };
    this.#queue.skip();
    this.#refill();
  }

  #undo() {
    if (!this.#queue.reviewed.length) return;
    this.#done = { text: "Review undone", kind: "" };
    this.#queue.undo({ reviewer: this.#desk.reviewer });
  }

  /** Fetch more digits if few are left. What was done is done, whether or not this fails. */
  async #refill() {
    const queue = this.#queue;
    if (queue.fresh >= REFILL_BELOW || this.#fetching || !this.#visible) return;
    // Without digits, wait until all is saved: the message then says how it went.
    if (!queue.digits.length && queue.unsaved) return;
    this.#fetching = true;
    try {
      await queue.fetch();
      this.#fetchFailed = false;
      if (!queue.digits.length && !queue.unsaved && this.#done.kind !== "bad") this.#say(EMPTY);
    } catch (error) {
      if (this.#desk.isRefused(error)) return;
      this.#say(`${this.#done.text.replace(/\.$/, "")}. Cannot load the queue: ${errorText(error)}.`.replace(/^\. /, ""), "bad");
      this.#fetchFailed = true;
    } finally {
      this.#fetching = false;
    }
    this.#poll();
  }

  /** While the queue is empty, look for new digits now and then. */
  #poll(wait = POLL_MS) {
    clearTimeout(this.#timer);
    if (!this.#visible || this.#queue.digits.length) return;
    this.#timer = setTimeout(() => this.#look(), wait);
  }

  async #look() {
    const queue = this.#queue;
    try {
      // A hidden tab can wait.
      if (!this.#fetching && !document.hidden) {
        await queue.fetch();
        if (queue.digits.length || this.#fetchFailed) this.#say(queue.digits.length ? "" : EMPTY);
        this.#fetchFailed = false;
      }
      this.#poll();
    } catch (error) {
      if (this.#desk.isRefused(error)) return;
      if (!this.#fetchFailed) this.#say(`Cannot load the queue: ${errorText(error)}.`, "bad");
      this.#fetchFailed = true;
      this.#poll(Math.max(POLL_MS, retryDelay(error) ?? 0));
    }
  }
}
