"""How good a ranking is, and whether another one is better; what follows from it is decided in `gate`."""

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

import ir_measures
import numpy as np
from numpy.typing import NDArray

from retriever.errors import InvalidQrels
from retriever.types import Comparison, Difference, Evaluation, Hit, QueryMeasures

MEASURES = ("nDCG@10", "R@100", "RR@10")
SEEN, UNSEEN = "seen", "unseen"
_SHOWN_AS = {"R": "Recall"}
_EXACT_UP_TO = 12
_CHUNK = 1 << 22


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
    return Evaluation(
        measures={name: fmean(values[query_id][name] for query_id in scored) for name in parsed},
        per_query=tuple(QueryMeasures(query_id=query_id, values=values[query_id]) for query_id in scored),
        n_queries=len(scored),
        n_judgements=sum(len(judged) for judged in scored.values()),
        unjudged_at_10=fmean(_unjudged_at_10(run.get(query_id, ()), judged) for query_id, judged in scored.items()),
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
    resamples: int = 10_000,
    seed: int = 0,
    alpha: float = 0.05,
) -> Comparison:
    """Candidate minus baseline for each measure: mean, interval, p-value, on all queries and on both slices.

    seen_query_ids: queries whose relevant passages were trained on; the rest are "unseen"; None makes no slices. A
    slice without queries is left out. p-values are adjusted over the measures of one slice.
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

    slices = {}
    if seen_query_ids is not None:
        seen = frozenset(seen_query_ids)
        for name, query_ids in (
            (SEEN, [query_id for query_id in before if query_id in seen]),
            (UNSEEN, [query_id for query_id in before if query_id not in seen]),
        ):
            if query_ids:
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


def bootstrap_interval(
    values: Sequence[float], *, resamples: int = 10_000, seed: int = 0, alpha: float = 0.05
) -> tuple[float, float]:
    """Low and high end of the interval of the mean at 1 − alpha: quantiles alpha/2 and 1 − alpha/2 of resampled means.

    Source: Efron & Tibshirani 1993, ch. 13 (percentile interval), resampling queries. Raises: ValueError without values
    or for an alpha outside (0, 1).
    """
    if not values:
        raise ValueError("there are no values to resample")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be in (0, 1)")
    data = np.asarray(values, dtype=np.float64)
    random = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(data))
    means = np.concatenate(
        [
            data[random.integers(len(data), size=(min(rows, resamples - start), len(data)))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def sign_flip_p_value(values: Sequence[float], *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value, in (0, 1], of the mean being 0 if each difference were as likely to have the other sign.

    All sign patterns up to 12 differences that are not 0; else resamples random ones, with (count + 1)/(resamples + 1).
    Source: Fisher's randomisation test, as in Smucker, Allan & Carterette, CIKM 2007.
    """
    data = np.asarray([value for value in values if value != 0.0], dtype=np.float64)
    if not len(data):
        return 1.0
    # Sums that are equal on paper differ by rounding: count those as reached.
    reached = abs(data.sum()) - 1e-9 * np.abs(data).sum()
    if len(data) <= _EXACT_UP_TO:
        patterns = 1 - 2 * ((np.arange(2 ** len(data))[:, None] >> np.arange(len(data))) & 1)
        return float(np.mean(np.abs(patterns @ data) >= reached))
    random = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(data))
    count = 0
    for start in range(0, resamples, rows):
        signs: NDArray[np.int64] = 1 - 2 * random.integers(2, size=(min(rows, resamples - start), len(data)))
        count += int(np.count_nonzero(np.abs(signs @ data) >= reached))
    return (count + 1) / (resamples + 1)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for testing all of them, at most 1. Source: Holm 1979."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for position, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, (len(p_values) - position) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


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
