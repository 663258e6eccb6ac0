"""The review desk on both databases: one pair for one person, nothing lost, nothing answered twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid
from app.services import labels, reviewing, routing
from app.services.importing import NewSuggestion, import_suggestions
from builders import (
    TOPICS,
    Clock,
    add_candidates,
    add_corpus,
    add_suggestions,
    audit,
    pair_ids,
    passage_ids,
    query_id,
    queued,
    with_clock,
)
from db.enums import LabelSource, ReviewAction, Visibility
from db.errors import NotFound
from db.models import Lease, Person, Review
from db.queries.queue_building import rebuild_queue
from desks import with_settings

FEW = TOPICS[:2]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(any_workspace: Workspace, clock: Clock) -> Workspace:
    """Two train questions with six rejected pairs each."""
    return queued(with_clock(any_workspace, clock), topics=FEW)


def claim(workspace: Workspace, person: str = "Ada") -> reviewing.Card:
    card = reviewing.claim(workspace, person=person)
    assert card is not None
    return card


def reviews(workspace: Workspace) -> list[Review]:
    with workspace.sessions.read() as session:
        return list(session.scalars(sa.select(Review).order_by(Review.id)))


def test_two_people_are_never_served_the_same_pair(desk: Workspace) -> None:
    """Two people pay for one judgement (label-studio#795)."""
    ada, grace = claim(desk, "Ada"), claim(desk, "Grace")
    assert ada.pair.pair_id != grace.pair.pair_id
    reviewing.grade(desk, card=ada.card, person="Ada", grade=1)
    assert claim(desk, "Ada").pair.pair_id not in {ada.pair.pair_id, grace.pair.pair_id}


def test_eight_people_at_once_grade_every_pair_once_and_lose_none(any_workspace: Workspace) -> None:
    """Pairs served twice, work lost, or "database is locked" (label-studio#795, #1101, #5755)."""
    workspace = queued(any_workspace, topics=TOPICS[:12])
    start = threading.Barrier(8)

    def work(name: str) -> int:
        start.wait()
        return audit(workspace, person=name)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, [f"person {n}" for n in range(8)]))
    stored = reviews(workspace)
    assert sum(done) == len(stored) == 72
    assert {review.pair_id for review in stored} == set(pair_ids(workspace).values())
    with workspace.sessions.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Lease)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(Person)) == 8
    assert sum(done) == sum(reviewing.get_progress(workspace, person=f"person {n}").graded for n in range(8))


def test_one_person_in_eight_tabs_never_meets_an_error(any_workspace: Workspace) -> None:
    """A second tab of the same new person breaks both, or takes the card away while it is answered."""
    workspace = queued(any_workspace, topics=TOPICS[:4])
    start = threading.Barrier(8)

    def work(_: int) -> int:
        start.wait()
        done = 0
        while (card := reviewing.claim(workspace, person="Ada")) is not None:
            try:
                reviewing.grade(workspace, card=card.card, person="Ada", grade=1)
                done += 1
            except Conflict:  # the other tab was faster with the same card
                continue
        return done

    with ThreadPoolExecutor(8) as pool:
        done = sum(pool.map(work, range(8)))
    assert done == 24
    assert sorted(review.pair_id for review in reviews(workspace)) == sorted(pair_ids(workspace).values())


def test_a_grade_is_on_disk_before_the_next_card_is_asked_for(desk: Workspace) -> None:
    """A grade that lives in the browser is lost with it (label-studio#1101)."""
    card = claim(desk)
    reviewing.grade(desk, card=card.card, person="Ada", grade=2, seconds=3.5, note="only half")
    (stored,) = reviews(desk)
    assert (stored.pair_id, stored.grade, stored.seconds, stored.note) == (card.pair.pair_id, 2, 3.5, "only half")
    view = labels.get_pair(desk, pair_id=card.pair.pair_id)
    assert (view.curated_grade, view.curated_source) == (2, LabelSource.HUMAN)
    assert reviewing.get_progress(desk, person="Ada").waiting == 11


def test_a_card_answered_twice_counts_once(desk: Workspace) -> None:
    """A double press grades the pair twice, or the next one unseen."""
    card = claim(desk)
    reviewing.grade(desk, card=card.card, person="Ada", grade=2)
    with pytest.raises(Conflict) as refused:
        reviewing.grade(desk, card=card.card, person="Ada", grade=0)
    assert refused.value.user_message == "This card was already graded."
    with pytest.raises(Conflict):
        reviewing.skip(desk, card=card.card, person="Ada")
    assert [review.grade for review in reviews(desk)] == [2]


