// The library and the page in a real browser. `scripts/test_web.sh` builds what it needs and runs it.
//
//   node end_to_end.mjs DIST NETWORKS    the built page, and the folder that tests/browser.rs has written
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { open } from "./browser.mjs";
import { camera } from "./parts/camera.mjs";
import { compiling } from "./parts/compiling.mjs";
import { explain } from "./parts/explain.mjs";
import { testInside } from "./parts/inside.mjs";
import { loading } from "./parts/loading.mjs";
import { serve } from "./server.mjs";

const [dist = "../dist", networks = "../../target/browser"] = process.argv.slice(2);
const reference = JSON.parse(readFileSync(join(networks, "networks.json"), "utf8"));
const rgba = [...readFileSync(join(networks, "picture.rgba"))];

// Files that the test makes while it runs.
const made = mkdtempSync(join(tmpdir(), "ocelli-"));
// A page of the same origin and with the same policy that loads nothing: what the library does is tested there, with no second
// network on the same processor.
const bare = mkdtempSync(join(tmpdir(), "ocelli-"));
const [policy] = readFileSync(join(dist, "index.html"), "utf8").match(/<meta http-equiv="Content-Security-Policy"[^>]*>/);
writeFileSync(join(bare, "index.html"), `<!doctype html>${policy}<title>bare</title>`);
const server = await serve([["/weights/", networks], ["/made/", made], ["/bare.html", bare], ["/", dist]]);
const failures = [];

const browsers = new Map();

/** The browser with these flags, which all parts share. */
async function browserWith(flags) {
  const key = flags.join(" ");
  if (!browsers.get(key)?.isConnected()) browsers.set(key, await open({ flags }));
  return browsers.get(key);
}

/**
 * Runs a part of the test of the library in a context of its own, so that neither caches nor workers are left of the one before. A
 * browser that ends by itself, which was seen twice in some two hundred parts on a busy machine, is said and gets a second try, and
 * so does what waited in vain: on processors that others use too a wait may be too short, and one that is in vain always is so
 * twice.
 */
