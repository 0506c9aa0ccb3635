// The token that opens the review, the teacher's page and the training on the server. It stays in this tab, and is sent in
// a header only.

import { storedValue } from "./common.js";

/** The token of this tab: who has entered it on one of the pages need not do so on the others. */
export const storedToken = storedValue(() => sessionStorage, "fastnn.token");

/**
 * Take the token out of the part of the address after the #, which browsers send to no server: it is removed from the
 * address, and what else is there stays. Returns null if there is none.
 */
export function tokenFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const token = given.get("token");
  if (!token) return null;
  given.delete("token");
  history.replaceState(null, "", location.pathname + (String(given) && `#${given}`));
  return token;
}
