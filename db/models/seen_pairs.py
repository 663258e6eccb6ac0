"""Who has seen what was proposed for which pair."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from annotator.types import Criterion
from db.base import Base, enum_of


class SeenPair(Base):
    """A person was served a card that shows the proposal for a pair; never asked about it blind again."""

    __tablename__ = "seen_pair"

    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True)
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"), primary_key=True)
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"), primary_key=True)
    created_at: Mapped[datetime]
