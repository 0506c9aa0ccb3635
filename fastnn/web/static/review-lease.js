// Digits that the server lends to this page for some minutes, so that no other reviewer gets them.

import { newId } from "./common.js";

const RENEW_MS = 120000; // the server lends for five minutes

/** The leases that are to be kept up. */
const held = new Set();
let used = false; // whether somebody has done something since the last renewal

export class Lease {
  #desk;
  #session = newId();
  #latest = null; // the latest request for digits

  constructor(desk) {
    this.#desk = desk;
  }

  /** Get digits that this lease holds already, or that nobody holds; with the counts of the queue. */
  fetch({ limit, label } = {}) {
    held.add(this);
    const parameters = new URLSearchParams({ limit, session: this.#session });
    if (label !== undefined) parameters.set("label", label);
    this.#latest = this.#desk.request(`api/review?${parameters}`);
    return this.#latest;
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

/** Keep the leases up while somebody works here. */
export function keepLeases() {
  for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, () => { used = true; });
  setInterval(() => {
    if (!used) return;
    used = false;
    // Asking for anything extends all that the lease holds.
    for (const lease of held) lease.fetch({ limit: 1 }).catch(() => {});
  }, RENEW_MS);
}
