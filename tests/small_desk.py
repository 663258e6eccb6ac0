"""A small audit queue for browser tests of the desk: no model, no worker's work, made in a second."""

from __future__ import annotations

from pathlib import Path

from app.bootstrap import open_workspace
from builders import N_TRAIN, TOPICS, queued

SETTINGS = """
name = "Small desk"
person = "Ada"
judge = "local"
check_share = 0.0
guidelines = "Judge what is there, not what one could conclude."
"""
N_PAIRS = 6 * N_TRAIN


def make_small_desk(folder: Path) -> Path:
    """A workspace whose train questions' candidates all wait for people, each with a proposal that may be shown."""
    folder.mkdir(parents=True)
    (folder / "relabel.toml").write_text(SETTINGS, encoding="utf-8")
    workspace = open_workspace(folder)
    queued(workspace, topics=TOPICS[:N_TRAIN])
    workspace.close()
    return folder
