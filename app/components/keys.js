// Which key was pressed on what, and nothing else. The id of the card, or of the row in a list, travels with the press,
// so that the server can refuse what is late; it is never moved to the next card. The id is read from the screen at that
// moment: a press counts as soon as the card is there, and never for one that is not. One press is under way at a time:
// until the server has dealt with it (the turn changes), or has kept silent for too long, others are refused. Streamlit
// keeps `c` and `r` for itself, the browser whatever comes with Ctrl, Alt or Meta: they are not used here.

const UNDER_WAY = Symbol.for("relabel.keys.under_way");
const PATIENCE = 4000; // ms after which a press without an answer no longer stands in the way

const ALIASES = { z: "u", h: "?", "؟": "?" };
const IN_COMPOSITION = 229; // the `keyCode` of a key that an input method takes; Safari tells it in no other way

function isTyping(element) {
  return (
    element.isContentEditable ||
    element.matches("input[type='checkbox']") === false &&
      element.closest(
        "input, textarea, select, [role='textbox'], [role='combobox'], [role='slider'], [role='radio'], [data-testid='stDataFrame']",
      ) !== null
  );
}

// Buttons and links keep Enter and Space, and what opens keeps its own keys.
function isOperable(element) {
  return element.closest("button, a[href], summary, input") !== null;
}

function isCovered() {
  return document.querySelector("[role='dialog'], [role='listbox'], [data-testid='stPopoverBody']") !== null;
}

// The key as the desk names it. The key left of 1 is a 0 for the left hand, but not where it switches between scripts, as
// on Japanese keyboards. Digits that need Shift (French, Czech) and letters of other scripts (Russian, Arabic) go by their
// place; a capital is the same key.
function nameOf(event) {
  const { key, code } = event;
  if (key === " ") return "Space";
  if (key.length > 1 && key !== "Dead") return key;
  const isPlain = !event.shiftKey && !event.getModifierState("AltGraph");
  if (isPlain && code === "Backquote") return "0";
  if (isPlain && /^Digit\d$/.test(code)) return /^\d$/.test(key) ? key : code.at(-1);
  const isForeign = /\p{L}/u.test(key) && !/\p{Script=Latin}/u.test(key);
  const name = isForeign && /^Key[A-Z]$/.test(code) ? code.at(-1).toLowerCase() : key.toLowerCase();
  return ALIASES[name] ?? name;
}

function isWaiting(desk) {
  const sent = window[UNDER_WAY];
  return sent !== undefined && sent.turn === desk.turn && performance.now() - sent.at < PATIENCE;
}

