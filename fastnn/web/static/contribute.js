// Asks for digits, and keeps the drawings in this browser until the server confirms that they are stored.

import { byId, createElement, drawImage } from "./answer.js";
import { errorText, newId, request, setEnabled, showMessage, storedRecords, storedValue } from "./common.js";
import "./draw-pad.js";

const BATCH = 20; // digits in one request

const pad = byId("drawing");
const saved = storedRecords(() => localStorage, "fastnn.digit.");
const name = storedValue(() => localStorage, "fastnn.name");

let unsaved = []; // digits that the browser could not save; they exist in this tab only
let unsent = collectUnsent();
const sent = new Array(10).fill(0);
let total = new Array(10).fill(0);
let wanted = -1;
let sending = false;

/** Return the unsent digits of all tabs, oldest first. */
function collectUnsent() {
  const isValid = (digit) => typeof digit?.id === "string" && Array.isArray(digit.image) && digit.image.length === 784
    && digit.label >= 0 && digit.label <= 9;
  return [...saved.all().filter(isValid), ...unsaved].sort((a, b) => a.drawn - b.drawn);
}

function remove(digits) {
  digits.forEach(({ id }) => saved.remove(id));
  unsaved = unsaved.filter((digit) => !digits.includes(digit));
  unsent = collectUnsent();
}

/** Choose the next digit among the five rarest, but not the same digit twice in a row. */
function chooseDigit() {
  const counts = sent.map((n, digit) => n + total[digit] + unsent.filter(({ label }) => label === digit).length);
  const order = counts.map((n, digit) => [n, Math.random(), digit]).filter(([, , digit]) => digit !== wanted);
  // Among hundreds, a few digits more or less do not matter, so any of the five rarest will do.
  order.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  wanted = order[Math.floor(Math.random() * 5)][2];
  byId("wanted").textContent = wanted;
  setEnabled(byId("next"), !pad.empty);
}

function render() {
  byId("tally").replaceChildren(...total.map((all, digit) => {
    const mine = sent[digit] + unsent.filter(({ label }) => label === digit).length;
    return createElement("li", {
      className: digit === wanted ? "wanted" : "",
      children: [createElement("b", { text: digit }), createElement("span", { text: `you ${mine}` }), document.createElement("br"),
        createElement("span", { text: `all ${all.toLocaleString("en")}` })],
    });
  }));
  byId("drawn").replaceChildren(...unsent.slice(-20).map(({ image, label }) => {
    const picture = createElement("canvas", { className: "picture" });
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", `Your ${label}`);
    drawImage(picture, image);
    return createElement("li", { children: [picture, createElement("span", { text: label })] });
  }));
  setEnabled(byId("send"), !sending && unsent.length > 0);
  byId("send").textContent = unsent.length ? `Send ${unsent.length} ${unsent.length === 1 ? "digit" : "digits"}` : "Send";
  setEnabled(byId("last"), !sending && unsent.length > 0);
}

/** Keep the drawing and ask for another digit. */
function next() {
  if (wanted < 0 || pad.empty) return;
  const digit = { id: newId(), image: pad.image(), label: wanted, drawn: Date.now() };
  if (!saved.put(digit.id, digit)) unsaved.push(digit);
  unsent = collectUnsent();
  pad.reset();
  chooseDigit();
  render();
  showMessage(byId("message"), unsaved.length ? "This browser cannot save more digits. Send them before you leave the page." : "", "bad");
}

function deleteLast() {
  if (sending || !unsent.length) return;
  remove(unsent.slice(-1));
  render();
}

async function send() {
  sending = true;
  render();
  showMessage(byId("message"), "Sending …");
  name.set(byId("name").value);
  let n = 0;
  try {
    while (unsent.length) {
      const batch = unsent.slice(0, BATCH);
      const digits = batch.map(({ id, image, label }) => ({ id, image, label }));
      await request("api/digits", { body: { digits, contributor: byId("name").value } });
      // Digits leave this browser only when the server has them on disk.
      remove(batch);
      batch.forEach(({ label }) => { sent[label] += 1; });
      n += batch.length;
      render();
    }
    showMessage(byId("message"), `Thank you! ${n} ${n === 1 ? "digit is" : "digits are"} stored and will be reviewed.`, "good");
  } catch (error) {
    showMessage(byId("message"), `Not sent: ${errorText(error)}. Your digits stay here; please try again.`, "bad");
  }
  sending = false;
  render();
}

pad.addEventListener("input", () => setEnabled(byId("next"), wanted >= 0 && !pad.empty));
byId("next").addEventListener("click", next);
byId("other").addEventListener("click", () => { chooseDigit(); render(); });
byId("last").addEventListener("click", deleteLast);
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!sending && unsent.length) send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.target === document.body || event.target === byId("pad"))) next();
});
saved.onChange(() => {
  unsent = collectUnsent();
  render();
});
byId("name").value = name.get() ?? "";
request("api/stats").then(({ digits }) => {
  total = total.map((_, digit) => digits[digit]);
}).catch((error) => showMessage(byId("message"), errorText(error), "bad")).finally(() => {
  chooseDigit();
  render();
});
