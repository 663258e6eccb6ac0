// What the desk does in the browser alone: where the cursor is, which rows are picked, what was typed as a note, and the
// passage scrolled to its evidence. It is drawn anew after every press, so all of it is kept here and put back.
// Joined in front of `keys.js` by `keys.py`. The query's other candidates come after the card, in a template, and are put
// beside the card that they belong to, and beside no other.

const KEPT = Symbol.for("relabel.reading.kept");
const SEARCH = ".st-key-review-search input";
const NOTES = 20; // cards whose unsent notes are remembered
// ms in which nobody has read a card that came, or what was just revealed on it: the second press of a double one comes
// then, and is not for that card.
const ARRIVING = 150;
const REVEALING = 250;
const ROWS_WITHIN = 4000; // ms in which the row under the cursor is waited for before keys go to the card

const OFFLINE = "No connection. What you graded is saved; keys count again as soon as the connection is back.";
const NOTE = "Note to this pair";
const UNSURE = " The last key may not have arrived: then its card is there again.";

// `cursor` is the row the keys go to, `leaving` the one that was just graded; both by their `data-target`.
function kept() {
  return (window[KEPT] ??= {
    ...{ card: "", shown: "", since: 0, scrolled: 0, notes: new Map() },
    ...{ cursor: null, leaving: null, picks: new Set(), drawn: 0 },
  });
}

// The card on screen; `card` is empty where there is none and only some keys count.
function deskOnScreen() {
  const board = document.querySelector("[data-card]");
  if (board === null) return null;
  return {
    board,
    card: board.dataset.card,
    turn: Number(board.dataset.turn),
    revealed: board.dataset.phase === "revise",
    several: board.dataset.mode === "several",
    ready: board.dataset.ready === "yes",
  };
}

function noteOf(card) {
  return (kept().notes.get(card) ?? "").trim();
}

// The field of the card before may still be on screen, or be drawn anew under the cursor: what is typed then is a note,
// never a grade. So it is remembered for which card a note is asked, until the reader leaves the field.
function askForNote(flags) {
  const desk = deskOnScreen();
  if (desk === null || document.querySelector("[data-note]") === null) return false;
  kept().noting = { card: desk.card, flags };
  openNote();
  return true;
}

function openNote() {
  const { noting } = kept();
  const input = document.querySelector("[data-note]");
  if (!noting || input === null || input.dataset.note !== noting.card || document.activeElement === input) return;
  input.dataset.flags = noting.flags ? "yes" : "no";
  input.placeholder = noting.flags ? input.dataset.askFlag : input.dataset.askNote;
  input.setAttribute("aria-label", noting.flags ? `Flag: ${input.placeholder}` : NOTE);
  input.focus();
}

// Whether a note is asked for on this card whose field is not there yet.
function isNoteAwaited(desk) {
  const { noting } = kept();
  return Boolean(noting) && noting.card === desk.card && !document.activeElement?.matches("[data-note]");
}

function typeAhead(desk, key) {
  if (key.length === 1) kept().notes.set(desk.card, (kept().notes.get(desk.card) ?? "") + key);
}

// A flag that was begun and left is none: what is typed into the field afterwards is a note again.
function leaveNote(input) {
  if (!input.isConnected || document.activeElement === input) return;
  kept().noting = null;
  input.dataset.flags = "no";
  input.placeholder = input.dataset.atRest;
  input.setAttribute("aria-label", NOTE);
}

function isConnected() {
  const app = document.querySelector("[data-test-connection-state]");
  return app === null || app.dataset.testConnectionState === "CONNECTED";
}

// Streamlit connects again by itself; until then a key would be lost, and that is said where the reader looks.
function sayConnection() {
  const said = document.querySelector("[data-offline]");
  if (isConnected()) return said?.remove();
  const desk = said === null ? deskOnScreen() : null;
  if (desk === null) return;
  const notice = document.createElement("p");
  Object.assign(notice, { className: "rl-notice rl-refused", role: "alert", textContent: isWaiting(desk) ? OFFLINE + UNSURE : OFFLINE });
  notice.dataset.offline = "yes";
  desk.board.append(notice);
}

