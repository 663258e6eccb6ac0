"""What people's hours and LLM dollars gained in nDCG@10 on held-out questions, and whether more audits are worth it.

Hours are of all people together and name nobody, so everybody may see them; what an hour costs, owners alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.my_work import PAUSE_SECONDS
from app.services.refusals import is_owner
from app.services.return_projection import MeasuredStep, Projection, project
from app.services.round_figures import LEAST_AUDITS, LEAST_QUERIES, MEASURE
from app.services.round_views import Figure
from db.queries.registry import get_model_or_raise
from db.queries.returning import Effort, Spent, TrainedModel, effort_until, labels_frozen_at, list_trained, spent_until

NEWEST = 12
"""Finished runs that are looked at, the newest; older ones say little of the next audits."""

_NOTHING = Effort(0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class RateView:
    """Gain in nDCG@10 for one hour or one dollar, with the 95 % interval of the gain; hours and dollars are exact."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class StepView:
    """One retraining beside the model it was compared with.

    gain: nDCG@10 over n held-out questions. audits: train pairs people graded here between the labels of both models;
    hours: what all work on train questions took in between, pauses left out. llm_usd: what label jobs cost in between,
    None where a price is unknown. per_hour, per_llm_usd: None where there was no such time or money. cost: hours and
    LLM together, in dollars; it and per_usd are None unless an hour's price is set and an owner asks. why_not: why the
    step says nothing of the next audits; empty where it does.
    """

    model: str
    compared_with: str
    round_number: int | None
    labels_at: datetime
    gain: Figure
    audits: int
    hours: float
    llm_usd: float | None
    cost: float | None
    per_hour: RateView | None
    per_llm_usd: RateView | None
    per_usd: RateView | None
    why_not: str


@dataclass(frozen=True, slots=True)
class ReturnView:
    """What was gained so far and what may be expected.

    stop: whether to stop is recommended, None where nothing can be said; sure: whether the interval excludes the
    opposite. text says it in a sentence. hours: on train questions so far; other_hours: on calibrate and held-out ones,
    which measure and do not train. hourly_cost: as set, for owners. least_gain: nDCG@10 that 100 audits should gain.
    """

    criterion: Criterion
    steps: tuple[StepView, ...]
    projection: Projection | None
    stop: bool | None
    sure: bool
    text: str
    audits: int
    hours: float
    other_hours: float
    llm_usd: float | None
    hourly_cost: float | None
    least_gain: float
    pause_seconds: float = PAUSE_SECONDS


@dataclass(frozen=True, slots=True)
class _Pairing:
    """A finished run with the model it is measured against, and the gain over it."""

    run: TrainedModel
    baseline_id: int
    gain: Figure


def get_return(workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE) -> ReturnView:
    """Gains, hours and dollars of the newest retrainings, and what 100 more audits are expected to gain."""
    with workspace.sessions.read() as session:
        owner = is_owner(workspace, session, person)
        pairings = [
            found
            for run in list_trained(session, criterion=criterion, newest=NEWEST)
            if (found := _pairing(run)) is not None
        ]
        frozen = labels_frozen_at(session, criterion=criterion, model_ids=[one.baseline_id for one in pairings])
        names = _names(session, pairings)
        now = workspace.now()
        moments = sorted({now, *frozen.values(), *(one.run.labels_at for one in pairings)})
        effort = effort_until(session, criterion=criterion, moments=moments, pause=PAUSE_SECONDS)
        spent = spent_until(session, criterion=criterion, moments=moments)
    hourly = workspace.settings.reviewer_hourly_cost if owner else None
    views, measured = [], []
    for one in pairings:
        since = frozen.get(one.baseline_id)
        step, view = _step(one, since, names[one.baseline_id], effort=effort, spent=spent, hourly=hourly)
        views.append(view)
        if not view.why_not:
            measured.append(step)
    projection = project(_chain(measured))
    least = workspace.settings.round_min_gain
    stop, sure, text = _advice(projection, least_gain=least, views=views)
    return ReturnView(
        criterion=criterion,
        steps=tuple(reversed(views)),
        projection=projection,
        stop=stop,
        sure=sure,
        text=text,
        audits=effort[now].audits,
        hours=effort[now].seconds / 3600.0,
        other_hours=effort[now].other_seconds / 3600.0,
        llm_usd=spent[now].usd if spent[now].is_priced else None,
        hourly_cost=hourly,
        least_gain=least,
    )


