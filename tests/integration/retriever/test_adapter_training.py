from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retriever.adapter import QueryAdapter
from retriever.adapter_training import Baseline, train_adapter
from retriever.errors import EmptyTrainingSet, TrainingCancelled
from retriever.model_store import hash_directory
from retriever.types import (
    ADAPTER_KINDS,
    LOSS_NAMES,
    AdapterSettings,
    GradedList,
    LabelledPassage,
    TrainingProgress,
    TrainingReport,
    TrainingStage,
)

DIM = 128
TOPICS = 40
QUICK = AdapterSettings(relevant_from=1, max_grade=1, epochs=3)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class World:
    """Forty topics: four queries of a topic lie close together; their answer lies elsewhere, a decoy beside them."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        centres = unit(draw.normal(size=(TOPICS, DIM)))
        answers = unit(centres + unit(draw.normal(size=(TOPICS, DIM))))
        decoys = unit(centres + 0.3 * unit(draw.normal(size=(TOPICS, DIM))))
        others = unit(draw.normal(size=(200, DIM)))
        self.passages = np.concatenate([answers, decoys, others])
        self.ids = [f"p{row}" for row in range(len(self.passages))]
        self.queries = {
            f"q{topic}.{turn}": vector
            for topic in range(TOPICS)
            for turn, vector in enumerate(unit(centres[topic] + 0.25 * unit(draw.normal(size=(5, DIM)))))
        }
        self.far = unit(draw.normal(size=(50, DIM)))

    def labelled(self, topic: int, turn: int, *, right: bool = True) -> GradedList:
        good, bad = (topic, TOPICS + topic) if right else (TOPICS + topic, topic)
        passages = (LabelledPassage(f"p{good}", f"{good}", 1.0), LabelledPassage(f"p{bad}", f"{bad}", 0.0))
        return GradedList(f"q{topic}.{turn}", f"query {topic} {turn}", passages)

    def stage(self, *, right: bool = True, turns: int = 4, name: str = "labels", **changes: object) -> TrainingStage:
        lists = tuple(self.labelled(topic, turn, right=right) for topic in range(TOPICS) for turn in range(turns))
        return TrainingStage(name, lists, **changes)  # type: ignore[arg-type]

    def found_first(self, adapter: QueryAdapter | None) -> float:
        """Share of the topics' fifth queries, which nobody labelled, whose answer comes before its decoy."""
        asked = np.stack([self.queries[f"q{topic}.4"] for topic in range(TOPICS)])
        scores = (asked if adapter is None else adapter.apply(asked)) @ self.passages.T
        topics = np.arange(TOPICS)
        return float(np.mean(scores[topics, topics] > scores[topics, TOPICS + topics]))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def run(
    world: World,
    output: Path,
    *stages: TrainingStage,
    settings: AdapterSettings = QUICK,
    seen: list[TrainingProgress] | None = None,
    polls: int | None = None,
    baseline: Baseline | None = None,
) -> TrainingReport:
    left = iter(range(polls)) if polls is not None else None
    return train_adapter(
        stages=stages or (world.stage(),),
        query_vectors=world.queries,
        passage_ids=world.ids,
        passage_vectors=world.passages,
        settings=settings,
        output=output,
        baseline=baseline,
        on_progress=None if seen is None else seen.append,
        should_cancel=None if left is None else lambda: next(left, None) is None,
    )


def test_a_retrain_helps_new_queries_of_known_topics_and_leaves_others_alone(world: World, tmp_path: Path) -> None:
    """The whole point: what people corrected is corrected for the next who asks, and nothing else is broken."""
    seen: list[TrainingProgress] = []
    settings = AdapterSettings(relevant_from=1, max_grade=1, epochs=10)
    report = run(world, tmp_path / "adapter", settings=settings, seen=seen)
    adapter = QueryAdapter.load(tmp_path / "adapter")
    before = world.found_first(None)
    assert before < 0.3
    assert world.found_first(adapter) > before + 0.5
    assert np.mean(np.sum(adapter.apply(world.far) * world.far, axis=1)) > 0.9
    assert report.keep > 0
    assert report.unseen["nDCG@10"] >= report.unseen["nDCG@10 before"]
    assert report.unseen["seen nDCG@10"] > report.unseen["seen nDCG@10 before"]
    assert report.unseen["queries"] == 32
    assert (report.n_queries, report.n_passages, report.n_positives, report.n_hard_negatives) == (160, 320, 160, 160)
    assert report.stages == ("labels",)
    assert [entry.epoch for entry in seen] == [float(number) for number in range(1, len(seen) + 1)]
    assert all(0 < entry.step <= entry.total_steps for entry in seen)
    assert seen[-1].step == report.steps


