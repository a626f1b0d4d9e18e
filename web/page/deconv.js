// What made a channel fire: its DeconvNet picture beside the part of the picture that it depends on.
import { around, canvasOf, short } from "./colours.js";

const at = (id) => document.getElementById(id);

/** `fail` hears of errors. */
export function createDeconv({ fail }) {
  let running = null;

  function stop() {
    running?.abort();
    running = null;
  }

  function clear() {
    stop();
    at("seen").hidden = true;
    at("seen-said").textContent = "";
  }

  function draw(canvas, pixels, [top, left, height, width]) {
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").drawImage(canvasOf(pixels), -left, -top);
  }

  function show({ unit, place, size, activation, field, image, input }) {
    at("seen").hidden = !image;
    at("seen").classList.remove("waiting");
    if (!image) {
      at("seen-said").textContent = `Channel ${unit} does not fire for this picture: its greatest number is ${short(activation)}.`;
      return;
    }
    draw(at("seen-image"), around(image, input), field);
    draw(at("seen-patch"), input, field);
    const [top, left, height, width] = field;
    const part = `${height}\u00a0×\u00a0${width} pixels at row ${top}, column ${left}`;
    at("seen-image").setAttribute("aria-label", `What the DeconvNet passes back to ${part}`);
    at("seen-patch").setAttribute("aria-label", `The picture: ${part}`);
    at("seen-said").textContent =
      `It fires most at row ${place[0]}, column ${place[1]} of ${size.join("\u00a0×\u00a0")}, with ${short(activation)}, because of ${part}.`;
  }

  return {
    clear,
    /** Shows a channel of a layer for a picture. A newer question ends this one. */
    async ask(net, picture, layer, unit) {
      stop();
      const { signal } = (running = new AbortController());
      // That of a live picture changes in place.
      if (picture instanceof Blob) at("seen").classList.add("waiting");
      try {
        const found = await net.deconvnet(picture, layer.index, unit, { signal });
        if (!signal.aborted) show(found);
      } catch (error) {
        if (signal.aborted) return;
        clear();
        if (error.name === "DeviceLost") fail(error);
        else at("seen-said").textContent = `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`;
      }
    },
  };
}

/** Whether a layer is computed from the picture, and not the picture itself. */
export const explainable = (layer) => layer.operations.at(-1) !== "preprocess";
