// Shows the prediction while a digit is drawn, and the digits on a picture.

import { AnswerView, byId, createElement, drawImage, showGuess } from "./answer.js";
import { ApiError, classes, errorText, plural, request, retryDelay, SIDE, words } from "./common.js";
import "./draw-pad.js";
import { Recogniser } from "./model.js";
import { PictureInput } from "./picture.js";

const PAUSE_MS = 60; // between two requests; one for each pen movement would only queue up
const TIMEOUT_MS = 10000; // then the request is abandoned and sent again
const NO_MODEL_MS = 30000; // until the page looks again whether there is a network
const HOW_TO = "Draw with a mouse, a finger or a stylus.";

const pad = byId("drawing");
const recogniser = new Recogniser();
const pictures = new PictureInput();
let names = classes;
let view = new AnswerView(names);
let answered = null; // {seen, best} of the answer shown; null if none is, or if it cannot be explained
let picked = null; // the class to explain, if it is not the answer's
let picture = null; // a Blob; null while a digit is drawn
let timer = 0;
let running = null; // the AbortController of the running request
let changed = false; // the drawing has changed since that request was sent
let backingOff = false; // the server asked for a pause
let hasModel = true;

/** Show that there is no prediction. */
function clearPrediction(text = HOW_TO) {
  view.clear(text);
  byId("found").hidden = true;
  byId("doubt").textContent = "";
  answered = picked = null;
  showReasons();
  drawImage(byId("seen"), new Array(SIDE * SIDE).fill(255));
}

function showPrediction({ digits, ...first }) {
  const { reason, seen, probabilities } = first;
  view.show(probabilities, { doubtful: first.doubtful });
  drawImage(byId("seen"), seen);
  byId("doubt").textContent = reason ? `In doubt: ${reason}.` : "";
  answered = picture && digits.length > 1 ? null : { seen, best: probabilities.indexOf(Math.max(...probabilities)) };
  if (picture) showFound(digits);
  showReasons();
}

/** Show why the network gives the answer, if the visitor wants to know. */
async function showReasons() {
  const { model } = recogniser, panel = byId("why"), shown = answered;
  panel.hidden = !model || !answered;
  byId("bars").classList.toggle("pick", panel.open && !panel.hidden);
  if (panel.hidden || !panel.open) return;
  const { showWhy } = await import("./why.js");
  if (shown !== answered) return; // there is a newer answer
  const select = byId("why-class");
  if (select.options.length !== model.names.length) select.replaceChildren(...model.names.map((name, k) => new Option(name, k)));
  select.value = picked ?? answered.best;
  showWhy(model, answered.seen, Number(select.value));
}

function pick(position) {
  if (position < 0) return;
  picked = position;
  showReasons();
}

/** Show the digits on a picture; each is a button that shows its probabilities. */
function showFound(digits) {
  const select = (k) => {
    view.show(digits[k].probabilities, { doubtful: digits[k].doubtful });
    byId("doubt").textContent = digits[k].reason ? `In doubt: ${digits[k].reason}.` : "";
    if (digits.length > 1) showGuess(digits.map(({ label }) => label).join(" "), `${plural(digits.length, words.one, words.several)} found`);
    pictures.showBoxes(digits.map(({ box }) => box), k);
    [...byId("found").children].forEach((button, one) => button.setAttribute("aria-pressed", String(one === k)));
  };
  byId("found").replaceChildren(...digits.map(({ label, doubtful }, k) => {
    const button = createElement("button", { text: doubtful ? `${label}?` : label });
    button.type = "button";
    button.addEventListener("click", () => select(k));
    return button;
  }));
  byId("found").hidden = digits.length < 2;
  select(0);
}

/** Send one drawing at a time. The newest drawing follows when the answer is there, so the last answer shown is current. */
async function recognise() {
  const inPage = recogniser.model && !picture;
  if (!inPage && (backingOff || !hasModel)) return; // the drawing is sent when the pause is over
  if (running) {
    changed = true;
    return;
  }
  const mine = running = new AbortController();
  const timeout = setTimeout(() => mine.abort(), TIMEOUT_MS);
  changed = false;
  try {
    const { signal } = mine;
    const answer = await (picture ? request("api/predict", { body: picture, signal }) : recogniser.recognise(pad.imageForNetwork(), { signal }));
    if (mine !== running) return; // the drawing has been cleared
    if (answer) showPrediction(answer);
    else clearPrediction(); // very little ink
  } catch (error) {
    if (mine === running) handleError(error);
  } finally {
    clearTimeout(timeout);
    if (mine === running) {
      running = null;
      if (changed) schedule();
    }
  }
}

