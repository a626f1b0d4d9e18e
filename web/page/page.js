// The page: everything that the visitor does, and what is shown of it. The network runs in the worker of ocelli.js.
import { BadWeights, Classifier, DeviceLost } from "./ocelli.js";
import { networkAt, requested } from "./address.js";
import { createAnswers } from "./answers.js";
import { Camera } from "./camera.js";
import { createInside } from "./inside.js";
import { bytes, count, milliseconds, rate } from "./numbers.js";
import { createWhy } from "./why.js";

const SHIPPED = { source: "models/clothes.safetensors", name: "clothes.safetensors" };
const SAMPLES = ["sneaker", "bag", "trouser", "boot", "dress", "sandal", "pullover", "coat", "t-shirt"];
/** Pictures of so few pixels are shown as pixels. */
const TINY = 64;

const at = (id) => document.getElementById(id);

/** The network in use, where it came from, and what is being loaded. */
let net = null;
let origin = null;
let loading = null;
/** The picture that is shown: a Blob. */
let picture = null;
/** Whether another one is about to be. */
let coming = false;
/** Only the newest picture is answered. */
let asked = 0;
/** Milliseconds of the network's first picture with its kernels, which are compiled while it is loaded. */
let cold = null;
/** Whether the network was loaded again after its GPU was lost, and has not answered since. */
let recovered = false;
/** The section that shows what the layers make of the picture. */
const look = createInside({ lost: (error) => recover(error) });
/** The classes of the answer, and the heat over the picture that shows why. */
const answers = createAnswers({ why: (prediction, best, shown) => why.toggle(prediction, best, shown) });
const why = createWhy({ lost: (error) => recover(error), marked: (index) => answers.mark(index) });

// --- What goes wrong -------------------------------------------------------------------------------------------------

function complain(error) {
  const text = typeof error === "string" ? error : error.message;
  at("error").textContent = text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
  at("error").hidden = false;
}

function forgive() {
  at("error").hidden = true;
}

function noWebGpu(error) {
  at("app").hidden = true;
  at("gpu").hidden = true;
  if (error && navigator.gpu) at("no-webgpu-why").textContent = `Ocelli computes with WebGPU: ${error.message}.`;
  at("no-webgpu").hidden = false;
}

// --- The network -----------------------------------------------------------------------------------------------------

async function load({ source, name, arch }, again = false) {
  recovered = again;
  loading?.abort();
  const controller = new AbortController();
  loading = controller;
  forgive();
  at("network-name").textContent = name;
  at("network-about").textContent = "";
  at("network-notes").replaceChildren();
  at("facts").replaceChildren();
  at("loading").hidden = false;
  at("cancel").hidden = !net;
  try {
    const made = await Classifier.load(source, { arch, signal: controller.signal, onProgress: showProgress, sameOrigin: true });
    net?.free();
    net = made;
    cold = null;
    origin = { source, name, arch };
    showNetwork();
    look.network(net);
    why.network(net);
    if (camera.on) return;
    if (picture) await classify();
    else greet();
  } catch (error) {
    if (loading !== controller) return;
    if (error.name === "NoWebGpu") return noWebGpu(error);
    if (error.name !== "AbortError") complain(error instanceof BadWeights ? `${name}: ${error.message}` : error);
    if (net) showNetwork();
    else {
      at("network-name").textContent = "No network";
      at("shipped").hidden = false;
    }
  } finally {
    if (loading === controller) {
      loading = null;
      at("loading").hidden = true;
    }
  }
}

function showProgress({ phase, loaded, total, fromCache }) {
  const bar = at("progress");
  if (phase === "preparing") {
    bar.removeAttribute("value");
    at("progress-text").textContent = "Compiling its kernels";
    return;
  }
  if (total) {
    bar.max = total;
    bar.value = loaded;
  } else {
    bar.removeAttribute("value");
  }
  const all = total ? ` of ${bytes(total)}` : "";
  at("progress-text").textContent = `${bytes(loaded)}${all}${fromCache ? ", kept from last time" : ""}`;
}

function fact(name, value) {
  const [group, term, text] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
  term.textContent = name;
  text.textContent = value;
  group.append(term, text);
  return group;
}

