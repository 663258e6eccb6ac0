from dataclasses import replace

import numpy as np
import pytest

from retriever.adapter_lists import PreparedStages, VectorList, drop_labels, prepare_stages, put_aside, without
from retriever.types import AdapterSettings, GradedList, LabelledPassage, TrainingStage

SETTINGS = AdapterSettings(relevant_from=1, max_grade=1, unseen_share=0.2)
ROWS = {f"p{number}": number for number in range(200)}


def labelled(query_id: str, **grades: float) -> GradedList:
    passages = tuple(LabelledPassage(name, f"text of {name}", grade) for name, grade in grades.items())
    return GradedList(query_id, f"question {query_id}", passages)


def prepare(*stages: TrainingStage, settings: AdapterSettings = SETTINGS) -> PreparedStages:
    queries = {entry.query_id: None for stage in stages for entry in stage.lists if entry.query_id != "unknown"}
    return prepare_stages(
        stages,
        query_rows={query_id: row for row, query_id in enumerate(queries)},
        passage_rows=ROWS,
        settings=settings,
    )


def positives(lists: object) -> set[int]:
    return {row for entry in lists for row in entry.positives(1).tolist()}  # type: ignore[attr-defined]


def test_labels_become_rows_of_the_vectors() -> None:
    """A label on the wrong row teaches the opposite of what was judged."""
    prepared = prepare(TrainingStage("all", (labelled("a", p7=1, p3=0), labelled("b", p9=1))))
    first, second = prepared.stages[0].lists
    assert (first.row, first.passages.tolist(), first.grades.tolist()) == (0, [7, 3], [1, 0])
    assert (second.row, second.passages.tolist(), second.weights.tolist()) == (1, [9], [1])


def test_what_cannot_be_trained_on_is_counted_by_reason() -> None:
    """Labels that silently count for nothing look like labels that do not help."""
    stage = TrainingStage(
        "all",
        (
            labelled("a", p1=1),
            labelled("empty"),
            labelled("none", p1=0),
            labelled("unknown", p1=1),
            labelled("gone", outside=1),
            labelled("part", p2=1, outside=0),
        ),
    )
    prepared = prepare(stage)
    assert prepared.skipped == {"empty list": 1, "no positive": 2, "query without a vector": 1}
    assert [entry.query_id for entry in prepared.stages[0].lists] == ["a", "part"]
    assert prepared.cut_passages == 1
    without_corpus = AdapterSettings(relevant_from=1, max_grade=1, corpus_negatives=0)
    assert prepare(TrainingStage("all", (labelled("a", p1=1),)), settings=without_corpus).skipped == {"no negative": 1}


@pytest.mark.parametrize("grades", [{"p1": 2.0}])
def test_a_grade_above_the_scale_is_refused(grades: dict[str, float]) -> None:
    """A grade of another scale would outweigh every label of this one."""
    with pytest.raises(ValueError, match="above max_grade 1"):
        prepare(TrainingStage("all", (labelled("a", **grades),)))


def test_a_passage_twice_in_a_list_is_refused() -> None:
    """Two grades of one pair: whichever comes last would win unseen."""
    twice = GradedList("a", "a", (LabelledPassage("p1", "x", 1), LabelledPassage("p1", "x", 0)))
    with pytest.raises(ValueError, match="more than once"):
        prepare(TrainingStage("all", (twice,)))


def test_a_stage_of_one_positive_keeps_the_surest_and_never_turns_the_others_into_negatives() -> None:
    """The other answers would be pushed away by the stage that should refine them."""
    entry = GradedList(
        "a",
        "a",
        (
            LabelledPassage("p1", "1", 1, weight=0.5),
            LabelledPassage("p2", "2", 1, weight=0.9),
            LabelledPassage("p3", "3", 0),
        ),
    )
    prepared = prepare(TrainingStage("human", (entry,), one_positive=True))
    kept = prepared.stages[0].lists[0]
    assert kept.passages.tolist() == [2, 3]
    assert kept.spared.tolist() == [1]
    assert prepared.judged["a"].passages.tolist() == [1, 2, 3]


