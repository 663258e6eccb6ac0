"""The last measurement of audited examples, and the examples that it lets a judge be shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from annotator.judges.examples import ExamplePool
from annotator.prompts.loader import load_prompt
from annotator.types import GradedExample
from app.bootstrap import Examples, Workspace
from db.queries.prompts import list_examples
from db.queries.workspace_values import get_value
from retriever.bm25 import content_terms

VALUE = "example_trial"
_K1, _B = 1.5, 0.75


@dataclass(frozen=True, slots=True)
class ExampleTrial:
    """What was measured, on `n_pairs` blind reviews of `n_queries` calibrate questions, `n_examples` to choose from.

    Accuracies are shares of pairs on the same side (relevant or not) as the blind review; an unreadable reply is wrong.
    `low` and `high` bound the difference at `level` (paired bootstrap by query). `helps`: `low` is above zero.
    `holds`: it was measured with the model and the prompts in use now.
    """

    model: str
    prompt_with: str
    prompt_without: str
    k: int
    n_examples: int
    n_pairs: int
    n_queries: int
    accuracy_with: float
    accuracy_without: float
    difference: float
    low: float | None
    high: float | None
    level: float
    helps: bool
    holds: bool
    measured_at: datetime


def get_trial(workspace: Workspace) -> ExampleTrial | None:
    """The last measurement, or None when there was none."""
    with workspace.sessions.read() as session:
        stored = get_value(session, VALUE)
    if stored is None:
        return None
    fields = {name: value for name, value in stored.items() if name not in ("reviews", "pool")}
    trial = ExampleTrial(**{**fields, "measured_at": datetime.fromisoformat(fields["measured_at"]), "holds": True})
    with_, without = load_prompt("pointwise_examples").version, load_prompt().version
    now = (workspace.settings.llm_model, with_, without)
    return replace(trial, holds=(trial.model, trial.prompt_with, trial.prompt_without) == now)


def measured_examples(workspace: Workspace) -> Examples | None:
    """The examples that a judge may be shown: those of a measurement in which they helped and that holds, else None."""
    trial = get_trial(workspace)
    if trial is None or not (trial.helps and trial.holds):
        return None
    with workspace.sessions.read() as session:
        stored = get_value(session, VALUE)
        pool = pool_of(list_examples(session, (stored or {})["reviews"]))
    return Examples(pool, trial.k, query_likeness)


def query_likeness(query: str, others: Sequence[str]) -> list[float]:
    """How like each of the other queries is to this one: its BM25 score, higher is more alike.

    Source: Robertson & Zaragoza 2009, k1 = 1.5, b = 0.75, with the idf of Lucene, over the queries given.
    """
    terms = [Counter(content_terms(other)) for other in others]
    wanted = set(content_terms(query))
    mean = sum(map(len, terms)) / len(terms) if terms else 1.0
    holding = {term: sum(term in some for some in terms) for term in wanted}
    idf = {term: math.log(1 + (len(terms) - n + 0.5) / (n + 0.5)) for term, n in holding.items()}
    scores = []
    for some in terms:
        norm = _K1 * (1 - _B + _B * len(some) / (mean or 1.0))
        scores.append(sum(idf[term] * some[term] * (_K1 + 1) / (some[term] + norm) for term in wanted & some.keys()))
    return scores


def pool_of(examples: Mapping[int, GradedExample]) -> ExamplePool:
    """The examples, by review id, as a pool."""
    return ExamplePool(tuple(examples[id_] for id_ in sorted(examples)))
