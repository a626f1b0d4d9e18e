// One stop of the Tab key for many buttons; arrows go from one to the next.

const buttonsOf = (container) => [...container.querySelectorAll("button")];

/** Makes `wanted` the button that Tab stops at; the first one if it is not there. */
export function roving(container, wanted) {
  const buttons = buttonsOf(container);
  const stop = buttons.includes(wanted) ? wanted : buttons[0];
  for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
}

/** Arrows, Home and End move the focus; `reached` hears of the button. */
export function rove(container, reached = () => {}) {
  container.addEventListener("keydown", (event) => {
    const buttons = buttonsOf(container);
    const place = buttons.indexOf(document.activeElement);
    if (place < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = {
      ArrowRight: () => place + 1,
      ArrowLeft: () => place - 1,
      ArrowDown: () => below(buttons, place, 1),
      ArrowUp: () => below(buttons, place, -1),
      Home: () => 0,
      End: () => buttons.length - 1,
    }[event.key]?.();
    if (to === undefined) return;
    event.preventDefault();
    const button = buttons[Math.min(Math.max(to, 0), buttons.length - 1)];
    roving(container, button);
    button.focus();
    reached(button);
  });
  container.addEventListener("focusin", ({ target }) => {
    if (target.matches("button")) roving(container, target);
  });
}

/** The button in the same column of the next row: rows are as long as the container is wide. */
function below(buttons, place, by) {
  const left = buttons[place].getBoundingClientRect().left;
  let next = place + by;
  while (buttons[next] && Math.abs(buttons[next].getBoundingClientRect().left - left) > 1) next += by;
  return buttons[next] ? next : place;
}
