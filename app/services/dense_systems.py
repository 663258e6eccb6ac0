"""Whose cosine and rank speak for a pair that several models found: models pool one after the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.indexing import BM25, dense_system, encoder_model
from db.models import ModelVersion
from db.queries.registry import get_live


def list_dense_systems(session: Session) -> tuple[str, ...]:
    """The systems of the live model, of its encoder where it is an adapter, and of the other models, newest first."""
    live = get_live(session)
    first = [] if live is None else [live, encoder_model(session, live)]
    others = session.scalars(sa.select(ModelVersion).order_by(ModelVersion.id.desc()))
    return tuple(dict.fromkeys(dense_system(model) for model in (*first, *others)))


def speaking_system(found_by: Collection[str], systems: Sequence[str]) -> str | None:
    """The first of the systems that found a pair; of imported ones, which are in no order, the first by name."""
    ours = (system for system in systems if system in found_by)
    return next(ours, min((system for system in found_by if system != BM25), default=None))
