"""The first tier: the retriever proposes where it can learn to, and a certificate decides what of it becomes a label.

Its classifier is fitted on grades that people gave blind to calibrate questions, which no batch can hold. That makes
the classifier its own calibrator, and it is stored as one; the certificate comes from `certifying` like any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from annotator.calibration import Calibrator as Calibration
from annotator.calibration import folds_by_query
from annotator.calibration_measures import measure
from annotator.errors import CalibrationImpossible
from annotator.judges.base import collect
from annotator.judges.retriever_judge import RetrieverJudge
from annotator.self_labels import LIST_DEPTH, LabelledPair, SelfLabelClassifier, feature_rows, fit_classifier
from annotator.types import ConfidenceKind, Criterion, JudgeFailure, JudgeRequest, Proposal, RetrievalSignals
from app.bootstrap import Workspace
from app.services.held_jobs import close_after_error, held, here_id
from app.services.indexing import Progress
from app.services.refusals import refuse_revoked_judge
from app.services.retriever_signals import RetrieverSignals, open_signals
from db.enums import RunStatus
from db.models import Calibrator, LabelJob
from db.queries import labelling as label_queries
from db.queries import self_labels as queries
from db.queries.self_labels import PairToScore

CHUNK = 2_000
FOLDS = 10


@dataclass(frozen=True, slots=True)
class SelfLabelReport:
    """What the retriever proposed, and from what it learnt.

    proposed: pairs now, of which `proposed_relevant` on the relevant side. failed: pairs whose passage the index does
    not hold. fitted_on: blind grades, of which fitted_relevant relevant, of fitted_queries families of questions.
    looks_at_model_before: whether the agreement of two model versions counts. reused: whether the classifier was there
    already.
    """

    judge_id: int
    model: str
    proposed: int
    proposed_relevant: int
    failed: int
    fitted_on: int
    fitted_relevant: int
    fitted_queries: int
    looks_at_model_before: bool
    reused: bool


@dataclass(frozen=True, slots=True)
class TierView:
    """Train candidates by tier; `calls_saved` counts those the LLM is not asked about. `warnings` in plain words."""

    retriever: int
    retriever_relevant: int
    llm_certified: int
    llm_uncertified: int
    people: int
    nobody: int
    calls_saved: int
    human_cost: int
    warnings: tuple[str, ...]

    @property
    def total(self) -> int:
        """All train candidates."""
        return self.retriever + self.llm_certified + self.llm_uncertified + self.people + self.nobody


def self_label(
    workspace: Workspace,
    *,
    refit: bool = False,
    criterion: Criterion = Criterion.RELEVANCE,
    on_index: Progress | None = None,
    on_progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> SelfLabelReport:
    """Has the live model propose for every train candidate that no person, LLM or file has spoken about.

    Nothing is accepted by this: freeze a batch of the judge, have its sample audited, and issue its certificates. The
    classifier is fitted once for a live model; `refit` fits it on the grades there are now, which makes another judge.
    Safe to stop at any moment and to repeat.

    Raises:
        NothingToDo: there is no passage yet.
        CalibrationImpossible: people judged too few pairs of calibrate questions blind.
        NotAllowed: what was learnt makes a judge that is revoked.
    """
    signals = open_signals(workspace, on_index=on_index)
    classifier, reused = _classifier(workspace, signals, refit=refit, criterion=criterion)
    before = signals.model_before_hash if classifier.needs_model_before else None
    judge = RetrieverJudge(
        classifier,
        model_hash=signals.model_hash,
        model_before_hash=before,
        scale=workspace.scale,
        criterion=criterion,
    )
    with ExitStack() as working:
        with workspace.sessions.begin() as session:
            now = workspace.now()
            row = label_queries.ensure_judge(session, judge.identity, now=now)
            refuse_revoked_judge(session, row)
            job = LabelJob(
                judge_id=row.id,
                criterion=criterion,
                n_pairs=queries.count_to_propose(session, judge_id=row.id, criterion=criterion),
                status=RunStatus.RUNNING,
                started_at=now,
                heartbeat_at=now,
                workflow_id=here_id(),
            )
            session.add(job)
            session.flush()
            total = job.n_pairs
            # Before anybody can see it run, or it would look left behind.
            working.enter_context(held(workspace, job.id))
        working.push(partial(close_after_error, workspace, job.id))
        after, done, relevant, failed = (0, 0), 0, 0, 0
        while not (stopped := should_cancel is not None and should_cancel()):
            with workspace.sessions.read() as session:
                pairs = queries.list_to_propose(session, judge_id=row.id, criterion=criterion, after=after, limit=CHUNK)
            if not pairs:
                break
            after = (pairs[-1].query_id, pairs[-1].pair_id)
            found = signals.of_pairs(pairs)
            results = collect(judge, [_request(pair, found.get(pair.pair_id)) for pair in pairs])
            proposals = [result for result in results if isinstance(result, Proposal)]
            failures = [result for result in results if isinstance(result, JudgeFailure)]
            with workspace.sessions.begin() as session:
                now = workspace.now()
                refuse_revoked_judge(session, row)
                stored = session.merge(job)
                still = queries.still_to_propose(
                    session, [one.pair_id for one in proposals], judge_id=row.id, criterion=criterion, now=now
                )
                proposals = [one for one in proposals if one.pair_id in still]
                label_queries.store_proposals(session, proposals, judge=row, job=stored, definitions={}, now=now)
                label_queries.store_failures(session, failures, judge=row, job=stored, now=now)
            done += len(proposals)
            failed += len(failures)
            relevant += sum(one.grade is not None and workspace.scale.is_relevant(one.grade) for one in proposals)
            if on_progress is not None:
                on_progress(done + failed, total)
        with workspace.sessions.begin() as session:
            stored = session.merge(job)
            stored.status, stored.finished_at = RunStatus.CANCELLED if stopped else RunStatus.DONE, workspace.now()
            stored.done, stored.failed = done, failed
    return SelfLabelReport(
        judge_id=row.id,
        model=signals.model_hash[:12],
        proposed=done,
        proposed_relevant=relevant,
        failed=failed,
        fitted_on=classifier.n_pairs,
        fitted_relevant=classifier.n_relevant,
        fitted_queries=classifier.n_groups,
        looks_at_model_before=classifier.needs_model_before,
        reused=reused,
    )


def get_tiers(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> TierView:
    """Who labelled the train candidates, and what the retriever's tier saved and cost."""
    with workspace.sessions.read() as session:
        counts = queries.count_tiers(session, criterion=criterion, relevant_from=workspace.scale.relevant_from)
        spent = queries.count_human_cost(session, criterion=criterion)
    return TierView(
        retriever=counts.retriever,
        retriever_relevant=counts.self_relevant,
        llm_certified=counts.llm_certified,
        llm_uncertified=counts.llm_uncertified,
        people=counts.people,
        nobody=counts.nobody,
        calls_saved=counts.retriever,
        human_cost=spent,
        warnings=_warnings(counts.retriever, counts.self_relevant, spent),
    )


