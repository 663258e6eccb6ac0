"""Full-text search over questions, passages and the reasons of suggestions: the pairs that hold given words.

All words must stand in the question, or all in the passage with its title, or all in the reason of the current
suggestion; the last one may be unfinished, and what stands in quotes stands together. Case does not count, nor accents
on SQLite. Scripts without spaces between words, and Korean, are cut into characters, so that a word of them is a phrase
and is found wherever it stands. How the indexes are kept is in migration 0009.

Reasons of pairs that people judge blind are not searched: being found would tell what was proposed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from db.errors import SearchTooLong
from db.models import Pair, PairFacts, PairState, Passage, Query, Suggestion
from db.queries.audits import is_concealed

Field = Literal["query", "passage", "reason"]
FIELDS: tuple[Field, ...] = ("query", "passage", "reason")

MAX_WORDS = 64
"""Words that a search has at most; one with more is refused. Our choice: longer than most questions, quick to parse."""
MAX_WORD = 200
"""Characters of one word that count; PostgreSQL refuses words of more than 2,046 bytes."""

FREQUENT = 200_000
"""Pairs from which on words count as frequent. Our choice: so many are found in a second, and asking pair by pair fills
a page sooner only where one in five or so holds the words."""

_SEARCHED: dict[str, tuple[sa.orm.InstrumentedAttribute[int], sa.ColumnElement[str]]] = {
    "query": (Query.id, Query.text.expression),
    "passage": (Passage.id, Passage.title + " " + Passage.text),
    "suggestion": (Suggestion.id, Suggestion.reason.expression),
}
"""What is indexed on PostgreSQL, written as in migration 0009: an index answers for its own expression only."""

_CHUNKS = re.compile(r'"([^"]*)"?|([^\s"]+)')
_SPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff])"
)


@dataclass(frozen=True, slots=True)
class Term:
    """Words that stand together, letters and digits only; `starts`: the last of them may be unfinished."""

    words: tuple[str, ...]
    starts: bool


def terms_of(text: str) -> tuple[Term, ...]:
    """What is looked for, cut as the indexes cut what they hold; empty when there is no letter and no digit in it.

    Raises:
        SearchTooLong: there are more than `MAX_WORDS` words in it, or more characters than so many can have.
    """
    if len(text) > MAX_WORDS * MAX_WORD:
        raise _too_long(f"{len(text):,} characters")
    terms: list[Term] = []
    chunks = list(_CHUNKS.finditer(text))
    for number, chunk in enumerate(chunks, start=1):
        quoted = chunk.group(1) is not None
        words = tuple(word[:MAX_WORD] for word in _cut(chunk.group(0)).split())
        if words:
            terms.append(Term(words, starts=number == len(chunks) and not quoted))
    n_words = sum(len(term.words) for term in terms)
    if n_words > MAX_WORDS:
        raise _too_long(f"{n_words} words")
    return tuple(terms)


def _too_long(has: str) -> SearchTooLong:
    return SearchTooLong(
        f"a search takes at most {MAX_WORDS} words, this one has {has}",
        user_message=f"The search takes at most {MAX_WORDS} words (in Chinese, Japanese, Korean and the like: "
        f"characters), and this one has {has}. Leave some out.",
    )


def _cut(text: str) -> str:
    kept = "".join(char if unicodedata.category(char)[0] in "LNM" else " " for char in text)
    return _SPACED.sub(r" \1 ", kept)


def matching_pairs(
    session: Session, text: str, *, criterion: Criterion, within: Collection[Field] = FIELDS
) -> sa.Select[int]:
    """Ids of the pairs whose question, passage or current reason holds the words, for `in_()`; no order, no repeats.

    A text without a letter or digit finds nothing; one that is blank is no search, and callers leave it out.
    """
    terms = terms_of(text)
    if not terms:
        return sa.select(Pair.id).where(sa.false())
    parts = _parts(session, terms, criterion=criterion, within=within)
    if len(parts) == 1:
        return parts[0]
    found = sa.union(*parts).subquery()
    return sa.select(found.c[0])


def matches(
    session: Session,
    text: str,
    *,
    pair_id: sa.ColumnElement[int],
    criterion: Criterion,
    within: Collection[Field] = FIELDS,
) -> sa.ColumnElement[bool]:
    """Whether the pair of that id is one of `matching_pairs`, as a condition that is quick where a page is wanted.

    Rare words are looked up first and the pairs found by them. With frequent ones (more than `FREQUENT` pairs, told by
    one look into the index) that would read half the workspace for one page: then each pair that comes up is asked.
    """
    wanted = matching_pairs(session, text, criterion=criterion, within=within)
    terms = terms_of(text)
    if not terms or session.get_bind().dialect.name != "sqlite":
        return pair_id.in_(wanted)
    left = FREQUENT
    for part in _parts(session, terms, criterion=criterion, within=within):
        some = part.limit(left + 1).subquery()
        left -= session.scalar(sa.select(sa.func.count()).select_from(some)) or 0
        if left < 0:
            return _asked(terms, pair_id=pair_id, criterion=criterion, within=within)
    return pair_id.in_(wanted)


def _parts(
    session: Session, terms: tuple[Term, ...], *, criterion: Criterion, within: Collection[Field]
) -> list[sa.Select[int]]:
    pair = aliased(Pair)
    parts: list[sa.Select[int]] = []
    if "query" in within:
        found = rows_holding(session, "query", terms).subquery()
        parts.append(sa.select(pair.id).join(found, found.c[0] == pair.query_id))
    if "passage" in within:
        found = rows_holding(session, "passage", terms).subquery()
        parts.append(sa.select(pair.id).join(found, found.c[0] == pair.passage_id))
    if "reason" in within:
        found, said = rows_holding(session, "suggestion", terms).subquery(), aliased(Suggestion)
        parts.append(
            sa.select(said.pair_id).join(found, found.c[0] == said.id).where(is_readable(said, criterion=criterion))
        )
    return parts


def is_readable(said: type[Suggestion], *, criterion: Criterion) -> sa.ColumnElement[bool]:
    """That a suggestion is its pair's current one, and nobody judges the pair blind."""
    state, facts = aliased(PairState), aliased(PairFacts)
    id_, split = facts.pair_id.expression, facts.split.expression
    return sa.exists(
        sa.select(1).where(
            state.pair_id == said.pair_id,
            state.criterion == criterion,
            state.suggestion_id == said.id,
            facts.pair_id == said.pair_id,
            facts.criterion == criterion,
            sa.not_(is_concealed(criterion, pair_id=id_, split=split)),
        )
    )


