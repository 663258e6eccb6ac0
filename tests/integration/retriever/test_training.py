import random
from pathlib import Path

import numpy as np
import pytest
import torch

from retriever.batch_loss import below_margin
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

# Each query's answer is worded unlike it, its hard negative alike: the base model gets them all wrong.
PAIRS = [
    ("what do cats like", "felines enjoy warm sofas", "what do cats like is a title"),
    ("why does bread rise", "yeast gives off gas in dough", "why does bread rise is a poem"),
    ("what do planes need", "long runways of concrete", "what do planes need is a quiz"),
    ("what moves the tides", "lunar gravity pulls the sea", "what moves the tides is a song"),
    ("who makes honey", "bees do, from nectar", "who makes honey is a film"),
    ("what comes out of volcanoes", "molten rock and ash", "what comes out of volcanoes is a play"),
    ("what is glass made of", "sand melted with soda", "what is glass made of is a book"),
    ("what is rust", "iron that met oxygen and water", "what is rust is a riddle"),
    ("how do wolves hunt", "in packs, at dawn", "how do wolves hunt is a game"),
    ("what is in coffee", "caffeine, mostly", "what is in coffee is a blog"),
    ("what is opera", "drama that is sung", "what is opera is a talk"),
    ("what carves valleys", "rivers, over ages", "what carves valleys is a chapter"),
]
LISTS = [
    GradedList(
        query_id=f"q{at}",
        query=query,
        passages=(
            LabelledPassage(f"good{at}", good, 3),
            LabelledPassage(f"also{at}", f"some say: {good}", 2),
            LabelledPassage(f"weak{at}", f"{query}, and {good}", 1),
            LabelledPassage(f"bad{at}", bad, 0),
        ),
    )
    for at, (query, good, bad) in enumerate(PAIRS)
]
SETTINGS = TrainingSettings(epochs=4, batch_queries=4, learning_rate=5e-5, max_length=32)


def run(
    output: Path, *, settings: TrainingSettings = SETTINGS, lists: list[GradedList] = LISTS, **calls: object
) -> TrainingReport:
    stages = [TrainingStage(name="labels", lists=tuple(lists))]
    return train(base_model=default_model_path(), stages=stages, settings=settings, output=output, **calls)  # type: ignore[arg-type]


def in_right_order(model: Path) -> int:
    """Training pairs whose positive scores above its hard negative."""
    encoder = Encoder.load(model)
    queries, good, bad = (encoder.encode([pair[column] for pair in PAIRS]) for column in range(3))
    return int(np.sum(np.sum(queries * good, axis=1) > np.sum(queries * bad, axis=1)))


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_training_lowers_the_loss_and_puts_answers_above_their_hard_negatives(tmp_path: Path, loss: str) -> None:
    """A run that reports success and has learnt nothing costs every label that went into it."""
    seen: list[TrainingProgress] = []
    settings = TrainingSettings(
        loss=loss, epochs=5, batch_queries=4, learning_rate=5e-5, max_length=32, trainable_layers=None
    )
    report = run(tmp_path / "model", settings=settings, on_progress=seen.append)
    assert in_right_order(default_model_path()) <= 1
    assert in_right_order(tmp_path / "model") >= 11
    losses = [progress.loss for progress in seen]
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    assert report.final_loss == pytest.approx(sum(losses[-3:]) / 3)
    assert [progress.step for progress in seen] == list(range(1, 16))
    assert {progress.total_steps for progress in seen} == {15} == {report.steps}
    assert seen[-1].epoch == pytest.approx(5)
    assert (report.n_queries, report.n_passages, report.n_positives, report.n_hard_negatives) == (12, 48, 24, 12)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A result that cannot be repeated cannot be trusted; and a training must not shuffle its caller's dice."""
    settings = TrainingSettings(epochs=1, batch_queries=4, max_length=32)
    random.seed(7)
    expected = random.random()
    random.seed(7)
    torch_before = torch.random.get_rng_state()
    run(tmp_path / "one", settings=settings)
    assert random.random() == expected
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    run(tmp_path / "two", settings=settings)
    run(tmp_path / "other", settings=TrainingSettings(epochs=1, batch_queries=4, max_length=32, seed=1))
    assert hash_directory(tmp_path / "one") == hash_directory(tmp_path / "two") != hash_directory(tmp_path / "other")
    assert capfd.readouterr() == ("", "")


