// Reviewing a hundred digits of one label at once: the wrong ones are marked, and all others accepted.

import { byId } from "./answer.js";
import { classes, setEnabled, showMessage } from "./common.js";
import { Cells } from "./review-cells.js";
import { aLabel, fillLabels, isKey, isTyped, labelOfKey, nameOf } from "./review-labels.js";
import { REJECT, Screens } from "./review-screens.js";

const count = (n) => n.toLocaleString("en");

/** What the button does: "Accept the other 97, reject 3". */
export function acceptText(n, rejected, relabelled) {
  const others = n - rejected - relabelled;
  const parts = [];
  if (others) parts.push(others === n ? `accept all ${count(n)}` : `accept the other ${count(others)}`);
  if (rejected) parts.push(`reject ${count(rejected)}`);
  if (relabelled) parts.push(`relabel ${count(relabelled)}`);
  const text = parts.join(", ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What was done: "Accepted 97, rejected 3, relabelled 0". */
function doneText(n, rejected, relabelled) {
  return `Accepted ${count(n - rejected - relabelled)}, rejected ${count(rejected)}, relabelled ${count(relabelled)}`;
}

export class GridView {
  #desk;
  #screens;
  #cells;
  #visit = 0;

  constructor(desk) {
    this.#desk = desk;
    this.#screens = new Screens(desk);
    this.#cells = new Cells(byId("grid-cells"), (digit, k) => this.#describe(digit, k));
    this.#cells.addEventListener("choose", ({ at }) => this.#mark(at, this.#markAt(at) === undefined ? REJECT : undefined));
    fillLabels(byId("grid-label"));
    fillLabels(byId("grid-relabel"), "Relabel it…");
    byId("grid-label").addEventListener("change", () => this.#go(Number(byId("grid-label").value)));
    byId("grid-relabel").addEventListener("change", () => {
      this.#mark(this.#cells.at, Number(byId("grid-relabel").value));
      byId("grid-relabel").value = "";
      this.#cells.focus();
    });
    byId("grid-next").addEventListener("click", () => this.#goToMost());
    byId("grid-accept").addEventListener("click", () => this.#accept());
    byId("grid-undo").addEventListener("click", () => this.#undo());
    byId("grid-keys").textContent = `Mark the wrong ones: click, or move with the arrow keys and press Space. ${isTyped ? "The key of a label relabels." : ""} Enter accepts the others.`;
    this.#screens.addEventListener("open", () => {
      this.#cells.show(this.#screens.current?.digits ?? []);
      this.#render();
    });
    this.#screens.addEventListener("change", () => this.#render());
  }

  get unsaved() {
    return this.#screens.unsaved;
  }

  /** Show the label that the address names, or the one with most waiting digits; throws if it cannot be loaded. */
  async show(parameters) {
    const visit = this.#visit += 1;
    await this.#screens.stop();
    if (visit !== this.#visit) return;
    let label = classes.indexOf(parameters.get("label"));
    if (label < 0) {
      this.#screens.waiting = (await this.#desk.request("api/review?limit=1")).waiting;
      if (visit !== this.#visit) return;
      label = this.#most(-1);
      history.replaceState(null, "", this.#desk.address("grid", { label: nameOf(label) }));
    }
    await this.#screens.start(label);
  }

  async hide() {
    this.#visit += 1;
    await this.#screens.stop();
  }

  clear() {
    this.#screens.clear();
  }

  /** Do what a key says; returns whether it says anything. */
  press(event) {
    if (this.#cells.press(event)) return true;
    const label = this.#cells.hasFocus ? labelOfKey(event.key) : -1;
    if (event.key === "Enter" && (this.#cells.hasFocus || event.target === document.body)) this.#accept();
    else if (label >= 0) this.#mark(this.#cells.at, label);
    else if (isKey(event, "undo")) this.#undo();
    else if (isKey(event, "next")) this.#goToMost();
    else if (isKey(event, "choose") && !isTyped) byId("grid-relabel").focus();
    else return false;
    return true;
  }

  #go(label) {
    location.hash = this.#desk.address("grid", { label: nameOf(label) });
  }

  #waiting(label) {
    return this.#screens.waiting[nameOf(label)] ?? 0;
  }

  /** The label of which most digits wait, other than one. */
  #most(other) {
    const n = classes.map((_, k) => (k === other ? -1 : this.#waiting(k)));
    return n.indexOf(Math.max(...n));
  }

  #goToMost() {
    if (classes.length > 1) this.#go(this.#most(this.#screens.label));
  }

  #markAt(k) {
    const { current } = this.#screens;
    return current?.marks.get(current.digits[k]?.id);
  }

  #mark(k, mark) {
    const { current } = this.#screens;
    const digit = current?.digits[k];
    if (!digit) return;
    // The digit's own label is not a relabelling.
    if (mark === undefined || mark === digit.label) current.marks.delete(digit.id);
    else current.marks.set(digit.id, mark);
    this.#cells.update(k);
    this.#renderButtons();
  }

  #describe({ predicted_label: guess }, k) {
    const { current, label } = this.#screens;
    const mark = this.#markAt(k);
    const says = guess === null || guess === label ? "" : `, the network says ${nameOf(guess)}`;
    const marked = mark === undefined ? "" : mark === REJECT ? ", to be rejected" : `, to be relabelled as ${nameOf(mark)}`;
    return {
      text: `Drawing ${k + 1} of ${current.digits.length}${says}${marked}`,
      mark: mark === undefined ? "" : mark === REJECT ? "✕" : nameOf(mark),
      className: mark === undefined ? "" : mark === REJECT ? "wrong" : "other",
      pressed: mark !== undefined,
    };
  }

  #accept() {
    const { current } = this.#screens;
    if (!current?.digits.length) return;
    this.#screens.accept(doneText(current.digits.length, ...current.marked));
  }

  #undo() {
    if (this.#screens.canUndo) this.#screens.undo();
  }

  #renderButtons() {
    const { current, canUndo } = this.#screens;
    const n = current?.digits.length ?? 0;
    setEnabled(byId("grid-accept"), n);
    setEnabled(byId("grid-undo"), canUndo);
    byId("grid-accept-text").textContent = n ? acceptText(n, ...current.marked) : "Accept";
  }

  #render() {
    const { current, label, done, unsaved } = this.#screens;
    this.#renderButtons();
    for (const option of byId("grid-label").options) {
      option.textContent = `${nameOf(option.value)} – ${count(this.#waiting(option.value))} waiting`;
    }
    byId("grid-label").value = String(label);
    byId("grid-cells").setAttribute("aria-label", `Drawings labelled ${nameOf(label)}, the most doubtful first`);
    const parts = [done.text];
    if (unsaved) parts.push(`Saving ${count(unsaved)}`);
    else if (!current) parts.push("Loading");
    else if (!current.digits.length) parts.push(this.#emptyText());
    showMessage(byId("grid-message"), parts.filter(Boolean).map((part) => `${part}.`).join(" "), done.kind);
  }

  #emptyText() {
    const { label } = this.#screens;
    const others = this.#waiting(label);
    if (others) return `The last ${count(others)} of this label are with other reviewers`;
    const most = this.#most(label);
    const n = this.#waiting(most);
    return `No drawing of ${aLabel(label)} waits${n ? `; ${count(n)} of ${aLabel(most)} do` : ""}`;
  }
}
