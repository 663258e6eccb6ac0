// Grades by key: one answer a card. The id of the card travels with the press, so that the server can refuse what is
// late; it is never moved to the next card. The id is read from the card on screen at that moment: a press counts as soon
// as the card is there, and never for one that is not. Streamlit keeps `c` and `r` for itself: they are not used here.

const MEMORY = Symbol.for("relabel.keys.answered");
const KEPT = 200;

function answered() {
  return (window[MEMORY] ??= new Set());
}

function remember(identity) {
  const seen = answered();
  seen.add(identity);
  if (seen.size > KEPT) seen.delete(seen.values().next().value);
}

function isTyping(event) {
  const target = event.composedPath()[0];
  if (!(target instanceof Element)) return false;
  return (
    target.isContentEditable ||
    target.closest("input, textarea, select, [role='textbox'], [role='combobox'], [data-testid='stDataFrame']") !== null
  );
}

function isCovered() {
  return document.querySelector("[role='dialog']") !== null;
}

// The turn changes once the server has dealt with a press, also when that leaves the same card on screen.
function cardOnScreen() {
  const shown = document.querySelector("[data-card]");
  return shown === null ? null : { card: shown.dataset.card, identity: `${shown.dataset.card} ${shown.dataset.turn}` };
}

export default function ({ data, setTriggerValue }) {
  const { keys, once } = data;

  const onKey = (event) => {
    if (event.repeat || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!keys.includes(event.key) || isTyping(event) || isCovered()) return;
    const shown = cardOnScreen();
    if (shown === null) return;
    event.preventDefault();
    if (answered().has(shown.identity)) return;
    remember(shown.identity);
    setTriggerValue("pressed", { card: shown.card, key: event.key, pressed_at: Date.now() });
  };

  // The second click of a double click would fall on the button of the next card, which stands in the same place.
  const onClick = (event) => {
    const target = event.composedPath()[0];
    if (event.detail < 2 || !(target instanceof Element) || target.closest(`.${CSS.escape(once)}`) === null) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };

  window.addEventListener("keydown", onKey);
  window.addEventListener("click", onClick, true);
  return () => {
    window.removeEventListener("keydown", onKey);
    window.removeEventListener("click", onClick, true);
  };
}
