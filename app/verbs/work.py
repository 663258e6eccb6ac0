"""People's work: what somebody did, how far raters agree, and what the time of all gained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import give, print_table, tell
from app.verbs.shared import AsJson, Where, WhichCriterion, Who, criterion_of, opened

if TYPE_CHECKING:
    from app.services.agreement_figures import AgreementFigure
    from app.services.agreement_views import AgreementView
    from app.services.my_work import AgainstDecided, ShareView, WorkView
    from app.services.return_on_time import RateView, ReturnView


def work(
    where: Where = None,
    person: Who = None,
    of: Annotated[
        str | None, typer.Option("--of", help="Whose work, for owners; all for everybody's \\[default: the person's].")
    ] = None,
    about: WhichCriterion = "relevance",
    as_json: AsJson = False,
) -> None:
    """Show what a person did: labels per hour, agreement with what was adjudicated, hidden checks, flags.

    Everybody sees their own work, owners that of all.

    Example: relabel work --person Ada --json
    """
    with opened(where) as workspace:
        from app.services.my_work import get_work, list_work

        who, criterion = person or workspace.settings.person, criterion_of(about)
        if of == "all":
            give(list_work(workspace, person=who, criterion=criterion), as_json=as_json, show=_show_all)
        else:
            give(get_work(workspace, person=who, of=of, criterion=criterion), as_json=as_json, show=_show_work)


def agreement(
    where: Where = None, person: Who = None, about: WhichCriterion = "relevance", as_json: AsJson = False
) -> None:
    """Show how far people and judges agree, from blind grades alone: weighted κ and Krippendorff's α, over time.

    Owners see everybody by name, adjudicators everybody by number, reviewers what they are part of.

    Example: relabel agreement --json
    """
    with opened(where) as workspace:
        from app.services.agreement_views import get_agreement

        view = get_agreement(workspace, person=person or workspace.settings.person, criterion=criterion_of(about))
        give(view, as_json=as_json, show=_show_agreement)


def return_(
    where: Where = None, person: Who = None, about: WhichCriterion = "relevance", as_json: AsJson = False
) -> None:
    """Show what people's hours and LLM dollars gained on held-out questions, and whether to stop.

    Example: relabel return --json
    """
    with opened(where) as workspace:
        from app.services.return_on_time import get_return

        view = get_return(workspace, person=person or workspace.settings.person, criterion=criterion_of(about))
        give(view, as_json=as_json, show=_show_return)


def _show_work(view: WorkView) -> None:
    pace = "too few timed labels" if view.per_hour is None else f"{view.per_hour:,.0f} labels an hour"
    rows = [
        ["labels", f"{view.labels:,}; {view.this_week:,} this week, {view.today:,} today (UTC)"],
        [
            "pace",
            f"{pace} (n = {view.n_timed:,} in {view.hours:,.1f} h; left out: {view.n_long:,} open for over "
            f"{view.pause_seconds / 60:.0f} min, {view.n_untimed:,} untimed)",
        ],
        ["blind", _share(view.blind)],
        ["as adjudicated", _against(view.adjudicated)],
        ["hidden checks until yesterday", _against(view.hidden_checks)],
        ["after the reveal", f"{view.kept:,} kept, {view.revised:,} revised"],
        ["undone, skipped", f"{view.undos:,}, {view.skips:,}"],
        [
            "flags",
            f"{view.flags_open:,} wait, {view.flags_graded:,} graded since, "
            f"{view.flags_sent_back:,} settled without a grade, {view.flags_adjudicated:,} adjudicated since",
        ],
    ]
    print_table(["", f"{view.person} ({view.role.value})"], rows)


def _show_all(found: tuple[WorkView, ...]) -> None:
    print_table(
        ["person", "role", "labels", "this week", "per hour", "blind", "as adjudicated", "hidden checks", "flags open"],
        [
            [
                view.person,
                view.role.value,
                f"{view.labels:,}",
                f"{view.this_week:,}",
                "" if view.per_hour is None else f"{view.per_hour:,.0f} (n = {view.n_timed:,})",
                _share(view.blind),
                _share(view.adjudicated.same),
                "" if view.hidden_checks is None else _share(view.hidden_checks.same),
                f"{view.flags_open:,}",
            ]
            for view in found
        ],
    )


def _show_agreement(view: AgreementView) -> None:
    tell(
        f"{view.n_grades:,} first blind grades of {view.n_pairs:,} pairs, {view.n_twice:,} by two people or more; "
        f"nothing is told below {view.least_pairs} pairs of {view.least_questions} questions"
    )
    tell(f"People together: α {_figure(view.alpha)}")
    print_table(
        ["judge", "κ with people", "α together with people"],
        [[one.judge, _figure(one.kappa), _figure(one.alpha)] for one in view.judges],
    )
    print_table(
        ["rater", "and", "κ"],
        [[one.first, one.second, _figure(one.kappa)] for one in (*view.people, *view.with_judges)],
    )
    print_table(
        [f"{view.period} from", "α of people", *(f"κ of {one.judge}" for one in view.judges)],
        [
            [f"{one.start:%Y-%m-%d}", _figure(one.alpha), *(_figure(one.judges[j.judge]) for j in view.judges)]
            for one in view.over_time
        ],
    )
    if view.n_left_out:
        tell(f"{view.n_left_out:,} pairs of raters with less in common are not listed")


def _show_return(view: ReturnView) -> None:
    money = "LLM cost unknown" if view.llm_usd is None else f"${view.llm_usd:,.2f} for LLMs"
    tell(
        f"{view.audits:,} audits in {view.hours:,.1f} h on train questions ({view.other_hours:,.1f} h on others), "
        f"{money}"
    )
    paid = view.hourly_cost is not None
    print_table(
        ["model", "against", "nDCG@10 gained", "n", "audits", "hours", "per hour", "per LLM $"]
        + (["per $"] if paid else [])
        + ["counts ahead"],
        [
            [
                step.model,
                step.compared_with,
                f"{step.gain.mean:+.4f} [{step.gain.low:+.4f}, {step.gain.high:+.4f}]",
                f"{step.gain.n_queries:,}",
                f"{step.audits:,}",
                f"{step.hours:.1f}",
                _rate(step.per_hour),
                _rate(step.per_llm_usd),
                *([_rate(step.per_usd)] if paid else []),
                step.why_not or "yes",
            ]
            for step in view.steps
        ],
    )
    tell(view.text)


def _share(share: ShareView) -> str:
    if not share.n or share.low is None or share.high is None:
        return "none yet"
    return f"{share.hits / share.n:.0%} [{share.low:.0%}, {share.high:.0%}] (n = {share.n:,})"


def _against(found: AgainstDecided | None) -> str:
    if found is None:
        return "too few"
    return f"same grade {_share(found.same)}; same side {_share(found.same_side)}"


def _figure(figure: AgreementFigure) -> str:
    if figure.too_few:
        return f"too few (n = {figure.n:,})"
    if figure.value is None:
        return f"all grades alike (n = {figure.n:,})"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.2f} (n = {figure.n:,})"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}] (n = {figure.n:,})"


def _rate(rate: RateView | None) -> str:
    return "" if rate is None else f"{rate.value:+.4f} [{rate.low:+.4f}, {rate.high:+.4f}]"
