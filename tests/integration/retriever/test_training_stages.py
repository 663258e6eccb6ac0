"""What a training does beyond one pass over one set: stages, the anchor, LoRA, and how much of the change is kept."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from retriever.encoder import Encoder
from retriever.errors import TrainingCancelled
from retriever.model_store import hash_directory
from retriever.training import train
from retriever.types import (
    GradedList,
    LabelledPassage,
    TrainingProgress,
    TrainingReport,
    TrainingSettings,
    TrainingStage,
)
from retriever.unseen_slice import split_unseen
from taught import all_texts, graded_lists, in_right_order

RIGHT, WRONG = tuple(graded_lists()), tuple(graded_lists(good=0, bad=3))


def run(
    base: Path, output: Path, *stages: TrainingStage, calls: dict[str, object] | None = None, **changes: object
) -> TrainingReport:
    plain = {"epochs": 5, "batch_queries": 4, "learning_rate": 1e-3, "max_length": 32, "trainable_layers": None}
    settings = TrainingSettings(**(plain | changes))  # type: ignore[arg-type]
    chosen = stages or (TrainingStage("labels", RIGHT),)
    return train(base_model=base, stages=chosen, settings=settings, output=output, **(calls or {}))  # type: ignore[arg-type]


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def moved(base: Path, model: Path) -> float:
    """Mean squared change of the vectors of all texts."""
    before, after = (Encoder.load(path).encode(all_texts()) for path in (base, model))
    return float(np.mean(np.sum((after - before) ** 2, axis=1)))


def test_the_last_stage_wins_where_labels_contradict(tiny: Path, tmp_path: Path) -> None:
    """In the wrong order a curriculum ends on the machine's labels and unlearns what people said."""
    wrong, right = TrainingStage("llm", WRONG, epochs=2), TrainingStage("human", RIGHT, epochs=8)
    seen: list[TrainingProgress] = []
    report = run(tiny, tmp_path / "right", wrong, right, calls={"on_progress": seen.append})
    run(tiny, tmp_path / "wrong", right, replace(wrong, epochs=8))
    assert in_right_order(tmp_path / "right") >= 11
    assert in_right_order(tmp_path / "wrong") <= 3
    assert report.stages == ("llm", "human")
    assert [progress.step for progress in seen] == list(range(1, 31))
    assert {progress.total_steps for progress in seen} == {30} == {report.steps}
    assert [round(progress.epoch, 1) for progress in (seen[5], seen[-1])] == [2.0, 10.0]
    assert report.final_loss == pytest.approx(sum(progress.loss for progress in seen[-3:]) / 3)


def test_a_stages_own_settings_hold_for_it_alone(tiny: Path, tmp_path: Path) -> None:
    """The human stage would run at the machine stage's rate and forget, or not learn."""
    first = TrainingStage("llm", WRONG, epochs=1, learning_rate=1e-12, loss="kl")
    report = run(tiny, tmp_path / "model", first, TrainingStage("human", RIGHT, one_positive=True))
    assert [(one.name, one.loss, one.steps, one.n_positives) for one in report.by_stage] == [
        ("llm", "kl", 3, 12),
        ("human", "sum_marginal", 15, 12),
    ]
    assert in_right_order(tmp_path / "model") >= 11


def test_lists_that_were_skipped_are_counted_stage_by_stage(tiny: Path, tmp_path: Path) -> None:
    """Labels dropped without a word make people believe they were used."""
    weak = GradedList("w", "a weak one", (LabelledPassage("p", "text", 1), LabelledPassage("o", "other", 0)))
    empty = GradedList("e", "nothing", ())
    report = run(
        tiny,
        tmp_path / "model",
        TrainingStage("unusable", (weak, empty)),
        TrainingStage("graded", (*RIGHT, weak), epochs=1, loss="list_net"),
        TrainingStage("two sides", (*RIGHT, weak), epochs=1),
    )
    assert report.stages == ("graded", "two sides")
    assert [dict(one.skipped_lists) for one in report.by_stage] == [
        {"no positive": 1, "empty list": 1},
        {},
        {"no positive": 1},
    ]
    assert report.skipped_lists == {"no positive": 2, "empty list": 1}
    assert [one.n_queries for one in report.by_stage] == [0, 13, 12]


def test_a_list_that_never_met_anything_to_compare_with_is_counted(tiny: Path, tmp_path: Path) -> None:
    """Its loss is 0 at every step: it was labelled for nothing, and nobody would know."""
    twins = [
        GradedList(f"q{at}", query, (LabelledPassage("same", "felines enjoy warm sofas", 3),))
        for at, query in enumerate(("what do cats like", "what do cats like best"))
    ]
    report = run(tiny, tmp_path / "model", TrainingStage("labels", (*twins, RIGHT[1])), epochs=1, batch_queries=1)
    assert report.skipped_lists == {"nothing to compare with in any batch": 2}