def _warnings(retriever: int, relevant: int, spent: int) -> tuple[str, ...]:
    """Signs of failure that the reviewers of the method named, as far as counts show them."""
    found = []
    if retriever and not relevant:
        found.append(
            "The retriever labels irrelevant pairs only: no relevant one got through. Labels of the relevant side come "
            "from the LLM and from people."
        )
    if retriever and retriever <= spent:
        found.append(
            f"The retriever labelled {retriever:,} pairs and took {spent:,} blind judgements of people: so far that "
            "costs more than it saves."
        )
    return tuple(found)


def _classifier(
    workspace: Workspace, signals: RetrieverSignals, *, refit: bool, criterion: Criterion
) -> tuple[SelfLabelClassifier, bool]:
    """The stored classifier of the live model, or one fitted and stored now."""
    with workspace.sessions.read() as session:
        stored = queries.get_retriever_calibrator(
            session, model_hash=signals.model_hash, criterion=criterion, scale=workspace.scale
        )
        grades = queries.list_blind_grades(session, criterion=criterion)
    if stored is not None and not refit:
        held = SelfLabelClassifier.from_json(stored.parameters["self_labels"])
        if not held.needs_model_before or signals.model_before_hash is not None:
            return held, True
    pairs, judged = _labelled(workspace, signals, grades)
    classifier = fit_classifier(judged)
    judge = RetrieverJudge(
        classifier,
        model_hash=signals.model_hash,
        model_before_hash=signals.model_before_hash,
        scale=workspace.scale,
        criterion=criterion,
    )
    calibration = _identity(workspace, classifier)
    parameters = {
        "calibrator": calibration.to_json(),
        "version": calibration.version,
        "queries": sorted({pair.query_id for pair in pairs}),
        "measured": _measured(judged),
        "self_labels": classifier.to_json(),
    }
    parameters = json.loads(json.dumps(parameters, allow_nan=False))  # as it comes back
    with workspace.sessions.begin() as session:
        row = label_queries.ensure_judge(session, judge.identity, now=workspace.now())
        if not queries.has_calibrator(session, judge_id=row.id):
            session.add(
                Calibrator(
                    judge_id=row.id,
                    confidence_kind=ConfidenceKind.RETRIEVER,
                    criterion=criterion,
                    parameters=parameters,
                    n_reviews=len(judged),
                    created_at=workspace.now(),
                )
            )
    return classifier, False


