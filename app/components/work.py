"""What the Work screen draws: figures of work, coefficients of agreement, and what time gained; each with its n."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.components.intervals import interval_html
from app.components.table import show_html_table, show_table
from app.components.text import counted, escaped, literal, with_minus
from app.services.agreement_figures import AgreementFigure
from app.services.agreement_views import AgreementView
from app.services.judge_views import IntervalView
from app.services.my_work import AgainstDecided, FlagView, ShareView, WorkView
from app.services.return_on_time import RateView, ReturnView

_FLAG_OUTCOMES = {
    "open": "waits for somebody",
    "graded": "graded since",
    "sent back": "settled without a grade",
    "adjudicated": "adjudicated since",
}


def show_work(view: WorkView) -> None:
    """One person's work as a row of figures, each with what it counts."""
    pace = "–" if view.per_hour is None else f"{view.per_hour:,.0f}"
    cells = (
        ("Today", f"{view.today:,}", f"{view.this_week:,} this week (UTC), {view.labels:,} in all"),
        ("Labels per hour", pace, pace_text(view)),
        ("As adjudicated", share_text(view.adjudicated.same), _against_note(view.adjudicated, "adjudicated pairs")),
        ("Hidden checks right", _checks(view), _checks_note(view)),
        ("Judged blind", share_text(view.blind), f"of {counted(view.blind.n, 'label')}"),
        ("Kept after the reveal", f"{view.kept:,}", f"{view.revised:,} revised, {view.undos:,} undone"),
    )
    items = "".join(
        f"<li><span>{escaped(name)}</span><b>{escaped(value)}</b><small>{escaped(note)}</small></li>"
        for name, value, note in cells
    )
    st.html(f'<ul class="rl-funnel" aria-label="The work of {escaped(view.person)}">{items}</ul>')


def show_flags(view: WorkView) -> None:
    """The flags somebody raised and what came of them."""
    total = view.flags_open + view.flags_graded + view.flags_sent_back + view.flags_adjudicated
    if not total:
        return
    st.header("Flags", anchor=False)
    came = (
        (view.flags_open, "waiting"),
        (view.flags_graded, "graded since"),
        (view.flags_sent_back, "settled without a grade"),
        (view.flags_adjudicated, "adjudicated since"),
    )
    newest = f" The newest {len(view.flags)}:" if len(view.flags) < total else ""
    st.caption(f"{counted(total, 'flag')}: {', '.join(f'{n:,} {what}' for n, what in came if n)}.{newest}")
    show_table(
        ["Question", "Note", "Raised", "What came of it"],
        [[one.query, one.note, f"{one.raised_at:%d\u00a0%b\u00a0%Y}", _outcome(one)] for one in view.flags],
    )


def _outcome(one: FlagView) -> str:
    text = _FLAG_OUTCOMES[one.outcome]
    return f"{text}: “{one.answer}”" if one.answer.strip() else text


def show_everybody(views: Sequence[WorkView]) -> None:
    """One row a person, for owners."""
    show_html_table(
        (
            ("Person", ""),
            ("Labels", "this week"),
            ("Per hour", ""),
            ("Blind", ""),
            ("As adjudicated", "the same grade"),
            ("Hidden checks right", "until yesterday"),
            ("Revised", "after the reveal"),
            ("Undone", ""),
            ("Flags open", ""),
        ),
        [
            [
                _two(escaped(view.person), view.role.value),
                _two(f"{view.labels:,}", f"{view.this_week:,}"),
                "–" if view.per_hour is None else _two(f"{view.per_hour:,.0f}", f"n = {view.n_timed:,}"),
                _share_html(view.blind),
                _share_html(view.adjudicated.same),
                "too few" if view.hidden_checks is None else _share_html(view.hidden_checks.same),
                _two(f"{view.revised:,}", f"of {view.kept + view.revised:,}"),
                f"{view.undos:,}",
                f"{view.flags_open:,}",
            ]
            for view in views
        ],
        "Everybody",
    )


def show_judges(view: AgreementView) -> None:
    """Each judge as a rater beside people."""
    rows = [
        [f"<strong>{escaped(one.judge)}</strong>", figure_html(one.kappa), figure_html(one.alpha)]
        for one in view.judges
    ]
    show_html_table(
        (("Judge", ""), ("With people", "quadratic κ"), ("Together with people", "Krippendorff’s α")),
        rows,
        "Agreement of judges with people",
    )


def show_raters(view: AgreementView) -> None:
    """Each two people, then each person with each judge."""
    for found, name, note in (
        (view.people, "Two people", "each two people on the pairs that both graded blind"),
        (view.with_judges, "A person and a judge", "each person's blind grades beside a judge's"),
    ):
        if found:
            show_html_table(
                ((name, note), ("Agreement", "quadratic κ")),
                [[_and(one.first, one.second), figure_html(one.kappa)] for one in found],
                name,
            )


def show_over_time(view: AgreementView) -> None:
    """One row a week or month."""
    judges = [one.judge for one in view.judges]
    show_html_table(
        (
            (f"{view.period.capitalize()} from", "UTC"),
            ("People together", "Krippendorff’s α"),
            *((judge, "κ with people") for judge in judges),
        ),
        [
            [
                f"{one.start:%Y-%m-%d}",
                figure_html(one.alpha),
                *(figure_html(one.judges[judge]) for judge in judges),
            ]
            for one in reversed(view.over_time)
        ],
        "Agreement over time",
    )


