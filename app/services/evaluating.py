"""Measuring a model on human-judged queries, beside the live one, with the looks counted and the gate asked.

What was found is stored here; how it is shown is in `evaluation_views`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services.evaluation_views import GATE_MEASURE, evaluation_view, largest_changes
from app.services.gate_passes import count_let_through
from app.services.indexing import Progress
from app.services.regression import outcome_of, rank_of
from app.services.retrievers import Retriever, open_together
from app.services.views import EvaluationView
from db.enums import Split
from db.models import Evaluation, ModelVersion
from db.queries import training as training_queries
from db.queries.evaluating import count_trained_labels, last_revocation
from db.queries.registry import get_live, get_model_or_raise, lock_live
from db.queries.regression import CheckRecord, list_checks
from retriever.types import Comparison, Difference, GateVerdict, Hit, QueryMeasures, RegressionOutcome
from retriever.types import Evaluation as Measured

DEPTH = 100
TOP = 10


@dataclass(frozen=True, slots=True)
class _Judged:
    """What people judged in a split, and what the training knew of it; ids from outside."""

    qrels: dict[str, dict[str, int]]
    texts: dict[str, str]
    positives: set[str]
    n_labels: dict[str, int]
    checks: list[CheckRecord]
    last_revocation: int


def run_evaluation(
    workspace: Workspace,
    *,
    model: ModelVersion,
    baseline: ModelVersion | None = None,
    label_set_ids: list[int] | None = None,
    split: Split = Split.HELD_OUT,
    criterion: Criterion = Criterion.RELEVANCE,
    progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
    on_record: Callable[[Session, Evaluation], None] | None = None,
) -> int:
    """Evaluates a model on what people judged in a split and stores it; returns the evaluation's id.

    With a baseline both are measured, compared by query, and the gate decides; that is one look at the held-out set.
    Search is exact: two approximate indexes miss different passages, which would be taken for a difference of models.
    `label_set_ids` are those the models were trained on: they tell seen queries from unseen ones (methods, section 7).
    `on_record` writes what must be stored together with the evaluation or not at all.

    Raises:
        NothingToDo: nobody has judged a relevant passage of this split yet.
    """
    from retriever.evaluation import compare, evaluate
    from retriever.slices import by_length, by_relevant, by_training_labels, seen_queries

    relevant_from = workspace.settings.relevant_from
    judged = _judged(workspace, split=split, criterion=criterion, label_set_ids=label_set_ids or [])
    qrels, texts, checks = judged.qrels, judged.texts, judged.checks
    seen = seen_queries(qrels, judged.positives, relevant_from=relevant_from)

    versions = [model] if baseline is None else [model, baseline]
    retrievers = open_together(workspace, versions, progress=progress, should_cancel=should_cancel)

    def rank(retriever: Retriever) -> dict[str, list[Hit]]:
        wanted = {**{check.query_key: check.query for check in checks}, **texts}
        return dict(zip(wanted, retriever.search(list(wanted.values()), DEPTH, exact=True), strict=True))

    found = rank(retrievers[0])
    measured = evaluate(found, qrels, relevant_from=relevant_from)
    before: dict[str, list[Hit]] | None = None
    comparison: Comparison | None = None
    if baseline is not None:
        before = rank(retrievers[1])
        comparison = compare(
            evaluate(before, qrels, relevant_from=relevant_from),
            measured,
            seen_query_ids=seen,
            described={
                **by_length(texts),
                **by_relevant(qrels, relevant_from=relevant_from),
                **by_training_labels(qrels, judged.n_labels, relevant_from=relevant_from),
            },
        )
    results = [
        _result(check, candidate=rank_of(check, found), baseline=None if before is None else rank_of(check, before))
        for check in checks
    ]
    per_query = [
        _query_entry(
            entry,
            old,
            text=texts[entry.query_id],
            judged=qrels[entry.query_id],
            n_relevant=sum(grade >= relevant_from for grade in qrels[entry.query_id].values()),
            seen=entry.query_id in seen,
            ranked=(found[entry.query_id], None if before is None else before[entry.query_id]),
        )
        for entry, old in _side_by_side(measured, comparison)
    ]
    outcome = outcome_of(results)
    while True:
        with workspace.sessions.read() as session:
            looks = training_queries.count_looks(session, split=split, criterion=criterion)
            let_through = count_let_through(session)
        # Far down in the tail this takes a quarter of a minute: too long for a transaction that others wait for.
        verdict = (
            None
            if comparison is None
            else _verdict(workspace, comparison, looks=looks, regression=outcome, let_through=let_through)
        )
        with workspace.sessions.begin() as session:
            lock_live(session)  # one at a time from here: two evaluations must not take the same look
            if looks != training_queries.count_looks(session, split=split, criterion=criterion):
                continue
            run = training_queries.get_run_of_model(session, model.id)
            row = Evaluation(
                model_version_id=model.id,
                baseline_model_id=None if baseline is None else baseline.id,
                label_set_id=None if run is None else run.label_set_id,
                split=split,
                criterion=criterion,
                qrels_hash=_hash_qrels(qrels),
                look=looks + (baseline is not None),
                n_queries=measured.n_queries,
                n_judgements=measured.n_judgements,
                measures={**measured.measures, "unjudged@10": measured.unjudged_at_10},
                comparison={
                    **({} if comparison is None else _store_comparison(comparison)),
                    "changes": largest_changes(per_query),
                    "n_to_judge": sum(len(entry["to_judge"]) for entry in per_query),
                    "regression": results,
                    **({} if verdict is None else {"better": verdict.better}),
                    **({} if baseline or not label_set_ids else {"parts": _parts(measured, seen)}),
                    "rests_on": {
                        "corpus": retrievers[0].state,
                        "max_length": workspace.settings.max_length,
                        "last_revocation": judged.last_revocation,
                    },
                },
                per_query=per_query,
                gate_passed=None if verdict is None else verdict.passed,
                gate_reasons=[] if verdict is None else list(verdict.reasons),
                created_at=workspace.now(),
            )
            session.add(row)
            session.flush()
            if on_record is not None:
                on_record(session, row)
            return row.id


def _parts(measured: Measured, seen: Collection[str]) -> dict[str, dict[str, float]]:
    """Mean and number of a model's seen and unseen questions, those with any."""
    values: dict[str, list[float]] = {"seen": [], "unseen": []}
    for entry in measured.per_query:
        values["seen" if entry.query_id in seen else "unseen"].append(entry.values[GATE_MEASURE])
    return {name: {"mean": fmean(found), "n": len(found)} for name, found in values.items() if found}


