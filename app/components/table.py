"""Small real HTML tables, of text that is escaped here or of HTML made from it; long lists are for `st.dataframe`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import streamlit as st

from app.components.text import escaped

Align = Literal["left", "right"]


def table_html(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, align: Sequence[Align] | None = None, caption: str = ""
) -> str:
    """The table as HTML; `align` has one entry a column, left where it is not given."""
    sides = list(align) if align is not None else ["left"] * len(headers)
    head = "".join(f'<th scope="col" class="rl-{s}">{escaped(h)}</th>' for h, s in zip(headers, sides, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="rl-{side}" dir="auto">{escaped(cell)}</td>' for cell, side in zip(row, sides, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    title = f"<caption>{escaped(caption)}</caption>" if caption else ""
    name = escaped(caption or ", ".join(headers))
    return (
        f'<div class="rl-scroll" tabindex="0" role="region" aria-label="{name}"><table class="rl-table">{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def show_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, align: Sequence[Align] | None = None, caption: str = ""
) -> None:
    st.html(table_html(headers, rows, align=align, caption=caption))


def show_html_table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], name: str) -> None:
    """A table whose cells are HTML that the caller made from escaped text."""
    head = "".join(
        f'<th scope="col">{escaped(title)}' + (f"<small>{escaped(note)}</small>" if note else "") + "</th>"
        for title, note in heads
    )
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    st.html(
        f'<div class="rl-scroll" tabindex="0" role="region" aria-label="{escaped(name)}">'
        f'<table class="rl-table rl-comparison"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
