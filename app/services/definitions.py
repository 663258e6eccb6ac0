"""What counts as relevant for a query: written by the LLM where it is missing, edited by people, every version kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from annotator.cleaning import clean
from annotator.judges.call_ledger import CallLedger, InMemoryCallLedger
from annotator.judges.chat import ChatRequest
from annotator.judges.definitions import DefinitionRequest, DefinitionWriter, WrittenDefinition
from annotator.prompts.loader import load_text_prompt
from annotator.types import Criterion
from app.bootstrap import Workspace, make_chat
from app.errors import InputInvalid, NothingToDo, SettingsInvalid
from app.services.call_ledger import DatabaseLedger
from app.services.call_plans import CallPlan, plan_calls
from app.services.charged_calls import charged_to_a_job
from app.services.indexing import Progress
from app.services.judge_knowledge import known_to
from db.models import Query
from db.queries import definitions as definition_queries
from db.queries.definitions import DefinitionRecord
from db.queries.labelling import ensure_judge
from db.queries.people import person_named

MAX_CHARACTERS = 8_000
"""As much of a definition as every prompt shows."""
_CHUNK = 200
_STORE_EVERY = 20


@dataclass(frozen=True, slots=True)
class DefinitionReport:
    """What writing did: definitions written, replies that could not be read, queries without a reply, and the cost.

    `dropped`: pairs that lost their acceptance because their query has a definition now.
    """

    judge: str
    written: int
    unreadable: int
    failed: int
    dropped: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class DefinitionVersion:
    """One version: its number from 1, its text, and who wrote it (a person, a judge, or "imported")."""

    version: int
    text: str
    author: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class QueryDefinitions:
    """All versions of one query's definition, oldest first; the last one holds."""

    query_id: str
    query: str
    versions: tuple[DefinitionVersion, ...]


@dataclass(frozen=True, slots=True)
class DefinitionsView:
    """How far the workspace is: queries with candidates that lack a definition, and pairs whose suggestion is stale."""

    lacking: int
    stale: int


@dataclass(frozen=True, slots=True)
class EditReport:
    """What an edit did: the version that holds now, and the pairs that lost their acceptance by it."""

    definitions: QueryDefinitions
    changed: bool
    dropped: int


