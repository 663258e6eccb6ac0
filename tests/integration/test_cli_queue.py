"""`relabel queue` through the command line: how many wait and why, and another order on demand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.bootstrap import open_workspace
from app.cli import cli
from app.services.creating import create_workspace
from builders import TOPICS, queued

pytestmark = pytest.mark.integration


def relabel(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def done(*words: object) -> dict[str, Any]:
    result = relabel(*words, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_queue_is_counted_by_cause_and_put_in_order_anew(tmp_path: Path) -> None:
    """An owner cannot see why people are asked what they are asked, nor have a change of the overlap take effect."""
    folder = tmp_path / "w"
    create_workspace(folder, name="queue")
    assert "Label first" in relabel("queue", "-w", folder).output
    workspace = open_workspace(folder)
    queued(workspace, topics=TOPICS[10:14])
    workspace.close()
    shown = done("queue", "-w", folder)
    assert shown["pairs"] == sum(one["pairs"] for one in shown["causes"]) == 24
    assert {"cause": "people-only", "pairs": 12} in shown["causes"]
    text = relabel("queue", "-w", folder).output
    assert "24 pairs wait" in text
    assert "judged by people only" in text
    with (folder / "relabel.toml").open("a", encoding="utf-8") as file:
        file.write("\nexplored = 1.0\n")
    again = done("queue", "rebuild", "-w", folder)
    assert again["version"] == shown["version"] + 1
    assert {one["cause"]: one["pairs"] for one in again["causes"]} == {"people-only": 12, "drawn": 12}


def test_a_word_that_means_nothing_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """A typing error passes for "show", and the owner believes that the queue was rebuilt."""
    folder = tmp_path / "w"
    create_workspace(folder, name="queue")
    refused = relabel("queue", "rebiuld", "-w", folder)
    assert refused.exit_code == 2
    assert "show or rebuild" in refused.output
