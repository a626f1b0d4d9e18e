// Where a file of weights comes from: the visitor's disk, the server, or the browser's cache, which keeps it with its hash.
//
// The cache has two entries for a file: its bytes under its URL, and under the same URL with another query a record, written
// when all bytes are there, with the header x-ocelli-sha256 and what the server said of its version. Without a record there is
// no file, so one that broke off is never read, and bytes that are not those of the record are fetched again.

export const CACHE = "ocelli-weights-2";
const HASH = "x-ocelli-sha256";
const BYTES = "x-ocelli-bytes";
/** What tells the versions of a server's file apart. */
const VERSION = ["etag", "last-modified", "content-length"];

export function fault(name, message) {
  return Object.assign(new Error(message), { name });
}

function recordOf(url) {
  const record = new URL(url);
  record.searchParams.set("ocelli", "sha256");
  return record.href;
}

/** The cache, or null where there is none: pages that are not secure, private windows of some browsers. */
async function cacheFor(url) {
  if (!/^https?:/.test(url)) return null;
  return (await globalThis.caches?.open(CACHE).catch(() => null)) ?? null;
}

/**
 * Opens a file: { body, total, fromCache, sha256, keeper }. `total` is 0 if nobody knows it, `sha256` that of a file from the
 * cache. `wanted` is the hash that the file must have, if that was said: a kept file that has it need not be asked for again.
 */
export async function open(from, keep, wanted) {
  if (from instanceof Blob) return { body: from.stream(), total: from.size, fromCache: false };
  const cache = keep ? await cacheFor(from) : null;
  return (cache && (await kept(cache, from, wanted))) || fetched(cache, from);
}

async function kept(cache, url, wanted) {
  try {
    const [record, file] = await Promise.all([cache.match(recordOf(url)), cache.match(url)]);
    const sha256 = record?.headers.get(HASH);
    if (!file?.body || !sha256) return null;
    if (wanted ? wanted !== sha256 : !(await isCurrent(url, record))) return null;
    return { body: file.body, total: Number(record.headers.get(BYTES)) || 0, fromCache: true, sha256 };
  } catch {
    return null;
  }
}

/** Whether what was kept is still what the server has; without a network it is what there is. */
async function isCurrent(url, record) {
  try {
    const { ok, headers } = await fetch(url, { method: "HEAD", cache: "no-cache" });
    if (!ok) return true;
    const same = (name) => headers.get(name) === record.headers.get(name);
    return headers.has("etag") ? same("etag") : same("last-modified") && same("content-length");
  } catch {
    return true;
  }
}

async function fetched(cache, url) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw fault("BadWeights", `${url} cannot be reached`);
  }
  if (!response.ok) throw fault("BadWeights", `${url} cannot be had: the server says ${response.status}`);
  if (!response.body) throw fault("BadWeights", `${url} is empty`);
  // Of a compressed body the server says how long it is compressed, and nobody knows the rest.
  const plain = !response.headers.get("content-encoding");
  const total = plain ? Number(response.headers.get("content-length")) || 0 : 0;
  const keeper = cache && (await Keeper.start(cache, url, response.headers).catch(() => null));
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

  static async start(cache, url, headers) {
    const keeper = new Keeper();
    // From here on until the record is written there is no such file.
    await cache.delete(recordOf(url));
    keeper.#cache = cache;
    keeper.#url = url;
    keeper.#version = VERSION.filter((name) => headers.has(name)).map((name) => [name, headers.get(name)]);
    const { readable, writable } = new TransformStream();
    keeper.#writer = writable.getWriter();
    keeper.#writer.closed.catch(() => {});
    const fail = () => (keeper.#failed = true);
    keeper.#put = cache.put(url, new Response(readable, { headers: keeper.#version })).catch(fail);
    return keeper;
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
      await this.abort();
    }
  }

  /** The file is not worth keeping. */
  async abort() {
    this.#failed = true;
    await this.#writer.abort().catch(() => {});
    await this.#put;
    await this.#cache.delete(this.#url).catch(() => {});
  }
}
