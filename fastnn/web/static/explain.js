// What speaks for and against a class: gradients of its score, the pre-activation of the output layer, times deviations.

import { ACTIVATIONS, inputsOf, sumsOf } from "./network.js";

const WHITE = 255;

/** The slope of an activation function where its value is as given. */
const SLOPES = {
  identity: () => 1,
  relu: (value) => (value > 0 ? 1 : 0),
  tanh: (value) => 1 - value * value,
  sigmoid: (value) => value * (1 - value),
};

/**
 * Explain the score of the class at a position for 784 grey levels as the networks see them. Returns `pixels`: gradient
 * times how far the input deviates from white paper; and `units`: [{network, unit, activation, contribution}] of the
 * first hidden layer that are active, the largest contribution (gradient times activation) first. Of several networks
 * the mean counts.
 */
export function explain(model, seen, position) {
  const inputs = inputsOf(model, seen), paper = inputsOf(model, new Array(seen.length).fill(WHITE));
  const pixels = new Float64Array(seen.length), units = [], share = 1 / model.networks.length;
  model.networks.forEach(({ layers }, network) => {
    const values = [inputs]; // the inputs of each layer
    for (const layer of layers.slice(0, -1)) values.push(ACTIVATIONS[layer.activation](sumsOf(layer, values.at(-1))));
    let delta = Float64Array.from({ length: layers.at(-1).outputs }, (_, k) => (k === position ? 1 : 0));
    for (let depth = layers.length - 1; depth >= 0; depth--) {
      const gradient = gradientOfInputs(layers[depth], delta);
      const contributions = gradient.map((slope, i) => share * slope * (values[depth][i] - (depth ? 0 : paper[i])));
      if (depth === 0) {
        contributions.forEach((contribution, i) => { pixels[i] += contribution; });
        continue;
      }
      const slope = SLOPES[layers[depth - 1].activation];
      delta = gradient.map((one, i) => one * slope(values[depth][i]));
      if (depth > 1) continue;
      contributions.forEach((contribution, unit) => {
        const activation = values[1][unit];
        if (activation !== 0) units.push({ network, unit, activation, contribution });
      });
    }
  });
  units.sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution));
  return { pixels, units };
}

function gradientOfInputs({ weights, inputs }, delta) {
  const n = delta.length;
  return Float64Array.from({ length: inputs }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += weights[i * n + j] * delta[j];
    return sum;
  });
}

/** How much black ink at each pixel adds to the pre-activation of a unit of the first layer. */
export function inkWeights(model, { network, unit }) {
  const { weights, inputs, outputs } = model.networks[network].layers[0];
  const { factor } = model.inputs;
  return Float64Array.from({ length: inputs }, (_, i) => -WHITE * factor[factor.length === 1 ? 0 : i] * weights[i * outputs + unit]);
}