def test_the_same_card_pressed_in_eight_threads_counts_once(desk: Workspace) -> None:
    """Two presses that arrive together both find the lease and store two reviews."""
    card = claim(desk)
    start = threading.Barrier(8)

    def press(grade: int) -> bool:
        start.wait()
        try:
            reviewing.grade(desk, card=card.card, person="Ada", grade=grade % 4)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(press, range(8))) == 1
    assert len(reviews(desk)) == 1


def test_nobody_can_answer_the_card_of_another(desk: Workspace) -> None:
    """A stale or copied card id writes a grade in the wrong name."""
    card = claim(desk, "Ada")
    claim(desk, "Grace")
    with pytest.raises(Conflict):
        reviewing.grade(desk, card=card.card, person="Grace", grade=1)
    with pytest.raises(Conflict):
        reviewing.skip(desk, card=card.card, person="Grace")
    assert reviews(desk) == []
    reviewing.grade(desk, card=card.card, person="Ada", grade=1)


def test_a_card_whose_pair_was_given_on_is_refused(desk: Workspace, clock: Clock) -> None:
    """Somebody back from lunch grades what another has open: the overlap quota breaks (quepid#1019)."""
    late = claim(desk, "Ada")
    clock.pass_minutes(11)
    taken = claim(desk, "Grace")
    assert taken.pair.pair_id == late.pair.pair_id
    with pytest.raises(Conflict) as refused:
        reviewing.grade(desk, card=late.card, person="Ada", grade=3)
    assert refused.value.user_message == "This card is no longer yours; it was given on."
    assert reviews(desk) == []
    reviewing.grade(desk, card=taken.card, person="Grace", grade=2)
    assert [review.grade for review in reviews(desk)] == [2]


def test_a_late_answer_counts_while_nobody_else_took_the_pair(desk: Workspace, clock: Clock) -> None:
    """Somebody who read for eleven minutes loses the work though nobody else wanted the pair."""
    card = claim(desk)
    clock.pass_minutes(60)
    reviewing.grade(desk, card=card.card, person="Ada", grade=3)
    assert [review.grade for review in reviews(desk)] == [3]


def test_reloading_the_page_shows_the_same_card_and_renews_it(desk: Workspace, clock: Clock) -> None:
    """Each reload burns a pair, and the one before stays locked."""
    first = claim(desk)
    clock.pass_minutes(9)
    again = claim(desk)
    assert (again.card, again.pair.pair_id) == (first.card, first.pair.pair_id)
    assert (again.expires_at - first.expires_at).total_seconds() == 9 * 60
    clock.pass_minutes(9)
    assert claim(desk, "Grace").pair.pair_id != first.pair.pair_id


def test_a_skipped_pair_comes_back_after_all_others(desk: Workspace) -> None:
    """A skipped pair comes at once again, or never."""
    skipped = claim(desk)
    reviewing.skip(desk, card=skipped.card, person="Ada")
    order = []
    while (card := reviewing.claim(desk, person="Ada")) is not None:
        order.append(card.pair.pair_id)
        reviewing.grade(desk, card=card.card, person="Ada", grade=0)
    assert len(order) == 12
    assert order[-1] == skipped.pair.pair_id
    assert reviewing.get_progress(desk, person="Ada").graded == 12


def test_what_one_person_skips_is_first_for_another(desk: Workspace) -> None:
    """One person's skip hides a pair from those who know better."""
    skipped = claim(desk, "Ada")
    reviewing.skip(desk, card=skipped.card, person="Ada")
    assert claim(desk, "Grace").pair.pair_id == skipped.pair.pair_id


def test_undo_goes_back_any_number_of_steps_and_only_appends(desk: Workspace) -> None:
    """One wrong key cannot be mended, or mending it rewrites what was said (doccano#718, rule 1)."""
    served = []
    for grade in (3, None, 1):
        card = claim(desk)
        served.append(card.pair.pair_id)
        if grade is None:
            reviewing.skip(desk, card=card.card, person="Ada")
        else:
            reviewing.grade(desk, card=card.card, person="Ada", grade=grade)
    undone = [reviewing.undo(desk, person="Ada") for _ in range(4)]
    assert [None if u is None else (u.pair_id, u.action, u.grade) for u in undone] == [
        (served[2], "grade", 1),
        (served[1], "skip", None),
        (served[0], "grade", 3),
        None,
    ]
    assert [review.action for review in reviews(desk)] == [
        ReviewAction.GRADE,
        ReviewAction.SKIP,
        ReviewAction.GRADE,
        ReviewAction.UNDO,
        ReviewAction.UNDO,
        ReviewAction.UNDO,
    ]
    progress = reviewing.get_progress(desk, person="Ada")
    assert (progress.graded, progress.skipped, progress.waiting) == (0, 0, 12)
    assert claim(desk).pair.pair_id == served[0]
    assert labels.get_pair(desk, pair_id=served[2]).curated_grade is None


