"""Weights of a converted model in int8: matrix products then run in int8 where the processor has instructions for it.

Weights are rounded in groups of 64 along the inputs, each with its own scale (symmetric, round to nearest). OpenVINO
scales the inputs the same way as they come ("dynamic quantisation"), so that no sample of texts has to be seen first.
The projection to attention's values stays in float32: its errors are added up into every vector unsoftened (with
all-MiniLM-L6-v2, least cosine of 1,500 passages of trecdl .9983 with it, .9993 without), while those of queries and
keys pass a softmax. A model in which it is not found is refused.
"""

from __future__ import annotations

import re

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset15 as ops

from retriever.errors import BackendRefused

GROUP = 64
"""Numbers that share a scale, of weights and inputs: 32 was slower and 128 less exact by our measurement."""

SHORT = 16
"""Texts of fewer tokens are for float32: the mean over a handful of tokens does not even out what each one loses.

A prompt's tokens count, as do the marks around a text. With all-MiniLM-L6-v2, the least cosine of 300 pieces of
passages was .9983 at 3 tokens, .9991 at 8, .9990 at 12, and .9994 or more from 16 to 64.
"""

_VALUES = re.compile(r"(^|[._])(value|v|v_lin|v_proj|value_proj|w?qkv|qkv_proj|in_proj)[._]weight$", re.IGNORECASE)
"""Names of that projection, by itself or in one matrix with queries' and keys', in the encoders we know of."""


def with_int8_weights(model: openvino.Model) -> openvino.Model:
    """A copy of the model whose products with constant matrices have them in int8; the model stays as it is.

    Raises: BackendRefused when no matrix of the model can be held that way, or attention's values are not found.
    """
    copy = model.clone()
    changed = n_values = 0
    for node in copy.get_ordered_ops():
        if node.get_type_name() != "MatMul" or not node.get_attributes()["transpose_b"]:
            continue
        weights = node.input_value(1).get_node()
        if not _fits(weights):
            continue
        if _VALUES.search(weights.get_friendly_name()):
            n_values += 1
            continue
        values, scales = in_groups(np.asarray(weights.data))
        whole = ops.constant(np.array(weights.data.shape, dtype=np.int64))
        scaled = ops.multiply(ops.convert(ops.constant(values), "f32"), ops.constant(scales))
        node.input(1).replace_source_output(ops.reshape(scaled, whole, special_zero=False).output(0))
        changed += 1
    if not changed:
        raise BackendRefused("openvino-int8 finds no matrix in this model that it can hold in int8")
    if not n_values:
        raise BackendRefused("openvino-int8 does not find the projection to attention's values in this model")
    copy.validate_nodes_and_infer_types()
    return copy


def in_groups(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights (outputs, inputs) as integers (outputs, groups, 64) times scales (outputs, groups, 1)."""
    grouped = weights.reshape(len(weights), -1, GROUP)
    largest = np.abs(grouped).max(axis=-1, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(grouped / scales).astype(np.int8), scales


def _fits(weights: openvino.Node) -> bool:
    if weights.get_type_name() != "Constant" or weights.get_element_type() != openvino.Type.f32:
        return False
    shape = weights.get_output_shape(0)
    return len(shape) == 2 and shape[1] % GROUP == 0
