import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from retriever.adapter import META_NAME, WEIGHTS_NAME, Kernel, LowRank, Mlp, QueryAdapter, Transform
from retriever.errors import ModelCorrupt, ModelNotFound
from retriever.types import ADAPTER_KINDS


def unit(*rows: list[float]) -> np.ndarray:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def random_queries(n: int = 5, dim: int = 8) -> np.ndarray:
    return unit(*np.random.default_rng(0).normal(size=(n, dim)).tolist())


def fresh(kind: str) -> Transform:
    generator = torch.Generator().manual_seed(0)
    if kind == "low_rank":
        return LowRank.fresh(dim=8, rank=3, generator=generator)
    if kind == "mlp":
        return Mlp.fresh(dim=8, rank=3, generator=generator)
    return Kernel.fresh(torch.tensor(random_queries(3)), power=2.0)


def learned(kind: str) -> Transform:
    transform = fresh(kind)
    with torch.no_grad():
        for number, parameter in enumerate(transform.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return transform


@pytest.mark.parametrize("kind", ADAPTER_KINDS)
def test_an_adapter_that_has_learned_nothing_changes_nothing(kind: str) -> None:
    """Training starts from the live model; a start elsewhere would lose quality before the first label counts."""
    queries = random_queries()
    adapter = QueryAdapter(fresh(kind))
    assert (adapter.kind, adapter.dim) == (kind, 8)
    np.testing.assert_allclose(adapter.apply(queries), queries, atol=1e-6)


def test_the_low_rank_change_is_up_times_down() -> None:
    """q = (.6, .8), V = (1, 0), U = (0, 2): δ = (0, 1.2), so q' is (.6, 2.0) over its length."""
    adapter = QueryAdapter(LowRank(down=torch.tensor([[1.0, 0.0]]), up=torch.tensor([[0.0], [2.0]])))
    length = math.hypot(0.6, 2.0)
    found = adapter.apply(unit([0.6, 0.8]))
    np.testing.assert_allclose(found, [[0.6 / length, 2.0 / length]], rtol=1e-6)


def test_the_hidden_layer_is_a_gelu() -> None:
    """q = (1, 0), V q + b = 1: gelu(1) = Φ(1) = .8413447, written to the second coordinate."""
    adapter = QueryAdapter(
        Mlp(down=torch.tensor([[0.5, 0.0]]), bias=torch.tensor([0.5]), up=torch.tensor([[0.0], [1.0]]))
    )
    length = math.hypot(1.0, 0.8413447)
    np.testing.assert_allclose(adapter.apply(unit([1.0, 0.0])), [[1 / length, 0.8413447 / length]], rtol=1e-5)


def test_a_kernel_gives_a_query_the_values_of_the_keys_near_it() -> None:
    """Keys (1, 0, 0) and (0, 1, 0), p = 2, q = (.6, .8, 0): g = .36 and .64, together 1, so δ = (0, 0, .36 + 1.28)."""
    keys = torch.eye(3)[:2]
    values = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    kernel = Kernel(keys=keys, values=values, power=torch.tensor(2.0))
    found = QueryAdapter(kernel).apply(unit([0.6, 0.8, 0.0]))
    np.testing.assert_allclose(found, unit([0.6, 0.8, 1.64]), rtol=1e-6)


def test_many_near_keys_average_instead_of_adding_up() -> None:
    """A topic asked a hundred times would be thrown a hundred times as far."""
    one = Kernel(keys=torch.eye(2)[:1], values=torch.tensor([[0.0, 1.0]]), power=torch.tensor(2.0))
    many = Kernel(
        keys=torch.eye(2)[:1].repeat(100, 1),
        values=torch.tensor([[0.0, 1.0]]).repeat(100, 1),
        power=torch.tensor(2.0),
    )
    query = unit([1.0, 0.0])
    np.testing.assert_allclose(QueryAdapter(many).apply(query), QueryAdapter(one).apply(query), rtol=1e-6)


def test_a_query_far_from_every_key_moves_little() -> None:
    """What was learned of one topic must not move questions of another: that is how unseen falls."""
    kernel = Kernel(keys=torch.eye(3)[:1], values=torch.tensor([[0.0, 1.0, 0.0]]), power=torch.tensor(4.0))
    beside, opposite, near = unit([0.2, 0.0, 0.98]), unit([-0.9, 0.0, 0.44]), unit([0.9, 0.0, 0.44])
    assert QueryAdapter(kernel).apply(beside)[0, 1] == pytest.approx(0.0016, rel=0.01)
    np.testing.assert_allclose(QueryAdapter(kernel).apply(opposite), opposite, atol=1e-7)
    assert QueryAdapter(kernel).apply(near)[0, 1] == pytest.approx(0.6561 / math.hypot(1, 0.6561), rel=0.01)


@pytest.mark.parametrize("kind", ADAPTER_KINDS)
def test_strength_scales_the_change(kind: str) -> None:
    """Half the strength that is not half the change would be reported as something it is not."""
    queries = torch.tensor(random_queries())
    transform = learned(kind)
    with torch.no_grad():
        whole = transform.change(queries).clone()
        transform.scale(0.5)
        np.testing.assert_allclose(transform.change(queries).numpy(), 0.5 * whole.numpy(), rtol=1e-5, atol=1e-7)
        assert whole.abs().max() > 0.01


@pytest.mark.parametrize("kind", ADAPTER_KINDS)
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, kind: str) -> None:
    """A registry entry that searches otherwise than the model that passed the gate."""
    queries = random_queries()
    untouched = queries.copy()
    adapter = QueryAdapter(learned(kind))
    adapter.save(tmp_path / "adapter")
    loaded = QueryAdapter.load(tmp_path / "adapter")
    changed = loaded.apply(queries)
    np.testing.assert_array_equal(changed, adapter.apply(queries))
    np.testing.assert_array_equal(queries, untouched)
    np.testing.assert_allclose(np.linalg.norm(changed, axis=1), 1, rtol=1e-5)
    assert changed.dtype == np.float32
    assert np.abs(changed - queries).max() > 0.01
    assert loaded.kind == kind
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [META_NAME, WEIGHTS_NAME]
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_folder_in_use_is_never_written_over(tmp_path: Path) -> None:
    """An adapter that is live must not change under the feet of a search."""
    QueryAdapter(fresh("low_rank")).save(tmp_path)
    before = (tmp_path / WEIGHTS_NAME).read_bytes()
    with pytest.raises(FileExistsError, match="not empty"):
        QueryAdapter(learned("low_rank")).save(tmp_path)
    assert (tmp_path / WEIGHTS_NAME).read_bytes() == before