def test_after_an_undo_the_pair_is_served_next_and_can_be_graded_anew(desk: Workspace) -> None:
    """Undo takes the grade back but the pair is gone."""
    first = claim(desk)
    reviewing.grade(desk, card=first.card, person="Ada", grade=0)
    left_open = claim(desk)
    reviewing.undo(desk, person="Ada")
    again = claim(desk)
    assert again.pair.pair_id == first.pair.pair_id
    assert again.card != first.card
    with pytest.raises(Conflict):
        reviewing.grade(desk, card=left_open.card, person="Ada", grade=0)
    reviewing.grade(desk, card=again.card, person="Ada", grade=3)
    assert labels.get_pair(desk, pair_id=first.pair.pair_id).curated_grade == 3


def test_undo_takes_back_only_ones_own_grade(desk: Workspace) -> None:
    """Undo reaches into another person's work."""
    card = claim(desk, "Ada")
    reviewing.grade(desk, card=card.card, person="Ada", grade=3)
    assert reviewing.undo(desk, person="Grace") is None
    labels.overturn(desk, pair_id=card.pair.pair_id, person="Grace", grade=1, note="")
    reviewing.undo(desk, person="Ada")
    assert labels.get_pair(desk, pair_id=card.pair.pair_id).curated_grade == 1


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_skip_taken_back_after_somebody_else_graded_the_pair_serves_it_to_nobody(
    any_workspace: Workspace, rebuilt: bool
) -> None:
    """A pair that wants one grade gets two, and the second person's time is lost."""
    desk = with_settings(queued(any_workspace, topics=FEW), check_share=0.0)
    card = claim(desk, "Ada")
    reviewing.skip(desk, card=card.card, person="Ada")
    other = claim(desk, "Grace")
    assert other.pair.pair_id == card.pair.pair_id
    reviewing.grade(desk, card=other.card, person="Grace", grade=1)
    if rebuilt:
        with desk.sessions.begin() as session:
            rebuild_queue(session, criterion=Criterion.RELEVANCE, now=desk.now())
    undone = reviewing.undo(desk, person="Ada")
    assert undone is not None
    assert undone.action == "skip"
    assert claim(desk, "Ada").pair.pair_id != card.pair.pair_id


def test_a_pair_taken_back_after_the_queue_was_rebuilt_is_still_served(desk: Workspace) -> None:
    """The rebuilt queue leaves out what was graded then; taken back and skipped, nobody would see the pair again."""
    card = claim(desk)
    reviewing.grade(desk, card=card.card, person="Ada", grade=0)
    with desk.sessions.begin() as session:
        assert rebuild_queue(session, criterion=Criterion.RELEVANCE, now=desk.now()) == 11
    reviewing.undo(desk, person="Ada")
    again = claim(desk)
    assert again.pair.pair_id == card.pair.pair_id
    reviewing.skip(desk, card=again.card, person="Ada")
    assert reviewing.get_progress(desk, person="Ada").waiting == 12
    served = set()
    while (other := reviewing.claim(desk, person="Grace")) is not None:
        served.add(other.pair.pair_id)
        reviewing.grade(desk, card=other.card, person="Grace", grade=0)
    assert served == set(pair_ids(desk).values())


def test_a_pair_opened_by_hand_does_not_enter_the_queue_by_undo(any_workspace: Workspace) -> None:
    """Taking back the overturn of an accepted label puts it before people as if it were rejected."""
    add_corpus(any_workspace, topics=FEW)
    add_candidates(any_workspace, topics=FEW)
    add_suggestions(any_workspace)
    pair_id = next(iter(pair_ids(any_workspace).values()))
    card = reviewing.claim(any_workspace, person="Ada", pair_id=pair_id)
    assert card is not None
    assert (card.queue_reason, card.position, card.waiting) == ("opened by hand", 0, 0)
    reviewing.grade(any_workspace, card=card.card, person="Ada", grade=0)
    reviewing.undo(any_workspace, person="Ada")
    assert reviewing.get_progress(any_workspace, person="Ada").waiting == 0


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_grade_off_the_scale_is_refused_and_nothing_is_written(desk: Workspace, wrong: int) -> None:
    """A stray key stores a grade that no measure understands."""
    card = claim(desk)
    with pytest.raises(InputInvalid):
        reviewing.grade(desk, card=card.card, person="Ada", grade=wrong)
    assert reviews(desk) == []
    assert claim(desk).card == card.card


