// Why the network says so: heat over the picture as the network sees it, by Grad-CAM or by occlusion.
import { canvasOf, heatOver } from "./colours.js";
import { percent } from "./numbers.js";

const at = (id) => document.getElementById(id);

/** How much the heat covers the picture, as in the pictures of `ocelli explain`. */
const SHARE = 0.7;
/** Pictures of so few pixels are shown as pixels. */
const TINY = 64;
const NAMES = { "grad-cam": "Grad-CAM", occlusion: "Occlusion" };
const BARS = {
  "grad-cam": "speaks for it (share of the greatest)",
  occlusion: "lost when hidden (share of the greatest)",
};

/**
 * Wires the section. `lost` is called when the GPU was taken away; `marked` hears of the index of the class that is shown, or null. The page
 * says which network and which picture there are. A newer question ends the one before.
 */
export function createWhy({ lost, marked }) {
  let net = null;
  /** A Blob; undefined while it is classified or the camera is on, null if there is none. */
  let picture = null;
  let on = false;
  /** The class that was asked for; null for the most probable one, whichever that is. */
  let wanted = null;
  /** Whether the camera is on, and whether its pictures are shown as in a mirror. */
  let live = null;
  let running = null;

  const method = () => document.querySelector("#why-method input:checked").value;

  function choose(name) {
    document.querySelector(`#why-method input[value="${name}"]`).checked = true;
  }

  function stop() {
    running?.abort();
    running = null;
    at("why-progress").hidden = true;
    at("why").removeAttribute("aria-busy");
  }

  function off() {
    stop();
    on = false;
    at("why").hidden = at("why-over").hidden = true;
    at("why-said").textContent = "";
    marked(null);
  }

  /** Asks for what is wanted of a picture, and shows it. */
  async function ask(source) {
    stop();
    const used = net;
    const asked = method();
    running = new AbortController();
    const { signal } = running;
    at("why").hidden = false;
    at("why-bar").textContent = BARS[asked];
    at("why").setAttribute("aria-busy", "true");
    const onProgress = ({ done, total }) => {
      if (signal.aborted) return;
      Object.assign(at("why-progress"), { hidden: false, max: total, value: done });
      at("why-progress").setAttribute("aria-valuetext", `${done} of ${total} places of the square`);
    };
    try {
      const found = await used.why(source, { class: wanted?.index, method: asked, signal, onProgress });
      if (!signal.aborted) show(found);
    } catch (error) {
      if (signal.aborted || used !== net) return;
      if (error.name === "DeviceLost") return lost(error);
      at("why-over").hidden = true;
      at("why-said").textContent = `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`;
    } finally {
      if (running?.signal === signal) stop();
    }
  }

  /** Asks again; what is shown is hidden until the answer is there, since it belongs to something else. */
  function again() {
    if (!on || !net || live) return;
    at("why-over").hidden = true;
    if (picture === null) return off();
    if (!picture) return;
    at("why-said").textContent = method() === "occlusion" ? "A square is moved over the picture…" : "";
    ask(picture);
  }

  function show(found) {
    const { index, label, input, heat } = found;
    const canvas = at("why-over");
    canvas.width = input.width;
    canvas.height = input.height;
    canvas.getContext("2d").drawImage(canvasOf(heatOver(input, heat, SHARE)), 0, 0);
    canvas.classList.toggle("tiny", Math.max(input.width, input.height) <= TINY);
    canvas.classList.toggle("mirror", live?.mirror ?? false);
    const name = `${NAMES[found.method]} for ${label}, over the picture as the network sees it`;
    canvas.setAttribute("aria-label", name);
    canvas.hidden = false;
    at("why-title").textContent = `Why ${label}?`;
    at("why-said").textContent = sentence(found);
    marked(index);
  }

  for (const input of document.querySelectorAll("#why-method input")) input.onchange = again;
  at("why-off").onclick = () => {
    const button = document.querySelector("#top [aria-pressed='true']") ?? document.querySelector("#top button");
    off();
    // The button that had the focus is gone.
    button?.focus();
  };

  return {
    /** Another picture is shown, which has not been classified yet. */
    wait() {
      stop();
      picture = undefined;
      at("why-over").hidden = true;
    },
    /** A class was clicked on: shows it, or nothing if it is what is shown. */
    toggle({ index, label }, best, pressed) {
      if (pressed) return off();
      on = true;
      wanted = best ? null : { index };
      at("why-title").textContent = `Why ${label}?`;
      at("why").hidden = false;
      at("stage").scrollIntoView({ block: "nearest" });
      again();
    },
    network(made) {
      if (on) off();
      net = made;
    },
    /** There is another picture, which the network has classified; null if it could not be used. Its most probable class is explained. */
    picture(blob) {
      picture = blob;
      wanted = null;
      again();
    },
    /** The camera is on, or off if it is null. Occlusion takes too long for a camera. */
    camera(state) {
      stop();
      live = state;
      picture = undefined;
      at("why-over").hidden = true;
      at("why-said").textContent = "";
      at("why-said").setAttribute("aria-live", live ? "off" : "polite");
      at("why-occlusion").disabled = Boolean(live);
      if (live) choose("grad-cam");
    },
    /** A frame of the camera, which stays as it is until this is done. */
    async frame(bitmap) {
      if (on && live && net) await ask(bitmap);
    },
  };
}

/** What is shown, for who does not see it. */
function sentence({ method, label, probability, heat, map, layer, square, rows, columns, input }) {
  const start = `${label}, ${percent(probability)}`;
  const nothing = !heat.some((x) => x > 0);
  if (method === "grad-cam") {
    if (nothing) return `${start}: nothing in the layer ${layer} speaks for it.`;
    return `${start}: the layer ${layer} speaks for it most ${where(heat, input)}.`;
  }
  if (nothing) return `${start}: it does not fall, whatever a square of ${square} × ${square} pixels hides.`;
  const least = map.data.indexOf(Math.min(...map.data));
  const [row, column] = [rows[Math.floor(least / map.width)], columns[least % map.width]];
  return (
    `${start}: it falls to ${percent(map.data[least])} when a square of ${square} × ${square} pixels at row ${row}, column ${column} ` +
    `is hidden.`
  );
}

/** The ninth of the picture that the greatest number is in. */
function where(heat, { width, height }) {
  const place = heat.indexOf(Math.max(...heat));
  const third = (x, size) => Math.min(Math.floor((3 * x) / size), 2);
  const row = ["at the top", "in the middle", "at the bottom"][third(Math.floor(place / width), height)];
  const column = ["on the left", "", "on the right"][third(place % width, width)];
  return [row, column].filter(Boolean).join(" ");
}
