// The page for a projector: the address, and what the class has drawn, as it comes in.

import { byId, createElement } from "./answer.js";
import { announce, classes, errorText, plural, request, retryDelay, words } from "./common.js";

const POLL_MS = 2000;
const MOST_CLASSES = 40; // of more classes, those drawn most often have room

const ONLY_HERE = ["127.0.0.1", "localhost", "[::1]"]; // hosts that other machines cannot reach

let shown = null; // the picture that is shown

/** An address as one types it: without its scheme and its last slash. */
const typed = (address) => address.replace(/^https?:\/\//, "").replace(/\/$/, "");

function show({ address, drawn, contributors, collecting, classes: counts, picture }) {
  byId("address").textContent = typed(address);
  const onlyHere = ONLY_HERE.includes(new URL(address).hostname);
  byId("how").hidden = onlyHere;
  byId("only-here").hidden = !onlyHere;
  byId("drawn").textContent = drawn.toLocaleString("en");
  byId("words").textContent = drawn === 1 ? words.one : words.several;
  byId("people").textContent = contributors ? `${plural(contributors, "person has", "people have")} given a name.` : "";
  announce(byId("state"), collecting ? "" : "Collecting is closed at the moment. Thank you.");
  const most = classes.length <= MOST_CLASSES ? classes
    : classes.filter((name) => counts[name]).sort((a, b) => counts[b] - counts[a]).slice(0, MOST_CLASSES);
  byId("tally").replaceChildren(...most.map((name) => createElement("li", {
    children: [createElement("b", { text: name }), createElement("span", { text: counts[name].toLocaleString("en") })],
  })));
  if (picture !== shown) {
    shown = picture;
    byId("mosaic").hidden = picture === null;
    // The number makes the browser load it again.
    if (picture) byId("mosaic").src = `class.png?picture=${picture}`;
  }
}

async function poll() {
  let wait = POLL_MS;
  try {
    // A page that nobody sees asks nothing.
    if (!document.hidden) {
      show(await request("api/class"));
      byId("message").textContent = "";
    }
  } catch (error) {
    announce(byId("message"), `No news: ${errorText(error)}.`);
    wait = Math.max(POLL_MS, retryDelay(error) ?? 0);
  }
  setTimeout(poll, wait);
}

poll();
