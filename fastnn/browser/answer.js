// Shows what a network answers: the most probable class, a bar for each class, and the image that the network sees.

const MOST_BARS = 26; // as many as letters; of more classes, the ten most probable are shown
const NOTHING = "–";

export const byId = (id) => document.getElementById(id);

/** Create an element with text or children. */
export function createElement(tag, { className, text, children = [] } = {}) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

/** Show a square image of grey levels, 255 = white paper. */
export function drawImage(canvas, image) {
  const side = canvas.width = canvas.height = Math.round(Math.sqrt(image.length));
  const context = canvas.getContext("2d");
  const data = context.createImageData(side, side);
  image.forEach((value, position) => data.data.set([value, value, value, 255], 4 * position));
  context.putImageData(data, 0, 0);
}

/** Make a bar chart with one bar for each name; returns a function that shows values [{fraction, text, best, name}]. */
export function barChart(list, names) {
  const rows = names.map((name) => {
    const fill = createElement("div", { className: "fill" });
    const label = createElement("span", { text: name });
    const value = createElement("span", { className: "value", text: NOTHING });
    const track = createElement("div", { className: "track", children: [fill] });
    return { row: createElement("li", { children: [label, track, value] }), fill, label, value };
  });
  list.replaceChildren(...rows.map(({ row }) => row));
  // A narrow screen has room for two columns of short names.
  list.classList.toggle("long", names.some((name) => name.length > 3));
  list.style.setProperty("--half", Math.ceil(names.length / 2));
  return (values) => rows.forEach(({ row, fill, label, value }, position) => {
    const { fraction, text, best, name } = values[position];
    fill.style.width = `${100 * fraction}%`;
    value.textContent = text;
    row.className = best ? "best" : "";
    if (name !== undefined) label.textContent = name;
  });
}

export const percent = (fraction) => `${(100 * fraction).toFixed(fraction > 0 && fraction < 0.0995 ? 1 : 0)}%`;

/** Show the answer in large letters, and words about it. */
export function showGuess(text, words) {
  byId("guess").textContent = text;
  byId("guess").hidden = text === "";
  byId("guess").classList.toggle("long", text.length > 2);
  byId("sure").textContent = words;
}

/** Shows probabilities in the elements #guess, #sure and #bars. */
export class AnswerView {
  #names;
  #showBars;

  constructor(names) {
    this.#names = names;
    this.#showBars = barChart(byId("bars"), names.length > MOST_BARS ? new Array(10).fill(NOTHING) : names);
  }

  show(probabilities, { doubtful = false } = {}) {
    const best = probabilities.reduce((a, b) => Math.max(a, b));
    const guess = this.#names[probabilities.indexOf(best)];
    const sure = doubtful ? "doubtful" : best > 0.9 ? "certain" : best > 0.5 ? "likely" : "uncertain";
    showGuess(guess, `${guess}, ${sure} (${percent(best)})`);
    this.#bars(Array.from(probabilities, (fraction, k) => (
      { name: this.#names[k], fraction, text: percent(fraction), best: fraction === best })));
  }

  /** Show that there is no answer, and why. */
  clear(reason) {
    showGuess(NOTHING, reason);
    this.#bars(this.#names.map((name) => ({ name, fraction: 0, text: NOTHING, best: false })));
  }

  #bars(values) {
    if (values.length > MOST_BARS) values.sort((a, b) => b.fraction - a.fraction);
    this.#showBars(values);
  }
}
