"""What the review desk's filters can be set to."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from db.models import JudgeRow


@dataclass(frozen=True, slots=True)
class JudgeOption:
    """A judge that cards can be filtered by; one name has as many entries as it had prompts."""

    judge_id: int
    name: str
    prompt_version: str


def list_judge_options(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> tuple[JudgeOption, ...]:
    """Every judge that ever proposed for this criterion, the newest first."""
    with workspace.sessions.read() as session:
        rows = session.scalars(sa.select(JudgeRow).where(JudgeRow.criterion == criterion).order_by(JudgeRow.id.desc()))
        return tuple(JudgeOption(judge_id=row.id, name=row.name, prompt_version=row.prompt_version) for row in rows)
