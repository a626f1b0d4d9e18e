// The first filters as pictures: each around grey, as strong as it can be.
import { canvasOf } from "./colours.js";
import { rove, roving } from "./rove.js";

const at = (id) => document.getElementById(id);

let chosen = () => {};
rove(at("filters"));

/** Filter `filter` as a picture: in colour if its channels are colours, the mean of its channels otherwise. */
function picture({ height, width, channels, colours, data }, filter) {
  const size = height * width * channels;
  const weights = data.subarray(filter * size, (filter + 1) * size);
  const largest = weights.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-30);
  const grey = (x) => 128 + (127 * x) / largest;
  const order = { rgb: [0, 1, 2], bgr: [2, 1, 0] }[colours];
  const pixels = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    const taps = weights.subarray(i * channels, (i + 1) * channels);
    const mean = taps.reduce((sum, x) => sum + x, 0) / channels;
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = grey(order ? taps[order[c]] : mean);
    pixels.data[4 * i + 3] = 255;
  }
  return pixels;
}

/** Shows filters, or that there are none; `open` is called with the number of the one that is clicked. */
export function showFilters(filters, open) {
  at("filters-part").hidden = !filters;
  if (!filters) return;
  const { layer, count, height, width, channels, colours } = filters;
  chosen = open;
  at("filters-about").textContent =
    `${layer}: ${count} filters of ${height} × ${width} pixels over ${channels} channels. Grey is 0` +
    `${colours === "none" ? ", the channels are averaged" : ""}; each is as strong as it can be.`;
  at("filters").replaceChildren(
    ...Array.from({ length: count }, (_, filter) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", `Filter ${filter}`);
      button.title = `Filter ${filter}`;
      button.append(canvasOf(picture(filters, filter)));
      button.onclick = () => chosen(filter);
      return button;
    }),
  );
  roving(at("filters"));
}
