"""Exports that wait in the workspace's folder: one file each, in nobody's way, and gone after a day."""

from __future__ import annotations

import json
import zipfile

import pytest

from app.bootstrap import Workspace
from app.errors import InputInvalid
from app.services.prepared_exports import FOLDER, clear_old, drop_export, prepare_export
from builders import TOPICS, Clock, add_candidates, add_corpus, add_suggestions, with_clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def labelled(workspace: Workspace, clock: Clock) -> Workspace:
    """Twelve train pairs with true suggestions, all accepted."""
    timed = with_clock(workspace, clock)
    add_corpus(timed, topics=TOPICS[:2])
    add_candidates(timed, topics=TOPICS[:2])
    add_suggestions(timed)
    return timed


def test_each_export_is_one_file_of_its_own_beside_the_database(labelled: Workspace) -> None:
    """Two people prepare at once, and one takes the other's file, or half of it."""
    labels, history, beir = (prepare_export(labelled, layout=layout) for layout in ("labels", "history", "beir"))
    folder = labelled.settings.workspace / FOLDER
    assert len({prepared.path.parent for prepared in (labels, history, beir)}) == 3
    assert all(prepared.path.parent.parent == folder for prepared in (labels, history, beir))
    assert labels.path.name == "labels.jsonl"
    lines = [json.loads(line) for line in labels.path.read_text(encoding="utf-8").splitlines()]
    assert (len(lines), labels.n_rows, labels.n_bytes) == (12, 12, labels.path.stat().st_size)
    assert (beir.file_name, beir.for_browser) == ("relabel-beir.zip", True)
    with zipfile.ZipFile(beir.path) as archive:
        assert {"corpus.jsonl", "queries.jsonl", "labels.jsonl", "qrels/train.tsv"} <= set(archive.namelist())
        assert archive.testzip() is None
    assert [file.name for file in beir.path.parent.iterdir()] == ["beir.zip"]


def test_what_was_prepared_a_day_ago_is_removed_and_nothing_else(labelled: Workspace, clock: Clock) -> None:
    """Files of every click fill the disk, or what somebody put beside them is deleted."""
    old = prepare_export(labelled, layout="labels")
    theirs = labelled.settings.workspace / FOLDER / "kept by hand"
    theirs.mkdir()
    clock.pass_minutes(23 * 60)
    younger = prepare_export(labelled, layout="labels")
    assert old.path.is_file()
    clock.pass_minutes(2 * 60)
    assert clear_old(labelled) == 1
    assert (old.path.exists(), younger.path.is_file(), theirs.is_dir()) == (False, True, True)
    drop_export(labelled, younger)
    drop_export(labelled, younger)
    assert not younger.path.parent.exists()
    assert theirs.is_dir()


def test_an_export_that_fails_leaves_nothing(labelled: Workspace) -> None:
    """Half a file lies there and is taken for all labels."""
    with pytest.raises(InputInvalid, match="Parquet is for"):
        prepare_export(labelled, layout="trec", file_format="parquet")
    assert list((labelled.settings.workspace / FOLDER).iterdir()) == []
