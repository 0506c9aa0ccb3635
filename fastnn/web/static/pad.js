// The drawing area: 280 by 280 points, a pen of 30, as the original's page has them.

import { allow, SIDE, find } from "./common.js";

const SIZE = 280;
const PEN = 30;
const BLOCK = SIZE / SIDE;
const STEP = 10; // of the arrow keys

/** Draws strokes on the canvas that is seen and, in the same way, on one of 280 by 280 that is read. */
export class Pad {
  #strokes = []; // each {erase, points: [[x, y], ...]}, or {clear: true}
  #stroke = null;
  #pointer = null;
  #erase = false;
  #cursor = null; // of the keyboard: {x, y}
  #changed;

  constructor(canvas, changed) {
    this.canvas = canvas;
    this.#changed = changed;
    this.shown = canvas.getContext("2d");
    const read = document.createElement("canvas");
    read.width = read.height = SIZE;
    this.read = read.getContext("2d", { willReadFrequently: true });
    this.#buttons();
    this.#pointers();
    this.#keyboard();
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

  /** The drawing as 784 values: the mean of each block of 10 by 10 points, 255 = paper. */
  image() {
    const { data } = this.read.getImageData(0, 0, SIZE, SIZE);
    const sums = new Array(SIDE * SIDE).fill(0);
    for (let y = 0; y < SIZE; y++) {
      const row = SIDE * Math.floor(y / BLOCK);
      for (let x = 0; x < SIZE; x++) sums[row + Math.floor(x / BLOCK)] += data[4 * (y * SIZE + x)];
    }
    return sums.map((sum) => Math.round(sum / (BLOCK * BLOCK)));
  }

  /** Begin a new drawing; it cannot be undone. */
  renew() {
    this.#strokes = [];
    this.#stroke = this.#pointer = null;
    this.#redraw();
    this.#tell();
  }

  #buttons() {
    const choose = (erase) => {
      this.#erase = erase;
      find("pen").setAttribute("aria-pressed", String(!erase));
      find("eraser").setAttribute("aria-pressed", String(erase));
    };
    find("pen").addEventListener("click", () => choose(false));
    find("eraser").addEventListener("click", () => choose(true));
    find("undo").addEventListener("click", () => this.#undo());
    find("clear").addEventListener("click", () => {
      if (!this.#clearable) return;
      this.#stroke = this.#pointer = null;
      this.#strokes.push({ clear: true });
      this.#redraw();
      this.#tell();
    });
  }

  #undo() {
    // A stroke that is still being drawn ends here: what follows would go into one that is no longer there.
    this.#stroke = this.#pointer = null;
    this.#strokes.pop();
    this.#redraw();
    this.#tell();
  }

  #pointers() {
    const { canvas } = this;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) * (SIZE / box.width), (event.clientY - box.top) * (SIZE / box.height)];
    };
    const end = (event) => {
      if (event.pointerId !== this.#pointer) return;
      this.#pointer = null;
      this.#stroke = null;
      this.#tell();
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || (event.pointerType === "mouse" && event.button !== 0)) return;
      // The one that draws already may begin anew: nobody told that it was let go.
      if (this.#pointer !== null && this.#pointer !== event.pointerId) return;
      event.preventDefault();
      canvas.focus({ preventScroll: true, focusVisible: false });
      canvas.setPointerCapture(event.pointerId);
      this.#pointer = event.pointerId;
      this.#begin(place(event), (event.buttons & 32) !== 0); // 32: the eraser end of a stylus
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.#pointer) return;
      // It was let go where the page was not told, as over a menu of the browser.
      if (event.buttons === 0) {
        end(event);
        return;
      }
      // Between two frames a fast hand makes several points.
      const events = event.getCoalescedEvents?.() ?? [];
      this.#go((events.length ? events : [event]).map(place));
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(kind, end);
    // A menu over the drawing would swallow what the pen does next.
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  #keyboard() {
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
        if (this.#stroke) this.#go([[this.#cursor.x, this.#cursor.y]]);
      } else if (this.#stroke) {
        this.#stroke = null;
        this.#tell();
      } else {
        this.#begin([this.#cursor.x, this.#cursor.y], false);
      }
      this.#redraw();
    });
    canvas.addEventListener("blur", () => {
      this.#cursor = null;
      if (this.#pointer === null) this.#stroke = null;
      this.#redraw();
    });
  }

  #begin(point, erase) {
    if (this.#pointer !== null) this.#cursor = null;
    this.#stroke = { erase: this.#erase || erase, points: [point] };
    this.#strokes.push(this.#stroke);
    this.#redraw();
    this.#tell();
  }

  #go(points) {
    this.#stroke.points.push(...points);
    // The whole stroke at once: pieces drawn one over the other would have seams.
    this.#redraw();
    this.#tell();
  }

  #line(context, points, erase) {
    const style = getComputedStyle(this.canvas);
    const seen = context === this.shown;
    const paper = seen ? style.getPropertyValue("--paper").trim() : "#fff";
    const ink = seen ? style.getPropertyValue("--ink").trim() : "#000";
    context.strokeStyle = erase ? paper : ink;
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...points[0]);
    // A point alone is a line of no length, which its round caps make a dot.
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    context.stroke();
  }

  #redraw() {
    const from = this.#strokes.findLastIndex((stroke) => stroke.clear) + 1;
    const paper = getComputedStyle(this.canvas).getPropertyValue("--paper").trim();
    for (const context of [this.shown, this.read]) {
      context.fillStyle = context === this.shown ? paper : "#fff";
      context.fillRect(0, 0, SIZE, SIZE);
      for (const { points, erase } of this.#strokes.slice(from)) this.#line(context, points, erase);
    }
    if (this.#cursor) {
      const { x, y } = this.#cursor;
      this.shown.strokeStyle = getComputedStyle(this.canvas).getPropertyValue("--bad").trim();
      this.shown.lineWidth = this.#stroke ? 4 : 2;
      this.shown.beginPath();
      this.shown.arc(x, y, PEN / 2, 0, 2 * Math.PI);
      this.shown.stroke();
    }
  }

  #resize() {
    const pixels = Math.max(1, Math.round(this.canvas.clientWidth * devicePixelRatio));
    if (this.canvas.width === pixels) return;
    this.canvas.width = this.canvas.height = pixels;
    this.shown.setTransform(pixels / SIZE, 0, 0, pixels / SIZE, 0, 0);
    this.#redraw();
  }

  #tell() {
    allow(find("undo"), this.#strokes.length > 0);
    allow(find("clear"), this.#clearable);
    this.#changed(this);
  }
}
