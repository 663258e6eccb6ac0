import numpy as np
import pytest

from retriever.mining import exact_hits, mine_negatives, score_positives
from retriever.types import GradedList, Hit, LabelledPassage

TEXTS = {name: f"text {name}" for name in "abcdefgh"}


def listed(query: str = "q", **grades: float) -> GradedList:
    passages = tuple(LabelledPassage(name, TEXTS[name], grade, weight=0.7) for name, grade in grades.items())
    return GradedList(query_id=query, query=query, passages=passages)


def hits(**scores: float) -> list[Hit]:
    return [Hit(name, rank, score) for rank, (name, score) in enumerate(scores.items(), start=1)]


def ids(graded: GradedList) -> list[str]:
    return [passage.passage_id for passage in graded.passages]


def test_only_hits_below_the_weakest_positives_margin_are_mined() -> None:
    """The nearest unlabelled passages are mostly answers nobody has judged; taught as wrong, they unlearn the task."""
    found = hits(c=0.9, a=0.8, d=0.7, b=0.6, e=0.58, f=0.56, g=0.5, h=0.4)
    mined = mine_negatives([listed(a=3, b=2)], hits={"q": found}, texts=TEXTS, per_query=2, relevant_from=2, weight=0.5)
    # 5 % below the weakest positive, .60, is .57: c, d and e are above it.
    assert ids(mined.lists[0]) == ["a", "b", "f", "g"]
    assert [(passage.grade, passage.weight) for passage in mined.lists[0].passages[2:]] == [(0, 0.5), (0, 0.5)]
    assert (mined.added, mined.unlabelled, mined.too_near, mined.without_limit) == (2, 2, 3, 0)


def test_the_margin_lies_below_a_negative_score_too() -> None:
    """Scaled without care it would lie above, and the positive's equals would be negatives."""
    mined = mine_negatives(
        [listed(a=3)],
        hits={"q": hits(a=-0.5, b=-0.52, c=-0.53)},
        texts=TEXTS,
        per_query=5,
        relevant_from=2,
    )
    assert ids(mined.lists[0]) == ["a", "c"]  # the limit is −.525


def test_what_any_list_of_the_query_calls_good_or_weak_is_never_mined() -> None:
    """The human stage's answer would be the LLM stage's wrong answer."""
    mined = mine_negatives(
        [listed(a=3)],
        hits={"q": hits(a=0.9, b=0.5, c=0.4, d=0.3)},
        texts=TEXTS,
        per_query=5,
        relevant_from=2,
        known=[listed(b=3, c=1)],
    )
    # b is the weakest positive now: the limit is .475.
    assert ids(mined.lists[0]) == ["a", "d"]


def test_a_passage_graded_0_elsewhere_is_mined_at_any_score_and_is_not_counted_as_unlabelled() -> None:
    """A judged negative is the best there is, and the count of unjudged ones must not be blown up by it."""
    mined = mine_negatives(
        [listed(a=3)],
        hits={"q": hits(b=0.95, a=0.9, c=0.1)},
        texts=TEXTS,
        per_query=5,
        relevant_from=2,
        known=[listed(b=0)],
    )
    assert ids(mined.lists[0]) == ["a", "b", "c"]
    assert mined.lists[0].passages[1].weight == 0.7
    assert (mined.added, mined.unlabelled) == (2, 1)


def test_the_same_text_under_another_id_is_not_mined() -> None:
    """Corpora hold duplicates: the answer would be pushed away under its second name."""
    mined = mine_negatives(
        [listed(a=3)],
        hits={"q": hits(a=0.9, b=0.3, c=0.2, d=0.1)},
        texts=TEXTS | {"b": "Text  A", "c": "text d"},
        per_query=5,
        relevant_from=2,
    )
    assert ids(mined.lists[0]) == ["a", "c"]


def test_without_a_known_score_of_a_positive_nothing_unlabelled_is_mined() -> None:
    """A positive the retriever missed scores below all it found: every hit may be better than it."""
    found = {"q": hits(b=0.9, c=0.5)}
    lists = [listed(a=3)]
    missed = mine_negatives(lists, hits=found, texts=TEXTS, per_query=5, relevant_from=2)
    assert (missed.lists, missed.added, missed.too_near) == (tuple(lists), 0, 2)
    scored = mine_negatives(
        lists, hits=found, texts=TEXTS, per_query=5, relevant_from=2, positive_scores={("q", "a"): 0.6}
    )
    assert ids(scored.lists[0]) == ["a", "c"]


def test_lists_without_hits_or_positives_stay_and_are_counted() -> None:
    """Nothing may vanish because nothing was found."""
    lists = [listed("q", a=1, b=0), listed("other", a=3)]
    mined = mine_negatives(lists, hits={"q": hits(c=0.4)}, texts=TEXTS, per_query=5, relevant_from=2)
    assert mined.lists == tuple(lists)
    assert mined.without_limit == 2


def test_exact_hits_and_scores_of_positives_agree_with_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in blocks, a corpus must not lose or misname the passages at a seam."""
    monkeypatch.setattr("retriever.mining._BLOCK", 3)
    rng = np.random.default_rng(0)
    passages = rng.normal(size=(10, 4)).astype(np.float32)
    queries = {name: rng.normal(size=4).astype(np.float32) for name in ("one", "two")}
    names = [f"p{at}" for at in range(10)]
    found = exact_hits(queries, passage_ids=names, passage_vectors=passages, depth=4)
    for name, vector in queries.items():
        scores = {passage: float(row @ vector) for passage, row in zip(names, passages, strict=True)}
        best = sorted(scores, key=lambda passage: -scores[passage])[:4]
        assert [hit.passage_id for hit in found[name]] == best
        assert [hit.rank for hit in found[name]] == [1, 2, 3, 4]
        assert [hit.score for hit in found[name]] == pytest.approx([scores[passage] for passage in best], abs=1e-6)
    lists = [GradedList("one", "one", (LabelledPassage("p3", "x", 2), LabelledPassage("p4", "y", 1)))]
    scored = score_positives(lists, query_vectors=queries, passage_ids=names, passage_vectors=passages, relevant_from=2)
    assert scored == {("one", "p3"): pytest.approx(float(passages[3] @ queries["one"]))}


@pytest.mark.parametrize(
    "change", [{"per_query": 0}, {"margin": 1.0}, {"margin": -0.1}, {"weight": 0.0}], ids=lambda change: str(change)
)
def test_numbers_out_of_range_are_refused(change: dict[str, float]) -> None:
    """A negative margin would mine what scores above the positive."""
    with pytest.raises(ValueError, match="must be"):
        mine_negatives([], **({"hits": {}, "texts": {}, "per_query": 1, "relevant_from": 2} | change))  # type: ignore[arg-type]