def test_a_query_that_a_change_would_erase_stays(tmp_path: Path) -> None:
    """A zero vector divided by its length is NaN, and a search with NaN answers nonsense."""
    kernel = Kernel(keys=torch.eye(2)[:1], values=-torch.eye(2)[:1], power=torch.tensor(2.0))
    query = unit([1.0, 0.0])
    np.testing.assert_array_equal(QueryAdapter(kernel).apply(query), query)


def test_vectors_of_another_model_are_refused() -> None:
    """An adapter beside the wrong encoder would search at random."""
    with pytest.raises(ValueError, match=r"\(any, 8\)"):
        QueryAdapter(fresh("mlp")).apply(random_queries(dim=6))
    assert QueryAdapter(fresh("mlp")).apply(random_queries()[:0]).shape == (0, 8)


def test_a_missing_adapter_is_told_from_a_broken_one(tmp_path: Path) -> None:
    """ "Train it" and "restore it" are different answers."""
    with pytest.raises(ModelNotFound, match=r"adapter\.json"):
        QueryAdapter.load(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", ["cut", "gone", "nan", "shape", "kind", "dim", "format", "json", "names"])
def test_a_damaged_adapter_is_refused(tmp_path: Path, damage: str) -> None:
    """A search with half an adapter, or a NaN, would look like a bad model instead of a broken file."""
    folder = tmp_path / "adapter"
    QueryAdapter(learned("low_rank")).save(folder)
    weights, meta = folder / WEIGHTS_NAME, folder / META_NAME
    tensors, fields = load_file(str(weights)), json.loads(meta.read_text())
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif damage == "gone":
        weights.unlink()
    elif damage == "json":
        meta.write_text("{")
    elif damage in ("kind", "dim", "format"):
        meta.write_text(json.dumps({**fields, damage: {"kind": "cubic", "dim": 9, "format": 99}[damage]}))
    else:
        changed = {
            "nan": {**tensors, "up": torch.full_like(tensors["up"], float("nan"))},
            "shape": {**tensors, "up": tensors["up"][:, :2].contiguous()},
            "names": {"sideways": tensors["up"]},
        }[damage]
        save_file(changed, str(weights))
    with pytest.raises(ModelCorrupt):
        QueryAdapter.load(folder)
