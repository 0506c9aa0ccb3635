// The page that `fastnn export MODEL page.html` writes: recognises what is drawn, without a server.

const model = readModel(byId("model").textContent);
const pad = document.querySelector("draw-pad");
const view = new AnswerView(model.names);
let waiting = false;

function recognise() {
  const image = pad.imageForNetwork();
  const seen = normalise(image); // also tells whether anything is drawn
  if (seen === null) {
    view.clear("Draw with a mouse, a finger or a stylus.");
    drawImage(byId("seen"), new Array(image.length).fill(255));
    return;
  }
  view.show(answersFor(model, image));
  drawImage(byId("seen"), model.normalise ? seen : image);
}

/** Recognise the drawing once before the screen is painted; the pen may move several times until then. */
pad.addEventListener("input", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    recognise();
  });
});
recognise();
