"""Measuring a model on human-judged queries, beside the live one, with the looks counted and the gate asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services.indexing import Progress, ensure_dense_index, model_path
from app.services.views import DifferenceView, EvaluationView, MeasureView, QueryChange
from db.enums import Split
from db.models import Evaluation, ModelVersion
from db.queries import training as training_queries
from db.queries.registry import get_live, get_model_or_raise, lock_live
from retriever.types import Comparison, Difference, GateVerdict
from retriever.types import Evaluation as Measured

DEPTH = 100
GATE_MEASURE = "nDCG@10"
_CHANGES_SHOWN = 10


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
    `label_set_ids` are those the model was trained on: they tell seen queries from unseen ones (methods, section 7).
    `on_record` writes what must be stored together with the evaluation or not at all.

    Raises:
        NothingToDo: nobody has judged a relevant passage of this split yet.
    """
    from retriever.evaluation import compare, evaluate
    from retriever.gate import decide

    with workspace.sessions.read() as session:
        rows = training_queries.list_human_judgements(session, split=split, criterion=criterion)
        positives = training_queries.list_trained_positives(
            session, label_set_ids=label_set_ids or [], relevant_from=workspace.settings.relevant_from
        )
    relevant_from = workspace.settings.relevant_from
    qrels: dict[str, dict[str, int]] = {}
    texts: dict[str, str] = {}
    for query_id, text, passage_id, grade in rows:
        qrels.setdefault(query_id, {})[passage_id] = grade
        texts[query_id] = text
    if not any(grade >= relevant_from for judged in qrels.values() for grade in judged.values()):
        raise NothingToDo(
            f"no query of the {split} split has a passage that people graded {relevant_from} or more",
            user_message=f"Nothing to measure on: no {split} question has a passage that people judged relevant.",
        )
    qrels_hash = _hash_qrels(qrels)

    def measure(version: ModelVersion) -> Measured:
        run = _rank(workspace, version, texts, progress=progress, should_cancel=should_cancel)
        return evaluate(run, qrels, relevant_from=relevant_from)

    measured = measure(model)
    comparison: Comparison | None = None
    verdict: GateVerdict | None = None
    if baseline is not None:
        seen = {
            query_id
            for query_id, judged in qrels.items()
            if any(grade >= relevant_from and passage in positives for passage, grade in judged.items())
        }
        comparison = compare(measure(baseline), measured, seen_query_ids=seen)
    with workspace.sessions.begin() as session:
        lock_live(session)  # one at a time from here: two evaluations must not take the same look
        looks = training_queries.count_looks(session, split=split, criterion=criterion)
        if comparison is not None:
            verdict = decide(comparison, margin=workspace.settings.gate_margin, looks=looks)
        run = training_queries.get_run_of_model(session, model.id)
        row = Evaluation(
            model_version_id=model.id,
            baseline_model_id=None if baseline is None else baseline.id,
            label_set_id=None if run is None else run.label_set_id,
            split=split,
            criterion=criterion,
            qrels_hash=qrels_hash,
            look=looks + (baseline is not None),
            n_queries=measured.n_queries,
            n_judgements=measured.n_judgements,
            measures={**measured.measures, "unjudged@10": measured.unjudged_at_10},
            comparison={} if comparison is None else _store_comparison(comparison),
            per_query=_per_query(measured, comparison, texts),
            gate_passed=None if verdict is None else verdict.passed,
            gate_reasons=[] if verdict is None else list(verdict.reasons),
            created_at=workspace.now(),
        )
        session.add(row)
        session.flush()
        if on_record is not None:
            on_record(session, row)
        return row.id


def _hash_qrels(qrels: Mapping[str, Mapping[str, int]]) -> str:
    digest = hashlib.sha256()
    # In Python's order: each database sorts text by rules of its own.
    for query_id, judged in sorted(qrels.items()):
        for passage_id, grade in sorted(judged.items()):
            digest.update(f"{query_id}\t{passage_id}\t{grade}\n".encode())
    return digest.hexdigest()


