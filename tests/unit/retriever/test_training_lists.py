import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.losses import make_loss
from retriever.losses.binary_loss import BinaryLoss
from retriever.training_lists import (
    TWO_SIDED_LOSSES,
    PreparedLists,
    batch_positions,
    batch_targets,
    known_labels,
    prepare_lists,
)
from retriever.types import LOSS_NAMES, GradedList, LabelledPassage, TrainingSettings, TrainingStage


def graded(query: str, **grades: float) -> GradedList:
    """A list whose passages are named after their texts."""
    passages = tuple(LabelledPassage(passage_id=name, text=f"text {name}", grade=g) for name, g in grades.items())
    return GradedList(query_id=f"id of {query}", query=query, passages=passages)


def prepare(*lists: GradedList, **changes: object) -> PreparedLists:
    return prepare_lists(lists, TrainingSettings(**changes))  # type: ignore[arg-type]


def test_lists_that_cannot_teach_are_counted_by_reason() -> None:
    """Queries silently dropped make people believe their labels were used."""
    prepared = prepare(
        graded("good", a=3, b=0),
        graded("only weak", a=1, b=0),
        graded("nothing"),
        graded("  ", a=3, b=0),
        graded("all good", a=3, b=2),
        in_batch_negatives=False,
    )
    assert [entry.query for entry in prepared.lists] == ["good"]
    assert prepared.skipped == {"no positive": 1, "empty list": 1, "empty query": 1, "no negative": 1}


def test_a_list_without_negatives_stays_when_other_queries_can_give_some() -> None:
    """Most hand-made sets name the right answer only; throwing those lists away throws the labels away."""
    assert len(prepare(graded("one", a=3), graded("two", b=3)).lists) == 2


def test_a_single_list_without_negatives_is_skipped_and_counted() -> None:
    """Its loss would be 0 at every step, and the run would say it had trained."""
    prepared = prepare(graded("one", a=3))
    assert not prepared.lists
    assert prepared.skipped == {"no negative": 1}


def test_a_long_list_keeps_positives_and_the_first_negatives() -> None:
    """Cut from the end, a long list would lose its positives and teach nothing."""
    prepared = prepare(graded("q", a=0, b=0, c=0, d=1, e=3, f=2, g=0), list_size=4)
    assert [passage.passage_id for passage in prepared.lists[0].kept] == ["a", "b", "e", "f"]
    assert prepared.cut_passages == 3


def test_a_list_of_many_positives_leaves_room_for_negatives() -> None:
    """All positives kept and no negative leaves nothing to compare with; the surest are the ones to keep."""
    passages = [LabelledPassage(f"p{at}", f"text {at}", 3, weight=0.1 * (at + 1)) for at in range(6)]
    passages += [LabelledPassage(f"n{at}", f"other {at}", 0) for at in range(4)]
    kept = prepare(GradedList("q", "q", tuple(passages)), list_size=4).lists[0].kept
    assert [passage.passage_id for passage in kept] == ["p4", "p5", "n0", "n1"]


def test_the_losses_with_two_sides_are_those_that_are_built_so() -> None:
    """A list would be dropped that its loss could use, or be trained on without any effect."""
    made = {name: make_loss(name, temperature=0.05, relevant_from=2) for name in LOSS_NAMES}
    assert {name for name, loss in made.items() if isinstance(loss, BinaryLoss)} == TWO_SIDED_LOSSES


def test_losses_that_compare_grades_use_lists_without_a_positive() -> None:
    """One passage better than another is a label somebody paid for."""
    lists = [graded("weak", a=1, b=0), graded("even", a=1, b=1), graded("zero", a=0), graded("good", a=3)]
    prepared = prepare(*lists, loss="list_net")
    assert [entry.query for entry in prepared.lists] == ["weak", "good"]
    assert prepared.skipped == {"all grades equal": 2}
    alone = prepare(*lists, loss="list_net", in_batch_negatives=False)
    assert [entry.query for entry in alone.lists] == ["weak"]
    assert alone.skipped == {"all grades equal": 3}
    assert prepare(graded("good", a=3), loss="list_net").skipped == {"all grades equal": 1}


