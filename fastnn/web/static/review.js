// The queue, one drawing after the other. The token stays in this tab and goes out in a header only.

import { allow, ask, explain, figures, find, later, make, paint, remembered, Refused, say } from "./common.js";

const FEW = 8; // with fewer at hand, more are fetched
const EVERY = 3000; // ms; so often an empty queue is looked into
const NOTHING = "Nothing waits for review.";
const WORDS = { accept: "accepted", reject: "rejected", relabel: "accepted as", undo: "put back" };

const kept = remembered(() => sessionStorage, "fastnn.token");
const reviewer = remembered(() => localStorage, "fastnn.reviewer");

let token = "";
let queue = [];
let done = []; // what this tab has reviewed: {digit, state, label}, the latter two as the server has them
let counts = null;
let busy = false;
let acts = 0;
let timer = 0; // of the next look into the queue
let blind = false; // the last look failed

/** Fetch the queue, the counts and the log; whether the answer was of use. */
async function fetchMore() {
  const before = acts;
  const found = await ask("api/review?limit=30", { token });
  // What was done since then is not in the answer.
  if (before !== acts) return false;
  const held = new Set(queue.map(({ id }) => id));
  queue.push(...found.digits.filter(({ id }) => !held.has(id)));
  counts = { pending: found.pending, accepted: found.accepted, rejected: found.rejected };
  find("log").replaceChildren(...found.history.map(entry));
  return true;
}

function entry({ action, label, reviewer: who, created }) {
  const when = new Date(created);
  const time = make("time", { text: when.toLocaleString() });
  time.dateTime = when.toISOString();
  const what = `${WORDS[action] ?? action}${action === "relabel" ? ` ${label}` : action === "accept" ? ` a ${label}` : ""}`;
  return make("li", { children: [make("span", { text: `${who || "somebody"} ${what} ` }), time] });
}

function show() {
  const digit = queue[0];
  figures(find("figures"), [["waiting", counts.pending], ["accepted", counts.accepted], ["rejected", counts.rejected], ["done by you now", done.length]]);
  for (const button of document.querySelectorAll("#accept, #reject, #keys button")) allow(button, digit && !busy);
  allow(find("undo"), done.length > 0 && !busy);
  paint(find("drawing"), digit ? digit.image : new Array(784).fill(255));
  if (!digit) {
    find("facts").replaceChildren();
    find("drawing").setAttribute("aria-label", "No drawing");
    return;
  }
  const doubt = digit.opinion === null ? "has not seen it" : `takes it for a ${digit.opinion}, and gives the label ${(100 * (1 - digit.doubt)).toFixed(0)} %`;
  const facts = [["drawn as", digit.label, "large"], ["the model", doubt], ["by", digit.contributor || "somebody"], ["on", new Date(digit.created).toLocaleString()]];
  find("facts").replaceChildren(...facts.flatMap(([name, text, className]) => [make("dt", { text: name }), make("dd", { text, className })]));
  find("drawing").setAttribute("aria-label", `A drawing said to be a ${digit.label}`);
}

const isRefused = (error, ...statuses) => error instanceof Refused && statuses.includes(error.status);

/** Run one action after the other; each returns what to say. What fails leaves the queue as it was. */
async function act(work) {
  if (busy) return;
  busy = true;
  acts += 1;
  show();
  try {
    const { text, kind } = await work();
    say(find("message"), text, kind);
    if (queue.length < FEW) await refill(text, kind);
  } catch (error) {
    if (isRefused(error, 401)) {
      leave(explain(error));
      return;
    }
    say(find("message"), `Not done: ${explain(error)}.`, "bad");
  } finally {
    busy = false;
  }
  show();
  watch();
}

/** Fetch more after an action; it is done, whether or not this fails. */
async function refill(text, kind) {
  try {
    await fetchMore();
    blind = false;
    if (!queue.length && kind !== "bad") say(find("message"), NOTHING);
  } catch (error) {
    if (isRefused(error, 401)) throw error;
    say(find("message"), `${text.replace(/\.$/, "")}. The queue cannot be read: ${explain(error)}.`, "bad");
    blind = true;
  }
}

/** While nothing is at hand, look now and then whether something has come. */
function watch(wait = EVERY) {
  if (find("desk").hidden) return;
  clearTimeout(timer);
  if (queue.length) return;
  const mine = token;
  timer = setTimeout(async () => {
    try {
      // An action fetches by itself, and a tab that nobody sees can wait.
      if (!busy && !document.hidden && await fetchMore()) {
        if (queue.length || blind) say(find("message"), queue.length ? "" : NOTHING);
        blind = false;
        show();
      }
      watch();
    } catch (error) {
      if (mine !== token) return;
      if (isRefused(error, 401)) {
        leave(explain(error));
        return;
      }
      if (!blind) say(find("message"), `The queue cannot be read: ${explain(error)}.`, "bad");
      blind = true;
      watch(Math.max(EVERY, later(error) ?? 0));
    }
  }, wait);
}

