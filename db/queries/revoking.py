"""Who is revoked: the acts, the hold on a judge or a person, and what is computed anew for a person's pairs.

Nothing is deleted. Reviews of a revoked person do not stand (`standing.py`). What a revocation does to a judge's
proposals is in `revoked_labels.py`, what it does to certificates in `certificates_back.py`. Who may do this, and what
is said about it, is in `app/services/revoking.py`.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import RevocationAct
from db.models import JudgeRow, LabelJob, Lease, Person, Review, Revocation
from db.queries.many_states import curate_all, hold_states
from db.queries.standing import GRADING


def get_newest(session: Session, *, judge_id: int | None = None, reviewer_id: int | None = None) -> Revocation | None:
    """The newest revocation or restoration of a judge or a person, which holds; None when there was none."""
    statement = sa.select(Revocation).order_by(Revocation.id.desc()).limit(1)
    if judge_id is not None:
        return session.scalar(statement.where(Revocation.judge_id == judge_id))
    return session.scalar(statement.where(Revocation.reviewer_id == reviewer_id))


def is_revoked(newest: Revocation | None) -> bool:
    return newest is not None and newest.act is RevocationAct.REVOKE


def hold_judge(session: Session, judge_id: int) -> JudgeRow:
    """The judge, and nobody stores or uses a suggestion of its until the transaction ends; call before pairs are held.

    A writer of suggestions refers to the judge's row and so waits for us, or we for it.
    """
    return session.get_one(JudgeRow, judge_id, with_for_update=True)


def hold_person(session: Session, person_id: int) -> Person:
    """The person, and none of their reviews is stored until the transaction ends; call before pairs are held."""
    return session.get_one(Person, person_id, with_for_update=True)


def add_revocation(
    session: Session,
    *,
    act: RevocationAct,
    reason: str,
    person_id: int,
    now: datetime,
    judge_id: int | None = None,
    reviewer_id: int | None = None,
) -> Revocation:
    """Appends who was revoked or given back, by whom and why."""
    row = Revocation(
        act=act, judge_id=judge_id, reviewer_id=reviewer_id, reason=reason, person_id=person_id, created_at=now
    )
    session.add(row)
    session.flush()
    return row


def stop_jobs(session: Session, judge_id: int, *, message: str) -> int:
    """Asks the judge's label jobs that are under way to stop; what they stored stays. Returns how many."""
    jobs = session.scalars(
        sa.select(LabelJob).where(LabelJob.judge_id == judge_id, LabelJob.finished_at.is_(None)).with_for_update()
    ).all()
    asked = [job for job in jobs if job.status.is_active and not job.cancel_requested]
    for job in asked:
        job.cancel_requested, job.message = True, message
    session.flush()
    return len(asked)


def refresh_reviewed(session: Session, person_id: int, *, criterion: Criterion, now: datetime) -> int:
    """Computes anew what holds for every pair that a person has judged under a criterion; returns how many."""
    judged = sa.select(Review.pair_id).where(
        Review.person_id == person_id, Review.criterion == criterion, Review.action.in_(GRADING)
    )
    hold_states(session, judged, criterion=criterion)
    return curate_all(session, judged, criterion=criterion, now=now)


def drop_leases(session: Session, person_id: int) -> None:
    """Gives the pairs that a person has open back to the others."""
    session.execute(sa.delete(Lease).where(Lease.person_id == person_id))
