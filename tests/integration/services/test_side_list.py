"""The question's other candidates: what may be seen of them, and grading them in place or many at once."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid
from app.services import calibrating, certifying, neighbours, reviewing
from app.services.importing import NewCandidate, NewQuery, import_candidates, import_passages, import_queries
from builders import TOPICS, pair_ids, query_id, queued
from db.enums import Visibility
from db.errors import NotFound
from db.models import SeenPair
from desks import FEW, claim, reviews, state_of
from simulated import certifiable


@pytest.fixture
def desk(any_workspace: Workspace) -> Workspace:
    """Two train questions with six rejected pairs each, and one held-out question."""
    return queued(any_workspace, topics=(*FEW, TOPICS[-1]))


def train_pair(workspace: Workspace) -> int:
    return min(pair_id for (query, _), pair_id in pair_ids(workspace).items() if query == query_id(FEW[0]))


def test_the_list_holds_the_question_and_says_what_became_of_each(desk: Workspace) -> None:
    """A pair that somebody else has open looks free, or one's own grade is not to be found."""
    mine = claim(desk, pair_id=train_pair(desk))
    rest = [one for one in reviewing.list_query(desk, pair_id=mine.pair.pair_id, person="Ada") if not one.current]
    theirs, done, own = (one.pair_id for one in rest[:3])
    claim(desk, "Grace", pair_id=theirs)
    card = claim(desk, "Bob", pair_id=done)
    reviewing.grade(desk, card=card.card, person="Bob", grade=2)
    reviewing.grade_in_place(desk, pair_id=own, person="Ada", grade=1)
    after = {one.pair_id: one for one in reviewing.list_query(desk, pair_id=mine.pair.pair_id, person="Ada")}
    assert len(after) == len(rest) + 1 > 4
    assert [after[pair_id].state for pair_id in (mine.pair.pair_id, theirs, done, own)] == [
        "open",
        "elsewhere",
        "done",
        "yours",
    ]
    assert (after[done].curated_grade, after[done].own_grade, after[own].own_grade) == (2, None, 1)
    assert [one.current for one in after.values()].count(True) == 1
    assert claim(desk).card == mine.card  # grading in place took nothing away


def test_whoever_saw_a_proposal_in_the_list_is_remembered(desk: Workspace) -> None:
    """A proposal read in the list makes the blind sample of a later certificate worthless."""
    pair_id = train_pair(desk)
    hidden = reviewing.list_query(desk, pair_id=pair_id, person="Ada", blind=True)
    assert {one.proposed_grade for one in hidden} == {None}
    with desk.sessions.read() as session:
        assert session.scalars(sa.select(SeenPair)).all() == []
    target = next(one.pair_id for one in hidden if one.pair_id != pair_id)
    reviewing.grade_in_place(desk, pair_id=target, person="Ada", grade=0)
    assert reviews(desk)[-1].visibility is Visibility.BLIND
    shown = reviewing.list_query(desk, pair_id=pair_id, person="Bob")
    assert {one.proposed_grade for one in shown} != {None}
    other = next(one.pair_id for one in shown if one.pair_id not in {pair_id, target})
    reviewing.grade_in_place(desk, pair_id=other, person="Bob", grade=0)
    assert reviews(desk)[-1].visibility is Visibility.SHOWN
    with desk.sessions.read() as session:
        assert set(session.scalars(sa.select(SeenPair.pair_id))) == {one.pair_id for one in shown}


def test_a_held_out_question_shows_neither_proposals_nor_what_others_said(desk: Workspace) -> None:
    """The grades that models are measured by are copied from each other."""
    pair_id = min(pair_id for (query, _), pair_id in pair_ids(desk).items() if query == query_id(TOPICS[-1]))
    card = claim(desk, "Bob", pair_id=pair_id)
    reviewing.grade(desk, card=card.card, person="Bob", grade=3)
    rows = reviewing.list_query(desk, pair_id=pair_id, person="Ada")
    assert len(rows) > 1
    for row in rows:
        assert (row.curated_grade, row.proposed_grade, row.confidence) == (None, None, None)


