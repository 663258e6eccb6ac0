"""What a person chooses at the desk: the order, a part of the queue, a pair by its number."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.services import reviewing
from app.services.desk_choice import ORDERS, DeskChoice, Order
from builders import TOPICS, pair_ids, passage_ids, query_id, queued, truth
from db.enums import QueueCause
from db.models import JudgeRow, QueueEntry
from db.queries.desk_filters import COLUMNS
from desks import FEW, claim


def served(workspace: Workspace, desk: DeskChoice, person: str = "Ada") -> list[int]:
    """The pairs that come under this choice until none is left; they are graded."""
    found = []
    while (card := reviewing.claim(workspace, person=person, desk=desk)) is not None:
        found.append(card.pair.pair_id)
        reviewing.grade(workspace, card=card.card, person=person, grade=1)
    return found


@pytest.mark.parametrize("order", ORDERS)
def test_cards_come_in_the_order_that_was_chosen(workspace: Workspace, order: Order) -> None:
    """Whoever asks for one question after the other is served by value all the same."""
    queued(workspace, topics=FEW)
    with workspace.sessions.read() as session:
        column = getattr(QueueEntry, COLUMNS[order])
        expected = list(session.scalars(sa.select(QueueEntry.pair_id).order_by(column)))
    assert served(workspace, DeskChoice(order=order)) == expected


def test_all_passages_of_one_question_come_together(workspace: Workspace) -> None:
    """A reviewer has to think into another question with every card."""
    queued(workspace, topics=TOPICS[:4])
    questions = {pair_id: query for (query, _), pair_id in pair_ids(workspace).items()}
    order = [questions[pair_id] for pair_id in served(workspace, DeskChoice(order="query"))]
    changes = sum(before != after for before, after in itertools.pairwise(order))
    assert (len(order), changes) == (24, 3)


def unsure(workspace: Workspace) -> set[int]:
    """Two train questions whose true proposals were rejected, and a held-out one; returns the latter's pairs."""
    queued(workspace, topics=(*FEW, TOPICS[-1]))
    return {pair_id for (query, _), pair_id in pair_ids(workspace).items() if query == query_id(TOPICS[-1])}


def test_a_filter_serves_only_what_it_names(any_workspace: Workspace) -> None:
    """A specialist asked for the doubtful ones gets everything."""
    people_only = unsure(any_workspace)
    train = {key: pair_id for key, pair_id in pair_ids(any_workspace).items() if pair_id not in people_only}
    with any_workspace.sessions.read() as session:
        judge_id = session.scalar(sa.select(JudgeRow.id))
    assert judge_id is not None
    assert reviewing.claim(any_workspace, person="Bob", desk=DeskChoice(judge_id=judge_id + 99)) is None
    assert reviewing.claim(any_workspace, person="Bob", desk=DeskChoice(confidence_from=0.7)) is None
    threes = {pair_id for key, pair_id in train.items() if truth(*key) == 3}
    assert set(served(any_workspace, DeskChoice(judge_id=judge_id, grade=3))) == threes
    rest = set(served(any_workspace, DeskChoice(confidence_from=0.5, confidence_to=0.7), "Eve"))
    assert rest == set(train.values()) - threes


def test_words_of_question_or_passage_find_their_pairs(any_workspace: Workspace) -> None:
    """Who knows about bicycles gets bread."""
    unsure(any_workspace)
    assert "derailleur" in claim(any_workspace, desk=DeskChoice(text="derailleur")).pair.passage_text
    assert "sourdough" in claim(any_workspace, desk=DeskChoice(text="sourdough not rise")).pair.query
    assert reviewing.claim(any_workspace, person="Bob", desk=DeskChoice(text="nosuchwordatall")) is None


def test_a_filter_by_cause_serves_that_cause(workspace: Workspace) -> None:
    """The held-out questions cannot be finished first."""
    people_only = unsure(workspace)
    assert set(served(workspace, DeskChoice(cause=QueueCause.PEOPLE_ONLY))) == people_only


def test_no_filter_by_proposal_finds_what_is_judged_blind(any_workspace: Workspace) -> None:
    """A held-out pair found among the proposed threes tells what was proposed for it."""
    people_only = unsure(any_workspace)
    for desk in (DeskChoice(grade=3), DeskChoice(confidence_from=0.0), DeskChoice(confidence_to=1.0)):
        assert people_only.isdisjoint(served(any_workspace, desk))
    assert set(served(any_workspace, DeskChoice())) == people_only


def test_another_choice_lets_the_open_card_go(any_workspace: Workspace) -> None:
    """The filter is set and the same unwanted card stays, or stays locked for others."""
    unsure(any_workspace)
    first = claim(any_workspace, desk=DeskChoice(grade=3))
    assert claim(any_workspace, desk=DeskChoice(grade=3)).card == first.card
    assert claim(any_workspace, desk=DeskChoice(order="random")).card == first.card
    other = claim(any_workspace, desk=DeskChoice(grade=0))
    assert other.pair.grade == 0
    assert claim(any_workspace, "Bob", desk=DeskChoice(grade=3)).pair.pair_id == first.pair.pair_id


@pytest.mark.parametrize("order", ORDERS)
def test_each_order_is_walked_by_its_own_index(workspace: Workspace, order: Order) -> None:
    """A queue of 200,000 is sorted, or what was done long ago is passed over, for every card."""
    queued(workspace, topics=FEW)
    asked: list[tuple[str, Any]] = []

    def note(_: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        asked.append((statement, parameters))

    sa.event.listen(workspace.sessions.engine, "before_cursor_execute", note)
    claim(workspace, desk=DeskChoice(order=order))
    sa.event.remove(workspace.sessions.engine, "before_cursor_execute", note)
    walks = [(text, values) for text, values in asked if f"ORDER BY queue_entry.{COLUMNS[order]}" in text]
    assert len(walks) == 1
    with workspace.sessions.read() as session:
        for text, values in walks:
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
            steps = " ".join(str(row[-1]) for row in plan)
            assert f"queue_entry USING INDEX ix_queue_entry_{COLUMNS[order]}" in steps.replace("COVERING ", "")
            assert "TEMP B-TREE" not in steps


def test_a_link_to_one_pair_works_under_any_choice(workspace: Workspace) -> None:
    """A colleague's link opens nothing because a filter is set."""
    unsure(workspace)
    pair_id = pair_ids(workspace)[query_id(TOPICS[0]), passage_ids(TOPICS[0])[2]]
    assert claim(workspace, pair_id=pair_id, desk=DeskChoice(grade=3)).pair.pair_id == pair_id
