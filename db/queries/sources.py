"""Where imported data came from: sources with their scales, refused lines, and judges that proposed elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, JudgeKind
from db.models import ImportRejection, JudgeRow, Source


@dataclass(frozen=True, slots=True)
class RejectionRow:
    file: str
    line: int
    reason: str


def ensure_source(session: Session, name: str, *, layout: str, now: datetime) -> Source:
    """The source of that name, made if new; a known one keeps the layout it came with first."""
    source = session.scalar(sa.select(Source).where(Source.name == name))
    if source is None:
        source = Source(name=name, layout=layout, max_grade=None, scale_mapping={}, created_at=now)
        session.add(source)
        session.flush()
    return source


def set_scale(session: Session, *, source_id: int, max_grade: int, mapping: Mapping[int, int]) -> None:
    """Stores how this source's grades 0..max_grade become the workspace's, beside the mappings of its other scales.

    `scale_mapping` holds {"<highest grade>": {"<source grade>": workspace grade}}: judges of one file differ in scale.
    """
    source = session.get_one(Source, source_id)
    source.scale_mapping = {**source.scale_mapping, str(max_grade): {str(g): mapping[g] for g in sorted(mapping)}}
    session.flush()


def get_scale(source: Source, max_grade: int) -> dict[int, int] | None:
    """The stored mapping of this source's grades 0..max_grade, or None."""
    stored = source.scale_mapping.get(str(max_grade))
    return None if stored is None else {int(grade): int(mapped) for grade, mapped in stored.items()}


def clear_rejections(session: Session, *, source_id: int) -> None:
    session.execute(sa.delete(ImportRejection).where(ImportRejection.source_id == source_id))


def list_rejections(session: Session, *, source: str, limit: int) -> list[tuple[str, int, str]]:
    """(file, line, reason) of the lines left out of a source, by file and line."""
    rows = session.execute(
        sa.select(ImportRejection.file, ImportRejection.line, ImportRejection.reason)
        .join(Source, Source.id == ImportRejection.source_id)
        .where(Source.name == source)
        .order_by(ImportRejection.file, ImportRejection.line)
        .limit(limit)
    )
    return [(file, line, reason) for file, line, reason in rows]


def add_rejections(session: Session, rows: Iterable[RejectionRow], *, source_id: int, now: datetime) -> None:
    values = [
        {"source_id": source_id, "file": row.file, "line": row.line, "reason": row.reason, "created_at": now}
        for row in rows
    ]
    if values:
        session.execute(sa.insert(ImportRejection.__table__), values)  # type: ignore[arg-type]


def ensure_imported_judge(
    session: Session, name: str, *, model: str, prompt_version: str, criterion: Criterion, now: datetime
) -> int:
    """The id of the judge of kind `imported` with that name, made if new."""
    digest = hashlib.sha256(json.dumps({"model": model}, sort_keys=True).encode()).hexdigest()
    judge = session.scalar(
        sa.select(JudgeRow).where(
            JudgeRow.name == name,
            JudgeRow.prompt_version == prompt_version,
            JudgeRow.criterion == criterion,
            JudgeRow.parameters_hash == digest,
        )
    )
    if judge is None:
        judge = JudgeRow(
            name=name,
            kind=JudgeKind.IMPORTED,
            model=model,
            prompt_version=prompt_version,
            criterion=criterion,
            certifiable=True,
            parameters={},
            parameters_hash=digest,
            created_at=now,
        )
        session.add(judge)
        session.flush()
    return judge.id
