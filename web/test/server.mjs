// Serves the built page, and the networks of the test below /weights/, as a plain static server does.
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".wasm": "application/wasm",
};

/** With one buffer for the whole file: this server should cost a measurement little. */
async function send(file, response) {
  const handle = await open(file);
  try {
    const buffer = Buffer.allocUnsafe(1 << 20);
    while (!response.destroyed) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length);
      if (bytesRead === 0) break;
      await new Promise((resolve) => response.write(buffer.subarray(0, bytesRead), resolve));
    }
  } finally {
    await handle.close();
  }
  response.end();
}

/**
 * Starts a server on a free port; `folders` are [prefix, folder], the longest prefix first. With ?slow it says no length and
 * waits now and then; with ?cut, or an empty file beside it whose name ends in .cut, it breaks off in the middle; with one in
 * .held it sends half and no more, with the connection open; with ?long=N it says that there are N bytes, and leaves it open
 * when it has no more; ?to=URL leads there; with ?aged the browser may keep it for a day; with ?nohead it answers no HEAD.
 * `asked` are the paths that were asked for.
 */
export async function serve(folders) {
  const asked = [];
  const server = createServer(async (request, response) => {
    asked.push(request.url);
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    const path = normalize(decodeURIComponent(pathname));
    if (searchParams.has("to")) return response.writeHead(302, { location: searchParams.get("to") }).end();
    if (searchParams.has("nohead") && request.method === "HEAD") return response.writeHead(405).end();
    const slow = searchParams.has("slow");
    const [prefix, folder] = folders.find(([prefix]) => path.startsWith(prefix)) ?? [];
    const file = folder && join(folder, path.slice(prefix.length) || "index.html");
    const found = file && (await stat(file).catch(() => null));
    if (!found?.isFile()) return response.writeHead(404).end();
    response.writeHead(200, {
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      ...(slow ? {} : { "content-length": searchParams.get("long") ?? found.size }),
      ...(searchParams.has("aged") ? { "cache-control": "max-age=86400" } : {}),
      "access-control-allow-origin": "*",
      etag: `"${found.size}-${found.mtimeMs}"`,
    });
    if (request.method === "HEAD") return response.end();
    if (searchParams.has("long")) return createReadStream(file).pipe(response, { end: false });
    const held = await stat(`${file}.held`).catch(() => null);
    const cut = searchParams.has("cut") || (await stat(`${file}.cut`).catch(() => null));
    if (cut || held) {
      const half = createReadStream(file, { end: Math.floor(found.size / 2) });
      return half.on("end", () => held || response.destroy()).pipe(response, { end: false });
    }
    if (!slow) return send(file, response);
    for await (const chunk of createReadStream(file, { highWaterMark: 100_000 })) {
      if (response.destroyed) return;
      response.write(chunk);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    response.end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, asked, close: () => server.close() };
}
