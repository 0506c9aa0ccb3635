// What a network that learns looks like: its curve, the pictures of its first units, and the digits it gets wrong.

import { byId, createElement, percent } from "./answer.js";
import { article, pictureOf, plural, words } from "./common.js";

const UNITS_PER_ROW = 8;
const UNIT_SIDE = 30; // pixels: 28 and a gap
const WIDTH = 400, HEIGHT = 150; // of the curves, in their own units

/**
 * Show the accuracy over the logarithm of the number of digits: most is learned from the first hundreds. A curve has
 * points [digits, accuracy]; the two share the axes, and the second one may be empty.
 */
export function showCurves(page, machine) {
  const ends = [page, machine].map((curve) => curve.at(-1)?.[0] ?? 0);
  const last = Math.max(1, ...ends);
  const place = ([n, accuracy]) => `${WIDTH * Math.log1p(n) / Math.log1p(last)},${HEIGHT - HEIGHT * accuracy}`;
  byId("line").setAttribute("points", page.map(place).join(" "));
  byId("machine-line").setAttribute("points", machine.map(place).join(" "));
  byId("legend").hidden = !machine.length;
  byId("axis-end").textContent = plural(last, words.one, words.several);
  const text = (curve) => `${percent(curve.at(-1)[1])} after ${plural(curve.at(-1)[0], words.one, words.several)}`;
  const parts = [page.length ? text(page) : "", machine.length ? `fastnn on this machine: ${text(machine)}` : ""];
  byId("curve").setAttribute("aria-label", `Test accuracy: ${parts.filter(Boolean).join("; ")}`);
}

/** Show the weights of units, numbers from -127 to 127, as pictures beside each other. */
export function showUnits(canvas, pictures) {
  const rows = Math.ceil(pictures.length / UNITS_PER_ROW);
  canvas.width = UNITS_PER_ROW * UNIT_SIDE;
  canvas.height = rows * UNIT_SIDE;
  const context = canvas.getContext("2d");
  pictures.forEach((weights, unit) => {
    const picture = context.createImageData(28, 28);
    weights.forEach((weight, k) => {
      const rest = 255 - 2 * Math.abs(weight); // white = no weight
      picture.data.set(weight > 0 ? [rest, rest, 255, 255] : [255, rest, rest, 255], 4 * k);
    });
    context.putImageData(picture, UNIT_SIDE * (unit % UNITS_PER_ROW) + 1, UNIT_SIDE * Math.floor(unit / UNITS_PER_ROW) + 1);
  });
}

export function showWrong(list, wrong) {
  list.replaceChildren(...wrong.map(({ image, label, answer }) => {
    const picture = pictureOf(image, `${article(label) === "an" ? "An" : "A"} ${label}, taken for ${answer}`);
    return createElement("li", { children: [picture, createElement("span", { text: `${label} → ${answer}` })] });
  }));
}
