// The networks that `ocelli serve` has beside the page, as links. It says in a header of the page where their list is, so on any
// other server nothing is asked for.
import { bytes } from "./numbers.js";

const [visit] = performance.getEntriesByType("navigation");
const list = visit?.serverTiming?.find(({ name }) => name === "ocelli-weights")?.description;
if (list) offer(list);

async function offer(list) {
  const response = await fetch(list).catch(() => null);
  // The server may have been ended in the meantime.
  const networks = response?.ok ? await response.json().catch(() => []) : [];
  const open = new URLSearchParams(location.search).get("weights");
  const links = networks.map(({ name, bytes: size, url }) => {
    const link = document.createElement("a");
    link.href = `?weights=${encodeURIComponent(url)}`;
    link.textContent = name;
    link.title = `${name}, ${bytes(size)}`;
    if (url === open) link.setAttribute("aria-current", "true");
    const item = document.createElement("li");
    item.append(link);
    return item;
  });
  const served = document.getElementById("served");
  served.querySelector("ul").replaceChildren(...links);
  served.hidden = links.length === 0;
}