def get_overview(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> DefinitionsView:
    """How many definitions are missing and how many suggestions are stale."""
    with workspace.sessions.read() as session:
        return DefinitionsView(
            lacking=definition_queries.count_without_definition(session),
            stale=definition_queries.count_stale(session, criterion=criterion),
        )


def get_definitions(workspace: Workspace, *, query: str) -> QueryDefinitions:
    """Every version of the definition of the query with that id.

    Raises:
        NotFound: there is no such query.
    """
    with workspace.sessions.read() as session:
        row = definition_queries.get_query_or_raise(session, query)
        return _view(row, definition_queries.list_versions(session, row.id))


def set_definition(workspace: Workspace, *, query: str, text: str, person: str) -> EditReport:
    """Makes a person's text the next version; suggestions made under the older one are stale and lose acceptance.

    A text that is the present one already changes nothing.

    Raises:
        NotFound: there is no such query.
        InputInvalid: the text is empty, or longer than any judge would be shown.
    """
    text = clean(text).strip()
    if not text:
        raise InputInvalid("an empty definition says nothing; write what counts as relevant")
    if len(text) > MAX_CHARACTERS:
        raise InputInvalid(f"the definition has {len(text):,} characters; judges are shown {MAX_CHARACTERS:,} at most")
    with workspace.sessions.begin() as session:
        now = workspace.now()
        row = definition_queries.get_query_or_raise(session, query)
        author = person_named(session, person, now=now)
        added = definition_queries.add_version(session, query_id=row.id, text=text, person_id=author.id, now=now)
        dropped = 0 if added is None else definition_queries.drop_acceptance(session, [row.id], now=now)
        versions = definition_queries.list_versions(session, row.id)
        return EditReport(_view(row, versions), added is not None, dropped)


def plan_writing(workspace: Workspace, *, cap_tokens: int | None = None, cap_usd: float | None = None) -> CallPlan:
    """What writing the definitions that are missing would send and cost; nothing is called and nothing stored.

    Raises:
        SettingsInvalid: no LLM is set.
        InputInvalid: a cap is not positive, or in dollars where the price is unknown.
        NothingToDo: no query has candidates.
    """
    lacking = _count_lacking(workspace)
    writer = _writer(workspace, InMemoryCallLedger())
    return plan_calls(
        workspace,
        writer.chat,
        _chat_requests(workspace, writer),
        charged_to=writer.identity,
        n_items=lacking,
        cap_tokens=cap_tokens,
        cap_usd=cap_usd,
    )


def _chat_requests(workspace: Workspace, writer: DefinitionWriter) -> Iterator[ChatRequest]:
    after = 0
    while True:
        with workspace.sessions.read() as session:
            queries = definition_queries.list_without_definition(session, after=after, limit=_CHUNK)
        if not queries:
            return
        after = queries[-1].id
        yield from (writer.chat_request(query.text) for query in queries)


def _count_lacking(workspace: Workspace) -> int:
    """How many queries with candidates lack a definition.

    Raises:
        SettingsInvalid: no LLM is set.
        NothingToDo: no query has candidates.
    """
    if not workspace.settings.has_llm:
        raise SettingsInvalid(
            "definitions are written by an LLM, and none is set",
            user_message="Definitions are written by an LLM: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of "
            "your own; or write them by hand with: relabel definitions --set",
        )
    with workspace.sessions.read() as session:
        if not definition_queries.any_candidate(session):
            raise NothingToDo(
                "no query has candidates",
                user_message="No query has candidates yet, so there is nothing to define. First: relabel pool",
            )
        return definition_queries.count_without_definition(session)


def _writer(workspace: Workspace, ledger: CallLedger) -> DefinitionWriter:
    return DefinitionWriter(
        make_chat(workspace.settings, ledger, known=known_to(workspace)),
        prompt=load_text_prompt("definition"),
        max_completion_tokens=workspace.settings.llm_max_completion_tokens,
    )


def write(
    workspace: Workspace,
    *,
    cap_tokens: int | None = None,
    cap_usd: float | None = None,
    on_progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> DefinitionReport:
    """Has the workspace's LLM write what is missing, its calls charged to a job of their own under a cap.

    Raises:
        SettingsInvalid: no LLM is set.
        NothingToDo: no query has candidates.
        Conflict: another process writes definitions in this workspace.
        JudgeUnavailable, CapReached: no further call may be made; what came before is stored.
    """
    lacking = _count_lacking(workspace)
    if not lacking:
        return _Tally(0, on_progress).report(_writer(workspace, InMemoryCallLedger()))
    with DatabaseLedger(workspace) as ledger:
        writer = _writer(workspace, ledger)
        with charged_to_a_job(
            workspace,
            ledger,
            writer.identity,
            kind="definitions",
            n=lacking,
            cap_tokens=cap_tokens,
            cap_usd=cap_usd,
        ):
            return write_missing(workspace, writer, on_progress=on_progress, should_cancel=should_cancel)


def write_missing(
    workspace: Workspace,
    writer: DefinitionWriter,
    *,
    on_progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> DefinitionReport:
    """Has the LLM write a definition for every query with candidates that lacks one; safe to stop and to repeat.

    A reply that was received is never bought again, even one that cannot be read: such queries wait for a person.

    Raises:
        JudgeUnavailable, CapReached: no further call may be made; what came before is stored.
    """
    with workspace.sessions.begin() as session:
        judge_id = ensure_judge(session, writer.identity, now=workspace.now()).id
        total = definition_queries.count_without_definition(session)
    tally = _Tally(total, on_progress)
    after = 0
    while should_cancel is None or not should_cancel():
        with workspace.sessions.read() as session:
            queries = definition_queries.list_without_definition(session, after=after, limit=_CHUNK)
        if not queries:
            break
        after = queries[-1].id
        asked = [DefinitionRequest(query.id, query.text) for query in queries]
        asyncio.run(_write_chunk(workspace, writer, asked, judge_id=judge_id, tally=tally, should_cancel=should_cancel))
    return tally.report(writer)


class _Tally:
    """Counts what a run of writing has done."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self._total = total
        self._on_progress = on_progress
        self.written = self.unreadable = self.failed = self.dropped = 0
        self.prompt_tokens = self.completion_tokens = 0
        self.cost: float | None = 0.0

    def add(self, batch: list[WrittenDefinition], *, dropped: int) -> None:
        self.dropped += dropped
        for one in batch:
            self.written += one.text is not None
            self.unreadable += one.text is None and one.reply_key is not None
            self.failed += one.reply_key is None
            if not one.usage.cached:
                self.prompt_tokens += one.usage.prompt_tokens
                self.completion_tokens += one.usage.completion_tokens
            if one.reply_key is not None:
                priced = self.cost is not None and one.usage.cost_usd is not None
                self.cost = (self.cost or 0.0) + (one.usage.cost_usd or 0.0) if priced else None
        if self._on_progress is not None:
            self._on_progress(self.written + self.unreadable + self.failed, self._total)

    def report(self, writer: DefinitionWriter) -> DefinitionReport:
        return DefinitionReport(
            judge=writer.identity.name,
            written=self.written,
            unreadable=self.unreadable,
            failed=self.failed,
            dropped=self.dropped,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cost_usd=self.cost,
        )


async def _write_chunk(
    workspace: Workspace,
    writer: DefinitionWriter,
    asked: list[DefinitionRequest],
    *,
    judge_id: int,
    tally: _Tally,
    should_cancel: Callable[[], bool] | None,
) -> None:
    batch: list[WrittenDefinition] = []

    def store() -> None:
        with workspace.sessions.begin() as session:
            now = workspace.now()
            new = []
            for one in batch:
                # A person may have written one in the meantime: then theirs holds, and the LLM's is not stored.
                if one.text is None or definition_queries.list_versions(session, one.query_id):
                    continue
                definition_queries.add_version(
                    session, query_id=one.query_id, text=one.text, judge_id=judge_id, now=now
                )
                new.append(one.query_id)
            dropped = definition_queries.drop_acceptance(session, new, now=now) if new else 0
        tally.add(batch, dropped=dropped)
        batch.clear()

    async with aclosing(cast("Any", writer.write(asked))) as results:
        try:
            async for one in results:
                batch.append(one)
                if len(batch) >= _STORE_EVERY:
                    store()
                    if should_cancel is not None and should_cancel():
                        return
        finally:
            if batch:
                store()


def _view(query: Query, records: list[DefinitionRecord]) -> QueryDefinitions:
    return QueryDefinitions(
        query_id=query.external_id,
        query=query.text,
        versions=tuple(
            DefinitionVersion(
                version=record.definition.version,
                text=record.definition.text,
                author=record.person or record.judge or "imported",
                created_at=record.definition.created_at,
            )
            for record in records
        ),
    )
