"""Labels as people look at them, and which grade holds for a pair, on both databases."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from annotator.routing import BareThreshold
from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import InputInvalid, NothingToDo
from app.services import labelling, labels, reviewing, routing
from builders import TOPICS, Clock, add_candidates, add_corpus, add_suggestions, pair_ids, scripted_judge, with_clock
from db.enums import LabelSource, Outcome, ReviewAction, Visibility
from db.errors import NotFound
from db.models import PairState, Policy, Review
from db.queries.deciding import Decided, list_undecided, store_decisions
from db.queries.people import person_named
from db.queries.states import refresh_state

FEW = TOPICS[:2]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def labelled(any_workspace: Workspace, clock: Clock) -> Workspace:
    """Twelve train pairs with true suggestions, all accepted."""
    workspace = with_clock(any_workspace, clock)
    add_corpus(workspace, topics=FEW)
    add_candidates(workspace, topics=FEW)
    add_suggestions(workspace)
    return workspace


def answering(workspace: Workspace) -> int:
    return pair_ids(workspace)["q-bread", "bread-answer"]


def holds(workspace: Workspace, pair_id: int) -> tuple[int | None, LabelSource | None]:
    view = labels.get_pair(workspace, pair_id=pair_id)
    return view.curated_grade, view.curated_source


def adjudicate(workspace: Workspace, pair_id: int, grade: int) -> int:
    with workspace.sessions.begin() as session:
        now = workspace.now()
        review = Review(
            pair_id=pair_id,
            criterion=Criterion.RELEVANCE,
            person_id=person_named(session, "Judge Judy", now=now).id,
            action=ReviewAction.ADJUDICATE,
            grade=grade,
            visibility=Visibility.SHOWN,
            created_at=now,
        )
        session.add(review)
        refresh_state(session, pair_id=pair_id, criterion=Criterion.RELEVANCE, now=now)
        return review.id


def test_pages_hold_every_label_once(labelled: Workspace) -> None:
    """A label on two pages, or on none, when the list is paged."""
    pages, after = [], None
    while not pages or pages[-1].has_more:
        pages.append(labels.list_labels(labelled, after=after, limit=5))
        after = pages[-1].rows[-1].pair_id
    assert [(page.total, page.counted) for page in pages] == [(12, True)] * 3
    assert [(page.offset, len(page.rows)) for page in pages] == [(0, 5), (5, 5), (10, 2)]
    listed = [row.pair_id for page in pages for row in page.rows]
    assert listed == sorted(pair_ids(labelled).values())
    back = labels.list_labels(labelled, before=pages[2].rows[0].pair_id, limit=5)
    assert (back.rows, back.offset, back.has_more) == (pages[1].rows, 5, True)


def test_far_down_a_long_list_pages_follow_each_other_and_the_number_is_at_least_told(
    labelled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the pairs that are counted the list ends, or says a number that is none."""
    monkeypatch.setattr(labels, "COUNTED", 4)
    ids = sorted(pair_ids(labelled).values())
    page = labels.list_labels(labelled, after=ids[5], limit=3)
    assert ([row.pair_id for row in page.rows], page.has_more) == (ids[6:9], True)
    assert (page.total, page.counted, page.offset) == (4, False, None)
    back = labels.list_labels(labelled, before=ids[9], limit=3)
    assert ([row.pair_id for row in back.rows], back.has_more) == (ids[6:9], True)
    last = labels.list_labels(labelled, after=ids[8], limit=3)
    assert ([row.pair_id for row in last.rows], last.has_more) == (ids[9:], False)


def test_filters_tell_accepted_rejected_and_reviewed_apart(labelled: Workspace) -> None:
    """The list of the accepted shows what was rejected."""
    routing.route(labelled, policy=BareThreshold(threshold_relevant=0.99, threshold_irrelevant=0.9))
    labels.overturn(labelled, pair_id=answering(labelled), person="Ada", grade=1, note="")

    def total(**filters: object) -> int:
        return labels.list_labels(labelled, **filters).total  # type: ignore[arg-type]

    assert (total(outcome=Outcome.ACCEPTED), total(outcome=Outcome.REJECTED), total()) == (8, 4, 12)
    assert (total(reviewed=True), total(reviewed=False)) == (1, 11)
    assert total(outcome=Outcome.REJECTED, reviewed=True) == 1
    assert total(outcome=Outcome.ACCEPTED, reviewed=True) == 0
    (row,) = labels.list_labels(labelled, reviewed=True).rows
    assert (row.grade, row.human_grade, row.curated_grade, row.curated_source) == (3, 1, 1, LabelSource.HUMAN)


