"""The regression set: what no model may lose. People pin a passage to a query; every comparison checks both models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid, NothingToDo
from app.services.refusals import require_owner
from db.models import RegressionCheck
from db.queries import regression as queries
from db.queries.people import person_named
from retriever.types import Hit, RegressionOutcome

DEEPEST = 100
"""The lowest rank that can be asked for: comparisons search no deeper."""


@dataclass(frozen=True, slots=True)
class CheckView:
    """A pinned passage: it must be among the first `deepest_rank` results (1 to 100) of its query."""

    id: int
    query_id: str
    query: str
    passage_id: str
    title: str
    deepest_rank: int
    note: str
    person: str
    created_at: datetime
    retired_at: datetime | None


def list_checks(workspace: Workspace, *, with_retired: bool = False) -> tuple[CheckView, ...]:
    """The checks that hold, oldest first; with the retired ones on demand."""
    with workspace.sessions.read() as session:
        return tuple(_view(record) for record in queries.list_checks(session, with_retired=with_retired))


def _view(record: queries.CheckRecord) -> CheckView:
    return CheckView(
        id=record.id,
        query_id=record.query_key,
        query=record.query,
        passage_id=record.passage_key,
        title=record.title,
        deepest_rank=record.deepest_rank,
        note=record.note,
        person=record.person,
        created_at=record.created_at,
        retired_at=record.retired_at,
    )


def add_check(
    workspace: Workspace, *, query: str, passage_id: str, deepest_rank: int = 10, person: str, note: str = ""
) -> CheckView:
    """Pins a passage to a query of any split, named by its id or its exact words; takes part from the next comparison.

    Raises:
        InputInvalid: there is no such query or passage, or the rank is not from 1 to 100.
        Conflict: this passage is pinned to this query already.
    """
    if not 1 <= deepest_rank <= DEEPEST:
        raise InputInvalid(f"the rank is {deepest_rank}; it must be from 1 to {DEEPEST}")
    with workspace.sessions.begin() as session:
        found = queries.find_query(session, named=query.strip())
        if found is None:
            raise InputInvalid(f"there is no question with the id or the words {query.strip()!r}")
        passage = queries.find_passage(session, named=passage_id.strip())
        if passage is None:
            raise InputInvalid(f"there is no passage with the id {passage_id.strip()!r}")
        held = queries.get_standing_check(session, query_id=found.id, passage_id=passage.id)
        if held is not None:
            raise Conflict(
                f"check {held.id} pins this passage to this question already, within {held.deepest_rank}; "
                "retire it first to ask for another rank"
            )
        now = workspace.now()
        check = RegressionCheck(
            query_id=found.id,
            passage_id=passage.id,
            deepest_rank=deepest_rank,
            note=" ".join(note.split()),
            person_id=person_named(session, person, now=now).id,
            created_at=now,
        )
        session.add(check)
        session.flush()
        return next(_view(record) for record in queries.list_checks(session) if record.id == check.id)


def retire_check(workspace: Workspace, *, check_id: int, person: str) -> None:
    """Takes a check out of use for good; it stays on record. Who pinned it may, and owners: the gate rests on it.

    Raises:
        NotFound: there is no such check.
        NothingToDo: it is retired already.
        NotAllowed: somebody else pinned it, and this person is no owner.
    """
    with workspace.sessions.begin() as session:
        check = queries.get_check_or_raise(session, check_id)
        if check.retired_at is not None:
            raise NothingToDo(f"regression check {check_id} is retired already")
        now = workspace.now()
        if person_named(session, person, now=now).id != check.person_id:
            require_owner(workspace, session, person, to="retire a regression check that somebody else pinned")
        check.retired_at = now


def rank_of(check: queries.CheckRecord, ranked: Mapping[str, Sequence[Hit]]) -> int | None:
    """Where the check's passage stands among the hits of its query (id from outside -> hits), None if nowhere."""
    return next((hit.rank for hit in ranked[check.query_key] if hit.passage_id == check.passage_key), None)


def outcome_of(results: Sequence[Mapping[str, Any]]) -> RegressionOutcome:
    """What the gate makes of stored check results."""
    broken: list[str] = []
    failing_before: list[str] = []
    for result in results:
        if not _holds(result, "candidate"):
            (broken if _holds(result, "baseline") else failing_before).append(_failure(result))
    return RegressionOutcome(n_checks=len(results), broken=tuple(broken), failing_before=tuple(failing_before))


def _holds(result: Mapping[str, Any], model: str) -> bool:
    return result[model] is not None and result[model] <= result["deepest_rank"]


def _failure(result: Mapping[str, Any]) -> str:
    at = f"at rank {result['candidate']}" if result["candidate"] is not None else f"not among the first {DEEPEST}"
    passage = result["title"] or result["passage_id"]
    return f'"{passage}" for "{result["query"]}" is {at}, not within {result["deepest_rank"]}'
