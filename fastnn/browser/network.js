// Runs the networks of a model as fastnn does: drawings are normalised, inputs scaled, the outputs of several networks
// averaged, and label smoothing undone. It needs no page, so that `fastnn export --verify` can run it anywhere.

/** Read a model: JSON, in which the weights are float16 or float32 in base64. */
export function readModel(text) {
  return withWeights(JSON.parse(text), ({ parameters }) => decodeBytes(parameters));
}

/** Give the layers of a model their weights; `bytesOf` returns those of a network in a Uint8Array. */
export function withWeights(model, bytesOf) {
  for (const network of model.networks) {
    const numbers = decodeNumbers(bytesOf(network), model.precision);
    let position = 0;
    const take = (n) => numbers.subarray(position, position += n);
    for (const layer of network.layers) {
      layer.weights = take(layer.inputs * layer.outputs); // row by row; a row has the weights of one input
      layer.biases = take(layer.outputs);
    }
  }
  return model;
}

function decodeBytes(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = text.charCodeAt(k);
  return bytes;
}

function decodeNumbers(bytes, precision) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = precision === "float16" ? 2 : 4;
  const numbers = new Float32Array(view.byteLength / size);
  for (let k = 0; k < numbers.length; k++) {
    numbers[k] = size === 2 ? float16(view.getUint16(2 * k, true)) : view.getFloat32(4 * k, true);
  }
  return numbers;
}

const POWERS = Float64Array.from({ length: 32 }, (_, exponent) => 2 ** (exponent - 25));

/** The number that 16 bits stand for: a sign, 5 bits of exponent and 10 bits of fraction. None is infinite. */
function float16(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const size = exponent ? (1024 + fraction) * POWERS[exponent] : fraction * 2 ** -24;
  return bits & 0x8000 ? -size : size;
}

export const ACTIVATIONS = {
  identity: (sums) => sums,
  relu: (sums) => sums.map((sum) => Math.max(sum, 0)),
  tanh: (sums) => sums.map(Math.tanh),
  sigmoid: (sums) => sums.map((sum) => 1 / (1 + Math.exp(-sum))),
  softmax(sums) {
    const largest = sums.reduce((a, b) => Math.max(a, b));
    return dividedBySum(sums.map((sum) => Math.exp(sum - largest)));
  },
};

/** Numbers divided by their sum; all the same if all are 0. */
export function dividedBySum(numbers) {
  const sum = numbers.reduce((a, b) => a + b, 0);
  return numbers.map((number) => (sum === 0 ? 1 / numbers.length : number / sum));
}

/** The pre-activations of a layer. */
export function sumsOf({ weights, biases }, values) {
  const sums = Float64Array.from(biases), n = sums.length;
  values.forEach((value, i) => {
    if (value === 0) return; // most inputs: white paper, and units that are not active
    for (let j = 0, k = i * n; j < n; j++, k++) sums[j] += value * weights[k];
  });
  return sums;
}

function runNetwork({ layers }, inputs) {
  return layers.reduce((values, layer) => ACTIVATIONS[layer.activation](sumsOf(layer, values)), inputs);
}

/** The inputs of the networks for pixels as the networks see them, or for a row of numbers. */
export function inputsOf({ inputs: { mean, factor } }, values) {
  const at = (numbers, i) => numbers[numbers.length === 1 ? 0 : i];
  return Float64Array.from(values, (value, i) => (value - at(mean, i)) * at(factor, i));
}

/** The mean of the networks' outputs for 784 grey levels (255 = white) or a row of numbers. */
export function outputsFor(model, sample) {
  const inputs = inputsOf(model, model.normalise ? normalise(sample) ?? sample : sample);
  const outputs = model.networks.map((network) => runNetwork(network, inputs));
  return outputs[0].map((_, j) => outputs.reduce((sum, each) => sum + each[j], 0) / outputs.length);
}

/** What a model answers for these outputs: probabilities, or numbers to predict. */
export function answersOf(model, outputs) {
  if (model.targets) return outputs.map((value, j) => value / model.targets.factor[j] + model.targets.mean[j]);
  const answers = model.dividesBySum ? dividedBySum(outputs) : outputs;
  if (!model.calibration) return answers;
  const { slope, offset, least } = model.calibration;
  return dividedBySum(answers.map((probability) => Math.max(probability * slope + offset, least)));
}

/** What a model answers for 784 grey levels (255 = white) or a row of numbers. */
export function answersFor(model, sample) {
  return answersOf(model, outputsFor(model, sample));
}

/** The answers for many samples in base64: images of `width` bytes, or rows of `width` numbers, as JSON. */
export function answersForAll(modelText, base64, width) {
  const model = readModel(modelText);
  const bytes = decodeBytes(base64), values = model.columns ? new Float64Array(bytes.buffer) : bytes;
  const samples = Array.from({ length: values.length / width }, (_, k) => values.subarray(k * width, (k + 1) * width));
  return JSON.stringify(samples.map((sample) => Array.from(answersFor(model, sample))));
}

const SIDE = 28;
const BOX = 20; // longer side of a normalised drawing
const LEAST_INK = 16; // a drawing whose darkest ink is lighter is blank

/** Scale the longer side of a drawing to 20 pixels and move its centre of mass to row and column 14, as in MNIST.
 * `image`: 784 grey levels of dark ink on light paper. Returns the same, with paper of 255; null if nothing is drawn. */
