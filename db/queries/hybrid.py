"""What a hybrid mix is fitted on, and the mixes that were fitted; the newest row of a model holds."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import Split
from db.models import LabelSetItem, Pair, PairState, Passage, Query, QueryCluster
from db.models.retraining import HybridMix
from db.queries.audits import locked_pairs
from db.queries.training import HUMAN


def list_mix_judgements(
    session: Session, *, criterion: Criterion, trained_on: Collection[int]
) -> list[tuple[str, str, str, int]]:
    """(query id, query text, passage id, grade), ids from outside, of what people judged and no model was trained on.

    Calibrate questions, and train questions none of whose near-duplicates has a label in the label sets `trained_on`:
    what the model was trained on it ranks better than what it will be asked, and BM25 does not.
    Samples of open batches are left out: until their certificate is issued they feed nothing else.
    """
    learned = (
        sa.select(Query.cluster_id)
        .join(Pair, Pair.query_id == Query.id)
        .join(LabelSetItem, LabelSetItem.pair_id == Pair.id)
        .where(LabelSetItem.label_set_id.in_(trained_on))
    )
    rows = session.execute(
        sa.select(Query.external_id, Query.text, Passage.external_id, PairState.curated_grade)
        .join(Pair, Pair.query_id == Query.id)
        .join(Passage, Passage.id == Pair.passage_id)
        .join(PairState, PairState.pair_id == Pair.id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(
            QueryCluster.split.in_((Split.TRAIN, Split.CALIBRATE)),
            QueryCluster.id.not_in(learned),
            PairState.criterion == criterion,
            PairState.curated_source.in_(HUMAN),
            PairState.curated_grade.is_not(None),
            PairState.pair_id.not_in(locked_pairs(criterion)),
        )
        .order_by(Query.external_id, Passage.external_id)
    )
    return [(query, text, passage, grade) for query, text, passage, grade in rows if grade is not None]


def list_train_questions(session: Session, *, limit: int) -> list[str]:
    """Texts of at most so many train questions, always the same ones."""
    rows = session.scalars(
        sa.select(Query.text)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(QueryCluster.split == Split.TRAIN)
        .order_by(Query.id)
        .limit(limit)
    )
    return list(rows)


def get_mix(session: Session, *, model_id: int, criterion: Criterion) -> HybridMix | None:
    """The newest mix that was fitted for a model, or None."""
    return session.scalar(
        sa.select(HybridMix)
        .where(HybridMix.model_version_id == model_id, HybridMix.criterion == criterion)
        .order_by(HybridMix.id.desc())
        .limit(1)
    )