const tell = ({ id }, body) => ask(`api/review/${encodeURIComponent(id)}`, { body, token });

function judge(action, label) {
  const digit = queue[0];
  if (!digit) return;
  act(async () => {
    reviewer.set(find("reviewer").value);
    const body = { action, reviewer: find("reviewer").value, ...(action === "relabel" ? { label } : {}) };
    let now;
    try {
      now = await tell(digit, body);
    } catch (error) {
      if (!isRefused(error, 404, 409)) throw error;
      queue.shift();
      return { text: `Left out: ${explain(error)}.`, kind: "bad" };
    }
    queue.shift();
    done.push({ digit, state: now.state, label: now.label });
    counts.pending -= 1;
    counts[now.state] += 1;
    find("log").prepend(entry({ action, label: label ?? digit.label, reviewer: body.reviewer, created: Date.now() }));
    return { text: `${WORDS[action]}${action === "relabel" ? ` ${label}` : ""}`.replace(/^./, (letter) => letter.toUpperCase()) };
  });
}

function undo() {
  const last = done.at(-1);
  if (!last) return;
  act(async () => {
    const { digit, state, label } = last;
    const body = { action: "undo", state, label, reviewer: find("reviewer").value };
    try {
      await tell(digit, body);
    } catch (error) {
      if (!isRefused(error, 404, 409)) throw error;
      done.pop();
      const why = error.status === 409 ? "somebody else has decided meanwhile" : explain(error);
      return { text: `Not put back: ${why}.`, kind: "bad" };
    }
    done.pop();
    queue = [digit, ...queue.filter(({ id }) => id !== digit.id)];
    counts.pending += 1;
    counts[state] -= 1;
    find("log").prepend(entry({ action: "undo", reviewer: body.reviewer, created: Date.now() }));
    return { text: "Put back" };
  });
}

function shut(reason) {
  find("desk").hidden = true;
  find("login").hidden = false;
  // An alert is read out whenever it is written.
  if (find("refused").textContent !== reason) find("refused").textContent = reason;
}

function leave(reason) {
  token = "";
  busy = false;
  clearTimeout(timer);
  kept.forget();
  shut(reason);
}

async function enter(given) {
  clearTimeout(timer);
  token = given;
  // Whatever else fails: only a server that does not know the token has this tab forget it.
  kept.set(token);
  try {
    await fetchMore();
  } catch (error) {
    if (token !== given) return;
    if (isRefused(error, 401)) {
      leave(explain(error));
      return;
    }
    find("token").value ||= token;
    shut(explain(error));
    const wait = later(error);
    if (wait !== null) timer = setTimeout(() => enter(given), wait);
    return;
  }
  find("token").value = "";
  find("refused").textContent = "";
  find("login").hidden = true;
  find("desk").hidden = false;
  if (!queue.length) say(find("message"), NOTHING);
  show();
  watch();
}

/** Enter with the token behind the address, where it is not sent to any server; it is taken off the address at once. */
function enterByAddress() {
  const told = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!told) return false;
  history.replaceState(null, "", location.pathname);
  enter(told);
  return true;
}

find("keys").replaceChildren(...[...Array(10).keys()].map((digit) => {
  const button = make("button", { text: digit });
  button.type = "button";
  button.setAttribute("aria-label", `It is a ${digit}`);
  button.addEventListener("click", () => judge("relabel", digit));
  return button;
}));
find("accept").addEventListener("click", () => judge("accept"));
find("reject").addEventListener("click", () => judge("reject"));
find("undo").addEventListener("click", undo);
find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  find("refused").textContent = "";
  enter(find("token").value.trim());
});
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
  if (find("desk").hidden || typing || !find("shortcuts").checked || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const key = event.key.toLowerCase();
  if (key === "a") judge("accept");
  else if (key === "r") judge("reject");
  else if (key === "u") undo();
  else if (/^[0-9]$/.test(key)) {
    // The digit that it was drawn as is no other one.
    if (queue[0] && Number(key) === queue[0].label) judge("accept");
    else judge("relabel", Number(key));
  }
});
find("reviewer").value = reviewer.get() ?? "";

addEventListener("hashchange", enterByAddress);
if (!enterByAddress()) {
  if (kept.get()) enter(kept.get());
  else find("login").hidden = false;
}
