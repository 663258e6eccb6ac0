"""How good a ranking is, and how another one differs; the statistics are in `paired_tests`, the decision in `gate`."""

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

import ir_measures

from retriever.errors import InvalidQrels
from retriever.paired_tests import bootstrap_interval, holm, sign_flip_p_value
from retriever.slices import SEEN, UNSEEN
from retriever.types import Comparison, Difference, Evaluation, Hit, QueryMeasures

MEASURES = ("nDCG@10", "R@100", "RR@10")
_SHOWN_AS = {"R": "Recall"}


def evaluate(
    run: Mapping[str, Sequence[Hit]],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    relevant_from: int = 2,
    measures: Sequence[str] = MEASURES,
) -> Evaluation:
    """The measures of a run, each in [0, 1], higher is better, under the names "nDCG@10", "Recall@100", "RR@10", …

    run: query id -> ranking; only the ranks count, not the scores, and a query missing from it scores 0. qrels: query
    id -> passage id -> grade. Only queries with a passage graded relevant_from or more count; the others with
    judgements are counted as left out. nDCG uses the grade as gain, Recall and RR the passages from relevant_from up.
    Source: Järvelin & Kekäläinen 2002 (nDCG), as in trec_eval, by ir_measures.
    Raises: InvalidQrels when nothing can be scored, a grade is no whole number of 0 or more, or a ranking is broken.
    """
    scored = _scorable(qrels, relevant_from=relevant_from)
    for query_id in scored:
        _check_ranking(query_id, run.get(query_id, ()))
    parsed = {shown_name(name): _parse(name, relevant_from=relevant_from) for name in measures}
    values: dict[str, dict[str, float]] = {query_id: dict.fromkeys(parsed, 0.0) for query_id in scored}
    names = {measure: name for name, measure in parsed.items()}
    as_scores = {
        query_id: {hit.passage_id: 1.0 / hit.rank for hit in run.get(query_id, ())}
        for query_id in scored
        if run.get(query_id)
    }
    if as_scores:
        for metric in ir_measures.iter_calc(
            list(parsed.values()), {query_id: dict(scored[query_id]) for query_id in as_scores}, as_scores
        ):
            values[metric.query_id][names[metric.measure]] = float(metric.value)
    per_query = tuple(
        QueryMeasures(
            query_id=query_id,
            values=values[query_id],
            unjudged_at_10=_unjudged_at_10(run.get(query_id, ()), judged),
        )
        for query_id, judged in scored.items()
    )
    return Evaluation(
        measures={name: fmean(values[query_id][name] for query_id in scored) for name in parsed},
        per_query=per_query,
        n_queries=len(scored),
        n_judgements=sum(len(judged) for judged in scored.values()),
        unjudged_at_10=fmean(entry.unjudged_at_10 for entry in per_query),
        n_queries_left_out=len(qrels) - len(scored),
    )


def shown_name(measure: str) -> str:
    """The name under which a measure is reported: "R@100" is "Recall@100", others keep theirs."""
    base, at, cutoff = measure.partition("@")
    return f"{_SHOWN_AS.get(base, base)}{at}{cutoff}"


