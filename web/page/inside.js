// A look inside: the first filters, and what each layer makes of the picture. Nothing is computed until the visitor opens it.
import { createDeconv, explainable } from "./deconv.js";
import { showFilters } from "./filters.js";
import { createMaps } from "./maps.js";
import { count, milliseconds } from "./numbers.js";
import { rove, roving } from "./rove.js";

const at = (id) => document.getElementById(id);

/** Operations as people call them. */
const OPERATIONS = {
  preprocess: "the picture, normalised",
  conv2d: "convolution",
  linear: "fully connected",
  batch_norm: "batch norm",
  relu: "ReLU",
  add: "sum",
  add_shortcut: "sum with the shortcut",
  max_pool: "max pooling",
  average_pool: "average pooling",
  adaptive_average_pool: "average pooling",
  lrn: "local response normalisation",
  concat: "side by side",
};

const size = ([height, width, channels]) => (height * width === 1 ? String(channels) : `${height} × ${width} × ${channels}`);

/**
 * Wires the section. `lost` is called when the GPU was taken away. The page says which network and which picture there are; what is
 * asked for while something is computed is computed afterwards, once. While the camera is on, the layer follows its frames.
 */
export function createInside({ lost }) {
  const section = at("inside");
  const maps = createMaps({ opened });
  const deconv = createDeconv({ fail });
  let net = null;
  let picture = null;
  /** Whether the camera is on. */
  let live = false;
  /** The layers of the network that is shown, and the one that is looked at. */
  let layers = [];
  let described = null;
  let timed = null;
  let chosen = 0;
  let busy = false;
  let again = false;

  async function refresh() {
    if (!section.open || !net) return;
    again = busy;
    if (busy) return;
    busy = true;
    section.setAttribute("aria-busy", "true");
    const used = net;
    // What fails keeps nothing else from being shown.
    const attempt = async (work) => {
      try {
        if (net === used) await work(used);
      } catch (error) {
        if (net === used) fail(error);
      }
    };
    at("inside-error").textContent = "";
    if (described !== used) await attempt(describe);
    if (described === used) {
      if (picture) await attempt((used) => look(used, picture));
      at("inside-note").textContent = picture || live ? "" : "Choose a picture above to see what the layers make of it.";
      if (timed !== used) await attempt(measure);
    } else maps.clear();
    busy = false;
    section.removeAttribute("aria-busy");
    if (again || net !== used) refresh();
  }

  function fail(error) {
    if (error.name === "DeviceLost") lost(error);
    else at("inside-error").textContent = `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`;
  }

  async function describe(used) {
    const [found, filters] = await Promise.all([used.layers(), used.filters()]);
    if (net !== used) return;
    // The layer of the same name in another network, or the first after the picture.
    const before = layers[chosen]?.name;
    const same = found.findIndex((layer) => layer.name === before);
    layers = found;
    described = used;
    chosen = same < 0 ? Math.min(1, layers.length - 1) : same;
    showFilters(filters, (channel) => {
      choose(layers.findIndex((layer) => layer.name === filters.layer));
      if (net && (picture || live)) maps.open(channel);
    });
    at("layers").replaceChildren(...layers.map(item));
    roving(at("layers"), current());
    at("layers-about").textContent = `${layers.length}, each with what is done in its kernel`;
    mark();
    maps.clear();
  }

  async function look(used, source) {
    const wanted = chosen;
    const current = () => net === used && wanted === chosen && (live ? source instanceof ImageBitmap : source === picture);
    try {
      const activations = await used.activations(source, wanted);
      const last = wanted === layers.length - 1;
      if (current()) maps.show({ ...activations, last }, used.info);
    } catch (error) {
      // Those of the layer before would stand below the name of this one.
      if (current()) maps.clear();
      throw error;
    }
  }

  /** A map is shown large. */
  function opened(channel) {
    const layer = layers[chosen];
    if (!explainable(layer)) return deconv.clear();
    // The next frame of the camera has it.
    if (picture) deconv.ask(net, picture, layer, channel);
  }

  async function measure(used) {
    at("layers-clock").textContent = "Measuring…";
    try {
      const { clock, runs, ms } = await used.timings({ runs: 10 });
      if (net !== used) return;
      timed = used;
      const all = milliseconds(ms.reduce((sum, x) => sum + x, 0));
      const times = runs === 1 ? "one run" : `${runs} runs`;
      at("layers-clock").textContent =
        clock === "timestamps"
          ? `${all} a picture, by the GPU's own clock (mean of ${times})`
          : `${all} a picture, one layer at a time with waiting for each (median of ${times}): the GPU's clock is missing or too coarse`;
      const longest = Math.max(...ms, 1e-9);
      [...at("layers").children].forEach(({ firstChild: button }, i) => {
        button.querySelector(".ms").textContent = milliseconds(ms[i]);
        button.style.setProperty("--share", `${((100 * ms[i]) / longest).toFixed(1)}%`);
      });
    } catch (error) {
      at("layers-clock").textContent = "";
      throw error;
    }
  }

  function item({ name, shape }, place) {
    const entry = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    for (const [kind, text] of [
      ["name", name],
      ["ms", ""],
      ["shape", size(shape)],
    ]) {
      const part = document.createElement("span");
      part.className = kind;
      part.textContent = text;
      // Read out apart from each other.
      button.append(part, " ");
    }
    button.onclick = () => choose(place);
    entry.append(button);
    return entry;
  }

  function current() {
    return at("layers").children[chosen]?.firstChild;
  }

  /** Shows which layer is looked at. */
  function mark() {
    const layer = layers[chosen];
    for (const { firstChild: button } of at("layers").children) button.removeAttribute("aria-current");
    const button = current();
    button?.setAttribute("aria-current", "true");
    if (button) scroll(at("layers"), button.parentElement);
    // Not `disabled`, which would take the focus away.
    at("layer-before").setAttribute("aria-disabled", String(chosen === 0));
    at("layer-after").setAttribute("aria-disabled", String(chosen >= layers.length - 1));
    if (!layer) return;
    at("layer-title").textContent = layer.name;
    const facts = [
      `${chosen + 1} of ${layers.length}`,
      size(layer.shape),
      layer.operations.map((operation) => OPERATIONS[operation] ?? operation).join(", "),
    ];
    if (layer.macs) facts.push(`${count(layer.macs)} multiply-adds`);
    if (layer.parameters) facts.push(`${count(layer.parameters)} parameters`);
    at("layer-about").textContent = facts.join(" · ");
  }

  function choose(place) {
    if (place === chosen || !layers[place]) return;
    chosen = place;
    roving(at("layers"), current());
    mark();
    if (net && (picture || live)) maps.wait();
    refresh();
  }

  section.ontoggle = refresh;
  at("map").onclose = () => at("map").open || deconv.clear();
  at("layer-before").onclick = () => choose(chosen - 1);
  at("layer-after").onclick = () => choose(chosen + 1);
  // Going over the list shows each layer, as radio buttons do.
  rove(at("layers"), (button) => button.click());
  at("measure").onclick = () => {
    timed = null;
    refresh();
  };

  return {
    /** There is another network; null while there is none. */
    network(made) {
      net = made;
      if (net) return refresh();
      maps.clear();
      at("layers-clock").textContent = "";
    },
    /** There is another picture: a Blob; null if it could not be used. */
    picture(blob) {
      picture = blob;
      if (!picture) maps.clear();
      refresh();
    },
    /** The camera is on or off. What is shown stays until there is a frame or a picture. */
    camera(on) {
      live = on;
      picture = null;
      if (on) at("inside-note").textContent = "";
    },
    /** A frame of the camera, which stays as it is until this is done. It is left out while something else is computed. */
    async frame(bitmap) {
      if (!live || !section.open || busy || !net || described !== net) return;
      busy = true;
      again = false;
      const used = net;
      try {
        await look(used, bitmap);
        const layer = layers[chosen];
        if (net === used && maps.large !== null && explainable(layer)) await deconv.ask(used, bitmap, layer, maps.large);
      } catch (error) {
        if (net === used) fail(error);
      }
      busy = false;
      if (again || net !== used) refresh();
    },
  };
}

/** Brings an entry of a list into sight without moving the page. */
function scroll(list, entry) {
  const [top, bottom] = [entry.offsetTop - list.offsetTop, entry.offsetTop - list.offsetTop + entry.offsetHeight];
  if (top < list.scrollTop) list.scrollTop = top;
  else if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
}
