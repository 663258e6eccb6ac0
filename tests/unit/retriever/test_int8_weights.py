"""Weights in int8: what they are rounded to, which matrices stay as they are, and what a product then gives."""

import numpy as np
import openvino
import pytest
from openvino import opset15 as ops

from retriever.encoding.int8_weights import GROUP, in_groups, with_int8_weights
from retriever.errors import BackendRefused


def products(*names: str, width: int = 2 * GROUP) -> openvino.Model:
    """A graph of matrix products, one after the other, with square weights of these names: (n, width) to (n, width)."""
    rng = np.random.default_rng(0)
    texts = ops.parameter([-1, width], np.float32)
    node: openvino.Node = texts
    for name in names:
        weights = ops.constant(rng.normal(size=(width, width)).astype(np.float32), name=name)
        node = ops.matmul(node, weights, transpose_a=False, transpose_b=True)
    return openvino.Model([node], [texts])


def kinds(model: openvino.Model) -> list[str]:
    """The element types of the constants with two dimensions or more, in order."""
    nodes = (node for node in model.get_ordered_ops() if node.get_type_name() == "Constant")
    return [node.get_element_type().get_type_name() for node in nodes if len(node.get_output_shape(0)) > 1]


def run(model: openvino.Model, texts: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(model, "CPU", {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0})
    return np.array(compiled(texts)[0])


def test_weights_are_rounded_within_their_own_group() -> None:
    """One large weight that rounds all the others of its row to nothing."""
    row = np.zeros(2 * GROUP, dtype=np.float32)
    row[0], row[1], row[2] = 127.0, -3.4, 0.5
    row[GROUP], row[GROUP + 1] = -2.54, 0.011
    values, scales = in_groups(np.stack([row, np.zeros_like(row)]))
    # By hand: scale 127/127 in the first group, 2.54/127 in the second; halves go to the even number.
    np.testing.assert_allclose(scales[0, :, 0], [1.0, 0.02], rtol=1e-6)
    assert values.dtype == np.int8
    assert values[0, 0, :4].tolist() == [127, -3, 0, 0]
    assert values[0, 1, :2].tolist() == [-127, 1]
    assert not values[1].any(), "a row of zeros is zeros, not a division by zero"
    assert np.isfinite(scales).all()


def test_a_product_in_int8_is_the_product_nearly_and_the_model_itself_stays() -> None:
    """Weights put back turned round, or the float32 backend made coarse by what was done for another."""
    model = products("layer.query.weight", "layer.output.weight", "layer.value.weight")
    texts = np.random.default_rng(1).normal(size=(5, 2 * GROUP)).astype(np.float32)
    before = run(model, texts)
    quantised = with_int8_weights(model)
    assert [kind for kind in kinds(quantised) if kind == "i8"] == ["i8", "i8"]
    assert kinds(model) == ["f32", "f32", "f32"]
    np.testing.assert_array_equal(run(model, texts), before)
    after = run(quantised, texts)
    cosines = (after * before).sum(axis=1) / np.linalg.norm(after, axis=1) / np.linalg.norm(before, axis=1)
    assert 0.9999 < cosines.min() < 1
    assert np.abs(after - before).max() > 0


@pytest.mark.parametrize(
    "name",
    [
        "layer.0.attention.self.value.weight",
        "encoder.v.weight",
        "layer.1.v_lin.weight",
        "layers.3.attn.Wqkv.weight",
        "layer.2.attention.qkv_proj.weight",
        "self_attn.in_proj_weight",
    ],
)
def test_the_projection_to_attentions_values_stays_in_float32(name: str) -> None:
    """The one matrix whose rounding shows in every vector."""
    quantised = with_int8_weights(products(name, "layer.0.attention.output.dense.weight"))
    assert sorted(kinds(quantised)) == ["f32", "f32", "i8"], "the values, the scales, and the other in int8"


def test_a_model_without_a_matrix_that_fits_is_refused() -> None:
    """A backend called int8 that is float32, slower and under another name."""
    with pytest.raises(BackendRefused, match="no matrix in this model"):
        with_int8_weights(products("a.value.weight", "b.value.weight"))
    with pytest.raises(BackendRefused, match="no matrix in this model"):
        with_int8_weights(products("a.value.weight", "a.query.weight", width=40))


def test_a_model_whose_values_have_another_name_is_refused() -> None:
    """An architecture nobody here has seen, its vectors worse than they need be."""
    with pytest.raises(BackendRefused, match="does not find the projection to attention's values"):
        with_int8_weights(products("a.query.weight", "a.valuable.weight"))
