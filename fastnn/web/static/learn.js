// Shows a network that learns in a worker beside the page, and the same training by fastnn on the server.

import { AnswerView, byId, percent } from "./answer.js";
import { article, errorText, showFigures, showMessage } from "./common.js";
import "./draw-pad.js";
import { showCurves, showUnits, showWrong } from "./learn-views.js";
import { Machine } from "./machine.js";

const PIXELS = 784;
const LEAST_ACCEPTED = 200; // with fewer digits of visitors, a network learns little
const MOST_DIGITS = 5000;

const pad = byId("drawing");
const view = new AnswerView([...Array(10).keys()].map(String));
const worker = new Worker(new URL("learn-worker.js", import.meta.url), { type: "module" });

const machine = new Machine({
  settings: () => ({ source: byId("source").value, ...settings() }),
  changed: () => showCurves(curve, machine.curve),
});

let running = false;
let ready = false;
let stepWaits = false; // a step was asked for before the digits were there
let curve = []; // [digits, accuracy]

const settings = () => ({ hidden: Number(byId("hidden").value), rule: byId("rule").value, rate: Number(byId("rate").value) });

/** Read the built-in digits: 784 pixels and the label of each. */
async function builtIn() {
  const response = await fetch("drawn.bin");
  if (!response.ok) throw new TypeError(response.status);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const n = bytes.length / (PIXELS + 1);
  const images = new Uint8Array(n * PIXELS), labels = [];
  for (let k = 0; k < n; k++) {
    const start = k * (PIXELS + 1);
    images.set(bytes.subarray(start, start + PIXELS), k * PIXELS);
    labels.push(bytes[start + PIXELS]);
  }
  return { images, labels };
}

/** Read the digits that visitors have drawn; of many, the latest. */
async function accepted() {
  const response = await fetch("dataset.json");
  if (!response.ok) throw new TypeError(response.status);
  const digits = (await response.json()).slice(-MOST_DIGITS);
  const images = new Uint8Array(digits.length * PIXELS);
  digits.forEach(({ image }, k) => images.set(image, k * PIXELS));
  return { images, labels: digits.map(({ label }) => label) };
}

async function load() {
  run(false);
  ready = false;
  showMessage(byId("message"), "Loading digits …");
  try {
    const digits = await (byId("source").value === "accepted" ? accepted() : builtIn());
    if (digits.labels.length < LEAST_ACCEPTED) {
      byId("source").value = "drawn";
      await load();
      showMessage(byId("message"), `Visitors have drawn only ${digits.labels.length} digits so far; these are built in.`);
      return;
    }
    worker.postMessage({ type: "data", ...digits });
    ready = true;
    reset();
    run(running);
    showMessage(byId("message"), "");
    if (stepWaits) step();
  } catch (error) {
    run(false);
    showMessage(byId("message"), `The digits cannot be loaded: ${errorText(error)}.`, "bad");
  }
}

/** Start or pause; before the digits are there, it waits for them. */
function run(on) {
  running = on;
  byId("run").textContent = running ? "Pause" : "Start";
  if (ready) worker.postMessage({ type: "run", running });
}

/** Learn one digit; before the digits are there, it waits for them. */
function step() {
  run(false);
  stepWaits = !ready;
  if (ready) worker.postMessage({ type: "step" });
}

function reset() {
  curve = [];
  worker.postMessage({ type: "reset", settings: settings() });
}

function showAnswer({ probabilities }) {
  if (probabilities) view.show(probabilities);
  else view.clear("Draw a digit on the pad.");
}

function showProgress({ trained, nTrain, nTest, accuracy, perSecond, pictures, wrong, last, ...answer }) {
  if (curve.at(-1)?.[0] === trained) curve.pop();
  curve.push([trained, accuracy]);
  const figures = [["digits learned", trained], [`right of ${nTest}`, percent(accuracy)], ["rounds", Math.floor(trained / nTrain)]];
  if (perSecond) figures.push(["digits a second", Math.round(perSecond)]);
  showFigures(byId("figures"), figures);
  if (trained >= nTrain) machine.compare(perSecond); // before, the script is not compiled well yet
  showCurves(curve, machine.curve);
  showUnits(byId("units"), pictures);
  showWrong(byId("wrong"), wrong);
  showAnswer(answer);
  if (last) showMessage(byId("message"), `It has just learned from ${article(last.label)} ${last.label}.`);
}

worker.addEventListener("message", ({ data }) => {
  if (data.type === "progress") showProgress(data);
  else if (data.type === "answer") showAnswer(data);
  else {
    run(false);
    showMessage(byId("message"), "The numbers grew without limit. Take a smaller learning rate, and reset.", "bad");
  }
});
worker.addEventListener("error", () => showMessage(byId("message"), "This browser cannot run the training.", "bad"));

byId("run").addEventListener("click", () => {
  if (ready) showMessage(byId("message"), "");
  run(!running);
});
byId("step").addEventListener("click", step);
byId("reset").addEventListener("click", () => {
  showMessage(byId("message"), "");
  reset();
});
byId("source").addEventListener("change", load);
byId("rule").addEventListener("change", reset);
byId("hidden").addEventListener("change", reset);
byId("rate").addEventListener("change", () => worker.postMessage({ type: "rate", rate: settings().rate }));
// With other settings, the curves are not those of the same training.
for (const id of ["source", "rule", "hidden", "rate"]) byId(id).addEventListener("change", () => machine.clear());
pad.addEventListener("input", () => worker.postMessage({ type: "ask", image: pad.empty ? null : pad.imageForNetwork() }));
// A page that nobody sees does not use the processor.
document.addEventListener("visibilitychange", () => { if (document.hidden && running) run(false); });
load();
