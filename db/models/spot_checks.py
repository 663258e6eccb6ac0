"""What is looked at again after a certificate was issued."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base


class SpotCheck(Base):
    """An accepted pair drawn at random when its certificate was issued, to be judged blind later; in drawn order."""

    __tablename__ = "spot_check"

    certificate_id: Mapped[int] = mapped_column(sa.ForeignKey("certificate.id"), primary_key=True)
    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True, index=True)
    position: Mapped[int]
    created_at: Mapped[datetime]