def pair_holds(
    session: Session,
    text: str,
    *,
    pair_id: sa.ColumnElement[int],
    criterion: Criterion,
    within: Collection[Field] = FIELDS,
) -> sa.ColumnElement[bool]:
    """The same condition for a single pair."""
    terms = terms_of(text)
    if not terms or session.get_bind().dialect.name != "sqlite":
        return pair_id.in_(matching_pairs(session, text, criterion=criterion, within=within))
    return _asked(terms, pair_id=pair_id, criterion=criterion, within=within)


def _asked(
    terms: tuple[Term, ...], *, pair_id: sa.ColumnElement[int], criterion: Criterion, within: Collection[Field]
) -> sa.ColumnElement[bool]:
    """The same condition, asked of one pair at a time: SQLite looks into its index for that row alone."""
    pair = aliased(Pair)
    ways: list[sa.ColumnElement[bool]] = []

    def holds(table: str, row: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
        index, whole = _index(table)
        return sa.exists(sa.select(1).select_from(index).where(whole.op("MATCH")(_match(terms)), index.c.rowid == row))

    if "query" in within:
        ways.append(holds("query", pair.query_id.expression))
    if "passage" in within:
        ways.append(holds("passage", pair.passage_id.expression))
    if "reason" in within:
        said, current = aliased(Suggestion), aliased(PairState)
        ways.append(
            sa.exists(
                sa.select(1)
                .select_from(said)
                .where(
                    said.id
                    == sa.select(current.suggestion_id)
                    .where(current.pair_id == pair.id, current.criterion == criterion)
                    .scalar_subquery(),
                    holds("suggestion", said.id.expression),
                    is_readable(said, criterion=criterion),
                )
            )
        )
    return sa.exists(sa.select(1).select_from(pair).where(pair.id == pair_id, sa.or_(*ways)))


def _index(table: str) -> tuple[sa.TableClause, sa.ColumnElement[str]]:
    whole: sa.ColumnElement[str] = sa.literal_column(f"search_{table}", sa.String)
    return sa.table(f"search_{table}", sa.column("rowid", sa.Integer)), whole


def found_rows(session: Session, field: Field, terms: tuple[Term, ...]) -> sa.Select[int]:
    """Ids of the questions, passages or suggestions (of a reason) that hold all the terms; no order, no repeats."""
    return rows_holding(session, "suggestion" if field == "reason" else field, terms)


def rows_holding(
    session: Session, table: Literal["query", "passage", "suggestion"], terms: tuple[Term, ...]
) -> sa.Select[int]:
    """Ids of the rows of one table that hold all the terms; suggestions old and new, also those not to be shown."""
    if session.get_bind().dialect.name == "sqlite":
        index, whole = _index(table)
        return sa.select(index.c.rowid).where(whole.op("MATCH")(_match(terms)))
    id_, words = _SEARCHED[table]
    wanted: sa.ColumnElement[str] | None = None
    for term in terms:
        phrase = sa.func.relabel_phrase(" ".join(term.words), term.starts)
        wanted = phrase if wanted is None else wanted.op("&&")(phrase)
    return sa.select(id_).where(sa.func.relabel_words(words).op("@@")(wanted))


def _match(terms: tuple[Term, ...]) -> str:
    """The terms in the language of FTS5; every word stands in quotes, so none is an operator."""
    return " AND ".join(f'"{" ".join(term.words)}"{" *" if term.starts else ""}' for term in terms)
