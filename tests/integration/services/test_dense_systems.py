"""Whose score of a pair a judge and a calibrator are shown after several models have pooled."""

from __future__ import annotations

import sqlalchemy as sa

from annotator.judges.scripted import ScriptedJudge
from annotator.types import JudgeRequest
from app.bootstrap import Workspace
from app.services.indexing import dense_system
from app.services.judged import judged_inputs
from app.services.labelling import label
from builders import add_candidates, add_corpus, add_model
from db.enums import ModelKind
from db.models import CandidateHit, LiveModel, ModelVersion, Pair
from db.queries.calibrating import JudgedRow


def pooled_by(workspace: Workspace, model_id: int, *, score: float) -> str:
    """As if the model had found every pair at that score; the name of its system."""
    with workspace.sessions.begin() as session:
        system = dense_system(session.get_one(ModelVersion, model_id))
        for pair_id in session.scalars(sa.select(Pair.id)).all():
            session.add(CandidateHit(pair_id=pair_id, system=system, rank=1, score=score))
    return system


def shown(workspace: Workspace, *, judge: str) -> set[float | None]:
    """The cosines that a new judge of that name is shown, and a calibrator sees; they must be the same."""
    asked: list[JudgeRequest] = []

    def answer(request: JudgeRequest) -> int:
        asked.append(request)
        return 1

    label(workspace, ScriptedJudge(answer, name=judge))
    rows = [JudgedRow(request.pair_id, request.query_id, 0, 1, 0.9, None, None, None, None, None) for request in asked]
    assert rows
    with workspace.sessions.read() as session:
        seen = [given.signals.dense_score for given in judged_inputs(session, rows)]
    assert seen == [request.signals.dense_score for request in asked]
    return set(seen)


def test_the_live_models_score_speaks_whatever_the_hashes_begin_with(any_workspace: Workspace) -> None:
    """After the second pooling a calibrator reads the old model's cosines, by the luck of a hash."""
    workspace = any_workspace
    add_corpus(workspace)
    add_candidates(workspace)
    models = [add_model(workspace, "base", live=True), add_model(workspace, "second"), add_model(workspace, "third")]
    systems = [pooled_by(workspace, model, score=score) for model, score in zip(models, (0.5, 0.6, 0.7), strict=True)]
    assert systems != sorted(systems), "the names alone would not show a choice by name"
    for number, (model, score) in enumerate(zip(models, (0.5, 0.6, 0.7), strict=True)):
        with workspace.sessions.begin() as session:
            session.get_one(LiveModel, 1).model_version_id = model
        assert shown(workspace, judge=f"judge/{number}") == {score}


def test_an_adapters_encoder_speaks_until_the_adapter_has_pooled(workspace: Workspace) -> None:
    """A live adapter that has not pooled yet, and the cosines of a model that was given up speak in its place."""
    add_corpus(workspace)
    add_candidates(workspace)
    base, adapter = add_model(workspace, "base", live=True), add_model(workspace, "adapter")
    given_up = add_model(workspace, "newest")
    with workspace.sessions.begin() as session:
        model = session.get_one(ModelVersion, adapter)
        model.kind, model.encoder_id = ModelKind.ADAPTER, base
        session.get_one(LiveModel, 1).model_version_id = adapter
    assert shown(workspace, judge="before/1") == {round(1 - rank / 10, 1) for rank in range(1, 7)}, "an imported run's"
    pooled_by(workspace, given_up, score=0.7)
    assert shown(workspace, judge="early/1") == {0.7}
    pooled_by(workspace, base, score=0.5)
    assert shown(workspace, judge="later/1") == {0.5}
    pooled_by(workspace, adapter, score=0.9)
    assert shown(workspace, judge="last/1") == {0.9}
