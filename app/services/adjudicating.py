"""Settling what reviewers differ about, and what they flagged: one case at a time, by an adjudicator or an owner.

Until a case is decided nobody is named and no proposal is shown; what was said is in an order drawn anew for each case.
A decision is an `adjudicate` review, which stands above every grade. A flag is settled by a decision, or sent back: an
`undo` that names the flag, by the adjudicator, with the adjudicator's note. Nothing is changed or deleted.
Whoever graded a pair does not decide it as long as somebody else could.

This is the face. Cases are served in `opening_cases`, answered in `deciding_cases`; who may decide which is in
`case_rules`, how a case is read in `cases`.
"""

from __future__ import annotations

import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.adjudication_views import CasePage, Settled
from app.services.case_rules import pair_of
from app.services.cases import settled_by
from app.services.deciding_cases import decide, send_back, undo
from app.services.opening_cases import open_case
from app.services.refusals import is_adjudicator
from db.models import Person
from db.queries import case_desk, disputes
from db.queries.roles import list_adjudicators

__all__ = [
    "decide",
    "get_last_settled",
    "list_adjudicator_names",
    "list_cases",
    "may_adjudicate",
    "open_case",
    "pair_of",
    "send_back",
    "undo",
]


def may_adjudicate(workspace: Workspace, *, person: str) -> bool:
    """Whether this person is an adjudicator or an owner."""
    with workspace.sessions.read() as session:
        return is_adjudicator(workspace, session, person)


def list_adjudicator_names(workspace: Workspace) -> tuple[str, ...]:
    """Those who may settle cases, by name."""
    with workspace.sessions.read() as session:
        return tuple(one.name for one in list_adjudicators(session, own_person=workspace.settings.person))


def list_cases(
    workspace: Workspace,
    *,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    offset: int = 0,
    limit: int = 50,
) -> CasePage:
    """A page of what waits, a query's pairs together, the query that waited longest first."""
    with workspace.sessions.read() as session:
        counts = disputes.count_cases(session, criterion=criterion)
        person_id = session.scalar(sa.select(Person.id).where(Person.name == person)) or 0
        taken = case_desk.read_desk(session, criterion=criterion, now=workspace.now()).taken(person_id)
        rows = disputes.list_cases(
            session, criterion=criterion, person_id=person_id, taken=taken, offset=offset, limit=limit
        )
        return CasePage(
            rows=tuple(rows),
            offset=offset,
            total=counts.pairs,
            disputed=counts.disputed,
            flagged=counts.flagged,
            queries=counts.queries,
        )


def get_last_settled(
    workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE
) -> Settled | None:
    """What this person decided last and did not take back, with the names; None when there is nothing."""
    with workspace.sessions.read() as session:
        person_id = session.scalar(sa.select(Person.id).where(Person.name == person))
        last = None if person_id is None else disputes.last_act(session, person_id=person_id, criterion=criterion)
        return None if last is None else settled_by(session, last)
