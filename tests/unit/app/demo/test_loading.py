"""A small demo: few passages, yet every split has questions and every question its answer."""

from __future__ import annotations

from app.bootstrap import Workspace
from app.demo.loading import load
from app.services import data


def test_a_small_demo_is_small_and_has_questions_of_every_split(workspace: Workspace) -> None:
    """A small demo that takes as long as the large one, or has nothing to measure with, helps nobody."""
    report = load(workspace, limit=600)
    view = data.get_data(workspace)
    assert report.passages == view.n_passages
    assert 550 <= view.n_passages <= 650
    assert all(view.n_queries[split] >= 10 for split in ("train", "calibrate", "held-out"))
    assert view.n_judgements["human"] >= 100