/** Remove the prediction for the earlier drawing, and send the request again if that may help. */
function handleError(error) {
  if (error instanceof ApiError && error.status === 422) {
    clearPrediction(`No ${words.one} found: ${errorText(error)}.`);
    return;
  }
  const onlyPictures = picture && recogniser.model && !(error instanceof ApiError);
  clearPrediction(`No answer: ${errorText(error)}${onlyPictures ? ", and only it reads pictures. You can still draw" : ""}.`);
  const delay = retryDelay(error);
  if (delay === null) return;
  backingOff = true;
  setTimeout(() => {
    backingOff = false;
    schedule();
  }, delay);
}

function forget() {
  running?.abort();
  running = null;
  changed = false;
}

/** Recognise the drawing soon. A running timer is not reset, so predictions also come while the pen keeps moving. */
function schedule() {
  timer ||= setTimeout(() => {
    timer = 0;
    if (picture || !pad.empty) {
      recognise();
      return;
    }
    forget();
    if (hasModel) clearPrediction();
  }, PAUSE_MS);
}

function draw() {
  picture = null;
  forget();
  pictures.close();
  clearPrediction();
  schedule();
}

/** Say which network answers, and use the names of its classes. */
function describe(model) {
  if (String(model.classes) !== String(names)) {
    names = model.classes;
    view = new AnswerView(names);
  }
  const accuracy = model.accuracy === null
    ? "accuracy not measured"
    : `${(100 * model.accuracy).toFixed(1)}% correct on ${model.tested_on?.toLocaleString("en") ?? "its"} test digits`;
  byId("model").textContent = `28 × 28 pixels. Network “${model.name}”, layers ${model.layers.join("-")}: ${accuracy}.`
    + (recogniser.model ? " It runs in this page: drawings are not sent." : "");
}

async function showModel() {
  const { model } = await request("api/health");
  const had = hasModel;
  hasModel = model !== null || recogniser.model !== null;
  if (!hasModel) {
    clearPrediction("There is no network here yet. Please come back later.");
    setTimeout(() => showModel().catch(() => {}), NO_MODEL_MS);
    return;
  }
  if (model) describe(model);
  if (had) return;
  draw();
  recogniser.look();
}

recogniser.addEventListener("model", () => {
  answered = picked = null; // it was another network's
  showReasons();
  if (recogniser.model) {
    hasModel = true;
    describe(recogniser.model.about);
    byId("why-class").replaceChildren(); // the classes may have other names
    keepForOffline();
  } else {
    showModel().catch(() => {}); // the server has another one, which a page cannot run
  }
  if (!picture && !pad.empty) schedule();
});

/** Let a service worker keep this page and its network. Browsers have them on https and localhost only. */
async function keepForOffline() {
  try {
    const { active } = await navigator.serviceWorker.register("service-worker.js");
    active?.postMessage("model"); // one that is new keeps the model by itself
  } catch { /* the page then needs the server when it is loaded again */ }
}
clearPrediction();
showModel().catch((error) => { if (!recogniser.model) byId("model").textContent = errorText(error); });
recogniser.start(pad);
pad.addEventListener("input", schedule);
byId("draw").addEventListener("click", draw);
byId("why").addEventListener("toggle", showReasons);
byId("why-class").addEventListener("change", ({ target }) => pick(Number(target.value)));
byId("bars").addEventListener("click", ({ target }) => {
  const name = target.closest("li")?.firstElementChild.textContent;
  if (byId("why").open && answered) pick(names.indexOf(name));
});
pictures.addEventListener("picture", ({ blob }) => {
  forget();
  picture = blob;
  byId("sure").textContent = `Looking for ${words.several} …`;
  recognise();
});
pictures.addEventListener("failure", ({ text }) => clearPrediction(text));
