"""What a round gained on the held-out questions, for how many audits, and whether another is worth it.

A figure here is no look that the gate counts: it compares rounds with one another and lets no model go live.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from statistics import fmean

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.indexing import Progress
from app.services.retrievers import open_together
from app.services.round_views import Figure
from db.enums import Split
from db.models import ModelVersion
from db.queries.training import label_sets_of, list_human_judgements, list_trained_positives

MEASURE = "nDCG@10"
LEAST_QUERIES = 30
"""Fewer held-out queries say nothing of a gain, as for the gate. Our choice."""

LEAST_AUDITS = 20
"""A gain is not told for 100 audits from fewer than these: it would be five times noise. Our choice."""

_DEPTH = 10


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether to stop, None where nothing can be said, and why, in a sentence."""

    stop: bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Measured:
    """nDCG@10 by model and held-out query, and the queries of which any of them was trained on a relevant passage."""

    by_model: Mapping[str, Mapping[str, float]]
    seen: Collection[str]


def measure(
    workspace: Workspace,
    models: Mapping[str, ModelVersion],
    *,
    criterion: Criterion,
    progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> Measured:
    """Each model's nDCG@10 by held-out query, all on the judgements as they are now; empty without any relevant one.

    All of them search the same state of the corpus.
    """
    from retriever.evaluation import evaluate
    from retriever.slices import seen_queries

    relevant_from = workspace.settings.relevant_from
    with workspace.sessions.read() as session:
        rows = list_human_judgements(session, split=Split.HELD_OUT, criterion=criterion)
        label_set_ids = label_sets_of(session, [model.id for model in models.values()])
        positives = list_trained_positives(session, label_set_ids=label_set_ids, relevant_from=relevant_from)
    qrels: dict[str, dict[str, int]] = {}
    texts: dict[str, str] = {}
    for query_id, text, passage_id, grade in rows:
        qrels.setdefault(query_id, {})[passage_id] = grade
        texts[query_id] = text
    if not any(grade >= relevant_from for judged in qrels.values() for grade in judged.values()):
        return Measured({}, frozenset())
    found = {}
    opened = open_together(workspace, list(models.values()), progress=progress, should_cancel=should_cancel)
    for name, retriever in zip(models, opened, strict=True):
        ranked = dict(zip(texts, retriever.search(list(texts.values()), _DEPTH, exact=True), strict=True))
        measured = evaluate(ranked, qrels, relevant_from=relevant_from)
        found[name] = {entry.query_id: entry.values[MEASURE] for entry in measured.per_query}
    return Measured(found, seen_queries(qrels, positives, relevant_from=relevant_from))


def figure_of(values: list[float]) -> Figure:
    """The mean of the values by query and its interval.

    Raises: ValueError without values.
    """
    from retriever.paired_tests import bootstrap_interval

    low, high = bootstrap_interval(values)
    return Figure(fmean(values), low, high, len(values))


def gain_of(new: Mapping[str, float], old: Mapping[str, float]) -> Figure:
    """The mean difference new − old over the same queries, paired."""
    return figure_of([value - old[query_id] for query_id, value in new.items()])


def gain_by_slice(new: Mapping[str, float], old: Mapping[str, float], *, seen: Collection[str]) -> dict[str, Figure]:
    """The gain on the seen and on the unseen queries, those with any."""
    slices = {
        "seen": {query_id: value for query_id, value in new.items() if query_id in seen},
        "unseen": {query_id: value for query_id, value in new.items() if query_id not in seen},
    }
    return {name: gain_of(values, old) for name, values in slices.items() if values}


def describe_slices(gains: Mapping[str, Figure]) -> str:
    """The gain on seen and unseen questions in a sentence, with what it means where the unseen ones lost; may be empty.

    A mixed figure rises while unseen questions fall, where many are seen. Source: methods, section 7.
    """
    from retriever.slices import SMALLEST

    if not gains:
        return ""
    parts = [
        f"{figure.mean:+.4f} on the {figure.n_queries} {name} ones"
        + (f" (interval {figure.low:+.4f} to {figure.high:+.4f})" if figure.n_queries >= SMALLEST else "")
        for name, figure in gains.items()
    ]
    said = f" Of these questions, {MEASURE} changed by {' and by '.join(parts)}."
    unseen = gains.get("unseen")
    if unseen is not None and unseen.n_queries >= SMALLEST and unseen.high < 0:
        said += " What the round taught does not carry over: questions about passages it was not trained on lost."
    return said


def advise(gain: Figure | None, *, n_audits: int, least_gain: float, is_first: bool) -> Advice:
    """Whether to stop after a round that gained so much for so many audits.

    Stop is recommended where the gain of the round per 100 audits, gain / n_audits · 100, is under `least_gain`
    (nDCG@10). All that the round brought is in the gain, new candidates and the judge's labels too: it says whether
    such a round was worth its audits, not what audits alone bring, and nothing says that the next one will be like it.
    Of the first round it says nothing: its gain is that of the first training. Our choice.
    """
    if gain is None:
        return Advice(None, "No held-out question has a passage that people judged relevant, so no gain is measured.")
    if gain.n_queries < LEAST_QUERIES:
        return Advice(
            None,
            f"Nothing can be said of stopping yet: {gain.n_queries} held-out questions are judged, "
            f"at least {LEAST_QUERIES} are needed.",
        )
    if is_first:
        return Advice(
            None,
            "Nothing can be said of stopping after the first round: its gain is that of the first training on the "
            "judge's labels as well. The next round is measured against this one.",
        )
    if n_audits < LEAST_AUDITS:
        return Advice(
            None,
            f"Nothing can be said of stopping yet: {n_audits} pairs were audited since the round before, "
            f"at least {LEAST_AUDITS} are needed.",
        )
    rate = 100 / n_audits
    found, low, high = gain.mean * rate, gain.low * rate, gain.high * rate
    stop = found < least_gain
    doubt = high >= least_gain if stop else low < least_gain
    return Advice(
        stop,
        f"{'You can stop' if stop else 'Go on'}: the round gained {found:+.4f} {MEASURE} per 100 audits, "
        f"{'less than' if stop else 'at least'} the {least_gain:g} asked for (interval {low:+.4f} to {high:+.4f}; "
        f"{gain.n_queries} held-out questions, {n_audits} audits)."
        + (f" The interval does not exclude {'more' if stop else 'less'}." if doubt else "")
        + " All that the round brought is in this, the judge's labels too.",
    )
