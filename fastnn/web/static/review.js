// Reviewing digits, one after the other. The token stays in this tab and is sent in a header only.

import { byId, createElement, drawImage, percent } from "./answer.js";
import { article, dateText, errorText, plural, retryDelay, setEnabled, showFigures, showMessage, storedValue } from "./common.js";
import { hasStatus, ReviewQueue } from "./review-queue.js";

const REFILL_BELOW = 12; // fetch more digits when fewer than this are at hand
const POLL_MS = 3000; // how often to look for new digits when the queue is empty
const EMPTY = "Nothing to review.";

const storedToken = storedValue(() => sessionStorage, "fastnn.token");
const reviewer = storedValue(() => localStorage, "fastnn.reviewer");
const queue = new ReviewQueue();

let timer = 0; // for the next look at the queue
let fetching = false;
let fetchFailed = false; // the last look at the queue failed
let done = { text: "", kind: "" }; // what was done last

function logEntry({ action, label, reviewer: name, created }) {
  const time = createElement("time", { text: dateText(created) });
  time.dateTime = new Date(created).toISOString();
  const texts = {
    accept: `accepted ${article(label)} ${label}`,
    reject: "rejected a drawing",
    relabel: `relabelled a drawing as ${label}`,
    undo: "undid a review",
  };
  return createElement("li", { children: [createElement("span", { text: `${name || "anonymous"} ${texts[action] ?? action} ` }), time] });
}

function render() {
  const digit = queue.digits[0];
  const { pending, accepted, rejected } = queue.counts;
  showFigures(byId("figures"), [["waiting", pending], ["accepted", accepted], ["rejected", rejected], ["reviewed by you", queue.reviewed.length]]);
  byId("log").replaceChildren(...queue.history.slice(0, 20).map(logEntry));
  for (const button of document.querySelectorAll("#accept, #reject, #keys button")) setEnabled(button, digit);
  setEnabled(byId("undo"), queue.reviewed.length > 0);
  drawImage(byId("drawing"), digit ? digit.image : new Array(784).fill(255));
  byId("drawing").setAttribute("aria-label", digit ? `A drawing labelled ${digit.label}` : "No drawing");
  byId("label").textContent = digit ? digit.label : "–";
  byId("accept-text").textContent = digit ? `Accept as ${digit.label}` : "Accept";
  const guess = digit?.predicted_label ?? null;
  byId("predicted").textContent = guess === null ? "" : `The network says ${guess}; ${percent(1 - digit.uncertainty)} for ${digit.label}.`;
  [...byId("keys").children].forEach((button, k) => {
    button.className = k === guess ? "guess-key" : "";
    button.setAttribute("aria-label", `It is ${article(k)} ${k}${k === guess ? ", as the network says" : ""}`);
  });
  const facts = digit ? [["drawn by", digit.contributor || "anonymous"], ["drawn on", dateText(digit.created)]] : [];
  byId("facts").replaceChildren(...facts.flatMap(([name, text]) => [createElement("dt", { text: name }), createElement("dd", { text })]));
  showDone();
}

/** Show what was done last, and how much of it is not saved yet. */
function showDone() {
  showMessage(byId("message"), queue.unsaved > 1 ? `${done.text} – saving ${queue.unsaved}` : done.text, done.kind);
}

function say(text, kind = "") {
  done = { text, kind };
  showDone();
}

/** Fetch more digits if few are left. What was done is done, whether or not this fails. */
async function refill() {
  if (queue.digits.length >= REFILL_BELOW || fetching || byId("desk").hidden) return;
  // Without digits, wait until all is saved: the message then says how it went.
  if (!queue.digits.length && queue.unsaved) return;
  fetching = true;
  const { token } = queue;
  try {
    await queue.fetch();
    if (token !== queue.token) return;
    fetchFailed = false;
    if (!queue.digits.length && !queue.unsaved && done.kind !== "bad") say(EMPTY);
  } catch (error) {
    if (token !== queue.token) return;
    if (hasStatus(error, 401)) logOut(errorText(error));
    else {
      say(`${done.text.replace(/\.$/, "")}. Cannot load the queue: ${errorText(error)}.`.replace(/^\. /, ""), "bad");
      fetchFailed = true;
    }
  } finally {
    fetching = false;
  }
  poll();
}