def test_cutting_keeps_weak_labels_where_the_loss_compares_grades() -> None:
    """Cut to positives and zeros, a graded list is a plain one; cut to equal grades, it teaches nothing."""
    long = graded("q", weak=1, a=0, b=0, d=3, e=3, f=2)
    kept = {loss: prepare(long, list_size=4, loss=loss).lists[0].kept for loss in ("lambda", "infonce")}
    assert [passage.passage_id for passage in kept["lambda"]] == ["weak", "a", "d", "e"]
    assert [passage.passage_id for passage in kept["infonce"]] == ["a", "b", "d", "e"]
    weak = graded("q", a=0, b=0, c=0, d=1)
    assert [each.passage_id for each in prepare(weak, list_size=2, loss="lambda").lists[0].kept] == ["a", "d"]


def test_one_positive_keeps_the_highest_and_surest_and_spares_the_others() -> None:
    """The human stage trains on the best answer only; the second best must not become a wrong one by that."""
    passages = (
        LabelledPassage("sure", "text sure", 2),
        LabelledPassage("high", "text high", 3, weight=0.5),
        LabelledPassage("both", "text both", 3, weight=0.9),
        LabelledPassage("bad", "text bad", 0),
    )
    lists = [GradedList("1", "one", passages), graded("two", sure=3, x=0)]
    prepared = prepare_lists(lists, TrainingSettings(), one_positive=True)
    assert [passage.passage_id for passage in prepared.lists[0].kept] == ["both", "bad"]
    assert prepared.cut_passages == 0
    targets = batch_targets(prepared.lists, TrainingSettings())
    assert targets.in_batch[0][targets.passages.index("text sure")] is False
    assert targets.in_batch[0][targets.passages.index("text x")] is True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": " "}, "no name"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
    ],
)
def test_a_stage_out_of_range_is_refused(changes: dict[str, object], message: str) -> None:
    """A stage of no epochs would be skipped, and its labels with it."""
    with pytest.raises(ValueError, match=message):
        TrainingStage(**({"name": "human", "lists": ()} | changes))  # type: ignore[arg-type]


def test_a_passage_listed_twice_is_refused() -> None:
    """Two grades for one pair: one of them would be trained on by accident."""
    passage = LabelledPassage("a", "text", 3)
    with pytest.raises(ValueError, match="more than once"):
        prepare(GradedList("q", "q", (passage, passage)))


def test_a_grade_above_the_scale_is_refused() -> None:
    """A set graded 0 to 100 read as 0 to 3 would make everything relevant."""
    with pytest.raises(ValueError, match="above max_grade 3"):
        prepare(graded("q", a=4, b=0))


def test_another_querys_passage_may_stand_as_a_negative_but_never_as_a_label() -> None:
    """What nobody judged for this query must stay distinguishable from what somebody did."""
    settings = TrainingSettings()
    targets = batch_targets(prepare(graded("one", a=3, b=0), graded("two", c=2, d=1)).lists, settings)
    assert targets.passages == ["text a", "text b", "text c", "text d"]
    assert targets.labelled == [[True, True, False, False], [False, False, True, True]]
    assert targets.in_batch == [[False, False, True, True], [True, True, False, False]]
    assert targets.grades == [[3, 0, 0, 0], [0, 0, 2, 1]]


def test_in_batch_negatives_can_be_switched_off() -> None:
    """The setting must do what it says."""
    settings = TrainingSettings(in_batch_negatives=False)
    targets = batch_targets(prepare(graded("one", a=3, b=0), graded("two", c=2, d=0)).lists, settings)
    assert not any(any(row) for row in targets.in_batch)


def test_a_known_positive_that_was_cut_from_its_list_is_no_negative_either() -> None:
    """Cutting a list must not turn its rest into wrong answers."""
    lists = prepare(graded("one", a=3, b=3, c=0, d=0), graded("two", b=2, e=0), list_size=2).lists
    targets = batch_targets(lists, TrainingSettings())
    assert "b" not in [passage.passage_id for passage in lists[0].kept]
    assert targets.in_batch[0][targets.passages.index("text b")] is False