def _verdict(
    workspace: Workspace, comparison: Comparison, *, looks: int, regression: RegressionOutcome, let_through: int
) -> GateVerdict:
    from retriever.gate import decide

    return decide(
        comparison,
        rule=workspace.settings.gate_rule,
        margin=workspace.settings.gate_margin,
        looks=looks,
        regression=regression,
        let_through=let_through,
    )


def _judged(workspace: Workspace, *, split: Split, criterion: Criterion, label_set_ids: list[int]) -> _Judged:
    relevant_from = workspace.settings.relevant_from
    with workspace.sessions.read() as session:
        rows = training_queries.list_human_judgements(session, split=split, criterion=criterion)
        positives = training_queries.list_trained_positives(
            session, label_set_ids=label_set_ids, relevant_from=relevant_from
        )
        n_labels = count_trained_labels(session, label_set_ids=label_set_ids)
        checks = list_checks(session)
        revoked = last_revocation(session)
    qrels: dict[str, dict[str, int]] = {}
    texts: dict[str, str] = {}
    for query_id, text, passage_id, grade in rows:
        qrels.setdefault(query_id, {})[passage_id] = grade
        texts[query_id] = text
    if not any(grade >= relevant_from for judged in qrels.values() for grade in judged.values()):
        raise NothingToDo(
            f"no query of the {split} split has a passage that people graded {relevant_from} or more by {criterion}",
            user_message=f"Nothing to measure on: no {split} question has a passage that people judged "
            f"{'relevant' if criterion is Criterion.RELEVANCE else 'useful (utility)'}.",
        )
    return _Judged(
        qrels=qrels, texts=texts, positives=positives, n_labels=n_labels, checks=checks, last_revocation=revoked
    )