async function part(name, run, { tries = 2, flags = [], at = "/bare.html" } = {}) {
  const start = performance.now();
  const browser = await browserWith(flags);
  const context = await browser.newContext();
  const page = await context.newPage();
  // Kernels are compiled on the processor, beside whatever else it does.
  page.setDefaultTimeout(120_000);
  const foreign = [];
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(server.origin) && !/^(data|blob):/.test(url)) foreign.push(url);
  });
  const refused = [];
  page.on("console", (message) => {
    if (/Content Security Policy|Content-Security-Policy/.test(message.text())) refused.push(message.text());
  });
  page.on("pageerror", (error) => refused.push(String(error)));
  try {
    await page.goto(server.origin + at);
    await run(page);
    assert.deepEqual(foreign, [], "requests that leave the origin");
    assert.deepEqual(refused, [], "what the browser refused, and errors that nobody caught");
    console.log(`ok       ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  } catch (error) {
    const alive = browser.isConnected();
    if ((!alive || error.name === "TimeoutError") && tries > 1) {
      console.log(`again    ${name}: ${alive ? String(error.message).split("\n")[0] : "the browser ended by itself"}`);
      return part(name, run, { tries: tries - 1, flags, at });
    }
    failures.push(name);
    console.log(`FAILED   ${name}: ${error.stack ?? error}`);
  } finally {
    await context.close().catch(() => {});
  }
}

/** The same on the page that visitors see. */
const pagePart = (name, run, options = {}) => part(name, run, { ...options, at: "/" });

/** ||a - b|| / ||b||. */
function difference(a, b) {
  const norm = (values) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  return norm(a.map((x, i) => x - b[i])) / norm(b);
}

for (const { arch, file, logits } of reference.networks) {
  await part(`${file}: the logits are those of the native library`, async (page) => {
    const got = await page.evaluate(
      async ({ file, width, height, rgba }) => {
        const { Classifier } = await import("./ocelli.js");
        const progress = [];
        const net = await Classifier.load(`weights/${file}`, { onProgress: (p) => progress.push(p) });
        const picture = new ImageData(new Uint8ClampedArray(rgba), width, height);
        const { logits, top, gpuMs } = await net.classify(picture, { top: 3 });
        const again = await net.classify(picture);
        net.free();
        const { classes, ...info } = net.info;
        return { logits: [...logits], again: [...again.logits], top, gpuMs, info, progress };
      },
      { file, rgba, ...reference },
    );
    const off = difference(got.logits, logits);
    const { compileMs, loadMs, gpu } = got.info;
    console.log(
      `         ${off.toExponential(1)} off; loaded in ${loadMs.toFixed(0)} ms, its kernels in ${compileMs.toFixed(0)} ms, ` +
        `a picture in ${got.gpuMs.toFixed(0)} ms on ${gpu.name}`,
    );
    assert.ok(off <= 1e-4, `relative L2 error ${off}`);
    assert.deepEqual(got.again, got.logits);
    assert.equal(got.info.arch, arch);
    assert.equal(got.info.software, true);
    const best = logits.indexOf(Math.max(...logits));
    assert.deepEqual([got.top.length, got.top[0].index, got.top[0].label], [3, best, `kind ${best}`]);
    const reading = got.progress.filter((p) => p.phase === "loading");
    const size = readFileSync(join(networks, file)).length;
    assert.deepEqual([reading[0].loaded, reading.at(-1).loaded, reading.at(-1).total], [0, size, size]);
    assert.equal(got.progress.at(-1).phase, "preparing");
  });
}

await part("a file from a URL is kept, and asked for again when the server has another one", async (page) => {
  const [first, second, uncached] = await page.evaluate(async () => {
    const { Classifier } = await import("./ocelli.js");
    const infos = [];
    for (const cache of [true, true, false]) {
      const net = await Classifier.load("weights/resnet20.safetensors", { cache });
      infos.push(net.info.fromCache);
      net.free();
    }
    return infos;
  });
  assert.deepEqual([first, second, uncached], [false, true, false]);
});

await part("errors say who can mend them", async (page) => {
  const got = await page.evaluate(async () => {
    const { Classifier } = await import("./ocelli.js");
    const fails = (promise) => promise.then(() => "no error", (error) => `${error.name}: ${error.message}`);
    const said = {};
    said.missing = await fails(Classifier.load("weights/none.safetensors"));
    said.text = await fails(Classifier.load(new Blob(["hello"])));
    said.empty = await fails(Classifier.load(new Blob([])));
    const whole = await (await fetch("weights/resnet20.safetensors")).arrayBuffer();
    said.cut = await fails(Classifier.load(new Blob([whole.slice(0, whole.byteLength / 2)])));
    const stop = new AbortController();
    const stopped = fails(Classifier.load("weights/resnet20.safetensors", { signal: stop.signal }));
    stop.abort();
    said.aborted = await stopped;
    const net = await Classifier.load("weights/resnet20.safetensors");
    said.noPicture = await fails(net.classify(new Blob(["hello"], { type: "image/png" })));
    // The network is none the worse for it.
    said.after = await fails(net.classify(new ImageData(3, 1000)));
    net.free();
    said.freed = await fails(net.classify(new ImageData(8, 8)));
    return said;
  });
  assert.match(got.missing, /^BadWeights: .*404/);
  assert.match(got.text, /^BadWeights: these are no weights/);
  assert.match(got.empty, /^BadWeights: this file is empty/);
  assert.match(got.cut, /^BadWeights: /);
  assert.match(got.aborted, /^AbortError/);
  assert.match(got.noPicture, /^BadPicture: /);
  assert.equal(got.after, "no error");
  assert.match(got.freed, /^OcelliError: the network has been freed/);
});

/** The worker's script with a way to take its GPU away. */
async function losable(page) {
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    const before = `
      const request = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (...given) {
        const device = await request.apply(this, given);
        new BroadcastChannel("lose").onmessage = () => device.destroy();
        return device;
      };
    `;
    await route.fulfill({ response, body: (await response.text()) + before });
  });
}

await part("a GPU that is taken away is an error, and the page loads again", async (page) => {
  await losable(page);
  await page.reload();
  const said = await page.evaluate(async () => {
    const { Classifier } = await import("./ocelli.js");
    const net = await Classifier.load("weights/resnet20.safetensors");
    new BroadcastChannel("lose").postMessage("");
    await new Promise((resolve) => setTimeout(resolve, 300));
    const errors = [];
    for (let i = 0; i < 2; i++) await net.classify(new ImageData(8, 8)).catch((error) => errors.push(error.name));
    net.free();
    return errors;
  });
  assert.deepEqual(said, ["DeviceLost", "DeviceLost"]);
});

await part("a GPU that is taken away while weights arrive is the same error", async (page) => {
  await losable(page);
  await page.reload();
  const said = await page.evaluate(async () => {
    const { Classifier } = await import("./ocelli.js");
    const lose = new BroadcastChannel("lose");
    const onProgress = ({ loaded }) => loaded > 300_000 && lose.postMessage("");
    const loading = Classifier.load("weights/preresnet110.safetensors?slow", { cache: false, onProgress });
    return loading.then(() => "no error", ({ name, message }) => `${name}: ${message}`);
  });
  assert.match(said, /^DeviceLost: /);
});

/** Waits until the page shows its shipped network. */
async function ready(page) {
  await page.waitForFunction(() => document.getElementById("network-about").textContent.startsWith("Made with Ocelli"));
}

/** What the page says of the picture. */
async function answer(page, wanted) {
  const said = page.locator("#said:not(.waiting)");
  await said.filter({ hasText: wanted }).waitFor();
  assert.equal(await page.locator("#top li").count(), 5);
  const shares = await page.locator("#top .share").allTextContents();
  assert.ok(shares.every((share) => /^([<>] )?\d+(\.\d)?%$/.test(share)), String(shares));
  assert.match(await page.locator("#t-gpu").textContent(), /^[\d.,]+ m?s$/);
}

/** Drops a file on the page as from the desktop. */
function drop(page, name, type, content) {
  return page.evaluate(
    ({ name, type, content }) => {
      const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], name, { type }));
      for (const kind of ["dragenter", "dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
      }
    },
    { name, type, content: content.toString("base64") },
  );
}

const sample = (name) => readFileSync(join(dist, "samples", `${name}.png`));

await pagePart("the page: samples, a dropped picture, another network, a file that is none", async (page) => {
  await ready(page);
  await page.getByRole("button", { name: "sneaker", exact: true }).click();
  await answer(page, /sneaker/i);
  await drop(page, "trouser.png", "image/png", sample("trouser"));
  await answer(page, /trouser/i);
  assert.equal(await page.locator("#software").isVisible(), true);

  await page.locator("#weights").setInputFiles(join(networks, "preresnet110.safetensors"));
  await page.locator("#network-name", { hasText: "preresnet110" }).waitFor();
  await answer(page, /kind \d/);

  const cold = () => page.locator("#facts div", { hasText: "First picture (cold)" }).textContent();
  const before = await cold();
  assert.match(before, /\d/);
  await page.locator("#weights").setInputFiles({ name: "notes.onnx", mimeType: "", buffer: Buffer.from("notes") });
  await page.getByRole("alert").filter({ hasText: "notes.onnx: these are no weights" }).waitFor();
  assert.equal(await page.locator("#network-name").textContent(), "preresnet110");
  await drop(page, "trouser.png", "image/png", sample("trouser"));
  await answer(page, /kind \d/);
  assert.equal(await cold(), before, "no other picture is the first one");

  await page.getByRole("button", { name: "Back to clothes" }).click();
  await ready(page);
  await answer(page, /trouser/i);
});

await pagePart("the page: by keyboard alone", async (page) => {
  await ready(page);
  const target = page.getByRole("button", { name: "boot", exact: true });
  for (let i = 0; i < 20 && !(await target.evaluate((button) => button === document.activeElement)); i++) {
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  await answer(page, /boot/i);
});

await pagePart("the page: its GPU is taken away", async (page) => {
  await losable(page);
  await page.reload();
  await ready(page);
  await page.evaluate(() => new BroadcastChannel("lose").postMessage(""));
  await page.waitForTimeout(300);
  await page.getByRole("button", { name: "bag", exact: true }).click();
  await page.getByRole("alert").filter({ hasText: "took the GPU away" }).waitFor();
  await answer(page, /bag/i);
});

await pagePart("the page: a GPU that is lost again and again is told and not asked for ever", async (page) => {
  await page.route("**/ocelli.js", async (route) => {
    const response = await route.fetch();
    const failing = `
      const load = Classifier.load;
      globalThis.loads = 0;
      Classifier.load = (...given) => (globalThis.loads++, load(...given));
      Classifier.prototype.classify = async () => {
        throw new DeviceLost("the driver has lost work");
      };
    `;
    await route.fulfill({ response, body: (await response.text()) + failing });
  });
  await page.reload();
  await ready(page);
  await page.getByRole("button", { name: "bag", exact: true }).click();
  await page.getByRole("alert").filter({ hasText: "The driver has lost work." }).waitFor();
  await page.waitForTimeout(1000);
  assert.equal(await page.evaluate(() => globalThis.loads), 2, "loaded again once");
  assert.match(await page.locator("#error").textContent(), /lost work/);
  // Who opens a network has it tried again.
  await page.locator("#weights").setInputFiles(join(networks, "resnet20.safetensors"));
  await page.waitForFunction(() => globalThis.loads === 4);
  await page.getByRole("alert").filter({ hasText: "The driver has lost work." }).waitFor();
});

await pagePart("the page says what it took of a file with several outputs", async (page) => {
  await ready(page);
  assert.equal(await page.locator("#network-notes li").count(), 0);
  const file = "../../tests/golden/onnx/exporters/torch_several_heads.opset17.onnx";
  await page.locator("#weights").setInputFiles(fileURLToPath(new URL(file, import.meta.url)));
  await page.locator("#network-notes li", { hasText: "is taken for the classes" }).waitFor();
  await page.getByRole("button", { name: "Back to clothes" }).click();
  await ready(page);
  assert.equal(await page.locator("#network-notes li").count(), 0);
});

await pagePart("the page without WebGPU says who has it", async (page) => {
  await page.addInitScript(() => delete Navigator.prototype.gpu);
  await page.reload();
  await page.getByRole("heading", { name: "This browser gives no GPU to pages" }).waitFor();
  assert.equal(await page.locator("#app").isVisible(), false);
});

await testInside({ part, pagePart, difference, losable, ready, answer, networks, reference, rgba });
await explain({ part, pagePart, losable, ready, answer, networks, reference, rgba });
await loading({ part, pagePart, made, networks, ready, answer });
await compiling({ part });
await camera({ pagePart, ready, answer });

for (const browser of browsers.values()) await browser.close();
server.close();
for (const folder of [made, bare]) rmSync(folder, { recursive: true });
if (failures.length > 0) {
  console.log(`${failures.length} failed: ${failures.join("; ")}`);
  process.exit(1);
}
