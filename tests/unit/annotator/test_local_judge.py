"""The judge without an LLM: modest, fast, never certified, and calm about odd texts."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.judges.base import Judge, collect
from annotator.judges.local import LocalJudge, content_terms, grade_distribution, median_grade
from annotator.types import (
    ConfidenceKind,
    Criterion,
    JudgeKind,
    JudgeRequest,
    Proposal,
    RetrievalSignals,
    Scale,
    SuggestionStatus,
)

STRONG = RetrievalSignals(0.8, 1, 20.0, 1, 1, 30, 20.0)
WEAK = RetrievalSignals(0.05, 80, 1.0, 90, 85, 100, 20.0)
PASSAGE = "Radar sees far. Pilots fly low to stay out of sight of radar. Birds also fly."


def request(
    query: str = "why do pilots fly low",
    passage: str = PASSAGE,
    signals: RetrievalSignals = STRONG,
    title: str = "",
) -> JudgeRequest:
    return JudgeRequest(pair_id=5, query=query, definition=None, title=title, passage=passage, signals=signals)


def test_it_is_a_judge_that_can_never_be_certified() -> None:
    """Disaster: retrieval scores sold as the judgement of an LLM."""
    judge = LocalJudge(Scale())
    assert isinstance(judge, Judge)
    assert judge.identity.name == "local judge"
    assert (judge.identity.kind, judge.identity.criterion) == (JudgeKind.LOCAL, Criterion.RELEVANCE)
    assert judge.identity.certifiable is False


def test_strong_signals_are_relevant_and_weak_ones_are_not() -> None:
    """Disaster: a judge that ranks upside down."""
    judge = LocalJudge()
    strong, weak = judge.propose(request()), judge.propose(request(passage="Bread is baked.", signals=WEAK))
    assert (strong.grade or 0) >= 2 > (weak.grade or 0)
    assert strong.confidence_kind is ConfidenceKind.RETRIEVER
    assert strong.grade_distribution is not None
    assert strong.confidence == pytest.approx(sum(strong.grade_distribution[2:]))


def test_evidence_is_the_sentence_with_most_query_terms() -> None:
    """Disaster: evidence that is not in the passage, or points at the wrong sentence."""
    evidence = LocalJudge().propose(request()).evidence
    assert evidence is not None
    assert evidence.text == "Pilots fly low to stay out of sight of radar."
    assert PASSAGE[evidence.start : evidence.end] == evidence.text


def test_no_shared_term_means_no_evidence() -> None:
    """Disaster: a random sentence shown as evidence."""
    assert LocalJudge().propose(request(passage="Bread is baked.")).evidence is None


def test_the_reason_is_in_plain_words() -> None:
    """Disaster: a reviewer shown logits."""
    signals = RetrievalSignals(0.5, 2, 8.0, 7, 3, 30, 12.0)
    proposal = LocalJudge().propose(request(query="pilots fly low radar bread", signals=signals))
    assert proposal.reason == "4 of 5 query terms found; rank 2 by meaning, 7 by words"


NONE = RetrievalSignals()
NAN = RetrievalSignals(math.nan, 0, math.inf, -3, None, None, math.nan)


@pytest.mark.parametrize("signals", [NONE, NAN, STRONG, RetrievalSignals(bm25_score=1.0, best_bm25_score=0.0)])
@pytest.mark.parametrize(
    ("query", "passage"),
    [
        ("", ""),
        ("the of and", "the of and"),
        ("low flight", ""),
        ("日本の首都", "東京は日本の首都です。大阪は違います。"),
        ("ทำไมบินต่ำ", "นักบินบินต่ำเพื่อหลบเรดาร์"),
        ("لماذا", "لماذا يطير الطيارون"),
        ("x\x00y \ud83d", "\u202e\ud83d \x00"),
        ("low " * 5_000, "low flight. " * 100_000),
    ],
    ids=["empty", "stopwords", "no passage", "japanese", "thai", "arabic", "odd characters", "a megabyte"],
)
def test_odd_texts_and_missing_signals_still_give_a_proposal(
    query: str, passage: str, signals: RetrievalSignals
) -> None:
    """Disaster: one empty passage that stops the labelling of all others."""
    proposal = LocalJudge().propose(request(query=query, passage=passage, signals=signals))
    assert proposal.status is SuggestionStatus.OK
    if proposal.evidence is not None:
        assert passage[proposal.evidence.start : proposal.evidence.end] == proposal.evidence.text


def test_languages_without_spaces_share_terms_too() -> None:
    """Disaster: a judge that finds nothing in Japanese."""
    evidence = LocalJudge().propose(request(query="日本の首都", passage="大阪です。東京は日本の首都です。")).evidence
    assert evidence is not None
    assert evidence.text == "東京は日本の首都です。"


def test_plurals_match_and_stopwords_do_not_count() -> None:
    """Disaster: coverage decided by 'the'."""
    assert set(content_terms("The pilots and the studies of a class")) == {"pilot", "study", "class"}


@given(
    st.one_of(st.none(), st.floats()),
    st.one_of(st.none(), st.integers()),
    st.one_of(st.none(), st.floats()),
    st.one_of(st.none(), st.floats()),
    st.sampled_from([Scale(), Scale(1, 1), Scale(4, 1), Scale(2, 2)]),
)
@settings(max_examples=200, deadline=None)
def test_any_signals_give_a_sound_distribution(
    dense: float | None, rank: int | None, bm25: float | None, best: float | None, scale: Scale
) -> None:
    """Disaster: NaN in a column that everything is sorted by."""
    signals = RetrievalSignals(dense, rank, bm25, rank, None, None, best)
    proposal = LocalJudge(scale).propose(request(signals=signals))
    assert proposal.grade_distribution is not None
    assert len(proposal.grade_distribution) == scale.max_grade + 1
    assert all(p >= 0.0 for p in proposal.grade_distribution)
    assert proposal.confidence is not None
    assert proposal.confidence >= 0.5 - 1e-9
    p_relevant = sum(proposal.grade_distribution[scale.relevant_from :])
    assert scale.is_relevant(proposal.grade or 0) == (p_relevant >= 0.5)


def test_more_of_any_signal_never_makes_a_pair_less_relevant() -> None:
    """Disaster: a higher cosine that lowers the grade, because the fit found an odd sign."""

    def p(signals: RetrievalSignals) -> float:
        distribution = LocalJudge().propose(request(signals=signals)).grade_distribution
        assert distribution is not None
        return sum(distribution[2:])

    for better, worse in (
        (RetrievalSignals(0.6, 5, 9.0, 5, None, None, 10.0), RetrievalSignals(0.3, 5, 9.0, 5, None, None, 10.0)),
        (RetrievalSignals(0.6, 5, 9.0, 5, None, None, 10.0), RetrievalSignals(0.6, 5, 3.0, 5, None, None, 10.0)),
        (RetrievalSignals(0.6, 1, 9.0, 5, None, None, 10.0), RetrievalSignals(0.6, 9, 9.0, 5, None, None, 10.0)),
        (RetrievalSignals(0.6, 5), RetrievalSignals(0.3, 5)),
        (
            RetrievalSignals(None, None, 9.0, 1, None, None, 10.0),
            RetrievalSignals(None, None, 2.0, 9, None, None, 10.0),
        ),
    ):
        assert p(better) >= p(worse)


def test_the_distribution_is_that_of_the_ordinal_model() -> None:
    """Disaster: a class probability that changes with the number of grades."""
    for scale in (Scale(), Scale(1, 1), Scale(5, 3)):
        distribution = grade_distribution(1.0, scale=scale)
        assert sum(distribution[scale.relevant_from :]) == pytest.approx(1 / (1 + math.exp(-1.0)))


@pytest.mark.parametrize(
    ("distribution", "grade"),
    [
        ((0.1, 0.2, 0.3, 0.4), 2),
        ((0.6, 0.0, 0.0, 0.4), 0),
        ((0.0, 0.5, 0.0, 0.5), 3),
        ((0.3, 0.3, 0.2, 0.2), 1),
        ((1.0, 0.0), 0),
    ],
)
def test_the_proposed_grade_is_the_median(distribution: tuple[float, ...], grade: int) -> None:
    """Disaster: a grade on the unlikelier side, because its mass is not spread over two grades."""
    assert median_grade(distribution) == grade


def test_it_judges_thousands_of_pairs_a_second() -> None:
    """Disaster: minutes of waiting before a first look at one's own data (5,000 a second idle; half is asked here)."""
    passage = " ".join(
        f"Sentence {n} says something about pilots, radar and the weather over the sea." for n in range(15)
    )
    requests = [JudgeRequest(n, f"why do pilots fly low over {n}", None, "t", passage, STRONG) for n in range(2_000)]
    started = time.process_time()
    results = collect(LocalJudge(), requests)
    seconds = time.process_time() - started
    assert [result.pair_id for result in results] == list(range(2_000))
    assert all(isinstance(result, Proposal) for result in results)
    assert 2_000 / seconds > 2_500
