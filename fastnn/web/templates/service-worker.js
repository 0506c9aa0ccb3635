// Keeps the files of Recognise and its network, so that the page also opens without a connection. While the server can
// be reached, everything comes from there.

const FILES = {{files}}; // relative to the app's address
const NAME = `recognise ${self.registration.scope} `;
const CACHE = `${NAME}{{version}}`;

const addressOf = (path) => new URL(path, self.registration.scope).href;
const ADDRESSES = new Set(FILES.map(addressOf));

self.addEventListener("install", (event) => {
  self.skipWaiting(); // it never mixes versions: an earlier page gets its files from the server, too
  event.waitUntil(keepAll());
});

self.addEventListener("activate", (event) => event.waitUntil(forgetEarlierVersions()));

self.addEventListener("message", (event) => event.waitUntil(keepModel()));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const address = new URL(url);
  const isModel = [addressOf("model.json"), addressOf("model.bin")].includes(address.origin + address.pathname);
  if (method === "GET" && (isModel || ADDRESSES.has(url))) event.respondWith(serverFirst(event.request));
});

async function serverFirst(request) {
  try {
    const response = await fetch(request);
    // A proxy answers for an app that does not run.
    return [502, 503, 504].includes(response.status) ? await keptFor(request) ?? response : response;
  } catch (error) {
    const kept = await keptFor(request);
    if (kept) return kept;
    throw error;
  }
}

async function keptFor(request) {
  return (await caches.open(CACHE)).match(request.url, { ignoreVary: true });
}

async function keepAll() {
  const cache = await caches.open(CACHE);
  await cache.addAll([...ADDRESSES].map((address) => new Request(address, { cache: "no-cache" })));
  await keepModel();
}

/** Keep the description of the model in use and its weights; those of earlier models go. */
async function keepModel() {
  const description = await fetch(addressOf("model.json"), { cache: "no-cache" });
  if (!description.ok) return;
  const { key, weights } = await description.clone().json();
  const address = addressOf(`${weights}?key=${key}`);
  const response = await fetch(address, { cache: "no-cache" });
  if (!response.ok) return;
  const cache = await caches.open(CACHE);
  await cache.put(address, response);
  await cache.put(addressOf("model.json"), description);
  for (const { url } of await cache.keys()) {
    if (url !== address && url.startsWith(addressOf(weights))) await cache.delete(url);
  }
}

async function forgetEarlierVersions() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(NAME) && name !== CACHE).map((name) => caches.delete(name)));
}
