// The review queue, one drawing after the other. The token stays in this tab and is sent in a header only.

import { byId, createElement, drawImage } from "./answer.js";
import { ApiError, errorText, request, retryDelay, setEnabled, showFigures, showMessage, storedValue } from "./common.js";

const REFILL_BELOW = 8; // fetch more digits when fewer than this are at hand
const POLL_MS = 3000; // how often to look for new digits when the queue is empty
const EMPTY = "Nothing to review.";

const storedToken = storedValue(() => sessionStorage, "fastnn.token");
const reviewer = storedValue(() => localStorage, "fastnn.reviewer");

let token = "";
let queue = [];
let reviewed = []; // what this tab has reviewed: {digit, state, label}, the latter two as the server answered
let counts = null;
let busy = false;
let actions = 0; // number of actions so far
let timer = 0; // for the next look at the queue
let fetchFailed = false; // the last look at the queue failed

/** Fetch the queue, the counts and the log; returns whether the answer was used. */
async function fetchQueue() {
  const before = actions;
  const found = await request("api/review?limit=30", { token });
  // The answer does not know of an action that has started since.
  if (before !== actions) return false;
  const known = new Set(queue.map(({ id }) => id));
  queue.push(...found.digits.filter(({ id }) => !known.has(id)));
  counts = { pending: found.pending, accepted: found.accepted, rejected: found.rejected };
  byId("log").replaceChildren(...found.history.map(logEntry));
  return true;
}

function logEntry({ action, label, reviewer: name, created }) {
  const date = new Date(created);
  const time = createElement("time", { text: date.toLocaleString() });
  time.dateTime = date.toISOString();
  const texts = {
    accept: `accepted a ${label}`,
    reject: "rejected a drawing",
    relabel: `relabelled a drawing as ${label}`,
    undo: "undid a review",
  };
  return createElement("li", { children: [createElement("span", { text: `${name || "anonymous"} ${texts[action] ?? action} ` }), time] });
}

function render() {
  const digit = queue[0];
  showFigures(byId("figures"), [["waiting", counts.pending], ["accepted", counts.accepted], ["rejected", counts.rejected], ["reviewed by you", reviewed.length]]);
  for (const button of document.querySelectorAll("#accept, #reject, #keys button")) setEnabled(button, digit && !busy);
  setEnabled(byId("undo"), reviewed.length > 0 && !busy);
  drawImage(byId("drawing"), digit ? digit.image : new Array(784).fill(255));
  if (!digit) {
    byId("facts").replaceChildren();
    byId("drawing").setAttribute("aria-label", "No drawing");
    return;
  }
  const prediction = digit.predicted_label === null
    ? "no prediction yet"
    : `${digit.predicted_label}; probability of the label: ${(100 * (1 - digit.uncertainty)).toFixed(0)}%`;
  const facts = [["label", digit.label, "large"], ["predicted", prediction], ["drawn by", digit.contributor || "anonymous"], ["drawn on", new Date(digit.created).toLocaleString()]];
  byId("facts").replaceChildren(...facts.flatMap(([name, text, className]) => [createElement("dt", { text: name }), createElement("dd", { text, className })]));
  byId("drawing").setAttribute("aria-label", `A drawing labelled ${digit.label}`);
}

const hasStatus = (error, ...statuses) => error instanceof ApiError && statuses.includes(error.status);

/** Run one action at a time; `action` returns the message to show. If it fails, the queue stays as it was. */
async function run(action) {
  if (busy) return;
  busy = true;
  actions += 1;
  render();
  try {
    const { text, kind } = await action();
    showMessage(byId("message"), text, kind);
    if (queue.length < REFILL_BELOW) await refill(text, kind);
  } catch (error) {
    if (hasStatus(error, 401)) {
      logOut(errorText(error));
      return;
    }
    showMessage(byId("message"), `Failed: ${errorText(error)}.`, "bad");
  } finally {
    busy = false;
  }
  render();
  poll();
}

/** Fetch more digits after an action. The action is done, whether or not this fails. */
async function refill(text, kind) {
  try {
    await fetchQueue();
    fetchFailed = false;
    if (!queue.length && kind !== "bad") showMessage(byId("message"), EMPTY);
  } catch (error) {
    if (hasStatus(error, 401)) throw error;
    showMessage(byId("message"), `${text.replace(/\.$/, "")}. Cannot load the queue: ${errorText(error)}.`, "bad");
    fetchFailed = true;
  }
}

