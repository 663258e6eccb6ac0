"""A day's work at the review desk with a million suggestions: does any key, page or export make a person wait?

A workspace of 1,000,000 suggestions and 204,000 waiting pairs on SQLite (quick: a tenth). In the services: cards in
every order and under filters, in turns; Overview, pages of labels, an export of everything. In Chromium, on the served
application: from the key press to the next card, and from the click to the Overview.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from app.bootstrap import open_workspace
from bench import desk_browser, desk_service
from bench.desk_browser import Press
from bench.desk_rows import PEOPLE, Size, Words
from bench.desk_service import Exported, Served
from bench.desk_workspace import desk_copy
from bench.result import Json, Result

CLAIM_MS = 20.0
KEY_MS = 200.0
OVERVIEW_MS = 1_000.0
PAGE_MS = 500.0
GROWTH_MB = 16.0
TARGET = (
    f"claim of the next card p95 <= {CLAIM_MS:g} ms in every order and filter; key press to next card p95 <= "
    f"{KEY_MS:g} ms in Chromium; Overview <= {OVERVIEW_MS:g} ms in the service and from the click; every page of "
    f"labels <= {PAGE_MS:g} ms; an export of all rows grows by at most {GROWTH_MB:g} MB after its first fifth"
)
_KEYS = "1203"
_PAUSE_MS = 60.0


def run(quick: bool) -> Result:
    """What was measured; full: 1,000,000 suggestions and 200 cards a way, quick: 100,000 and 25."""
    size = Size(100_000 if quick else 1_000_000)
    cards, presses, times = (25, 50, 2) if quick else (200, 200, 5)
    words = Words(0)
    with desk_copy(size) as folder:
        workspace = open_workspace(folder)
        try:
            overviews = desk_service.open_overview(workspace, times=times)
            served = desk_service.serve(workspace, desk_service.ways(words.words), cards=cards)
            pages = desk_service.label_pages(workspace, words=words, size=size.n_suggestions, times=times)
        finally:
            workspace.close()
        exported = desk_service.export_all(folder, folder.parent / "labels.jsonl")
        with desk_browser.serving(folder) as address, desk_browser.page_in_chromium() as page:
            opened = desk_browser.open_desk(page, address, person=PEOPLE[-1])
            pressed = [
                desk_browser.press(page, _KEYS[number % len(_KEYS)], pause_ms=_PAUSE_MS) for number in range(presses)
            ]
            clicked = []
            for _ in range(times):
                clicked.append(desk_browser.open_screen(page, "Overview"))
                desk_browser.open_screen(page, "Review")
    return _result(
        size,
        served=served,
        pages=pages,
        overviews=overviews,
        exported=exported,
        pressed=pressed,
        clicked=clicked,
        opened=opened,
    )


def _result(
    size: Size,
    *,
    served: Mapping[str, Served],
    pages: Mapping[str, Sequence[float]],
    overviews: Sequence[float],
    exported: Exported,
    pressed: Sequence[Press],
    clicked: Sequence[float],
    opened: float,
) -> Result:
    claims = [taken for way in served.values() for taken in way.claim]
    to_card = [press.ms for press in pressed if not press.revealed]
    if not to_card or not all(way.claim for way in served.values()):
        raise RuntimeError("no card came where some must be waiting, so nothing was measured")
    slowest_claim = max(_p(way.claim, 95) for way in served.values())
    slowest_page = max(max(taken) for taken in pages.values())
    parts = {
        "claim": slowest_claim <= CLAIM_MS,
        "key": _p(to_card, 95) <= KEY_MS,
        "overview": max(overviews) <= OVERVIEW_MS,
        "overview_in_browser": max(clicked) <= OVERVIEW_MS,
        "pages": slowest_page <= PAGE_MS,
        "export": exported.late_growth_mb <= GROWTH_MB,
        "export_is_whole": exported.rows >= 0.95 * size.n_suggestions,
    }
    figures: dict[str, Json] = {
        "suggestions": size.n_suggestions,
        "waiting": size.n_waiting,
        "holds": parts,
        "cards": len(claims),
        "claim_ms": {"p50": _p(claims, 50), "p95": _p(claims, 95), "worst_way_p95": slowest_claim},
        "by_way_ms": {name: _way(way) for name, way in served.items()},
        "key_to_next_card_ms": {"n": len(to_card), "p50": _p(to_card, 50), "p95": _p(to_card, 95), "max": max(to_card)},
        "key_to_reveal_ms": [press.ms for press in pressed if press.revealed],
        "review_screen_opened_ms": opened,
        "overview_ms": {"median": statistics.median(overviews), "max": max(overviews)},
        "overview_from_click_ms": {"median": statistics.median(clicked), "max": max(clicked)},
        "label_page_ms": {name: max(taken) for name, taken in pages.items()},
        "export_rows": exported.rows,
        "export_seconds": exported.seconds,
        "export_rows_a_second": exported.rows / exported.seconds,
        "export_mb": {"before": exported.before_mb, "peak": exported.peak_mb, "late_growth": exported.late_growth_mb},
    }
    lines = (
        f"{size.n_suggestions:,} suggestions, {size.n_waiting:,} pairs waiting",
        *(
            f"claim {name:<14} p50 {_p(way.claim, 50):7.1f}   p95 {_p(way.claim, 95):7.1f} ms   grade p95 "
            f"{_p(way.grade, 95):6.1f}   progress p95 {_p(way.progress, 95):6.1f}   ({len(way.claim)} cards)"
            for name, way in served.items()
        ),
        f"key to next card     p50 {_p(to_card, 50):7.1f}   p95 {_p(to_card, 95):7.1f} ms   ({len(to_card)} presses)",
        f"Overview             service {max(overviews):.0f} ms, from the click {max(clicked):.0f} ms (slowest of each)",
        *(f"labels, {name:<28} {max(taken):7.0f} ms" for name, taken in pages.items()),
        f"export               {exported.rows:,} rows in {exported.seconds:.1f} s, {exported.before_mb:.0f} MB before, "
        f"{exported.peak_mb:.0f} at most, {exported.late_growth_mb:+.1f} after the first fifth",
        *(f"MISSED: {name}" for name, holds in parts.items() if not holds),
    )
    return Result(name="review_desk", holds=all(parts.values()), target=TARGET, figures=figures, lines=lines)


def _way(served: Served) -> dict[str, Json]:
    return {
        "claim_p50": _p(served.claim, 50),
        "claim_p95": _p(served.claim, 95),
        "grade_p50": _p(served.grade, 50),
        "grade_p95": _p(served.grade, 95),
        "progress_p95": _p(served.progress, 95),
        "cards": len(served.claim),
    }


def _p(taken: Sequence[float], percent: float) -> float:
    return float(np.percentile(taken, percent))
