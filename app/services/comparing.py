"""Which judge or prompt is best: all of them on the same blind reviews, with intervals and what each costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.agreement import ClassAccuracy, agreement
from annotator.calibration import JudgedInput, cross_fit, folds_by_query
from annotator.calibration_features import raw_p_relevant
from annotator.calibration_measures import CalibrationReport, measure
from annotator.errors import CalibrationImpossible
from annotator.intervals import RESAMPLES, Interval, bootstrap_by_query
from annotator.types import ConfidenceKind, Criterion, Scale
from app.bootstrap import Workspace
from app.errors import InputInvalid
from app.services.judge_prices import Prices, members_of
from app.services.judge_views import (
    BelievedView,
    ClassView,
    ComparedJudge,
    IntervalView,
    JudgeComparison,
    OtherJudge,
)
from app.services.labels import judge_view
from db.enums import Split
from db.models import JudgeRow, Suggestion
from db.queries.comparing import (
    BlindReview,
    latest_ids,
    list_blind_reviews,
    list_judges,
    list_latest_suggestions,
    sum_usage_by_judge,
)

FOLDS = 10
COMPARABLE = 0.5
"""By default a judge is compared when it labelled at least this share of what the busiest one did. Our choice: one that
labelled little would shrink the common pairs of all."""
SPLITS = (Split.CALIBRATE, Split.TRAIN)


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A judge with its latest suggestion for each reviewed pair."""

    row: JudgeRow
    by_pair: Mapping[int, Suggestion]


