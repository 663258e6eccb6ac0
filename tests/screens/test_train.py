"""The Train screen: what would be trained on, why it cannot start without labels, and a run that waits or has ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.config import Speed, settings_from
from app.services import runs
from app.services.encoder_choice import choose_backend
from app.services.encoding_time import get_encoding_time
from app.services.round_reading import get_round
from app.services.round_views import Part
from db import models
from db.enums import ModelStage, RoundStatus, RunStatus
from retriever.encoding.measuring import BackendFigure, Measurement

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
    assert "3 labels on 3 questions: 3 from accepted proposals" in html_of(screen)
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


def add_round(workspace: Workspace, status: RoundStatus, *, progress: dict[str, object], message: str = "") -> int:
    with workspace.sessions.begin() as session:
        model = models.ModelVersion(
            hash="c" * 64, name="base model", path="models/c", dim=4, stage=ModelStage.LIVE, created_at=NOW
        )
        session.add(model)
        session.flush()
        row = models.TrainingRound(
            number=1,
            criterion=Criterion.RELEVANCE,
            status=status,
            stage="",
            pooled_with_id=model.id,
            n_audits=150 if "measured" in progress else 0,
            settings={"spec": {"kind": "local"}, "overrides": {}, "wait": True, "workflow_id": "round-1"},
            progress={"candidates_before": 0, "last_suggestion": 0, **progress},
            message=message,
            created_at=NOW,
            finished_at=None,
        )
        session.add(row)
        session.flush()
        if "measured" in progress:
            row.progress = {**row.progress, "trained": {"model_id": model.id}}
            row.progress["measured"]["compared_with"] = model.id
        return row.id


POOLED = {"new": 12, "renewed": 3, "queries": 3, "free": True}
LABELLED = {"suggestions": 12, "tokens": 0, "cost_usd": 0.0, "failed": 0, "accepted": 4}


def test_each_speed_says_what_it_changes_and_the_chosen_one_is_trained(app, small: Workspace) -> None:
    """Somebody waits an hour for what takes seconds, or wonders why no passage moved."""
    add_run(small, RunStatus.DONE)
    with small.sessions.begin() as session:
        model = session.scalars(sa.select(models.ModelVersion)).one()
        session.add(models.LiveModel(id=1, model_version_id=model.id, changed_at=NOW))
    screen = app("train")
    speed = screen.radio(key="train.speed")
    assert speed.options == ["Adapter: seconds", "Full: minutes or more", "Full, then adapter: minutes or more"]
    assert speed.value == Speed.FULL_ADAPTER
    speed.set_value(Speed.FULL).run()
    screen.button(key="train.start").click().run()
    assert not screen.exception
    run = runs.get_latest_run(small)
    assert run is not None
    assert (run.status, run.speed) == (RunStatus.QUEUED, Speed.FULL)


def test_the_next_round_retrains_at_the_chosen_speed_and_one_that_goes_on_keeps_its_own(app, small: Workspace) -> None:
    """Somebody chooses the full training, turns a round, and weeks of audits go into an adapter."""
    add_run(small, RunStatus.DONE)
    with small.sessions.begin() as session:
        model = session.scalars(sa.select(models.ModelVersion)).one()
        session.add(models.LiveModel(id=1, model_version_id=model.id, changed_at=NOW))
    screen = app("train")
    screen.radio(key="train.speed").set_value(Speed.FULL).run()
    screen.button(key="train.round.start").click().run()
    assert not screen.exception
    with small.sessions.begin() as session:
        row = session.scalars(sa.select(models.TrainingRound)).one()
        assert row.settings["overrides"] == {"speed": "full"}
        row.status = RoundStatus.FAILED
    screen = app("train")
    screen.radio(key="train.speed").set_value(Speed.ADAPTER).run()
    screen.button(key="train.round.again").click().run()
    with small.sessions.read() as session:
        row = session.scalars(sa.select(models.TrainingRound)).one()
        assert (row.status, row.settings["overrides"]) == (RoundStatus.RUNNING, {"speed": "full"})


def test_a_round_that_waits_says_for_what_and_retrains_on_a_click(app, small: Workspace) -> None:
    """Reviewers do not know that the machine waits for them, and nobody knows how to go on."""
    round_id = add_round(small, RoundStatus.WAITING, progress={"pooled": POOLED, "labelled": LABELLED})
    screen = app("train")
    assert "Round 1 waits for audits" in html_of(screen)
    assert "0 pairs audited since the round before" in html_of(screen)
    assert not [button for button in screen.button if button.label == "Next round"]
    screen.button(key="train.round.train").click().run()
    assert not screen.exception
    found = get_round(small, round_id=round_id)
    assert (found.status, found.next_part) == (RoundStatus.RUNNING, Part.TRAIN)
    assert "relabel worker" in screen.code[0].value, "no worker runs, and nothing says so"


def test_a_round_that_failed_says_why_and_can_go_on_or_be_given_up(app, small: Workspace) -> None:
    """A failed round blocks the next one for ever."""
    done = {"pooled": POOLED, "labelled": LABELLED}
    round_id = add_round(small, RoundStatus.FAILED, progress=done, message="the disk is full")
    screen = app("train")
    assert "the disk is full" in screen.error[0].value
    assert [button for button in screen.button if button.key == "train.round.again"]
    screen.button(key="train.round.cancel").click().run()
    assert get_round(small, round_id=round_id).status is RoundStatus.CANCELLED
    assert [button for button in screen.button if button.label == "Next round"]


def test_what_labelling_costs_is_shown_before_it_is_asked_for(app, small: Workspace) -> None:
    """A click buys labels for a sum that nobody saw."""
    round_id = add_round(small, RoundStatus.WAITING, progress={"pooled": POOLED | {"free": False}})
    screen = app("train")
    assert "No text leaves this machine" in html_of(screen)
    assert any("calls" in caption.value for caption in screen.caption)
    screen.button(key="train.round.label").click().run()
    assert not screen.exception
    assert get_round(small, round_id=round_id).next_part is Part.LABEL


def test_the_table_of_rounds_shows_the_gain_and_whether_to_stop(app, small: Workspace) -> None:
    """The one figure that ends the work is nowhere to be seen."""
    figure = {"low": -0.001, "high": 0.004, "n_queries": 75}
    measured = {
        "compared_with": 0,
        "ndcg": {"mean": 0.7215, "low": 0.66, "high": 0.78, "n_queries": 75},
        "gain": {"mean": 0.0015, **figure},
        "gain_per_100": 0.001,
        "stop": True,
        "text": "You can stop: <b>100</b> more audits are expected to gain less.",
    }
    add_round(
        small, RoundStatus.DONE, progress={"pooled": POOLED, "labelled": LABELLED, "trained": {}, "measured": measured}
    )
    page = html_of(app("train"))
    for shown in (">0.722<", ">0.660 to 0.780<", "+0.0010", ">150<", ">12, ", ">stop<", "You can stop: &lt;b&gt;100"):
        assert shown in page, shown


def test_a_speed_that_encodes_all_passages_says_how_many_and_how_long(app, small: Workspace) -> None:
    """A click on the default, over a million passages, and the machine is busy until tomorrow without a word before."""
    add_run(small, RunStatus.DONE)
    with small.sessions.begin() as session:
        model = session.scalars(sa.select(models.ModelVersion)).one()
        session.add(models.LiveModel(id=1, model_version_id=model.id, changed_at=NOW))
    adapter, full, both = app("train").radio(key="train.speed").proto.captions
    assert "anew" not in adapter
    with small.sessions.read() as session:
        n = session.scalar(sa.select(sa.func.count()).select_from(models.Passage))
    assert n
    for caption in (full, both):
        assert caption.endswith(f"All {n} passages are encoded anew before the model can be tried.")
    figures = (BackendFigure("torch", n / 6000, 1.0), BackendFigure("openvino", n / 1800, 1.0))
    choose_backend(small, model, n_texts=1000, measure=lambda: Measurement("openvino", 128, figures))
    _, full, both = app("train").radio(key="train.speed").proto.captions
    for caption in (full, both):
        assert caption.endswith(f"All {n} passages are encoded anew before the model can be tried: 30 min here.")
    settings = settings_from(small.settings.workspace, {"encoder_backend": "torch"})
    time = get_encoding_time(replace(small, settings=settings))
    assert time is not None
    assert time.seconds == pytest.approx(6000), "the backend that the settings ask for, not the fastest"
