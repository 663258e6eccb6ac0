import math
from pathlib import Path

import ir_measures
import numpy as np
import pytest
import torch

from retriever.adapter import Kernel, LowRank
from retriever.adapter_fit import Corpus, list_loss, ndcg, open_corpus, train_epochs
from retriever.adapter_fit import _batch as make_batch
from retriever.adapter_lists import VectorList
from retriever.errors import TrainingDiverged
from retriever.losses import make_loss
from retriever.types import AdapterSettings

SETTINGS = AdapterSettings(relevant_from=1, max_grade=3, temperature=1.0, in_batch_margin=0.1)


def unit(rows: object) -> np.ndarray:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_list(row: int, grades: dict[int, float], spared: tuple[int, ...] = ()) -> VectorList:
    return VectorList(
        query_id=f"q{row}",
        row=row,
        passages=np.array(list(grades), dtype=np.int64),
        grades=np.array(list(grades.values()), dtype=np.float32),
        weights=np.ones(len(grades), dtype=np.float32),
        spared=np.array(spared, dtype=np.int64),
    )


def random_corpus(n_queries: int = 12, n_passages: int = 60, dim: int = 16) -> Corpus:
    draw = np.random.default_rng(3)
    queries, passages = (unit(draw.normal(size=(n, dim))) for n in (n_queries, n_passages))
    return open_corpus(queries, passages, [], negatives=n_passages, seed=0)


def loss_of(entry: VectorList, corpus: Corpus, settings: AdapterSettings = SETTINGS) -> float:
    batch = make_batch([entry], corpus)
    loss = make_loss("sum_marginal", temperature=settings.temperature, relevant_from=1)
    return float(list_loss(batch.queries, batch, corpus, loss=loss, settings=settings))


def test_unlabelled_passages_are_negatives_only_under_the_margin_and_never_when_spared() -> None:
    """False negatives are the usual way in which a retriever is trained away from good passages.

    Scores of q = (1, 0): labelled .8; unlabelled .72 (not below .8 − .08), .6 (spared) and .28. So the loss is
    log(1 + e^(.28 − .8)).
    """
    passages = unit([[0.8, 0.6], [0.72, math.sqrt(1 - 0.72**2)], [0.6, 0.8], [0.28, 0.96]])
    corpus = open_corpus(unit([[1, 0]]), passages, [], negatives=4, seed=0)
    expected = math.log1p(math.exp(0.28 - 0.8))
    assert loss_of(make_list(0, {0: 1.0}, spared=(2,)), corpus) == pytest.approx(expected, rel=1e-5)
    both = math.log1p(math.exp(0.28 - 0.8) + math.exp(0.6 - 0.8))
    assert loss_of(make_list(0, {0: 1.0}), corpus) == pytest.approx(both, rel=1e-5)


def test_a_labelled_negative_counts_whatever_it_scores_and_only_once() -> None:
    """A judged mistake of the live model is what there is to learn from; counted twice it would weigh twice."""
    passages = unit([[0.8, 0.6], [0.96, 0.28], [0.28, 0.96]])
    corpus = open_corpus(unit([[1, 0]]), passages, [], negatives=3, seed=0)
    expected = math.log1p(math.exp(0.96 - 0.8) + math.exp(0.28 - 0.8))
    assert loss_of(make_list(0, {0: 1.0, 1: 0.0}), corpus) == pytest.approx(expected, rel=1e-5)


def test_only_the_hardest_negatives_of_the_pool_enter_a_list() -> None:
    """A pairwise loss over a whole corpus would not fit in memory; dropping the hard ones would teach nothing."""
    passages = unit([[0.8, 0.6], [0.5, math.sqrt(0.75)], [0.28, 0.96], [0.1, math.sqrt(0.99)]])
    corpus = open_corpus(unit([[1, 0]]), passages, [], negatives=4, seed=0)
    settings = AdapterSettings(relevant_from=1, temperature=1.0, in_batch_margin=0.1, list_negatives=1)
    assert loss_of(make_list(0, {0: 1.0}), corpus, settings) == pytest.approx(math.log1p(math.exp(0.5 - 0.8)), rel=1e-5)


def test_the_pool_is_bounded_and_drawn_by_the_seed_from_a_memory_mapped_file(tmp_path: Path) -> None:
    """A million passages read into memory would take the machine down with the training."""
    stored = np.lib.format.open_memmap(tmp_path / "v.npy", mode="w+", dtype=np.float32, shape=(5000, 4))
    stored[:] = unit(np.random.default_rng(0).normal(size=(5000, 4)))
    vectors = np.load(tmp_path / "v.npy", mmap_mode="r")
    lists = [make_list(0, dict.fromkeys(range(0, 5000, 50), 1.0))]
    one, same, other = (open_corpus(stored[:1], vectors, lists, negatives=60, seed=seed) for seed in (0, 0, 1))
    assert one.pool.shape == (60, 4)
    assert isinstance(one.passages, np.memmap)
    assert torch.equal(one.pool, same.pool)
    assert not torch.equal(one.pool, other.pool)
    inside = np.flatnonzero(one.column >= 0)
    np.testing.assert_array_equal(one.pool[one.column[inside]].numpy(), stored[inside])
    assert len(set(inside.tolist()) & set(lists[0].passages.tolist())) >= 30


