"""Text from data made harmless: as HTML, and as the Markdown that Streamlit's own elements read."""

from __future__ import annotations

import html
import re

_MINUS = re.compile(r"(?<![\w-])-(?=\d)")
_ADDRESS = re.compile(r"(https?:(?=//)|www(?=\.))", re.IGNORECASE)
"""Where an address begins: it becomes a link even where every sign is escaped, unless it is parted by a joiner."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&^=\"'])")


def escaped(text: str) -> str:
    """The text as HTML that shows it and nothing else."""
    return html.escape(text, quote=True)


def literal(text: str) -> str:
    """The text as Markdown that shows it and nothing else: no links, pictures, formulas or colours."""
    line = _ADDRESS.sub("\\1\u2060", " ".join(text.split()))
    return _MARKDOWN.sub(r"\\\1", line)


def shortened(text: str, limit: int) -> str:
    """The text on one line, cut at a word with an ellipsis when it is longer than `limit` characters."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    cut = line[: limit - 1]
    if " " in cut[limit // 2 :]:
        cut = cut[: cut.rindex(" ")]
    return cut + "…"


def with_minus(text: str) -> str:
    """Minus signs before numbers; hyphens of words and of models' names stay."""
    return _MINUS.sub("−", text)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """ "1 query", "2 queries", "12,345 pairs"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def minutes_text(minutes: float) -> str:
    """An estimate of a time, in words: minutes, from two hours on hours."""
    if minutes < 1:
        return "under a minute"
    return f"{minutes:,.0f} min" if minutes < 120 else f"{minutes / 60:,.1f} h"
