"""Rounds as screens and the command line show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.round_parts import audits_from
from app.services.round_views import Figure, RoundView
from app.services.rounds import ENDED, is_driven, next_part
from db.models import TrainingRound
from db.queries import rounds as round_queries
from db.queries.queue import count_waiting
from db.queries.registry import get_model_or_raise


def get_open(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> RoundView | None:
    """The round that is not over, or None."""
    with workspace.sessions.read() as session:
        row = round_queries.get_open_round(session, criterion=criterion)
        return None if row is None else _view(workspace, session, row)


def get_round(workspace: Workspace, *, round_id: int) -> RoundView:
    """A round as it is now.

    Raises:
        NotFound: there is no such round.
    """
    with workspace.sessions.read() as session:
        return _view(workspace, session, round_queries.get_round_or_raise(session, round_id))


def list_rounds(
    workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE, limit: int = 20
) -> tuple[RoundView, ...]:
    """Rounds of one criterion, newest first."""
    with workspace.sessions.read() as session:
        rows = round_queries.list_rounds(session, criterion=criterion, limit=limit)
        return tuple(_view(workspace, session, row) for row in rows)


def _view(workspace: Workspace, session: Session, row: TrainingRound) -> RoundView:
    done = row.progress
    labelled, measured = done.get("labelled", {}), done.get("measured", {})
    n_audits = row.n_audits
    if row.run_id is None and row.status not in ENDED:
        n_audits = round_queries.count_audits(
            session,
            criterion=row.criterion,
            after=audits_from(session, row),
            until=round_queries.last_review(session),
        )
    model_id = done.get("trained", {}).get("model_id")
    return RoundView(
        id=row.id,
        number=row.number,
        criterion=row.criterion,
        status=row.status,
        next_part=next_part(row),
        message=row.message,
        alive=is_driven(workspace, session, row),
        pooled_with=get_model_or_raise(session, row.pooled_with_id).name,
        judge=str(row.settings["spec"].get("kind", "")),
        new_pairs=done.get("pooled", {}).get("new"),
        labels=labelled.get("suggestions"),
        cost_usd=labelled.get("cost_usd"),
        waiting=count_waiting(session, criterion=row.criterion),
        n_audits=n_audits,
        label_job_id=row.label_job_id,
        run_id=row.run_id,
        model=None if model_id is None else get_model_or_raise(session, model_id).name,
        compared_with=(
            get_model_or_raise(session, measured["compared_with"]).name if "compared_with" in measured else None
        ),
        ndcg=_figure(measured.get("ndcg")),
        gain=_figure(measured.get("gain")),
        gain_per_100=measured.get("gain_per_100"),
        stop=measured.get("stop"),
        advice=measured.get("text", ""),
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _figure(stored: Mapping[str, Any] | None) -> Figure | None:
    return None if stored is None else Figure(**stored)