def _pairing(run: TrainedModel) -> _Pairing | None:
    """The run's own round says what it gained, else its evaluation beside the model that was live."""
    if run.measured is not None and run.measured.get("gain") is not None:
        return _Pairing(run, int(run.measured["compared_with"]), Figure(**run.measured["gain"]))
    if run.comparison is None or run.baseline_id is None:
        return None
    found = run.comparison.get("slices", {}).get("all", {}).get(MEASURE)
    if found is None:
        return None
    return _Pairing(run, run.baseline_id, Figure(found["mean"], found["low"], found["high"], int(found["n"])))


def _names(session: Session, pairings: Sequence[_Pairing]) -> dict[int, str]:
    return {one.baseline_id: get_model_or_raise(session, one.baseline_id).name for one in pairings}


def _step(
    one: _Pairing,
    since: datetime | None,
    compared_with: str,
    *,
    effort: Mapping[datetime, Effort],
    spent: Mapping[datetime, Spent],
    hourly: float | None,
) -> tuple[MeasuredStep, StepView]:
    at, gain = one.run.labels_at, one.gain
    before, after = (_NOTHING if since is None else effort[since]), effort[at]
    usd = spent[at].usd - (0.0 if since is None else spent[since].usd) if spent[at].is_priced else None
    hours = (after.seconds - before.seconds) / 3600.0
    cost = None if hourly is None or usd is None else hours * hourly + usd
    step = MeasuredStep(before.audits, after.audits, gain.mean, gain.low, gain.high, gain.n_queries)
    return step, StepView(
        model=one.run.model,
        compared_with=compared_with,
        round_number=one.run.round_number,
        labels_at=at,
        gain=gain,
        audits=step.audits,
        hours=hours,
        llm_usd=usd,
        cost=cost,
        per_hour=_rate(gain, hours),
        per_llm_usd=_rate(gain, usd),
        per_usd=_rate(gain, cost),
        why_not=_why_not(step, is_first=since is None),
    )


def _rate(gain: Figure, units: float | None) -> RateView | None:
    if units is None or units <= 0.0:
        return None
    return RateView(gain.mean / units, gain.low / units, gain.high / units)


def _why_not(step: MeasuredStep, *, is_first: bool) -> str:
    if is_first:
        return "the first training: its gain is that of the judge's labels as well"
    if step.audits < LEAST_AUDITS:
        return f"{max(step.audits, 0)} audits, at least {LEAST_AUDITS} are needed"
    if step.n_queries < LEAST_QUERIES:
        return f"{step.n_queries} held-out questions, at least {LEAST_QUERIES} are needed"
    return ""


def _chain(steps: Sequence[MeasuredStep]) -> list[MeasuredStep]:
    """The newest step, after the newest one that ended before it began: two candidates beside one model are no row."""
    if not steps:
        return []
    last = steps[-1]
    before = [step for step in steps[:-1] if step.audits_after <= last.audits_before]
    return [*before[-1:], last]


def _advice(found: Projection | None, *, least_gain: float, views: Sequence[StepView]) -> tuple[bool | None, bool, str]:
    """Whether to stop, whether that is sure, and the sentence. Our choice: stop is said of what is expected, as rounds
    say it, and the sentence names what the interval does not exclude.
    """
    if found is None:
        why = "; ".join(f"{view.model}: {view.why_not}" for view in views[-3:])
        return (
            None,
            False,
            "Not enough rounds to say: it needs two, the second measured against the first on at least "
            f"{LEAST_QUERIES} held-out questions after at least {LEAST_AUDITS} audits. "
            f"Measured so far: {len(views)}" + (f" ({why})." if why else "."),
        )
    stop = found.expected < least_gain
    sure = found.high < least_gain if stop else found.low >= least_gain
    rests = (
        f"interval {found.low:+.4f} to {found.high:+.4f}; from {found.n_audits:,} audits in "
        f"{'one step' if found.n_steps == 1 else f'{found.n_steps} steps'}, {found.n_queries:,} held-out questions"
    )
    ahead = f"{found.more} more audits are expected to gain"
    if stop and sure:
        text = f"You can stop now: {ahead} less than {max(found.high, 0.0):.4f} {MEASURE}"
        return stop, sure, f"{text}, under the {least_gain:g} asked for (expected {found.expected:+.4f}; {rests})."
    if stop:
        text = f"You can stop now, though not surely: {ahead} {found.expected:+.4f} {MEASURE}"
        doubt = f"Up to {found.high:+.4f} is not excluded; more held-out questions would tell."
        return stop, sure, f"{text}, less than the {least_gain:g} asked for ({rests}). {doubt}"
    text = f"Go on{'' if sure else ', though it is not sure'}: {ahead} {found.expected:+.4f} {MEASURE}"
    doubt = "" if sure else f" As little as {found.low:+.4f} is not excluded; more held-out questions would tell."
    return stop, sure, f"{text}, at least the {least_gain:g} asked for ({rests}).{doubt}"
