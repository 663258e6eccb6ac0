"""The batches that `bench certificate` audits: what judges decided, how sure they are, and what people said.

Calibrators and fusers are fitted on queries that no batch contains. What people said of a batch's pairs is kept in
`truth` and read for drawn audits and for the final measuring only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.calibration import JudgedInput, fit_calibrator
from annotator.ensembling import majority_grade, side_share, vote_shares
from annotator.types import ConfidenceKind, Scale
from bench.public_data import PublicSuggestion, read_qrels, read_suggestions

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TRECDL_SCALE = Scale(max_grade=3, relevant_from=2)
DIRAS_SCALE = Scale(max_grade=1, relevant_from=1)
TRECDL_JUDGES = (
    "gpt-4/umbrela",
    "gpt-4/binary",
    "gpt-4o/umbrela",
    "gpt-4o/binary",
    "llama3.2/umbrela",
    "llama3.2/binary",
)
DIRAS_JUDGES = (
    "gpt-4/cot",
    "gpt-4/no-cot",
    "gpt-4/no-definition",
    "gpt-3.5/cot",
    "llama-3-8b/distilled",
    "llama-3-8b/zero-shot",
)
SOURCES = ("fuser", "gpt-4 alone", "raw votes")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One frozen batch: (n,) arrays; `confidence` as stated by the source, calibrated except for raw votes."""

    predicted: Bools
    confidence: Floats
    truth: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A data set with what each source makes of each pair; all in one order, `inputs` by source."""

    scale: Scale
    queries: tuple[str, ...]
    truth: Bools
    inputs: Mapping[str, Sequence[JudgedInput]]
    raw: Batch

    def at(self, chosen: NDArray[np.int64]) -> Judged:
        """The same, of the chosen positions only."""
        return Judged(
            scale=self.scale,
            queries=tuple(self.queries[i] for i in chosen),
            truth=self.truth[chosen],
            inputs={name: [one[i] for i in chosen] for name, one in self.inputs.items()},
            raw=Batch(self.raw.predicted[chosen], self.raw.confidence[chosen], self.raw.truth[chosen]),
        )


def batch_of(source: str, *, train: Judged, test: Judged) -> Batch:
    """The batch of one source: calibrated on `train`'s human labels, predictions and confidences on `test`.

    The fuser decides by itself (relevant from p = ½ on); GPT-4 keeps its decision and gets a calibrated confidence.
    """
    if source == "raw votes":
        return test.raw
    inputs = test.inputs[source]
    calibrator = fit_calibrator(
        train.inputs[source], train.truth.tolist(), train.queries, scale=train.scale, kind=ConfidenceKind.VOTES
    )
    p = calibrator.p_relevant(inputs)
    if source == "fuser":
        predicted = p >= 0.5
    else:
        predicted = np.array([test.scale.is_relevant(one.grade) for one in inputs], dtype=np.bool_)
    return Batch(predicted, np.where(predicted, p, 1.0 - p), test.truth)


def read_trecdl() -> tuple[Judged, Judged]:
    """dl19 and dl20; a binary "relevant" counts as a vote for grade 2."""
    suggestions = _by_pair(read_suggestions("trecdl"))

    def votes(given: Mapping[str, PublicSuggestion]) -> tuple[int | None, ...]:
        named = (given.get(judge) for judge in TRECDL_JUDGES)
        return tuple(None if one is None else one.grade * (2 if one.max_grade == 1 else 1) for one in named)

    def inputs(given: Mapping[str, PublicSuggestion]) -> dict[str, JudgedInput]:
        cast = votes(given)
        grade = cast[0] if cast[0] is not None else 0
        return {"fuser": _fused(cast, TRECDL_SCALE), "gpt-4 alone": JudgedInput(grade, 1.0, None)}

    first, second = (
        _judged(read_qrels("trecdl", split), suggestions, TRECDL_SCALE, inputs, votes) for split in ("dl19", "dl20")
    )
    return first, second


def read_diras() -> Judged:
    """All 660 pairs; a judge's probability of relevant is its verbal confidence, else its token's."""
    suggestions = _by_pair(read_suggestions("diras"))

    def votes(given: Mapping[str, PublicSuggestion]) -> tuple[int | None, ...]:
        return tuple(given[judge].grade for judge in DIRAS_JUDGES)

    def inputs(given: Mapping[str, PublicSuggestion]) -> dict[str, JudgedInput]:
        stated = [_stated(given[judge]) for judge in DIRAS_JUDGES]
        mean = float(np.mean(stated))
        grade = int(mean >= 0.5)
        fused = JudgedInput(grade, max(mean, 1.0 - mean), None, votes=votes(given))
        alone = given[DIRAS_JUDGES[0]]
        confidence = stated[0] if alone.grade else 1.0 - stated[0]
        token = alone.token_probability if alone.token_probability is not None else 0.5
        distribution = (1.0 - token, token) if alone.grade else (token, 1.0 - token)
        return {"fuser": fused, "gpt-4 alone": JudgedInput(alone.grade, confidence, distribution)}

    return _judged(read_qrels("diras", "test"), suggestions, DIRAS_SCALE, inputs, votes)


def halves(judged: Judged, *, times: int, seed: int) -> Iterator[tuple[Judged, Judged]]:
    """Random halves of the questions, (to calibrate on, to certify)."""
    random = np.random.default_rng(seed)
    names = sorted(set(judged.queries))
    of_pair = np.array(judged.queries)
    for _ in range(times):
        inside = np.isin(of_pair, random.permutation(names)[: (len(names) + 1) // 2])
        yield judged.at(np.flatnonzero(inside)), judged.at(np.flatnonzero(~inside))


def _stated(one: PublicSuggestion) -> float:
    """The probability of relevant that a judge states; 0 or 1 by its answer where it states none."""
    stated = one.verbal_confidence if one.verbal_confidence is not None else one.token_probability
    sure = 1.0 if stated is None else stated
    return sure if one.grade else 1.0 - sure


def _fused(votes: tuple[int | None, ...], scale: Scale) -> JudgedInput:
    """The votes as one suggestion."""
    shares, grade = vote_shares(votes, scale), majority_grade(votes, scale)
    if shares is None or grade is None:
        return JudgedInput(0, None, None, votes=votes)
    return JudgedInput(grade, side_share(shares, grade, scale), None, votes=votes)


def _judged(
    qrels: Mapping[tuple[str, str], int],
    suggestions: Mapping[tuple[str, str], Mapping[str, PublicSuggestion]],
    scale: Scale,
    inputs: Callable[[Mapping[str, PublicSuggestion]], Mapping[str, JudgedInput]],
    votes: Callable[[Mapping[str, PublicSuggestion]], tuple[int | None, ...]],
) -> Judged:
    pairs = list(qrels)
    made = [inputs(suggestions[pair]) for pair in pairs]
    cast = [[scale.is_relevant(vote) for vote in votes(suggestions[pair]) if vote is not None] for pair in pairs]
    share = np.array([np.mean(given) for given in cast])
    truth = np.array([scale.is_relevant(qrels[pair]) for pair in pairs], dtype=np.bool_)
    predicted = share > 0.5
    return Judged(
        scale=scale,
        queries=tuple(query for query, _ in pairs),
        truth=truth,
        inputs={name: [one[name] for one in made] for name in made[0]},
        raw=Batch(predicted, np.where(predicted, share, 1.0 - share), truth),
    )


def _by_pair(suggestions: Sequence[PublicSuggestion]) -> dict[tuple[str, str], dict[str, PublicSuggestion]]:
    found: dict[tuple[str, str], dict[str, PublicSuggestion]] = {}
    for one in suggestions:
        found.setdefault((one.query_id, one.passage_id), {})[one.judge] = one
    return found