def _hash_qrels(qrels: Mapping[str, Mapping[str, int]]) -> str:
    digest = hashlib.sha256()
    # In Python's order: each database sorts text by rules of its own.
    for query_id, judged in sorted(qrels.items()):
        for passage_id, grade in sorted(judged.items()):
            digest.update(f"{query_id}\t{passage_id}\t{grade}\n".encode())
    return digest.hexdigest()


def _store_comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "baseline": {**comparison.baseline.measures, "unjudged@10": comparison.baseline.unjudged_at_10},
        "slices": {
            name: {measure: _store_difference(difference) for measure, difference in differences.items()}
            for name, differences in {"all": comparison.differences, **comparison.slices}.items()
        },
    }


def _store_difference(difference: Difference) -> dict[str, float]:
    return {
        "mean": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p_adjusted,
        "n": difference.n,
    }


def _result(check: CheckRecord, *, candidate: int | None, baseline: int | None) -> dict[str, Any]:
    """A check with the ranks it got; a rank of None is beyond what was searched, or no baseline was there."""
    return {
        "id": check.id,
        "query": check.query,
        "passage_id": check.passage_key,
        "title": check.title,
        "deepest_rank": check.deepest_rank,
        "candidate": candidate,
        "baseline": baseline,
    }


def _side_by_side(
    measured: Measured, comparison: Comparison | None
) -> list[tuple[QueryMeasures, QueryMeasures | None]]:
    before = {} if comparison is None else {entry.query_id: entry for entry in comparison.baseline.per_query}
    return [(entry, before.get(entry.query_id)) for entry in measured.per_query]


def _query_entry(
    entry: QueryMeasures,
    old: QueryMeasures | None,
    *,
    text: str,
    judged: Mapping[str, int],
    n_relevant: int,
    seen: bool,
    ranked: tuple[Sequence[Hit], Sequence[Hit] | None],
) -> dict[str, Any]:
    """One query as it is stored. to_judge: [passage id, [rank, score] or None by the model, by the baseline]."""
    tops = [
        {hit.passage_id: [hit.rank, round(hit.score, 6)] for hit in hits or () if hit.rank <= TOP} for hits in ranked
    ]
    unjudged = sorted({passage for top in tops for passage in top} - judged.keys())
    return {
        "query_id": entry.query_id,
        "text": text,
        "candidate": dict(entry.values),
        "baseline": None if old is None else dict(old.values),
        "n_relevant": n_relevant,
        "seen": seen,
        "unjudged": [entry.unjudged_at_10, None if old is None else old.unjudged_at_10],
        "to_judge": [[passage, *(top.get(passage) for top in tops)] for passage in unjudged],
    }


def why_not_compared(session: Session, model: ModelVersion, live: ModelVersion) -> str:
    """In words, that a model ranks as the live one does, so that a look at the held-out set would be lost; else empty.

    That is so where a training kept nothing of what it learned, see `acts_as`.
    """
    if training_queries.acts_as(session, model) != training_queries.acts_as(session, live):
        return ""
    return f"Not compared: it ranks as {live.name} does, which is live, and a look would be lost."


def evaluate_model(
    workspace: Workspace,
    *,
    model_id: int,
    split: Split = Split.HELD_OUT,
    criterion: Criterion | None = None,
    progress: Progress | None = None,
) -> EvaluationView:
    """Measures a model on a split; one that is not live is compared with the live one, which counts as a look.

    It is measured by the criterion of the labels that it was trained on, which alone the gate asks, or by another one.

    Raises:
        NotFound: there is no such model.
        NothingToDo: people judged nothing relevant in this split yet, or the model changes nothing.
    """
    with workspace.sessions.read() as session:
        model = get_model_or_raise(session, model_id)
        live = get_live(session)
        baseline = live if live is not None and live.id != model.id else None
        same = None if baseline is None else why_not_compared(session, model, baseline)
        label_sets = training_queries.label_sets_of(session, [m.id for m in (baseline, model) if m is not None])
        about = criterion or training_queries.criterion_of_model(session, model.id)
    if same:
        raise NothingToDo(same)
    evaluation_id = run_evaluation(
        workspace,
        model=model,
        baseline=baseline,
        label_set_ids=label_sets,
        split=split,
        criterion=about,
        progress=progress,
    )
    with workspace.sessions.read() as session:
        return evaluation_view(session, session.get_one(Evaluation, evaluation_id))
