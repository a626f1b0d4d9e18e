// Why the network answers as it does, in the worker: Grad-CAM, occlusion, DeconvNet. The worker has one network.

import { find, shown } from "./layers.js";
import { fault } from "./source.js";

/** Made by the first question, and why there is none. */
let explainer = null;
let tooLarge = null;

async function made(network) {
  if (tooLarge) throw tooLarge;
  try {
    return (explainer ??= await network.explainer());
  } catch (error) {
    if (error.name === "TooLarge") tooLarge = error;
    throw error;
  }
}

/** A number that counts something: what WebAssembly takes would wrap around. */
function counted(what, number, from = 0) {
  if (number === undefined || number === null) return undefined;
  if (!Number.isInteger(number) || number < from || number > 0xffffffff) throw fault("Internal", `there is no ${what} ${number}`);
  return number;
}

/** The parts of an explanation, whose memory is free then. */
function parts(explained) {
  const result = { info: JSON.parse(explained.info()), image: explained.image(), map: explained.map() };
  explained.free();
  return result;
}

/** The name of a layer, which `layers` may give by its number or its first operation. */
function nameOf(network, layer) {
  if (typeof layer === "number") return find(network, layer).output;
  try {
    return find(network, layer).output;
  } catch {
    // Operations that share a kernel with others, and parts of names.
    return String(layer);
  }
}

/** `tell` hears of places that are done, and returns whether to stop. */
export async function why(network, { picture, method, class: wanted, layer, square, stride }, prepared, tell) {
  const input = prepared(picture);
  const index = counted("class", wanted);
  const of = await made(network);
  const ask = {
    "grad-cam": () => of.grad_cam(input, index, layer === undefined ? undefined : nameOf(network, layer)),
    occlusion: () => of.occlusion(input, index, counted("square of pixels", square, 1), counted("stride of pixels", stride, 1), tell),
  }[method];
  if (!ask) throw fault("Internal", `there is no method ${method}; the methods are grad-cam and occlusion`);
  const { info, image, map } = parts(await ask());
  const { size, ...found } = info;
  const [height, width] = size;
  return { method, ...found, heat: image, map: { height, width, data: map }, input: shown(network, input) };
}

export async function deconvnet(network, { picture, layer, unit }, prepared) {
  const input = prepared(picture);
  const channel = counted("unit", unit ?? NaN);
  const name = nameOf(network, layer);
  const of = await made(network);
  const { info, image } = parts(await of.deconvnet(input, name, channel));
  return { ...info, image: image.length > 0 ? image : null, input: shown(network, input) };
}
