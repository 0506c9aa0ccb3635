// While drawing: what the network takes the drawing for.

import { ask, bars, explain, find, later, paint, Refused, SIDE } from "./common.js";
import { Pad } from "./pad.js";

const PAUSE = 60; // ms; a question a movement would only queue up
const PATIENCE = 10000; // ms; then the server is asked anew

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;

let names = [...Array(10).keys()].map(String);
let show = bars(find("bars"), names);
let timer = 0;
let asked = null; // the AbortController of the question under way
let again = false; // something was drawn since it was asked
let pausing = false; // the server wants no question for now

function rest(told = "Draw with the mouse, a finger or a stylus.") {
  show(names.map(() => ({ share: 0, text: "–", best: false })));
  find("guess").textContent = "–";
  find("sure").textContent = told;
  paint(find("seen"), new Array(SIDE * SIDE).fill(255));
}

/** Ask for one drawing at a time; what is drawn meanwhile is asked for next, so the latest answer is the one that stays. */
async function recognise(pad) {
  if (pausing) return; // the drawing as it is then will be asked for
  if (asked) {
    again = true;
    return;
  }
  const mine = asked = new AbortController();
  const giveUp = setTimeout(() => mine.abort(), PATIENCE);
  again = false;
  try {
    const answer = await ask("api/predict", { body: { image: pad.image() }, signal: mine.signal });
    if (mine !== asked) return; // the drawing has been cleared
    const best = Math.max(...answer.probabilities);
    show(answer.probabilities.map((share) => ({ share, text: percent(share), best: share === best })));
    find("guess").textContent = answer.label;
    find("sure").textContent = `${best > 0.9 ? "Surely" : best > 0.5 ? "Probably" : "Perhaps"} a ${answer.label}: ${percent(best)}`;
    paint(find("seen"), answer.seen);
  } catch (error) {
    if (mine === asked) fail(error, pad);
  } finally {
    clearTimeout(giveUp);
    if (mine === asked) {
      asked = null;
      if (again) look(pad);
    }
  }
}

/** An answer to another drawing must not stay; the question is asked once more if that may help. */
function fail(error, pad) {
  // Of next to no ink the server says that nothing is drawn.
  if (error instanceof Refused && error.status === 422) {
    rest();
    return;
  }
  rest(`No answer: ${explain(error)}.`);
  const wait = later(error);
  if (wait === null) return;
  pausing = true;
  setTimeout(() => {
    pausing = false;
    look(pad);
  }, wait);
}

/** Look at the drawing soon. While the pen moves, this goes on once a pause rather than waiting for the pen to rest. */
function look(pad) {
  timer ||= setTimeout(() => {
    timer = 0;
    if (!pad.empty) {
      recognise(pad);
      return;
    }
    asked?.abort();
    asked = null;
    again = false;
    rest();
  }, PAUSE);
}

async function introduce() {
  const { model } = await ask("api/health");
  if (!model) {
    find("sure").textContent = "No model is loaded; fastnn serve takes one with --model.";
    return;
  }
  names = model.classes;
  show = bars(find("bars"), names);
  const measured = model.accuracy === null
    ? "its accuracy has not been measured"
    : `${(100 * model.accuracy).toFixed(1)} % right on ${model.tested_on?.toLocaleString("en") ?? "its"} test digits`;
  find("model").textContent = `28 by 28 points, by the network “${model.name}” of ${model.layers.join("-")} units: ${measured}.`;
}

rest();
introduce().catch((error) => { find("model").textContent = explain(error); });
new Pad(find("pad"), look);
