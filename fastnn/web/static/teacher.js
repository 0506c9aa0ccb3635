// The teacher's page: opens and closes collecting.

import { byId } from "./answer.js";
import { announce, ApiError, errorText, request, retryDelay, showFigures, words } from "./common.js";
import { storedToken, tokenFromAddress } from "./token.js";

const POLL_MS = 2000;

let token = "";
let collecting = true;
let version = 0; // of what this page has changed: an answer to an earlier question must not undo it
let timer = 0;

function show(board) {
  ({ collecting } = board);
  showFigures(byId("figures"), [[words.made.toLowerCase(), board.drawn], ["waiting for review", board.pending],
    ["accepted", board.accepted], ["names", board.contributors]]);
  announce(byId("state"), collecting ? "Collecting is open" : "Collecting is closed");
  byId("effect").textContent = collecting ? `Everybody with the address can contribute ${words.several}.`
    : "What is drawn meanwhile stays in the browsers of those who draw, and is sent when collecting opens.";
  byId("toggle").textContent = collecting ? "Close collecting" : "Open collecting";
  byId("shows").checked = board.shows_pending;
  byId("address").textContent = board.address;
  byId("message").textContent = "";
}

function fail(error) {
  if (error instanceof ApiError && error.status === 401) {
    logOut(errorText(error));
    return;
  }
  announce(byId("message"), `Failed: ${errorText(error)}.`);
}

async function change(values) {
  const mine = version += 1;
  try {
    const board = await request("api/class", { body: values, token });
    if (mine === version) show(board);
  } catch (error) {
    if ("shows_pending" in values) byId("shows").checked = !values.shows_pending;
    fail(error);
  }
}

function poll(wait = POLL_MS) {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    if (!token) return;
    const mine = version;
    let next = POLL_MS;
    try {
      if (!document.hidden) {
        const board = await request("api/class");
        if (mine === version) show(board);
      }
    } catch (error) {
      fail(error);
      next = Math.max(POLL_MS, retryDelay(error) ?? 0);
    }
    poll(next);
  }, wait);
}

function logOut(reason) {
  token = "";
  storedToken.remove();
  byId("desk").hidden = true;
  byId("login").hidden = false;
  byId("refused").textContent = reason;
}

async function logIn(given) {
  try {
    // Changes nothing, but needs the token.
    show(await request("api/class", { body: {}, token: given }));
  } catch (error) {
    logOut(errorText(error));
    byId("token").value = given;
    return;
  }
  token = given;
  storedToken.set(given);
  byId("token").value = "";
  byId("refused").textContent = "";
  byId("login").hidden = true;
  byId("desk").hidden = false;
  poll();
}

function logInFromAddress() {
  const given = tokenFromAddress() ?? storedToken.get();
  if (given) logIn(given);
  else byId("login").hidden = false;
}

byId("toggle").addEventListener("click", () => change({ collecting: !collecting }));
byId("shows").addEventListener("change", () => change({ shows_pending: byId("shows").checked }));
byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  logIn(byId("token").value.trim());
});
addEventListener("hashchange", logInFromAddress);
logInFromAddress();
