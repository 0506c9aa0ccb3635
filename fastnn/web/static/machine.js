// The same training by fastnn on the server, streamed by server-sent events.

import { byId, percent } from "./answer.js";
import { ApiError, errorText, responseError, showFigures, showMessage, words } from "./common.js";
import { showUnits, showWrong } from "./learn-views.js";
import { storedToken } from "./token.js";

const ENDS = {
  epochs: "fastnn has gone through all of them often enough.",
  time: "fastnn has learned for a minute.",
  stopped: "The server has stopped.",
  failed: "The training failed; the server’s log says why.",
};

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** Yield the events of a response as {kind, data}. EventSource would read them too, but cannot send the token. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const fields = Object.fromEntries(event.split("\n").map((line) => {
        const colon = line.indexOf(": ");
        return [line.slice(0, colon), line.slice(colon + 2)];
      }));
      yield { kind: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

export class Machine {
  curve = []; // [digits, accuracy]
  #settings;
  #changed;
  #stop = null; // an AbortController while it runs
  #report = null; // the latest one
  #fastest = 0; // digits a second
  #pageRate = 0; // of the network in the page

  /** `settings` returns those of the page; `changed` is called when the curve has changed. */
  constructor({ settings, changed }) {
    this.#settings = settings;
    this.#changed = changed;
    byId("machine-run").addEventListener("click", () => {
      if (this.#stop) this.stop();
      else if (storedToken.get()) this.start();
      else this.#ask("");
    });
    byId("machine-login").addEventListener("submit", (event) => {
      event.preventDefault();
      storedToken.set(byId("token").value.trim());
      this.start(byId("token").value.trim());
    });
    addEventListener("pagehide", () => this.stop());
  }

  /** Show how much faster fastnn is than the page, which has learned so many digits a second. */
  compare(perSecond) {
    // Of both the fastest: other programs slow them down now and then.
    if (perSecond <= this.#pageRate) return;
    this.#pageRate = perSecond;
    this.#showFigures();
  }

  stop() {
    this.#stop?.abort();
  }

  /** Stop, and forget what was learned. */
  clear() {
    this.stop();
    this.curve = [];
    this.#report = null;
    this.#fastest = this.#pageRate = 0;
    for (const id of ["machine-figures", "machine-looks", "machine-errors"]) byId(id).hidden = true;
    showMessage(byId("machine-message"), "");
    this.#changed();
  }

  async start(token = storedToken.get()) {
    const pageRate = this.#pageRate;
    this.clear();
    this.#pageRate = pageRate; // of the same settings
    const stop = new AbortController();
    this.#setRunning(stop);
    this.#hideForm();
    showMessage(byId("machine-message"), "Starting …");
    let end = "";
    try {
      const response = await fetch("api/learn", {
        method: "POST",
        headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
        body: JSON.stringify(this.#settings()),
        signal: stop.signal,
        credentials: "omit",
        cache: "no-store",
      });
      if (!response.ok) throw await responseError(response);
      for await (const { kind, data } of eventsOf(response)) {
        if (stop.signal.aborted) break;
        if (kind === "end") end = ENDS[data.reason] ?? "";
        else {
          showMessage(byId("machine-message"), "fastnn is learning.");
          this.#show(data);
        }
      }
      if (!stop.signal.aborted) showMessage(byId("machine-message"), end || "The connection was lost.", end ? "" : "bad");
    } catch (error) {
      if (stop.signal.aborted) return;
      if (error instanceof ApiError && error.status === 401) this.#ask(`${errorText(error)}.`);
      else showMessage(byId("machine-message"), `fastnn cannot learn now: ${errorText(error)}.`, "bad");
    } finally {
      if (this.#stop === stop) this.#setRunning(null);
    }
  }

  #setRunning(stop) {
    this.#stop = stop;
    byId("machine-run").textContent = stop ? "Stop fastnn" : "Start fastnn";
    if (!stop && byId("machine-message").textContent === "fastnn is learning.") showMessage(byId("machine-message"), "");
  }

  /** Ask for the token. */
  #ask(reason) {
    storedToken.remove();
    byId("machine-login").hidden = false;
    byId("machine-run").hidden = true;
    showMessage(byId("machine-message"), reason && reason[0].toUpperCase() + reason.slice(1), "bad");
    byId("token").focus();
  }

  #hideForm() {
    const typed = byId("machine-login").contains(document.activeElement);
    byId("token").value = "";
    byId("machine-login").hidden = true;
    byId("machine-run").hidden = false;
    if (typed) byId("machine-run").focus();
  }

  #show(report) {
    this.#report = report;
    this.#fastest = Math.max(this.#fastest, report.trained >= report.train_digits ? report.per_second : 0);
    this.curve.push([report.trained, report.accuracy]);
    for (const id of ["machine-figures", "machine-looks", "machine-errors"]) byId(id).hidden = false;
    this.#showFigures();
    showUnits(byId("machine-units"), report.pictures.map((unit) => new Int8Array(bytesOf(unit).buffer)));
    showWrong(byId("machine-wrong"), report.wrong.map((one) => ({ ...one, image: bytesOf(one.image) })));
    this.#changed();
  }

  #showFigures() {
    if (!this.#report) return;
    const { trained, test_digits: nTest, accuracy } = this.#report;
    const figures = [[`${words.several} learned`, trained], [`right of ${nTest}`, percent(accuracy)]];
    if (this.#fastest) figures.push([`${words.several} a second`, Math.round(this.#fastest)]);
    const ratio = this.#fastest / this.#pageRate;
    if (this.#fastest && this.#pageRate) {
      figures.push(["faster than this page", `${ratio < 10 ? ratio.toFixed(1) : Math.round(ratio).toLocaleString("en")} ×`]);
    }
    showFigures(byId("machine-figures"), figures);
  }
}
