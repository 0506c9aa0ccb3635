// Trains a network beside the page, so that the page stays quick. Messages from the page: data, reset, rate, run, step and
// ask; messages to it: progress.

import { Learner, PIXELS, randomNumbers } from "./learner.js";
import { normalise } from "./network.js";

const SLICE_MS = 40; // of training, before messages are read
const REPORT_MS = 250;
const EARLY = 1000; // digits, until when it reports each time that half as many again are learned
const MOST_TESTED = 500; // digits on which the accuracy is measured
const MOST_PICTURES = 64;
const MOST_WRONG = 20;

let train = null; // {images, labels}: images one after the other
let test = null;
let order = [];
let learner = null;
let settings = { classes: 10, hidden: 64, rule: "backprop", rate: 0.02 };
let seed = 0; // of the next network; each reset makes another one
let random = randomNumbers(seed);
let running = false;
let trained = 0; // digits
let busy = 0; // ms of training since the last report
let busyDigits = 0;
let lastReport = 0;
let nextEarly = 10; // digits at which to report next
let asked = null; // the drawing on the page, as the network sees it
let scheduled = false;

const imageAt = ({ images }, k) => images.subarray(k * PIXELS, (k + 1) * PIXELS);

/** Centre and scale all digits, and hold a tenth of them back for the test. */
function prepare({ images, labels }) {
  const kept = [];
  for (let k = 0; k < labels.length; k++) {
    const seen = normalise(imageAt({ images }, k));
    if (seen) kept.push([seen, labels[k]]);
  }
  const nTest = Math.min(MOST_TESTED, Math.ceil(kept.length / 10));
  const pack = (pairs) => {
    const packed = { images: new Uint8Array(pairs.length * PIXELS), labels: pairs.map(([, label]) => label) };
    pairs.forEach(([image], k) => packed.images.set(image, k * PIXELS));
    return packed;
  };
  test = pack(kept.slice(0, nTest));
  train = pack(kept.slice(nTest));
}

function reset() {
  random = randomNumbers(seed);
  seed += 1;
  learner = Learner.random({ ...settings, random });
  trained = busy = busyDigits = 0;
  nextEarly = 10;
  order = [];
  report();
}

/** Learn from the next digit of a random order; each epoch has a new one. */
function trainOne() {
  if (!order.length) {
    order = Array.from(train.labels, (_, k) => k);
    for (let k = order.length - 1; k > 0; k--) {
      const other = Math.floor(random() * (k + 1));
      [order[k], order[other]] = [order[other], order[k]];
    }
  }
  const k = order.pop();
  learner.train(imageAt(train, k), train.labels[k], settings.rate);
  trained += 1;
  return k;
}

/** Measure the network and tell the page. */
function report(last = null) {
  lastReport = performance.now();
  if (!learner.predict(imageAt(test, 0)).every(Number.isFinite)) {
    postMessage({ type: "diverged" });
    return;
  }
  const wrong = [];
  let right = 0;
  for (let k = 0; k < test.labels.length; k++) {
    const outputs = learner.predict(imageAt(test, k));
    const answer = outputs.indexOf(outputs.reduce((a, b) => Math.max(a, b)));
    if (answer === test.labels[k]) right += 1;
    else if (wrong.length < MOST_WRONG) wrong.push({ image: imageAt(test, k).slice(), label: test.labels[k], answer });
  }
  postMessage({
    type: "progress",
    trained,
    nTrain: train.labels.length,
    nTest: test.labels.length,
    accuracy: right / test.labels.length,
    perSecond: busy ? busyDigits / busy * 1000 : 0,
    pictures: pictures(),
    wrong,
    last,
    ...answerNow(),
  });
  busy = busyDigits = 0;
}

/** What the network says about the drawing now. */
function answerNow() {
  if (!asked) return { probabilities: null };
  const outputs = Array.from(learner.predict(asked));
  const sum = outputs.reduce((a, b) => a + b, 0);
  // The outputs of the original's rule are independent of each other.
  return { probabilities: outputs.map((output) => output / sum), seen: asked };
}

/** The weights of the first hidden units as numbers from -127 to 127. */
function pictures() {
  const weights = learner.firstWeights(), n = learner.sizes[1];
  return Array.from({ length: Math.min(MOST_PICTURES, n) }, (_, j) => {
    const unit = Float64Array.from({ length: PIXELS }, (__, i) => weights[i * n + j]);
    const largest = unit.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
    return Int8Array.from(unit, (weight) => Math.round(127 * weight / largest));
  });
}

function runSlice() {
  scheduled = false;
  if (!running) return;
  const start = performance.now();
  let now = start;
  while (now - start < SLICE_MS) {
    for (let k = 0; k < 10; k++) trainOne();
    busyDigits += 10;
    now = performance.now();
    if (nextEarly < EARLY && trained >= nextEarly) break;
  }
  busy += now - start;
  if (now - lastReport > REPORT_MS || (nextEarly < EARLY && trained >= nextEarly)) {
    while (nextEarly <= trained) nextEarly *= 1.5;
    report();
  }
  else if (asked) postMessage({ type: "answer", ...answerNow() });
  schedule();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  setTimeout(runSlice);
}

onmessage = ({ data: { type, ...given } }) => {
  if (type === "ask") asked = given.image && normalise(given.image);
  if (type === "data") {
    prepare(given);
    reset();
  }
  if (!train) return;
  if (type === "reset") {
    settings = given.settings;
    reset();
  } else if (type === "rate") {
    settings.rate = given.rate;
  } else if (type === "run") {
    running = given.running;
    lastReport = performance.now();
    if (running) schedule();
    else report();
  } else if (type === "step") {
    const k = trainOne();
    report({ image: imageAt(train, k).slice(), label: train.labels[k] });
  } else if (type === "ask") {
    postMessage({ type: "answer", ...answerNow() });
  }
};
