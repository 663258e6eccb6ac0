"""Words looked for in the queue: which of its pairs hold them, some at a time, in the order that was chosen.

What holds the words is the same for everybody, so the places found are remembered by whoever asks (`DeskMemory`) and
asked for by place afterwards. Rare words are looked up first and their pairs put in order; with frequent ones the queue
is walked in its order until enough is found, for there are far too many pairs to be put in order for one card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.models import Pair, PairState, QueueEntry, Suggestion
from db.queries.queue import active_version, open_entries
from db.queries.queue_next import QueueFilter
from db.queries.text_search import Term, is_readable, matching_pairs, pair_holds, rows_holding, terms_of

SOME = 64
"""Places that are found at once. Our choice: what a search costs, it costs once in so many cards."""

RARE: Mapping[Literal["query", "passage", "suggestion"], int] = {"query": 40, "passage": 1_000, "suggestion": 2_000}
"""Rows up to which words are rare. Our choice: a question has some fifty pairs and a passage some five, so that at most
some 9,000 pairs are put in order; more frequent words are met among the first thousands of a long queue."""


@dataclass(frozen=True, slots=True)
class Match:
    """A place of the queue whose pair holds the words. `said`: the suggestion whose reason alone holds them."""

    place: int
    said: int | None


def list_matches(
    session: Session, *, criterion: Criterion, chosen: QueueFilter, after: int, most: int = SOME
) -> list[Match]:
    """The next places behind `after` whose pairs want somebody and hold the words of `chosen`, in its order.

    Reasons of pairs that people judge blind are not searched, nor any where `chosen` says so.
    """
    terms = terms_of(chosen.words)
    if not terms:
        return []
    told = _question_or_passage(session, terms)
    reasons = "reason" in chosen.fields
    said = sa.case((told, None), else_=PairState.suggestion_id) if reasons else sa.null()
    found = (
        open_entries(criterion)
        .join(Pair, Pair.id == QueueEntry.pair_id)
        .outerjoin(PairState, sa.and_(PairState.pair_id == QueueEntry.pair_id, PairState.criterion == criterion))
        .where(*chosen.conditions)
        .with_only_columns(chosen.place, said)
        .limit(most)
    )
    if _are_rare(session, terms):
        # A sum is in no index: the order is made of what was found, and not the queue walked in it.
        place = chosen.place + sa.literal_column("0")
        held = QueueEntry.pair_id.in_(matching_pairs(session, chosen.words, criterion=criterion, within=chosen.fields))
        found = found.where(held, place > after).order_by(place)
    else:
        reason = sa.and_(
            PairState.suggestion_id.in_(rows_holding(session, "suggestion", terms)),
            sa.exists(
                sa.select(1)
                .select_from(Suggestion)
                .where(Suggestion.id == PairState.suggestion_id, is_readable(Suggestion, criterion=criterion))
                .correlate(PairState)
            ),
        )
        found = found.where(sa.or_(told, reason) if reasons else told, chosen.place > after).order_by(chosen.place)
    rows = session.execute(found, {"version": active_version(session, criterion)})
    return [Match(place, said) for place, said in rows]


def _question_or_passage(session: Session, terms: tuple[Term, ...]) -> sa.ColumnElement[bool]:
    """Whether the question or the passage of `Pair` holds the terms, looked up in lists that are made once."""
    return sa.or_(
        Pair.query_id.in_(rows_holding(session, "query", terms)),
        Pair.passage_id.in_(rows_holding(session, "passage", terms)),
    )


def _are_rare(session: Session, terms: tuple[Term, ...]) -> bool:
    for table, most in RARE.items():
        some = rows_holding(session, table, terms).limit(most + 1).subquery()
        if (session.scalar(sa.select(sa.func.count()).select_from(some)) or 0) > most:
            return False
    return True


def may_be_read(session: Session, *, suggestion_id: int, criterion: Criterion) -> bool:
    """Whether a suggestion is its pair's current one and nobody judges the pair blind: its reason may be searched."""
    wanted = sa.select(Suggestion.id).where(
        Suggestion.id == suggestion_id, is_readable(Suggestion, criterion=criterion)
    )
    return session.scalar(wanted) is not None


def holding_words(session: Session, chosen: QueueFilter, *, criterion: Criterion) -> tuple[sa.ColumnElement[bool], ...]:
    """That the pairs of rows of the queue hold the words, as conditions for a few rows; none where there are none.

    Each of the rows is asked: for frequent words, all pairs that hold them took seconds to list.
    """
    if not chosen.words:
        return ()
    pair_id = QueueEntry.pair_id.expression
    return (pair_holds(session, chosen.words, pair_id=pair_id, criterion=criterion, within=chosen.fields),)


def holds_words(session: Session, chosen: QueueFilter, *, pair_id: int, criterion: Criterion) -> bool:
    """Whether one pair holds the words, as `list_matches` finds it."""
    wanted = sa.select(Pair.id).where(
        Pair.id == pair_id,
        pair_holds(session, chosen.words, pair_id=Pair.id.expression, criterion=criterion, within=chosen.fields),
    )
    return session.scalar(wanted) is not None
