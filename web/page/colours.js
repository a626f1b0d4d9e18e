// Numbers as colours: dark blue to yellow, of even lightness steps, for eyes of all kinds.

// Viridis (van der Walt and Smith, 2015) at even distances.
const STOPS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"].map((hex) =>
  [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)),
);

/** 256 colours as red, green, blue. */
const TABLE = Uint8Array.from({ length: 3 * 256 }, (_, i) => {
  const place = (Math.floor(i / 3) / 255) * (STOPS.length - 1);
  const below = Math.min(Math.floor(place), STOPS.length - 2);
  const [a, b] = [STOPS[below][i % 3], STOPS[below + 1][i % 3]];
  return Math.round(a + (b - a) * (place - below));
});

/** The place of a number between two others in the table. */
function place(x, least, greatest) {
  return greatest > least ? Math.round((255 * (x - least)) / (greatest - least)) : 0;
}

/** Of bars, whose height says how large a number is: it stands out from light and dark. */
export const BAR = "#21918c";

/** One channel of (height, width, channels) as a picture. */
export function mapOf({ height, width, channels, data }, channel, [least, greatest]) {
  const pixels = new ImageData(width, height);
  for (let i = 0, from = channel; i < pixels.data.length; i += 4, from += channels) {
    const at = 3 * Math.min(Math.max(place(data[from], least, greatest), 0), 255);
    pixels.data[i] = TABLE[at];
    pixels.data[i + 1] = TABLE[at + 1];
    pixels.data[i + 2] = TABLE[at + 2];
    pixels.data[i + 3] = 255;
  }
  return pixels;
}

/** A canvas that shows pixels one to one. */
export function canvasOf(pixels) {
  const canvas = document.createElement("canvas");
  canvas.width = pixels.width;
  canvas.height = pixels.height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.setAttribute("aria-hidden", "true");
  return canvas;
}

/** A number of a map: 0.0123, 4.56. */
export function short(x) {
  return x === 0 ? "0" : Number(x.toPrecision(3)).toString().replace("-", "−");
}

/** Heat, from 0 to 1 for each pixel, over a picture: the hotter, the more it covers, up to `share`. */
export function heatOver(picture, heat, share) {
  const pixels = new ImageData(picture.width, picture.height);
  heat.forEach((x, i) => {
    const from = 3 * Math.min(Math.max(place(x, 0, 1), 0), 255);
    const cover = share * Math.sqrt(Math.min(Math.max(x, 0), 1));
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = picture.data[4 * i + c] * (1 - cover) + TABLE[from + c] * cover;
    pixels.data[4 * i + 3] = 255;
  });
  return pixels;
}

/** Red, green and blue for each pixel, around grey, which is 0. */
export function around(data, { width, height }) {
  const pixels = new ImageData(width, height);
  const most = data.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-30);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = 127.5 + (127.5 * data[3 * i + c]) / most;
    pixels.data[4 * i + 3] = 255;
  }
  return pixels;
}
