// A drawing: strokes on paper of 280 by 280 pixels with a pen of 30, as on the original project's page, and the images of
// 28 by 28 pixels that are made of it.

export const PAPER_SIZE = 280;
export const PEN_WIDTH = 30;

const IMAGE_SIZE = 28;
const BLOCK = PAPER_SIZE / IMAGE_SIZE;
const DIGIT_SIZE = 200; // longer side of a training digit, with the pen: 20 of 28 pixels
const MOST_ENLARGED = 8; // else a dot, which is never quite still, would become a line
const FAINT_INK = 16; // lighter ink is not seen

export class Drawing {
  strokes = []; // each {erase, points: [[x, y], ...]}, or {clear: true}
  #context;

  constructor() {
    // Images are read from a canvas of its own, whose size does not depend on the screen.
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = PAPER_SIZE;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
  }

  get clearable() {
    return this.strokes.length > 0 && !this.strokes.at(-1).clear;
  }

  get empty() {
    return this.image().every((value) => value >= 255 - FAINT_INK);
  }

  /** Draw the strokes; the pen and the eraser are as wide as given. */
  paint(context, { paper, ink, penWidth = PEN_WIDTH, eraserWidth = PEN_WIDTH }) {
    const from = this.strokes.findLastIndex((stroke) => stroke.clear) + 1;
    context.lineCap = context.lineJoin = "round";
    for (const { points, erase } of this.strokes.slice(from)) {
      context.strokeStyle = erase ? paper : ink;
      context.lineWidth = erase ? eraserWidth : penWidth;
      context.beginPath();
      context.moveTo(...points[0]);
      // A single point is a line of length zero; its round caps make it a dot.
      for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
      context.stroke();
    }
  }

  /** The drawing as 784 values: the mean of each block of 10 by 10 pixels, 255 = white paper. */
  image() {
    return blockMeans(this.#read());
  }

  /**
   * The same drawing as large as the training digits, and in the middle, for the question to the network. The strokes
   * are scaled and the pen is not: enlarging the image of a small drawing would enlarge the pen, and fill its loops.
   */
  imageForNetwork() {
    const pixels = this.#read();
    const box = inkBox(pixels);
    if (!box) return blockMeans(pixels);
    const longest = Math.max(box.right - box.left, box.bottom - box.top) - PEN_WIDTH;
    const scale = Math.min(MOST_ENLARGED, (DIGIT_SIZE - PEN_WIDTH) / Math.max(longest, 1));
    const middle = [box.left + box.right, box.top + box.bottom].map((sum) => sum / 2);
    const fitted = this.#read({ scale, middle });
    // A rest that the eraser left at the edge of a stroke may have gone, as the pen is thinner beside the eraser.
    return blockMeans(inkBox(fitted) ? fitted : pixels);
  }

  /** Draw the strokes, scaled about the middle of what is drawn, and return the pixels. */
  #read({ scale = 1, middle = [PAPER_SIZE / 2, PAPER_SIZE / 2] } = {}) {
    const context = this.#context;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, PAPER_SIZE, PAPER_SIZE);
    context.save();
    context.setTransform(scale, 0, 0, scale, PAPER_SIZE / 2 - scale * middle[0], PAPER_SIZE / 2 - scale * middle[1]);
    // What the hand drew beside the paper does not come into view.
    context.beginPath();
    context.rect(0, 0, PAPER_SIZE, PAPER_SIZE);
    context.clip();
    this.paint(context, { paper: "#fff", ink: "#000", penWidth: PEN_WIDTH / scale });
    context.restore();
    return context.getImageData(0, 0, PAPER_SIZE, PAPER_SIZE).data;
  }
}

/** The rows and columns with ink; null if there is none. */
function inkBox(pixels) {
  let left = PAPER_SIZE, top = PAPER_SIZE, right = 0, bottom = 0;
  for (let y = 0; y < PAPER_SIZE; y++) {
    for (let x = 0; x < PAPER_SIZE; x++) {
      if (pixels[4 * (y * PAPER_SIZE + x)] > 127) continue;
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
      top = Math.min(top, y);
      bottom = y + 1;
    }
  }
  return right > left ? { left, top, right, bottom } : null;
}

function blockMeans(pixels) {
  const sums = new Array(IMAGE_SIZE * IMAGE_SIZE).fill(0);
  for (let y = 0; y < PAPER_SIZE; y++) {
    const row = IMAGE_SIZE * Math.floor(y / BLOCK);
    for (let x = 0; x < PAPER_SIZE; x++) sums[row + Math.floor(x / BLOCK)] += pixels[4 * (y * PAPER_SIZE + x)];
  }
  return sums.map((sum) => Math.round(sum / (BLOCK * BLOCK)));
}
