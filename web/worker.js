// The worker of ocelli.js: it owns the GPU, so that the page never waits.
import { activations, filters, layers, timings } from "./layers.js";
import init, { Device, Network, Weights } from "./wasm/ocelli_web.js";

const CACHE = "ocelli-weights-1";

let network = null;

function fault(name, message) {
  return Object.assign(new Error(message), { name });
}

/** The body of a file, its length if it is known (0 if not), and whether it was kept from an earlier time. */
async function open(from, keep) {
  if (from instanceof Blob) return { body: from.stream(), total: from.size, fromCache: false };
  const cache = keep ? await caches.open(CACHE).catch(() => null) : null;
  const kept = await cache?.match(from);
  if (kept && (await isCurrent(from, kept))) return { ...bodyOf(kept), fromCache: true };
  let response;
  try {
    response = await fetch(from);
  } catch {
    throw fault("BadWeights", `${from} cannot be reached`);
  }
  if (!response.ok) throw fault("BadWeights", `${from} cannot be had: the server says ${response.status}`);
  // Beside the reading; what does not fit or breaks off is not kept, and that is no error.
  cache?.put(from, response.clone()).catch(() => {});
  return { ...bodyOf(response), fromCache: false };
}

function bodyOf(response) {
  // Of a compressed body the server says how long it is compressed, and nobody knows the rest.
  const plain = !response.headers.get("content-encoding");
  return { body: response.body, total: plain ? Number(response.headers.get("content-length")) || 0 : 0 };
}

/** Whether what was kept is still what the server has; without a network it is what there is. */
async function isCurrent(from, kept) {
  try {
    const { ok, headers } = await fetch(from, { method: "HEAD", cache: "no-cache" });
    if (!ok) return true;
    const same = (name) => headers.get(name) === kept.headers.get(name);
    return headers.has("etag") ? same("etag") : same("last-modified") && same("content-length");
  } catch {
    return true;
  }
}

/** Reads a file into the memory of the module, chunk by chunk, so that it is nowhere twice. */
async function read(from, keep) {
  const { body, total, fromCache } = await open(from, keep);
  const weights = new Weights(total);
  const reader = body.getReader();
  let loaded = 0;
  let told = 0;
  const tell = () => postMessage({ progress: { phase: "loading", loaded, total, fromCache } });
  tell();
  for (;;) {
    let chunk;
    try {
      chunk = await reader.read();
    } catch {
      throw fault("BadWeights", "the file broke off while it was read");
    }
    if (chunk.done) break;
    weights.push(chunk.value);
    loaded += chunk.value.length;
    if (performance.now() - told > 50) {
      told = performance.now();
      tell();
    }
  }
  tell();
  return { weights, fromCache };
}

/** What the browser says of its adapter; the module hears less. */
async function adapterName() {
  const info = (await navigator.gpu.requestAdapter())?.info;
  const parts = [info?.vendor, info?.architecture, info?.device].filter(Boolean);
  return info?.description || parts.join(" ") || "unnamed adapter";
}

async function load({ from, arch, cache }) {
  const start = performance.now();
  if (!navigator.gpu) throw fault("NoWebGpu", "this browser has no WebGPU");
  // The module, the device and the file at the same time; whichever fails first is the error.
  const module = init({ module_or_path: new URL("./wasm/ocelli_web_bg.wasm", import.meta.url) });
  const opened = module.then(() => Device.open());
  const file = module.then(() => read(from, cache));
  const [device, { weights, fromCache }] = await Promise.all([opened, file]);
  const readMs = performance.now() - start;
  postMessage({ progress: { phase: "preparing" } });
  network = Network.open(device, weights, arch);
  // The kernels are compiled by the first picture that they see: a grey one, so that the visitor's is fast.
  const [height, width] = JSON.parse(network.info()).input;
  const grey = new Uint8Array(4 * height * width).fill(128);
  const first = performance.now();
  await network.logits(grey);
  const end = performance.now();
  const { name, ...gpu } = JSON.parse(device.info());
  return {
    ...JSON.parse(network.info()),
    gpu: { ...gpu, name: name || (await adapterName()) },
    fromCache,
    readMs,
    firstRunMs: end - first,
    loadMs: end - start,
  };
}

/** The pixels of a picture, RGBA row by row. */
function pixelsOf(picture) {
  if (picture instanceof ImageData) return picture;
  const { width, height } = picture;
  try {
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    return context.getImageData(0, 0, width, height);
  } catch {
    throw fault("BadPicture", `a picture of ${width}x${height} pixels is too large for this browser`);
  } finally {
    picture.close();
  }
}

function loaded() {
  if (!network) throw fault("Internal", "no network has been loaded");
  return network;
}

/** A picture as the network is fed it. */
function prepared(picture) {
  const { data, width, height } = pixelsOf(picture);
  return loaded().prepare(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), width, height);
}

async function classify({ picture, top }) {
  loaded();
  const start = performance.now();
  const input = prepared(picture);
  const ready = performance.now();
  const logits = await network.logits(input);
  const done = performance.now();
  return { top: JSON.parse(network.top(logits, top)), logits, prepareMs: ready - start, gpuMs: done - ready };
}

const calls = {
  load,
  classify,
  layers: () => layers(loaded()),
  activations: (asked) => activations(loaded(), asked, prepared),
  filters: () => filters(loaded()),
  timings: (asked) => timings(loaded(), asked),
};
let before = Promise.resolve();

// One call after the other: the network has one input.
onmessage = ({ data }) => {
  before = before.then(async () => {
    try {
      postMessage({ id: data.id, result: await calls[data.do](data) });
    } catch (error) {
      // A module that trapped cannot be used again, and says so by its next trap.
      postMessage({ id: data.id, error: { name: error?.name ?? "Internal", message: error?.message ?? String(error) } });
    }
  });
};
