"""Stored evaluations as screens show them: figures, slices, what changed, and the table of every query."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from app.services.views import CheckResult, DifferenceView, EvaluationView, MeasureView, QueryChange
from db.models import Evaluation
from db.queries.evaluating import get_evaluation_or_raise, get_per_query
from db.queries.registry import get_model_or_raise
from retriever.slices import FAMILIES

GATE_MEASURE = "nDCG@10"
_ORDER = {name: at for at, name in enumerate(("all", *(name for family in FAMILIES for name in family.names)))}
_CHANGES_KEPT = 10
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def evaluation_view(session: Session, row: Evaluation) -> EvaluationView:
    """A stored evaluation as screens show it."""
    baseline = None if row.baseline_model_id is None else get_model_or_raise(session, row.baseline_model_id)
    before: Mapping[str, float] = row.comparison.get("baseline", {})
    changes = row.comparison.get("changes") or largest_changes(row.per_query)  # evaluations before it was stored
    model = get_model_or_raise(session, row.model_version_id)
    return EvaluationView(
        id=row.id,
        model=model.name,
        model_hash=model.hash,
        baseline=None if baseline is None else baseline.name,
        split=row.split,
        criterion=row.criterion,
        look=row.look,
        n_queries=row.n_queries,
        n_judgements=row.n_judgements,
        measures=_measures(row.measures, row.n_queries) + _parts(row.comparison.get("parts", {})),
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
            for name, differences in sorted(row.comparison.get("slices", {}).items(), key=_in_order)
            for measure, stored in sorted(differences.items(), key=_main_first)
        ),
        better=tuple(QueryChange(**change) for change in changes.get("better", ())),
        worse=tuple(QueryChange(**change) for change in changes.get("worse", ())),
        unjudged_at_10=row.measures["unjudged@10"],
        baseline_unjudged_at_10=before.get("unjudged@10"),
        gate_passed=row.gate_passed,
        gate_reasons=tuple(row.gate_reasons),
        created_at=row.created_at,
        n_to_judge=row.comparison.get("n_to_judge", 0),
        checks=tuple(
            CheckResult(**{name: stored[name] for name in CheckResult.__slots__})
            for stored in row.comparison.get("regression", ())
        ),
    )


def largest_changes(per_query: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The queries whose nDCG@10 rose and fell most, largest first, so that a screen need not read them all."""
    changes = [
        {
            "query_id": entry["query_id"],
            "text": entry["text"],
            "baseline": entry["baseline"][GATE_MEASURE],
            "candidate": entry["candidate"][GATE_MEASURE],
        }
        for entry in per_query
        if entry["baseline"] is not None and entry["baseline"][GATE_MEASURE] != entry["candidate"][GATE_MEASURE]
    ]
    changes.sort(key=lambda change: change["baseline"] - change["candidate"])
    return {
        "better": [change for change in changes if change["candidate"] > change["baseline"]][:_CHANGES_KEPT],
        "worse": [change for change in reversed(changes) if change["candidate"] < change["baseline"]][:_CHANGES_KEPT],
    }


def _measures(values: Mapping[str, float], n: int) -> tuple[MeasureView, ...]:
    return tuple(MeasureView(name, value, n) for name, value in values.items() if name != "unjudged@10")


def _parts(stored: Mapping[str, Mapping[str, float]]) -> tuple[MeasureView, ...]:
    """Of a model by itself, the measure that decides on the questions that its training had seen and on the others."""
    return tuple(
        MeasureView(f"{GATE_MEASURE}, {name}", part["mean"], int(part["n"])) for name, part in sorted(stored.items())
    )


def _in_order(item: tuple[str, Any]) -> tuple[int, str]:
    """Slices as they are declared; PostgreSQL keeps no order of its own."""
    return _ORDER.get(item[0], len(_ORDER)), item[0]


def _main_first(item: tuple[str, Any]) -> tuple[bool, str]:
    return item[0] != GATE_MEASURE, item[0]


@dataclass(frozen=True, slots=True)
class QueryRow:
    """One query of an evaluation: nDCG@10 of both models in [0, 1], and the shares of their top 10 that nobody judged.

    What belongs to the live model is None where a model was measured alone; `seen` and the shares also in evaluations
    stored before they were.
    """

    query_id: str
    text: str
    n_relevant: int | None
    live: float | None
    candidate: float
    difference: float | None
    seen: bool | None
    live_unjudged: float | None
    candidate_unjudged: float | None


def list_query_rows(workspace: Workspace, *, evaluation_id: int) -> list[QueryRow]:
    """Every query of an evaluation, the largest loss first, then by id.

    Raises:
        NotFound: there is no such evaluation.
    """
    with workspace.sessions.read() as session:
        compared = get_evaluation_or_raise(session, evaluation_id).baseline_model_id is not None
        rows = [_query_row(entry, compared=compared) for entry in get_per_query(session, evaluation_id)]
    return sorted(rows, key=lambda row: (0.0 if row.difference is None else row.difference, row.query_id))


def _query_row(entry: Mapping[str, Any], *, compared: bool) -> QueryRow:
    old = None if entry["baseline"] is None else float(entry["baseline"][GATE_MEASURE])
    new = float(entry["candidate"][GATE_MEASURE])
    shares = entry.get("unjudged", [None, None])
    return QueryRow(
        query_id=entry["query_id"],
        text=entry["text"],
        n_relevant=entry.get("n_relevant"),
        live=old,
        candidate=new,
        difference=None if old is None else new - old,
        seen=entry.get("seen") if compared else None,
        live_unjudged=shares[1],
        candidate_unjudged=shares[0],
    )


def query_rows_csv(rows: list[QueryRow]) -> str:
    """The rows as CSV with a header; a text that a spreadsheet would run as a formula gets an apostrophe before it."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(QueryRow.__slots__)
    for row in rows:
        writer.writerow(
            ["" if (value := getattr(row, name)) is None else _harmless(value) for name in QueryRow.__slots__]
        )
    return out.getvalue()


def _harmless(value: object) -> object:
    if isinstance(value, bool):
        return "seen" if value else "unseen"
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
