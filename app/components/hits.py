"""A list of search hits, each with how it moved against the other model's list."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.components.text import escaped, shortened
from app.services.views import SearchHit

_SNIPPET = 400


def move_of(hit: SearchHit, *, other: str, k: int) -> tuple[str, str]:
    """How a hit stands against the other list of k: the words, and the CSS class that goes with them."""
    if hit.other_rank is None:
        return f"not in the {other}'s first {k}", "rl-new"
    if hit.other_rank == hit.rank:
        return "same place", "rl-same"
    steps = abs(hit.other_rank - hit.rank)
    if hit.rank < hit.other_rank:
        return f"▲ {steps} higher than in the {other} ({hit.other_rank})", "rl-up"
    return f"▼ {steps} lower than in the {other} ({hit.other_rank})", "rl-down"


def place_of(hit: SearchHit, *, other: str, k: int) -> str:
    """Where the other list of k has a hit, without a judgement on who is right."""
    if hit.other_rank is None:
        return f"not in the {other}'s first {k}"
    return "same place" if hit.other_rank == hit.rank else f"rank {hit.other_rank} in the {other}"


def hits_html(hits: Sequence[SearchHit], *, other: str | None, k: int, is_new: bool = False) -> str:
    """The hits as an ordered list; `other` names the list they are compared with, None compares with nothing.

    Of the newer list (`is_new`) it says how far a hit moved, of the older one only where the hit went.
    """
    return f'<ol class="rl-hits">{"".join(_hit(hit, other=other, k=k, is_new=is_new) for hit in hits)}</ol>'


def _hit(hit: SearchHit, *, other: str | None, k: int, is_new: bool) -> str:
    move = ""
    if other is not None:
        words, css = move_of(hit, other=other, k=k) if is_new else (place_of(hit, other=other, k=k), "rl-same")
        move = f'<span class="rl-move {css}">{escaped(words)}</span> '
    return (
        f'<li><span class="rl-rank">{hit.rank}</span><div><h3 dir="auto">{escaped(hit.title or hit.passage_id)}</h3>'
        f'<p dir="auto">{escaped(shortened(hit.text, _SNIPPET))}</p>'
        f'{move}<span class="rl-muted">score {hit.score:.3f}</span></div></li>'
    )


def show_hits(model: str, hits: Sequence[SearchHit], *, other: str | None, k: int, is_new: bool = False) -> None:
    """A model's name and what it found."""
    listed = hits_html(hits, other=other, k=k, is_new=is_new) if hits else ""
    st.html(f'<p class="rl-muted">{escaped(model)}</p>{listed}')
    if not hits:
        st.write("Nothing found.")