def test_positives_of_a_query_that_shares_a_positive_are_spared() -> None:
    """They are likely answers nobody judged: near-duplicate queries would fight each other."""
    stage = TrainingStage("all", (labelled("a", p1=1, p2=1), labelled("b", p2=1, p3=1), labelled("c", p4=1)))
    by_id = {entry.query_id: entry.spared.tolist() for entry in prepare(stage).stages[0].lists}
    assert by_id == {"a": [3], "b": [1], "c": []}


def apart(n: int) -> TrainingStage:
    """Groups of two queries that share their positive."""
    return TrainingStage("all", tuple(labelled(f"q{at}", **{f"p{at // 2}": 1, f"p{100 + at}": 0}) for at in range(n)))


def test_nothing_relevant_to_an_unseen_list_is_trained_on_and_everything_relevant_to_a_seen_one_is() -> None:
    """With a leak between them the unseen slice would vouch for what it was trained on."""
    prepared = prepare(apart(40))
    aside = put_aside([apart(40)], prepared, seen_share=0.1, settings=SETTINGS)
    left = without(prepared.stages[0].lists, aside, relevant_from=1)
    assert len(aside.unseen) == 8
    assert 1 <= len(aside.seen) <= 4
    assert not positives(aside.unseen) & positives(left)
    assert positives(aside.seen) <= positives(left)
    assert {entry.query_id for entry in left}.isdisjoint(aside.query_ids)
    assert len(left) == 40 - len(aside.query_ids)


def test_lists_that_all_hang_together_still_give_an_unseen_slice() -> None:
    """Where each film answers many questions, no component is small: without a slice nothing would stop a bad epoch."""
    chain = TrainingStage("all", tuple(labelled(f"q{at}", **{f"p{at}": 1, f"p{at + 1}": 1}) for at in range(50)))
    prepared = prepare(chain)
    aside = put_aside([chain], prepared, seen_share=0.1, settings=SETTINGS)
    left = without(prepared.stages[0].lists, aside, relevant_from=1)
    assert len(aside.unseen) == 10
    assert aside.cold
    assert not positives(aside.unseen) & positives(left)
    assert not positives(aside.unseen) & positives(aside.seen)
    assert len(left) >= 20
    touched = [entry for entry in left if len(entry.spared) and aside.cold & set(entry.spared.tolist())]
    assert touched  # a dropped label is spared, it does not become a negative
    assert all(aside.cold.isdisjoint(entry.passages.tolist()) for entry in left)


def test_the_same_seed_puts_the_same_lists_aside_and_another_seed_others() -> None:
    """A choice that cannot be repeated cannot be explained."""
    prepared = prepare(apart(40))

    def drawn(seed: int) -> frozenset[str]:
        settings = AdapterSettings(relevant_from=1, max_grade=1, seed=seed)
        return put_aside([apart(40)], prepared, seen_share=0.1, settings=settings).query_ids

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def two_stages(*, chained: bool) -> tuple[TrainingStage, TrainingStage]:
    """Forty queries: in the first stage they share positives, two by two or each with the next; in the last none."""
    first = [
        labelled(f"q{at}", **{f"p{at if chained else at // 2}": 1, f"p{at + 1}": float(chained)}) for at in range(40)
    ]
    last = [labelled(f"q{at}", **{f"p{100 + at}": 1}) for at in range(40)]
    return TrainingStage("llm", tuple(first)), TrainingStage("human", tuple(last))


@pytest.mark.parametrize("chained", [False, True])
def test_what_any_stage_calls_relevant_for_an_unseen_query_is_trained_on_in_none(chained: bool) -> None:
    """Split by the human stage alone, the slice that vouches for unseen passages was trained on in the LLM stage."""
    stages = two_stages(chained=chained)
    prepared = prepare(*stages)
    aside = put_aside(stages, prepared, seen_share=0.1, settings=SETTINGS)
    unseen = {entry.query_id for entry in aside.unseen}
    relevant = {
        ROWS[passage.passage_id]
        for stage in stages
        for entry in stage.lists
        if entry.query_id in unseen
        for passage in entry.passages
        if passage.grade >= 1
    }
    left = [without(stage.lists, aside, relevant_from=1) for stage in prepared.stages]
    assert len(unseen) == 8
    assert relevant == {row for at in unseen for row in prepared.relevant[at]}
    assert all(relevant.isdisjoint(positives(lists)) for lists in left)
    assert bool(aside.cold) is chained
    assert all(left)


