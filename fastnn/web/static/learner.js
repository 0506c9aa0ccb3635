// A network that learns one digit at a time, by the same rules as fastnn.reference.
//
// Most of an image is paper. The input x is a baseline mu (1 everywhere for rule "original", whose inputs are grey levels;
// 0 for rule "backprop", whose inputs are ink) plus a deviation d, which is zero but where there is ink. With the first
// layer's weights W = V + c mu' and a = b + W mu, its sums are a + V d + c (mu d), and the update W += g x', b += g
// becomes V += g d', c += g, a += g (1 + mu x): exactly the same step, at the cost of the ink alone.

export const PIXELS = 784;

/** A function that returns random numbers from [0, 1): the same for the same seed (mulberry32 by T. Ettinger). */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

export class Learner {
  /** `sizes`: units of each layer; `weights[l]`: row by row, a row has the weights of one input; `biases[l]`. */
  constructor({ sizes, rule, weights, biases }) {
    this.sizes = sizes;
    this.rule = rule;
    this.weights = weights.map((numbers) => Float64Array.from(numbers)); // those of the first layer are V
    this.biases = biases.map((numbers) => Float64Array.from(numbers)); // those of the first layer are a
    this.mu = rule === "original" ? 1 : 0;
    this.shared = new Float64Array(sizes[1]); // c
    this.values = sizes.map((n) => new Float64Array(n)); // activations; those of the first layer stay 0
    this.errors = sizes.map((n) => new Float64Array(n));
    this.active = new Int32Array(sizes[0]);
    this.deviations = new Float64Array(sizes[0]);
    this.nActive = this.sumOfDeviations = 0;
    const [n] = this.biases;
    if (this.mu) this.weights[0].forEach((weight, k) => { n[k % n.length] += weight; });
  }

  /** A network with random weights: uniform in [-1, 1) as the original's, or as He et al. (2015) advise for ReLU. */
  static random({ hidden, rule, random, classes = 10 }) {
    const sizes = [PIXELS, hidden, classes];
    const uniform = () => 2 * random() - 1;
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const make = (inputs, outputs) => {
      const draw = rule === "original" ? uniform : () => normal() * Math.sqrt(2 / inputs);
      return Float64Array.from({ length: inputs * outputs }, draw);
    };
    const weights = [make(PIXELS, hidden), make(hidden, classes)];
    const biases = [hidden, classes].map((n) => Float64Array.from({ length: n }, rule === "original" ? uniform : () => 0));
    return new Learner({ sizes, rule, weights, biases });
  }

  /** The first layer's weights W. */
  firstWeights() {
    const n = this.sizes[1];
    return this.weights[0].map((weight, k) => weight + this.mu * this.shared[k % n]);
  }

  /** All weights and biases in the form that the constructor takes. */
  parameters() {
    const first = this.firstWeights(), n = this.sizes[1];
    const bias = Float64Array.from(this.biases[0]);
    if (this.mu) first.forEach((weight, k) => { bias[k % n] -= weight; });
    return { weights: [first, ...this.weights.slice(1)], biases: [bias, ...this.biases.slice(1)] };
  }

  /** The outputs for an image of 784 grey levels, 255 = paper. The array is used again. */
  predict(image) {
    this.#read(image);
    const last = this.sizes.length - 1;
    for (let layer = 1; layer <= last; layer++) {
      const sums = this.values[layer];
      sums.set(this.biases[layer - 1]);
      if (layer === 1) this.#addFirst(sums);
      else this.#addDense(layer, sums);
      if (layer === last && this.rule === "backprop") softmax(sums);
      else if (this.rule === "backprop") for (let j = 0; j < sums.length; j++) sums[j] = Math.max(0, sums[j]);
      else for (let j = 0; j < sums.length; j++) sums[j] = sigmoid(sums[j]);
    }
    return this.values[last];
  }

  /** Learn from one image. */
  train(image, label, rate) {
    const outputs = this.predict(image), last = this.sizes.length - 1;
    for (let j = 0; j < outputs.length; j++) this.errors[last][j] = (j === label ? 1 : 0) - outputs[j];
    for (let layer = last; layer >= 1; layer--) {
      const delta = this.errors[layer], values = this.values[layer];
      // The original passes the raw error back, through weights that are updated already. Gradient descent passes the
      // delta back, through the weights as they were.
      if (this.rule === "backprop") {
        if (layer < last) for (let j = 0; j < delta.length; j++) if (values[j] <= 0) delta[j] = 0;
        if (layer > 1) this.#passBack(layer, delta);
        for (let j = 0; j < delta.length; j++) delta[j] *= rate;
        this.#update(layer, delta);
      } else {
        this.#update(layer, delta.map((error, j) => rate * error * values[j] * (1 - values[j])));
        if (layer > 1) this.#passBack(layer, delta);
      }
    }
  }

  /** List the pixels with ink, and how far they are from the baseline. */
  #read(image) {
    this.nActive = this.sumOfDeviations = 0;
    for (let i = 0; i < PIXELS; i++) {
      if (image[i] === 255) continue;
      const deviation = this.mu ? image[i] / 255 - 1 : (255 - image[i]) / 255;
      this.active[this.nActive] = i;
      this.deviations[this.nActive++] = deviation;
      this.sumOfDeviations += deviation;
    }
  }

  #addFirst(sums) {
    const [weights] = this.weights, n = sums.length;
    for (let k = 0; k < this.nActive; k++) {
      const deviation = this.deviations[k], row = this.active[k] * n;
      for (let j = 0; j < n; j++) sums[j] += deviation * weights[row + j];
    }
    if (this.mu) for (let j = 0; j < n; j++) sums[j] += this.shared[j] * this.sumOfDeviations;
  }

  #addDense(layer, sums) {
    const weights = this.weights[layer - 1], inputs = this.values[layer - 1], n = sums.length;
    for (let i = 0; i < inputs.length; i++) {
      if (inputs[i] === 0) continue; // many ReLU units
      for (let j = 0; j < n; j++) sums[j] += inputs[i] * weights[i * n + j];
    }
  }

  /** Write the errors of the layer before. */
  #passBack(layer, delta) {
    const weights = this.weights[layer - 1], before = this.errors[layer - 1], n = delta.length;
    for (let i = 0; i < before.length; i++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += weights[i * n + j] * delta[j];
      before[i] = sum;
    }
  }

  /** Add a step's outer product with the inputs to the weights, and the step to the biases. */
  #update(layer, step) {
    const weights = this.weights[layer - 1], biases = this.biases[layer - 1], n = step.length;
    if (layer > 1) {
      const inputs = this.values[layer - 1];
      for (let i = 0; i < inputs.length; i++) for (let j = 0; j < n; j++) weights[i * n + j] += step[j] * inputs[i];
      for (let j = 0; j < n; j++) biases[j] += step[j];
      return;
    }
    for (let k = 0; k < this.nActive; k++) {
      const deviation = this.deviations[k], row = this.active[k] * n;
      for (let j = 0; j < n; j++) weights[row + j] += step[j] * deviation;
    }
    const gain = 1 + this.mu * (PIXELS + this.sumOfDeviations);
    for (let j = 0; j < n; j++) {
      biases[j] += step[j] * gain;
      this.shared[j] += step[j];
    }
  }
}

function softmax(sums) {
  let largest = -Infinity, total = 0;
  for (let j = 0; j < sums.length; j++) largest = Math.max(largest, sums[j]);
  for (let j = 0; j < sums.length; j++) total += sums[j] = Math.exp(sums[j] - largest);
  for (let j = 0; j < sums.length; j++) sums[j] /= total;
}
