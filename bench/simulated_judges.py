"""Made-up judges to try estimators and calibrators on, where the truth is known; no real judge is here.

Each judge has its own skill, bias toward one side, over- or underconfidence, and a leaning that differs by question. It
states one of nine confidences, and a token probability that is nearly always near 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from annotator.calibration import JudgedInput

STATED = np.array([0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])


@dataclass(frozen=True, slots=True)
class Simulated:
    """One judge's suggestions on grades 0 and 1, what people say of each, and of which question it is."""

    inputs: list[JudgedInput]
    relevant: list[bool]
    queries: list[str]

    def part(self, first: int, last: int) -> Simulated:
        """The pairs from `first` up to, not including, `last`."""
        return Simulated(self.inputs[first:last], self.relevant[first:last], self.queries[first:last])


def simulated_judge(seed: int, *, questions: int, pairs: int) -> Simulated:
    """A judge on so many questions of so many pairs each; the same seed gives the same one."""
    generator = np.random.default_rng(seed)
    prevalence = generator.normal(-1.2, 0.8, questions)
    skill, bias = generator.uniform(1.0, 2.5), generator.normal(0.0, 0.7)
    leaning = generator.normal(0.0, 0.5, questions)
    boldness = np.exp(generator.normal(0.0, 0.5))
    question = np.repeat(np.arange(questions), pairs)
    n = questions * pairs
    merit = generator.normal(0.0, 2.0, n) + prevalence[question]
    relevant = generator.random(n) < 1.0 / (1.0 + np.exp(-1.8 * merit))
    opinion = skill * (merit + generator.normal(0.0, 0.8, n)) + bias + leaning[question]
    said = opinion > 0
    confidence = 1.0 / (1.0 + np.exp(-np.abs(opinion) * boldness / 2.0))
    confidence = STATED[np.abs(confidence[:, None] - STATED).argmin(axis=1)]
    token = 1.0 / (1.0 + np.exp(-np.abs(opinion + generator.normal(0.0, 1.0, n)) * 4.0))
    inputs = [
        JudgedInput(int(yes), float(c), (1.0 - t, t) if yes else (t, 1.0 - t))
        for yes, c, t in zip(said.tolist(), confidence.tolist(), token.tolist(), strict=True)
    ]
    return Simulated(inputs, relevant.tolist(), [f"q{q}" for q in question.tolist()])