def compare_judges(
    workspace: Workspace,
    *,
    criterion: Criterion = Criterion.RELEVANCE,
    split: Split = Split.CALIBRATE,
    judge_ids: Collection[int] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> JudgeComparison:
    """Judges side by side on the pairs of one split that people graded blind and that every compared judge labelled.

    judge_ids: which to compare; None takes those that labelled enough, see `COMPARABLE`. Accuracy and agreement count
    pairs that all of them answered readably. Calibrated figures are cross-fitted by question, so no figure comes from
    a review that it was fitted on, and AUROC compares pairs under one calibrator only. Calibrate questions are the
    default: held-out reviews test retrievers and are kept from every choice about labels.

    Raises:
        InputInvalid: held-out questions, or a judge that labelled none of the reviewed pairs.
    """
    if split not in SPLITS:
        raise InputInvalid(
            f"judges are not compared on {split} questions: their reviews test retrievers and drive no choice of labels"
        )
    scale = workspace.scale
    with workspace.sessions.read() as session:
        reviews = {r.pair_id: r for r in list_blind_reviews(session, criterion=criterion, split=split)}
        labelled = _by_judge(list_latest_suggestions(session, criterion=criterion, split=split), reviews)
        usages = sum_usage_by_judge(session, criterion=criterion)
        rows = list_judges(session, criterion=criterion)
        session.expunge_all()  # the figures take seconds, and no snapshot is held open for them
    chosen = _chosen(labelled, judge_ids)
    compared = [one for one in labelled if one.row.id in chosen]
    common = sorted(set.intersection(*(set(one.by_pair) for one in compared))) if compared else []
    readable = [pair for pair in common if all(one.by_pair[pair].grade is not None for one in compared)]
    best = _most_accurate(compared, [reviews[pair] for pair in readable], scale=scale)
    prices = Prices(rows, usages, workspace.settings)
    return JudgeComparison(
        criterion=criterion,
        split=split,
        n_reviews=len(reviews),
        n_relevant=sum(scale.is_relevant(review.grade) for review in reviews.values()),
        n_common=len(common),
        n_readable=len(readable),
        n_questions=len({reviews[pair].query_id for pair in readable}),
        n_left_out=len(reviews) - len(common) if compared else 0,
        judges=tuple(
            _compared(
                one,
                [reviews[pair] for pair in readable],
                common,
                best=best,
                scale=scale,
                prices=prices,
                resamples=resamples,
                seed=seed,
            )
            for one in compared
            if readable
        ),
        others=tuple(
            OtherJudge(one.row.id, judge_view(one.row), len(one.by_pair))
            for one in labelled
            if one.row.id not in chosen or not readable
        ),
    )


def comparison_mark(workspace: Workspace) -> tuple[int, int]:
    """Two numbers that change whenever a comparison could: a screen draws the last one again while they stay."""
    with workspace.sessions.read() as session:
        return latest_ids(session)


def _by_judge(rows: Sequence[tuple[JudgeRow, Suggestion]], reviews: Mapping[int, BlindReview]) -> list[_Labelled]:
    found: dict[int, tuple[JudgeRow, dict[int, Suggestion]]] = {}
    for row, suggestion in rows:
        if suggestion.pair_id in reviews:
            found.setdefault(row.id, (row, {}))[1][suggestion.pair_id] = suggestion
    return [_Labelled(row, by_pair) for row, by_pair in found.values()]


def _chosen(labelled: Sequence[_Labelled], judge_ids: Collection[int] | None) -> set[int]:
    known = {one.row.id: len(one.by_pair) for one in labelled}
    if judge_ids is None:
        most = max(known.values(), default=0)
        return {judge for judge, n in known.items() if n >= COMPARABLE * most}
    if missing := sorted(set(judge_ids) - set(known)):
        numbers = ", ".join(map(str, missing))
        raise InputInvalid(f"judge {numbers} labelled none of the pairs that people graded blind")
    return set(judge_ids)


def _compared(
    one: _Labelled,
    reviews: Sequence[BlindReview],
    common: Sequence[int],
    *,
    best: _Labelled | None,
    scale: Scale,
    prices: Prices,
    resamples: int,
    seed: int,
) -> ComparedJudge:
    suggestions = [one.by_pair[review.pair_id] for review in reviews]
    grades = [suggestion.grade for suggestion in suggestions if suggestion.grade is not None]
    agreed = agreement(
        grades,
        [review.grade for review in reviews],
        [review.query_id for review in reviews],
        scale=scale,
        resamples=resamples,
        seed=seed,
    )
    believed = _believed(suggestions, reviews, scale=scale, resamples=resamples, seed=seed)
    tokens, usd = prices.of(one.row, one.by_pair)
    return ComparedJudge(
        id=one.row.id,
        judge=judge_view(one.row),
        n=len(reviews),
        n_answered=len(common),
        n_unreadable=sum(one.by_pair[pair].grade is None for pair in common),
        accuracy=_interval(agreed.accuracy),
        behind_best=None
        if best is None or best is one
        else _difference(one, best, reviews, scale=scale, resamples=resamples, seed=seed),
        relevant=_class(agreed.relevant),
        irrelevant=_class(agreed.irrelevant),
        kappa=None if agreed.kappa_quadratic is None else _interval(agreed.kappa_quadratic),
        kappa_sides=None if agreed.kappa_sides is None else _interval(agreed.kappa_sides),
        confidence_kind=believed.kind,
        n_confidence=believed.n,
        raw=believed.raw,
        calibrated=believed.calibrated,
        calibration_note=believed.note,
        tokens_per_pair=tokens,
        usd_per_1000=usd,
    )


def _most_accurate(compared: Sequence[_Labelled], reviews: Sequence[BlindReview], *, scale: Scale) -> _Labelled | None:
    """The judge that is most often on the side of the people; the first of equals, None without any review."""
    if not reviews or not compared:
        return None
    return max(compared, key=lambda one: float(_right(one, reviews, scale).mean()))


def _right(one: _Labelled, reviews: Sequence[BlindReview], scale: Scale) -> NDArray[np.float64]:
    """(n,) 1.0 where the judge is on the side of the people, 0.0 where not; of pairs it answered readably."""
    grades = [one.by_pair[review.pair_id].grade for review in reviews]
    sides = [grade is not None and scale.is_relevant(grade) for grade in grades]
    return np.array([side == scale.is_relevant(r.grade) for side, r in zip(sides, reviews, strict=True)], np.float64)


def _difference(
    one: _Labelled, best: _Labelled, reviews: Sequence[BlindReview], *, scale: Scale, resamples: int, seed: int
) -> IntervalView | None:
    """Accuracy of one judge less that of the best, on the same pairs and the same resampled questions."""
    ahead = _right(one, reviews, scale) - _right(best, reviews, scale)
    found = bootstrap_by_query(
        lambda weights: float(weights @ ahead / weights.sum()),
        [review.query_id for review in reviews],
        resamples=resamples,
        seed=seed,
    )
    return None if found is None else _interval(found)


@dataclass(frozen=True, slots=True)
class _Believed:
    kind: ConfidenceKind | None
    n: int
    raw: BelievedView | None
    calibrated: BelievedView | None
    note: str


def _believed(
    suggestions: Sequence[Suggestion], reviews: Sequence[BlindReview], *, scale: Scale, resamples: int, seed: int
) -> _Believed:
    """Raw and calibrated confidence of the kind that the judge gives most often; kinds are never mixed."""
    kinds = Counter(s.confidence_kind for s in suggestions if s.confidence_kind is not None)
    if not kinds:
        return _Believed(None, 0, None, None, "the judge states no confidence")
    kind = kinds.most_common(1)[0][0]
    rows = [(s, r) for s, r in zip(suggestions, reviews, strict=True) if s.confidence_kind is kind]
    inputs = [_input(suggestion, kind) for suggestion, _ in rows]
    relevant = [scale.is_relevant(review.grade) for _, review in rows]
    correct = [scale.is_relevant(one.grade) == truth for one, truth in zip(inputs, relevant, strict=True)]
    queries = [review.query_id for _, review in rows]
    raw = np.array([raw_p_relevant(one, scale, kind) for one in inputs])
    try:
        p = cross_fit(inputs, relevant, queries, scale=scale, kind=kind, folds=FOLDS)
    except CalibrationImpossible as exc:
        plain = measure(raw, relevant, correct, queries, resamples=resamples, seed=seed)
        return _Believed(kind, len(rows), _view(plain), None, exc.user_message)
    folds = folds_by_query(queries, FOLDS)
    before, after = (
        measure(one, relevant, correct, queries, folds=folds, resamples=resamples, seed=seed) for one in (raw, p)
    )
    return _Believed(kind, len(rows), _view(before), _view(after), "")


def _input(suggestion: Suggestion, kind: ConfidenceKind) -> JudgedInput:
    """What the judge itself said, and nothing else: retrieval signals would lend every judge the same skill."""
    if suggestion.grade is None:
        raise ValueError(f"suggestion {suggestion.id} is unreadable; it has nothing to calibrate")
    distribution = suggestion.grade_distribution
    return JudgedInput(
        grade=suggestion.grade,
        confidence=suggestion.confidence,
        distribution=None if distribution is None else tuple(float(p) for p in distribution),
        votes=tuple(member["grade"] for member in members_of(suggestion)) if kind is ConfidenceKind.VOTES else (),
        kind=kind,
    )


def _view(report: CalibrationReport) -> BelievedView:
    return BelievedView(
        ece=_interval(report.ece),
        ece_if_perfect=report.ece_if_perfect,
        brier=_interval(report.brier),
        auroc=None if report.auroc_correct is None else _interval(report.auroc_correct),
    )


def _class(found: ClassAccuracy) -> ClassView:
    return ClassView(
        n_proposed=found.n_proposed,
        n_human=found.n_human,
        precision=None if found.precision is None else _interval(found.precision),
        recall=None if found.recall is None else _interval(found.recall),
    )


def _interval(found: Interval) -> IntervalView:
    return IntervalView(found.value, found.low, found.high)
