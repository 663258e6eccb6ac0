"""Which criteria anything in the workspace was judged by."""

from __future__ import annotations

import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from db.models import JudgeRow


def list_criteria(workspace: Workspace) -> tuple[Criterion, ...]:
    """Relevance, and utility once a judge of utility was asked here; the two are never mixed."""
    with workspace.sessions.read() as session:
        used = set(session.scalars(sa.select(JudgeRow.criterion).distinct()))
    return tuple(criterion for criterion in Criterion if criterion is Criterion.RELEVANCE or criterion in used)
