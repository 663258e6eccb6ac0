"""The built-in judge: no LLM, key or network, but a small logistic model over what retrieval says of a pair.

It proposes and ranks so that a workspace is of use before any LLM is set up. It is never certifiable: its confidence
says how sure the retrieval signals are, not whether the passage answers. Fitting lives in tools/fit_local_judge.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass

from annotator.types import (
    ConfidenceKind,
    Criterion,
    Evidence,
    JudgeFailure,
    JudgeIdentity,
    JudgeKind,
    JudgeRequest,
    Proposal,
    RetrievalSignals,
    Scale,
    SuggestionStatus,
    Usage,
)

READ_CHARACTERS = 20_000
"""How much of a passage is read; more would only slow the judge down."""

UNRANKED = 100
"""The rank of a passage that a system did not return: beyond the depth to which candidates are usually taken."""

_MAX_EVIDENCE_CHARACTERS = 400
_WORD = re.compile(r"[^\W_]+")
_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?。！？]+(?![^\s\"'”’)\]])|[.!?](?=\S)|[。！？]|\n|$)")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]")
_STOPWORD_LIST = """
    a about above after again against all also am an and any are as at be because been before being below
    between both but by can could did do does doing down during each few for from further had has have having he
    her here hers him his how i if in into is it its itself just may me might more most much must my no nor not
    of off on once only or other our ours out over own same shall she should so some such than that the their
    theirs them then there these they this those through to too under until up upon us very was we were what
    when where whether which while who whom whose why will with within without would you your yours
"""
_STOPWORDS = frozenset(_STOPWORD_LIST.split())


@dataclass(frozen=True, slots=True)
class Features:
    """What the model sees of a pair. Shares lie in [0, 1]; log ranks are natural logarithms, 0 for the first place."""

    has_dense: bool
    has_bm25: bool
    cosine: float
    bm25_share: float
    coverage: float
    log_dense_rank: float
    log_bm25_rank: float


@dataclass(frozen=True, slots=True)
class Weights:
    """One weight a feature: the log-odds of relevance are the intercept plus their weighted sum."""

    intercept: float
    cosine: float = 0.0
    bm25_share: float = 0.0
    coverage: float = 0.0
    log_dense_rank: float = 0.0
    log_bm25_rank: float = 0.0

    def log_odds(self, features: Features) -> float:
        """Log-odds that the pair is relevant."""
        return (
            self.intercept
            + self.cosine * features.cosine
            + self.bm25_share * features.bm25_share
            + self.coverage * features.coverage
            + self.log_dense_rank * features.log_dense_rank
            + self.log_bm25_rank * features.log_bm25_rank
        )


WEIGHTS = {
    (True, True): Weights(-1.724, cosine=3.978, coverage=2.215, log_dense_rank=-0.397, log_bm25_rank=-0.240),
    (True, False): Weights(-2.507, cosine=3.864, coverage=3.012, log_dense_rank=-0.462),
    (False, True): Weights(-1.229, coverage=3.569, log_bm25_rank=-0.449),
    (False, False): Weights(-3.099, coverage=5.136),
}
"""By whether dense and BM25 signals are there: a model each, since one fitted on both fails when one is missing.

Fitted by tools/fit_local_judge.py on 27,483 candidate pairs of the training claims of scifact (3.3 % relevant; unjudged
counts as not relevant) and the 660 judged pairs of diras (28.2 % relevant), each set weighted alike, signals from
all-MiniLM-L6-v2 and bm25s. On queries held back (ten folds), in the order above, scifact / diras:

    AUROC                                 .861 / .740   .856 / .745   .819 / .626   .784 / .635
    accuracy of relevant or not           .909 / .729   .910 / .730   .929 / .732   .944 / .741
    ECE                                   .198 / .204   .196 / .203   .189 / .193   .172 / .178
    ECE, with an intercept for each set   .012 / .063   .012 / .065   .017 / .057   .012 / .047

