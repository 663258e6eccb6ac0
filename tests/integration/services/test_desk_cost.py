"""What a card costs the database: few statements, and nobody waits for a place to write who has nothing to write."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.errors import NotAllowed
from app.services import reviewing
from app.services.lineage import find_author
from app.services.revoking import revoke
from builders import TOPICS, queued
from desks import BLIND, FEW, claim, with_settings

CARD, GRADE, LIST, PROGRESS = 16, 10, 11, 4
"""Statements that each may take on SQLite, with the one that begins the transaction; about as many as they take."""


def asked(workspace: Workspace, call: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What the call returned, and the statements it sent."""
    sent: list[str] = []

    def note(_: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    sa.event.listen(workspace.sessions.engine, "before_cursor_execute", note)
    try:
        return call(), sent
    finally:
        sa.event.remove(workspace.sessions.engine, "before_cursor_execute", note)


def test_a_list_with_nothing_new_in_it_waits_for_no_writer(workspace: Workspace) -> None:
    """Every look at the screen queues up behind fifty people's grades to write nothing."""
    queued(workspace, topics=FEW)
    card = claim(workspace)
    first = reviewing.list_query(workspace, pair_id=card.pair.pair_id, person="Ada")
    with workspace.sessions.begin() as session:
        session.connection()  # holds the one place for a writer
        again, sent = asked(workspace, lambda: reviewing.list_query(workspace, pair_id=card.pair.pair_id, person="Ada"))
    assert again == first
    assert not [text for text in sent if "IMMEDIATE" in text or text.startswith(("INSERT", "UPDATE"))]


def test_a_list_without_proposals_is_only_read(any_workspace: Workspace) -> None:
    """The screen hides the proposals of other candidates, and they count as seen all the same."""
    queued(any_workspace, topics=FEW)
    card = claim(any_workspace, "Joan", desk=BLIND)
    call = partial(reviewing.list_query, any_workspace, pair_id=card.pair.pair_id, person="Joan", blind=True)
    side, sent = asked(any_workspace, call)
    assert len(side) == 6
    assert {row.proposed_grade for row in side} == {None}
    assert not [text for text in sent if "IMMEDIATE" in text or text.startswith(("INSERT", "UPDATE"))]


def test_a_revoked_person_reads_no_list(workspace: Workspace) -> None:
    """Somebody whose judgements are set aside goes on reading proposals."""
    queued(workspace, topics=FEW)
    pair_id = claim(workspace, "Mallory").pair.pair_id
    reviewing.list_query(workspace, pair_id=pair_id, person="Mallory")
    author = find_author(workspace, person="Mallory")
    revoke(workspace, author=author, person=workspace.settings.person, reason="guessed")
    with pytest.raises(NotAllowed, match="revoked"):
        reviewing.list_query(workspace, pair_id=pair_id, person="Mallory")


def test_a_card_costs_few_statements(workspace: Workspace) -> None:
    """A look at the pair is added here and there until a card takes forty of them, and a key press is felt."""
    workspace = with_settings(queued(workspace, topics=TOPICS[:4]), check_share=0.0)
    for _ in range(3):
        card, served = asked(workspace, lambda: claim(workspace))
        shown = {"pair_id": card.pair.pair_id, "person": "Ada"}
        _, listed = asked(workspace, partial(reviewing.list_query, workspace, **shown))
        _, graded = asked(workspace, partial(reviewing.grade, workspace, card=card.card, person="Ada", grade=1))
        _, counted = asked(workspace, lambda: reviewing.get_progress(workspace, person="Ada"))
    assert len(served) <= CARD, served
    assert len(graded) <= GRADE, graded
    assert len(listed) <= LIST, listed
    assert len(counted) <= PROGRESS, counted
