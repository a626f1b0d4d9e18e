// What a layer makes of the picture: a small map for each channel, one of them large over the picture, bars for a vector.
import { BAR, canvasOf, mapOf, short } from "./colours.js";
import { rove, roving } from "./rove.js";

const at = (id) => document.getElementById(id);

/** So many maps are shown at first. */
const FEW = 64;
/** Pixels of the large map, of the bars. */
const LARGE = 560;
const BARS = { width: 1200, height: 240 };

const rangeOf = ({ ranges }, channel) => [ranges[2 * channel], ranges[2 * channel + 1]];

/** `opened` is called with the channel whose map is shown large, whenever there is another one or another picture. */
export function createMaps({ opened }) {
  let shown = null;
  let info = null;
  let all = false;
  let channel = 0;
  /** The map to open when the layer that is being computed is there. */
  let pending = null;

  /** The least and the greatest number of the layer. */
  function whole() {
    const [first, ...rest] = Array.from({ length: shown.channels }, (_, c) => rangeOf(shown, c));
    return rest.reduce(([a, b], [c, d]) => [Math.min(a, c), Math.max(b, d)], first);
  }

  const scale = (c) => (at("own-scale").checked ? rangeOf(shown, c) : whole());

  function text(c) {
    const [least, greatest] = rangeOf(shown, c);
    return least === greatest ? `channel ${c}: ${short(least)} everywhere` : `channel ${c}: ${short(least)} to ${short(greatest)}`;
  }

  function draw() {
    const vector = shown.height * shown.width === 1;
    const [least, greatest] = whole();
    at("layer").classList.remove("waiting");
    const own = !vector && at("own-scale").checked;
    at("scale-least").textContent = own ? "least of each map" : `${vector ? "least " : ""}${short(least)}`;
    at("scale-greatest").textContent = own ? "greatest of each map" : `${vector ? "greatest " : ""}${short(greatest)}`;
    at("scale").hidden = false;
    at("scale-bar").hidden = at("own-scale-part").hidden = at("maps").hidden = vector;
    at("vector").hidden = !vector;
    at("maps-said").textContent = "";
    at("all-maps").hidden = vector || all || shown.channels <= FEW;
    at("all-maps").textContent = `Show all ${shown.channels} maps`;
    if (vector) return bars();
    const places = [...at("maps").children];
    const before = places.indexOf(document.activeElement);
    const count = all ? shown.channels : Math.min(FEW, shown.channels);
    const range = whole();
    // Few maps may be large, large ones should be.
    at("maps").style.setProperty("--side", count <= 16 ? "6.2rem" : count <= 32 || shown.width > 40 ? "5.2rem" : "3.6rem");
    at("maps").replaceChildren(
      ...Array.from({ length: count }, (_, c) => {
        const button = document.createElement("button");
        button.type = "button";
        button.setAttribute("aria-label", text(c));
        button.append(canvasOf(mapOf(shown, c, own ? rangeOf(shown, c) : range)));
        button.onclick = () => enlarge(c);
        button.onpointerenter = button.onfocus = () => (at("maps-said").textContent = text(c));
        return button;
      }),
    );
    roving(at("maps"), at("maps").children[before]);
    // The picture changes below who stands on a map.
    if (before >= 0) at("maps").children[Math.min(before, count - 1)].focus();
  }

  /** The place of the greatest number of a vector. */
  function largest() {
    const vector = shown.height * shown.width === 1;
    at("vector-at").max = shown.channels - 1;
    return vector ? shown.data.indexOf(whole()[1]) : 0;
  }

  /** One number as its channel, or as its class if it is a logit. */
  function number(i) {
    const { classes } = info;
    const logits = shown.channels === classes.length && shown.last;
    return `${logits ? classes[i] : `number ${i}`}: ${short(shown.data[i])}`;
  }

  function bars() {
    const [least, greatest] = whole();
    const [low, high] = [Math.min(least, 0), Math.max(greatest, 0)];
    const canvas = at("vector-bars");
    Object.assign(canvas, BARS);
    const context = canvas.getContext("2d");
    const y = (x) => (high > low ? (BARS.height * (high - x)) / (high - low) : BARS.height);
    const step = BARS.width / shown.channels;
    context.fillStyle = BAR;
    for (let i = 0; i < shown.channels; i++) {
      const [a, b] = [y(shown.data[i]), y(0)];
      context.fillRect(i * step, Math.min(a, b), Math.max(step > 3 ? step - 1 : step, 1), Math.max(Math.abs(a - b), 1));
    }
    canvas.setAttribute("aria-label", `${shown.channels} numbers from ${short(least)} to ${short(greatest)}`);
    const slider = at("vector-at");
    slider.setAttribute("aria-label", shown.last ? "Which class" : "Which number");
    pick();
  }

  function pick() {
    const said = number(at("vector-at").valueAsNumber);
    at("vector-said").textContent = said;
    at("vector-at").setAttribute("aria-valuetext", said);
  }

  function enlarge(c) {
    channel = c;
    paint();
    if (!at("map").open) at("map").showModal();
    opened(c);
  }

  /** The map over the picture as the network sees it. */
  function paint() {
    const { width, height } = shown.input;
    const canvas = at("map-large");
    canvas.width = LARGE;
    canvas.height = Math.round((LARGE * height) / width);
    const context = canvas.getContext("2d");
    const cover = (pixels) => context.drawImage(canvasOf(pixels), 0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = width > 64;
    cover(shown.input);
    context.globalAlpha = at("map-share").valueAsNumber / 100;
    context.imageSmoothingEnabled = false;
    cover(mapOf(shown, channel, scale(channel)));
    const said = text(channel);
    at("map-title").textContent = shown.name;
    at("map-said").textContent = said.charAt(0).toUpperCase() + said.slice(1);
    canvas.setAttribute("aria-label", `${said}, over the picture`);
    at("map-before").setAttribute("aria-disabled", String(channel === 0));
    at("map-after").setAttribute("aria-disabled", String(channel === shown.channels - 1));
  }

  function turn(by) {
    if (channel + by >= 0 && channel + by < shown.channels) enlarge(channel + by);
  }

  rove(at("maps"));
  at("maps").onpointerleave = () => (at("maps-said").textContent = "");
  at("own-scale").onchange = () => shown && draw();
  at("all-maps").onclick = () => {
    all = true;
    draw();
    at("maps").children[FEW]?.focus();
  };
  at("vector-at").oninput = pick;
  at("vector-bars").onpointermove = (event) => {
    const share = event.offsetX / at("vector-bars").clientWidth;
    at("vector-at").value = Math.floor(share * shown.channels);
    pick();
  };
  at("map-share").oninput = paint;
  at("map-before").onclick = () => turn(-1);
  at("map-after").onclick = () => turn(1);
  at("map-close").onclick = () => at("map").close();
  at("map").onclick = ({ target }) => target === at("map") && at("map").close();
  at("map").onkeydown = (event) => {
    if (event.target === at("map-share")) return;
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  };

  return {
    /** Shows the activations of a layer of a network. */
    show(activations, network) {
      const other = shown?.index !== activations.index;
      if (other) all = false;
      shown = activations;
      info = network;
      // Of another vector its largest number is what one wants to know first.
      if (other) at("vector-at").value = largest();
      const wanted = pending;
      pending = null;
      // Before the maps are drawn, so that the focus comes back to one of them.
      if (other || channel >= shown.channels) at("map").close();
      draw();
      if (wanted !== null && wanted < shown.channels && shown.height * shown.width > 1) enlarge(wanted);
      else if (at("map").open) {
        paint();
        opened(channel);
      }
    },
    /** The channel whose map is shown large; null if none is. */
    get large() {
      return at("map").open ? channel : null;
    },
    /** Another layer is being computed: what is shown is not it, and no map of it has been asked for. */
    wait() {
      pending = null;
      at("layer").classList.add("waiting");
    },
    /** Opens a map, of the layer that is being computed if one is. */
    open(wanted) {
      if (at("layer").classList.contains("waiting")) pending = wanted;
      else if (shown) enlarge(wanted);
    },
    /** Nothing of another network stays. */
    clear() {
      shown = null;
      all = false;
      pending = null;
      at("layer").classList.remove("waiting");
      if (at("map").open) at("map").close();
      for (const id of ["scale", "maps", "vector", "all-maps"]) at(id).hidden = true;
      at("maps").replaceChildren();
      at("maps-said").textContent = "";
    },
  };
}
