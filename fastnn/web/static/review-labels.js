// Labels on the review desk: what they are called, and which keys stand for them and for the verdicts.

import { createElement } from "./answer.js";
import { article, classes } from "./common.js";

const LETTERS = { accept: "a", reject: "r", undo: "u", skip: "s", next: "n", choose: "l" };
const OTHERS = { accept: "Enter", reject: "Delete", undo: "Backspace", skip: " ", next: "PageDown", choose: "" };

/** Whether a label is typed with one key. */
export const isTyped = classes.every((name) => [...name].length === 1);

/** Keys of the verdicts: letters, unless these are classes. */
export const keys = isTyped && Object.values(LETTERS).some((key) => labelOfKey(key) >= 0) ? OTHERS : LETTERS;

/** The name of a label, which is a position among the classes. */
export const nameOf = (label) => classes[label] ?? "–";

/** "an 8": a drawing of a label. */
export const aLabel = (label) => `${article(nameOf(label))} ${nameOf(label)}`;

/** The label that a key stands for; -1 if it stands for none. Classes that differ only in case are told apart. */
export function labelOfKey(key) {
  if (!isTyped) return -1;
  const exact = classes.indexOf(key);
  if (exact >= 0) return exact;
  return classes.findIndex((name) => name.toLowerCase() === key.toLowerCase());
}

/** What the key of a verdict is called on the page. */
export const keyText = (action) => (keys[action] === " " ? "Space" : keys[action].replace("PageDown", "Page Down").replace(/^.$/, (letter) => letter.toUpperCase()));

/** Whether an event is the key of a verdict. Enter and Space on a control belong to the control. */
export function isKey(event, action) {
  if (!keys[action] || event.key.toLowerCase() !== keys[action].toLowerCase()) return false;
  return !(["Enter", " "].includes(event.key) && event.target.closest("a, button:not(.cell), select, input, summary"));
}

/** Write the names of the keys into the <kbd> elements of a part of the page. */
export function showKeys(element) {
  for (const kbd of element.querySelectorAll("kbd[data-key]")) {
    kbd.textContent = keyText(kbd.dataset.key);
    kbd.hidden = kbd.textContent === "";
  }
}

/** Fill a <select> with the classes, after `first` if it is given; the values are positions. */
export function fillLabels(select, first) {
  const options = classes.map((name, k) => Object.assign(createElement("option", { text: name }), { value: String(k) }));
  if (first !== undefined) options.unshift(Object.assign(createElement("option", { text: first }), { value: "" }));
  select.replaceChildren(...options);
}
