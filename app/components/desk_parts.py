"""Small parts of the review board: buttons that stand for keys, and the line that says why a card is here."""

from __future__ import annotations

from typing import Literal

from app.components.text import escaped
from app.services.views import ReviewProgress

Proposals = Literal["shown", "hidden", "never"]
"""Whether the rows of a question's passages show what was proposed for them; never where they are judged blind."""


def button_html(
    press: str,
    key: str,
    label: str,
    *,
    disabled: bool = False,
    kind: str = "",
    title: str = "",
    pressed: bool | None = None,
) -> str:
    """A button with its key in front of the label; `pressed` makes it a switch."""
    more = " disabled" if disabled else ""
    more += f' title="{escaped(title)}"' if title else ""
    more += "" if pressed is None else f' aria-pressed="{"true" if pressed else "false"}"'
    return (
        f'<button type="button" class="{kind}" data-press="{escaped(press)}"{more}>'
        f"<kbd>{escaped(key)}</kbd><span>{escaped(label)}</span></button>"
    )


def proposals_html(proposals: Proposals) -> str:
    """The switch that shows what was proposed for rows; nothing where nobody may see it."""
    if proposals == "never":
        return ""
    shown = proposals == "shown"
    title = (
        "Proposals of passages that you have not graded are shown, and you are not asked for these blind any more."
        if shown
        else "Shows what was proposed for these passages. You are then not asked for them blind any more."
    )
    label = "Hide proposals" if shown else "Show proposals"
    return button_html("p", "p", label, title=title, pressed=shown)


def line_html(name: str, text: str, progress: ReviewProgress) -> str:
    """The line above the question: why it is here, this person's work in numbers, and where help is."""
    return (
        f'<div class="rl-line"><p class="rl-why"><b>{escaped(name)}</b> {escaped(text)}</p>'
        f'<p class="rl-count">{escaped(progress_text(progress))}</p>{button_html("?", "?", "Help")}</div>'
    )


def progress_text(progress: ReviewProgress) -> str:
    """This person's work in numbers, and what waits for everybody."""
    text = f"{progress.graded_today:,} graded today · {progress.graded:,} in all"
    if progress.skipped:
        text += f" · {progress.skipped:,} skipped"
    return f"{text} · {progress.waiting:,} waiting"