export function normalise(image) {
  const ink = inkOf(image);
  const box = boundsOf(ink, SIDE);
  if (box.darkest < LEAST_INK) return null;
  // A drawing that has the right size already is moved by whole pixels.
  if (Math.max(box.bottom - box.top, box.right - box.left) === BOX) return centred(ink, SIDE, box);
  const fitted = fittedToBox(ink, box);
  return centred(fitted, BOX, boundsOf(fitted, BOX));
}

/** Ink levels: 0 = the paper's grey level, which is the upper quartile of the border; 255 = black. */
function inkOf(image) {
  const isBorder = (k) => k < SIDE || k >= SIDE * (SIDE - 1) || k % SIDE === 0 || k % SIDE === SIDE - 1;
  const border = Array.from(image).filter((_, k) => isBorder(k)).sort((a, b) => a - b);
  const quartile = border[Math.ceil(0.75 * border.length) - 1];
  const paper = quartile < 128 ? 255 : quartile; // ink may cover most of the border
  return Array.from(image, (grey) => Math.floor((Math.max(0, paper - grey) * 255 + (paper >> 1)) / paper));
}

/** The rows and columns with ink of at least an eighth of the darkest. */
function boundsOf(ink, width) {
  const box = { darkest: Math.max(...ink), top: Infinity, left: Infinity, bottom: 0, right: 0 };
  ink.forEach((value, k) => {
    if (value === 0 || 8 * value < box.darkest) return;
    const y = Math.floor(k / width), x = k % width;
    box.top = Math.min(box.top, y);
    box.left = Math.min(box.left, x);
    box.bottom = Math.max(box.bottom, y + 1);
    box.right = Math.max(box.right, x + 1);
  });
  return box;
}

/** Scale the drawing in a box to 20 pixels. Its darkest ink stays as dark as it was. */
function fittedToBox(ink, box) {
  let { top, left, bottom, right } = box, fitted = [];
  // Scaling can make thin ink at an edge too faint to be seen: then the edge is cut off, and the rest scaled again.
  for (let round = 0; round < 24; round++) {
    const scale = Math.max(bottom - top, right - left) / BOX;
    const pixels = (length) => Math.min(BOX, Math.max(1, Math.ceil(length / scale - 1e-6)));
    const height = pixels(bottom - top), width = pixels(right - left);
    // The shorter side gets a part of a pixel on both ends, so that the aspect ratio is kept exactly.
    top = 0.5 * (top + bottom - height * scale);
    left = 0.5 * (left + right - width * scale);
    const sizes = resampled(ink, { top, left, scale, height, width });
    const gain = box.darkest / Math.max(...sizes);
    fitted = sizes.map((size) => Math.floor(size * gain + 0.5));
    const seen = boundsOf(fitted, BOX);
    if (Math.max(seen.bottom - seen.top, seen.right - seen.left) === BOX) break;
    bottom = top + seen.bottom * scale;
    right = left + seen.right * scale;
    top += seen.top * scale;
    left += seen.left * scale;
  }
  return fitted;
}

/** Resample a window of a drawing to a part of 20 by 20 pixels, each `scale` pixels of the drawing wide. */
function resampled(ink, { top, left, scale, height, width }) {
  const result = new Array(BOX * BOX).fill(0);
  const columns = Array.from({ length: width }, (_, j) => sourcesOf(left, scale, j));
  for (let i = 0; i < height; i++) {
    const row = new Array(SIDE).fill(0);
    for (const [y, weight] of sourcesOf(top, scale, i)) for (let x = 0; x < SIDE; x++) row[x] += weight * ink[y * SIDE + x];
    columns.forEach((sources, j) => {
      for (const [x, weight] of sources) result[i * BOX + j] += weight * row[x];
    });
  }
  return result;
}

/** The rows or columns of the drawing that make one of the result, with their weights: [[place, weight], ...]. */
function sourcesOf(start, scale, position) {
  const inside = ([place]) => place >= 0 && place < SIDE;
  if (scale > 1) { // shrinking: the mean over the area
    const from = start + position * scale, to = start + (position + 1) * scale;
    const places = Array.from({ length: Math.ceil(to) - Math.floor(from) }, (_, k) => Math.floor(from) + k);
    return places.map((i) => [i, Math.max(0, Math.min(to, i + 1) - Math.max(from, i)) / scale]).filter(inside);
  }
  const centre = start + (position + 0.5) * scale - 0.5; // enlarging: linear interpolation
  const first = Math.floor(centre);
  return [[first, 1 - (centre - first)], [first + 1, centre - first]].filter(inside);
}

/** Write the drawing in a box to 28 by 28 pixels, its centre of mass at row and column 14, but within the frame. */
function centred(ink, width, { top, left, bottom, right }) {
  const image = new Array(SIDE * SIDE).fill(255);
  let mass = 0, momentY = 0, momentX = 0;
  const eachPixel = (visit) => {
    for (let y = 0; y < bottom - top; y++) for (let x = 0; x < right - left; x++) visit(y, x, ink[(top + y) * width + left + x]);
  };
  eachPixel((y, x, value) => {
    mass += value;
    momentY += value * y;
    momentX += value * x;
  });
  const start = (moment, size) => {
    const wanted = Math.floor((2 * ((SIDE / 2) * mass - moment) + mass) / (2 * mass)); // the nearest, by whole numbers
    return Math.min(Math.max(wanted, 0), SIDE - size);
  };
  const y0 = start(momentY, bottom - top), x0 = start(momentX, right - left);
  eachPixel((y, x, value) => { image[(y0 + y) * SIDE + x0 + x] = 255 - value; });
  return image;
}
