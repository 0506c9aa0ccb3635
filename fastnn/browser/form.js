// The page that `fastnn export MODEL page.html` writes for a model of tables: a field for each column.

const model = readModel(byId("model").textContent);
const view = model.task === "classification" ? new AnswerView(model.names) : null;
const showLabels = model.task === "multilabel" ? barChart(byId("bars"), model.names) : null;

const SHOW = {
  classification: (probabilities) => view.show(probabilities),
  multilabel(probabilities) {
    showLabels(Array.from(probabilities, (fraction) => ({ fraction, text: percent(fraction), best: fraction > 0.5 })));
    showGuess("", model.names.filter((_, k) => probabilities[k] > 0.5).join(", ") || "None of the labels");
  },
  regression(values) {
    const texts = Array.from(values, (value) => String(Number(value.toPrecision(6))));
    showGuess(texts.length === 1 ? texts[0] : "", model.names.map((name, k) => `${name}: ${texts[k]}`).join(", "));
  },
};

/** Make the field of a column: a list of its categories, or a number that starts with the mean of what was learned. */
function fieldOf({ name, categories }, mean) {
  const field = document.createElement(categories ? "select" : "input");
  if (categories) field.append(...categories.map((text) => createElement("option", { text })));
  else Object.assign(field, { type: "number", step: "any", value: Number(mean.toPrecision(6)) });
  byId("form").append(createElement("label", { children: [createElement("span", { text: name }), field] }));
  return field;
}

let first = 0;
const fields = model.columns.map((column) => {
  const { mean } = model.inputs;
  const field = fieldOf(column, mean[mean.length === 1 ? 0 : first]);
  first += column.categories ? column.categories.length : 1;
  return field;
});

function predict() {
  // A category is one input for each text that it may have, of which one is 1.
  const row = fields.flatMap((field) => (
    field.options ? Array.from(field.options, (_, k) => Number(k === field.selectedIndex)) : [field.valueAsNumber]));
  if (row.every(Number.isFinite)) {
    SHOW[model.task](answersFor(model, row));
    return;
  }
  const text = "Each field needs a number.";
  if (view) view.clear(text);
  else showGuess("", text);
}

byId("form").addEventListener("input", predict);
byId("form").addEventListener("submit", (event) => event.preventDefault());
predict();
