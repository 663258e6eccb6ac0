"""A measured number between its bounds, drawn small: the line is the 95 % interval, the dot the value."""

from __future__ import annotations

from app.services.judge_views import IntervalView


def interval_text(interval: IntervalView | None, *, percent: bool = True) -> str:
    """The value and its interval in words, such as "92 % (90 to 94 %)"; a dash when there is nothing to measure."""
    if interval is None:
        return "–"
    value = _number(interval.value, percent=percent) + (" %" if percent else "")
    if interval.low is None or interval.high is None:
        return value
    low, high = (_number(bound, percent=percent) for bound in (interval.low, interval.high))
    return f"{value} ({low} to {high}{' %' if percent else ''})"


def interval_html(
    interval: IntervalView | None, *, percent: bool = True, lowest: float = 0.0, highest: float = 1.0
) -> str:
    """The same as a small drawing over the words; `lowest` and `highest` are the ends of the drawn line."""
    if interval is None:
        return '<span class="rl-muted">–</span>'

    def place(value: float) -> float:
        return 100 * min(1.0, max(0.0, (value - lowest) / (highest - lowest)))

    value = _number(interval.value, percent=percent) + (" %" if percent else "")
    drawn, words = "", '<span class="rl-muted">too few for an interval</span>'
    if interval.low is not None and interval.high is not None:
        left, right = place(interval.low), place(interval.high)
        drawn = f'<b style="left:{left:.1f}%;width:{max(right - left, 0.5):.1f}%"></b>'
        low, high = (_number(bound, percent=percent) for bound in (interval.low, interval.high))
        words = f'<span class="rl-muted">{low} to {high}</span>'
    dot = f'<u style="left:{place(interval.value):.1f}%"></u>'
    return f'<span class="rl-interval"><strong>{value}</strong> {words}<i aria-hidden="true">{drawn}{dot}</i></span>'


def _number(value: float, *, percent: bool) -> str:
    return (f"{100 * value:.0f}" if percent else f"{value:.2f}").replace("-", "−")
