"""What keeps a large workspace quick: kept facts of every pair, kept counts of them, and what stands outside models.

All of it is derived, and written by triggers alone (migration 0010), whatever else writes; `db/queries/counters.py`
reads it, compares it with what it was derived from, and makes it anew.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from annotator.types import Criterion, SuggestionStatus
from db.base import Base
from db.enums import LabelSource, Outcome, Split

_NO_ROWID = {"sqlite_with_rowid": False}


def _word_of(enum: type) -> sa.Enum:
    """Words of an enum without a check: the columns they are copied from have one."""
    return sa.Enum(enum, values_callable=lambda members: [str(m.value) for m in members], native_enum=False, length=32)


class PairFacts(Base):
    """What lists are filtered by, of one pair under one criterion, in one narrow row; there is one for each state.

    status to confidence: of the current suggestion; certified: a certificate stands behind the decision; person_id:
    whose grade stands; candidate: whether the pair was put up for judging.
    """

    __tablename__ = "pair_facts"
    __table_args__ = (_NO_ROWID,)

    criterion: Mapped[Criterion] = mapped_column(_word_of(Criterion), primary_key=True)
    pair_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    split: Mapped[Split | None] = mapped_column(_word_of(Split))
    status: Mapped[SuggestionStatus | None] = mapped_column(_word_of(SuggestionStatus))
    judge_id: Mapped[int | None]
    grade: Mapped[int | None]
    confidence: Mapped[float | None]
    outcome: Mapped[Outcome | None] = mapped_column(_word_of(Outcome))
    certified: Mapped[bool]
    person_id: Mapped[int | None]
    curated_grade: Mapped[int | None]
    curated_source: Mapped[LabelSource | None] = mapped_column(_word_of(LabelSource))
    candidate: Mapped[bool]
    disputed: Mapped[bool]
    flagged: Mapped[bool]


class PairCount(Base):
    """How many pairs share these facts: the sum of `n` over `slot`.

    None is "" among words, 0 among ids and -1 as a grade, since no part of a key is NULL. On SQLite `slot` is 0; on
    PostgreSQL it is the connection that counted, so that nobody waits for another's row.
    """

    __tablename__ = "pair_count"
    __table_args__ = (_NO_ROWID,)

    criterion: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    split: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    status: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    outcome: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    curated_source: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    judge_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    person_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    curated_grade: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    certified: Mapped[bool] = mapped_column(primary_key=True)
    candidate: Mapped[bool] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(sa.BigInteger)


class CandidateCount(Base):
    """How many candidates there are of the queries of one split ("" for none): the sum of `n` over `slot`."""

    __tablename__ = "candidate_count"
    __table_args__ = (_NO_ROWID,)

    split: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(sa.BigInteger)


class UsageCount(Base):
    """What all suggestions used: tokens, billionths of a US dollar, and how many used tokens at no known price."""

    __tablename__ = "usage_count"
    __table_args__ = (_NO_ROWID,)

    criterion: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    prompt_tokens: Mapped[int] = mapped_column(sa.BigInteger)
    completion_tokens: Mapped[int] = mapped_column(sa.BigInteger)
    nano_usd: Mapped[int] = mapped_column(sa.BigInteger)
    unpriced: Mapped[int] = mapped_column(sa.BigInteger)


def is_modelled(name: str | None, kind: str, parents: MutableMapping[Any, str | None]) -> bool:
    """Whether a table or index of the database is one that the models describe; for Alembic's `include_name`.

    Full-text indexes (`search_…`) are made in migration 0009 and have no model: no row of them is ever read.
    """
    return not (name is not None and kind in ("table", "index") and name.startswith("search_"))