def test_ndcg_is_the_one_of_ir_measures() -> None:
    """An epoch chosen by another measure than the gate's would be chosen for nothing."""
    corpus = random_corpus()
    draw = np.random.default_rng(1)
    lists = [
        make_list(row, {int(at): float(draw.integers(0, 4)) for at in draw.choice(60, 20, replace=False)} | {row: 3.0})
        for row in range(12)
    ]
    scores = corpus.queries @ corpus.passages.T
    run = {f"q{row}": {str(at): float(scores[row, at]) for at in range(60)} for row in range(12)}
    qrels = {
        f"q{entry.row}": {str(at): int(grade) for at, grade in zip(entry.passages, entry.grades, strict=True)}
        for entry in lists
    }
    expected = {
        found.query_id: found.value
        for found in ir_measures.iter_calc([ir_measures.parse_measure("nDCG@10")], qrels, run)
    }
    found = ndcg(None, lists, corpus)
    np.testing.assert_allclose(found, [expected[f"q{row}"] for row in range(12)], atol=1e-6)
    assert 0 < found.mean() < 1


def test_a_spared_passage_takes_no_place_in_the_ranking() -> None:
    """An adapter that finds an answer nobody listed here would be stopped for it.

    By score: unlabelled .96, spared .9, the answer .8. With the first alone before it, nDCG is 1 / log2(3).
    """
    passages = unit([[0.8, 0.6], [0.9, math.sqrt(0.19)], [0.96, 0.28]])
    corpus = open_corpus(unit([[1, 0]]), passages, [], negatives=3, seed=0)
    assert ndcg(None, [make_list(0, {0: 1.0}, spared=(1,))], corpus)[0] == pytest.approx(1 / math.log2(3))
    assert ndcg(None, [make_list(0, {0: 1.0})], corpus)[0] == pytest.approx(1 / math.log2(4))


def test_training_learns_what_the_lists_say() -> None:
    """Gradient steps that lead nowhere would end in an adapter that is always the live model."""
    corpus = random_corpus()
    lists = [make_list(row, {row + 20: 3.0, row + 40: 0.0}) for row in range(12)]
    transform = Kernel.fresh(torch.tensor(corpus.queries), power=4.0)
    epochs = train_epochs(
        transform,
        lists,
        corpus,
        loss=make_loss("sum_marginal", temperature=0.05, relevant_from=1),
        learning_rate=0.02,
        epochs=20,
        settings=AdapterSettings(relevant_from=1, batch_queries=5),
        generator=torch.Generator().manual_seed(0),
        poll=lambda: None,
    )
    losses = list(epochs)
    assert losses[-1] < 0.1 * losses[0]
    assert ndcg(transform, lists, corpus).mean() > ndcg(None, lists, corpus).mean() + 0.3


def test_decay_keeps_the_change_small() -> None:
    """Without a rein a few labels can throw a query across the space."""
    corpus = random_corpus()
    lists = [make_list(row, {row + 20: 3.0, row + 40: 0.0}) for row in range(12)]

    def size(decay: float) -> float:
        transform = LowRank.fresh(dim=16, rank=4, generator=torch.Generator().manual_seed(0))
        settings = AdapterSettings(relevant_from=1, identity_decay=decay)
        loss = make_loss("infonce", temperature=0.05, relevant_from=1)
        for _ in train_epochs(
            transform,
            lists,
            corpus,
            loss=loss,
            learning_rate=0.02,
            epochs=10,
            settings=settings,
            generator=torch.Generator().manual_seed(0),
            poll=lambda: None,
        ):
            pass
        return float(transform.change(torch.tensor(corpus.queries)).detach().norm())

    assert size(50.0) < 0.5 * size(0.0)


def test_numbers_that_are_no_numbers_stop_the_training() -> None:
    """A NaN that is saved makes every search fail, long after the cause is gone."""
    corpus = random_corpus()
    transform = LowRank.fresh(dim=16, rank=4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        transform.up.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="learning rate"):
        next(
            train_epochs(
                transform,
                [make_list(0, {20: 3.0, 40: 0.0})],
                corpus,
                loss=make_loss("sum_marginal", temperature=0.05, relevant_from=1),
                learning_rate=0.01,
                epochs=1,
                settings=SETTINGS,
                generator=torch.Generator(),
                poll=lambda: None,
            )
        )
