"""The AUROC of the calibration bench compares pairs under one calibrator, and counts every pair of pairs once."""

from __future__ import annotations

import numpy as np
import pytest

from annotator.calibration_measures import auroc
from annotator.types import ConfidenceKind
from bench.calibration import Judged, JudgedInput, auroc_under_one_calibrator


def test_a_calibrator_that_keeps_the_order_keeps_the_auroc() -> None:
    """Disaster: a bench that shows a gain or a loss which its own bookkeeping made.

    All grades are relevant and only one slope is there to be learnt, so every calibrator keeps the order of the raw
    confidence, and the AUROC must be that of the raw confidence to the last digit.
    """
    generator = np.random.default_rng(4)
    stated = generator.choice([0.6, 0.7, 0.8, 0.9], 240)
    relevant = [bool(x) for x in generator.random(240) < stated]
    judged = Judged(
        kind=ConfidenceKind.VERBAL,
        inputs=[JudgedInput(1, float(c), None) for c in stated],
        relevant=relevant,
        queries=[f"q{i % 7}" for i in range(240)],
    )
    found, gain = auroc_under_one_calibrator(judged, resamples=50)
    assert gain is not None
    assert (gain.value, gain.low, gain.high) == (0.0, 0.0, 0.0)
    assert found is not None
    assert found.value == pytest.approx(auroc(stated, relevant), abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
