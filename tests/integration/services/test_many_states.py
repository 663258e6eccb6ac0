"""Many pairs brought up to date at once, against the same pairs brought up to date one by one."""

from __future__ import annotations

import random

import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from builders import TOPICS, pair_ids, queued
from db.enums import ReviewAction, Visibility
from db.models import PairState, Review
from db.queries.many_states import curate_all
from db.queries.people import person_named
from db.queries.states import refresh_states

RELEVANCE = Criterion.RELEVANCE


def derived(workspace: Workspace) -> dict[int, tuple[object, ...]]:
    with workspace.sessions.read() as session:
        return {
            row.pair_id: (row.review_id, row.curated_grade, row.graders, row.disputed, row.flagged)
            for row in session.scalars(sa.select(PairState))
        }


def test_many_at_once_are_what_each_alone_is(any_workspace: Workspace) -> None:
    """A revoked person's pairs keep their graders, and nobody is ever asked about them again."""
    queued(any_workspace, topics=TOPICS[:4])
    ids = sorted(pair_ids(any_workspace).values())
    draw = random.Random(7)
    with any_workspace.sessions.begin() as session:
        now = any_workspace.now()
        people = [person_named(session, name, now=now).id for name in ("Ada", "Bob", "Eve")]
        for turn in range(120):
            action = draw.choice(
                [ReviewAction.GRADE] * 5 + [ReviewAction.FLAG, ReviewAction.ADJUDICATE, ReviewAction.SKIP]
            )
            graded = action in (ReviewAction.GRADE, ReviewAction.ADJUDICATE)
            review = Review(
                pair_id=draw.choice(ids),
                criterion=RELEVANCE,
                person_id=draw.choice(people),
                action=action,
                grade=draw.randrange(4) if graded else None,
                visibility=Visibility.SHOWN,
                hidden_check=turn % 17 == 0,
                created_at=now,
            )
            session.add(review)
            session.flush()
            if draw.random() < 0.2:
                undo = Review(
                    pair_id=review.pair_id,
                    criterion=RELEVANCE,
                    person_id=review.person_id,
                    action=ReviewAction.UNDO,
                    visibility=Visibility.SHOWN,
                    undoes_id=review.id,
                    created_at=now,
                )
                session.add(undo)
        refresh_states(session, pair_ids=ids, criterion=RELEVANCE, now=now)
    alone = derived(any_workspace)
    assert {True, False} == {row[3] for row in alone.values()} == {row[4] for row in alone.values()}
    with any_workspace.sessions.begin() as session:
        session.execute(sa.update(PairState).values(graders=9, disputed=True, flagged=True))
        curate_all(session, ids, criterion=RELEVANCE, now=any_workspace.now())
    assert derived(any_workspace) == alone
