// Asks for digits, keeps what is drawn in this browser until the server has said that it is stored.

import { allow, ask, explain, find, make, newId, paint, remembered, say, shelf } from "./common.js";
import { Pad } from "./pad.js";

const AT_ONCE = 20; // digits a request

const kept = shelf(() => localStorage, "fastnn.digit.");
const name = remembered(() => localStorage, "fastnn.name");

let loose = []; // what the browser would not keep: in this tab alone
let unsent = gather();
const sent = new Array(10).fill(0);
let total = new Array(10).fill(0);
let wanted = -1;
let sending = false;

/** What was drawn in all tabs and not sent yet, oldest first. */
function gather() {
  const fit = (digit) => typeof digit?.id === "string" && Array.isArray(digit.image) && digit.image.length === 784
    && digit.label >= 0 && digit.label <= 9;
  return [...kept.all().filter(fit), ...loose].sort((a, b) => a.drawn - b.drawn);
}

function drop(digits) {
  digits.forEach(({ id }) => kept.drop(id));
  loose = loose.filter((digit) => !digits.includes(digit));
  unsent = gather();
}

/** Ask for one of the digits that there are fewest of, but not for the same one again. */
function choose() {
  const counts = sent.map((n, digit) => n + total[digit] + unsent.filter(({ label }) => label === digit).length);
  const order = counts.map((n, digit) => [n, Math.random(), digit]).filter(([, , digit]) => digit !== wanted);
  // Where hundreds are there, three more or less do not matter: any of the five rarest will do.
  order.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  wanted = order[Math.floor(Math.random() * 5)][2];
  find("wanted").textContent = wanted;
  allow(find("next"), !pad.empty);
}

function show() {
  find("tally").replaceChildren(...total.map((all, digit) => {
    const mine = sent[digit] + unsent.filter(({ label }) => label === digit).length;
    return make("li", {
      className: digit === wanted ? "wanted" : "",
      children: [make("b", { text: digit }), make("span", { text: `you ${mine}` }), document.createElement("br"),
        make("span", { text: `all ${all.toLocaleString("en")}` })],
    });
  }));
  find("drawn").replaceChildren(...unsent.slice(-20).map(({ image, label }) => {
    const picture = make("canvas", { className: "picture" });
    picture.width = picture.height = 28;
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", `Your ${label}`);
    paint(picture, image);
    return make("li", { children: [picture, make("span", { text: label })] });
  }));
  allow(find("send"), !sending && unsent.length > 0);
  find("send").textContent = unsent.length ? `Send ${unsent.length} ${unsent.length === 1 ? "digit" : "digits"}` : "Send";
  allow(find("last"), !sending && unsent.length > 0);
}

function next() {
  if (wanted < 0 || pad.empty) return;
  const digit = { id: newId(), image: pad.image(), label: wanted, drawn: Date.now() };
  if (!kept.put(digit.id, digit)) loose.push(digit);
  unsent = gather();
  pad.renew();
  choose();
  show();
  say(find("message"), loose.length ? "This browser keeps no more digits: send them before you leave the page." : "", "bad");
}

function dropLast() {
  if (sending || !unsent.length) return;
  drop(unsent.slice(-1));
  show();
}

async function send() {
  sending = true;
  show();
  say(find("message"), "Sending …");
  name.set(find("name").value);
  let n = 0;
  try {
    while (unsent.length) {
      const part = unsent.slice(0, AT_ONCE);
      const digits = part.map(({ id, image, label }) => ({ id, image, label }));
      await ask("api/digits", { body: { digits, contributor: find("name").value } });
      // Only what the server has on its disk leaves this browser.
      drop(part);
      part.forEach(({ label }) => { sent[label] += 1; });
      n += part.length;
      show();
    }
    say(find("message"), `Thank you: ${n} ${n === 1 ? "digit is" : "digits are"} stored and will be reviewed.`, "good");
  } catch (error) {
    say(find("message"), `Not sent: ${explain(error)}. The digits stay here; try again.`, "bad");
  }
  sending = false;
  show();
}

const pad = new Pad(find("pad"), (drawn) => allow(find("next"), wanted >= 0 && !drawn.empty));
find("next").addEventListener("click", next);
find("other").addEventListener("click", () => { choose(); show(); });
find("last").addEventListener("click", dropLast);
find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!sending && unsent.length) send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.target === document.body || event.target === find("pad"))) next();
});
kept.watch(() => {
  unsent = gather();
  show();
});
find("name").value = name.get() ?? "";
ask("api/stats").then(({ digits }) => {
  total = total.map((_, digit) => digits[digit]);
}).catch((error) => say(find("message"), explain(error), "bad")).finally(() => {
  choose();
  show();
});
