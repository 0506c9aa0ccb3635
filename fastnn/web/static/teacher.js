// The teacher's page: opens and closes collecting. The token stays in this tab and is sent in a header only.

import { byId } from "./answer.js";
import { ApiError, errorText, request, retryDelay, showFigures, storedValue, words } from "./common.js";

const POLL_MS = 2000;

const storedToken = storedValue(() => sessionStorage, "fastnn.token"); // the review page reads it, too
let token = "";
let collecting = true;
let version = 0; // of what this page has changed: an answer to an earlier question must not undo it
let timer = 0;

function show(board) {
  ({ collecting } = board);
  showFigures(byId("figures"), [[`${words.several} drawn`, board.drawn], ["waiting for review", board.pending],
    ["accepted", board.accepted], ["names", board.contributors]]);
  const state = collecting ? "Collecting is open" : "Collecting is closed";
  // Screen readers announce a status whenever it is written.
  if (byId("state").textContent !== state) byId("state").textContent = state;
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
  const text = `Failed: ${errorText(error)}.`;
  if (byId("message").textContent !== text) byId("message").textContent = text;
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

/** Log in with a token after the # of the address, which browsers send to no server; it is removed from the address. */
function logInFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) history.replaceState(null, "", location.pathname);
  const given = found ?? storedToken.get();
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
