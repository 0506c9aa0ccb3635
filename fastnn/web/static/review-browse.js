// Looking through all digits: accepted, rejected and waiting ones, by label and contributor, page by page.

import { byId, drawImage } from "./answer.js";
import { classes, dateText, errorText, plural, setEnabled, showFacts, showMessage, words } from "./common.js";
import { ask } from "./review-ask.js";
import { Cells } from "./review-cells.js";
import { fillLabels, isKey, isTyped, labelOfKey, nameOf } from "./review-labels.js";
import { RESULT, Sender } from "./review-sender.js";

const STATES = ["accepted", "rejected", "pending"];
const counted = (n) => plural(n, words.one, words.several);
const STATE_TEXT = { accepted: "accepted", rejected: "rejected", pending: "waiting" };

export class BrowseView {
  #desk;
  #sender;
  #cells;
  #digits = [];
  #filter = { state: "accepted", label: "", contributor: "", before: "" };
  #total = 0; // digits of the contributor in this state, of any label
  #visit = 0;

  constructor(desk) {
    this.#desk = desk;
    this.#sender = new Sender(desk);
    this.#cells = new Cells(byId("browse-cells"), (digit, k) => this.#describe(digit, k));
    this.#cells.addEventListener("move", () => this.#showDigit());
    fillLabels(byId("browse-label"), "any");
    fillLabels(byId("browse-relabel"), "Relabel as…");
    byId("browse-form").addEventListener("change", () => this.#applyForm());
    byId("browse-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#applyForm();
    });
    byId("browse-relabel").addEventListener("change", () => {
      this.#judge("relabel", Number(byId("browse-relabel").value));
      byId("browse-relabel").value = "";
      this.#cells.focus();
    });
    for (const action of ["accept", "reject", "undo"]) {
      byId(`browse-${action}`).addEventListener("click", () => this.#judge(action));
      byId(`all-${action}`).addEventListener("click", () => this.#judgeAll(action));
    }
    byId("strike").addEventListener("click", () => this.#strike());
    this.#sender.addEventListener("refused", ({ error }) => this.#reload(`Not changed: ${errorText(error)}.`));
    this.#sender.addEventListener("failure", ({ error }) => {
      if (!desk.isRefused(error)) this.#reload(`Failed: ${errorText(error)}.`);
    });
  }

  get unsaved() {
    return this.#sender.unsaved;
  }

  /** Take what the address asks for into the form, before anything is loaded: afterwards the reviewer may be typing. */
  prepare(parameters) {
    const state = STATES.includes(parameters.get("state")) ? parameters.get("state") : "accepted";
    const label = classes.includes(parameters.get("label")) ? parameters.get("label") : "";
    const contributor = parameters.get("contributor") ?? "";
    this.#filter = { state, label, contributor, before: parameters.get("before") ?? "" };
    byId("browse-state").value = state;
    byId("browse-label").value = label && String(classes.indexOf(label));
    byId("browse-contributor").value = contributor;
  }

  /** Show the digits that the form asks for; throws if they cannot be loaded. */
  async show() {
    this.#visit += 1;
    await this.#load();
    showMessage(byId("browse-message"), this.#digits.length ? "" : `No such ${words.several}.`);
  }

  hide() {
    this.#visit += 1;
  }

  clear() {
    this.#sender.clear();
  }

  /** Do what a key says; returns whether it says anything. */
  press(event) {
    if (this.#cells.press(event)) return true;
    if (!this.#cells.hasFocus) return false;
    const label = labelOfKey(event.key);
    const action = ["accept", "reject", "undo"].find((name) => isKey(event, name));
    if (action) this.#judge(action);
    else if (label >= 0) this.#judge("relabel", label);
    else if (isKey(event, "choose") && !isTyped) byId("browse-relabel").focus();
    else return false;
    return true;
  }

  async #load() {
    const visit = this.#visit;
    const { state, label, contributor, before } = this.#filter;
    const wanted = new URLSearchParams(Object.entries({ state, label, contributor, before }).filter(([, value]) => value));
    const found = await this.#desk.request(`api/review/digits?${wanted}`);
    if (visit !== this.#visit) return;
    this.#digits = found.digits;
    this.#total = found.total ?? 0;
    byId("newest").href = this.#desk.address("browse", { state, label, contributor });
    byId("newest").hidden = !before;
    byId("older").hidden = found.next === null;
    byId("older").href = this.#desk.address("browse", { state, label, contributor, before: found.next });
    this.#showContributor();
    this.#cells.show(this.#digits);
    this.#showDigit();
  }

  /** Load the page again, and say what happened. */
  async #reload(text) {
    const at = this.#cells.at;
    try {
      await this.#load();
      this.#cells.show(this.#digits, at);
    } catch { /* what is shown stays */ }
    showMessage(byId("browse-message"), text, "bad");
  }

  #go(filter) {
    location.hash = this.#desk.address("browse", filter);
  }

  #applyForm() {
    const label = byId("browse-label").value;
    this.#go({ state: byId("browse-state").value, label: label && nameOf(label), contributor: byId("browse-contributor").value.trim() });
  }

  #describe(digit, k) {
    const moved = digit.state !== this.#filter.state;
    const label = nameOf(digit.label);
    const state = STATE_TEXT[digit.state];
    return {
      text: `Drawing ${k + 1} of ${this.#digits.length}: ${label}, ${state}`,
      mark: moved ? state : label,
      className: moved ? "moved" : "",
    };
  }