def test_an_answer_of_the_stage_before_is_no_negative_in_the_next(tiny: Path, tmp_path: Path) -> None:
    """The human stage pushes down what the LLM stage lifted: most answers are known from there alone."""
    answers = [next(passage for passage in graded.passages if passage.grade >= 2) for graded in RIGHT]
    bad = LabelledPassage("bad", "nothing that anybody asked", 0)
    llm = TrainingStage("llm", tuple(replace(graded, passages=(*answers, bad)) for graded in RIGHT), epochs=1)
    human = tuple(replace(graded, passages=(answer,)) for graded, answer in zip(RIGHT, answers, strict=True))
    report = run(tiny, tmp_path / "model", llm, TrainingStage("human", human, epochs=1), in_batch_margin=0.0)
    assert report.by_stage[1].skipped_lists == {"nothing to compare with in any batch": 12}


def test_the_anchor_limits_drift_and_still_lets_the_model_learn(tiny: Path, tmp_path: Path) -> None:
    """With few audits a round forgets what the live model could do."""
    run(tiny, tmp_path / "free", epochs=12)
    run(tiny, tmp_path / "anchored", epochs=12, anchor=20.0, anchor_temperature=0.02)
    assert in_right_order(tmp_path / "anchored") >= 11
    assert moved(tiny, tmp_path / "anchored") < moved(tiny, tmp_path / "free")


def test_lora_leaves_a_plain_model_whose_layers_changed_by_the_rank_asked_for(tiny: Path, tmp_path: Path) -> None:
    """A folder with adapter weights beside the model loads as the base: the training would be lost in silence."""
    run(tiny, tmp_path / "model", lora_rank=2, trainable_layers=2, learning_rate=1e-2)
    assert in_right_order(tmp_path / "model") >= 9
    before, after = weights(tiny), weights(tmp_path / "model")
    assert before.keys() == after.keys()
    changed = {name: after[name] - before[name] for name in before if not torch.equal(before[name], after[name])}
    assert changed
    for name, change in changed.items():
        assert "layer.1." in name or "layer.2." in name
        assert name.endswith("weight")
        assert torch.linalg.matrix_rank(change, rtol=1e-3) == 2


def test_keep_lies_exactly_on_the_line_from_base_to_tuned(tiny: Path, tmp_path: Path) -> None:
    """Mixed otherwise, frozen weights would drift and "half" would mean something else for each of them."""
    run(tiny, tmp_path / "all", epochs=1, trainable_layers=2)
    report = run(tiny, tmp_path / "part", epochs=1, trainable_layers=2, keep=0.25)
    assert report.keep == 0.25
    assert report.unseen == {}
    before, tuned, part = (weights(path) for path in (tiny, tmp_path / "all", tmp_path / "part"))
    for name in before:
        expected = before[name].double() + 0.25 * (tuned[name].double() - before[name].double())
        torch.testing.assert_close(part[name].double(), expected, rtol=0, atol=1e-7)
        if torch.equal(before[name], tuned[name]):
            assert torch.equal(part[name], before[name])


def test_everything_at_once_still_gives_a_plain_model_that_has_changed(tiny: Path, tmp_path: Path) -> None:
    """Each setting alone works; a recipe uses several together."""
    report = run(
        tiny,
        tmp_path / "model",
        TrainingStage("llm", RIGHT, epochs=2, loss="list_net"),
        TrainingStage("human", RIGHT, epochs=6, one_positive=True),
        **{"lora_rank": 8, "learning_rate": 1e-2, "anchor": 0.1, "gradient_chunk": 8, "bf16": True},
        **{"unseen_share": 0.1, "trainable_layers": 2},
    )
    assert moved(tiny, tmp_path / "model") > 0
    before, after = weights(tiny), weights(tmp_path / "model")
    assert before.keys() == after.keys()
    assert {report.keep} <= {1.0, 0.5, 0.25}
    assert report.unseen["queries"] == 1


