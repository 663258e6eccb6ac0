"""Pairs that must be judged blind and by nobody's choice: samples of open batches, and spot checks of accepted labels.

A batch is open until its certificates are stored, be they issued or refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from db.enums import CertificateState, Outcome, Split, Visibility
from db.models import (
    Batch,
    BatchPair,
    Certificate,
    CertificateEvent,
    Decision,
    Pair,
    PairState,
    QueryCluster,
    Review,
    SeenPair,
    SpotCheck,
)
from db.queries.standing import GRADING, revoked_people, standing_reviews

PEOPLE_ONLY = (Split.CALIBRATE, Split.HELD_OUT)
"""Splits whose questions people judge blind: what a judge proposed for them is neither routed nor shown. Proposals on
calibrate questions are there to fit calibrators, those on held-out ones come from imported files alone."""


def is_open() -> sa.ColumnElement[bool]:
    """Whether no certificate of the batch is stored yet, to be used beside `Batch`."""
    return ~sa.exists().where(Certificate.batch_id == Batch.id)


def is_suspended() -> sa.ColumnElement[bool]:
    """Whether the certificate was suspended and not given back since, to be used beside `Certificate`."""
    later = aliased(CertificateEvent)
    given_back = sa.exists().where(
        later.certificate_id == CertificateEvent.certificate_id,
        later.id > CertificateEvent.id,
        later.state == CertificateState.ISSUED,
    )
    return sa.exists().where(
        CertificateEvent.certificate_id == Certificate.id,
        CertificateEvent.state == CertificateState.SUSPENDED,
        ~given_back,
    )


@cache
def locked_pairs(criterion: Criterion) -> sa.Select[int]:
    """Ids of the pairs in the samples of open batches: until the certificate is issued or refused, nothing is shown of
    what was proposed for them, and what people say of them feeds nothing else.
    """
    return (
        sa.select(BatchPair.pair_id)
        .join(Batch, Batch.id == BatchPair.batch_id)
        .where(Batch.criterion == criterion, BatchPair.audit_position.is_not(None), is_open())
    )


@cache
def open_batch_pairs(criterion: Criterion) -> sa.Select[int]:
    """Ids of all pairs of open batches, sampled or not: their suggestions are frozen."""
    return (
        sa.select(BatchPair.pair_id)
        .join(Batch, Batch.id == BatchPair.batch_id)
        .where(Batch.criterion == criterion, is_open())
    )


@cache
def audit_answers(criterion: Criterion) -> sa.Select[Review]:
    """Reviews that can answer an audit: blind, graded at the review desk by somebody who is not revoked, and not taken
    back before the proposal was shown. Taken back after it, they count: else everybody could mend their sample.
    """
    undo = aliased(Review)
    shown_after = sa.exists().where(
        SeenPair.pair_id == Review.pair_id,
        SeenPair.criterion == Review.criterion,
        SeenPair.person_id == Review.person_id,
        SeenPair.created_at >= Review.created_at,
    )
    return sa.select(Review).where(
        Review.criterion == criterion,
        Review.visibility == Visibility.BLIND,
        Review.card.is_not(None),
        Review.action.in_(GRADING),
        Review.hidden_check.is_(False),
        Review.person_id.not_in(revoked_people()),
        sa.or_(~sa.exists().where(undo.undoes_id == Review.id), shown_after),
    )


@cache
def spot_answers(criterion: Criterion) -> sa.Select[Review]:
    """Reviews that can answer a spot check, to be used beside `SpotCheck`: blind grades of the review desk, given since
    it was drawn, taken back or not. The first of a pair counts for good: after it the proposal may be read.
    """
    return sa.select(Review).where(
        Review.criterion == criterion,
        Review.visibility == Visibility.BLIND,
        Review.card.is_not(None),
        Review.action.in_(GRADING),
        Review.hidden_check.is_(False),
        Review.pair_id == SpotCheck.pair_id,
        Review.created_at >= SpotCheck.created_at,
    )


@cache
def waiting_samples(criterion: Criterion) -> sa.Select[BatchPair]:
    """Sampled pairs of open batches that nobody has answered."""
    answered = audit_answers(criterion).where(Review.pair_id == BatchPair.pair_id).exists()
    return (
        sa.select(BatchPair)
        .join(Batch, Batch.id == BatchPair.batch_id)
        .where(Batch.criterion == criterion, BatchPair.audit_position.is_not(None), is_open(), ~answered)
    )


@cache
def waiting_spot_checks(criterion: Criterion) -> sa.Select[SpotCheck]:
    """Spot checks of certificates in force that nobody ever answered, of pairs still accepted under them.

    Looked for from the spot checks on, which are few, and never from the pairs: a card waits for the answer.
    """
    touched = (
        standing_reviews(criterion).where(Review.pair_id == SpotCheck.pair_id, Review.action.in_(GRADING)).exists()
    )
    accepted = sa.exists().where(
        PairState.pair_id == SpotCheck.pair_id,
        PairState.criterion == criterion,
        PairState.outcome == Outcome.ACCEPTED,
        Decision.id == PairState.decision_id,
        Decision.certificate_id == SpotCheck.certificate_id,
    )
    in_force = sa.select(Certificate.id).where(Certificate.criterion == criterion, ~is_suspended())
    return sa.select(SpotCheck).where(
        SpotCheck.certificate_id.in_(in_force),
        ~touched,
        ~spot_answers(criterion).correlate(SpotCheck).exists(),
        accepted.correlate(SpotCheck),
    )


def is_concealed(
    criterion: Criterion,
    *,
    pair_id: sa.ColumnElement[int] | None = None,
    split: sa.ColumnElement[Split | None] | None = None,
) -> sa.ColumnElement[bool]:
    """Whether people judge the pair blind, to be used beside `Pair` and its `QueryCluster`, or beside columns that hold
    the pair's id and its query's split: nothing that was proposed for it may be shown, and no list narrowed by it.
    """
    of_split = QueryCluster.split.expression if split is None else split
    return sa.or_(
        of_split.is_not(None) & of_split.in_(PEOPLE_ONLY),
        is_drawn(Pair.id if pair_id is None else pair_id, criterion),
    )


def is_drawn(pair_id: Any, criterion: Criterion) -> sa.ColumnElement[bool]:
    """Whether the pair with that id, a column of the query around it, is in an open sample or a spot check that waits.

    Asked of one row at a time, by the pair's own index: the samples of a large workspace are never listed for it.
    """
    around = pair_id.class_ if hasattr(pair_id, "class_") else pair_id.table
    sampled = locked_pairs(criterion).where(BatchPair.pair_id == pair_id).correlate(around)
    checked = waiting_spot_checks(criterion).where(SpotCheck.pair_id == pair_id).correlate(around)
    return sa.or_(sampled.exists(), checked.exists())


@dataclass(frozen=True, slots=True)
class BlindPair:
    """Why a pair is judged blind: the batch whose sample it is in, or the certificate that it checks."""

    batch_id: int | None
    certificate_id: int | None


def get_blind_pair(session: Session, *, pair_id: int, criterion: Criterion) -> BlindPair | None:
    """Whether the pair is in an open sample or a spot check that waits; None when it is in neither."""
    sampled, checking = _blind_statements(criterion)
    batch_id = session.scalar(sampled, {"pair": pair_id})
    if batch_id is not None:
        return BlindPair(batch_id, None)
    check = session.scalar(checking, {"pair": pair_id})
    return None if check is None else BlindPair(None, check)


@cache
def _blind_statements(criterion: Criterion) -> tuple[sa.Select[int], sa.Select[int]]:
    """The open batch whose sample the pair :pair is in, and the certificate that it is a waiting spot check of."""
    sampled = locked_pairs(criterion).where(BatchPair.pair_id == sa.bindparam("pair"))
    checking = waiting_spot_checks(criterion).where(SpotCheck.pair_id == sa.bindparam("pair"))
    return (
        sampled.with_only_columns(BatchPair.batch_id).limit(1),
        checking.with_only_columns(SpotCheck.certificate_id).limit(1),
    )