  #showDigit() {
    const digit = this.#digits[this.#cells.at];
    byId("browse-digit").hidden = !digit;
    if (!digit) return;
    drawImage(byId("browse-picture"), digit.image);
    const { state, label, given, contributor, created } = digit;
    const facts = [[STATE_TEXT[state], state === "accepted" ? `as ${nameOf(label)}` : `labelled ${nameOf(given)}`]];
    if (state === "accepted" && label !== given) facts.push(["was labelled", nameOf(given)]);
    if (digit.predicted_label !== null) facts.push(["the network says", nameOf(digit.predicted_label)]);
    facts.push(["drawn on", dateText(created)], ["drawn by", contributor || "anonymous"]);
    showFacts(byId("browse-facts"), facts);
    byId("all-of").hidden = !contributor || contributor === this.#filter.contributor;
    byId("all-of").textContent = `All of ${contributor}`;
    byId("all-of").href = this.#desk.address("browse", { state: this.#filter.state, contributor });
    setEnabled(byId("browse-accept"), state !== "accepted");
    setEnabled(byId("browse-reject"), state !== "rejected");
    setEnabled(byId("browse-undo"), state !== "pending");
  }

  /** Change the digit that has the focus; a digit that was reviewed before is put back first. */
  #judge(action, label) {
    const k = this.#cells.at;
    const digit = this.#digits[k];
    if (!digit) return;
    const before = { state: digit.state, label: digit.state === "accepted" ? digit.label : null };
    const after = { state: RESULT[action] ?? "pending", label: action === "relabel" ? label : digit.given };
    if (before.state === after.state && (action !== "relabel" || before.label === label)) return;
    const { reviewer } = this.#desk;
    const verdicts = before.state === "pending" ? [] : [{ action: "undo", digit, reviewer, undone: before }];
    if (action !== "undo") verdicts.push({ action, digit, label, reviewer });
    Object.assign(digit, after);
    this.#sender.give(...verdicts);
    this.#cells.update(k);
    this.#showDigit();
    showMessage(byId("browse-message"), { accept: "Accepted.", reject: "Rejected.", relabel: `Accepted as ${nameOf(label)}.`, undo: "Put back into the queue." }[action]);
  }

  // ---- all digits of one contributor ----

  #showContributor() {
    const { contributor, state } = this.#filter;
    const n = counted(this.#total);
    byId("all").hidden = !contributor;
    byId("all-text").textContent = `${contributor} has ${n} ${state === "pending" ? "that wait" + (this.#total === 1 ? "s" : "") : `that ${this.#total === 1 ? "is" : "are"} ${state}`}.`;
    byId("all-accept").hidden = byId("all-reject").hidden = state !== "pending";
    byId("all-undo").hidden = state === "pending";
    for (const action of ["accept", "reject", "undo"]) setEnabled(byId(`all-${action}`), this.#total > 0);
  }

  async #judgeAll(action) {
    const { contributor, state } = this.#filter;
    if (!this.#total) return;
    const verb = { accept: "Accept", reject: "Reject", undo: "Put back" }[action];
    const end = action === "undo" ? " into the queue" : "";
    if (!await ask(`${verb} all ${counted(this.#total)} of ${contributor}${end}, whatever the label?`, `${verb} all`)) return;
    await this.#change("api/review/contributor", { contributor, action, state, reviewer: this.#desk.reviewer }, ({ digits }) => (
      `${{ accept: "Accepted", reject: "Rejected", undo: "Put back" }[action]} ${counted(digits)} of ${contributor}.`));
  }

  async #strike() {
    const name = this.#filter.contributor;
    if (!await ask(`Strike the name ${name}? Its ${words.several} stay, without a name. This cannot be undone.`, "Strike the name")) return;
    const done = await this.#change("api/review/strike", { name }, ({ digits }) => `The name was struck from ${counted(digits)}.`);
    if (done) byId("browse-state").focus();
  }

  async #change(path, body, text) {
    try {
      const found = await this.#desk.request(path, { body });
      await this.#load();
      showMessage(byId("browse-message"), text(found), "good");
      return true;
    } catch (error) {
      if (!this.#desk.isRefused(error)) showMessage(byId("browse-message"), `Failed: ${errorText(error)}.`, "bad");
      return false;
    }
  }
}
