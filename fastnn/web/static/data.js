// What the data set holds, and how to have it.

import { ask, bars, explain, figures, find, make } from "./common.js";

async function show() {
  const { accepted, pending, digits, credits } = await ask("api/stats");
  figures(find("figures"), [["digits", accepted], ["wait for review", pending], ["people in the credits", credits.length]]);
  const names = Object.keys(digits);
  const most = Math.max(1, ...Object.values(digits));
  bars(find("bars"), names)(names.map((name) => ({
    share: digits[name] / most, text: digits[name].toLocaleString("en"), best: true,
  })));
  find("credits").replaceChildren(...credits.map(({ name, digits: n }) => make("li", { text: `${name} (${n.toLocaleString("en")})` })));
  find("nobody").hidden = credits.length > 0;
  if (accepted) {
    find("mosaic").src = "mosaic.png";
    find("picture").hidden = false;
  }
}

const address = new URL("dataset.json", document.baseURI).href;
find("example").textContent = `const digits = await (await fetch("${address}")).json();`;
show().catch((error) => { find("message").textContent = explain(error); });
