"""Definitions of what counts for a query, by version, and the suggestions that a newer version has left behind.

A suggestion is stale when the definition it was made under is not the query's latest one. Only judges that read
definitions go stale: LLMs and ensembles of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, JudgeKind
from db.enums import Outcome
from db.errors import NotFound
from db.models import Candidate, Decision, Definition, JudgeRow, Pair, PairState, Person, Query, Suggestion
from db.queries.queue_building import rebuild_queue
from db.queries.standing import locked_states, set_decision
from db.queries.suspending import suspend_for_definition

READS_DEFINITIONS = (JudgeKind.LLM, JudgeKind.ENSEMBLE)
WHY_STALE = "the definition of this query changed after the judge had seen it"
_IN = 500


def latest_definition() -> sa.ScalarSelect[int]:
    """The id of the definition that holds for the query of `Pair`, as part of a larger query; NULL when none does."""
    return (
        sa.select(Definition.id)
        .where(Definition.query_id == Pair.query_id)
        .order_by(Definition.version.desc())
        .limit(1)
        .correlate(Pair)
        .scalar_subquery()
    )


def is_stale() -> sa.ColumnElement[bool]:
    """Whether `Suggestion`, made by `JudgeRow` for `Pair`, was made under another definition than holds now."""
    return sa.and_(JudgeRow.kind.in_(READS_DEFINITIONS), ~_same_definition())


def still_holds(judge_id: int) -> sa.ColumnElement[bool]:
    """Whether `Suggestion`, made by this judge for `Pair`, was made under the definition that holds now."""
    kind = sa.select(JudgeRow.kind).where(JudgeRow.id == judge_id).scalar_subquery()
    return sa.or_(kind.not_in(READS_DEFINITIONS), _same_definition())


def _same_definition() -> sa.ColumnElement[bool]:
    return Suggestion.definition_id.is_not_distinct_from(latest_definition())


@dataclass(frozen=True, slots=True)
class DefinitionRecord:
    """One version of a definition, and who wrote it: a person, an LLM, or neither name when it came in a file."""

    definition: Definition
    person: str | None
    judge: str | None


def get_query_or_raise(session: Session, external_id: str) -> Query:
    """The query of that id.

    Raises:
        NotFound: there is none.
    """
    query = session.scalar(sa.select(Query).where(Query.external_id == external_id))
    if query is None:
        raise NotFound(f"there is no query {external_id!r}", user_message=f"There is no query called {external_id}.")
    return query


def list_versions(session: Session, query_id: int) -> list[DefinitionRecord]:
    """Every version of a query's definition, oldest first."""
    rows = session.execute(
        sa.select(Definition, Person.name, JudgeRow.name)
        .outerjoin(Person, Person.id == Definition.person_id)
        .outerjoin(JudgeRow, JudgeRow.id == Definition.judge_id)
        .where(Definition.query_id == query_id)
        .order_by(Definition.version)
    )
    return [DefinitionRecord(row[0], row[1], row[2]) for row in rows]


def count_without_definition(session: Session) -> int:
    """How many queries have candidates and no definition."""
    return session.scalar(_without_definition().with_only_columns(sa.func.count(Query.id))) or 0


def any_candidate(session: Session) -> bool:
    """Whether any pair was put up for judging."""
    return session.scalar(sa.select(sa.exists(sa.select(Candidate.pair_id)))) or False


def list_without_definition(session: Session, *, after: int, limit: int) -> list[Query]:
    """The next queries, by id, that have candidates and no definition; pass the last one's id as `after`."""
    return list(session.scalars(_without_definition().where(Query.id > after).order_by(Query.id).limit(limit)))


def _without_definition() -> sa.Select[Query]:
    return sa.select(Query).where(
        sa.exists().where(Pair.query_id == Query.id, Candidate.pair_id == Pair.id),
        ~sa.exists().where(Definition.query_id == Query.id),
    )


def add_version(
    session: Session,
    *,
    query_id: int,
    text: str,
    now: datetime,
    person_id: int | None = None,
    judge_id: int | None = None,
) -> Definition | None:
    """The new version that holds from now on, or None when the text is the one that holds already.

    What was accepted under the older one loses its acceptance: see `drop_acceptance`.
    """
    session.execute(sa.select(Query.id).where(Query.id == query_id).with_for_update())
    latest = session.scalar(
        sa.select(Definition).where(Definition.query_id == query_id).order_by(Definition.version.desc()).limit(1)
    )
    if latest is not None and latest.text == text:
        return None
    definition = Definition(
        query_id=query_id,
        version=1 if latest is None else latest.version + 1,
        text=text,
        person_id=person_id,
        judge_id=judge_id,
        created_at=now,
    )
    session.add(definition)
    session.flush()
    return definition


def drop_acceptance(session: Session, query_ids: Collection[int], *, now: datetime) -> int:
    """Rejects the accepted suggestions of these queries that are stale now, and says how many; people's grades stay.

    Certificates under which one of them was accepted are suspended, and open batches that froze one are closed.
    """
    suspend_for_definition(session, query_ids, now)
    dropped = 0
    wanted = sorted(set(query_ids))
    for criterion in Criterion:
        found = 0
        for start in range(0, len(wanted), _IN):
            found += _reject_stale(session, wanted[start : start + _IN], criterion=criterion, now=now)
        if found:
            rebuild_queue(session, criterion=criterion, now=now)
        dropped += found
    return dropped


def _reject_stale(session: Session, query_ids: Sequence[int], *, criterion: Criterion, now: datetime) -> int:
    accepted = session.execute(
        sa.select(PairState.pair_id, Suggestion, Decision.policy_id)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .join(Decision, Decision.id == PairState.decision_id)
        .where(
            Pair.query_id.in_(query_ids),
            PairState.criterion == criterion,
            PairState.outcome == Outcome.ACCEPTED,
            is_stale(),
        )
        .order_by(PairState.pair_id)
    ).all()
    states = locked_states(session, pair_ids=[row.pair_id for row in accepted], criterion=criterion, now=now)
    rejected = 0
    for pair_id, suggestion, policy_id in accepted:
        state = states[pair_id]
        if state.suggestion_id != suggestion.id or state.outcome is not Outcome.ACCEPTED:
            continue  # another transaction was faster
        decision = Decision(
            pair_id=pair_id,
            criterion=criterion,
            suggestion_id=suggestion.id,
            policy_id=policy_id,
            outcome=Outcome.REJECTED,
            why=WHY_STALE,
            created_at=now,
        )
        session.add(decision)
        session.flush()
        set_decision(state, decision, suggestion, now=now)
        rejected += 1
    session.flush()
    return rejected


def is_suggestion_stale(session: Session, suggestion_id: int) -> bool:
    """Whether one suggestion was made under another definition than holds now."""
    found = (
        sa.select(Suggestion.id)
        .join(Pair, Pair.id == Suggestion.pair_id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .where(Suggestion.id == suggestion_id, is_stale())
    )
    return session.scalar(found) is not None


def count_stale(session: Session, *, criterion: Criterion) -> int:
    """How many pairs' current suggestions are stale."""
    found = (
        sa.select(sa.func.count())
        .select_from(PairState)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .where(PairState.criterion == criterion, is_stale())
    )
    return session.scalar(found) or 0
