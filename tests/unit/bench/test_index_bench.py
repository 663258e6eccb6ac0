"""The vectors of the index bench: made the same way each time, near to what they were made of, but not equal to it."""

from __future__ import annotations

import numpy as np

from bench.index import _mixed, _neighbours, _normalised


def test_the_mix_is_seeded_normalised_and_near_its_passages() -> None:
    """Vectors that differ from run to run, or copies of each other, make every figure of the bench worthless."""
    passages = _normalised(np.random.default_rng(0).standard_normal((60, 384)).astype(np.float32))
    near = _neighbours(passages, passages, among_themselves=True)
    assert near.shape == (60, 20)
    assert not (near == np.arange(60)[:, None]).any()
    first, again = (_mixed(passages, passages, near, size=200, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.0, atol=1e-5)
    best = (first @ passages.T).max(axis=1)
    assert best.min() > 0.5
    assert best.max() < 0.97
    assert not np.allclose(first, _mixed(passages, passages, near, size=200, seed=4))
