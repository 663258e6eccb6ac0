import random
from pathlib import Path

import pytest
import torch

from retriever.encoder import Encoder
from retriever.errors import EmptyTrainingSet, TrainingCancelled, TrainingDiverged
from retriever.model_store import default_model_path, hash_directory
from retriever.training import train
from retriever.types import (
    LOSS_NAMES,
    GradedList,
    LabelledPassage,
    TrainingProgress,
    TrainingReport,
    TrainingSettings,
    TrainingStage,
)
from taught import graded_lists, in_right_order

LISTS = graded_lists()


def settings(**changes: object) -> TrainingSettings:
    plain = {"epochs": 5, "batch_queries": 4, "learning_rate": 1e-3, "max_length": 32, "trainable_layers": None}
    return TrainingSettings(**(plain | changes))  # type: ignore[arg-type]


def run(base: Path, output: Path, *, lists: list[GradedList] = LISTS, **calls: object) -> TrainingReport:
    stages = [TrainingStage(name="labels", lists=tuple(lists))]
    return train(**({"base_model": base, "stages": stages, "settings": settings(), "output": output} | calls))  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_training_lowers_the_loss_and_puts_answers_above_their_hard_negatives(
    tiny: Path, tmp_path: Path, loss: str
) -> None:
    """A run that reports success and has learnt nothing costs every label that went into it."""
    seen: list[TrainingProgress] = []
    report = run(tiny, tmp_path / "model", settings=settings(loss=loss), on_progress=seen.append)
    assert in_right_order(tiny) <= 1
    assert in_right_order(tmp_path / "model") >= 11
    losses = [progress.loss for progress in seen]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert report.final_loss == pytest.approx(sum(losses[-3:]) / 3)
    assert [progress.step for progress in seen] == list(range(1, 16))
    assert {progress.total_steps for progress in seen} == {15} == {report.steps}
    assert seen[-1].epoch == pytest.approx(5)
    assert (report.n_queries, report.n_passages, report.n_positives, report.n_hard_negatives) == (12, 48, 24, 12)


def test_the_default_model_learns_too(tmp_path: Path) -> None:
    """What works on a toy alone is of no use to anybody."""
    run(default_model_path(), tmp_path / "model", settings=settings(learning_rate=1e-4))
    assert in_right_order(default_model_path()) <= 1
    assert in_right_order(tmp_path / "model") >= 11


def test_the_same_seed_gives_the_same_model_and_another_seed_another(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A result that cannot be repeated cannot be trusted; and a training must not shuffle its caller's dice."""
    random.seed(7)
    expected = random.random()
    random.seed(7)
    torch_before = torch.random.get_rng_state()
    run(tiny, tmp_path / "one", settings=settings(epochs=1, loss="rand1"))
    assert random.random() == expected
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    run(tiny, tmp_path / "two", settings=settings(epochs=1, loss="rand1"))
    run(tiny, tmp_path / "other", settings=settings(epochs=1, loss="rand1", seed=1))
    assert hash_directory(tmp_path / "one") == hash_directory(tmp_path / "two") != hash_directory(tmp_path / "other")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 2}, {"unseen_share": 0.2}], ids=["plain", "lora", "unseen"])
def test_the_result_is_a_plain_folder_without_leftovers(tiny: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    """Checkpoints fill the disk, and a card would quote the team's texts and the machine's paths."""
    output = tmp_path / "model"
    output.mkdir()
    run(tiny, output, settings=settings(epochs=1, batch_queries=12, **changes))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    names = {path.relative_to(output) for path in output.rglob("*")}
    assert names == {path.relative_to(tiny) for path in tiny.rglob("*")}
    assert not [path for path in output.rglob("*.json") if str(tiny.parent) in path.read_text("utf-8")]
    assert Encoder.load(output).max_length == Encoder.load(tiny).max_length


def test_only_the_chosen_layers_learn(tiny: Path, tmp_path: Path) -> None:
    """A setting that is not applied changes what people think they measured."""
    run(tiny, tmp_path / "model", settings=settings(epochs=1, trainable_layers=2))
    before, after = (dict(Encoder.load(path)._model.named_parameters()) for path in (tiny, tmp_path / "model"))
    changed = {
        name.partition("layer.")[2].partition(".")[0] for name in before if not torch.equal(before[name], after[name])
    }
    assert changed == {"1", "2"}


@pytest.mark.parametrize("polls", [1, 3])
def test_a_cancelled_training_leaves_nothing(tiny: Path, tmp_path: Path, polls: int) -> None:
    """Half-trained weights under the name of a finished model would go through the gate."""
    asked: list[int] = []

    def should_cancel() -> bool:
        asked.append(1)
        return len(asked) >= polls

    with pytest.raises(TrainingCancelled, match=f"after step {polls - 1}"):
        run(tiny, tmp_path / "model", should_cancel=should_cancel)
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_diverges_says_so_and_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    """A model of NaN ranks every passage equally and still loads."""
    with pytest.raises(TrainingDiverged, match="lower the learning rate"):
        run(tiny, tmp_path / "model", settings=settings(learning_rate=1e30))
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_a_usable_list_is_refused_with_the_reasons(tiny: Path, tmp_path: Path) -> None:
    """Trained on nothing, the "new" model is the old one with a new name."""
    lists = [GradedList("a", "a", (LabelledPassage("p", "text", 1),)), GradedList("b", "b", ())]
    with pytest.raises(EmptyTrainingSet, match="empty list: 1, no positive: 1"):
        run(tiny, tmp_path / "model", lists=lists)


def test_a_folder_that_holds_something_is_not_written_to(tiny: Path, tmp_path: Path) -> None:
    """Somebody's model would be replaced by the next."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        run(tiny, tmp_path)
