// Pictures in rows, of which one has the focus: arrow keys, Home and End move it. Each picture is a button.

import { createElement, drawImage } from "./answer.js";

/** Fires "choose" with the position when a picture is clicked (Space does so, too), and "move" when it gets the focus. */
export class Cells extends EventTarget {
  #element;
  #describe;
  #digits = [];
  #buttons = [];
  #at = 0;

  /** `describe(digit, k)` returns {text, mark, className, pressed} of a picture: for screen readers, and to be seen. */
  constructor(element, describe) {
    super();
    this.#element = element;
    this.#describe = describe;
  }

  get at() {
    return this.#at;
  }

  get hasFocus() {
    return this.#element.contains(document.activeElement);
  }

  show(digits, at = 0) {
    const hadFocus = this.hasFocus;
    this.#digits = digits;
    this.#at = Math.max(0, Math.min(at, digits.length - 1));
    this.#buttons = digits.map((digit, k) => {
      const canvas = createElement("canvas", { className: "picture" });
      drawImage(canvas, digit.image);
      const button = createElement("button", { className: "cell", children: [canvas, createElement("span", { className: "mark" })] });
      button.type = "button";
      button.addEventListener("click", () => { this.#moveTo(k); this.#fire("choose"); });
      button.addEventListener("focus", () => this.#moveTo(k));
      return button;
    });
    this.#element.replaceChildren(...this.#buttons);
    digits.forEach((_, k) => this.update(k));
    if (hadFocus) this.#buttons[this.#at]?.focus();
  }

  /** Show a picture's state anew. */
  update(k) {
    const button = this.#buttons[k];
    const { text, mark = "", className = "", pressed } = this.#describe(this.#digits[k], k);
    button.setAttribute("aria-label", text);
    button.lastChild.textContent = mark;
    button.className = `cell ${className}`;
    button.tabIndex = k === this.#at ? 0 : -1;
    if (pressed !== undefined) button.setAttribute("aria-pressed", String(pressed));
  }

  focus() {
    this.#buttons[this.#at]?.focus();
  }

  /** Move the focus if an event is a key for it; returns whether it is. */
  press({ key }) {
    const n = this.#buttons.length;
    if (!n || (!this.hasFocus && !key.startsWith("Arrow"))) return false;
    const columns = Math.max(1, this.#buttons.filter(({ offsetTop }) => offsetTop === this.#buttons[0].offsetTop).length);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -this.#at, End: n - 1 - this.#at }[key];
    if (step === undefined) return false;
    const next = this.#at + step;
    // The first key, while something else has the focus, only shows where one is.
    this.#buttons[this.hasFocus && next >= 0 && next < n ? next : this.#at].focus();
    return true;
  }

  #moveTo(k) {
    if (k !== this.#at) {
      if (this.#buttons[this.#at]) this.#buttons[this.#at].tabIndex = -1;
      this.#buttons[k].tabIndex = 0;
      this.#at = k;
    }
    this.#fire("move");
  }

  #fire(kind) {
    this.dispatchEvent(Object.assign(new Event(kind), { at: this.#at }));
  }
}
