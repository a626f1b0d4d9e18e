// A look inside, in the worker: layers, what each makes of a picture, first filters, times. The worker has one network.

import { fault } from "./source.js";

/** Measuring takes no longer than this, but for the first run. */
const MEASURE_MS = 2000;

let list = null;
/** Memory for what the layers compute, made by the first look, and why there is none. */
let look = null;
let tooLarge = null;
/** The picture that it has seen, as the network is fed it. */
let seen = null;

export function layers(network) {
  list ??= JSON.parse(network.layers()).map((layer, index) => ({ index, ...layer }));
  return list;
}

/** A layer by its number, its name or its output. */
export function find(network, wanted) {
  const all = layers(network);
  const found = typeof wanted === "number" ? all[wanted] : all.find((l) => l.name === wanted || l.output === wanted);
  if (!found) throw fault("Internal", `there is no layer ${wanted}; layers() lists the ${all.length} that there are`);
  return found;
}

/** Least and greatest of each channel. */
function rangesOf(data, channels) {
  const ranges = new Float32Array(2 * channels);
  for (let c = 0; c < channels; c++) {
    let [least, greatest] = [Infinity, -Infinity];
    for (let i = c; i < data.length; i += channels) {
      if (data[i] < least) least = data[i];
      if (data[i] > greatest) greatest = data[i];
    }
    ranges[2 * c] = least;
    ranges[2 * c + 1] = greatest;
  }
  return ranges;
}

/** What the network is fed, with red first. */
export function shown(network, fed) {
  const [height, width] = JSON.parse(network.info()).input;
  const pixels = new ImageData(width, height);
  pixels.data.set(fed);
  if (network.bgr) {
    for (let i = 0; i < fed.length; i += 4) {
      pixels.data[i] = fed[i + 2];
      pixels.data[i + 2] = fed[i];
    }
  }
  return pixels;
}

/** Makes the memory, once: what a failed try has made stays with the browser for a while. */
async function opened(network) {
  if (tooLarge) throw tooLarge;
  try {
    return await network.look();
  } catch (error) {
    if (error.name === "TooLarge") tooLarge = error;
    throw error;
  }
}

/** `picture` is null if it is the one that was looked at before. */
export async function activations(network, { picture, layer }, prepared) {
  if (picture) {
    seen = null;
    const input = prepared(picture);
    find(network, layer);
    look ??= await opened(network);
    look.run(input);
    seen = input;
  }
  if (!seen) throw fault("Internal", "the picture of the last look could not be used");
  const { index, name, output, shape } = find(network, layer);
  const [height, width, channels] = shape;
  const data = await look.activations(index);
  const ranges = rangesOf(data, channels);
  return { index, name, output, height, width, channels, data, ranges, input: shown(network, seen) };
}

export async function filters(network) {
  const found = await network.filters();
  if (!found) return null;
  const result = { ...JSON.parse(found.info()), data: found.data() };
  found.free();
  return result;
}

export async function timings(network, { runs }) {
  const start = performance.now();
  const measured = [];
  do {
    measured.push(JSON.parse(await network.timings()));
  } while (measured.length <= runs && performance.now() - start < MEASURE_MS);
  // The first one fills caches, and a GPU that was idle is slow for a while.
  if (measured.length > 1) measured.shift();
  // A clock so coarse that some runs had to be waited for says little of the others.
  const clock = measured.some((run) => run.clock === "waiting") ? "waiting" : "timestamps";
  const alike = measured.filter((run) => run.clock === clock);
  // Rounded times have the right mean; a wait that was disturbed should not count.
  const one = clock === "timestamps" ? mean : median;
  const ms = alike[0].ms.map((_, layer) => one(alike.map((run) => run.ms[layer])));
  return { clock, runs: alike.length, ms };
}

function mean(values) {
  return values.reduce((sum, x) => sum + x, 0) / values.length;
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
