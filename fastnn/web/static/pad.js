// The drawing area: a canvas of 280 by 280 pixels and a pen 30 pixels wide, as on the original project's page.

import { byId, setEnabled, SIDE } from "./common.js";

const SIZE = 280;
const PEN = 30;
const BLOCK = SIZE / SIDE;
const STEP = 10; // pixels that an arrow key moves the pen

/** Draws strokes on the visible canvas, and on a hidden one of 280 by 280 pixels from which the image is read. */
export class Pad {
  #strokes = []; // each {erase, points: [[x, y], ...]}, or {clear: true}
  #stroke = null;
  #pointer = null;
  #erase = false;
  #cursor = null; // position of the pen for the keyboard: {x, y}
  #onChange;

  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.#onChange = onChange;
    this.visible = canvas.getContext("2d");
    const hidden = document.createElement("canvas");
    hidden.width = hidden.height = SIZE;
    this.hidden = hidden.getContext("2d", { willReadFrequently: true });
    this.#listenToButtons();
    this.#listenToPointers();
    this.#listenToKeyboard();
    new ResizeObserver(() => this.#resize()).observe(canvas);
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
    const { data } = this.hidden.getImageData(0, 0, SIZE, SIZE);
    const sums = new Array(SIDE * SIDE).fill(0);
    for (let y = 0; y < SIZE; y++) {
      const row = SIDE * Math.floor(y / BLOCK);
      for (let x = 0; x < SIZE; x++) sums[row + Math.floor(x / BLOCK)] += data[4 * (y * SIZE + x)];
    }
    return sums.map((sum) => Math.round(sum / (BLOCK * BLOCK)));
  }

  /** Start a new drawing; this cannot be undone. */
  reset() {
    this.#strokes = [];
    this.#stroke = this.#pointer = null;
    this.#redraw();
    this.#notify();
  }

  #listenToButtons() {
    const selectTool = (erase) => {
      this.#erase = erase;
      byId("pen").setAttribute("aria-pressed", String(!erase));
      byId("eraser").setAttribute("aria-pressed", String(erase));
    };
    byId("pen").addEventListener("click", () => selectTool(false));
    byId("eraser").addEventListener("click", () => selectTool(true));
    byId("undo").addEventListener("click", () => this.#undo());
    byId("clear").addEventListener("click", () => {
      if (!this.#clearable) return;
      this.#stroke = this.#pointer = null;
      this.#strokes.push({ clear: true });
      this.#redraw();
      this.#notify();
    });
  }

  #undo() {
    // End a stroke that is still being drawn; otherwise its next points would go into a removed stroke.
    this.#stroke = this.#pointer = null;
    this.#strokes.pop();
    this.#redraw();
    this.#notify();
  }

  #listenToPointers() {
    const { canvas } = this;
    const position = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) * (SIZE / box.width), (event.clientY - box.top) * (SIZE / box.height)];
    };
    const end = (event) => {
      if (event.pointerId !== this.#pointer) return;
      this.#pointer = null;
      this.#stroke = null;
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
    const { canvas } = this;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    canvas.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "z" && this.#strokes.length) {
        event.preventDefault();
        this.#undo();
        return;
      }
      const step = steps[event.key];
      if ((!step && event.key !== " ") || this.#pointer !== null || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      this.#cursor ??= { x: SIZE / 2, y: SIZE / 2 };
      if (step) {
        this.#cursor.x = Math.min(SIZE, Math.max(0, this.#cursor.x + STEP * step[0]));
        this.#cursor.y = Math.min(SIZE, Math.max(0, this.#cursor.y + STEP * step[1]));
        if (this.#stroke) this.#extend([[this.#cursor.x, this.#cursor.y]]);
      } else if (this.#stroke) {
        this.#stroke = null;
        this.#notify();
      } else {
        this.#startStroke([this.#cursor.x, this.#cursor.y], false);
      }
      this.#redraw();
    });
    canvas.addEventListener("blur", () => {
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

  #drawStroke(context, points, erase) {
    const style = getComputedStyle(this.canvas);
    const visible = context === this.visible;
    const paper = visible ? style.getPropertyValue("--paper").trim() : "#fff";
    const ink = visible ? style.getPropertyValue("--ink").trim() : "#000";
    context.strokeStyle = erase ? paper : ink;
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...points[0]);
    // A single point is a line of length zero; its round caps make it a dot.
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    context.stroke();
  }

  #redraw() {
    const from = this.#strokes.findLastIndex((stroke) => stroke.clear) + 1;
    const paper = getComputedStyle(this.canvas).getPropertyValue("--paper").trim();
    for (const context of [this.visible, this.hidden]) {
      context.fillStyle = context === this.visible ? paper : "#fff";
      context.fillRect(0, 0, SIZE, SIZE);
      for (const { points, erase } of this.#strokes.slice(from)) this.#drawStroke(context, points, erase);
    }
    if (this.#cursor) {
      const { x, y } = this.#cursor;
      this.visible.strokeStyle = getComputedStyle(this.canvas).getPropertyValue("--bad").trim();
      this.visible.lineWidth = this.#stroke ? 4 : 2;
      this.visible.beginPath();
      this.visible.arc(x, y, PEN / 2, 0, 2 * Math.PI);
      this.visible.stroke();
    }
  }

  #resize() {
    const pixels = Math.max(1, Math.round(this.canvas.clientWidth * devicePixelRatio));
    if (this.canvas.width === pixels) return;
    this.canvas.width = this.canvas.height = pixels;
    this.visible.setTransform(pixels / SIZE, 0, 0, pixels / SIZE, 0, 0);
    this.#redraw();
  }

  #notify() {
    setEnabled(byId("undo"), this.#strokes.length > 0);
    setEnabled(byId("clear"), this.#clearable);
    this.#onChange(this);
  }
}