So it ranks, and that is all: calling every pair not relevant is right in .967 / .718. The two sets' own intercepts lie
up to 4.6 apart, so the confidence means little until it is calibrated on reviews of the collection at hand. The
structure was chosen by these same figures: a single intercept throughout, tried first, had AUROC .843 / .633.
"""

STEP = 0.677
"""Log-odds between neighbouring grades, fitted on partly (65) against yes (121) in diras, assumed elsewhere."""


class LocalJudge:
    """Proposes grades from retrieval signals and shared words; always uncertified, and named so."""

    def __init__(self, scale: Scale | None = None) -> None:
        self._scale = scale or Scale()
        fitted = {f"{dense}/{bm25}": asdict(weights) for (dense, bm25), weights in WEIGHTS.items()}
        self.identity = JudgeIdentity(
            name="local judge",
            kind=JudgeKind.LOCAL,
            model="retrieval signals",
            prompt_version=hashlib.sha256(repr((fitted, STEP)).encode()).hexdigest()[:16],
            criterion=Criterion.RELEVANCE,
            certifiable=False,
            parameters={"max_grade": self._scale.max_grade, "relevant_from": self._scale.relevant_from},
        )

    async def judge(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """One proposal a request, in order."""
        for count, request in enumerate(requests):
            if count % 200 == 199:
                await asyncio.sleep(0)  # lets a cancellation and other tasks through
            yield self.propose(request)

    def propose(self, request: JudgeRequest) -> Proposal:
        """The proposal for one pair; never fails."""
        terms = frozenset(content_terms(request.query[:READ_CHARACTERS]))
        read = request.passage[:READ_CHARACTERS]
        found, evidence = _matches(terms, read, title=request.title[:READ_CHARACTERS])
        features = features_of(request.signals, coverage=len(found) / len(terms) if terms else 0.0)
        log_odds = WEIGHTS[features.has_dense, features.has_bm25].log_odds(features)
        distribution = grade_distribution(log_odds, scale=self._scale)
        p_relevant = math.fsum(distribution[self._scale.relevant_from :])
        return Proposal(
            pair_id=request.pair_id,
            status=SuggestionStatus.OK,
            grade=median_grade(distribution),
            grade_distribution=distribution,
            confidence=min(1.0, max(p_relevant, 1.0 - p_relevant)),
            confidence_kind=ConfidenceKind.RETRIEVER,
            evidence=evidence,
            evidence_dropped=False,
            reason=_reason(request.signals, found=len(found), asked=len(terms)),
            raw_reply="",
            usage=Usage(cost_usd=0.0),
        )


def grade_distribution(log_odds: float, *, scale: Scale) -> tuple[float, ...]:
    """Probability of each grade 0..K from the log-odds of relevance.

    P(grade ≥ g) = σ(log_odds − (g − relevant_from) · STEP).

    Source: the proportional-odds model (McCullagh 1980); evenly spaced thresholds are our choice.
    """
    at_least = [1.0, *(_sigmoid(log_odds - (g - scale.relevant_from) * STEP) for g in scale.grades[1:]), 0.0]
    return tuple(at_least[g] - at_least[g + 1] for g in scale.grades)


def median_grade(distribution: Sequence[float]) -> int:
    """The highest grade that is reached with probability at least one half.

    It errs least in whole grades, and is relevant exactly when relevance is the likelier side; the likeliest single
    grade is neither. Our choice.
    """
    return max(grade for grade in range(len(distribution)) if grade == 0 or math.fsum(distribution[grade:]) >= 0.5)


def features_of(signals: RetrievalSignals, *, coverage: float) -> Features:
    """The features of a pair; a signal that is missing or no number leaves its neutral value and says so."""
    cosine = _finite(signals.dense_score)
    best = _finite(signals.best_bm25_score)
    score = _finite(signals.bm25_score)
    has_bm25 = best is not None
    return Features(
        has_dense=cosine is not None,
        has_bm25=has_bm25,
        cosine=min(1.0, max(-1.0, cosine)) if cosine is not None else 0.0,
        bm25_share=min(1.0, max(0.0, score / best)) if best is not None and best > 0 and score is not None else 0.0,
        coverage=coverage,
        log_dense_rank=_log_rank(signals.dense_rank) if cosine is not None else 0.0,
        log_bm25_rank=_log_rank(signals.bm25_rank) if has_bm25 else 0.0,
    )


def content_terms(text: str) -> Iterator[str]:
    """The words that carry meaning, lower case, plural endings off; pairs of characters where words are not spaced."""
    for word in _WORD.findall(text.lower()):
        if not word.isascii() and _UNSPACED.search(word):
            yield from (word[at : at + 2] for at in range(max(1, len(word) - 1)))
        elif word not in _STOPWORDS:
            yield _stem(word)


def _stem(word: str) -> str:
    if len(word) > 3 and word[-1] == "s" and word[-2] not in "su":
        return word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]
    return word


def _matches(terms: frozenset[str], passage: str, *, title: str) -> tuple[frozenset[str], Evidence | None]:
    """The query terms found in title or passage, and the first sentence of the passage that holds most of them."""
    if not terms:
        return frozenset(), None
    found = terms.intersection(content_terms(title))
    most, span = 0, None
    for match in _SENTENCE.finditer(passage):
        shared = terms.intersection(content_terms(match.group()))
        if len(shared) > most:
            most, span = len(shared), match.span()
        found |= shared
    return found, _trimmed(passage, *span) if span else None


def _trimmed(passage: str, start: int, end: int) -> Evidence:
    end = min(end, start + _MAX_EVIDENCE_CHARACTERS)
    text = passage[start:end]
    start += len(text) - len(text.lstrip())
    text = text.strip()
    return Evidence(start, start + len(text), text)


def _reason(signals: RetrievalSignals, *, found: int, asked: int) -> str:
    parts = [f"{found} of {asked} query terms found" if asked else "the query has no terms to look for"]
    ranks = [
        f"{rank} by {how}"
        for rank, how in ((signals.dense_rank, "meaning"), (signals.bm25_rank, "words"))
        if rank is not None
    ]
    if ranks:
        parts.append(f"rank {', '.join(ranks)}")
    return "; ".join(parts)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _log_rank(rank: int | None) -> float:
    return math.log(min(max(rank, 1), UNRANKED)) if rank is not None else math.log(UNRANKED)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