def show_return(view: ReturnView) -> None:
    """The advice, what it took so far, and one row a retraining."""
    st.html(f'<p class="rl-advice"><strong>{escaped(with_minus(view.text))}</strong></p>')
    money = "unknown" if view.llm_usd is None else f"${view.llm_usd:,.2f}"
    cells = [
        ("Audits", f"{view.audits:,}", "train pairs that people graded here"),
        ("Hours", f"{view.hours:,.1f}", f"on train questions; {view.other_hours:,.1f} h on others, which measure"),
        ("LLM", money, "all label jobs of this criterion"),
    ]
    if view.hourly_cost is not None:
        cells.append(("An hour costs", f"${view.hourly_cost:,.2f}", "reviewer_hourly_cost; owners see it"))
    items = "".join(
        f"<li><span>{escaped(name)}</span><b>{escaped(value)}</b><small>{escaped(note)}</small></li>"
        for name, value, note in cells
    )
    st.html(f'<ul class="rl-funnel" aria-label="What it took so far">{items}</ul>')
    if not view.steps:
        return
    paid = view.hourly_cost is not None
    show_html_table(
        (
            ("Model", "against"),
            ("nDCG@10 gained", "held-out questions"),
            ("Audits", "hours"),
            ("Gain per hour", ""),
            ("LLM", ""),
            ("Gain per LLM dollar", ""),
            *((("Gain per dollar", "people and LLM"),) if paid else ()),
            ("Counts ahead", ""),
        ),
        [
            [
                _two(escaped(step.model), escaped(step.compared_with)),
                _two(
                    with_minus(f"{step.gain.mean:+.4f}"),
                    with_minus(f"{step.gain.low:+.4f} to {step.gain.high:+.4f}; n\u00a0=\u00a0{step.gain.n_queries:,}"),
                ),
                _two(f"{step.audits:,}", f"{step.hours:.1f} h"),
                _rate_html(step.per_hour),
                "unknown" if step.llm_usd is None else f"${step.llm_usd:,.2f}",
                _rate_html(step.per_llm_usd),
                *([_rate_html(step.per_usd)] if paid else []),
                escaped(step.why_not or "yes"),
            ]
            for step in view.steps
        ],
        "Retrainings, newest first",
    )
    st.caption(
        literal(
            "Gains are of all that a retraining brought, the judge's labels and new candidates too, with 95 % "
            "intervals over held-out questions (n). Hours leave out cards open for more than "
            f"{view.pause_seconds / 60:.0f} minutes. The interval holds the chance of which questions are held out, "
            "not that of another training."
        )
    )


def pace_text(view: WorkView) -> str:
    """What the pace rests on, in words."""
    text = f"n = {view.n_timed:,} in {view.hours:,.1f} h"
    if view.n_long or view.n_untimed:
        text += (
            f"; left out: {view.n_long:,} open for over {view.pause_seconds / 60:.0f} min, {view.n_untimed:,} untimed"
        )
    return text


def share_text(share: ShareView) -> str:
    return f"{share.hits / share.n:.0%}" if share.n else "–"


def figure_html(figure: AgreementFigure) -> str:
    """A coefficient drawn between its bounds with its n; "too few" in its place where it is not given."""
    n = f'<span class="rl-muted">{counted(figure.n, "pair")} of {counted(figure.n_questions, "question")}</span>'
    if figure.too_few:
        return f'<span class="rl-muted">too few</span><br>{n}'
    if figure.value is None:
        return f'<span class="rl-muted">all grades alike</span><br>{n}'
    drawn = interval_html(IntervalView(figure.value, figure.low, figure.high), percent=False)
    same = "" if figure.same is None else f'<span class="rl-muted">same grade: {figure.same:.0%}</span><br>'
    return f"{drawn}{same}{n}"


def _checks(view: WorkView) -> str:
    return "–" if view.hidden_checks is None else share_text(view.hidden_checks.same)


def _checks_note(view: WorkView) -> str:
    if view.hidden_checks is None:
        return "too few until yesterday"
    return _against_note(view.hidden_checks, "checks until yesterday")


def _against_note(found: AgainstDecided, what: str) -> str:
    if not found.same.n or found.same.low is None or found.same.high is None:
        return f"no {what} yet"
    return (
        f"{100 * found.same.low:.0f} to {found.same.high:.0%}, n = {found.same.n:,} {what}; "
        f"same side {share_text(found.same_side)}"
    )


def _and(first: str, second: str) -> str:
    return f'{escaped(first)} <span class="rl-muted">and</span> {escaped(second)}'


def _two(value: str, note: str) -> str:
    """A value over a smaller note, both HTML."""
    return f'<strong>{value}</strong><br><span class="rl-muted">{note}</span>'


def _share_html(share: ShareView) -> str:
    if not share.n or share.low is None or share.high is None:
        return "–"
    return _two(share_text(share), f"{100 * share.low:.0f} to {share.high:.0%}; n = {share.n:,}")


def _rate_html(rate: RateView | None) -> str:
    """A dash where nothing was spent or no price is known; what is gained by one dollar needs more digits."""
    if rate is None:
        return "–"
    digits = 4 if abs(rate.value) >= 0.0002 else 6
    return _two(
        with_minus(f"{rate.value:+.{digits}f}"), with_minus(f"{rate.low:+.{digits}f} to {rate.high:+.{digits}f}")
    )
