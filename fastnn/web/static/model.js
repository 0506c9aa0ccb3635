// Recognises drawings by the network in use: in this page as soon as it is here, and by the server until then, or if a
// page cannot run it. Afterwards no drawing is sent, and the page needs no server.

import { ApiError, request } from "./common.js";

const IDLE_MS = 3000; // at the latest after this time the network is loaded, although the browser is busy
const LOOK_MS = 300000; // between two looks whether the server has another network

/** Fires "model" when another network has come into the page, or the one that was there has gone. */
export class Recogniser extends EventTarget {
  #model = null;
  #network = null; // the module network.js, which is loaded with the first model
  #loading = null;

  /** The model in the page, with its weights; null while the server is asked. */
  get model() {
    return this.#model;
  }

  /** Load the network when the first stroke is drawn or the page has nothing else to do; later look for a newer one. */
  start(pad) {
    pad.addEventListener("input", () => { if (!this.#model) this.look(); }, { once: true });
    const idle = globalThis.requestIdleCallback ?? setTimeout; // Safari has no idle callbacks
    const whenIdle = () => idle(() => this.look(), { timeout: IDLE_MS });
    if (document.readyState === "complete") whenIdle();
    else addEventListener("load", whenIdle, { once: true });
    const lookAgain = () => { if (!document.hidden) this.look(); };
    document.addEventListener("visibilitychange", lookAgain);
    addEventListener("online", lookAgain);
    setInterval(lookAgain, LOOK_MS);
  }

  /** Load the model that the server has in use, unless it is here. Returns whether one is in the page. */
  look() {
    this.#loading ??= this.#load().catch(() => {}).finally(() => { this.#loading = null; });
    return this.#loading.then(() => this.#model !== null);
  }

  async #load({ again = true } = {}) {
    const response = await fetch("model.json", { cache: "no-cache", credentials: "omit", priority: "low" });
    if (response.status === 404) this.#use(null); // there is none, or its kind is not for pages
    if (!response.ok) return;
    const model = await response.json();
    if (model.key === this.#model?.key) return;
    if (model.task !== "classification") {
      this.#use(null);
      return;
    }
    const [weights, network] = await Promise.all([this.#weightsOf(model), import("./network.js")]);
    if (weights === null) { // the model has just been replaced
      if (again) await this.#load({ again: false });
      return;
    }
    this.#network = network;
    this.#use(network.withWeights(model, ({ offset, bytes }) => weights.subarray(offset, offset + bytes)));
  }

  async #weightsOf({ weights, key }) {
    const response = await fetch(`${weights}?key=${key}`, { cache: "no-cache", credentials: "omit", priority: "low" });
    return response.ok ? new Uint8Array(await response.arrayBuffer()) : null;
  }

  #use(model) {
    if (model === this.#model) return;
    this.#model = model;
    this.dispatchEvent(new Event("model"));
  }

  /**
   * Recognise a drawing of 784 grey levels: {label, probabilities, doubtful, reason, seen} as of the API; null if nothing
   * is drawn. Throws what `request` throws if the server is asked.
   */
  async recognise(image, { signal } = {}) {
    if (this.#model) return this.#answer(image);
    try {
      // The pad's paper is light, also if most of it is inked.
      return await request("api/predict", { body: { image, polarity: "dark-on-light" }, signal });
    } catch (error) {
      if (error instanceof ApiError && error.status === 422) return null;
      throw error;
    }
  }

  #answer(image) {
    const { normalise, outputsFor, answersOf, dividedBySum } = this.#network;
    const normalised = normalise(image);
    if (normalised === null) return null;
    const model = this.#model, outputs = outputsFor(model, image);
    // As on the server, doubts are found with label smoothing left in.
    const raw = dividedBySum(outputs), best = raw.indexOf(Math.max(...raw));
    const reasons = reasonsFor(model, raw, best);
    return {
      label: model.names[best] === String(best) ? best : model.names[best], // as in the API
      probabilities: Array.from(answersOf(model, outputs)),
      doubtful: reasons.length > 0,
      reason: reasons.join("; ") || null,
      seen: model.normalise ? normalised : image,
    };
  }
}

/** Why a prediction is doubtful, by the limits that the server sends with the model. */
function reasonsFor({ names, doubt: { margin, evidence, leastProbability } }, probabilities, best) {
  const reasons = [];
  const second = Math.max(...probabilities.filter((_, k) => k !== best));
  if (probabilities.length > 1 && probabilities[best] - second < margin) {
    reasons.push(`it may be ${names[probabilities.lastIndexOf(second)]}, too`);
  }
  const logarithms = probabilities.map((probability) => Math.log(Math.max(probability, leastProbability)));
  const found = logarithms[best] - logarithms.reduce((sum, one) => sum + one, 0) / logarithms.length;
  if (evidence !== null && found < evidence) reasons.push("it is unlike the images that the model learned");
  return reasons;
}
