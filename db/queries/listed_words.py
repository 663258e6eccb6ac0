"""Lists of pairs narrowed to those that hold given words, a page at a time, on a database of any size.

Rare words are looked up first and the pairs found by them. Frequent ones would find half the workspace for one page:
then the list is walked in its order, and each pair is held against what the index found, asked once a list. What counts
as a match is said in `text_search`.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from annotator.types import Criterion
from db.models import Pair, PairFacts, PairState, Passage, Query
from db.queries.audits import is_concealed
from db.queries.text_search import FIELDS, Field, Term, found_rows, matching_pairs, terms_of

FREQUENT = 20_000
"""Pairs, about, from which on words count as frequent. Our choice: as many are found by their words in some 50 ms, and
of a million pairs a page is full after looking at 2,500."""


def in_list(
    session: Session,
    text: str,
    *,
    pair_id: sa.ColumnElement[int],
    criterion: Criterion,
    within: Collection[Field] = FIELDS,
) -> sa.ColumnElement[bool]:
    """Whether the pair of that id is one of `matching_pairs`, as a condition for lists in the order of that id."""
    terms = terms_of(text)
    sqlite = session.get_bind().dialect.name == "sqlite"
    if terms and sqlite and _are_frequent(session, terms, within=within):
        return _held_against(session, terms, pair_id=pair_id, criterion=criterion, within=within)
    return pair_id.in_(matching_pairs(session, text, criterion=criterion, within=within))


def _are_frequent(session: Session, terms: tuple[Term, ...], *, within: Collection[Field]) -> bool:
    """From the rows that hold the terms, which the index counts quickly, and how many pairs a row is in on average."""
    n_pairs = _newest(session, Pair.id)
    expected = 0.0
    tables: tuple[tuple[Field, InstrumentedAttribute[int] | None], ...] = (
        ("query", Query.id),
        ("passage", Passage.id),
        ("reason", None),
    )
    for field, id_ in tables:
        if field in within and expected <= FREQUENT:
            some = found_rows(session, field, terms).subquery()
            n = session.scalar(sa.select(sa.func.count()).select_from(some)) or 0
            expected += n * (1.0 if id_ is None else n_pairs / max(1, _newest(session, id_)))
    return expected > FREQUENT


def _newest(session: Session, id_: InstrumentedAttribute[int]) -> int:
    return session.scalar(sa.select(sa.func.max(id_))) or 0


def _held_against(
    session: Session,
    terms: tuple[Term, ...],
    *,
    pair_id: sa.ColumnElement[int],
    criterion: Criterion,
    within: Collection[Field],
) -> sa.ColumnElement[bool]:
    pair = aliased(Pair)
    ways: list[sa.ColumnElement[bool]] = []
    if "query" in within:
        ways.append(pair.query_id.in_(found_rows(session, "query", terms)))
    if "passage" in within:
        ways.append(pair.passage_id.in_(found_rows(session, "passage", terms)))
    if "reason" in within:
        state, facts = aliased(PairState), aliased(PairFacts)
        id_, split = facts.pair_id.expression, facts.split.expression
        current = (
            sa.select(state.suggestion_id)
            .where(state.pair_id == pair.id, state.criterion == criterion)
            .scalar_subquery()
        )
        open_ = sa.exists(
            sa.select(1).where(
                facts.pair_id == pair.id,
                facts.criterion == criterion,
                sa.not_(is_concealed(criterion, pair_id=id_, split=split)),
            )
        )
        ways.append(sa.and_(current.in_(found_rows(session, "reason", terms)), open_))
    return sa.exists(sa.select(1).select_from(pair).where(pair.id == pair_id, sa.or_(*ways)))
