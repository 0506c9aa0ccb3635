// Asks for digits and sends them by itself.

import { byId, createElement, drawImage } from "./answer.js";
import { article, ApiError, errorText, newId, plural, request, setEnabled, showMessage, storedValue } from "./common.js";
import "./draw-pad.js";
import { Recogniser } from "./model.js";
import { Outbox } from "./outbox.js";

const SHOWN = 20; // digits of this visit that are shown
const PAUSE_MS = 150; // after the last movement of the pen, before the network is asked
const SURE = 0.9; // probability at which the page asks whether another digit was meant

const pad = byId("drawing");
const recogniser = new Recogniser();
const storedName = storedValue(() => localStorage, "fastnn.name");
const outbox = new Outbox(storedName.get() ?? "");

let total = new Array(10).fill(0);
let wanted = -1;
let version = 0; // of the drawing
let opinion = null; // what the network says about the drawing
let asksNetwork = true;
let timer = 0;
let thankedFor = 0; // digits sent

const allDrawn = () => [...outbox.sent, ...outbox.unsent];
const countOf = (digit) => allDrawn().filter(({ label }) => label === digit).length;

/** Choose the next digit among the five rarest, but not the same digit twice in a row. */
function chooseDigit() {
  const order = total.map((n, digit) => [n + countOf(digit), Math.random(), digit]).filter(([, , digit]) => digit !== wanted);
  // Among hundreds, a few digits more or less do not matter, so any of the five rarest will do.
  order.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  wanted = order[Math.floor(Math.random() * 5)][2];
  byId("please").textContent = `Please draw ${article(wanted)}`;
  byId("wanted").textContent = wanted;
  showHint(null);
  setEnabled(byId("next"), !pad.empty);
}

function render() {
  byId("tally").replaceChildren(...total.map((all, digit) => createElement("li", {
    className: digit === wanted ? "wanted" : "",
    children: [createElement("b", { text: digit }), createElement("span", { text: `you ${countOf(digit)}` }),
      document.createElement("br"), createElement("span", { text: `all ${all.toLocaleString("en")}` })],
  })));
  byId("drawn").replaceChildren(...allDrawn().slice(-SHOWN).map(({ id, image, label }) => {
    const picture = createElement("canvas", { className: "picture" });
    const waits = outbox.unsent.some((digit) => digit.id === id);
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", `Your ${label}${waits ? ", not sent yet" : ""}`);
    drawImage(picture, image);
    return createElement("li", { className: waits ? "waits" : "", children: [picture, createElement("span", { text: label })] });
  }));
  setEnabled(byId("last"), outbox.deletable);
}

function keep() {
  outbox.add({ id: newId(), image: pad.image(), label: wanted, drawn: Date.now() });
  pad.reset();
}

/** Keep the drawing and ask for another digit; first ask back if it looks like another one. */
function next({ certainly = false } = {}) {
  if (wanted < 0 || pad.empty) return;
  const other = opinion && String(opinion.label) !== String(wanted) && !opinion.doubtful && Math.max(...opinion.probabilities) > SURE;
  if (other && !certainly) {
    showHint(opinion.label);
    return;
  }
  keep();
  chooseDigit();
  render();
}

/** Say what the drawing looks like; null hides the question. */
function showHint(label) {
  const hidden = label === null;
  const hadFocus = ["next", "keep", "redo"].includes(document.activeElement?.id);
  byId("hint").hidden = hidden;
  byId("steps").hidden = !hidden;
  if (!hidden) {
    byId("looks").textContent = `It looks like ${article(label)} ${label}; you were asked for ${article(wanted)} ${wanted}.`;
    byId("keep").textContent = `Keep as ${wanted}`;
  }
  if (hadFocus) byId(hidden ? "next" : "keep").focus();
}

/** Ask the network about the drawing, so that its opinion is there when it is needed. Nobody waits for it. */
async function askNetwork() {
  const mine = version;
  try {
    const answer = await recogniser.recognise(pad.imageForNetwork());
    if (mine === version) opinion = answer;
  } catch (error) {
    if (error instanceof ApiError && error.status === 503) asksNetwork = false; // there is no network
  }
}

pad.addEventListener("input", () => {
  version += 1;
  opinion = null;
  clearTimeout(timer);
  showHint(null);
  setEnabled(byId("next"), wanted >= 0 && !pad.empty);
  if ((asksNetwork || recogniser.model) && !pad.empty) timer = setTimeout(askNetwork, PAUSE_MS);
});
byId("next").addEventListener("click", () => next());
byId("keep").addEventListener("click", () => next({ certainly: true }));
byId("redo").addEventListener("click", () => pad.reset());
byId("other").addEventListener("click", () => { chooseDigit(); render(); });
byId("last").addEventListener("click", () => outbox.deleteNewest());

function rename() {
  const name = byId("name").value;
  if (name === (storedName.get() ?? "")) return;
  storedName.set(name);
  outbox.rename(name);
}
byId("name").addEventListener("change", rename);
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  rename();
  showMessage(byId("message"), byId("name").value.trim() ? "Your name goes with your digits." : "Your digits have no name.", "good");
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.repeat && (event.target === document.body || event.target === byId("pad"))) {
    next({ certainly: !byId("hint").hidden });
  }
});

outbox.addEventListener("change", () => {
  render();
  const n = outbox.sent.length;
  if (n === thankedFor && outbox.savesAll) return;
  thankedFor = n;
  if (!outbox.savesAll) showMessage(byId("message"), "This browser cannot save digits. Those that wait are lost if you leave now.", "bad");
  else if (n) showMessage(byId("message"), `${n.toLocaleString("en")} sent, thank you.`, "good");
});
outbox.addEventListener("failure", ({ error, refused }) => {
  const text = refused ? `A drawing was refused: ${errorText(error)}.`
    : `Not sent yet: ${errorText(error)}. ${plural(outbox.unsent.length, "digit")} will be sent later.`;
  // The event "change", which follows, must not overwrite it.
  queueMicrotask(() => showMessage(byId("message"), text, "bad"));
});

// The browser may end a hidden page at any time.
document.addEventListener("visibilitychange", () => { if (document.hidden) outbox.flush(); });
addEventListener("pagehide", () => {
  if (wanted >= 0 && !pad.empty) keep();
  outbox.flushOnLeaving();
});

byId("name").value = storedName.get() ?? "";
recogniser.start(pad);
request("api/stats").then(({ digits, model }) => {
  total = total.map((_, digit) => digits[digit]);
  asksNetwork = model !== null;
}).catch((error) => showMessage(byId("message"), errorText(error), "bad")).finally(() => {
  chooseDigit();
  render();
  outbox.flush();
});
