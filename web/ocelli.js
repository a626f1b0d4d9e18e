// Ocelli for web pages: pictures are classified on the visitor's own GPU, in a worker, and nothing leaves the machine.
//
//     import { Classifier } from "./ocelli.js";
//     const net = await Classifier.load("resnet18.safetensors", { onProgress: p => console.log(p.loaded, p.total) });
//     const { top } = await net.classify(document.querySelector("img"), { top: 5 });
//     console.log(top[0].label, top[0].probability);
//     net.free();

import { CACHE } from "./source.js";

/** What every error of Ocelli is; its name says which. */
export class OcelliError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** This browser gives no GPU to pages, or one that computes wrong numbers. */
export class NoWebGpu extends OcelliError {}
/** The file is not there, is damaged, or holds no network that Ocelli knows. */
export class BadWeights extends OcelliError {}
/** The picture cannot be read. */
export class BadPicture extends OcelliError {}
/** The browser took the GPU away; load the network again. */
export class DeviceLost extends OcelliError {}
/** The file or its network does not fit into memory. */
export class TooLarge extends OcelliError {}

const KINDS = { NoWebGpu, BadWeights, BadPicture, DeviceLost, TooLarge };

/** An error that came from the worker as name and message. */
function revived({ name, message }) {
  return new (KINDS[name] ?? OcelliError)(message);
}

