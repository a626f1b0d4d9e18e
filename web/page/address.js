// A network by its address: in the field of the page, or as ?weights=URL&arch=NAME in the page's own.

/** What to load from an address, or a sentence why that cannot be. */
export function networkAt(text, arch) {
  let url;
  try {
    url = new URL(text.trim(), document.baseURI);
  } catch {
    return { why: `${text} is no address` };
  }
  if (!/^https?:$/.test(url.protocol)) return { why: `${url.protocol} is no address that a page can read; drop the file instead` };
  if (url.origin !== location.origin) {
    return {
      why:
        `this page asks no other server, so that nothing leaves it, and ${url.host} is another one; download the file there ` +
        "and drop it on the page",
    };
  }
  const name = unescaped(url.pathname.split("/").at(-1)) || url.pathname;
  return { network: { source: url.href, name, arch: arch || undefined } };
}

/** A part of a path as people write it. */
function unescaped(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** What the address of the page asks for; null if nothing. */
export function requested() {
  const query = new URLSearchParams(location.search);
  const weights = query.get("weights");
  return weights ? networkAt(weights, query.get("arch")) : null;
}