def test_queries_that_ask_the_same_are_on_one_side_also_where_everything_hangs_together() -> None:
    """The same words have the same vector: trained on under another id, an unseen query is a seen one."""
    lists = [labelled(f"q{at}", **{f"p{at}": 1, f"p{at + 1}": 1}) for at in range(50)]
    twins = [replace(labelled(f"again{at}", **{f"p{100 + at}": 1}), query=f"Question  q{at}") for at in range(50)]
    stage = TrainingStage("all", (*lists, *twins))
    aside = put_aside([stage], prepare(stage), seen_share=0.1, settings=SETTINGS)
    assert aside.cold
    outside = {entry.query_id for entry in aside.unseen}
    assert len(outside) == 20
    assert {f"again{name[1:]}" for name in outside if name[0] == "q"} == {name for name in outside if name[0] == "a"}


def test_what_another_stage_grades_above_zero_is_never_a_negative() -> None:
    """The LLM's answers of a question would be corpus negatives in the human stage, where nothing lists them."""
    settings = AdapterSettings(relevant_from=2, max_grade=3)
    first = TrainingStage("llm", (labelled("a", p1=3, p2=1, p3=0), labelled("b", p4=3, p1=2)))
    last = TrainingStage("human", (labelled("a", p5=3, p1=0),))
    prepared = prepare(first, last, settings=settings)
    assert [entry.spared.tolist() for entry in prepared.stages[0].lists] == [[5], []]
    assert prepared.stages[1].lists[0].spared.tolist() == [2]
    same = TrainingStage("llm", (labelled("a", p1=3, p2=1, p3=0),))
    again = replace(labelled("b", p7=3), query="QUESTION  a")
    text = GradedList("c", "far", (LabelledPassage("p9", "Text of p1", 0.0), LabelledPassage("p8", "other", 3.0)))
    prepared = prepare(same, TrainingStage("human", (again, text)), settings=settings)
    assert prepared.stages[1].lists[0].spared.tolist() == [1, 2, 9]
    assert prepared.stages[1].lists[1].spared.tolist() == []
    assert prepared.judged["b"].spared.tolist() == [1, 2, 9]


def test_a_later_stage_overrides_the_judgement_of_an_earlier_one_pair_by_pair() -> None:
    """Judged by the human stage alone, an answer that the LLM found counts as a mistake when the epoch is chosen."""
    first = TrainingStage("llm", (labelled("a", p1=1, p2=1, p3=0), labelled("gone", p1=1)))
    last = TrainingStage("human", (labelled("a", p2=0, p4=1), labelled("gone", p1=0)))
    judged = prepare(first, last).judged
    assert dict(zip(judged["a"].passages.tolist(), judged["a"].grades.tolist(), strict=True)) == {
        1: 1,
        2: 0,
        3: 0,
        4: 1,
    }
    assert "gone" not in judged, "a query without any answer left says nothing of a ranking"


def test_the_last_stage_of_a_query_says_how_it_is_judged() -> None:
    """A person's grade comes after the LLM's: to choose by the LLM's would undo the audit."""
    first = TrainingStage("llm", (labelled("a", p1=1, p2=0),))
    last = TrainingStage("human", (labelled("a", p1=0, p2=1),))
    assert prepare(first, last).judged["a"].positives(1).tolist() == [2]


def test_dropping_labels_spares_them() -> None:
    """A known positive that comes back as a corpus negative would be trained away."""
    entry = VectorList("a", 0, np.array([4, 5]), np.ones(2, np.float32), np.ones(2, np.float32), np.array([9]))
    dropped = drop_labels(entry, frozenset({5, 77}))
    assert (dropped.passages.tolist(), dropped.spared.tolist()) == ([4], [5, 9])
    assert drop_labels(entry, frozenset({77})) is entry
