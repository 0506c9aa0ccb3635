// Shows why the network gives its answer: the ink that speaks for and against a class, and the hidden units behind it.

import { byId, createElement } from "./answer.js";
import { SIDE } from "./common.js";
import { explain, inkWeights } from "./explain.js";

const UNITS = 8; // that are shown
const BLUE = [20, 74, 160], RED = [196, 44, 30];
const MARKED = 0.3; // pixels with this share of the largest value have a sign, so that nobody needs the colours
const INK = 60; // how dark the ink without influence is drawn

/** Show numbers for 28 by 28 pixels: positive ones blue with a plus, negative ones red with a minus, over a drawing. */
function paintSigned(canvas, values, { cell, seen = null }) {
  canvas.width = canvas.height = SIDE * cell;
  const context = canvas.getContext("2d");
  const largest = Math.max(...values.map(Math.abs)) || 1;
  values.forEach((value, k) => {
    const x = (k % SIDE) * cell, y = Math.floor(k / SIDE) * cell;
    const strength = Math.abs(value) / largest, tint = seen ? Math.sqrt(strength) : strength, colour = value > 0 ? BLUE : RED;
    const paper = seen ? 255 - (INK * (255 - seen[k])) / 255 : 255;
    context.fillStyle = `rgb(${colour.map((part) => Math.round(paper + (part - paper) * tint)).join(" ")})`;
    context.fillRect(x, y, cell, cell);
    if (strength < MARKED) return;
    const thick = Math.max(1, Math.round(cell / 5)), middle = Math.round((cell - thick) / 2);
    context.fillStyle = "#fff";
    context.fillRect(x + thick, y + middle, cell - 2 * thick, thick);
    if (value > 0) context.fillRect(x + middle, y + thick, thick, cell - 2 * thick);
  });
}

const PLACES = ["at the top left", "at the top", "at the top right", "on the left", "in the middle", "on the right",
  "at the bottom left", "at the bottom", "at the bottom right"];

/** Where most of the positive values are, in words. */
function placeOf(values) {
  const sums = new Array(9).fill(0), third = (place) => Math.min(2, Math.max(0, Math.floor((place - 4) / 6.7)));
  values.forEach((value, k) => { sums[3 * third(Math.floor(k / SIDE)) + third(k % SIDE)] += Math.max(0, value); });
  return PLACES[sums.indexOf(Math.max(...sums))];
}

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
const sumOf = (values) => values.reduce((sum, value) => sum + Math.max(0, value), 0);

/** Show what speaks for and against the class at a position in the image that the network sees. */
export function showWhy(model, seen, position) {
  const name = model.names[position];
  const { pixels, units } = explain(model, seen, position);
  const against = pixels.map((value) => -value);
  paintSigned(byId("why-ink"), pixels, { cell: 10, seen });
  const words = [["for", pixels], ["against", against]].map(([side, values]) => (
    sumOf(values) > 0.005 ? `${signed(side === "for" ? sumOf(values) : -sumOf(values))} by ink ${side} ${name}, most of it ${placeOf(values)}`
      : `no ink ${side} ${name}`));
  byId("why-words").textContent = `Score of ${name}: ${words.join("; ")}.`;
  byId("why-ink").setAttribute("aria-label", `Ink that speaks for and against ${name}`);
  byId("why-for").textContent = `Blue with +: ink that speaks for ${name}`;
  byId("why-against").textContent = `Red with −: ink that speaks against ${name}`;
  showUnits(model, units, name);
}

function showUnits(model, units, name) {
  const several = model.networks.length > 1;
  byId("why-fired").textContent = units.length
    ? `${units.length.toLocaleString("en")} units of the first hidden layer fired. These count most. Blue with +: ink that makes a unit fire; red with −: ink that keeps it from firing.`
    : "No hidden unit fired.";
  byId("why-units").replaceChildren(...units.slice(0, UNITS).map((one) => {
    const canvas = createElement("canvas", { className: "picture" });
    const title = `${several ? `Network ${one.network + 1}, unit` : "Unit"} ${one.unit + 1}`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Weights of ${title.toLowerCase()}`);
    paintSigned(canvas, inkWeights(model, one), { cell: 6 });
    return createElement("li", { children: [canvas, createElement("b", { text: `${signed(one.contribution)} ${one.contribution < 0 ? "against" : "for"} ${name}` }),
      createElement("span", { text: `${title}, activation ${one.activation.toFixed(2)}` })] });
  }));
}
