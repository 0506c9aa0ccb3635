// The review desk: the login, and the views in which digits are reviewed. The address says which view is shown, so that it
// survives a reload and the browser's back works.

import { byId } from "./answer.js";
import { announce, errorText, request, retryDelay, showMessage, storedValue } from "./common.js";
import { BrowseView } from "./review-browse.js";
import { GridView } from "./review-grid.js";
import { HistoryView } from "./review-history.js";
import { isTyped, keyText, showKeys } from "./review-labels.js";
import { keepLeases, Lease } from "./review-lease.js";
import { OneView } from "./review-one.js";
import { hasStatus } from "./review-sender.js";
import { storedToken, tokenFromAddress } from "./token.js";

const storedName = storedValue(() => localStorage, "fastnn.reviewer");
let timer = 0; // for the next trial to log in
let current = null; // name of the view that is shown

/** What the views share. */
const desk = {
  token: "",

  /** The reviewer's name for the log. */
  get reviewer() {
    storedName.set(byId("reviewer").value);
    return byId("reviewer").value;
  },

  /** Send a request with the token; if the server rejects it, the tab forgets it. */
  async request(path, options = {}) {
    const { token } = this;
    try {
      return await request(path, { ...options, token });
    } catch (error) {
      if (token === this.token && hasStatus(error, 401)) logOut(errorText(error));
      throw error;
    }
  },

  /** Whether the token was rejected: the login form says so. */
  isRefused(error) {
    if (hasStatus(error, 401) && this.token) logOut(errorText(error));
    return hasStatus(error, 401);
  },

  /** The address of a view with some parameters. */
  address(view, parameters = {}) {
    const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
    return `#${new URLSearchParams([["view", view], ...given])}`;
  },
};

const views = { one: new OneView(desk), grid: new GridView(desk), browse: new BrowseView(desk), history: new HistoryView(desk) };

/** The parameters in the address; the name of the view is one of them. */
const parameters = () => new URLSearchParams(location.hash.slice(1));

/** Show the view that the address names; throws if it cannot be loaded. */
async function showView() {
  const wanted = parameters().get("view");
  const name = Object.hasOwn(views, wanted) ? wanted : "one";
  let left = null;
  if (current !== name) {
    if (current) left = views[current].hide();
    for (const other of Object.keys(views)) byId(`view-${other}`).hidden = other !== name;
    for (const link of document.querySelectorAll("#views a")) {
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    current = name;
  }
  views[name].prepare?.(parameters());
  // What the other view had borrowed, this one may want.
  await left;
  if (current === name) await views[name].show(parameters());
}

function leaveView() {
  if (current) views[current].hide();
  current = null;
}

function showLogin(reason) {
  byId("desk").hidden = true;
  byId("login").hidden = false;
  announce(byId("refused"), reason);
}

function logOut(reason) {
  desk.token = "";
  leaveView();
  for (const view of Object.values(views)) view.clear();
  clearTimeout(timer);
  storedToken.remove();
  showLogin(reason);
}

async function logIn(given) {
  clearTimeout(timer);
  leaveView();
  for (const view of Object.values(views)) view.clear();
  desk.token = given;
  // This tab forgets the token only if the server rejects it, not if the server cannot be reached.
  storedToken.set(given);
  try {
    await showView();
  } catch (error) {
    if (desk.token !== given) return;
    leaveView();
    byId("token").value ||= given;
    showLogin(errorText(error));
    const delay = retryDelay(error);
    if (delay !== null) timer = setTimeout(() => logIn(given), delay);
    return;
  }
  if (desk.token !== given) return;
  byId("token").value = "";
  byId("refused").textContent = "";
  byId("login").hidden = true;
  byId("desk").hidden = false;
}

function logInFromAddress() {
  const token = tokenFromAddress();
  if (token) logIn(token);
  return token !== null;
}

async function onHashChange() {
  if (logInFromAddress() || byId("desk").hidden) return;
  const { token } = desk;
  try {
    await showView();
  } catch (error) {
    if (token === desk.token) showMessage(byId(`view-${current}`).querySelector(".message"), `Cannot be loaded: ${errorText(error)}. Load the page again to retry.`, "bad");
  }
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("refused").textContent = "";
  logIn(byId("token").value.trim());
});
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLSelectElement || (event.target instanceof HTMLInputElement && event.target.type !== "checkbox");
  if (byId("desk").hidden || typing || event.ctrlKey || event.altKey || event.metaKey || event.repeat || document.querySelector("dialog[open]")) return;
  if (!byId("shortcuts").checked && !event.target.closest(".cells")) return;
  if (views[current].press(event)) event.preventDefault();
});
addEventListener("beforeunload", (event) => {
  if (Object.values(views).some((view) => view.unsaved)) event.preventDefault();
});
addEventListener("pagehide", () => Lease.releaseAll(desk));
addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });
addEventListener("hashchange", onHashChange);

showKeys(document);
byId("keys-text").textContent = `Shortcuts: ${["accept", "reject", "undo", "skip"].map((action) => `${keyText(action)} ${action}`).join(", ")}, ${isTyped ? "a label’s key relabels" : `${keyText("choose")} chooses a label`}`;
byId("reviewer").value = storedName.get() ?? "";
keepLeases();
if (!logInFromAddress()) {
  if (storedToken.get()) logIn(storedToken.get());
  else byId("login").hidden = false;
}
