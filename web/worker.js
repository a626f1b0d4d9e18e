// The worker of ocelli.js: it owns the GPU, so that the page never waits.
import { deconvnet, why } from "./explain.js";
import { activations, filters, layers, timings } from "./layers.js";
import { another, fault, forget, open } from "./source.js";
import init, { Device, Network, Sha256, Weights } from "./wasm/ocelli_web.js";

let network = null;

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * Makes the network of a file while it is read: as soon as its header is there the kernels are compiled, and each tensor goes to
 * the GPU as it comes. Throws, with `damaged` on the error, if a kept file is not what it was.
 */
async function read(file, device, { arch, wanted }) {
  const weights = new Weights(file.total);
  // It takes a second for 200 MB: longer than all else that is done with a byte.
  const hash = file.keeper || file.sha256 || wanted ? new Sha256() : null;
  const reader = file.keeper ? file.body.getReader() : reusing(file.body);
  let sha256 = null;
  let made = null;
  // Whether the bytes are the network's.
  let taken = false;
  let loaded = 0;
  let told = 0;
  const tell = () =>
    postMessage({ progress: { phase: "loading", loaded, total: file.total, fromCache: file.fromCache } });
  const next = async () => {
    const { done, value } = await reader.read().catch(() => {
      throw fault("BadWeights", "the file broke off while it was read");
    });
    if (done) return null;
    hash?.update(value);
    loaded += value.length;
    return value;
  };
  const begin = async () => {
    const gpu = await device;
    taken = true;
    const network = Network.open(gpu, weights, arch);
    return { network, compiled: compiled(network) };
  };
  try {
    tell();
    for (let chunk = await next(); chunk; chunk = await next()) {
      await file.keeper?.write(chunk);
      if (made) made.network.push(chunk);
      else if (weights.push(chunk)) made = await begin();
      if (performance.now() - told > 50) {
        told = performance.now();
        tell();
      }
    }
    tell();
    if (!made) weights.end();
    if (hash) sha256 = hex(hash.finish());
    if (file.sha256 && sha256 !== file.sha256) throw fault("BadWeights", "the kept file is damaged");
    if (wanted && sha256 !== wanted) throw another(sha256);
    made ??= await begin();
    made.network.finish();
    return { ...made, loaded, sha256 };
  } catch (error) {
    await file.keeper?.abort();
    const doubtful = file.fromCache && ["BadWeights", "TooLarge"].includes(error.name);
    if (!doubtful || !(await isDamaged())) throw error;
    // The page does not end this worker, since the file is read again.
    await made?.compiled.catch(() => {});
    made?.network.free();
    if (!taken) weights.free();
    throw Object.assign(error, { damaged: true });
  }

  /** Whether what the cache holds is not what was put there. */
  async function isDamaged() {
    try {
      while (await next());
      return (sha256 ?? hex(hash.finish())) !== file.sha256;
    } catch {
      return true;
    }
  }
}

/** Bytes that are read at a time. */
const CHUNK = 1 << 20;

/** A reader whose chunks are gone when the next one is asked for: they share their memory, where the browser can do that. */
function reusing(body) {
  let reader;
  try {
    reader = body.getReader({ mode: "byob" });
  } catch {
    return body.getReader();
  }
  let buffer = new ArrayBuffer(CHUNK);
  return {
    async read() {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (value) buffer = value.buffer;
      return { done, value };
    },
  };
}

/** Milliseconds that the kernels of a network take to compile, from now on. */
function compiled(network) {
  const start = performance.now();
  const all = network.compiled().then(() => performance.now() - start);
  // It is awaited when the file has been read.
  all.catch(() => {});
  return all;
}

/** What the browser says of its adapter; the module hears less. */
async function adapterName() {
  const info = (await navigator.gpu.requestAdapter())?.info;
  const parts = [info?.vendor, info?.architecture, info?.device].filter(Boolean);
  return info?.description || parts.join(" ") || "unnamed adapter";
}

async function load({ from, arch, cache, sha256: wanted, sameOrigin }) {
  const start = performance.now();
  if (!navigator.gpu) throw fault("NoWebGpu", "this browser has no WebGPU");
  // The module, the device and the file at the same time; whichever fails first is the error.
  const source = { keep: cache, wanted, sameOrigin };
  const opening = open(from, source);
  opening.catch(() => {});
  const { memory } = await init({ module_or_path: new URL("./wasm/ocelli_web_bg.wasm", import.meta.url) });
  const device = Device.open();
  device.catch(() => {});
  const file = await Promise.race([opening, device.then(() => opening)]);
  let used = file;
  const get = async () => {
    try {
      return await read(file, device, { arch, wanted });
    } catch (error) {
      if (!error.damaged) throw error;
      await forget(from);
      used = await open(from, source);
      return await read(used, device, { arch, wanted });
    }
  };
  const { network: made, compiled, loaded, sha256 } = await get();
  const readMs = performance.now() - start;
  postMessage({ progress: { phase: "preparing" } });
  // Only what has become a network is kept, and that for sure: the page may end this worker right away.
  const closed = used.keeper?.close(sha256, loaded);
  const compileMs = await compiled;
  await closed;
  network = made;
  const { name, ...gpu } = JSON.parse((await device).info());
  return {
    ...JSON.parse(network.info()),
    fileBytes: loaded,
    sha256,
    gpu: { ...gpu, name: name || (await adapterName()) },
    fromCache: used.fromCache,
    readMs,
    compileMs,
    loadMs: performance.now() - start,
    memoryBytes: memory.buffer.byteLength,
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
  why: (asked) => why(loaded(), asked, prepared, tellOf(asked.id)),
  deconvnet: (asked) => deconvnet(loaded(), asked, prepared),
};
/** Calls whose results somebody waits for. */
const waiting = new Set();
let before = Promise.resolve();

/** Tells how many of how many places of a call are done; true if it was stopped. */
function tellOf(id) {
  return (done, total) => {
    postMessage({ id, progress: { done, total } });
    return !waiting.has(id);
  };
}

// One call after the other: the network has one input.
onmessage = ({ data }) => {
  if (data.do === "stop") return waiting.delete(data.id);
  waiting.add(data.id);
  before = before.then(async () => {
    try {
      // A look is finished, since another one may need its picture.
      if (!waiting.has(data.id) && data.do !== "activations") throw fault("Internal", "nobody waits for this");
      postMessage({ id: data.id, result: await calls[data.do](data) });
    } catch (error) {
      // A module that trapped cannot be used again, and says so by its next trap.
      postMessage({ id: data.id, error: { name: error?.name ?? "Internal", message: error?.message ?? String(error) } });
    } finally {
      waiting.delete(data.id);
    }
  });
};