def test_the_same_text_under_another_id_is_no_negative() -> None:
    """Corpora hold duplicates: the answer would be pushed away under its second name."""
    one = GradedList("1", "one", (LabelledPassage("a", "The  answer", 3), LabelledPassage("x", "no", 0)))
    two = GradedList("2", "two", (LabelledPassage("b", "the answer", 0), LabelledPassage("c", "other", 2)))
    targets = batch_targets(prepare(one, two).lists, TrainingSettings())
    assert targets.passages == ["The  answer", "no", "other"]
    assert targets.grades[0] == [3, 0, 0]
    assert targets.labelled == [[True, True, False], [True, False, True]]


def test_a_passage_id_with_a_changed_text_is_still_the_same_passage() -> None:
    """A corrected typo must not turn the positive into a negative."""
    one = GradedList("1", "one", (LabelledPassage("a", "the answer", 3), LabelledPassage("x", "no", 0)))
    two = GradedList("2", "two", (LabelledPassage("a", "the answr", 0), LabelledPassage("c", "other", 2)))
    targets = batch_targets(prepare(one, two).lists, TrainingSettings())
    assert targets.in_batch[0] == [False, False, False, True]


def test_queries_that_share_a_known_positive_spare_each_others_positives() -> None:
    """Two phrasings of one question: each one's answers very likely answer the other."""
    lists = prepare(graded("one", a=3, b=0), graded("one again", a=3, c=2, d=0), graded("far", e=3)).lists
    targets = batch_targets(lists, TrainingSettings())
    assert targets.in_batch[0] == [False, False, False, True, True]  # a, b, c, d, e
    assert targets.in_batch[2] == [True, True, True, True, False]


def test_two_lists_of_one_query_spare_each_others_positives() -> None:
    """The same query twice in a batch is the best known false negative."""
    lists = prepare(graded("same", a=3, b=0), graded("Same ", c=3, d=0)).lists
    targets = batch_targets(lists, TrainingSettings())
    assert targets.in_batch[0] == [False, False, False, True]


def test_what_another_stage_knows_of_a_question_is_spared_in_this_one() -> None:
    """An answer that the LLM stage lifted is pushed down by the human stage, where another question lists it."""
    llm = (graded("one", good=3, weak=1, bad=0), graded("two", good2=3))
    human = (graded("One ", own=3), graded("two", good=2, weak=0, bad=0))
    prepared = prepare_lists(human, TrainingSettings(), known=known_labels([llm, human]))
    targets = batch_targets(prepared.lists, TrainingSettings())
    assert targets.passages == ["text own", "text good", "text weak", "text bad"]
    assert targets.in_batch[0] == [False, False, False, True]
    assert targets.labelled[1] == [False, True, True, True]


def test_questions_that_share_an_answer_in_another_stage_spare_each_others_answers() -> None:
    """Two phrasings of one question: what the LLM stage knew of them is forgotten in the human stage."""
    llm = (graded("one", shared=3), graded("one again", shared=3))
    human = (graded("one", a=3), graded("one again", b=3))
    prepared = prepare_lists(human, TrainingSettings(), known=known_labels([llm, human]))
    assert batch_targets(prepared.lists, TrainingSettings()).in_batch == [[False, False], [False, False]]


def test_a_later_stage_overrides_an_earlier_one_pair_by_pair() -> None:
    """A person's 0 would be spared because the LLM once said 3, or a person's one grade would undo all others."""
    llm = (graded("one", a=3, b=3, c=0), graded("One", c=1))
    human = (graded("one", a=0),)
    known = known_labels([llm, human])
    assert {name: label.grade for name, label in known["one"].items()} == {"a": 0, "b": 3, "c": 1}


@given(
    keys=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40),
    batch_size=st.integers(1, 9),
    random=st.randoms(use_true_random=False),
)
def test_batches_hold_every_list_once_and_no_query_twice(keys: list[str], batch_size: int, random: object) -> None:
    """A query twice in a batch trains against itself; a list in no batch was labelled for nothing."""
    order = list(range(len(keys)))
    random.shuffle(order)  # type: ignore[attr-defined]
    batches = batch_positions(keys, order, batch_size=batch_size)
    assert sorted(position for batch in batches for position in batch) == list(range(len(keys)))
    for batch in batches:
        assert 0 < len(batch) <= batch_size
        assert len({keys[position] for position in batch}) == len(batch)
    assert len(batches) == len(batch_positions(keys, range(len(keys)), batch_size=batch_size))
