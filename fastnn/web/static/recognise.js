// Shows the prediction while a digit is drawn.

import { AnswerView, byId, drawImage } from "./answer.js";
import { ApiError, errorText, request, retryDelay, SIDE } from "./common.js";
import "./draw-pad.js";

const PAUSE_MS = 60; // between two requests; one for each pen movement would only queue up
const TIMEOUT_MS = 10000; // then the request is abandoned and sent again

const pad = byId("drawing");
let view = new AnswerView([...Array(10).keys()].map(String));
let timer = 0;
let running = null; // the AbortController of the running request
let changed = false; // the drawing has changed since that request was sent
let backingOff = false; // the server asked for a pause

/** Show that there is no prediction. */
function clearPrediction(text = "Draw with a mouse, a finger or a stylus.") {
  view.clear(text);
  drawImage(byId("seen"), new Array(SIDE * SIDE).fill(255));
}

/** Send one drawing at a time. The newest drawing follows when the answer is there, so the last answer shown is current. */
async function recognise() {
  if (backingOff) return; // the drawing is sent when the pause is over
  if (running) {
    changed = true;
    return;
  }
  const mine = running = new AbortController();
  const timeout = setTimeout(() => mine.abort(), TIMEOUT_MS);
  changed = false;
  try {
    const answer = await request("api/predict", { body: { image: pad.imageForNetwork() }, signal: mine.signal });
    if (mine !== running) return; // the drawing has been cleared
    view.show(answer.probabilities);
    drawImage(byId("seen"), answer.seen);
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
    clearPrediction();
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

/** Recognise the drawing soon. A running timer is not reset, so predictions also come while the pen keeps moving. */
function schedule() {
  timer ||= setTimeout(() => {
    timer = 0;
    if (!pad.empty) {
      recognise();
      return;
    }
    running?.abort();
    running = null;
    changed = false;
    clearPrediction();
  }, PAUSE_MS);
}

async function showModel() {
  const { model } = await request("api/health");
  if (!model) {
    byId("sure").textContent = "No model is loaded. Start fastnn serve with --model.";
    return;
  }
  view = new AnswerView(model.classes);
  const accuracy = model.accuracy === null
    ? "accuracy not measured"
    : `${(100 * model.accuracy).toFixed(1)}% correct on ${model.tested_on?.toLocaleString("en") ?? "its"} test digits`;
  byId("model").textContent = `28 × 28 pixels. Network “${model.name}”, layers ${model.layers.join("-")}: ${accuracy}.`;
}

clearPrediction();
showModel().catch((error) => { byId("model").textContent = errorText(error); });
pad.addEventListener("input", schedule);