function sayUnderWay(desk, key) {
  desk.board.classList.add("rl-under-way");
  document.querySelector(`.rl-answers [data-press="${CSS.escape(key)}"]`)?.classList.add("rl-pressed");
}

function rows(desk) {
  return [...desk.board.querySelectorAll("[data-target]")];
}

function passageOf(desk) {
  return desk.board.querySelector("[data-read]");
}

function focusOn(element) {
  element?.focus({ preventScroll: true });
  element?.scrollIntoView({ block: "nearest" });
}

// Keys that need no server; true when it was one of them.
function move(name, desk, row) {
  if (name === "/") {
    document.querySelector(SEARCH)?.focus();
    return document.querySelector(SEARCH) !== null;
  }
  if (name === "n") return askForNote(false);
  if (name === "d") {
    const definition = desk.board.querySelector("details[data-definition]");
    if (definition !== null) definition.open = !definition.open;
    return definition !== null;
  }
  if (name === "Escape") {
    kept().cursor = null;
    focusOn(passageOf(desk));
    return row !== null;
  }
  if (name !== "ArrowDown" && name !== "ArrowUp") return false;
  const all = rows(desk);
  const at = row === null ? -1 : all.indexOf(row);
  const to = name === "ArrowDown" ? Math.min(at + 1, all.length - 1) : at - 1;
  if (all.length === 0) return false;
  if (to >= 0) {
    kept().cursor = all[to].dataset.target;
    focusOn(all[to]);
  } else if (at >= 0 && passageOf(desk) !== null) {
    kept().cursor = null;
    focusOn(passageOf(desk));
  }
  return true;
}

function picked() {
  return [...kept().picks].map((target) => Number(target.replace("pair:", "")));
}

function pick(row) {
  const box = row.querySelector("[data-pick]");
  if (box !== null) {
    box.checked = !box.checked;
    keepPicks();
  }
  return true;
}

function keepPicks() {
  const boxes = [...document.querySelectorAll("[data-pick]")];
  kept().picks = new Set(boxes.filter((box) => box.checked).map((box) => box.closest("[data-target]").dataset.target));
  const count = document.querySelector("[data-picked]");
  if (count !== null) count.textContent = String(kept().picks.size);
}

function scrollToEvidence(passage) {
  const mark = passage.querySelector("mark");
  if (mark === null || passage.scrollHeight <= passage.clientHeight) return;
  const above = mark.getBoundingClientRect().top - passage.getBoundingClientRect().top;
  passage.scrollTop = Math.max(0, above + passage.scrollTop - passage.clientHeight / 3);
}

// The row the cursor was on; one that was just graded makes way for the next open one, and at last for the card.
function rowUnderCursor(desk) {
  const { cursor, leaving } = kept();
  const all = rows(desk);
  const at = all.findIndex((row) => row.dataset.target === cursor);
  if (at < 0 || cursor !== leaving || all[at].dataset.open === "yes") return all[at] ?? null;
  const isOpen = (row) => row.dataset.open === "yes";
  return all.slice(at + 1).find(isOpen) ?? all.find(isOpen) ?? null;
}

function placeOfRows(desk) {
  return desk.board.querySelector("[data-beside-here]");
}

// Whether the cursor was on a row whose list is not there yet; a grade meant for it must not go to the card.
function isRowAwaited(desk) {
  const place = placeOfRows(desk);
  if (place === null || place.dataset.filled === "yes" || kept().cursor === null) return false;
  return performance.now() - kept().drawn < ROWS_WITHIN;
}

