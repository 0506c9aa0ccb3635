// Asks before something that concerns many digits.

import { byId } from "./answer.js";

/** Ask a question; returns whether the answer is yes. Escape means no. */
export function ask(question, yes) {
  const dialog = byId("ask");
  byId("ask-text").textContent = question;
  byId("ask-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

for (const [id, value] of [["ask-yes", "yes"], ["ask-no", "no"]]) {
  byId(id).addEventListener("click", () => byId("ask").close(value));
}
