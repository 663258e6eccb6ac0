"""Passages, queries and their clusters: found by their own ids, added and corrected many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.enums import Split
from db.models import Definition, GeneratedQuestion, Pair, Passage, Query, QueryCluster, Review, Suggestion
from db.queries.corpus_state import mark_changed

STREAM_ROWS = 2000


@dataclass(frozen=True, slots=True)
class KnownPassage:
    id: int
    text_hash: str
    source_id: int


@dataclass(frozen=True, slots=True)
class KnownQuery:
    id: int
    text: str
    cluster_id: int
    split: Split | None
    source_id: int


@dataclass(frozen=True, slots=True)
class PassageRow:
    external_id: str
    title: str
    text: str

    @property
    def text_hash(self) -> str:
        return passage_hash(self.title, self.text)


@dataclass(frozen=True, slots=True)
class QueryRow:
    external_id: str
    text: str
    text_key: str
    cluster_id: int


def passage_hash(title: str, text: str) -> str:
    """What a passage says, as 64 hexadecimal digits; title and text cannot be shifted into each other."""
    return sha256(f"{len(title)}\n{title}\n{text}".encode()).hexdigest()


def find_passages(session: Session, external_ids: Sequence[str]) -> dict[str, KnownPassage]:
    """The passages with these ids, by id."""
    rows = session.execute(
        sa.select(Passage.external_id, Passage.id, Passage.text_hash, Passage.source_id).where(
            Passage.external_id.in_(external_ids)
        )
    )
    return {row.external_id: KnownPassage(row.id, row.text_hash, row.source_id) for row in rows}


def find_queries(session: Session, external_ids: Sequence[str]) -> dict[str, KnownQuery]:
    """The queries with these ids, by id, with the split of their cluster."""
    rows = session.execute(
        sa.select(Query.external_id, Query.id, Query.text, Query.cluster_id, QueryCluster.split, Query.source_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(Query.external_id.in_(external_ids))
    )
    return {row.external_id: KnownQuery(row.id, row.text, row.cluster_id, row.split, row.source_id) for row in rows}


def passage_ids(session: Session, external_ids: Sequence[str]) -> dict[str, int]:
    """External id -> id."""
    rows = session.execute(sa.select(Passage.external_id, Passage.id).where(Passage.external_id.in_(external_ids)))
    return {external_id: passage_id for external_id, passage_id in rows}


def query_ids(session: Session, external_ids: Sequence[str]) -> dict[str, int]:
    """External id -> id."""
    rows = session.execute(sa.select(Query.external_id, Query.id).where(Query.external_id.in_(external_ids)))
    return {external_id: query_id for external_id, query_id in rows}


def add_passages(session: Session, rows: Iterable[PassageRow], *, source_id: int, now: datetime) -> None:
    values = [
        {
            "external_id": row.external_id,
            "title": row.title,
            "text": row.text,
            "text_hash": row.text_hash,
            "source_id": source_id,
            "created_at": now,
        }
        for row in rows
    ]
    if values:
        mark_changed(session, now=now)
        session.execute(sa.insert(Passage.__table__), values)  # type: ignore[arg-type]


def correct_passages(session: Session, rows: Mapping[int, PassageRow], *, now: datetime) -> None:
    """Puts new titles and texts in place of the old, by the passages' ids."""
    if rows:
        mark_changed(session, now=now)
    for passage_id, row in rows.items():
        session.execute(
            sa.update(Passage)
            .where(Passage.id == passage_id)
            .values(title=row.title, text=row.text, text_hash=row.text_hash)
            .execution_options(synchronize_session=False)
        )


def judged_passages(session: Session, passage_ids: Sequence[int]) -> set[int]:
    """Those that anybody ever judged, any judge made a suggestion for, or a question was written from."""
    if not passage_ids:
        return set()
    about = sa.or_(sa.exists().where(Review.pair_id == Pair.id), sa.exists().where(Suggestion.pair_id == Pair.id))
    judged = sa.select(Pair.passage_id).where(Pair.passage_id.in_(passage_ids), about)
    asked = sa.select(GeneratedQuestion.passage_id).where(GeneratedQuestion.passage_id.in_(passage_ids))
    return set(session.scalars(judged.union(asked)))


def count_passages(session: Session, *, source_id: int | None = None) -> int:
    query = sa.select(sa.func.count()).select_from(Passage)
    if source_id is not None:
        query = query.where(Passage.source_id == source_id)
    return session.execute(query).scalar_one()


def add_clusters(session: Session, n: int) -> list[int]:
    """Makes n clusters without a split; their ids."""
    if not n:
        return []
    return list(session.scalars(sa.insert(QueryCluster).returning(QueryCluster.id), [{"split": None}] * n))


def add_queries(session: Session, rows: Iterable[QueryRow], *, source_id: int, now: datetime) -> None:
    values = [
        {
            "external_id": row.external_id,
            "text": row.text,
            "text_key": row.text_key,
            "cluster_id": row.cluster_id,
            "source_id": source_id,
            "created_at": now,
        }
        for row in rows
    ]
    if values:
        session.execute(sa.insert(Query.__table__), values)  # type: ignore[arg-type]


def correct_query(session: Session, *, query_id: int, text: str, text_key: str) -> None:
    """Puts the query's new text in place of the old; its cluster stays."""
    session.execute(
        sa.update(Query)
        .where(Query.id == query_id)
        .values(text=text, text_key=text_key)
        .execution_options(synchronize_session=False)
    )


def has_reviews(session: Session, *, query_id: int) -> bool:
    """Whether anybody ever judged a passage for this query."""
    reviewed = sa.exists().where(Pair.query_id == query_id, Review.pair_id == Pair.id)
    return bool(session.scalar(sa.select(reviewed)))


def stream_query_texts(session: Session) -> Iterator[tuple[str, int, Split | None]]:
    """Text, cluster and split of every query, a few at a time."""
    rows = session.execute(
        sa.select(Query.text, Query.cluster_id, QueryCluster.split)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .order_by(Query.id)
        .execution_options(yield_per=STREAM_ROWS)
    )
    for text, cluster_id, split in rows:
        yield text, cluster_id, split


def set_splits(session: Session, cluster_ids: Sequence[int], split: Split) -> None:
    """Gives these clusters the split; those that have one keep theirs."""
    for start in range(0, len(cluster_ids), STREAM_ROWS):
        session.execute(
            sa.update(QueryCluster)
            .where(QueryCluster.id.in_(cluster_ids[start : start + STREAM_ROWS]), QueryCluster.split.is_(None))
            .values(split=split)
            .execution_options(synchronize_session=False)
        )


def add_definition(session: Session, *, query_id: int, text: str, now: datetime) -> bool:
    """Appends the definition unless the query ever had this very one, so that a repeat does not undo a later edit."""
    known = session.execute(sa.select(Definition.version, Definition.text).where(Definition.query_id == query_id)).all()
    if any(old == text for _, old in known):
        return False
    version = max((number for number, _ in known), default=0) + 1
    session.add(Definition(query_id=query_id, version=version, text=text, created_at=now))
    session.flush()
    return True