def test_words_that_are_frequent_or_rare_are_found_alike(labelled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that is quick for frequent words finds other pairs than the way for rare ones."""
    # "sourdough" stands in a question with six pairs and in one passage that is a candidate of both questions.
    expected = {"SOURDOUGH": 7, "sourd": 7, "  ": 12, "%": 0, '"sourdough not rise"': 6, "nowhere": 0, "scripted": 12}
    assert {text: labels.list_labels(labelled, text=text).total for text in expected} == expected
    monkeypatch.setattr("db.queries.listed_words.FREQUENT", 0)
    assert {text: labels.list_labels(labelled, text=text).total for text in expected} == expected
    assert labels.list_labels(labelled, reason="scripted", passage="sourdough").total == 2
    assert labels.list_labels(labelled, query="chain", grade=3).total == 1


def test_pages_of_frequent_words_follow_each_other_both_ways(
    labelled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Walking the list in its order skips a pair between two pages, or shows one twice."""
    monkeypatch.setattr("db.queries.listed_words.FREQUENT", 0)
    monkeypatch.setattr(labels, "SEARCHED", 2)
    whole = [row.pair_id for row in labels.list_labels(labelled, text="sourdough").rows]
    assert len(whole) == 7
    first = labels.list_labels(labelled, text="sourdough", limit=3)
    second = labels.list_labels(labelled, text="sourdough", limit=3, after=whole[2])
    last = labels.list_labels(labelled, text="sourdough", limit=3, after=whole[5])
    assert [[row.pair_id for row in page.rows] for page in (first, second, last)] == [whole[:3], whole[3:6], whole[6:]]
    assert [page.has_more for page in (first, second, last)] == [True, True, False]
    back = labels.list_labels(labelled, text="sourdough", limit=3, before=whole[6])
    assert [row.pair_id for row in back.rows] == whole[3:6]


def test_an_overturned_label_keeps_the_suggestion_and_the_review(labelled: Workspace) -> None:
    """Overturning rewrites what the judge said, and its error rate looks better than it is."""
    view = labels.overturn(
        labelled, pair_id=answering(labelled), person="Ada", grade=0, note="about bread, not about it"
    )
    assert (view.grade, view.outcome) == (3, Outcome.ACCEPTED)
    assert (view.curated_grade, view.curated_source) == (0, LabelSource.HUMAN)
    with labelled.sessions.read() as session:
        (review,) = session.scalars(sa.select(Review))
        assert (review.grade, review.visibility, review.note) == (0, Visibility.SHOWN, "about bread, not about it")
        state = session.get_one(PairState, (view.pair_id, Criterion.RELEVANCE))
        assert review.suggestion_id == state.suggestion_id is not None


def test_the_history_tells_everything_in_order(labelled: Workspace, clock: Clock) -> None:
    """Nobody can tell who changed a label, or when."""
    pair_id = answering(labelled)
    clock.pass_minutes(1)
    routing.route(labelled, policy=BareThreshold(threshold_relevant=0.99, threshold_irrelevant=0.99))
    clock.pass_minutes(1)
    labels.overturn(labelled, pair_id=pair_id, person="Ada", grade=1, note="hm")
    clock.pass_minutes(1)
    reviewing.undo(labelled, person="Ada")
    history = labels.get_pair(labelled, pair_id=pair_id).history
    assert [entry.what for entry in history] == [
        "proposed grade 3 at 0.95 (verbal)",
        "accepted",
        "rejected",
        "graded 1 (saw the suggestion)",
        "took back the review before",
    ]
    assert [entry.at for entry in history] == sorted(entry.at for entry in history)
    assert (history[3].who, history[3].note) == ("Ada", "hm")


def test_what_cannot_be_overturned_is_refused(labelled: Workspace) -> None:
    """A stray click stores a grade for a pair that is not there, or off the scale."""
    with pytest.raises(NotFound):
        labels.overturn(labelled, pair_id=99999, person="Ada", grade=1, note="")
    with pytest.raises(InputInvalid):
        labels.overturn(labelled, pair_id=answering(labelled), person="Ada", grade=4, note="")
    assert labels.list_labels(labelled, reviewed=True).total == 0


def test_a_pair_nobody_proposed_for_cannot_be_overturned(workspace: Workspace) -> None:
    """A review that says it saw a suggestion where there was none."""
    add_corpus(workspace, topics=FEW)
    add_candidates(workspace, topics=FEW)
    with pytest.raises(NothingToDo):
        labels.overturn(workspace, pair_id=answering(workspace), person="Ada", grade=1, note="")


def test_an_adjudication_stands_above_a_later_review_and_both_above_the_judge(labelled: Workspace) -> None:
    """The next passer-by outvotes the adjudicator, or the judge outvotes people."""
    pair_id = answering(labelled)
    assert holds(labelled, pair_id) == (3, LabelSource.ACCEPTED)
    labels.overturn(labelled, pair_id=pair_id, person="Ada", grade=1, note="")
    assert holds(labelled, pair_id) == (1, LabelSource.HUMAN)
    adjudicate(labelled, pair_id, 2)
    assert holds(labelled, pair_id) == (2, LabelSource.ADJUDICATED)
    labels.overturn(labelled, pair_id=pair_id, person="Ada", grade=0, note="")
    labelling.label(labelled, scripted_judge(labelled, lambda *_: 1, name="another/1"))
    routing.route(labelled)
    assert holds(labelled, pair_id) == (2, LabelSource.ADJUDICATED)


def test_taking_a_human_grade_back_gives_the_accepted_one_back(labelled: Workspace) -> None:
    """After an undo the pair has no label at all, or keeps the grade that was taken back."""
    pair_id = answering(labelled)
    labels.overturn(labelled, pair_id=pair_id, person="Ada", grade=0, note="")
    reviewing.undo(labelled, person="Ada")
    assert holds(labelled, pair_id) == (3, LabelSource.ACCEPTED)


def test_a_new_suggestion_clears_what_was_decided_about_the_old_one(labelled: Workspace) -> None:
    """A grade nobody decided about trains under the decision made for another."""
    pair_id = answering(labelled)
    labelling.label(labelled, scripted_judge(labelled, lambda *_: 1, name="another/1"))
    view = labels.get_pair(labelled, pair_id=pair_id)
    assert (view.grade, view.outcome, view.why, view.curated_grade) == (1, None, "", None)
    routing.route(labelled)
    assert holds(labelled, pair_id) == (1, LabelSource.ACCEPTED)


def test_a_person_who_grades_while_the_pair_is_routed_is_not_overwritten(labelled: Workspace) -> None:
    """Routing writes what it read before the person graded, and the judge's grade trains in place of theirs."""
    pair_id = answering(labelled)
    routing.route(labelled, policy=BareThreshold(threshold_relevant=0.99, threshold_irrelevant=0.99))
    accepting = routing.bare_policy(labelled).version
    with ThreadPoolExecutor(1) as pool:
        with labelled.sessions.begin() as session:
            policy_id = session.scalars(sa.select(Policy.id).where(Policy.version == accepting)).one()
            undecided = list_undecided(session, policy_id=policy_id, criterion=Criterion.RELEVANCE, limit=100)
            grading = pool.submit(labels.overturn, labelled, pair_id=pair_id, person="Ada", grade=0, note="")
            time.sleep(0.5)  # the person presses the key while the decisions are being made
            now = labelled.now()
            decided = [
                Decided(item.pair_id, item.suggestion_id, Outcome.ACCEPTED, "uncertified: sure enough")
                for item in undecided
            ]
            store_decisions(session, decided, policy_id=policy_id, criterion=Criterion.RELEVANCE, now=now)
        grading.result()
    assert len(decided) == 12
    assert holds(labelled, pair_id) == (0, LabelSource.HUMAN)
    assert labels.list_labels(labelled, outcome=Outcome.ACCEPTED).total == 12


def test_people_and_routing_at_the_same_time_meet_no_error(any_workspace: Workspace) -> None:
    """A deadlock or "database is locked" between two routings and a person (label-studio#5755)."""
    add_corpus(any_workspace, topics=TOPICS[:4])
    add_candidates(any_workspace, topics=TOPICS[:4])
    add_suggestions(any_workspace)
    ids = sorted(pair_ids(any_workspace).values())

    def overturn_all() -> None:
        for pair_id in ids:
            labels.overturn(any_workspace, pair_id=pair_id, person="Ada", grade=0, note="")

    def route_often(turn: int) -> None:
        for step in range(6):
            threshold = 0.99 if step % 2 else 0.5 + turn / 100
            routing.route(
                any_workspace, policy=BareThreshold(threshold_relevant=threshold, threshold_irrelevant=threshold)
            )

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(overturn_all), pool.submit(route_often, 1), pool.submit(route_often, 2)]:
            done.result()
    assert {holds(any_workspace, pair_id) for pair_id in ids} == {(0, LabelSource.HUMAN)}
