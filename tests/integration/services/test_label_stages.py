"""A label set as the stages of a curriculum: who labelled decides when it trains."""

from __future__ import annotations

import pytest

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services import labels, runs
from app.services.label_sets import HUMAN_STAGE, LLM_STAGE, UNION_STAGE, freeze, load_stages
from app.services.recipes import HumanStage
from builders import TOPICS, add_candidates, add_corpus, add_model, add_suggestions, pair_ids
from db.enums import LabelSource
from db.models import LabelSet, LabelSetItem
from retriever.types import TrainingStage

SOME = TOPICS[:3]
ONE_EPOCH = HumanStage(epochs=1)


@pytest.fixture
def labelled(workspace: Workspace) -> Workspace:
    """Eighteen accepted labels of three train questions, of which a person graded the answers of two."""
    add_corpus(workspace, topics=SOME)
    add_candidates(workspace, topics=SOME)
    add_suggestions(workspace)
    for topic in SOME[:2]:
        grade(workspace, f"q-{topic.name}", f"{topic.name}-answer", 3)
    add_model(workspace, "base", live=True)
    return workspace


def grade(workspace: Workspace, query: str, passage: str, value: int) -> None:
    pair_id = pair_ids(workspace)[query, passage]
    labels.overturn(workspace, pair_id=pair_id, person="Ada", grade=value, note="")


def stages(workspace: Workspace, curriculum: str, human: HumanStage = ONE_EPOCH) -> list[TrainingStage]:
    with workspace.sessions.begin() as session:
        label_set = freeze(workspace, session, criterion=Criterion.RELEVANCE, person="Ada")
        return load_stages(session, label_set.id, relevant_from=2, curriculum=curriculum, human=human)


def n_labels(stage: TrainingStage) -> int:
    return sum(len(entry.passages) for entry in stage.lists)


def test_the_curriculum_trains_judges_labels_first_and_peoples_last(labelled: Workspace) -> None:
    """All labels at once: 33.2, where this order gave 38.2 (arXiv 2504.05220)."""
    first, last = stages(labelled, "curriculum")
    assert (first.name, last.name) == (LLM_STAGE, HUMAN_STAGE)
    assert (n_labels(first), n_labels(last)) == (18, 2)
    assert {p.passage_id for entry in last.lists for p in entry.passages} == {"bread-answer", "bicycle-answer"}
    assert {p.weight for entry in last.lists for p in entry.passages} == {1.0}


def test_a_few_audits_keep_the_negatives_that_the_judge_found(labelled: Workspace) -> None:
    """A person corrects the answer of a question: its list has no positive in one stage and no negative in the other,
    so the audit costs the question its labels."""
    grade(labelled, "q-tomatoes", "tomatoes-answer", 0)
    first, last = stages(labelled, "curriculum")
    by_question = {entry.query_id: {p.passage_id: p.grade for p in entry.passages} for entry in first.lists}
    assert by_question["q-bread"]["bread-answer"] == 3
    assert min(by_question["q-bread"].values()) == 0
    assert by_question["q-tomatoes"]["tomatoes-answer"] == 0, "what a person said holds over the judge, in every stage"
    assert {e.query_id: [p.passage_id for p in e.passages] for e in last.lists} == {
        "q-bicycle": ["bicycle-answer"],
        "q-bread": ["bread-answer"],
        "q-tomatoes": ["tomatoes-answer"],
    }


def test_questions_that_people_alone_graded_wait_for_the_last_stage(labelled: Workspace) -> None:
    """With nothing of a judge's to correct they would train as a judge's labels, and twice."""
    with labelled.sessions.begin() as session:
        label_set = LabelSet(
            hash="mixed",
            criterion=Criterion.RELEVANCE,
            n_labels=2,
            n_queries=2,
            counts={},
            created_at=labelled.now(),
        )
        session.add(label_set)
        session.flush()
        for query, passage, source in (
            ("q-bread", "bread-answer", LabelSource.HUMAN),
            ("q-bicycle", "bicycle-answer", LabelSource.ACCEPTED),
        ):
            pair_id = pair_ids(labelled)[query, passage]
            session.add(LabelSetItem(label_set_id=label_set.id, pair_id=pair_id, grade=3.0, weight=1.0, source=source))
        session.flush()
        first, last = load_stages(session, label_set.id, relevant_from=2)
    assert [entry.query_id for entry in first.lists] == ["q-bicycle"]
    assert [entry.query_id for entry in last.lists] == ["q-bread"]


