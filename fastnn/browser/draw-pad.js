// <draw-pad>: a drawing area with the tools pen, eraser, undo and clear. The paper has 280 by 280 pixels and the pen is 30
// wide, as on the original project's page. Fires "input" when the drawing changes. Its content stays below the tools.

const PAPER_SIZE = 280;
const PEN_WIDTH = 30;
const IMAGE_SIZE = 28;
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
  #visible = null; // contexts to draw on
  #hidden = null;
  #strokes = []; // each {erase, points: [[x, y], ...]}, or {clear: true}
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
    this.#visible = this.#canvas.getContext("2d");
    // The image is read from a hidden canvas, whose size does not depend on the screen.
    const hidden = document.createElement("canvas");
    hidden.width = hidden.height = PAPER_SIZE;
    this.#hidden = hidden.getContext("2d", { willReadFrequently: true });
    this.#listenToButtons();
    this.#listenToPointers();
    this.#listenToKeyboard();
    new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#redraw());
    this.#resize();
  }

  get empty() {
    return this.image().every((value) => value > 239);
  }

  get #clearable() {
    return this.#strokes.length > 0 && !this.#strokes.at(-1).clear;
  }

  /** The drawing as 784 values: the mean of each block of 10 by 10 pixels, 255 = white paper. */
  image() {
    const { data } = this.#hidden.getImageData(0, 0, PAPER_SIZE, PAPER_SIZE);
    const block = PAPER_SIZE / IMAGE_SIZE;
    const sums = new Array(IMAGE_SIZE * IMAGE_SIZE).fill(0);
    for (let y = 0; y < PAPER_SIZE; y++) {
      const row = IMAGE_SIZE * Math.floor(y / block);
      for (let x = 0; x < PAPER_SIZE; x++) sums[row + Math.floor(x / block)] += data[4 * (y * PAPER_SIZE + x)];
    }
    return sums.map((sum) => Math.round(sum / (block * block)));
  }

  /** Start a new drawing; this cannot be undone. */
  reset() {
    this.#strokes = [];
    this.#change();
  }

  #clear() {
    if (!this.#clearable) return;
    this.#strokes.push({ clear: true });
    this.#change();
  }

  #undo() {
    this.#strokes.pop();
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
    // A context menu over the drawing would swallow the next pen events.
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  #listenToKeyboard() {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    this.#canvas.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "z" && this.#strokes.length) {
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
    this.#strokes.push(this.#stroke);
    this.#redraw();
    this.#notify();
  }

  #extend(points) {
    this.#stroke.points.push(...points);
    // Draw the whole stroke again: separate pieces would show seams.
    this.#redraw();
    this.#notify();
  }

  #drawStroke(context, colour, points) {
    context.strokeStyle = colour;
    context.lineWidth = PEN_WIDTH;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...points[0]);
    // A single point is a line of length zero; its round caps make it a dot.
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    context.stroke();
  }

  #redraw() {
    const from = this.#strokes.findLastIndex((stroke) => stroke.clear) + 1;
    const style = getComputedStyle(this.#canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    for (const [context, paper, ink] of [[this.#visible, colour("--paper"), colour("--ink")], [this.#hidden, "#fff", "#000"]]) {
      context.fillStyle = paper;
      context.fillRect(0, 0, PAPER_SIZE, PAPER_SIZE);
      for (const { points, erase } of this.#strokes.slice(from)) this.#drawStroke(context, erase ? paper : ink, points);
    }
    if (!this.#cursor) return;
    this.#visible.strokeStyle = colour("--bad");
    this.#visible.lineWidth = this.#stroke ? 4 : 2;
    this.#visible.beginPath();
    this.#visible.arc(this.#cursor.x, this.#cursor.y, PEN_WIDTH / 2, 0, 2 * Math.PI);
    this.#visible.stroke();
  }

  #resize() {
    const pixels = Math.max(1, Math.round(this.#canvas.clientWidth * devicePixelRatio));
    if (this.#canvas.width === pixels) return;
    this.#canvas.width = this.#canvas.height = pixels;
    this.#visible.setTransform(pixels / PAPER_SIZE, 0, 0, pixels / PAPER_SIZE, 0, 0);
    this.#redraw();
  }

  #notify() {
    // `disabled` is not used, because it takes the keyboard focus from the pressed button.
    this.querySelector("#undo").setAttribute("aria-disabled", String(this.#strokes.length === 0));
    this.querySelector("#clear").setAttribute("aria-disabled", String(!this.#clearable));
    this.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

customElements.define("draw-pad", DrawPad);
