// Digits that the server lends to this page for some minutes, so that no other reviewer gets them.

import { newId } from "./common.js";

const RENEW_MS = 120000; // the server lends for five minutes

/** The leases that are to be renewed. */
const held = new Set();
let isActive = false; // whether the reviewer has pressed a key, a button or the screen since the last renewal

export class Lease {
  #desk;
  #session = newId();
  #label;
  #latest = null; // the latest request for digits

  constructor(desk) {
    this.#desk = desk;
  }

  /** Get digits that this lease holds already, or that nobody holds; with the counts of the queue. */
  fetch({ limit, label } = {}) {
    held.add(this);
    this.#label = label;
    const parameters = new URLSearchParams({ limit, session: this.#session });
    if (label !== undefined) parameters.set("label", label);
    this.#latest = this.#desk.request(`api/review?${parameters}`);
    return this.#latest;
  }

  /** Extend all that this lease holds. */
  renew() {
    // Asking for anything does so. A digit of another label would be lent to a page that never shows it.
    return this.fetch({ limit: 1, label: this.#label });
  }

  /** Other reviewers may have the digits now; resolves when they can. */
  async release() {
    if (!held.delete(this)) return;
    // A request that is answered after the release would borrow the digits again.
    await Promise.allSettled([this.#latest]);
    await Lease.#free(this.#desk, [this.#session]);
  }

  /** Release all leases, when the page is left. */
  static releaseAll(desk) {
    if (held.size) Lease.#free(desk, [...held].map((lease) => lease.#session));
    held.clear();
  }

  static async #free(desk, sessions) {
    if (!desk.token) return;
    try {
      await desk.request("api/review/release", { body: { sessions }, keepalive: true });
    } catch { /* a lease ends by itself */ }
  }
}

/** Renew the leases for as long as the reviewer is active. */
export function keepLeases() {
  for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, () => { isActive = true; });
  setInterval(() => {
    if (!isActive) return;
    isActive = false;
    for (const lease of held) lease.renew().catch(() => {});
  }, RENEW_MS);
}
