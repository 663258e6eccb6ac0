"""All candidates of one query as a list that is graded in place: beside the card, and as a screen of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.components.badges import grade_text
from app.components.desk_parts import Proposals, button_html, line_html, proposals_html
from app.components.keys import target_of
from app.components.passage import query_html
from app.components.scripts import written_in
from app.components.text import escaped, shortened
from app.services.desk_views import SidePair, SideState
from app.services.views import ReviewProgress, ScaleView

MOST_BESIDE = 60
"""Rows beside the card; a query has some dozens of candidates, and the list view shows all of them."""
READ = 6000
"""Characters of each passage that the list view shows; who needs more opens it as a card."""
_BESIDE = 140
_STATES: dict[SideState, str] = {
    "open": "to be graded",
    "yours": "graded by you",
    "done": "graded",
    "elsewhere": "not yours to grade now",
}
_MARKS: dict[SideState, str] = {"open": "○", "yours": "✓", "done": "●", "elsewhere": "–"}
_OPEN: dict[SideState, str] = {"open": "yes", "yours": "again", "done": "no", "elsewhere": "no"}
"""Whether a row takes a grade: one's own can be replaced by another."""


def side_html(side: Sequence[SidePair], *, scale: ScaleView, card: str, turn: int, proposals: Proposals) -> str:
    """The other candidates of the card's query; arrows move in them, a grade goes to the one under the cursor.

    In a `<template>`: it comes after the card, and `reading.js` puts it beside that card and no other. A row's buttons
    are there once, and go to the row that is pointed at.
    """
    others = [pair for pair in side if not pair.current]
    if not others:
        return _template(card, turn, "")
    rows = "".join(_row(pair, scale) for pair in others[:MOST_BESIDE])
    left_out = len(others) - MOST_BESIDE
    rest = f'<p class="rl-muted">and {left_out:,} more in the list view</p>' if left_out > 0 else ""
    return _template(
        card,
        turn,
        f'<h3>Other passages <span class="rl-muted">{_counted(others)}</span></h3>'
        f'<div class="rl-small-keys">{button_html("l", "l", "On one screen")}'
        f"{button_html('b', 'b', 'Several at once')}{proposals_html(proposals)}</div>"
        f'<ol class="rl-rows" aria-label="Other passages of this question">{rows}</ol>{rest}'
        f"<div hidden data-grades>{_buttons(scale)}</div>",
    )


def _template(card: str, turn: int, inner: str) -> str:
    return f'<template data-beside="{escaped(card)}" data-at="{turn}">{inner}</template>'


def list_html(
    side: Sequence[SidePair],
    *,
    scale: ScaleView,
    turn: int,
    query: str,
    definition: str | None,
    guidelines: str,
    texts: Mapping[int, str],
    picking: bool,
    progress: ReviewProgress,
) -> str:
    """A whole query on one screen; with `picking`, rows can be picked and graded together.

    `texts` is what is read, by pair id, cut at `READ` characters.
    """
    rows = "".join(_row(pair, scale, text=texts.get(pair.pair_id), picks=picking) for pair in side)
    chosen = (
        '<p class="rl-picked" role="status"><b data-picked>0</b> picked. Pick with <kbd>Space</kbd>, then press one '
        "grade for all of them; <kbd>u</kbd> takes it back.</p>"
        if picking
        else ""
    )
    return (
        f'<div class="rl-board rl-list" data-card="" data-turn="{turn}" data-phase="list" '
        f'data-mode="{"several" if picking else "list"}">'
        f"{line_html('All passages of this question', _counted(side), progress)}"
        f"{query_html(query, definition, guidelines=guidelines)}{chosen}"
        f'<ol class="rl-rows" tabindex="0" aria-label="All passages of this question">{rows}</ol></div>'
    )


def _counted(side: Sequence[SidePair]) -> str:
    waiting = sum(pair.state == "open" for pair in side)
    return f"{len(side):,}, {waiting:,} not graded by people"


def _row(pair: SidePair, scale: ScaleView, *, text: str | None = None, picks: bool = False) -> str:
    """A row beside the card shows one line; in the list view (`text`) the passage is there to be read."""
    name = pair.title.strip() or pair.passage_id
    level = "h4" if text is None else "h3"
    head = (
        f'<li class="rl-row rl-row-{pair.state}" data-target="{target_of(pair.pair_id)}" tabindex="-1" '
        f'data-open="{_OPEN[pair.state]}"{" data-current" if pair.current else ""}>'
    )
    heading = (
        f'<{level} {written_in(name)}><span aria-hidden="true">{_MARKS[pair.state]}</span> {escaped(name)}</{level}>'
    )
    said = _said(pair, scale)
    below = f'<p class="rl-row-said">{said}</p>' if said else ""
    if text is None:
        return f"{head}{heading}<p {written_in(pair.start)}>{escaped(shortened(pair.start, _BESIDE))}</p>{below}</li>"
    cut = "… (press Enter for the rest)" if len(text) >= READ else ""
    box = ""
    if picks and pair.state == "open":
        box = f'<input type="checkbox" data-pick tabindex="-1" aria-label="Pick {escaped(shortened(name, 80))}">'
    grades = "" if _OPEN[pair.state] == "no" else _buttons(scale)
    return (
        f'{head}{box}<div>{heading}<p class="rl-row-text" {written_in(text)}>{escaped(text)}{cut}</p>'
        f"{below}{grades}</div></li>"
    )


def _said(pair: SidePair, scale: ScaleView) -> str:
    """What is known of the row: this person's grade, the one that holds, the proposed one, and whether it waits."""
    parts = []
    if pair.own_grade is not None:
        parts.append(f"<b>you {_short(pair.own_grade, scale)}</b>")
    elif pair.state != "open":
        parts.append(f"<span>{_STATES[pair.state]}</span>")
    if pair.curated_grade is not None and pair.curated_grade != pair.own_grade:
        parts.append(f"<span>holds {_short(pair.curated_grade, scale)}</span>")
    if pair.proposed_grade is not None:
        sure = "" if pair.confidence is None else f", {pair.confidence:.0%} sure"
        parts.append(f"<span>proposed {_short(pair.proposed_grade, scale)}{sure}</span>")
    return "".join(parts)


def _short(grade: int, scale: ScaleView) -> str:
    return f'<i title="{escaped(grade_text(grade, scale))}">{grade}</i>'


def _buttons(scale: ScaleView) -> str:
    """Small buttons for the mouse; beside the card they are there for the row that is pointed at or has the cursor."""
    buttons = "".join(
        f'<button type="button" data-press="{grade}" tabindex="-1" title="{escaped(scale.labels[grade])}">'
        f"{grade}</button>"
        for grade in range(scale.max_grade + 1)
    )
    return f'<div class="rl-row-grades" role="group" aria-label="Grade this passage">{buttons}</div>'