def test_labels_that_only_harm_the_unseen_are_not_kept(world: World, tmp_path: Path) -> None:
    """A low-rank map learns one direction for all queries; where that hurts the unseen slice nothing may be kept."""
    one_way = TrainingStage(
        "labels",
        tuple(
            GradedList(
                f"q{topic}.{turn}",
                f"query {topic} {turn}",
                (
                    LabelledPassage(f"p{TOPICS + topic}", f"{topic}", 1.0),
                    LabelledPassage(f"p{2 * TOPICS + turn}", "far", 0.0),
                ),
            )
            for topic in range(TOPICS)
            for turn in range(4)
        ),
    )
    settings = AdapterSettings(kind="low_rank", learning_rate=5.0, relevant_from=1, max_grade=1, epochs=2)
    report = run(world, tmp_path / "adapter", one_way, settings=settings)
    assert report.keep == 0
    assert report.unseen["nDCG@10"] == report.unseen["nDCG@10 before"]
    np.testing.assert_allclose(QueryAdapter.load(tmp_path / "adapter").apply(world.far), world.far, atol=1e-6)


@pytest.mark.parametrize("kind", ADAPTER_KINDS)
def test_every_kind_trains_and_loads(world: World, tmp_path: Path, kind: str) -> None:
    """A kind that can be chosen in the settings and fails at the click."""
    settings = AdapterSettings(kind=kind, rank=8, relevant_from=1, max_grade=1, epochs=2, unseen_share=0.0)
    report = run(world, tmp_path / "adapter", settings=settings)
    adapter = QueryAdapter.load(tmp_path / "adapter")
    assert adapter.kind == kind
    assert np.abs(adapter.apply(world.far) - world.far).max() > 1e-4
    assert report.keep == 1.0
    assert report.unseen == {}


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_every_loss_trains(world: World, tmp_path: Path, loss: str) -> None:
    """A loss that cannot take a list with the corpus beside it would stop the first to choose it."""
    settings = AdapterSettings(loss=loss, relevant_from=1, max_grade=1, epochs=1, unseen_share=0.0)
    assert run(world, tmp_path / "adapter", settings=settings).final_loss >= 0
    assert np.isfinite(QueryAdapter.load(tmp_path / "adapter").apply(world.far)).all()


def test_the_last_stage_has_the_last_word(world: World, tmp_path: Path) -> None:
    """Trained as one heap, wrong LLM labels outvote the people who corrected them."""
    wrong = world.stage(right=False, name="llm", epochs=2)
    right = world.stage(turns=4, name="human", epochs=10, one_positive=True, learning_rate=5e-3)
    settings = AdapterSettings(relevant_from=1, max_grade=1)
    report = run(world, tmp_path / "adapter", wrong, right, settings=settings)
    assert report.stages == ("human",)
    assert [(one.name, one.steps > 0, one.n_queries) for one in report.by_stage] == [
        ("llm", False, 160),
        ("human", True, 160),
    ], "judged by people's grades, no pass over the wrong ones is kept, and the report says so"
    assert world.found_first(QueryAdapter.load(tmp_path / "adapter")) > 0.8


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(world: World, tmp_path: Path) -> None:
    """A result that cannot be repeated cannot be trusted."""
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        run(world, tmp_path / name, settings=replace(QUICK, epochs=8, seed=seed))
    assert hash_directory(tmp_path / "one") == hash_directory(tmp_path / "two") != hash_directory(tmp_path / "other")


