// Where a file of weights comes from: the visitor's disk, the server, or the browser's cache, which keeps it with its hash.
//
// The cache has two entries for a file: its bytes under its URL, and under the same URL with another query a record, written
// when all bytes are there, with the header x-ocelli-sha256 and what the server said of its version. Without a record there is
// no file, and bytes that are not those of the record are fetched again. The cache takes bytes as a whole or not at all, so a
// download that breaks off leaves what was kept before.

export const CACHE = "ocelli-weights";
const HASH = "x-ocelli-sha256";
const BYTES = "x-ocelli-bytes";
/** What tells the versions of a server's file apart. */
const VERSION = ["etag", "last-modified", "content-length"];

export function fault(name, message) {
  return Object.assign(new Error(message), { name });
}

/** That a file is whole, but not the one with the hash that was asked for. */
export function another(sha256) {
  return fault("BadWeights", `this is another file than the one that was asked for: its SHA-256 is ${sha256}`);
}

function recordOf(url) {
  const record = new URL(url);
  // As text, for parsed and written again two different queries may be the same.
  record.search += `${record.search ? "&" : "?"}ocelli=sha256`;
  return record.href;
}

/** The cache, or null where there is none: pages that are not secure, private windows of some browsers. */
async function cacheFor(url) {
  if (!/^https?:/.test(url)) return null;
  return (await globalThis.caches?.open(CACHE).catch(() => null)) ?? null;
}

/**
 * Opens a file: { body, total, fromCache, sha256, keeper }. `total` is 0 if nobody knows it, `sha256` that of a file from the
 * cache. `keep` is whether the cache is used; `wanted` the hash that the file must have, if that was said: a kept file that has it
 * need not be asked for again; `sameOrigin` refuses other servers, also those that a server of this origin sends on to.
 */
export async function open(from, { keep, wanted, sameOrigin }) {
  if (from instanceof Blob) return { body: from.stream(), total: from.size, fromCache: false };
  const cache = keep ? await cacheFor(from) : null;
  const mode = sameOrigin ? "same-origin" : "cors";
  return (cache && (await kept(cache, from, mode, wanted))) || fetched(cache, from, mode);
}

async function kept(cache, url, mode, wanted) {
  const entries = await Promise.all([cache.match(recordOf(url)), cache.match(url)]).catch(() => []);
  const [record, file] = entries;
  const sha256 = record?.headers.get(HASH);
  if (!file?.body || !sha256) return null;
  if (wanted !== sha256 && !(await isCurrent(url, mode, record))) return null;
  // The server has nothing else.
  if (wanted && wanted !== sha256) throw another(sha256);
  return { body: file.body, total: Number(record.headers.get(BYTES)) || 0, fromCache: true, sha256 };
}

/** Whether what was kept is still what the server has; where there is no network or no such file it is what there is. */
async function isCurrent(url, mode, record) {
  try {
    const { ok, status, headers } = await fetch(url, { method: "HEAD", mode, cache: "no-cache" });
    // Others do not answer this question, but may have a newer file.
    if (!ok) return [404, 410].includes(status) || (status >= 500 && status !== 501);
    if (!VERSION.some((name) => headers.has(name))) return false;
    const same = (name) => headers.get(name) === record.headers.get(name);
    return headers.has("etag") ? same("etag") : same("last-modified") && same("content-length");
  } catch {
    return true;
  }
}

async function fetched(cache, url, mode) {
  let response;
  try {
    // The browser has a cache of its own, whose file may be as old as ours.
    response = await fetch(url, { mode, cache: "no-cache" });
  } catch {
    const orElse = mode === "same-origin" ? ", or leads to another server" : "";
    throw fault("BadWeights", `${url} cannot be reached${orElse}`);
  }
  if (!response.ok) throw fault("BadWeights", `${url} cannot be had: the server says ${response.status}`);
  if (!response.body) throw fault("BadWeights", `${url} is empty`);
  // Of a compressed body the server says how long it is compressed, and nobody knows the rest.
  const plain = !response.headers.get("content-encoding");
  const total = plain ? Number(response.headers.get("content-length")) || 0 : 0;
  const keeper = cache && new Keeper(cache, url, response.headers);
  return { body: response.body, total, fromCache: false, keeper };
}

/** Forgets a file, with its record first. */
export async function forget(url) {
  const cache = await cacheFor(url);
  await cache?.delete(recordOf(url)).catch(() => {});
  await cache?.delete(url).catch(() => {});
}

/**
 * Puts a file into the cache while it is read; what does not fit is not kept, and that is no error. Chunks wait for the cache, so
 * that none pile up in memory.
 */
class Keeper {
  #cache;
  #url;
  #version;
  #writer;
  #put;
  #failed = false;

  constructor(cache, url, headers) {
    this.#cache = cache;
    this.#url = url;
    this.#version = VERSION.filter((name) => headers.has(name)).map((name) => [name, headers.get(name)]);
    const { readable, writable } = new TransformStream();
    this.#writer = writable.getWriter();
    this.#writer.closed.catch(() => {});
    const fail = () => (this.#failed = true);
    this.#put = cache.put(url, new Response(readable, { headers: this.#version })).catch(fail);
  }

  async write(chunk) {
    if (this.#failed) return;
    const written = this.#writer.write(chunk).catch(() => (this.#failed = true));
    await Promise.race([written, this.#put]);
  }

  /** The file is whole, and this is its hash. */
  async close(sha256, bytes) {
    if (this.#failed) return this.abort();
    try {
      await Promise.race([this.#writer.close(), this.#put]);
      await this.#put;
      if (this.#failed) return;
      const headers = [...this.#version, [HASH, sha256], [BYTES, String(bytes)]];
      await this.#cache.put(recordOf(this.#url), new Response(null, { headers }));
    } catch {
      // Bytes without a record of their own are of no use.
      await this.abort();
      await forget(this.#url);
    }
  }

  /** The file is not worth keeping. */
  async abort() {
    this.#failed = true;
    await this.#writer.abort().catch(() => {});
    await this.#put;
  }
}