/** While the queue is empty, look for new digits now and then. */
function poll(wait = POLL_MS) {
  if (byId("desk").hidden) return;
  clearTimeout(timer);
  if (queue.length) return;
  const mine = token;
  timer = setTimeout(async () => {
    try {
      // An action fetches by itself, and a hidden tab can wait.
      if (!busy && !document.hidden && await fetchQueue()) {
        if (queue.length || fetchFailed) showMessage(byId("message"), queue.length ? "" : EMPTY);
        fetchFailed = false;
        render();
      }
      poll();
    } catch (error) {
      if (mine !== token) return;
      if (hasStatus(error, 401)) {
        logOut(errorText(error));
        return;
      }
      if (!fetchFailed) showMessage(byId("message"), `Cannot load the queue: ${errorText(error)}.`, "bad");
      fetchFailed = true;
      poll(Math.max(POLL_MS, retryDelay(error) ?? 0));
    }
  }, wait);
}

const sendReview = ({ id }, body) => request(`api/review/${encodeURIComponent(id)}`, { body, token });

function review(action, label) {
  const digit = queue[0];
  if (!digit) return;
  run(async () => {
    reviewer.set(byId("reviewer").value);
    const body = { action, reviewer: byId("reviewer").value, ...(action === "relabel" ? { label } : {}) };
    let result;
    try {
      result = await sendReview(digit, body);
    } catch (error) {
      if (!hasStatus(error, 404, 409)) throw error;
      queue.shift();
      return { text: `Skipped: ${errorText(error)}.`, kind: "bad" };
    }
    queue.shift();
    reviewed.push({ digit, state: result.state, label: result.label });
    counts.pending -= 1;
    counts[result.state] += 1;
    byId("log").prepend(logEntry({ action, label: label ?? digit.label, reviewer: body.reviewer, created: Date.now() }));
    return { text: { accept: "Accepted", reject: "Rejected", relabel: `Relabelled as ${label}` }[action] };
  });
}

function undo() {
  const last = reviewed.at(-1);
  if (!last) return;
  run(async () => {
    const { digit, state, label } = last;
    const body = { action: "undo", state, label, reviewer: byId("reviewer").value };
    try {
      await sendReview(digit, body);
    } catch (error) {
      if (!hasStatus(error, 404, 409)) throw error;
      reviewed.pop();
      return { text: `Not undone: ${errorText(error)}.`, kind: "bad" };
    }
    reviewed.pop();
    queue = [digit, ...queue.filter(({ id }) => id !== digit.id)];
    counts.pending += 1;
    counts[state] -= 1;
    byId("log").prepend(logEntry({ action: "undo", reviewer: body.reviewer, created: Date.now() }));
    return { text: "Review undone" };
  });
}

function showLogin(reason) {
  byId("desk").hidden = true;
  byId("login").hidden = false;
  // Screen readers announce an alert whenever it is written.
  if (byId("refused").textContent !== reason) byId("refused").textContent = reason;
}

function logOut(reason) {
  token = "";
  busy = false;
  clearTimeout(timer);
  storedToken.remove();
  showLogin(reason);
}

async function logIn(given) {
  clearTimeout(timer);
  token = given;
  // This tab forgets the token only if the server rejects it, not if the server cannot be reached.
  storedToken.set(token);
  try {
    await fetchQueue();
  } catch (error) {
    if (token !== given) return;
    if (hasStatus(error, 401)) {
      logOut(errorText(error));
      return;
    }
    byId("token").value ||= token;
    showLogin(errorText(error));
    const delay = retryDelay(error);
    if (delay !== null) timer = setTimeout(() => logIn(given), delay);
    return;
  }
  byId("token").value = "";
  byId("refused").textContent = "";
  byId("login").hidden = true;
  byId("desk").hidden = false;
  if (!queue.length) showMessage(byId("message"), EMPTY);
  render();
  poll();
}

/** Log in with a token after the # of the address, which browsers send to no server; it is removed from the address. */
function logInFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!found) return false;
  history.replaceState(null, "", location.pathname);
  logIn(found);
  return true;
}

byId("keys").replaceChildren(...[...Array(10).keys()].map((digit) => {
  const button = createElement("button", { text: digit });
  button.type = "button";
  button.setAttribute("aria-label", `It is a ${digit}`);
  button.addEventListener("click", () => review("relabel", digit));
  return button;
}));
byId("accept").addEventListener("click", () => review("accept"));
byId("reject").addEventListener("click", () => review("reject"));
byId("undo").addEventListener("click", undo);
byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("refused").textContent = "";
  logIn(byId("token").value.trim());
});
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
  if (byId("desk").hidden || typing || !byId("shortcuts").checked || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  const key = event.key.toLowerCase();
  if (key === "a") review("accept");
  else if (key === "r") review("reject");
  else if (key === "u") undo();
  else if (/^[0-9]$/.test(key)) {
    // The digit's own label is not a relabelling.
    if (queue[0] && Number(key) === queue[0].label) review("accept");
    else review("relabel", Number(key));
  }
});
byId("reviewer").value = reviewer.get() ?? "";

addEventListener("hashchange", logInFromAddress);
if (!logInFromAddress()) {
  if (storedToken.get()) logIn(storedToken.get());
  else byId("login").hidden = false;
}