def test_a_new_adapter_is_measured_against_the_live_one_only_on_what_was_new_to_that(
    world: World, tmp_path: Path
) -> None:
    """Against the encoder alone every retrain looks like a gain; against an adapter that was trained on the very lists
    put aside none ever would, and the loop would end after its first round."""
    settings = AdapterSettings(relevant_from=1, max_grade=1)
    run(world, tmp_path / "first", settings=settings)
    live = QueryAdapter.load(tmp_path / "first")
    answers = {f"p{topic}" for topic in range(TOPICS)}

    def again(name: str, trained_on: set[str]) -> TrainingReport:
        return run(world, tmp_path / name, settings=settings, baseline=Baseline(live, trained_on))

    new, known = again("new", set()), again("known", answers)
    assert (new.unseen["queries new to live"], known.unseen["queries new to live"]) == (32, 0)
    assert new.unseen["nDCG@10 before"] > 0.9 > known.unseen["nDCG@10 before"]
    assert new.keep == 0, "the live adapter has learnt these lists: nothing that left them out is better"
    assert new.unseen["nDCG@10"] == known.unseen["nDCG@10 before"], "what is written then is the encoder alone"
    assert known.keep > 0


@pytest.mark.parametrize("polls", [0, 3])
def test_a_cancelled_training_leaves_nothing(world: World, tmp_path: Path, polls: int) -> None:
    """Half an adapter in the registry would be promoted by the next click."""
    with pytest.raises(TrainingCancelled):
        run(world, tmp_path / "adapter", polls=polls)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_train_on_says_why(world: World, tmp_path: Path) -> None:
    """ "No list" without the reason sends people looking for labels that are there."""
    alone = GradedList("q0.0", "query", (LabelledPassage("p1", "1", 0.0),))
    with pytest.raises(EmptyTrainingSet, match="no positive: 1"):
        run(world, tmp_path / "adapter", TrainingStage("labels", (alone,)))
    assert not (tmp_path / "adapter").exists()


def test_a_folder_in_use_is_refused_before_any_work(world: World, tmp_path: Path) -> None:
    """Minutes of work that cannot be written anywhere."""
    (tmp_path / "something").touch()
    with pytest.raises(FileExistsError):
        run(world, tmp_path)


def test_vectors_that_do_not_fit_are_refused(world: World, tmp_path: Path) -> None:
    """Vectors of another encoder, or of half the corpus, would train an adapter for nothing that exists."""
    for queries, passages, said in (
        ({"q0.0": np.ones(7, np.float32)}, world.passages, "expected"),
        (world.queries, world.passages[:-1], "passage ids"),
        ({**world.queries, "q0.0": np.full(DIM, np.nan, np.float32)}, world.passages, "NaN"),
    ):
        with pytest.raises(ValueError, match=said):
            train_adapter(
                stages=[world.stage()],
                query_vectors=queries,
                passage_ids=world.ids,
                passage_vectors=passages,
                settings=QUICK,
                output=tmp_path / "adapter",
            )
    assert list(tmp_path.iterdir()) == []


def test_a_few_labels_are_enough_to_learn_from(world: World, tmp_path: Path) -> None:
    """The first click of a new team has a dozen questions: too few to put ten aside, not too few to help."""
    stage = TrainingStage("labels", tuple(world.labelled(topic, 0) for topic in range(12)))
    report = run(world, tmp_path / "adapter", stage, settings=AdapterSettings(relevant_from=1, max_grade=1))
    assert report.keep > 0
    assert report.unseen["trained nDCG@10"] > report.unseen["trained nDCG@10 before"]


def test_more_queries_than_keys_become_centres(world: World, tmp_path: Path) -> None:
    """With a key for each of a million queries every search would pay for all of them."""
    settings = AdapterSettings(rank=TOPICS, relevant_from=1, max_grade=1, epochs=12)
    run(world, tmp_path / "adapter", settings=settings)
    adapter = QueryAdapter.load(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter.safetensors").stat().st_size < 2.2 * TOPICS * DIM * 4 + 500
    assert world.found_first(adapter) > world.found_first(None) + 0.3
