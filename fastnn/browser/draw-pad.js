// <draw-pad>: a drawing area with the tools pen, eraser, undo and clear. Fires "input" when the drawing changes. Its
// content stays below the tools.

import { Drawing, PAPER_SIZE, PEN_WIDTH } from "./drawing.js";

const KEY_STEP = 10; // pixels that an arrow key moves the pen

const HELP = "Use a mouse, a finger or a stylus. On the keyboard, arrow keys move the pen, Space lowers and lifts it, and "
  + "Delete clears the drawing.";

function elementWith(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

class DrawPad extends HTMLElement {
  #canvas = null;
  #context = null;
  #drawing = new Drawing();
  #stroke = null;
  #pointer = null;
  #erase = false;
  #cursor = null; // position of the pen for the keyboard: {x, y}

  connectedCallback() {
    if (this.#canvas) return; // moved within the page
    const tool = (text, state) => elementWith("button", { type: "button", id: text.toLowerCase(), ...state }, text);
    const tools = [tool("Pen", { "aria-pressed": true }), tool("Eraser", { "aria-pressed": false }),
      tool("Undo", { "aria-disabled": true }), tool("Clear", { "aria-disabled": true })];
    this.#canvas = elementWith("canvas", {
      id: "pad", class: "pad", tabindex: 0, role: "application", "aria-label": "Drawing area", "aria-describedby": "pad-help" });
    this.prepend(this.#canvas, elementWith("div", { class: "tools", role: "group", "aria-label": "Drawing tools" }, ...tools));
    this.append(elementWith("p", { id: "pad-help", class: "quiet message" }, HELP));
    this.#context = this.#canvas.getContext("2d");
    this.#listenToButtons();
    this.#listenToPointers();
    this.#listenToKeyboard();
    new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#redraw());
    this.#resize();
  }

  get empty() {
    return this.#drawing.empty;
  }

  /** The drawing as it is, to be stored. */
  image() {
    return this.#drawing.image();
  }

  /** The drawing as large as the training digits, to be recognised. */
  imageForNetwork() {
    return this.#drawing.imageForNetwork();
  }

  /** Start a new drawing; this cannot be undone. */
  reset() {
    this.#drawing.strokes = [];
    this.#change();
  }

  #clear() {
    if (!this.#drawing.clearable) return;
    this.#drawing.strokes.push({ clear: true });
    this.#change();
  }

  #undo() {
    this.#drawing.strokes.pop();
    this.#change();
  }

  /** Show other strokes. A stroke that is still being drawn ends; its next points would go into a removed stroke. */
  #change() {
    this.#stroke = this.#pointer = null;
    this.#redraw();
    this.#notify();
  }

  #listenToButtons() {
    const button = (id, action) => this.querySelector(`#${id}`).addEventListener("click", action);
    const selectTool = (erase) => {
      this.#erase = erase;
      this.querySelector("#pen").setAttribute("aria-pressed", String(!erase));
      this.querySelector("#eraser").setAttribute("aria-pressed", String(erase));
    };
    button("pen", () => selectTool(false));
    button("eraser", () => selectTool(true));
    button("undo", () => this.#undo());
    button("clear", () => this.#clear());
  }

  #listenToPointers() {
    const canvas = this.#canvas;
    const position = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top].map((place) => place * (PAPER_SIZE / box.width));
    };
    const end = (event) => {
      if (event.pointerId !== this.#pointer) return;
      this.#pointer = this.#stroke = null;
      this.#notify();
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || (event.pointerType === "mouse" && event.button !== 0)) return;
      // The active pointer may start again, because the page may have missed its pointerup event.
      if (this.#pointer !== null && this.#pointer !== event.pointerId) return;
      event.preventDefault();
      canvas.focus({ preventScroll: true, focusVisible: false });
      canvas.setPointerCapture(event.pointerId);
      this.#pointer = event.pointerId;
      this.#startStroke(position(event), (event.buttons & 32) !== 0); // 32: the eraser end of a stylus
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.#pointer) return;
      // The button was released where the page gets no event, for example over a browser menu.
      if (event.buttons === 0) {
        end(event);
        return;
      }
      // A fast hand produces several points between two frames.
      const events = event.getCoalescedEvents?.() ?? [];
      this.#extend((events.length ? events : [event]).map(position));
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(kind, end);
    // After a quick stroke Chromium takes the touch for a scroll that goes on, and swallows taps for 0.3 s, although
    // `touch-action: none` forbids scrolling: only preventing the touch itself helps.
    canvas.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    // A context menu over the drawing would swallow the next pen events.
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  #listenToKeyboard() {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    this.#canvas.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "z" && this.#drawing.strokes.length) {
        event.preventDefault();
        this.#undo();
        return;
      }
      const step = steps[event.key];
      const clears = event.key === "Delete" || event.key === "Backspace";
      if ((!step && !clears && event.key !== " ") || this.#pointer !== null || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      if (clears) {
        this.#clear();
        return;
      }
      this.#cursor ??= { x: PAPER_SIZE / 2, y: PAPER_SIZE / 2 };
      if (step) {
        this.#cursor.x = Math.min(PAPER_SIZE, Math.max(0, this.#cursor.x + KEY_STEP * step[0]));
        this.#cursor.y = Math.min(PAPER_SIZE, Math.max(0, this.#cursor.y + KEY_STEP * step[1]));
        if (this.#stroke) this.#extend([[this.#cursor.x, this.#cursor.y]]);
      } else if (this.#stroke) {
        this.#stroke = null;
        this.#notify();
      } else {
        this.#startStroke([this.#cursor.x, this.#cursor.y], false);
      }
      this.#redraw();
    });
    this.#canvas.addEventListener("blur", () => {
      this.#cursor = null;
      if (this.#pointer === null) this.#stroke = null;
      this.#redraw();
    });
  }

  #startStroke(point, erase) {
    if (this.#pointer !== null) this.#cursor = null;
    this.#stroke = { erase: this.#erase || erase, points: [point] };
    this.#drawing.strokes.push(this.#stroke);
    this.#redraw();
    this.#notify();
  }

  #extend(points) {
    this.#stroke.points.push(...points);
    // Draw the whole stroke again: separate pieces would show seams.
    this.#redraw();
    this.#notify();
  }

  #redraw() {
    const context = this.#context;
    const style = getComputedStyle(this.#canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    context.fillStyle = colour("--paper");
    context.fillRect(0, 0, PAPER_SIZE, PAPER_SIZE);
    this.#drawing.paint(context, { paper: colour("--paper"), ink: colour("--ink") });
    if (!this.#cursor) return;
    context.strokeStyle = colour("--bad");
    context.lineWidth = this.#stroke ? 4 : 2;
    context.beginPath();
    context.arc(this.#cursor.x, this.#cursor.y, PEN_WIDTH / 2, 0, 2 * Math.PI);
    context.stroke();
  }

  #resize() {
    const pixels = Math.max(1, Math.round(this.#canvas.clientWidth * devicePixelRatio));
    if (this.#canvas.width === pixels) return;
    this.#canvas.width = this.#canvas.height = pixels;
    this.#context.setTransform(pixels / PAPER_SIZE, 0, 0, pixels / PAPER_SIZE, 0, 0);
    this.#redraw();
  }

  #notify() {
    // `disabled` is not used, because it takes the keyboard focus from the pressed button.
    this.querySelector("#undo").setAttribute("aria-disabled", String(this.#drawing.strokes.length === 0));
    this.querySelector("#clear").setAttribute("aria-disabled", String(!this.#drawing.clearable));
    this.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

customElements.define("draw-pad", DrawPad);