def test_a_review_says_whether_the_suggestion_was_seen(any_workspace: Workspace) -> None:
    """An anchored grade passes for a blind one, and certificates rest on it."""
    workspace = queued(any_workspace, topics=(TOPICS[0], TOPICS[12]))
    held_out = {pair_id for (query, _), pair_id in pair_ids(workspace).items() if query == "q-rice"}
    audit(workspace)
    seen = {review.pair_id: review for review in reviews(workspace)}
    assert len(held_out) == 6
    for pair_id, review in seen.items():
        blind = pair_id in held_out
        assert review.visibility is (Visibility.BLIND if blind else Visibility.SHOWN)
        assert (review.suggestion_id is None) == blind


def test_a_queue_rebuilt_under_an_open_card_leaves_the_card_valid(desk: Workspace) -> None:
    """Routing in the background throws away what somebody is reading."""
    card = claim(desk)
    for _ in range(3):
        routing.route(desk)
    assert claim(desk).card == card.card
    reviewing.grade(desk, card=card.card, person="Ada", grade=1)
    assert len(reviews(desk)) == 1


def test_a_pair_asked_for_by_number_must_exist_and_be_free(desk: Workspace) -> None:
    """A dead link looks like a busy queue, or takes a pair out of another's hands."""
    with pytest.raises(NotFound):
        reviewing.claim(desk, person="Ada", pair_id=987654)
    open_elsewhere = claim(desk, "Ada")
    with pytest.raises(Conflict):
        reviewing.claim(desk, person="Grace", pair_id=open_elsewhere.pair.pair_id)
    by_hand = reviewing.claim(desk, person="Ada", pair_id=open_elsewhere.pair.pair_id)
    assert by_hand is not None
    assert by_hand.card == open_elsewhere.card


def test_a_name_is_one_person_however_it_is_spaced(workspace: Workspace) -> None:
    """Ada and "Ada " split their work between two people."""
    assert reviewing.ensure_person(workspace, name="  Ada   Lovelace ") == "Ada Lovelace"
    reviewing.ensure_person(workspace, name="Ada Lovelace")
    assert reviewing.list_people(workspace) == ("Ada Lovelace",)
    for wrong in ("", "   ", "x" * 201):
        with pytest.raises(InputInvalid):
            reviewing.ensure_person(workspace, name=wrong)


def test_progress_tells_todays_work_from_yesterdays(desk: Workspace, clock: Clock) -> None:
    """A person's count of today includes all their days."""
    for day in range(2):
        clock.pass_minutes(24 * 60 * day)
        card = claim(desk)
        reviewing.grade(desk, card=card.card, person="Ada", grade=1)
    progress = reviewing.get_progress(desk, person="Ada")
    assert (progress.graded, progress.graded_today, progress.waiting) == (2, 1, 10)


def test_a_held_out_question_is_judged_blind_even_when_a_judge_elsewhere_proposed_for_it(workspace: Workspace) -> None:
    """Prevents the LLM's opinion from leaking into the judgements that are to tell whether the LLM's labels helped."""
    add_corpus(workspace)
    add_candidates(workspace)
    held_out = TOPICS[-1]
    import_suggestions(
        workspace,
        [NewSuggestion(query_id(held_out), passage_ids(held_out)[0], "gpt-4", 3, 3, token_probability=0.99)],
        source_name="elsewhere",
    )
    routing.route(workspace)
    pair_id = pair_ids(workspace)[(query_id(held_out), passage_ids(held_out)[0])]
    before = labels.get_pair(workspace, pair_id=pair_id)
    assert (before.concealed, before.grade, before.outcome, before.curated_grade) == (True, None, None, None)
    assert pair_id in {pair.pair_id for pair in reviewing.list_waiting(workspace)}
    card = reviewing.claim(workspace, person="Ada", pair_id=pair_id)
    assert card is not None
    assert (card.pair.grade, card.pair.confidence, card.pair.judge, card.pair.history) == (None, None, None, ())
    assert "people only" in card.queue_reason
    reviewing.grade(workspace, card=card.card, person="Ada", grade=2)
    stored = reviews(workspace)[-1]
    assert (stored.grade, stored.visibility, stored.suggestion_id) == (2, Visibility.BLIND, None)
