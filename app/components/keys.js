// Grades by key: one answer a card and turn. The id of the card travels with the press, so the server can refuse what
// is late; it is never moved to the next card. Streamlit keeps `c` and `r` for itself: they are not used here.

const MEMORY = Symbol.for("relabel.keys.answered");
const KEPT = 200;

function answered() {
  return (window[MEMORY] ??= new Set());
}

function remember(turn) {
  const seen = answered();
  seen.add(turn);
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

function isOnScreen(card) {
  return document.querySelector(`[data-card="${CSS.escape(card)}"]`) !== null;
}

function isCovered() {
  return document.querySelector("[role='dialog']") !== null;
}

export default function ({ data, setTriggerValue }) {
  const { card, turn, keys, once } = data;
  const identity = `${card} ${turn}`;

  const onKey = (event) => {
    if (event.repeat || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!keys.includes(event.key) || isTyping(event) || isCovered() || !isOnScreen(card)) return;
    event.preventDefault();
    if (answered().has(identity)) return;
    remember(identity);
    setTriggerValue("pressed", { card, key: event.key, pressed_at: Date.now() });
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
