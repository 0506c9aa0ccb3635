// Asks for digits, keeps what is drawn in this browser until the server has said that it is stored.

import { ask, explain, find, make, newId, paint, remembered, say } from "./common.js";
import { Pad } from "./pad.js";

const AT_ONCE = 20; // digits a request

const kept = remembered(() => localStorage, "fastnn.digits");
const name = remembered(() => localStorage, "fastnn.name");

let unsent = read();
const sent = new Array(10).fill(0);
let total = new Array(10).fill(0);
let wanted = -1;
let sending = false;

function read() {
  try {
    const found = JSON.parse(kept.get() ?? "[]");
    const fit = ({ id, image, label }) => typeof id === "string" && Array.isArray(image) && image.length === 784 && label >= 0 && label <= 9;
    return Array.isArray(found) ? found.filter(fit) : [];
  } catch {
    return [];
  }
}

/** Ask for one of the digits that there are fewest of, but not for the same one again. */
function choose() {
  const counts = sent.map((n, digit) => n + total[digit] + unsent.filter(({ label }) => label === digit).length);
  const order = counts.map((n, digit) => [n, Math.random(), digit]).filter(([, , digit]) => digit !== wanted);
  // Where hundreds are there, three more or less do not matter: any of the five rarest will do.
  order.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  wanted = order[Math.floor(Math.random() * 5)][2];
  find("wanted").textContent = wanted;
  find("next").disabled = pad.empty;
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
  find("send").disabled = sending || !unsent.length;
  find("send").textContent = unsent.length ? `Send ${unsent.length} ${unsent.length === 1 ? "digit" : "digits"}` : "Send";
  find("last").disabled = sending || !unsent.length;
  kept.set(JSON.stringify(unsent));
}

function next() {
  if (wanted < 0 || pad.empty) return;
  unsent.push({ id: newId(), image: pad.image(), label: wanted });
  pad.renew();
  choose();
  show();
  say(find("message"), "");
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
      await ask("api/digits", { body: { digits: part, contributor: find("name").value } });
      // Only what the server has on its disk leaves this browser.
      const stored = new Set(part.map(({ id }) => id));
      unsent = unsent.filter(({ id }) => !stored.has(id));
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

const pad = new Pad(find("pad"), (drawn) => { find("next").disabled = wanted < 0 || drawn.empty; });
find("next").addEventListener("click", next);
find("other").addEventListener("click", () => { choose(); show(); });
find("last").addEventListener("click", () => { unsent.pop(); show(); });
find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!sending && unsent.length) send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.target === document.body || event.target === find("pad"))) next();
});
find("name").value = name.get() ?? "";
ask("api/stats").then(({ digits }) => {
  total = total.map((_, digit) => digits[digit]);
}).catch((error) => say(find("message"), explain(error), "bad")).finally(() => {
  choose();
  show();
});
