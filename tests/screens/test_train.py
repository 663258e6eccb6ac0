"""The Train screen: what would be trained on, why it cannot start without labels, and a run that waits or has ended."""

from __future__ import annotations

from datetime import UTC, datetime

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import runs
from db import models
from db.enums import ModelStage, RunStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def add_run(workspace: Workspace, status: RunStatus, message: str = "") -> int:
    with workspace.sessions.begin() as session:
        label_set = models.LabelSet(
            hash="a" * 64,
            criterion=Criterion.RELEVANCE,
            n_labels=3,
            n_queries=3,
            counts={"accepted": 3},
            created_at=NOW,
        )
        model = models.ModelVersion(
            hash="b" * 64, name="first", path="models/b", dim=4, stage=ModelStage.LIVE, created_at=NOW
        )
        session.add_all([label_set, model])
        session.flush()
        run = models.TrainingRun(
            active=True if status.is_active else None,
            workflow_id="w1",
            label_set_id=label_set.id,
            base_model_id=model.id,
            status=status,
            stage="queued",
            settings={"loss": "sum_marginal"},
            report={},
            message=message,
            created_at=NOW,
        )
        session.add(run)
        session.flush()
        return run.id


def html_of(app) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def test_it_says_what_the_label_set_would_hold(app, small: Workspace) -> None:
    """Somebody who does not know what is trained on cannot judge what comes out."""
    screen = app("train")
    assert "3 labels on 3 queries: 3 from accepted proposals" in html_of(screen)
    assert not screen.exception


def test_without_labels_training_is_refused_with_the_reason(app, empty: Workspace) -> None:
    """A button that does nothing is clicked again and again."""
    screen = app("train")
    button = screen.button(key="train.start")
    assert button.disabled
    assert screen.warning
    assert "Review" in screen.get("page_link")[0].label


def test_a_run_that_waits_for_a_worker_says_how_to_start_one_and_can_be_cancelled(app, small: Workspace) -> None:
    """A run that waits for ever without saying why makes people click again."""
    run_id = add_run(small, RunStatus.QUEUED)
    screen = app("train")
    assert "worker does not run" in screen.warning[0].value
    assert "relabel worker" in screen.code[0].value
    assert not [button for button in screen.button if button.label == "Retrain"]
    screen.button(key="train.cancel").click().run()
    assert not screen.exception
    assert runs.get_run(small, run_id=run_id).status is RunStatus.CANCELLED


def test_a_failed_run_says_why_and_lets_one_try_again(app, small: Workspace) -> None:
    """A page that still says running when the run has died costs a night."""
    add_run(small, RunStatus.FAILED, "the loss became NaN at step 7")
    screen = app("train")
    assert "the loss became NaN at step 7" in screen.error[0].value
    assert not screen.button(key="train.start").disabled
