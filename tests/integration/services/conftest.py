"""A workspace before and after its first training run, made once for all the tests of this folder that only look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.bootstrap import Workspace, open_with
from app.config import Settings, settings_from
from app.services import pooling
from builders import add_corpus, add_suggestions, judge_held_out
from trained import QUICK, Trained, copy_of, train_killed_and_repeated


@pytest.fixture(scope="session")
def pooled_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Everything before the first run: pooled by the real model, labelled, accepted; held-out questions judged."""
    workspace = open_with(settings_from(tmp_path_factory.mktemp("pooled") / "w", QUICK))
    add_corpus(workspace)
    pooling.pool(workspace)
    add_suggestions(workspace)
    judge_held_out(workspace)
    workspace.close()
    return workspace.settings


@pytest.fixture(scope="session")
def trained(pooled_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A full run from click to evaluation: killed before its model was stored, then each step done twice."""
    return train_killed_and_repeated(copy_of(pooled_settings, tmp_path_factory.mktemp("trained") / "w"))


@pytest.fixture
def before(pooled_settings: Settings, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace about to train."""
    workspace = copy_of(pooled_settings, tmp_path / "before")
    yield workspace
    workspace.close()


@pytest.fixture
def after(trained: Trained, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with a candidate beside the live base model."""
    workspace = copy_of(trained.settings, tmp_path / "after")
    yield workspace
    workspace.close()
