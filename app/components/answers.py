"""The bar below the card: a button a grade, what else a key does, and the note that goes with the answer."""

from __future__ import annotations

from app.components.desk_parts import Proposals, button_html, proposals_html
from app.components.keys import MAX_NOTE
from app.components.text import escaped
from app.services.views import Card, ScaleView


def answers_html(card: Card, *, scale: ScaleView, can_undo: bool) -> str:
    """Buttons with their keys; after a reveal also the one that keeps the blind grade."""
    revising = card.phase == "revise"
    grades = "".join(
        _grade(grade, scale, own=revising and grade == card.own_grade) for grade in range(scale.max_grade + 1)
    )
    keep = ""
    if revising:
        keep = button_html("Enter", "⏎", f"Keep {card.own_grade}", kind="rl-keep")
    others = (
        ("" if revising else button_html("s", "s", "Skip"))  # a grade that is stored is kept or revised, not skipped
        + button_html("u", "u", "Undo", disabled=not can_undo)
        + button_html("f", "f", "Flag")
    )
    return (
        f'<div class="rl-answers" role="group" aria-label="Your grade">'
        f'<div class="rl-grades">{keep}{grades}</div><div class="rl-others-keys">{others}</div>{_note(card)}</div>'
    )


def list_answers_html(*, picking: bool, can_undo: bool, scale: ScaleView, proposals: Proposals) -> str:
    """The bar below the list view."""
    grades = "".join(_grade(grade, scale, own=False) for grade in range(scale.max_grade + 1)) if picking else ""
    others = (
        button_html("l", "l", "To the card")
        + button_html("b", "b", "One by one" if picking else "Several at once")
        + proposals_html(proposals)
        + button_html("u", "u", "Undo", disabled=not can_undo)
    )
    group = f'<div class="rl-grades">{grades}</div>' if grades else ""
    return (
        f'<div class="rl-answers" role="group" aria-label="Your grades">{group}'
        f'<div class="rl-others-keys">{others}</div></div>'
    )


def empty_html(title: str, text: str, *, turn: int, can_undo: bool = False) -> str:
    """What stands where no card is; the keys that need none still count."""
    undo = f'<div class="rl-answers">{button_html("u", "u", "Undo the last one")}</div>' if can_undo else ""
    return (
        f'<div class="rl-board rl-empty" data-card="" data-turn="{turn}" data-phase="empty">'
        f"<h2>{escaped(title)}</h2><p>{escaped(text)}</p>{undo}</div>"
    )


def _grade(grade: int, scale: ScaleView, *, own: bool) -> str:
    side = "rl-relevant" if grade >= scale.relevant_from else "rl-irrelevant"
    pressed = ' aria-pressed="true"' if own else ""
    return (
        f'<button type="button" class="{side}" data-press="{grade}" aria-keyshortcuts="{grade}"{pressed}>'
        f"<kbd>{grade}</kbd><span>{escaped(scale.labels[grade])}</span></button>"
    )


def _note(card: Card) -> str:
    return (
        f'<input type="text" class="rl-note" data-note="{escaped(card.card)}" maxlength="{MAX_NOTE}" '
        f'aria-label="Note to this pair" placeholder="n  Note" data-ask-note="Goes with your grade" '
        f'data-ask-flag="What is wrong? Enter flags it" autocomplete="off">'
    )