def _rank(
    workspace: Workspace,
    model: ModelVersion,
    texts: Mapping[str, str],
    *,
    progress: Progress | None,
    should_cancel: Callable[[], bool] | None,
) -> dict[str, Any]:
    from retriever.dense_index import DenseIndex
    from retriever.encoder import Encoder

    index = DenseIndex.open(ensure_dense_index(workspace, model, progress=progress, should_cancel=should_cancel))
    encoder = Encoder.load(model_path(workspace, model), max_length=workspace.settings.max_length)
    hits = index.search(encoder.encode(list(texts.values())), DEPTH)
    return dict(zip(texts, hits, strict=True))


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


def _per_query(measured: Measured, comparison: Comparison | None, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    before = {} if comparison is None else {q.query_id: dict(q.values) for q in comparison.baseline.per_query}
    return [
        {
            "query_id": entry.query_id,
            "text": texts[entry.query_id],
            "candidate": dict(entry.values),
            "baseline": before.get(entry.query_id),
        }
        for entry in measured.per_query
    ]


def evaluation_view(session: Session, row: Evaluation) -> EvaluationView:
    """A stored evaluation as screens show it."""
    baseline = None if row.baseline_model_id is None else get_model_or_raise(session, row.baseline_model_id)
    before: Mapping[str, float] = row.comparison.get("baseline", {})
    changes = [
        QueryChange(
            query_id=entry["query_id"],
            text=entry["text"],
            baseline=entry["baseline"][GATE_MEASURE],
            candidate=entry["candidate"][GATE_MEASURE],
        )
        for entry in row.per_query
        if entry["baseline"] is not None and entry["baseline"][GATE_MEASURE] != entry["candidate"][GATE_MEASURE]
    ]
    changes.sort(key=lambda change: change.baseline - change.candidate)
    return EvaluationView(
        id=row.id,
        model=get_model_or_raise(session, row.model_version_id).name,
        baseline=None if baseline is None else baseline.name,
        split=row.split,
        look=row.look,
        n_queries=row.n_queries,
        n_judgements=row.n_judgements,
        measures=_measures(row.measures, row.n_queries),
        baseline_measures=_measures(before, row.n_queries),
        differences=tuple(
            DifferenceView(
                measure=measure,
                slice=name,
                baseline=before.get(measure) if name == "all" else None,
                candidate=row.measures.get(measure) if name == "all" else None,
                mean=stored["mean"],
                low=stored["low"],
                high=stored["high"],
                p_value=stored["p"],
                n_queries=int(stored["n"]),
            )
            for name, differences in row.comparison.get("slices", {}).items()
            for measure, stored in differences.items()
        ),
        better=tuple(change for change in changes if change.candidate > change.baseline)[:_CHANGES_SHOWN],
        worse=tuple(change for change in reversed(changes) if change.candidate < change.baseline)[:_CHANGES_SHOWN],
        unjudged_at_10=row.measures["unjudged@10"],
        baseline_unjudged_at_10=before.get("unjudged@10"),
        gate_passed=row.gate_passed,
        gate_reasons=tuple(row.gate_reasons),
        created_at=row.created_at,
    )


def _measures(values: Mapping[str, float], n: int) -> tuple[MeasureView, ...]:
    return tuple(MeasureView(name, value, n) for name, value in values.items() if name != "unjudged@10")


def evaluate_model(
    workspace: Workspace, *, model_id: int, split: Split = Split.HELD_OUT, progress: Progress | None = None
) -> EvaluationView:
    """Measures a model on a split; one that is not live is compared with the live one, which counts as a look.

    Raises:
        NotFound: there is no such model.
        NothingToDo: people judged nothing relevant in this split yet.
    """
    with workspace.sessions.read() as session:
        model = get_model_or_raise(session, model_id)
        live = get_live(session)
        baseline = live if live is not None and live.id != model.id else None
        label_sets = training_queries.label_sets_of(session, [m.id for m in (baseline, model) if m is not None])
    evaluation_id = run_evaluation(
        workspace, model=model, baseline=baseline, label_set_ids=label_sets, split=split, progress=progress
    )
    with workspace.sessions.read() as session:
        return evaluation_view(session, session.get_one(Evaluation, evaluation_id))
