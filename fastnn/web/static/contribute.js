// Asks for drawings and sends them by itself.

import { byId, createElement } from "./answer.js";
import { article, ApiError, classes, errorText, newId, pictureOf, plural, request, setEnabled, showMessage, storedValue, words } from "./common.js";
import "./draw-pad.js";
import { Recogniser } from "./model.js";
import { Outbox } from "./outbox.js";

const SHOWN = 20; // digits of this visit that are shown
const PAUSE_MS = 150; // after the last movement of the pen, before the network is asked
const RAREST = 5; // classes among which one is chosen; of few classes, half of them
const MOST_COUNTED = 40; // of more classes, only those that were drawn here are counted
const OPEN_MS = 3000; // how often to look whether collecting is open again
const SURE = 0.9; // probability at which the page asks whether another digit was meant

const pad = byId("drawing");
const recogniser = new Recogniser();
const storedName = storedValue(() => localStorage, "fastnn.name");
const outbox = new Outbox(storedName.get() ?? "");

let total = new Array(classes.length).fill(0);
let wanted = -1;
let version = 0; // of the drawing
let opinion = null; // what the network says about the drawing
let asksNetwork = true;
let known = []; // classes of the network
let openTimer = 0;
let timer = 0;
let thankedFor = 0; // digits sent

const allDrawn = () => [...outbox.sent, ...outbox.unsent];
const countOf = (position) => allDrawn().filter(({ label }) => label === position).length;
const withArticle = (name) => `${article(name)} ${name}`;

/** Choose the next class among the rarest, but not the same twice in a row. */
function chooseClass() {
  const order = total.map((n, position) => [n + countOf(position), Math.random(), position]).filter(([, , position]) => position !== wanted);
  // Among hundreds, a few drawings more or less do not matter, so any of the rarest will do.
  order.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  wanted = order[Math.floor(Math.random() * Math.min(RAREST, Math.ceil(order.length / 2)))][2];
  byId("please").textContent = `Please draw ${article(classes[wanted])}`;
  byId("wanted").textContent = classes[wanted];
  byId("wanted").classList.toggle("long", classes[wanted].length > 10);
  showHint(null);
  setEnabled(byId("next"), !pad.empty);
}

function render() {
  const counted = [...total.keys()].filter((k) => total.length <= MOST_COUNTED || k === wanted || countOf(k));
  byId("tally").replaceChildren(...counted.map((k) => createElement("li", {
    className: k === wanted ? "wanted" : "",
    children: [createElement("b", { text: classes[k] }), createElement("span", { text: `you ${countOf(k)}` }),
      document.createElement("br"), createElement("span", { text: `all ${total[k].toLocaleString("en")}` })],
  })));
  byId("drawn").replaceChildren(...allDrawn().slice(-SHOWN).map(({ id, image, label }) => {
    const waits = outbox.unsent.some((digit) => digit.id === id);
    const picture = pictureOf(image, `Your ${classes[label]}${waits ? ", not sent yet" : ""}`);
    return createElement("li", { className: waits ? "waits" : "", children: [picture, createElement("span", { text: classes[label] })] });
  }));
  setEnabled(byId("last"), outbox.deletable);
}

function keep() {
  outbox.add({ id: newId(), image: pad.image(), label: wanted, name: classes[wanted], drawn: Date.now() });
  pad.reset();
}

/** Keep the drawing and ask for another digit; first ask back if it looks like another one. */
function next({ certainly = false } = {}) {
  if (wanted < 0 || pad.empty) return;
  // A network that does not know the class asked for takes it for another one each time.
  const other = opinion && known.includes(classes[wanted]) && String(opinion.label) !== classes[wanted] && !opinion.doubtful && Math.max(...opinion.probabilities) > SURE;
  if (other && !certainly) {
    showHint(opinion.label);
    return;
  }
  keep();
  chooseClass();
  render();
}

/** Say what the drawing looks like; null hides the question. */
function showHint(label) {
  const hidden = label === null;
  const hadFocus = ["next", "keep", "redo"].includes(document.activeElement?.id);
  byId("hint").hidden = hidden;
  byId("steps").hidden = !hidden;
  if (!hidden) {
    byId("looks").textContent = `It looks like ${withArticle(label)}; you were asked for ${withArticle(classes[wanted])}.`;
    byId("keep").textContent = `Keep as ${classes[wanted]}`;
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
byId("other").addEventListener("click", () => { chooseClass(); render(); });
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
  showMessage(byId("message"), byId("name").value.trim() ? `Your name goes with your ${words.several}.` : `Your ${words.several} have no name.`, "good");
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
  if (!outbox.savesAll) showMessage(byId("message"), `This browser cannot save ${words.several}. Those that wait are lost if you leave now.`, "bad");
  else if (n) showMessage(byId("message"), `${n.toLocaleString("en")} sent, thank you.`, "good");
});
outbox.addEventListener("failure", ({ error, refused }) => {
  const text = refused ? `A drawing was refused: ${errorText(error)}.`
    : `Not sent yet: ${errorText(error)}. ${waiting()} will be sent later.`;
  // The event "change", which follows, must not overwrite it.
  queueMicrotask(() => (outbox.closed ? showClosed() : showMessage(byId("message"), text, "bad")));
});

const waiting = () => plural(outbox.unsent.length, words.one, words.several);

/** Say that collecting is closed, and look now and then whether it is open again. */
function showClosed() {
  const kept = outbox.unsent.length ? ` ${waiting()} in this browser will be sent when it opens.` : "";
  showMessage(byId("message"), `Collecting is closed at the moment. Thank you.${kept}`);
  clearTimeout(openTimer);
  openTimer = setTimeout(async () => {
    const { collecting } = await request("api/class").catch(() => ({ collecting: false }));
    if (!collecting) {
      showClosed();
      return;
    }
    showMessage(byId("message"), "Collecting is open.", "good");
    outbox.flush();
  }, OPEN_MS);
}

// The browser may end a hidden page at any time.
document.addEventListener("visibilitychange", () => { if (document.hidden) outbox.flush(); });
addEventListener("pagehide", () => {
  if (wanted >= 0 && !pad.empty) keep();
  outbox.flushOnLeaving();
});

byId("name").value = storedName.get() ?? "";
recogniser.start(pad);
request("api/stats").then(({ digits, model, collecting }) => {
  total = classes.map((name) => digits[name] ?? 0);
  asksNetwork = model !== null;
  known = model?.classes ?? [];
  if (!collecting) showClosed();
}).catch((error) => showMessage(byId("message"), errorText(error), "bad")).finally(() => {
  chooseClass();
  render();
  outbox.flush();
});