export default function ({ data, setTriggerValue }) {
  const { keys, once, renew_seconds: renewSeconds, idle_seconds: idleSeconds } = data;
  let heard = performance.now(); // when the server last heard of this card
  let active = performance.now(); // when somebody last did something here

  function send(desk, { target, key, ...rest }) {
    if (isWaiting(desk) || !isConnected()) return;
    if (key !== "u" && target === desk.card && !desk.ready) return;
    window[UNDER_WAY] = { turn: desk.turn, at: performance.now() };
    heard = performance.now();
    sayUnderWay(desk, key);
    setTriggerValue("pressed", { card: target, key, turn: desk.turn, pressed_at: Date.now(), ...rest });
  }

  function act(name, element) {
    const desk = deskOnScreen();
    if (desk === null) return false;
    const row = element.closest("[data-target]");
    if (move(name, desk, row)) return true;
    if (name !== "u" && name !== "/" && isRowAwaited(desk)) return true;
    if (name === "Space" && desk.several && row !== null) return pick(row);
    const isGrade = name.length === 1 && name >= "0" && name <= "9";
    if (isGrade && desk.several && picked().length > 0) {
      send(desk, { target: "several", key: name, pairs: picked() });
      return true;
    }
    if (name === "Enter" && row !== null) {
      send(desk, { target: row.dataset.target, key: "open" });
      return true;
    }
    if (name === "Enter" || name === "Space") {
      if (!desk.revealed) return false;
      send(desk, { target: desk.card, key: "keep", note: noteOf(desk.card) });
      return true;
    }
    if (!keys.includes(name)) return false;
    if (name === "f" && noteOf(desk.card) === "") return askForNote(true);
    if (isGrade && row !== null) {
      if (row.dataset.open === "no") return true;
      kept().leaving = row.dataset.target;
      send(desk, { target: row.dataset.target, key: name });
      return true;
    }
    if (desk.card === "" && (isGrade || name === "s" || name === "f")) return true;
    send(desk, { target: desk.card, key: name, note: noteOf(desk.card) });
    return true;
  }

  const onKey = (event) => {
    active = performance.now();
    if (event.repeat && !event.key.startsWith("Arrow")) return;
    if (event.isComposing || event.keyCode === IN_COMPOSITION || event.ctrlKey || event.metaKey || event.altKey) return;
    const element = event.composedPath()[0];
    if (!(element instanceof Element) || isCovered()) return;
    if (element.matches("[data-note]")) {
      if (event.key === "Enter" && element.dataset.flags === "yes" && element.value.trim() !== "") act("f", document.body);
      else if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      kept().noting = null;
      element.blur();
      return;
    }
    if (event.key === "Escape" && element.matches(".st-key-review-search input")) return element.blur();
    if (isTyping(element)) return;
    const open = deskOnScreen();
    if (open !== null && isNoteAwaited(open)) {
      event.preventDefault();
      const { flags } = kept().noting;
      if (event.key === "Enter" || event.key === "Escape") kept().noting = null;
      if (event.key === "Enter" && flags && noteOf(open.card) !== "") act("f", document.body);
      else typeAhead(open, event.key);
      return;
    }
    const name = nameOf(event);
    if ((name === "Enter" || name === "Space") && isOperable(element)) return;
    if (!act(name, element)) return;
    event.preventDefault();
    // Whoever goes on by key is at the card: Enter and Space must not stay with a switch that was clicked before.
    if (document.activeElement === element && element.closest("[data-card]") === null) element.blur();
  };

  // The second click of a double click would fall on the button of the next card, which stands in the same place.
  const onClick = (event) => {
    const element = event.composedPath()[0];
    if (!(element instanceof Element)) return;
    const button = element.closest("[data-press]");
    if (event.detail >= 2 && (button !== null || (once && element.closest(`.${CSS.escape(once)}`) !== null))) {
      event.preventDefault();
      event.stopImmediatePropagation();
    } else if (button !== null) {
      act(button.dataset.press, button);
    }
  };

  // A link to a pair is sent to others without a name in it; who follows it here stays who they are.
  const onLink = (event) => {
    const link = event.composedPath()[0]?.closest?.("a[data-pair-link]");
    const person = new URLSearchParams(window.location.search).get("person");
    if (!link || person === null) return;
    const plain = link.getAttribute("href");
    link.setAttribute("href", `${plain}&person=${encodeURIComponent(person)}`);
    setTimeout(() => link.setAttribute("href", plain));
  };

  const onPick = (event) => {
    if (event.target instanceof Element && event.target.matches("[data-pick]")) keepPicks();
  };

  const seen = () => (active = performance.now());

  // The card is open as long as somebody works on it: then the server is asked to keep it, before its time runs out.
  const pulse = setInterval(() => {
    const desk = deskOnScreen();
    const now = performance.now();
    if (desk === null || desk.card === "" || document.visibilityState !== "visible" || isWaiting(desk)) return;
    if (now - heard < 1000 * renewSeconds || now - active > 1000 * idleSeconds) return;
    heard = now;
    setTriggerValue("alive", { card: desk.card });
  }, 1000);

  const stop = watch();
  window.addEventListener("keydown", onKey);
  window.addEventListener("click", onClick, true);
  for (const kind of ["click", "auxclick"]) window.addEventListener(kind, onLink, true);
  window.addEventListener("change", onPick, true);
  for (const kind of ["pointermove", "wheel"]) window.addEventListener(kind, seen, { passive: true });
  return () => {
    clearInterval(pulse);
    stop();
    window.removeEventListener("keydown", onKey);
    window.removeEventListener("click", onClick, true);
    for (const kind of ["click", "auxclick"]) window.removeEventListener(kind, onLink, true);
    window.removeEventListener("change", onPick, true);
    for (const kind of ["pointermove", "wheel"]) window.removeEventListener(kind, seen);
  };
}