/** While the queue is empty, look for new digits now and then. */
function poll(wait = POLL_MS) {
  clearTimeout(timer);
  if (byId("desk").hidden || queue.digits.length) return;
  const { token } = queue;
  timer = setTimeout(async () => {
    try {
      // A hidden tab can wait.
      if (!fetching && !document.hidden) {
        await queue.fetch();
        if (token !== queue.token) return;
        if (queue.digits.length || fetchFailed) say(queue.digits.length ? "" : EMPTY);
        fetchFailed = false;
      }
      poll();
    } catch (error) {
      if (token !== queue.token) return;
      if (hasStatus(error, 401)) {
        logOut(errorText(error));
        return;
      }
      if (!fetchFailed) say(`Cannot load the queue: ${errorText(error)}.`, "bad");
      fetchFailed = true;
      poll(Math.max(POLL_MS, retryDelay(error) ?? 0));
    }
  }, wait);
}

function judge(action, label) {
  if (!queue.digits.length) return;
  reviewer.set(byId("reviewer").value);
  done = { text: { accept: "Accepted", reject: "Rejected", relabel: `Relabelled as ${label}` }[action], kind: "" };
  queue.judge(action, { label, reviewer: byId("reviewer").value });
  refill();
}

function undo() {
  if (!queue.reviewed.length) return;
  done = { text: "Review undone", kind: "" };
  queue.undo({ reviewer: byId("reviewer").value });
}

queue.addEventListener("change", render);
queue.addEventListener("saved", refill);
queue.addEventListener("skipped", ({ error, action }) => say(`${action === "undo" ? "Not undone" : "Skipped"}: ${errorText(error)}.`, "bad"));
queue.addEventListener("failure", ({ error, n }) => {
  if (hasStatus(error, 401)) logOut(errorText(error));
  else say(`Failed: ${errorText(error)}. ${plural(n, "review was", "reviews were")} taken back.`, "bad");
});
addEventListener("beforeunload", (event) => { if (queue.unsaved) event.preventDefault(); });

function showLogin(reason) {
  byId("desk").hidden = true;
  byId("login").hidden = false;
  // Screen readers announce an alert whenever it is written.
  if (byId("refused").textContent !== reason) byId("refused").textContent = reason;
}

function logOut(reason) {
  queue.token = "";
  queue.clear();
  clearTimeout(timer);
  storedToken.remove();
  showLogin(reason);
}

async function logIn(given) {
  clearTimeout(timer);
  queue.clear();
  queue.token = given;
  // This tab forgets the token only if the server rejects it, not if the server cannot be reached.
  storedToken.set(given);
  try {
    await queue.fetch();
  } catch (error) {
    if (queue.token !== given) return;
    if (hasStatus(error, 401)) {
      logOut(errorText(error));
      return;
    }
    byId("token").value ||= given;
    showLogin(errorText(error));
    const delay = retryDelay(error);
    if (delay !== null) timer = setTimeout(() => logIn(given), delay);
    return;
  }
  if (queue.token !== given) return;
  byId("token").value = "";
  byId("refused").textContent = "";
  byId("login").hidden = true;
  byId("desk").hidden = false;
  done = { text: queue.digits.length ? "" : EMPTY, kind: "" };
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
  button.addEventListener("click", () => judge("relabel", digit));
  return button;
}));
byId("accept").addEventListener("click", () => judge("accept"));
byId("reject").addEventListener("click", () => judge("reject"));
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
  if (key === "a") judge("accept");
  else if (key === "r") judge("reject");
  else if (key === "u") undo();
  else if (/^[0-9]$/.test(key)) {
    // The digit's own label is not a relabelling.
    if (queue.digits[0] && Number(key) === queue.digits[0].label) judge("accept");
    else judge("relabel", Number(key));
  }
});
byId("reviewer").value = reviewer.get() ?? "";

addEventListener("hashchange", logInFromAddress);
if (!logInFromAddress()) {
  if (storedToken.get()) logIn(storedToken.get());
  else byId("login").hidden = false;
}
