"""Passages as whoever encodes them needs them: what each says by its hash first, texts of some later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Passage


def stream_text_hashes(session: Session) -> Iterator[tuple[int, str, str]]:
    """(id, external id, hash of title and text) of every passage in id order, some thousands in memory at a time."""
    rows = session.execute(
        sa.select(Passage.id, Passage.external_id, Passage.text_hash)
        .order_by(Passage.id)
        .execution_options(yield_per=10_000)
    )
    for row in rows:
        yield row.id, row.external_id, row.text_hash


def read_full_texts(session: Session, passage_ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Hash of title and text, and both joined by a space, of the passages with these ids that are still there."""
    rows = session.execute(
        sa.select(Passage.id, Passage.text_hash, Passage.title, Passage.text).where(Passage.id.in_(passage_ids))
    )
    return {row.id: (row.text_hash, f"{row.title} {row.text}" if row.title else row.text) for row in rows}