/** The hash of an integrity as pages write it. */
function hexOf(integrity) {
  const [, hash] = /^sha256-([A-Za-z0-9+/]{43}=)$/.exec(integrity) ?? [];
  if (!hash) throw new TypeError(`integrity is "sha256-" and 32 bytes in base64, not ${integrity}`);
  return Array.from(atob(hash), (c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

/** A picture in a form that a worker can be given. */
async function sendable(image) {
  const isA = (type) => typeof globalThis[type] === "function" && image instanceof globalThis[type];
  if (isA("ImageData") || isA("ImageBitmap")) return image;
  try {
    if (isA("HTMLImageElement")) await image.decode();
    // The pixels as the file has them, as when the program reads them.
    return await createImageBitmap(image, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch (cause) {
    throw new BadPicture("this picture cannot be read; give a JPEG, PNG or WebP file, an element, or pixels", { cause });
  }
}

/** A network with trained weights on the visitor's GPU. */
export class Classifier {
  #worker;
  #pending = new Map();
  #next = 0;
  #onProgress;
  #over = null;
  #looked = null;

  /** What is known of the network, its file and the GPU. */
  info = null;

  constructor(token) {
    if (token !== KINDS) throw new TypeError("a Classifier is made by Classifier.load");
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "ocelli" });
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onerror = (event) => {
      event.preventDefault?.();
      this.#end(new OcelliError(`the worker stopped: ${event.message ?? "its script could not be loaded"}`));
    };
  }

  /**
   * Loads a network from a URL or a File: safetensors or ONNX.
   *
   * `onProgress` hears of { phase, loaded, total, fromCache }; `signal` gives up; `arch` names the network where the file
   * does not; `cache: false` keeps nothing; `integrity`, "sha256-" and the hash in base64, refuses every other file;
   * `sameOrigin: true` refuses other servers.
   */
  static async load(source, { onProgress, signal, arch, cache = true, integrity, sameOrigin = false } = {}) {
    signal?.throwIfAborted();
    const sha256 = integrity && hexOf(integrity);
    const classifier = new Classifier(KINDS);
    const giveUp = () => classifier.#end(signal.reason);
    signal?.addEventListener("abort", giveUp, { once: true });
    classifier.#onProgress = onProgress;
    try {
      const from = source instanceof Blob ? source : new URL(source, globalThis.location?.href).href;
      classifier.info = await classifier.#ask({ do: "load", from, arch, cache, sha256, sameOrigin });
      return classifier;
    } catch (error) {
      classifier.free();
      throw error;
    } finally {
      classifier.#onProgress = undefined;
      signal?.removeEventListener("abort", giveUp);
    }
  }

  /** Forgets all files that the browser keeps; true if there were some. */
  static async clearCache() {
    return (await globalThis.caches?.delete(CACHE).catch(() => false)) ?? false;
  }

  /**
   * Classifies a picture: an element, an ImageBitmap, ImageData, or a file. Gives the `top` most probable classes, the logits
   * and the time: { top: [{ index, label, probability }], logits, prepareMs, gpuMs }.
   */
  async classify(image, { top = 5, signal } = {}) {
    signal?.throwIfAborted();
    const picture = await sendable(image);
    signal?.throwIfAborted();
    // A bitmap of ours is handed over, one of the caller's is copied.
    const handed = picture === image || picture instanceof ImageData ? [] : [picture];
    return this.#ask({ do: "classify", picture, top }, handed, signal);
  }

  /** The layers in order: [{ index, name, output, operations, shape, parameters, macs }]. */
  layers() {
    return this.#ask({ do: "layers" });
  }

  /**
   * What a layer, by its name or index, makes of a picture: { index, name, height, width, channels, data, ranges, input }. The first
   * look takes memory for all layers. The same File or Blob again is not computed again.
   */
  async activations(image, layer, { signal } = {}) {
    signal?.throwIfAborted();
    // Files do not change, elements do.
    const same = image instanceof Blob && image === this.#looked;
    const picture = same ? null : await sendable(image);
    signal?.throwIfAborted();
    // The worker takes one message after the other, so what it has seen is what was sent last.
    if (!same) this.#looked = image instanceof Blob ? image : null;
    try {
      const handed = same || picture === image || picture instanceof ImageData ? [] : [picture];
      return await this.#ask({ do: "activations", picture, layer }, handed, signal);
    } catch (error) {
      if (this.#looked === image) this.#looked = null;
      throw error;
    }
  }

  /** The filters of the first convolution: { layer, count, height, width, channels, colours, data }; null if there is none. */
  filters() {
    return this.#ask({ do: "filters" });
  }

  /** How long each layer takes: { clock, runs, ms: [milliseconds] }, of at most so many runs and some two seconds. */
  timings({ runs = 5, signal } = {}) {
    if (signal?.aborted) return Promise.reject(signal.reason);
    return this.#ask({ do: "timings", runs }, [], signal);
  }

  /**
   * Why the network takes a picture for a class: the most probable one, or the one with the index `class`. The result is { method, index,
   * label, probability, heat, map, input, … }; `heat` has a number from 0 to 1 for each pixel of `input`. "grad-cam" takes a `layer`;
   * "occlusion" takes a `square` and a `stride` in pixels, and `onProgress` hears of { done, total }. `signal` ends it.
   */
  async why(image, { class: index, method = "grad-cam", layer, square, stride, signal, onProgress } = {}) {
    signal?.throwIfAborted();
    const picture = await sendable(image);
    signal?.throwIfAborted();
    const handed = picture === image || picture instanceof ImageData ? [] : [picture];
    return this.#ask({ do: "why", picture, class: index, method, layer, square, stride }, handed, signal, onProgress);
  }

  /**
   * What made a channel of a layer fire, as a DeconvNet shows it: { layer, unit, place, size, activation, field, image, input }. `image` is
   * null if the channel does not fire for this picture.
   */
  async deconvnet(image, layer, unit, { signal } = {}) {
    signal?.throwIfAborted();
    const picture = await sendable(image);
    signal?.throwIfAborted();
    const handed = picture === image || picture instanceof ImageData ? [] : [picture];
    return this.#ask({ do: "deconvnet", picture, layer, unit }, handed, signal);
  }

  /** Ends the worker; its memory and that of the GPU are free. */
  free() {
    this.#end(new OcelliError("the network has been freed"));
  }

  #ask(message, handed = [], signal, onProgress) {
    if (this.#over) return Promise.reject(this.#over);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        this.#pending.delete(id);
        this.#worker.postMessage({ do: "stop", id });
        reject(signal.reason);
      };
      signal?.addEventListener("abort", giveUp, { once: true });
      const done = () => signal?.removeEventListener("abort", giveUp);
      this.#pending.set(id, { resolve, reject, done, onProgress });
      this.#worker.postMessage({ ...message, id }, handed);
    });
  }

  #hear({ id, result, error, progress }) {
    const waiting = this.#pending.get(id);
    if (progress) return (id === undefined ? this.#onProgress : waiting?.onProgress)?.(progress);
    this.#pending.delete(id);
    waiting?.done();
    if (error) waiting?.reject(revived(error));
    else waiting?.resolve(result);
  }

  #end(reason) {
    if (this.#over) return;
    this.#over = reason;
    this.#worker.terminate();
    for (const { reject, done } of this.#pending.values()) {
      done();
      reject(reason);
    }
    this.#pending.clear();
  }
}