def _labelled(
    workspace: Workspace, signals: RetrieverSignals, grades: Sequence[tuple[PairToScore, int]]
) -> tuple[list[PairToScore], list[LabelledPair]]:
    """The graded pairs that one of the two systems lists, with their signals."""
    scale = workspace.scale
    pairs, judged = [], []
    for start in range(0, len(grades), CHUNK):
        some = grades[start : start + CHUNK]
        found = signals.of_pairs([pair for pair, _ in some])
        for pair, grade in some:
            signal = found.get(pair.pair_id)
            if signal is not None and _within_reach(signal):
                pairs.append(pair)
                judged.append(LabelledPair(str(pair.cluster_id), signal, scale.is_relevant(grade)))
    return pairs, judged


def _within_reach(signals: RetrievalSignals) -> bool:
    """Whether a system lists the pair: only such pairs are like those that the retriever will label."""
    return signals.bm25_rank is not None or (signals.listed is not None and signals.listed.rank <= LIST_DEPTH)


def _identity(workspace: Workspace, classifier: SelfLabelClassifier) -> Calibration:
    """A calibrator that leaves the classifier's probability as it is."""
    return Calibration(
        kind=ConfidenceKind.RETRIEVER,
        max_grade=workspace.scale.max_grade,
        relevant_from=workspace.scale.relevant_from,
        mixture=(),
        names=(),
        centres=(),
        scales=(),
        coefficients=(),
        shift=0.0,
        n_votes=0,
        n_reviews=classifier.n_pairs,
        n_queries=classifier.n_groups,
        n_relevant=classifier.n_relevant,
    )


def _measured(judged: Sequence[LabelledPair]) -> dict[str, Any]:
    """How good the classifier is on questions it was not fitted on; raw and calibrated are the same for it."""
    groups = [pair.group for pair in judged]
    fold = folds_by_query(groups, FOLDS)
    p = np.full(len(judged), sum(pair.relevant for pair in judged) / len(judged))
    for part in range(int(fold.max()) + 1):
        outside = np.flatnonzero(fold == part)
        try:
            fitted = fit_classifier([judged[at] for at in np.flatnonzero(fold != part).tolist()])
        except CalibrationImpossible:
            continue  # one question holds nearly all of a side; its part keeps the overall share
        p[outside] = fitted.p_relevant_of(
            feature_rows([judged[at].signals for at in outside.tolist()], fitted.features)
        )
    relevant = [pair.relevant for pair in judged]
    correct = [(value >= 0.5) == answer for value, answer in zip(p.tolist(), relevant, strict=True)]
    report = asdict(measure(p, relevant, correct, groups))
    return {"calibrated": report, "raw": report}


def _request(pair: PairToScore, signals: RetrievalSignals | None) -> JudgeRequest:
    """The judge reads no text, so none is fetched."""
    return JudgeRequest(pair.pair_id, pair.query, None, "", "", signals or RetrievalSignals())
