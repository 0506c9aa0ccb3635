// What was decided, by whom and when, with pictures, page by page.

import { byId, createElement, drawImage } from "./answer.js";
import { errorText, setEnabled, showMessage, timeElement } from "./common.js";
import { nameOf } from "./review-labels.js";
import { verdictText } from "./review-one.js";
import { Sender } from "./review-sender.js";

/** What a digit is now: "now accepted as 3". */
function stateText({ state, current_label: label }) {
  if (state === "accepted") return `now accepted as ${nameOf(label)}`;
  return state === "rejected" ? "now rejected" : "now waiting";
}

export class HistoryView {
  #desk;
  #sender;
  #entries = []; // {entry, row, link, update}
  #before = ""; // only reviews that are older than the one of this number
  #visit = 0;

  constructor(desk) {
    this.#desk = desk;
    this.#sender = new Sender(desk);
    const failed = async (text) => {
      await this.#load().catch(() => {});
      showMessage(byId("history-message"), text, "bad");
    };
    this.#sender.addEventListener("refused", ({ error }) => failed(`Not put back: ${errorText(error)}.`));
    this.#sender.addEventListener("failure", ({ error }) => {
      if (!desk.isRefused(error)) failed(`Failed: ${errorText(error)}.`);
    });
  }

  get unsaved() {
    return this.#sender.unsaved;
  }

  /** Show the page that the address asks for; throws if it cannot be loaded. */
  async show(parameters) {
    this.#visit += 1;
    this.#before = parameters.get("before") ?? "";
    await this.#load();
    showMessage(byId("history-message"), this.#entries.length ? "" : "No reviews.");
  }

  hide() {
    this.#visit += 1;
  }

  clear() {
    this.#sender.clear();
  }

  /** Up and down move between the reviews. */
  press({ key, target }) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[key];
    const links = this.#entries.map(({ link }) => link);
    const at = this.#entries.findIndex(({ row }) => row.contains(target));
    if (!step || !links.length) return false;
    links[Math.max(0, Math.min(at < 0 ? 0 : at + step, links.length - 1))].focus();
    return true;
  }

  async #load() {
    const visit = this.#visit;
    const found = await this.#desk.request(`api/review/history${this.#before && `?before=${encodeURIComponent(this.#before)}`}`);
    if (visit !== this.#visit) return;
    this.#entries = found.history.map((entry) => this.#entry(entry));
    byId("entries").replaceChildren(...this.#entries.map(({ row }) => row));
    byId("history-newest").hidden = !this.#before;
    byId("history-newest").href = this.#desk.address("history");
    byId("history-older").hidden = found.next === null;
    byId("history-older").href = this.#desk.address("history", { before: found.next });
  }

  #entry(entry) {
    const { image, reviewer, action, label, created } = entry;
    const picture = createElement("canvas", { className: "picture" });
    drawImage(picture, image);
    const state = createElement("span", { className: "quiet" });
    const words = createElement("p", { children: [`${reviewer || "anonymous"} ${verdictText(action, label)} `, timeElement(created), " ", state] });
    const link = createElement("a", { className: "button", text: "Show" });
    const button = createElement("button", { text: "Put back" });
    button.type = "button";
    button.addEventListener("click", () => this.#putBack(entry));
    const row = createElement("li", { children: [picture, words, link, button] });
    const update = () => {
      state.textContent = stateText(entry);
      // The digit is the first one of its page.
      link.href = this.#desk.address("browse", { state: entry.state, before: entry.digit_number + 1 });
      setEnabled(button, entry.state !== "pending");
    };
    update();
    return { entry, row, link, update };
  }

  #putBack(entry) {
    if (entry.state === "pending") return;
    const undone = { state: entry.state, label: entry.state === "accepted" ? entry.current_label : null };
    this.#sender.give({ action: "undo", digit: { id: entry.id }, reviewer: this.#desk.reviewer, undone });
    for (const { entry: other, update } of this.#entries) {
      if (other.id !== entry.id) continue;
      other.state = "pending";
      other.current_label = null;
      update();
    }
    showMessage(byId("history-message"), "Put back into the queue.");
  }
}