def test_in_place_nothing_is_graded_that_the_desk_would_not_serve(desk: Workspace) -> None:
    """The list is a way around leases and quotas."""
    card = claim(desk, pair_id=train_pair(desk))
    with pytest.raises(Conflict, match="card"):
        reviewing.grade_in_place(desk, pair_id=card.pair.pair_id, person="Ada", grade=1)
    with pytest.raises(Conflict):
        reviewing.grade_in_place(desk, pair_id=card.pair.pair_id, person="Bob", grade=1)
    with pytest.raises(InputInvalid):
        reviewing.grade_in_place(desk, pair_id=card.pair.pair_id, person="Bob", grade=9)
    with pytest.raises(NotFound):
        reviewing.grade_in_place(desk, pair_id=987654, person="Bob", grade=1)
    assert reviews(desk) == []
    with pytest.raises(NotFound):
        reviewing.list_query(desk, pair_id=987654, person="Bob")


def test_many_are_graded_at_once_and_what_is_refused_is_said(desk: Workspace) -> None:
    """One pair that somebody else has open undoes the work on thirty, or is graded over their head."""
    held = claim(desk, "Grace", pair_id=train_pair(desk)).pair.pair_id
    wanted = [one.pair_id for one in reviewing.list_query(desk, pair_id=held, person="Ada")]
    result = reviewing.grade_many(desk, pair_ids=[*wanted, 987654, wanted[0]], person="Ada", grade=0)
    assert set(result.graded) == set(wanted) - {held}
    assert [one.pair_id for one in result.refused] == [held, 987654]
    assert all(one.why for one in result.refused)
    assert {state_of(desk, pair_id).curated_grade for pair_id in result.graded} == {0}
    for _ in result.graded:
        assert reviewing.undo(desk, person="Ada") is not None
    assert reviewing.undo(desk, person="Ada") is None


def test_a_sample_is_never_graded_in_bulk_but_may_be_in_place(any_workspace: Workspace) -> None:
    """A key press over a whole question answers audits that each stand for a hundred others."""
    certifiable(any_workspace)
    judge_id = calibrating.find_judge(any_workspace, "scripted/1")
    certifying.freeze(any_workspace, judge_id=judge_id, n=20, person="Olga", epsilon=0.3, seed=3)
    card = claim(any_workspace)
    assert "blind audit" in card.queue_reason
    result = reviewing.grade_many(any_workspace, pair_ids=[card.pair.pair_id], person="Bob", grade=0)
    assert (result.graded, len(result.refused)) == ((), 1)
    rows = {one.pair_id: one for one in reviewing.list_query(any_workspace, pair_id=card.pair.pair_id, person="Bob")}
    assert rows[card.pair.pair_id].proposed_grade is None
    with any_workspace.sessions.read() as session:
        assert card.pair.pair_id not in set(session.scalars(sa.select(SeenPair.pair_id)))


def test_neighbours_are_of_the_same_document_or_none(workspace: Workspace) -> None:
    """The passage after the last one of a manual is the first one of a poem."""
    ids = ["manual#1", "manual#2", "manual#3", "poem#1", "x1", "x2", "y"]
    titles = {"x1": "One title", "x2": "One title", "y": "Another"}
    import_passages(workspace, [(id_, titles.get(id_, ""), f"text {id_}") for id_ in ids], source_name="books")
    import_queries(workspace, [NewQuery("q", "what is it")], source_name="books")
    import_candidates(
        workspace, [NewCandidate("q", id_, "bm25", n, 1.0) for n, id_ in enumerate(ids, 1)], source_name="books"
    )
    pairs = {passage: pair_id for (_, passage), pair_id in pair_ids(workspace).items()}

    def around(passage: str) -> tuple[str | None, str | None]:
        view = neighbours.neighbours(workspace, pair_id=pairs[passage])
        return (
            None if view.before is None else view.before.passage_id,
            None if view.after is None else view.after.passage_id,
        )

    assert around("manual#2") == ("manual#1", "manual#3")
    assert around("manual#3") == ("manual#2", None)
    assert around("poem#1") == (None, None)
    assert (around("x1"), around("x2"), around("y")) == ((None, "x2"), ("x1", None), (None, None))
    with pytest.raises(NotFound):
        neighbours.neighbours(workspace, pair_id=987654)