// Puts the other candidates beside their card, and the cursor back where it was in them.
function placeRows() {
  const desk = deskOnScreen();
  const place = desk === null ? null : placeOfRows(desk);
  if (place === null || place.dataset.filled === "yes") return;
  const source = document.querySelector("template[data-beside]");
  if (source === null || source.dataset.beside !== desk.card || Number(source.dataset.at) !== desk.turn) return;
  place.dataset.filled = "yes";
  place.append(source.content.cloneNode(true));
  const row = rowUnderCursor(desk);
  Object.assign(kept(), { cursor: row === null ? null : row.dataset.target, leaving: null });
  const active = document.activeElement;
  if (row !== null && (isLost(active) || active === passageOf(desk))) focusOn(row);
}

// The buttons of a row, for the mouse: beside the card there is one group of them, and it goes where it is wanted.
function giveButtons(event) {
  const row = event.target instanceof Element ? event.target.closest(".rl-others [data-target]") : null;
  if (row === null || row.dataset.open === "no" || row.querySelector(".rl-row-grades") !== null) return;
  const group = row.closest(".rl-others").querySelector(".rl-row-grades");
  if (group !== null) row.append(group);
}

function isLost(element) {
  return element === null || element === document.body || element.closest("[data-testid='stMain']") === element;
}

// Once a card was drawn: its note, its place in the text, its picks and the cursor are put back, or begin anew.
function settle() {
  const desk = deskOnScreen();
  if (desk === null || desk.board.dataset.settled === "yes") return;
  desk.board.dataset.settled = "yes";
  const memory = kept();
  const isNew = memory.card !== desk.card;
  if (isNew) Object.assign(memory, { card: desk.card, scrolled: 0 });
  const shown = `${desk.card} ${desk.board.dataset.phase}`;
  if (memory.shown !== shown) Object.assign(memory, { shown, since: performance.now() });
  const unread = memory.since + (desk.revealed ? REVEALING : ARRIVING) - performance.now();
  const takeKeys = () => (desk.board.dataset.ready = "yes");
  if (unread > 0) setTimeout(takeKeys, unread);
  else takeKeys();
  if (memory.picks.size > 0) {
    if (!desk.several) memory.picks = new Set();
    for (const box of desk.board.querySelectorAll("[data-pick]")) {
      box.checked = memory.picks.has(box.closest("[data-target]").dataset.target);
    }
    keepPicks();
  }
  const passage = passageOf(desk);
  if (passage !== null) {
    if (isNew) scrollToEvidence(passage);
    else passage.scrollTop = memory.scrolled;
    passage.addEventListener("scroll", () => (memory.scrolled = passage.scrollTop), { passive: true });
  }
  memory.drawn = performance.now();
  const waits = placeOfRows(desk) !== null; // the cursor goes back once the rows are there
  const row = waits ? null : rowUnderCursor(desk);
  if (!waits) Object.assign(memory, { cursor: row === null ? null : row.dataset.target, leaving: null });
  if (isLost(document.activeElement)) focusOn(row ?? passage ?? rows(desk)[0]);
}

function keepNote() {
  const input = document.querySelector("[data-note]");
  if (input === null || input.dataset.kept === "yes") return;
  input.dataset.kept = "yes";
  input.dataset.atRest = input.placeholder;
  const card = input.dataset.note;
  const memory = kept();
  input.value = memory.notes.get(card) ?? "";
  input.addEventListener("input", () => memory.notes.set(card, input.value));
  input.addEventListener("blur", () => setTimeout(() => leaveNote(input)));
  if (memory.noting && memory.noting.card !== card && memory.noting.card !== deskOnScreen()?.card) memory.noting = null;
  openNote();
  for (const old of [...memory.notes.keys()].slice(0, -NOTES)) memory.notes.delete(old);
}

// Follows the page as it is drawn; returns what ends that.
function watch() {
  const look = () => {
    settle();
    placeRows();
    keepNote();
    sayConnection();
  };
  const observer = new MutationObserver(look);
  const attributeFilter = ["data-test-connection-state"];
  observer.observe(document.body, { childList: true, subtree: true, attributeFilter });
  look();
  for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, giveButtons, { passive: true });
  return () => {
    observer.disconnect();
    for (const kind of ["pointerover", "focusin"]) document.removeEventListener(kind, giveButtons);
  };
}
