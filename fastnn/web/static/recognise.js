// Shows the prediction while a digit is drawn, and the digits on a picture.

import { AnswerView, byId, createElement, drawImage, showGuess } from "./answer.js";
import { ApiError, classes, errorText, plural, request, retryDelay, SIDE, words } from "./common.js";
import "./draw-pad.js";
import { PictureInput } from "./picture.js";

const PAUSE_MS = 60; // between two requests; one for each pen movement would only queue up
const TIMEOUT_MS = 10000; // then the request is abandoned and sent again
const NO_MODEL_MS = 30000; // until the page looks again whether there is a network
const HOW_TO = "Draw with a mouse, a finger or a stylus.";

const pad = byId("drawing");
const pictures = new PictureInput();
let view = new AnswerView(classes);
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
  drawImage(byId("seen"), new Array(SIDE * SIDE).fill(255));
}

function showPrediction({ digits, ...first }) {
  const { reason, seen, probabilities } = first;
  view.show(probabilities, { doubtful: first.doubtful });
  drawImage(byId("seen"), seen);
  byId("doubt").textContent = reason ? `In doubt: ${reason}.` : "";
  if (picture) showFound(digits);
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
  if (backingOff || !hasModel) return; // the drawing is sent when the pause is over
  if (running) {
    changed = true;
    return;
  }
  const mine = running = new AbortController();
  const timeout = setTimeout(() => mine.abort(), TIMEOUT_MS);
  changed = false;
  try {
    const body = picture ?? { image: pad.imageForNetwork() };
    const answer = await request("api/predict", { body, signal: mine.signal });
    if (mine === running) showPrediction(answer); // else the drawing has been cleared
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
  // The server calls a drawing with very little ink blank.
  if (error instanceof ApiError && error.status === 422) {
    clearPrediction(picture ? `No ${words.one} found: ${errorText(error)}.` : HOW_TO);
    return;
  }
  clearPrediction(`No answer: ${errorText(error)}.`);
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

async function showModel() {
  const { model } = await request("api/health");
  const had = hasModel;
  hasModel = model !== null;
  if (!model) {
    clearPrediction("There is no network here yet. Please come back later.");
    setTimeout(() => showModel().catch(() => {}), NO_MODEL_MS);
    return;
  }
  view = new AnswerView(model.classes);
  const accuracy = model.accuracy === null
    ? "accuracy not measured"
    : `${(100 * model.accuracy).toFixed(1)}% correct on ${model.tested_on?.toLocaleString("en") ?? "its"} test digits`;
  byId("model").textContent = `28 × 28 pixels. Network “${model.name}”, layers ${model.layers.join("-")}: ${accuracy}.`;
  if (!had) draw();
}

clearPrediction();
showModel().catch((error) => { byId("model").textContent = errorText(error); });
pad.addEventListener("input", schedule);
byId("draw").addEventListener("click", draw);
pictures.addEventListener("picture", ({ blob }) => {
  forget();
  picture = blob;
  byId("sure").textContent = `Looking for ${words.several} …`;
  recognise();
});
pictures.addEventListener("failure", ({ text }) => clearPrediction(text));
