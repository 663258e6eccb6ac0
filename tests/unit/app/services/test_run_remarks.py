"""What a training says of itself: every figure that should make people hesitate reaches them in words."""

from __future__ import annotations

from typing import Any

import pytest

from app.config import Speed
from app.services.run_remarks import remarks_on, warn

PLAIN: dict[str, Any] = {"keep": 1.0, "unseen": {}, "stages": ["LLM labels"], "cut_passages": 0, "skipped_lists": {}}


def said(speed: Speed = Speed.ADAPTER, message: str = "", **report: Any) -> str:
    return " ".join(remarks_on(PLAIN | report, speed=speed, message=message))


def test_a_training_that_went_as_it_should_says_what_it_trained_on_and_no_more() -> None:
    """Warnings that are always there are read by nobody."""
    assert warn(PLAIN) == ""
    assert said() == "Trained in this order: LLM labels."


def test_a_full_model_below_its_base_on_unseen_questions_is_said_to_be() -> None:
    """The figure lies in a JSON column while the model is promoted."""
    unseen = {"queries": 12.0, "passages": 90.0, "base": 0.5, "keep 0.25": 0.45, "chosen": 0.45, "below_base": 1.0}
    warning = warn(PLAIN | {"unseen": unseen, "keep": 0.25})
    assert warning.startswith("It may do harm: on the 12 questions put aside")
    assert "nDCG@10 from 0.500 to 0.450" in warning
    assert warning in said(Speed.FULL, unseen=unseen, keep=0.25)
    assert "It may do harm" not in said(Speed.FULL, message=warning, unseen=unseen, keep=0.25), "not twice"
    good = said(Speed.FULL, unseen=unseen | {"chosen": 0.6, "below_base": 0.0}, keep=0.5)
    assert "Checked on 12 questions put aside with all their relevant passages: nDCG@10 from 0.500 to 0.600." in good
    assert "50% of what was learned is kept, as the questions put aside say." in good


@pytest.mark.parametrize("speed", list(Speed))
def test_that_nothing_could_be_put_aside_is_said_at_every_speed(speed: Speed) -> None:
    """Silence reads as: checked."""
    text = said(speed, unseen={"queries": 0.0}, keep=0.5)
    assert "No question could be put aside to check on" in text
    assert "50% of what was learned is kept, for nothing was put aside to check it on." in text
    assert "50% of what was learned is kept, as the settings say." in said(speed, keep=0.5)


def test_an_adapters_figures_are_said_with_what_they_are_measured_against() -> None:
    """Unseen below live is the figure on which everything hangs."""
    unseen = {
        "queries": 20.0,
        "nDCG@10": 0.71,
        "nDCG@10 before": 0.7,
        "seen queries": 30.0,
        "seen nDCG@10": 0.8,
        "seen nDCG@10 before": 0.6,
    }
    text = said(unseen=unseen)
    assert "Checked on 20 questions put aside with all their relevant passages: nDCG@10 from 0.700 to 0.710." in text
    assert "On 30 questions put aside whose relevant passages were trained on: nDCG@10 from 0.600 to 0.800." in text
    assert "the live adapter" not in text
    assert "the live adapter where the passages were new to it, 5 of the 20 questions" in said(
        unseen=unseen | {"queries new to live": 5.0}
    )


def test_an_adapter_that_keeps_nothing_says_what_is_left() -> None:
    """With an adapter live, "it changes nothing" would read as: the live one stays."""
    assert "no change that was learned was better than none" in warn(PLAIN | {"unseen": {"queries": 4.0}, "keep": 0.0})
    left = warn(PLAIN | {"unseen": {"queries": 4.0, "queries new to live": 4.0}, "keep": 0.0})
    assert "better than the live adapter. What it leaves is the encoder without an adapter." in left


def test_labels_and_stages_that_did_not_count_are_named() -> None:
    """Labels that silently count for nothing look like labels that do not help."""
    stages = [{"name": "LLM labels", "steps": 0, "n_queries": 9}, {"name": "human labels", "steps": 4, "n_queries": 2}]
    text = said(by_stage=stages, cut_passages=1200, skipped_lists={"no positive": 3})
    assert "Tried and not kept, for no pass over them was better than none: LLM labels." in text
    assert "1,200 labels were not trained on: their passages are not in the index." in text
    assert "Questions that could not be trained on (no positive: 3)." in text
    assert "1 label was not trained on: list_size takes no more." in said(Speed.FULL, cut_passages=1)
    mined = {"mined": 0, "unlabelled": 0, "too_near": 5}
    text = said(Speed.FULL, cut_passages=3, mined_negatives=mined)
    assert "3 labels and mined negatives were not trained on: list_size takes no more." in text
    assert "0 hard negatives were mined" in text, "asked for, and none came"
    assert "Tried and not kept" not in said(by_stage=stages, keep=0.0), "nothing is kept, which the warning says"


def test_of_an_encoder_with_an_adapter_on_top_each_is_told_apart() -> None:
    """Two checks, two figures, and nobody can say which part of the model is the doubtful one."""
    checked = {"queries": 20.0, "nDCG@10": 0.71, "nDCG@10 before": 0.7}
    text = said(Speed.FULL_ADAPTER, cut_passages=1, adapter=PLAIN | {"unseen": checked, "cut_passages": 2})
    encoder, _, on_top = text.partition(
        "Of the adapter on top, whose questions put aside the encoder below was trained on:"
    )
    assert "1 label was not trained on: list_size takes no more." in encoder
    assert "2 labels were not trained on: their passages are not in the index." in on_top
    assert "nDCG@10 from 0.700 to 0.710" in on_top
    assert "Of the adapter" not in said(Speed.FULL_ADAPTER), "it is not trained yet"
    none = said(Speed.FULL_ADAPTER, adapter=PLAIN | {"unseen": {"queries": 7.0}, "keep": 0.0})
    assert "No adapter is on top: on the 7 questions put aside" in none