def test_the_result_is_a_plain_folder_without_leftovers(tmp_path: Path) -> None:
    """Checkpoints fill the disk, and a card would quote the team's texts and the machine's paths."""
    output = tmp_path / "model"
    output.mkdir()
    run(output, settings=TrainingSettings(epochs=1, batch_queries=12, max_length=32))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    names = {path.name for path in output.rglob("*") if path.is_file()}
    assert "model.safetensors" in names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".md")) or "checkpoint" in name}
    assert not [path for path in output.rglob("*.json") if str(default_model_path().parent) in path.read_text("utf-8")]
    assert Encoder.load(output).max_length == Encoder.load(default_model_path()).max_length


def test_only_the_chosen_layers_learn(tmp_path: Path) -> None:
    """A setting that is not applied changes what people think they measured."""
    run(tmp_path / "model", settings=TrainingSettings(epochs=1, batch_queries=4, max_length=32, trainable_layers=2))
    before, after = (
        dict(Encoder.load(path)._model.named_parameters()) for path in (default_model_path(), tmp_path / "model")
    )
    changed = {
        name.partition("layer.")[2].partition(".")[0] for name in before if not torch.equal(before[name], after[name])
    }
    assert changed == {"4", "5"}


@pytest.mark.parametrize("polls", [1, 3])
def test_a_cancelled_training_leaves_nothing(tmp_path: Path, polls: int) -> None:
    """Half-trained weights under the name of a finished model would go through the gate."""
    asked: list[int] = []

    def should_cancel() -> bool:
        asked.append(1)
        return len(asked) >= polls

    with pytest.raises(TrainingCancelled, match=f"after step {polls - 1}"):
        run(tmp_path / "model", should_cancel=should_cancel)
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_diverges_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """A model of NaN ranks every passage equally and still loads."""
    with pytest.raises(TrainingDiverged, match="lower the learning rate"):
        run(tmp_path / "model", settings=TrainingSettings(epochs=1, batch_queries=4, max_length=32, learning_rate=1e30))
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_a_usable_list_is_refused_with_the_reasons(tmp_path: Path) -> None:
    """Trained on nothing, the "new" model is the old one with a new name."""
    lists = [GradedList("a", "a", (LabelledPassage("p", "text", 1),)), GradedList("b", "b", ())]
    with pytest.raises(EmptyTrainingSet, match="empty list: 1, no positive: 1"):
        run(tmp_path / "model", lists=lists)


def test_a_folder_that_holds_something_is_not_written_to(tmp_path: Path) -> None:
    """Somebody's model would be replaced by the next."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        run(tmp_path)


def test_unlabelled_passages_near_the_weakest_positive_are_no_negatives() -> None:
    """Mined negatives are often answers nobody has judged; pushing them away unlearns the task."""
    scores = torch.tensor([[0.80, 0.60, 0.58, 0.56, 0.90], [0.10, 0.20, 0.30, 0.40, 0.50]])
    positive = torch.tensor([[True, True, False, False, False], [False] * 5])
    # 5 % below the weakest positive, 0.60, is 0.57.
    assert below_margin(scores, positive=positive, margin=0.05).tolist() == [
        [False, False, False, True, False],
        [False] * 5,
    ]


def test_the_margin_lies_below_a_negative_cosine_too() -> None:
    """Scaled without care it would lie above, and the positive's equals would count as negatives."""
    below = below_margin(
        torch.tensor([[-0.5, -0.51, -0.56]]), positive=torch.tensor([[True, False, False]]), margin=0.1
    )
    assert below.tolist() == [[False, False, True]]