def test_a_sure_soft_negative_stands_among_the_negatives(labelled: Workspace) -> None:
    """Training takes .2 for a negative; cut as a grade between, it is dropped first, and the hard negatives with it."""
    grades = {"bread-answer": 3.0, "bread-partly": 1.0, "bread-related": 0.2}
    with labelled.sessions.begin() as session:
        label_set = LabelSet(
            hash="soft", criterion=Criterion.RELEVANCE, n_labels=3, n_queries=1, counts={}, created_at=labelled.now()
        )
        session.add(label_set)
        session.flush()
        for passage, value in grades.items():
            pair_id = pair_ids(labelled)["q-bread", passage]
            item = LabelSetItem(
                label_set_id=label_set.id, pair_id=pair_id, grade=value, weight=0.4, source=LabelSource.PROPOSED
            )
            session.add(item)
        session.flush()
        (stage,) = load_stages(session, label_set.id, relevant_from=2)
    assert [p.passage_id for p in stage.lists[0].passages] == ["bread-answer", "bread-related", "bread-partly"]


def test_each_other_curriculum_takes_what_its_name_says(labelled: Workspace) -> None:
    """An experiment on people's labels alone has a judge's among them."""
    assert [(s.name, n_labels(s)) for s in stages(labelled, "union")] == [(UNION_STAGE, 18)]
    assert [(s.name, n_labels(s)) for s in stages(labelled, "human")] == [(HUMAN_STAGE, 2)]
    assert [(s.name, n_labels(s)) for s in stages(labelled, "llm")] == [(LLM_STAGE, 16)]


def test_the_human_stages_own_epochs_hold_only_after_the_judges_labels(labelled: Workspace) -> None:
    """Where people's labels are all there is, they are passed over once, as if much had come before."""
    human = HumanStage(epochs=1, learning_rate=1e-6, one_positive=True)
    first, last = stages(labelled, "curriculum", human)
    assert (first.epochs, first.learning_rate, first.one_positive) == (None, None, False)
    assert (last.epochs, last.learning_rate, last.one_positive) == (1, 1e-6, True)
    (alone,) = stages(labelled, "human", human)
    assert (alone.epochs, alone.learning_rate, alone.one_positive) == (None, None, False)


def test_a_stage_without_a_relevant_label_is_left_out(workspace: Workspace) -> None:
    """Training fails at its second stage because the only audit was a zero."""
    add_corpus(workspace, topics=SOME)
    add_candidates(workspace, topics=SOME)
    add_suggestions(workspace)
    add_model(workspace, "base", live=True)
    grade(workspace, "q-bread", "bicycle-answer", 0)
    assert [stage.name for stage in stages(workspace, "curriculum")] == [LLM_STAGE]
    with pytest.raises(NothingToDo) as refused:
        runs.create_run(workspace, person="Ada", overrides={"curriculum": "human"})
    assert "people have graded none yet" in refused.value.user_message
    assert runs.get_latest_run(workspace) is None


@pytest.mark.parametrize("source", list(LabelSource))
def test_only_what_people_graded_is_in_the_last_stage(labelled: Workspace, source: LabelSource) -> None:
    """What the retriever said of itself comes last, with the weight of a person's word."""
    pair_id = pair_ids(labelled)["q-bread", "bread-answer"]
    with labelled.sessions.begin() as session:
        label_set = LabelSet(
            hash=str(source),
            criterion=Criterion.RELEVANCE,
            n_labels=1,
            n_queries=1,
            counts={str(source): 1},
            created_at=labelled.now(),
        )
        session.add(label_set)
        session.flush()
        session.add(LabelSetItem(label_set_id=label_set.id, pair_id=pair_id, grade=3.0, weight=1.0, source=source))
        session.flush()
        (stage,) = load_stages(session, label_set.id, relevant_from=2, curriculum="curriculum")
    by_people = source in (LabelSource.HUMAN, LabelSource.ADJUDICATED)
    assert stage.name == (HUMAN_STAGE if by_people else LLM_STAGE)
