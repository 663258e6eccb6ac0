"""Model versions, indexes and which of them is live."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.enums import ModelStage, PromotionCause
from db.errors import NotFound
from db.models import IndexVersion, LiveModel, ModelVersion, Passage, Promotion


def get_live(session: Session) -> ModelVersion | None:
    """The model that serves, or None before the first."""
    return session.scalar(
        sa.select(ModelVersion).join(LiveModel, LiveModel.model_version_id == ModelVersion.id).where(LiveModel.id == 1)
    )


def lock_live(session: Session) -> None:
    """Keeps the live model as it is until the transaction ends: a promotion decides by it and then replaces it."""
    session.execute(sa.select(LiveModel.id).where(LiveModel.id == 1).with_for_update())


def get_model_or_raise(session: Session, model_id: int) -> ModelVersion:
    """The model version of that id.

    Raises:
        NotFound: there is none.
    """
    model = session.get(ModelVersion, model_id)
    if model is None:
        raise NotFound(f"there is no model version {model_id}", user_message="This model is not in the workspace.")
    return model


def get_model_by_hash(session: Session, model_hash: str) -> ModelVersion | None:
    """The model version of that content hash (or a beginning of it that fits one only)."""
    found = session.scalars(
        sa.select(ModelVersion).where(ModelVersion.hash.startswith(model_hash, autoescape=True)).limit(2)
    ).all()
    return found[0] if len(found) == 1 else None


def latest_candidate(session: Session) -> ModelVersion | None:
    """The newest model that is neither live nor retired."""
    return session.scalar(
        sa.select(ModelVersion)
        .where(ModelVersion.stage == ModelStage.CANDIDATE)
        .order_by(ModelVersion.id.desc())
        .limit(1)
    )


def list_standing_promotions(session: Session) -> list[Promotion]:
    """The promotions that led to the live model, oldest first, without those rolled back: rollbacks pop a stack."""
    standing: list[Promotion] = []
    for promotion in session.scalars(sa.select(Promotion).order_by(Promotion.id)):
        if promotion.cause is PromotionCause.ROLLBACK:
            standing.pop()
        else:
            standing.append(promotion)
    return standing


def get_index(session: Session, *, system: str, corpus_hash: str) -> IndexVersion | None:
    """The finished index of one system over one state of the corpus, or None."""
    return session.scalar(
        sa.select(IndexVersion).where(IndexVersion.system == system, IndexVersion.corpus_hash == corpus_hash)
    )


def list_indexes(session: Session, *, model_id: int, corpus_hash: str) -> list[IndexVersion]:
    """Every index of a model's vectors over one state of the corpus, newest first, however it was encoded."""
    rows = session.scalars(
        sa.select(IndexVersion)
        .where(IndexVersion.model_version_id == model_id, IndexVersion.corpus_hash == corpus_hash)
        .order_by(IndexVersion.id.desc())
    )
    return list(rows)


def hash_corpus(session: Session) -> tuple[str, int]:
    """The hash of all passages (ids and texts, in id order) and how many there are."""
    digest, n = hashlib.sha256(), 0
    rows = session.execute(
        sa.select(Passage.external_id, Passage.text_hash).order_by(Passage.id).execution_options(yield_per=10_000)
    )
    for external_id, text_hash in rows:
        digest.update(hashlib.sha256(external_id.encode()).digest() + text_hash.encode())
        n += 1
    return digest.hexdigest(), n


def stream_passages(session: Session) -> Iterator[tuple[str, str, str]]:
    """(external id, title, text) of every passage in id order, a few thousand in memory at a time."""
    rows = session.execute(
        sa.select(Passage.external_id, Passage.title, Passage.text)
        .order_by(Passage.id)
        .execution_options(yield_per=2_000)
    )
    for row in rows:
        yield row.external_id, row.title, row.text