def compare(
    baseline: Evaluation,
    candidate: Evaluation,
    *,
    seen_query_ids: Collection[str] | None,
    described: Mapping[str, Collection[str]] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    alpha: float = 0.05,
) -> Comparison:
    """Candidate minus baseline for each measure: mean, interval, p-value, on all queries and on each slice.

    seen_query_ids: queries whose relevant passages were trained on; the rest are "unseen"; None does not tell them
    apart. described: further slices, name -> query ids, that describe and decide nothing. A slice without queries is
    left out. p-values are adjusted over the measures of one slice, not over slices.
    Source: Holm 1979 for the adjustment; intervals and p-values see `bootstrap_interval` and `sign_flip_p_value`.
    Raises: InvalidQrels when the two were not evaluated on the same queries and measures.
    """
    before = {entry.query_id: entry.values for entry in baseline.per_query}
    after = {entry.query_id: entry.values for entry in candidate.per_query}
    if before.keys() != after.keys() or baseline.measures.keys() != candidate.measures.keys():
        raise InvalidQrels(
            f"the evaluations differ in queries ({len(before)} and {len(after)}) or measures: "
            "evaluate both models on the same judgements"
        )

    def differences(query_ids: Sequence[str]) -> dict[str, Difference]:
        by_measure = {
            name: [(query_id, after[query_id][name] - before[query_id][name]) for query_id in query_ids]
            for name in baseline.measures
        }
        p_values = {
            name: sign_flip_p_value([value for _, value in pairs], resamples=resamples, seed=seed)
            for name, pairs in by_measure.items()
        }
        adjusted = holm(p_values)
        return {
            name: _difference(
                name,
                pairs,
                p_value=p_values[name],
                p_adjusted=adjusted[name],
                resamples=resamples,
                seed=seed,
                alpha=alpha,
            )
            for name, pairs in by_measure.items()
        }

    parts: dict[str, Collection[str]] = {}
    if seen_query_ids is not None:
        seen = frozenset(seen_query_ids)
        parts = {SEEN: seen, UNSEEN: before.keys() - seen}
    slices = {}
    for name, members in {**parts, **(described or {})}.items():
        if query_ids := [query_id for query_id in before if query_id in members]:
            slices[name] = differences(query_ids)
    return Comparison(
        baseline=baseline,
        candidate=candidate,
        differences=differences(list(before)),
        slices=slices,
        resamples=resamples,
        seed=seed,
        alpha=alpha,
    )


def _difference(
    name: str,
    pairs: Sequence[tuple[str, float]],
    *,
    p_value: float,
    p_adjusted: float,
    resamples: int,
    seed: int,
    alpha: float,
) -> Difference:
    low, high = bootstrap_interval([value for _, value in pairs], resamples=resamples, seed=seed, alpha=alpha)
    ordered = sorted(pairs, key=lambda pair: (-abs(pair[1]), pair[0]))
    return Difference(
        measure=name,
        mean=fmean(value for _, value in pairs),
        low=low,
        high=high,
        p_value=p_value,
        p_adjusted=p_adjusted,
        n=len(pairs),
        better=tuple(query_id for query_id, value in ordered if value > 0),
        worse=tuple(query_id for query_id, value in ordered if value < 0),
        per_query=tuple(pairs),
    )


def _scorable(qrels: Mapping[str, Mapping[str, int]], *, relevant_from: int) -> dict[str, Mapping[str, int]]:
    if relevant_from < 1:
        raise InvalidQrels(f"relevant_from is {relevant_from}; it must be 1 or more")
    for query_id, judged in qrels.items():
        for passage_id, grade in judged.items():
            if isinstance(grade, bool) or not isinstance(grade, int) or grade < 0:
                raise InvalidQrels(
                    f"query {query_id!r}, passage {passage_id!r}: the grade is {grade!r}; "
                    "it must be a whole number of 0 or more"
                )
    scored = {
        query_id: judged for query_id, judged in qrels.items() if max(judged.values(), default=0) >= relevant_from
    }
    if not scored:
        raise InvalidQrels(
            f"none of {len(qrels)} queries has a passage graded {relevant_from} or more: judge more pairs",
            user_message="No held-out query has a relevant passage yet, so there is nothing to measure.",
        )
    return scored


def _check_ranking(query_id: str, hits: Sequence[Hit]) -> None:
    if len({hit.passage_id for hit in hits}) != len(hits):
        raise InvalidQrels(f"the ranking of query {query_id!r} holds a passage twice")
    if len({hit.rank for hit in hits}) != len(hits) or any(hit.rank < 1 for hit in hits):
        raise InvalidQrels(f"the ranking of query {query_id!r} holds a rank twice, or one below 1")


def _parse(name: str, *, relevant_from: int) -> ir_measures.Measure:
    base, _, cutoff = name.replace("Recall", "R").partition("@")
    if base not in ("nDCG", "R", "RR", "P", "AP") or not (cutoff.isdigit() or not cutoff):
        raise ValueError(f"there is no measure {name!r}; use nDCG@k, R@k, RR@k, P@k or AP@k")
    parameters = "" if base == "nDCG" else f"(rel={relevant_from})"
    return ir_measures.parse_measure(f"{base}{parameters}{'@' + cutoff if cutoff else ''}")


def _unjudged_at_10(hits: Sequence[Hit], judged: Mapping[str, int]) -> float:
    top = sorted(hits, key=lambda hit: hit.rank)[:10]
    return math.fsum(hit.passage_id not in judged for hit in top) / len(top) if top else 0.0
