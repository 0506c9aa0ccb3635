// Shows the contents of the data set and how to load it.

import { barChart, byId, createElement } from "./answer.js";
import { errorText, request, showFigures, words } from "./common.js";

async function showData() {
  const { accepted, pending, digits, credits } = await request("api/stats");
  showFigures(byId("figures"), [
    [accepted === 1 ? words.one : words.several, accepted],
    ["waiting for review", pending],
    [credits.length === 1 ? "person in the credits" : "people in the credits", credits.length],
  ]);
  const names = Object.keys(digits);
  const largest = Math.max(1, ...Object.values(digits));
  barChart(byId("bars"), names)(names.map((name) => ({
    fraction: digits[name] / largest, text: digits[name].toLocaleString("en"), best: true,
  })));
  byId("credits").replaceChildren(...credits.map(({ name, digits: n }) => createElement("li", { text: `${name} (${n.toLocaleString("en")})` })));
  byId("nobody").hidden = credits.length > 0;
  if (accepted) {
    byId("mosaic").src = "mosaic.png";
    byId("picture").hidden = false;
  }
}

const url = new URL("dataset.json", document.baseURI).href;
byId("example").textContent = `const ${words.several} = await (await fetch("${url}")).json();`;
showData().catch((error) => { byId("message").textContent = errorText(error); });
