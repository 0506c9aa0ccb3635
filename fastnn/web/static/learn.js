// Shows a network that learns in a worker beside the page, and the same training by fastnn on the server.

import { AnswerView, byId, percent } from "./answer.js";
import { article, classes, errorText, plural, responseError, setEnabled, showFigures, showMessage, words } from "./common.js";
import "./draw-pad.js";
import { showCurves, showUnits, showWrong } from "./learn-views.js";
import { Machine } from "./machine.js";

const PIXELS = 784;
const LEAST_ACCEPTED = Math.min(200, 20 * classes.length); // with fewer digits of visitors, a network learns little
const HAS_BUILT_IN = classes.join() === "0,1,2,3,4,5,6,7,8,9"; // other things are not built in

const pad = byId("drawing");
const view = new AnswerView(classes);
const worker = new Worker(new URL("learn-worker.js", import.meta.url), { type: "module" });

const machine = new Machine({
  settings: () => ({ source: byId("source").value, ...settings() }),
  changed: () => showCurves(curve, machine.curve),
});

let running = false;
let ready = false;
let loaded = false; // whether the worker has digits
let tooFew = false; // there is nothing to learn from
let loads = 0; // only the digits that were asked for last are used
let stepWaits = false; // a step was asked for before the digits were there
let curve = []; // [digits, accuracy]

const settings = () => ({ classes: classes.length, hidden: Number(byId("hidden").value), rule: byId("rule").value, rate: Number(byId("rate").value) });

/** Read digits: 784 pixels of each, and the position of its class in two bytes. */
async function read(name) {
  const response = await fetch(name);
  if (!response.ok) throw await responseError(response);
  const bytes = new DataView(await response.arrayBuffer()), each = PIXELS + 2;
  const n = bytes.byteLength / each;
  const images = new Uint8Array(n * PIXELS), labels = [];
  for (let k = 0; k < n; k++) {
    images.set(new Uint8Array(bytes.buffer, k * each, PIXELS), k * PIXELS);
    labels.push(bytes.getUint16(k * each + PIXELS, true));
  }
  return { images, labels };
}

async function load() {
  const mine = loads += 1;
  run(false);
  ready = false;
  showMessage(byId("message"), `Loading ${words.several} …`);
  try {
    const digits = await read(byId("source").value === "accepted" ? "latest.bin" : "drawn.bin");
    if (mine !== loads) return;
    const few = `Visitors have drawn only ${plural(digits.labels.length, words.one, words.several)} so far`;
    if (digits.labels.length < LEAST_ACCEPTED && !HAS_BUILT_IN) {
      tooFew = true;
      for (const id of ["run", "step", "reset"]) setEnabled(byId(id), false);
      showMessage(byId("message"), `${few} that have been accepted; a network needs ${LEAST_ACCEPTED}. Please come back later.`);
      return;
    }
    if (digits.labels.length < LEAST_ACCEPTED) {
      byId("source").value = "drawn";
      await load();
      if (loads === mine + 1) showMessage(byId("message"), `${few}; these are built in.`);
      return;
    }
    worker.postMessage({ type: "data", ...digits });
    ready = loaded = true;
    reset();
    run(running);
    showMessage(byId("message"), "");
    if (stepWaits) step();
  } catch (error) {
    if (mine !== loads) return;
    run(false);
    showMessage(byId("message"), `The ${words.several} cannot be loaded: ${errorText(error)}.`, "bad");
  }
}

/** Start or pause; before the digits are there, it waits for them. */
function run(on) {
  if (tooFew) return;
  running = on;
  byId("run").textContent = running ? "Pause" : "Start";
  if (ready) worker.postMessage({ type: "run", running });
}

/** Learn one digit; before the digits are there, it waits for them. */
function step() {
  run(false);
  stepWaits = !ready && !tooFew;
  if (ready) worker.postMessage({ type: "step" });
}

function reset() {
  if (!loaded) return;
  curve = [];
  worker.postMessage({ type: "reset", settings: settings() });
}

function showAnswer({ probabilities }) {
  if (probabilities) view.show(probabilities);
  else view.clear(`Draw ${words.something} on the pad.`);
}

function showProgress({ trained, nTrain, nTest, accuracy, perSecond, pictures, wrong, last, ...answer }) {
  if (curve.at(-1)?.[0] === trained) curve.pop();
  curve.push([trained, accuracy]);
  const figures = [[`${words.several} learned`, trained], [`right of ${nTest}`, percent(accuracy)], ["rounds", Math.floor(trained / nTrain)]];
  if (perSecond) figures.push([`${words.several} a second`, Math.round(perSecond)]);
  showFigures(byId("figures"), figures);
  if (trained >= nTrain) machine.compare(perSecond); // before, the script is not compiled well yet
  showCurves(curve, machine.curve);
  showUnits(byId("units"), pictures);
  showWrong(byId("wrong"), wrong.map((one) => ({ ...one, label: classes[one.label], answer: classes[one.answer] })));
  showAnswer(answer);
  if (last) showMessage(byId("message"), `It has just learned from ${article(classes[last.label])} ${classes[last.label]}.`);
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
  if (tooFew) return;
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
if (!HAS_BUILT_IN) {
  byId("source").value = "accepted";
  byId("source").closest("label").hidden = true;
}
load();