def test_the_part_kept_is_the_best_on_queries_that_were_put_aside(tiny: Path, tmp_path: Path) -> None:
    """A fine-tune that helps what it saw and harms the rest must not go on at full strength."""
    report = run(tiny, tmp_path / "model", unseen_share=0.25, keep=0.8)
    tried = {float(name.removeprefix("keep ")): value for name, value in report.unseen.items() if name[:5] == "keep "}
    assert set(tried) == {0.8, 0.4, 0.2}
    assert report.n_queries == 9
    assert (report.unseen["queries"], report.unseen["passages"]) == (3.0, 48.0)
    assert report.unseen["chosen"] == max(tried.values()) == tried[report.keep]
    assert report.unseen["below_base"] == float(max(tried.values()) < report.unseen["base"])


def test_the_same_training_without_the_choice_gives_the_weights_that_were_tried(tiny: Path, tmp_path: Path) -> None:
    """The figures of the report must be those of the model that was written."""
    chosen = run(tiny, tmp_path / "chosen", TrainingStage("labels", RIGHT), unseen_share=0.25)
    trained, _ = split_unseen(RIGHT, share=0.25, seed=0, relevant_from=2)
    run(tiny, tmp_path / "same", TrainingStage("labels", tuple(trained)), keep=chosen.keep)
    assert hash_directory(tmp_path / "chosen") == hash_directory(tmp_path / "same")


def test_a_query_put_aside_is_put_aside_in_every_stage(tiny: Path, tmp_path: Path) -> None:
    """Trained on in the other stage it would be seen, and the choice would be made on seen queries."""
    both = (TrainingStage("llm", WRONG, epochs=1), TrainingStage("human", RIGHT, epochs=1))
    report = run(tiny, tmp_path / "model", *both, unseen_share=0.25)
    assert [one.n_queries for one in report.by_stage] == [9, 9]
    assert report.unseen["queries"] == 3


def test_when_nothing_can_be_put_aside_the_report_says_so(tiny: Path, tmp_path: Path) -> None:
    """Silence would read as: checked on unseen queries."""
    tied = tuple(
        GradedList(each.query_id, each.query, (*each.passages, LabelledPassage("hub", "the answer to all", 2)))
        for each in RIGHT
    )
    report = run(tiny, tmp_path / "model", TrainingStage("labels", tied), unseen_share=0.25, epochs=1, keep=0.5)
    assert report.unseen == {"queries": 0.0}
    assert report.keep == 0.5
    assert report.n_queries == 12


def test_a_training_can_be_cancelled_while_the_part_to_keep_is_chosen(tiny: Path, tmp_path: Path) -> None:
    """The person who pressed stop would wait, or get a model they no longer wanted."""
    polls: list[int] = []

    def should_cancel() -> bool:
        polls.append(1)
        return len(polls) > 1 + 3 + 2  # before, after each of three steps, and two texts into the choice

    with pytest.raises(TrainingCancelled, match="after step 3"):
        run(tiny, tmp_path / "model", epochs=1, unseen_share=0.25, calls={"should_cancel": should_cancel})
    assert list(tmp_path.iterdir()) == []


def test_bf16_gives_nearly_the_same_model_in_float32(tiny: Path, tmp_path: Path) -> None:
    """Half the digits in the weights, not only in the sums, would lose most of a fine-tune's small steps."""
    run(tiny, tmp_path / "plain", epochs=2)
    run(tiny, tmp_path / "bf16", epochs=2, bf16=True)
    assert {tensor.dtype for tensor in weights(tmp_path / "bf16").values()} == {torch.float32}
    assert 0 < moved(tmp_path / "plain", tmp_path / "bf16") < 0.05 * moved(tiny, tmp_path / "plain")


def test_a_model_in_half_precision_is_trained_in_full(tiny: Path, tmp_path: Path) -> None:
    """In bfloat16 a step of 1e-5 rounds to nothing: the training would end where it began."""
    half = tmp_path / "half"
    shutil.copytree(tiny, half)
    save_file(
        {name: tensor.bfloat16() for name, tensor in weights(tiny).items()},
        half / "model.safetensors",
        {"format": "pt"},
    )
    config = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    run(half, tmp_path / "model", epochs=1, learning_rate=1e-5)
    assert {tensor.dtype for tensor in weights(tmp_path / "model").values()} == {torch.float32}
    assert moved(half, tmp_path / "model") > 0


def test_lora_on_a_model_without_layers_is_refused(tmp_path: Path) -> None:
    """It would train nothing and write the base under a new name."""
    words = sorted({word for text in all_texts() for word in text.split()})
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    static = tmp_path / "static"
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)]).save(
        str(static), create_model_card=False
    )
    with pytest.raises(ValueError, match="no transformer layer"):
        run(static, tmp_path / "lora", lora_rank=2)
    run(static, tmp_path / "plain", epochs=20, learning_rate=0.1, gradient_chunk=5)
    assert in_right_order(tmp_path / "plain") >= 11
