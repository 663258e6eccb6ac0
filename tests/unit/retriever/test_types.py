import math
import subprocess
import sys
from typing import Any

import pytest

from retriever.types import GradedList, LabelledPassage, Passage, TrainingSettings


@pytest.mark.parametrize(
    "module", ["retriever", "retriever.types", "retriever.losses", "retriever.errors", "retriever.bm25"]
)
def test_the_faces_of_the_package_load_nothing_heavy(module: str) -> None:
    """Importing torch for a type makes every command line start seconds late."""
    code = (
        f"import sys, {module}; "
        "print([name for name in ('torch', 'faiss', 'transformers', 'sentence_transformers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_passage_reads_as_title_and_text() -> None:
    """Index, encoder and training must see the same words."""
    assert Passage("1", "Tides", "They follow the moon.").full_text == "Tides They follow the moon."
    assert Passage("1", "", "They follow the moon.").full_text == "They follow the moon."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", "mse"),
        ("epochs", 0),
        ("learning_rate", math.nan),
        ("learning_rate", 0),
        ("batch_queries", 0),
        ("list_size", 1),
        ("temperature", -1),
        ("warmup_ratio", 1),
        ("seed", -1),
        ("max_length", 2),
        ("relevant_from", 0),
        ("relevant_from", 4),
        ("max_grade", 0),
        ("weight_decay", -0.1),
        ("in_batch_margin", 1.5),
        ("trainable_layers", 0),
    ],
)
def test_settings_that_cannot_train_are_refused_by_name(name: str, value: Any) -> None:
    """A wrong setting found after an hour of training costs the hour."""
    with pytest.raises(ValueError, match=name):
        TrainingSettings(**{name: value})


@pytest.mark.parametrize(("grade", "weight"), [(-1, 1), (math.nan, 1), (1, 0), (1, -2), (1, math.inf)])
def test_a_label_that_is_no_number_is_refused(grade: float, weight: float) -> None:
    """A NaN grade is smaller than nothing and larger than nothing: it would slip through every comparison."""
    with pytest.raises(ValueError, match=r"grade|weight"):
        GradedList("q", "q", (LabelledPassage("p", "text", grade, weight),))


@pytest.mark.parametrize(("n_lists", "passes"), [(0, 2), (1, 2), (50, 2), (200, 2), (399, 2), (400, 1), (90_000, 1)])
def test_few_lists_are_passed_over_more_often_and_many_once(n_lists: int, passes: int) -> None:
    """Fifty questions, read once in four steps, teach next to nothing; ten thousand, read twice, take a night."""
    assert TrainingSettings().passes(n_lists) == passes
    assert TrainingSettings(epochs=7).passes(n_lists) == 7
