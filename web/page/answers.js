// The classes of an answer, each with its probability and a button that asks why. The entries stay while their contents change, so that
// the focus stays where it is while the camera is on.
import { percent } from "./numbers.js";

const at = (id) => document.getElementById(id);

/** `why` is called with the prediction whose button was pressed, whether it is the most probable one, and whether it is shown already. */
export function createAnswers({ why }) {
  let shown = [];
  /** The class whose reasons are shown: its index; null if none are. */
  let marked = null;

  function entry(place) {
    const item = document.createElement("li");
    for (const kind of ["label", "share"]) {
      const part = document.createElement("span");
      part.className = kind;
      item.append(part);
    }
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small ask";
    button.textContent = "Why?";
    button.onclick = () => why(shown[place], place === 0, shown[place].index === marked);
    const bar = document.createElement("span");
    bar.className = "bar";
    bar.setAttribute("aria-hidden", "true");
    item.append(button, bar);
    return item;
  }

  function mark() {
    [...at("top").children].forEach((item, place) => {
      item.querySelector("button").setAttribute("aria-pressed", String(shown[place].index === marked));
    });
  }

  return {
    /** Shows predictions, most probable first. */
    show(top) {
      shown = top;
      const list = at("top");
      while (list.children.length > top.length) list.lastChild.remove();
      while (list.children.length < top.length) list.append(entry(list.children.length));
      top.forEach(({ label, probability }, place) => {
        const item = list.children[place];
        const name = item.querySelector(".label");
        name.textContent = name.title = label;
        item.querySelector(".share").textContent = percent(probability);
        item.querySelector(".bar").style.setProperty("--share", `${(100 * probability).toFixed(2)}%`);
        item.querySelector("button").setAttribute("aria-label", `Why? ${label}`);
      });
      mark();
    },
    /** The reasons for the class of this index are shown; null if none are. */
    mark(index) {
      marked = index;
      mark();
    },
    clear() {
      shown = [];
      at("top").replaceChildren();
    },
  };
}
