// Times Ocelli beside ONNX Runtime Web and TensorFlow.js in one browser, and prints a table; run.sh makes what it needs.
//
//   node run.mjs [--turns N] [--runs N] [--networks A,B] [--size S] [--with A,B] DIST WEIGHTS
//
// DIST is the built page, WEIGHTS a folder with A.onnx and A.safetensors of each network. In each of the turns every library has a
// fresh browser for each network. From nothing but the library to the first logits is the first result; then come a run that does not
// count and RUNS that do, each with its logits read back. The medians are over the turns. All files come from one local server.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { open } from "../../../web/test/browser.mjs";
import { serve } from "../../../web/test/server.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    turns: { type: "string", default: "2" },
    runs: { type: "string", default: "5" },
    size: { type: "string", default: "224" },
    with: { type: "string", default: "ocelli,onnxruntime,tfjs" },
    networks: { type: "string", default: "resnet18,alexnet-tv,googlenet-tv" },
  },
});
const [turns, runs] = [Number(values.turns), Number(values.runs)];
const [dist = join(HERE, "../../../web/dist"), weights = join(HERE, "../../../target/browser-peers")] = positionals;
const SIZE = Number(values.size);
const LIBRARIES = values.with.split(",");
const TITLES = { ocelli: "Ocelli", onnxruntime: "ONNX Runtime Web", tfjs: "TensorFlow.js" };
/** No single step takes so long where anything moves at all. */
const PATIENCE = 300_000;

const FOLDERS = [
  ["/ours/", dist],
  ["/weights/", weights],
  ["/", HERE],
];
const server = await serve(FOLDERS);

/** Bytes of a file that a browser was given, plain and compressed. */
function sizes(path) {
  const [prefix, folder] = FOLDERS.find(([prefix]) => path.startsWith(prefix));
  const content = readFileSync(join(folder, path.slice(prefix.length)));
  return { plain: content.length, gzip: gzipSync(content, { level: 9 }).length };
}

async function measure(library, name) {
  const browser = await open();
  try {
    const context = await browser.newContext();
    const page = await context.newPage();
    const loaded = new Set();
    const gone = new Promise((_, reject) => {
      page.on("crash", () => reject(new Error("the page crashed")));
      browser.on("disconnected", () => reject(new Error("the browser ended by itself")));
      setTimeout(() => reject(new Error(`nothing after ${PATIENCE / 1000} s`)), PATIENCE).unref();
    });
    gone.catch(() => {});
    context.on("response", (response) => {
      const { pathname } = new URL(response.url());
      if (response.ok() && /^\/(ours|node_modules)\//.test(pathname)) loaded.add(pathname);
    });
    await page.goto(server.origin);
    await page.waitForFunction(() => globalThis.peers);
    const asked = page.evaluate(([library, name, size, runs]) => peers.measure(library, name, size, runs), [library, name, SIZE, runs]);
    const result = await Promise.race([asked, gone]);
    return { ...result, files: [...loaded], version: browser.version() };
  } catch (error) {
    return { failed: String(error.message).split("\n")[0].replace(/^page.evaluate: /, "") };
  } finally {
    await browser.close().catch(() => {});
  }
}

const median = (numbers) => {
  const sorted = numbers.toSorted((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2;
};
const seconds = (ms) => (ms / 1000).toFixed(ms < 10_000 ? 2 : 1);
const norm = (values) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
const difference = (a, b) => norm(a.map((x, i) => x - b[i])) / norm(b);

const rows = [];
const downloads = {};
let version = "";
let adapter = "";
for (const name of values.networks.split(",")) {
  const all = Object.fromEntries(LIBRARIES.map((library) => [library, []]));
  for (let turn = 0; turn < turns; turn++) {
    for (const library of LIBRARIES) {
      const result = await measure(library, name);
      all[library].push(result);
      const said = result.failed ?? `first ${seconds(result.first)} s, then ${result.times.map(seconds).join(" ")}`;
      console.error(`${name}, turn ${turn + 1}, ${TITLES[library]}: ${said}`);
      if (result.failed) continue;
      downloads[library] ??= result.files.map(sizes);
      version ||= result.version;
      adapter ||= result.adapter;
    }
  }
  const good = (library) => all[library].filter((result) => !result.failed);
  const first = (library) => median(good(library).map((result) => result.first));
  const later = (library) => median(good(library).flatMap((result) => result.times));
  for (const library of LIBRARIES) {
    const [result] = good(library);
    if (!result) {
      rows.push([name, TITLES[library], all[library][0].failed, "", "", "", ""]);
      continue;
    }
    const [ours] = good("ocelli");
    const other = library !== "ocelli" && ours;
    const ratio = (of) => (other ? (of(library) / of("ocelli")).toFixed(1) : "");
    const off = other ? difference(result.logits, ours.logits).toExponential(0) : "";
    rows.push([name, TITLES[library], seconds(first(library)), ratio(first), seconds(later(library)), ratio(later), off]);
  }
}
server.close();

const table = (head, body) => {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  console.log([line(head), line(head.map((_, i) => (i < 2 ? "---" : "---:"))), ...body.map(line), ""].join("\n"));
};
console.log(`Chromium ${version}, ${adapter}; one picture at ${SIZE}x${SIZE}, ${turns} turns of ${runs} runs.\n`);
table(["network", "with", "first result, s", "of ours", "later pictures, s", "of ours", "logits off ours"], rows);
const megabytes = (files, kind) => `${(files.reduce((sum, file) => sum + file[kind], 0) / 1e6).toFixed(2)} MB`;
table(
  ["download", "files", "plain", "gzip"],
  LIBRARIES.filter((library) => downloads[library]).map((library) => {
    const files = downloads[library];
    return [TITLES[library], files.length, megabytes(files, "plain"), megabytes(files, "gzip")];
  }),
);
