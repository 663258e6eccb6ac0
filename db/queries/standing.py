"""What stands for a pair: the reviews nobody took back, and its state, held while somebody changes it.

Whose words stand is said here alone: what a revoked person judged, or a revoked judge proposed, is kept and counts for
nothing. How somebody is revoked and given back is in `revoking.py`.

Statements that depend on nothing but the criterion are made once and kept: making one takes longer than running it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import cache

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, object_session

from annotator.types import Criterion, JudgeKind
from db.enums import LabelSource, Outcome, ReviewAction, RevocationAct
from db.models import Decision, JudgeRow, Pair, PairState, Person, Review, Revocation, Suggestion
from db.queries.row_locks import locks_rows

GRADING = (ReviewAction.GRADE, ReviewAction.ADJUDICATE)


@cache
def standing_reviews(criterion: Criterion) -> sa.Select[Review]:
    """Reviews that nobody took back, of one criterion, of people who are not revoked; no answers to hidden checks,
    which count for nothing but how well a person works.
    """
    return standing_answers(criterion).where(Review.hidden_check.is_(False), Review.person_id.not_in(revoked_people()))


@cache
def standing_answers(criterion: Criterion) -> sa.Select[Review]:
    """All that people did with pairs and did not take back, hidden checks and revoked people included."""
    undo = aliased(Review)
    return sa.select(Review).where(
        Review.criterion == criterion,
        Review.action != ReviewAction.UNDO,
        ~sa.exists().where(undo.undoes_id == Review.id),
    )


@cache
def revoked_people() -> sa.Select[int]:
    """Ids of the people whose newest revocation holds, as part of a larger query."""
    return _revoked(Revocation.reviewer_id)


@cache
def revoked_judges() -> sa.Select[int]:
    """Ids of the judges whose newest revocation holds, as part of a larger query."""
    return _revoked(Revocation.judge_id)


def _revoked(column: sa.orm.InstrumentedAttribute[int | None]) -> sa.Select[int]:
    newest = sa.select(sa.func.max(Revocation.id)).where(column.is_not(None)).group_by(column)
    # The columns are named again in a table of their own: a query about revocations may have this one inside.
    row = aliased(Revocation)
    return sa.select(getattr(row, column.key)).where(row.id.in_(newest), row.act == RevocationAct.REVOKE)


def is_person_revoked(session: Session, person_id: int) -> bool:
    """Whether what this person judges stands no more; nobody revokes them or gives them back until we are done."""
    session.execute(sa.select(Person.id).where(Person.id == person_id).with_for_update(key_share=True))
    return person_id in set(session.scalars(revoked_people()))


def list_revoked_among(session: Session, judge_ids: Collection[int]) -> set[int]:
    """Those of the judges that are revoked; nobody revokes them or gives them back until we are done.

    To be called before pairs are held, so that nobody waits in a circle.
    """
    wanted = sorted(set(judge_ids))
    held = sa.select(JudgeRow.id).where(JudgeRow.id.in_(wanted)).order_by(JudgeRow.id)
    session.execute(held.with_for_update(read=True, key_share=True))
    return set(wanted) & set(session.scalars(revoked_judges()))


def get_standing_review(session: Session, *, pair_id: int, criterion: Criterion) -> Review | None:
    """The grade that holds for a pair: the latest adjudication, else the latest review; None when nobody graded it."""
    return session.scalar(
        standing_reviews(criterion)
        .where(Review.pair_id == pair_id, Review.action.in_(GRADING))
        .order_by((Review.action == ReviewAction.ADJUDICATE).desc(), Review.id.desc())
        .limit(1)
    )


def locked_states(
    session: Session, *, pair_ids: Collection[int], criterion: Criterion, now: datetime
) -> dict[int, PairState]:
    """The states of these pairs, made where missing, held until the transaction ends.

    Whoever changes a state reads it through here: a state computed from what was read before another transaction
    committed would put the older label in place of the newer one.
    """
    states: dict[int, PairState] = {}
    wanted = sorted(set(pair_ids))
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        # The pair's own row first, which is there before any state is; in id order, so that nobody waits in a circle.
        if locks_rows(session):
            session.execute(_PAIRS_HELD, {"pairs": some})
        found = session.scalars(_STATES_HELD, {"pairs": some, "criterion": criterion})
        states.update((state.pair_id, state) for state in found)
    for pair_id in wanted:
        if pair_id not in states:
            states[pair_id] = PairState(pair_id=pair_id, criterion=criterion, updated_at=now)
            session.add(states[pair_id])
    return states


_PAIRS_HELD = (
    sa.select(Pair.id)
    .where(Pair.id.in_(sa.bindparam("pairs", expanding=True)))
    .order_by(Pair.id)
    .with_for_update(key_share=True)
)
_STATES_HELD = (
    sa.select(PairState)
    .where(
        PairState.pair_id.in_(sa.bindparam("pairs", expanding=True)),
        PairState.criterion == sa.bindparam("criterion"),
    )
    .order_by(PairState.pair_id)
    .with_for_update()
    .execution_options(populate_existing=True)
)


def set_decision(state: PairState, decision: Decision, suggestion: Suggestion, *, now: datetime) -> None:
    """Records the latest decision about a pair's current suggestion; a person's grade stays above it."""
    accepted = decision.outcome is Outcome.ACCEPTED
    source = accepted_source(suggestion) if accepted else None
    state.decision_id, state.outcome, state.updated_at = decision.id, decision.outcome, now
    if state.review_id is None:
        state.curated_grade, state.curated_source = suggestion.grade if accepted else None, source


def load_suggestions(session: Session, suggestion_ids: Collection[int]) -> dict[int, Suggestion]:
    """Suggestions by id, a few hundred a query."""
    found: dict[int, Suggestion] = {}
    wanted = sorted(set(suggestion_ids))
    for start in range(0, len(wanted), 500):
        rows = session.scalars(sa.select(Suggestion).where(Suggestion.id.in_(wanted[start : start + 500])))
        found.update((suggestion.id, suggestion) for suggestion in rows)
    return found


def accepted_source(suggestion: Suggestion) -> LabelSource:
    """Who stands behind a suggestion that is accepted: the retriever itself, or another judge."""
    session = object_session(suggestion)
    judge = None if session is None else session.get(JudgeRow, suggestion.judge_id)
    return LabelSource.SELF if judge is not None and judge.kind is JudgeKind.RETRIEVER else LabelSource.ACCEPTED
