// The queue, one drawing after the other. The token stays in this tab and goes out in a header only.

import { ask, explain, figures, find, make, paint, remembered, Refused, say } from "./common.js";

const FEW = 8; // with fewer at hand, more are fetched
const WORDS = { accept: "accepted", reject: "rejected", relabel: "accepted as", undo: "put back" };

const kept = remembered(() => sessionStorage, "fastnn.token");
const reviewer = remembered(() => localStorage, "fastnn.reviewer");

let token = "";
let queue = [];
let done = []; // what this tab has reviewed: {digit}
let counts = null;
let busy = false;
let exhausted = false;
const gone = new Set(); // ids that were at hand once

async function fetchMore() {
  const found = await ask("api/review?limit=30", { token });
  const fresh = found.digits.filter(({ id }) => !gone.has(id));
  fresh.forEach(({ id }) => gone.add(id));
  queue.push(...fresh);
  exhausted = !fresh.length;
  counts = { pending: found.pending, accepted: found.accepted, rejected: found.rejected };
  find("log").replaceChildren(...found.history.map(entry));
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
  for (const button of document.querySelectorAll("#accept, #reject, #keys button")) button.disabled = !digit || busy;
  find("undo").disabled = !done.length || busy;
  paint(find("drawing"), digit ? digit.image : new Array(784).fill(255));
  if (!digit) {
    find("facts").replaceChildren();
    say(find("message"), "Nothing waits for review.");
    return;
  }
  const doubt = digit.opinion === null ? "has not seen it" : `takes it for a ${digit.opinion}, and gives the label ${(100 * (1 - digit.doubt)).toFixed(0)} %`;
  const facts = [["drawn as", digit.label, "large"], ["the model", doubt], ["by", digit.contributor || "somebody"], ["on", new Date(digit.created).toLocaleString()]];
  find("facts").replaceChildren(...facts.flatMap(([name, text, className]) => [make("dt", { text: name }), make("dd", { text, className })]));
  find("drawing").setAttribute("aria-label", `A drawing said to be a ${digit.label}`);
}

/** Run one action after the other; what fails leaves the queue as it was. */
async function act(work) {
  if (busy) return;
  busy = true;
  show();
  try {
    say(find("message"), (await work()) ?? "");
    if (queue.length < FEW && !exhausted) await fetchMore();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      leave(explain(error));
      return;
    }
    say(find("message"), `Not done: ${explain(error)}.`, "bad");
  } finally {
    busy = false;
  }
  const { textContent, className } = find("message");
  show();
  if (queue.length) Object.assign(find("message"), { textContent, className });
}

function judge(action, label) {
  return act(async () => {
    const digit = queue[0];
    if (!digit) return "";
    reviewer.set(find("reviewer").value);
    const body = { action, reviewer: find("reviewer").value, ...(action === "relabel" ? { label } : {}) };
    try {
      await ask(`api/review/${encodeURIComponent(digit.id)}`, { body, token });
    } catch (error) {
      if (!(error instanceof Refused) || ![404, 409].includes(error.status)) throw error;
      queue.shift();
      return `Left out: ${explain(error)}.`;
    }
    queue.shift();
    done.push({ digit, state: action === "reject" ? "rejected" : "accepted" });
    counts.pending -= 1;
    counts[done.at(-1).state] += 1;
    find("log").prepend(entry({ action, label: label ?? digit.label, reviewer: body.reviewer, created: Date.now() }));
    exhausted = false;
    return `${WORDS[action]}${action === "relabel" ? ` ${label}` : ""}`.replace(/^./, (letter) => letter.toUpperCase());
  });
}

function undo() {
  return act(async () => {
    const last = done.at(-1);
    if (!last) return "";
    await ask(`api/review/${encodeURIComponent(last.digit.id)}`, { body: { action: "undo", reviewer: find("reviewer").value }, token });
    done.pop();
    queue.unshift(last.digit);
    counts.pending += 1;
    counts[last.state] -= 1;
    find("log").prepend(entry({ action: "undo", reviewer: find("reviewer").value, created: Date.now() }));
    return "Put back";
  });
}

function leave(reason) {
  token = "";
  busy = false;
  kept.forget();
  find("desk").hidden = true;
  find("login").hidden = false;
  find("refused").textContent = reason;
}

async function enter(given) {
  token = given;
  try {
    await fetchMore();
  } catch (error) {
    leave(explain(error));
    return;
  }
  kept.set(token);
  find("login").hidden = true;
  find("desk").hidden = false;
  show();
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

// The token may come behind the address, where it is not sent to any server; it is taken off the address at once.
const told = new URLSearchParams(location.hash.slice(1)).get("token");
if (told) history.replaceState(null, "", location.pathname);
const known = told ?? kept.get();
if (known) enter(known);
else find("login").hidden = false;
