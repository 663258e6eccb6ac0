"""Model versions as screens show them."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.services.evaluation_views import evaluation_view
from app.services.views import ModelView
from db.enums import Split
from db.models import LabelSet, ModelVersion
from db.queries.registry import get_model_or_raise
from db.queries.training import criterion_of_model, get_run_of_model, latest_evaluation


def model_view(session: Session, model: ModelVersion) -> ModelView:
    """A stored model version with the label set it came from and its newest held-out evaluation on that criterion."""
    run = get_run_of_model(session, model.id)
    label_set = None if run is None else session.get_one(LabelSet, run.label_set_id)
    evaluation = latest_evaluation(
        session, model_id=model.id, split=Split.HELD_OUT, criterion=criterion_of_model(session, model.id)
    )
    return ModelView(
        id=model.id,
        name=model.name,
        hash=model.hash,
        stage=model.stage,
        base=None if model.base_id is None else get_model_or_raise(session, model.base_id).name,
        label_set=None if label_set is None else label_set.hash[:12],
        n_labels=None if label_set is None else label_set.n_labels,
        evaluation=None if evaluation is None else evaluation_view(session, evaluation),
        created_at=model.created_at,
    )
