from dataclasses import replace
from pathlib import Path

import pytest

from bench.kept_runs import kept, stages_hash
from retriever.types import GradedList, LabelledPassage, TrainingStage


def test_a_run_is_made_once_and_read_again(tmp_path: Path) -> None:
    """Half an hour of trainings lost to an interruption would be half an hour lost."""
    made = []

    def make() -> dict[str, float]:
        made.append(1)
        return {"q1": 0.123456789012345}

    first = kept(["a"], make, folder=tmp_path)
    assert kept(["a"], make, folder=tmp_path) == first == {"q1": 0.123456789012345}
    assert len(made) == 1
    kept(["b"], make, folder=tmp_path)
    assert len(made) == 2


def test_an_interrupted_run_leaves_nothing_behind_that_is_read(tmp_path: Path) -> None:
    """A half-written figure read as a whole one would be a wrong result nobody could trace."""

    def fails() -> dict[str, float]:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        kept(["a"], fails, folder=tmp_path)
    assert kept(["a"], lambda: {"q": 1.0}, folder=tmp_path) == {"q": 1.0}


def test_any_change_of_labels_is_another_run() -> None:
    """A stale figure under changed labels is the worst bug a bench can have."""
    passage = LabelledPassage("p", "text", 2.0, 1.0)
    stage = TrainingStage("people", (GradedList("q", "question", (passage,)),))
    changed = [
        replace(stage, name="llm"),
        replace(stage, one_positive=True),
        replace(stage, lists=(GradedList("q", "question", (replace(passage, grade=1.0),)),)),
        replace(stage, lists=(GradedList("q", "question", (replace(passage, weight=0.5),)),)),
        replace(stage, lists=(GradedList("q2", "question", (passage,)),)),
    ]
    hashes = [stages_hash([one]) for one in [stage, *changed]] + [stages_hash([stage, stage])]
    assert len(set(hashes)) == len(hashes)
    assert stages_hash([replace(stage)]) == hashes[0]
