"""Blind first, then the proposal: both grades are stored, and what certificates rest on is the first."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict
from app.services import calibrating, certifying, labels, reviewing
from builders import TOPICS, queued
from db.enums import ReviewAction, Split, Visibility
from db.models import BatchPair, SeenPair
from db.queries.certifying import count_unanswered, list_answers
from desks import BLIND, FEW, claim, reviews, state_of
from simulated import certifiable


@pytest.fixture
def desk(any_workspace: Workspace) -> Workspace:
    """Two train questions with six rejected pairs each."""
    return queued(any_workspace, topics=FEW)


def reveal(workspace: Workspace, grade: int, person: str = "Ada") -> tuple[reviewing.Card, reviewing.Card]:
    """A card graded blind, and the card that then shows the proposal."""
    blind = claim(workspace, person, desk=BLIND)
    shown = reviewing.grade(workspace, card=blind.card, person=person, grade=grade, seconds=4.0)
    assert shown is not None
    return blind, shown.card


def test_a_blind_grade_is_stored_before_the_proposal_is_shown(desk: Workspace) -> None:
    """The proposal shows first, and what is stored as blind is not."""
    blind, shown = reveal(desk, 0)
    assert (blind.pair.grade, blind.pair.reason, blind.reviews, blind.phase) == (None, "", (), "grade")
    assert "sure" not in blind.queue_reason
    assert blind.reveals
    (stored,) = reviews(desk)
    assert (stored.grade, stored.visibility, stored.suggestion_id) == (0, Visibility.BLIND, None)
    assert (shown.phase, shown.own_grade, shown.pair.pair_id) == ("revise", 0, blind.pair.pair_id)
    assert shown.card != blind.card
    assert shown.pair.grade is not None
    assert claim(desk, desk=BLIND).card == shown.card  # a reload is still in the second phase


def test_a_kept_and_a_revised_grade_stand_beside_the_blind_one(desk: Workspace) -> None:
    """The anchored grade overwrites the blind one, and nobody can measure the judge any more."""
    _, shown = reveal(desk, 0)
    assert reviewing.grade(desk, card=shown.card, person="Ada", grade=3, seconds=2.0) is None
    first, second = reviews(desk)
    assert (first.grade, first.visibility, first.revises_id) == (0, Visibility.BLIND, None)
    assert (second.grade, second.visibility, second.revises_id) == (3, Visibility.SHOWN, first.id)
    assert second.suggestion_id is not None
    state = state_of(desk, first.pair_id)
    assert (state.curated_grade, state.graders, state.disputed) == (3, 1, False)
    _, shown = reveal(desk, 1)
    reviewing.keep(desk, card=shown.card, person="Ada")
    *_, third, fourth = reviews(desk)
    assert (fourth.grade, fourth.revises_id) == (1, third.id)
    assert reviewing.get_progress(desk, person="Ada").graded == 2


def test_no_press_reaches_the_other_phase(desk: Workspace) -> None:
    """A double press of 3 grades blind and, unread, keeps it; or a late one revises what is kept."""
    blind = claim(desk, desk=BLIND)
    with pytest.raises(Conflict):
        reviewing.keep(desk, card=blind.card, person="Ada")
    shown = reviewing.grade(desk, card=blind.card, person="Ada", grade=2)
    assert shown is not None
    for press in (reviewing.keep, reviewing.skip):
        with pytest.raises(Conflict):
            press(desk, card=blind.card, person="Ada")
    with pytest.raises(Conflict):
        reviewing.grade(desk, card=blind.card, person="Ada", grade=2)
    with pytest.raises(Conflict, match="graded blind"):
        reviewing.skip(desk, card=shown.card.card, person="Ada")
    reviewing.keep(desk, card=shown.card.card, person="Ada")
    with pytest.raises(Conflict):
        reviewing.keep(desk, card=shown.card.card, person="Ada")
    assert [review.action for review in reviews(desk)] == [ReviewAction.GRADE] * 2


def test_undo_takes_the_revision_back_and_then_the_blind_grade(desk: Workspace) -> None:
    """One step takes both, or the second is stuck."""
    blind, shown = reveal(desk, 0)
    reviewing.grade(desk, card=shown.card, person="Ada", grade=3)
    undone = reviewing.undo(desk, person="Ada")
    assert undone is not None
    assert (undone.grade, state_of(desk, blind.pair.pair_id).curated_grade) == (3, 0)
    again = claim(desk, desk=BLIND)
    assert (again.phase, again.own_grade, again.pair.pair_id) == ("revise", 0, blind.pair.pair_id)
    assert again.card not in {blind.card, shown.card}
    undone = reviewing.undo(desk, person="Ada")
    assert undone is not None
    assert (undone.grade, state_of(desk, blind.pair.pair_id).review_id) == (0, None)
    once_more = claim(desk, desk=BLIND)
    assert (once_more.pair.pair_id, once_more.phase) == (blind.pair.pair_id, "grade")
    assert once_more.pair.grade is not None  # who has seen the proposal is not asked as if blind
    reviewing.grade(desk, card=once_more.card, person="Ada", grade=2)
    assert reviews(desk)[-1].visibility is Visibility.SHOWN


def test_a_blind_grade_stands_when_the_second_phase_is_left(desk: Workspace) -> None:
    """The browser is closed at the reveal, and the first grade is lost, or its pair served to somebody else."""
    blind, _ = reveal(desk, 0)
    assert claim(desk, "Grace", desk=BLIND).pair.pair_id != blind.pair.pair_id
    other = labels.get_pair(desk, pair_id=blind.pair.pair_id)
    assert other.curated_grade == 0
    assert reviewing.get_progress(desk, person="Ada").waiting == 11


def test_a_question_that_only_people_judge_never_reveals(any_workspace: Workspace) -> None:
    """Held-out grades are revised towards the judge, whose labels they are to measure."""
    workspace = queued(any_workspace, topics=TOPICS[-1:])
    card = claim(workspace, desk=BLIND)
    assert not card.reveals
    assert reviewing.grade(workspace, card=card.card, person="Ada", grade=2) is None


def test_a_certificate_counts_the_blind_grade_whatever_follows(any_workspace: Workspace) -> None:
    """Errors are revised or undone once the proposal is read, and the certificate promises too much."""
    world = certifiable(any_workspace)
    judge_id = calibrating.find_judge(any_workspace, "scripted/1")
    batch = certifying.freeze(any_workspace, judge_id=judge_id, n=20, person="Olga", epsilon=0.3, seed=3)
    answers: dict[int, int] = {}
    for turn in range(3):
        card = claim(any_workspace)
        assert ("blind audit" in card.queue_reason, card.pair.grade, card.reveals) == (True, None, True)
        assert world.splits[card.pair.query_id] is Split.TRAIN
        answers[card.pair.pair_id] = 0
        shown = reviewing.grade(any_workspace, card=card.card, person="Ada", grade=0)
        assert shown is not None
        if turn == 0:
            reviewing.keep(any_workspace, card=shown.card.card, person="Ada")
        elif turn == 1:
            reviewing.grade(any_workspace, card=shown.card.card, person="Ada", grade=3)
        else:
            reviewing.undo(any_workspace, person="Ada")
            again = claim(any_workspace)
            assert (again.pair.pair_id, again.phase) == (card.pair.pair_id, "revise")
            reviewing.grade(any_workspace, card=again.card, person="Ada", grade=3)
    with any_workspace.sessions.read() as session:
        assert list_answers(session, batch_id=batch.id, criterion=Criterion.RELEVANCE) == answers
        assert count_unanswered(session, batch_id=batch.id, criterion=Criterion.RELEVANCE) == 17
        sampled = sa.select(BatchPair.pair_id).where(BatchPair.audit_position.is_not(None))
        assert set(session.scalars(sa.select(SeenPair.pair_id))) == set(answers) <= set(session.scalars(sampled))
