"""The texts of the prompts that were used, by version, and what is needed to render a suggestion's prompt again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from annotator.prompts.loader import shipped_prompts
from annotator.types import Criterion, GradedExample, JudgeIdentity
from db.errors import NotFound
from db.models import Definition, JudgeRow, Pair, Passage, PromptRow, Query, QueryCluster, Review, Suggestion
from db.queries.audits import is_concealed

_VERSION = re.compile(r"\b[0-9a-f]{16}\b")


def remember_prompts(session: Session, identity: JudgeIdentity, *, now: datetime) -> None:
    """Stores the text of every prompt that this judge's identity names and that is not stored yet.

    An identity names prompts by version: its own, and those of its steps or members among its parameters.
    """
    named = set(_VERSION.findall(" ".join([identity.prompt_version, *map(str, identity.parameters.values())])))
    if not named:
        return
    stored = set(session.scalars(sa.select(PromptRow.version).where(PromptRow.version.in_(named))))
    for prompt in shipped_prompts():
        if prompt.version in named - stored:
            row = PromptRow(
                version=prompt.version,
                name=prompt.name,
                criterion=prompt.criterion,
                content=prompt.content,
                created_at=now,
            )
            with suppress(IntegrityError), session.begin_nested():  # another worker may have stored it a moment ago
                session.add(row)


def has_concealed(session: Session, pair_ids: Collection[int]) -> bool:
    """Whether people judge one of these pairs blind, under whichever criterion."""
    blind = sa.or_(*(is_concealed(criterion) for criterion in Criterion))
    found = (
        sa.select(Pair.id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(Pair.id.in_(sorted(set(pair_ids))), blind)
        .limit(1)
    )
    return session.scalar(found) is not None


def get_prompt(session: Session, version: str) -> PromptRow | None:
    """The stored prompt of that version, or None."""
    return session.get(PromptRow, version)


def list_prompts(session: Session) -> list[PromptRow]:
    """Every stored prompt, by name, the newest first."""
    return list(session.scalars(sa.select(PromptRow).order_by(PromptRow.name, PromptRow.created_at.desc())))


def get_suggestion_or_raise(session: Session, suggestion_id: int) -> tuple[Suggestion, JudgeRow]:
    """A suggestion with its judge.

    Raises:
        NotFound: there is none of that id.
    """
    row = session.execute(
        sa.select(Suggestion, JudgeRow)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .where(Suggestion.id == suggestion_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no suggestion {suggestion_id}", user_message="This suggestion does not exist.")
    return row[0], row[1]


@dataclass(frozen=True, slots=True)
class PairTexts:
    """What a judge is shown of a pair, but for the definition."""

    pair_id: int
    query_id: int
    query: str
    title: str
    passage: str


def list_texts(session: Session, pair_ids: Collection[int]) -> dict[int, PairTexts]:
    """The texts of these pairs, by pair id."""
    found: dict[int, PairTexts] = {}
    for some in _in_chunks(pair_ids):
        rows = session.execute(
            sa.select(Pair.id, Query.id, Query.text, Passage.title, Passage.text)
            .join(Query, Query.id == Pair.query_id)
            .join(Passage, Passage.id == Pair.passage_id)
            .where(Pair.id.in_(some))
        )
        found.update((row[0], PairTexts(row[0], row[1], row[2], row[3], row[4])) for row in rows)
    return found


def get_definition_text(session: Session, definition_id: int | None) -> str | None:
    """The text of one version of a definition."""
    return None if definition_id is None else session.get_one(Definition, definition_id).text


def list_examples(session: Session, review_ids: Collection[int]) -> dict[int, GradedExample]:
    """The pairs and grades of these reviews as a judge is shown them, by review id."""
    found: dict[int, GradedExample] = {}
    for some in _in_chunks(review_ids):
        rows = session.execute(
            sa.select(Review.id, Query.text, Passage.title, Passage.text, Review.grade)
            .join(Pair, Pair.id == Review.pair_id)
            .join(Query, Query.id == Pair.query_id)
            .join(Passage, Passage.id == Pair.passage_id)
            .where(Review.id.in_(some), Review.grade.is_not(None))
        )
        found.update((row[0], GradedExample(row[0], row[1], row[2], row[3], row[4] or 0)) for row in rows)
    return found


def _in_chunks(ids: Collection[int]) -> Iterator[list[int]]:
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), 500):
        yield wanted[start : start + 500]
