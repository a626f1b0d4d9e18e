// Times Ocelli beside ONNX Runtime Web and TensorFlow.js in one browser, and prints a table; run.sh makes what it needs.
//
//   node run.mjs [--turns N] [--runs N] [--networks A,B] [--with A,B] DIST WEIGHTS
//
// DIST is the built page, WEIGHTS a folder with A.onnx and A.safetensors of each network. In each of the turns every library has a
// fresh browser for each network. From nothing but the library to the first logits is the first result; then come a run that does not
// count and RUNS that do, each with its logits read back. The medians are over the turns, "work" is the time of processors in place of
// that of the clock. All files come from one local server. Ours is there twice, with each of its two formats, and each of the others is
// held against ours with the file that it reads itself. TensorFlow.js, whose scripts are there before the clock starts, reads
// safetensors and folds batch norm within the first result, which its converter would do beforehand.
import { existsSync, readFileSync, readdirSync } from "node:fs";
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
    with: { type: "string", default: "ocelli,ocelli-onnx,onnxruntime,tfjs" },
    networks: { type: "string", default: "resnet18,alexnet-tv,googlenet-tv" },
  },
});
const [turns, runs] = [Number(values.turns), Number(values.runs)];
const [dist = join(HERE, "../../../web/dist"), weights = join(HERE, "../../../target/browser-peers")] = positionals;
/** Height and width of the input of all these networks. */
const SIZE = 224;
const LIBRARIES = values.with.split(",");
const TITLES = { ocelli: "Ocelli", "ocelli-onnx": "Ocelli, ONNX", onnxruntime: "ONNX Runtime Web", tfjs: "TensorFlow.js" };
/** Ours with the same file; where that is left out, with the other one. */
const OURS = Object.fromEntries(
  Object.entries({ onnxruntime: "ocelli-onnx", tfjs: "ocelli" }).map(([library, ours]) => [
    library,
    LIBRARIES.includes(ours) ? ours : LIBRARIES.find((name) => name.startsWith("ocelli")),
  ]),
);
/** No first result, and no run after it, takes so long where anything moves at all. */
const PATIENCE = 300_000;
/** Milliseconds between the start of a browser and the first measurement. */
const REST = 2000;

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

/**
 * Seconds that the processes of the browser have computed. Where WebGPU is on the processor they say on a busy machine what the
 * clock does not. NaN where there is no /proc.
 */
function processorTime() {
  const processes = new Map();
  for (const name of existsSync("/proc/self/stat") ? readdirSync("/proc") : []) {
    try {
      // Behind the name, which may hold anything: state, parent, ..., user and system time in hundredths.
      const [, parent, ...rest] = readFileSync(`/proc/${Number(name)}/stat`, "utf8").split(") ").at(-1).split(" ").map(Number);
      processes.set(Number(name), { parent, seconds: (rest[9] + rest[10]) / 100 });
    } catch {
      // No process, or one that has just ended.
    }
  }
  const isOurs = (id) => id > 1 && (id === process.pid || isOurs(processes.get(id)?.parent ?? 0));
  const ours = [...processes].filter(([id]) => id !== process.pid && isOurs(id));
  return ours.length > 0 ? ours.reduce((sum, [, { seconds }]) => sum + seconds, 0) : NaN;
}

async function measure(library, name) {
  let browser;
  try {
    browser = await open();
    const context = await browser.newContext();
    const page = await context.newPage();
    const loaded = new Set();
    const gone = new Promise((_, reject) => {
      page.on("crash", () => reject(new Error("the page crashed")));
      browser.on("disconnected", () => reject(new Error("the browser ended by itself")));
      setTimeout(() => reject(new Error(`nothing after ${(PATIENCE * (2 + runs)) / 1000} s`)), PATIENCE * (2 + runs)).unref();
    });
    gone.catch(() => {});
    context.on("response", (response) => {
      const { pathname } = new URL(response.url());
      if (response.ok() && /^\/(ours|node_modules)\//.test(pathname)) loaded.add(pathname);
    });
    await page.goto(server.origin);
    await page.waitForFunction(() => globalThis.peers);
    // A browser goes on starting for a while.
    await new Promise((resolve) => setTimeout(resolve, REST));
    const ask = async () => {
      const before = processorTime();
      const result = await page.evaluate((given) => peers.first(...given), [library, name, SIZE]);
      const between = processorTime();
      await page.evaluate(() => peers.later(1));
      const warm = processorTime();
      const times = await page.evaluate((runs) => peers.later(runs), runs);
      const work = { first: between - before, later: (processorTime() - warm) / runs };
      return { ...result, times, work };
    };
    const result = await Promise.race([ask(), gone]);
    return { ...result, files: [...loaded], version: browser.version() };
  } catch (error) {
    return { failed: String(error.message).split("\n")[0].replace(/^page.evaluate: /, "") };
  } finally {
    await browser?.close().catch(() => {});
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
      const done = ({ first, times, work }) =>
        `first ${seconds(first)} s, then ${times.map(seconds).join(" ")}; work ${work.first.toFixed(1)} s and ${work.later.toFixed(2)} s`;
      const said = result.failed ?? done(result);
      console.error(`${name}, turn ${turn + 1}, ${TITLES[library]}: ${said}`);
      if (result.failed) continue;
      downloads[library] ??= result.files.map(sizes);
      version ||= result.version;
      adapter ||= result.adapter;
    }
  }
  const good = (library) => (all[library] ?? []).filter((result) => !result.failed);
  const title = (library) => {
    const failed = all[library].length - good(library).length;
    return TITLES[library] + (failed > 0 ? ` (${failed} of ${turns} turns failed)` : "");
  };
  const first = (library) => median(good(library).map((result) => result.first));
  const later = (library) => median(good(library).flatMap((result) => result.times));
  const work = (when) => (library) => 1000 * median(good(library).map((result) => result.work[when]));
  for (const library of LIBRARIES) {
    const [result] = good(library);
    if (!result) {
      rows.push([name, TITLES[library], all[library][0].failed, ...Array(8).fill("")]);
      continue;
    }
    const [ours] = OURS[library] ? good(OURS[library]) : [];
    const both = (of) => [seconds(of(library)), ours ? (of(library) / of(OURS[library])).toFixed(1) : ""];
    const off = ours ? difference(result.logits, ours.logits).toExponential(0) : "";
    const cells = [first, work("first"), later, work("later")].flatMap(both);
    rows.push([name, title(library), ...cells, off]);
  }
}
server.close();

const table = (head, body) => {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  console.log([line(head), line(head.map((_, i) => (i < 2 ? "---" : "---:"))), ...body.map(line), ""].join("\n"));
};
console.log(`Chromium ${[version, adapter].filter(Boolean).join(", ")}; one picture at ${SIZE}x${SIZE}; turns: ${turns}, runs in each: ${runs}.\n`);
const times = ["first result, s", "its work, s", "later pictures, s", "their work, s"].flatMap((title) => [title, "of ours"]);
table(["network", "with", ...times, "logits off ours"], rows);
const megabytes = (files, kind) => `${(files.reduce((sum, file) => sum + file[kind], 0) / 1e6).toFixed(2)} MB`;
table(
  ["download", "files", "plain", "gzip"],
  LIBRARIES.filter((library) => downloads[library]).map((library) => {
    const files = downloads[library];
    return [TITLES[library], files.length, megabytes(files, "plain"), megabytes(files, "gzip")];
  }),
);