/** What was chosen of a file, or left out. */
function noted(text) {
  const item = document.createElement("li");
  item.textContent = `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
  return item;
}

function showNetwork() {
  const { info } = net;
  const shipped = origin.source === SHIPPED.source;
  const classes = info.classes.length;
  at("network-name").textContent = info.arch;
  at("network-about").textContent = shipped
    ? "Made with Ocelli itself. It knows ten kinds of clothes on black, and will see clothes in everything."
    : `${origin.name}${info.named || !/^class \d+$/.test(info.classes[0]) ? "" : "; the file does not name its classes, so they are numbered"}`;
  at("network-notes").replaceChildren(...info.notes.map(noted));
  at("shipped").hidden = shipped;
  at("facts").replaceChildren(
    fact("Parameters", count(info.parameters)),
    fact("Multiply-adds", count(info.macs)),
    fact("Input", info.input.join(" × ")),
    fact("Classes", String(classes)),
    fact("File", `${bytes(info.fileBytes)}, ${info.format}${info.fromCache ? ", from cache" : ""}`),
    ...(info.sha256 ? [fact("SHA-256", `${info.sha256.slice(0, 12)}…`)] : []),
    fact("On the GPU", `${bytes(info.gpuBytes)}, ${info.precision}`),
    fact("Kernels a picture", String(info.kernels)),
    fact("Loaded in", `${milliseconds(info.loadMs)}, kernels in ${milliseconds(info.compileMs)}`),
    fact("First picture (cold)", cold === null ? "none yet" : milliseconds(cold)),
    fact("Largest buffer", bytes(info.gpu.maxBufferBytes)),
    fact("Adapter", info.gpu.name),
  );
  at("gpu").textContent = info.gpu.name;
  at("gpu").hidden = false;
  at("software").hidden = !info.gpu.software;
  at("samples").hidden = !shipped;
}

// --- The picture -----------------------------------------------------------------------------------------------------

function greet() {
  at("said").textContent = `Waiting for ${picture ? "the network" : "a picture"}`;
  at("said").classList.add("waiting");
}

async function show(blob, name) {
  picture = null;
  coming = true;
  camera.stop();
  coming = false;
  forgive();
  picture = blob;
  const image = at("shown");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
  image.alt = name ? `The picture ${name}` : "The picture";
  image.hidden = false;
  at("prompt").hidden = true;
  at("stage").classList.add("filled");
  why.wait();
  image.onload = () => image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= TINY);
  if (net) return classify();
  clearResult();
  greet();
}

async function classify() {
  const mine = ++asked;
  const [used, blob] = [net, picture];
  at("result-title").closest("section").setAttribute("aria-busy", "true");
  try {
    const result = await used.classify(blob, { top: 5 });
    if (mine !== asked) return;
    showResult(result);
    explained(blob);
  } catch (error) {
    if (mine !== asked || used !== net) return;
    if (error instanceof DeviceLost) return recover(error);
    clearResult();
    explained(null);
    complain(error);
  } finally {
    if (mine === asked) at("result-title").closest("section").removeAttribute("aria-busy");
  }
}

/**
 * The GPU is lost: the browser took it away, or its driver fails. The file is in the cache, or still in the hands of the page. A GPU that is
 * lost again before the network has answered would be lost for ever.
 */
async function recover(error) {
  if (recovered) {
    clearResult();
    explained(null);
    return complain(error);
  }
  const again = origin;
  net.free();
  net = null;
  look.network(null);
  why.network(null);
  await load(again, true);
  // What has gone wrong since says more.
  if (net && at("error").hidden) complain("The browser took the GPU away for a moment; the network has been loaded again.");
}

function showResult({ top, prepareMs, gpuMs }) {
  const [best] = top;
  at("said").classList.remove("waiting");
  at("said").textContent = best.probability < 0.2 ? `Perhaps: ${best.label}` : best.label;
  answers.show(top);
  recovered = false;
  if (cold === null) {
    cold = net.info.compileMs + gpuMs;
    showNetwork();
  }
  at("t-gpu").textContent = milliseconds(gpuMs);
  at("t-prepare").textContent = milliseconds(prepareMs);
  // The camera knows how many there are.
  if (!camera.on) at("t-rate").textContent = rate(1000 / (gpuMs + prepareMs));
  at("times").hidden = false;
  return best.label;
}

/** The network has classified a picture, or could not: null. */
function explained(blob) {
  why.picture(blob);
  look.picture(blob);
}

function clearResult() {
  at("said").textContent = "";
  why.wait();
  answers.clear();
  at("times").hidden = true;
}

// --- The camera ------------------------------------------------------------------------------------------------------

const camera = new Camera(at("video"), {
  complain,
  rate(perSecond) {
    at("live").textContent = `${rate(perSecond)} pictures a second`;
    at("t-rate").textContent = rate(perSecond);
  },
  announce: (name) => (at("announce").textContent = name),
  /** Classifies what the camera sees now, and shows of the same frame what else is open; the next one is taken after that. */
  async look(video) {
    const used = net;
    if (!used) return null;
    let frame = null;
    try {
      frame = await createImageBitmap(video, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
      const result = await used.classify(frame, { top: 5 });
      if (!camera.on) return null;
      const name = showResult(result);
      await why.frame(frame);
      if (camera.on) await look.frame(frame);
      return name;
    } catch (error) {
      if (used !== net) return null;
      if (!(error instanceof DeviceLost)) throw error;
      await recover(error);
      return null;
    } finally {
      frame?.close();
    }
  },
  changed(on) {
    asked++;
    at("result-title").closest("section").removeAttribute("aria-busy");
    if (on) for (const sample of at("samples").children) sample.setAttribute("aria-pressed", "false");
    at("camera").textContent = on ? "Stop the camera" : "Use the camera";
    at("video").hidden = at("live").hidden = !on;
    at("live").textContent = "Live";
    at("shown").hidden = on || !picture;
    at("prompt").hidden = on || picture !== null;
    at("stage").classList.toggle("filled", on || picture !== null);
    // A name for every frame would flood who listens; the camera says which is worth it.
    at("said").setAttribute("aria-live", on ? "off" : "polite");
    at("announce").textContent = "";
    look.camera(on);
    why.camera(on ? { mirror: at("video").classList.contains("mirror") } : null);
    if (on) return;
    if (picture && net) classify();
    else {
      clearResult();
      if (!coming) explained(null);
      greet();
    }
  },
});

async function useCamera() {
  if (!camera.on) {
    forgive();
    return camera.start();
  }
  // What was seen last stays as a picture.
  const still = await camera.still();
  // Another picture was chosen meanwhile.
  if (!camera.on) return;
  if (still) await show(still, "from the camera");
  else camera.stop();
}

// --- What the visitor does -------------------------------------------------------------------------------------------

/** A file of either kind. */
function take(file) {
  if (!file) return;
  for (const sample of at("samples").children) sample.setAttribute("aria-pressed", "false");
  if (file.type.startsWith("image/")) return show(file, file.name);
  return load({ source: file, name: file.name });
}

/** Loads what an address names, or says why not. */
function loadAddress({ network, why }) {
  if (network) return load(network);
  complain(why);
  at("error").scrollIntoView({ block: "nearest" });
}

function wire() {
  const pairs = [
    ["choose", "file"],
    ["choose-weights", "weights"],
  ];
  for (const [button, input] of pairs) {
    at(button).onclick = () => at(input).click();
    at(input).onchange = () => {
      take(at(input).files[0]);
      // So that the same file can be chosen again.
      at(input).value = "";
    };
  }
  at("camera").onclick = useCamera;
  at("address").onsubmit = (event) => {
    event.preventDefault();
    loadAddress(networkAt(at("url").value));
  };
  at("cancel").onclick = () => loading?.abort();
  at("shipped").onclick = () => load(SHIPPED);
  let inside = 0;
  const files = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (files(event)) at("dropping").hidden = ++inside === 0;
  });
  addEventListener("dragleave", (event) => {
    if (files(event)) at("dropping").hidden = --inside <= 0;
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    at("dropping").hidden = true;
    take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => take(event.clipboardData?.files[0]));
}

function offerSamples() {
  for (const name of SAMPLES) {
    const button = document.createElement("button");
    const image = document.createElement("img");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    image.src = `samples/${name}.png`;
    image.alt = name;
    button.append(image);
    button.onclick = async () => {
      for (const other of at("samples").children) other.setAttribute("aria-pressed", String(other === button));
      await show(await (await fetch(image.src)).blob(), name);
    };
    at("samples").append(button);
  }
}

if (navigator.gpu) {
  at("app").hidden = false;
  wire();
  offerSamples();
  const wanted = requested();
  if (wanted?.network) load(wanted.network);
  else load(SHIPPED).then(() => wanted && complain(wanted.why));
} else {
  noWebGpu();
}
