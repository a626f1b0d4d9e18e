// Numbers as people read them.

const three = (x) => Number(x.toPrecision(3)).toLocaleString("en");

/** 545 kB; in powers of ten, as browsers and shops count. */
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB"];
  const step = Math.min(Math.max(0, Math.floor(Math.log10(Math.max(n, 1)) / 3)), units.length - 1);
  return `${three(n / 1000 ** step)} ${units[step]}`;
}

/** 11.7 million. */
export function count(n) {
  if (n >= 1e9) return `${three(n / 1e9)} billion`;
  return n >= 1e6 ? `${three(n / 1e6)} million` : n.toLocaleString("en");
}

/** 3.2 ms, 1.4 s. */
export function milliseconds(ms) {
  return ms < 1000 ? `${three(ms)} ms` : `${three(ms / 1000)} s`;
}

/** Never a certainty that rounding has made. */
export function percent(p) {
  if (p < 0.0005) return "< 0.1%";
  return p > 0.9995 ? "> 99.9%" : `${(100 * p).toFixed(1)}%`;
}

export function rate(perSecond) {
  return three(perSecond);
}
