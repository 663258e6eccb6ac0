"""Recipes: the workspace's settings, what is changed of them for one run, and how they are stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.config import Settings, Speed, settings_from
from app.errors import InputInvalid
from app.services.recipes import HumanStage, make_recipe, read_recipe, stored_recipe
from retriever.types import LOSS_NAMES, AdapterSettings, TrainingSettings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    values = {
        "speed": "adapter",
        "seed": 3,
        "learning_rate": 1e-5,
        "mined_negatives": 4,
        "human_epochs": 2,
        "adapter": {"rank": 8},
    }
    return settings_from(tmp_path, values)


def test_each_speed_takes_its_own_settings_and_both_take_loss_and_seed(settings: Settings) -> None:
    """An adapter trained at the learning rate of an encoder learns nothing in its seconds."""
    adapter, full = make_recipe(settings, {}), make_recipe(settings, {"speed": "full", "loss": "kl"})
    assert isinstance(adapter.training, AdapterSettings)
    assert isinstance(full.training, TrainingSettings)
    assert (adapter.training.rank, adapter.training.seed) == (8, 3)
    assert adapter.training.learning_rate == AdapterSettings().learning_rate
    assert (full.training.learning_rate, full.training.loss, full.training.seed) == (1e-5, "kl", 3)
    assert (adapter.mined_negatives, full.mined_negatives) == (0, 4)
    assert (adapter.human, full.human) == (HumanStage(), HumanStage(epochs=2))


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_every_loss_can_be_chosen_at_every_speed(settings: Settings, loss: str) -> None:
    """A loss that was written and measured cannot be used."""
    for speed in Speed:
        recipe = make_recipe(settings, {"speed": speed.value, "loss": loss})
        assert recipe.training.loss == loss
        assert recipe.on_top is None or recipe.on_top.loss == loss


def test_an_encoder_with_an_adapter_on_top_takes_settings_for_each(settings: Settings) -> None:
    """One learning rate for both: the adapter learns nothing, or the encoder is ruined."""
    recipe = make_recipe(
        settings, {"speed": "full+adapter", "learning_rate": 2e-5, "adapter.learning_rate": 0.01, "seed": 9}
    )
    assert isinstance(recipe.training, TrainingSettings)
    assert recipe.on_top is not None
    assert (recipe.training.learning_rate, recipe.on_top.learning_rate) == (2e-5, 0.01)
    assert (recipe.training.seed, recipe.on_top.seed, recipe.on_top.rank) == (9, 9, 8)
    assert (recipe.speed, recipe.mined_negatives, recipe.human) == (Speed.FULL_ADAPTER, 4, HumanStage(epochs=2))
    plain = make_recipe(settings, {"speed": "full+adapter", "adapter.loss": "kl"})
    assert plain.on_top is not None
    assert (plain.training.loss, plain.on_top.loss) == ("sum_marginal", "kl")


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"speed": "fast"}, "speed is 'fast'"),
        ({"curriculum": "both"}, "curriculum is 'both'"),
        ({"mined_negatives": True}, "mined_negatives is True"),
        ({"mined_negatives": 65}, "mined_negatives is 65"),
        ({"start_from": "live"}, "start_from is for a full training"),
        ({"speed": "full", "start_from": "best"}, "start_from is 'best'"),
        ({"speed": "full", "start_from": "live"}, "anchor is 0"),
        ({"anchor": 0.5}, "there is no setting 'anchor'"),
        ({"speed": "full", "anchor": -1.0}, "anchor is -1.0"),
        ({"speed": "full", "epochs": "3"}, "epochs is '3'; it must be a whole number"),
        ({"speed": "full", "adapter.rank": 4}, "there is no setting 'adapter.rank'"),
        ({"speed": "full+adapter", "rank": 4}, "there is no setting 'rank'"),
        ({"speed": "full+adapter", "adapter.epochs": "3"}, "epochs is '3'; it must be a whole number"),
    ],
)
def test_what_cannot_be_used_is_named(settings: Settings, overrides: dict[str, object], named: str) -> None:
    """A typing error is found by the worker, in its log, an hour later."""
    with pytest.raises(InputInvalid, match=named):
        make_recipe(settings, overrides)


def test_an_anchored_training_may_start_from_the_live_model(settings: Settings) -> None:
    """A waiting run would start from the base after all, with the anchor at the wrong model."""
    recipe = make_recipe(settings, {"speed": "full", "start_from": "live", "anchor": 0.5})
    assert recipe.start_from == "live"
    stored = json.loads(json.dumps(stored_recipe(recipe)))
    assert read_recipe(stored) == recipe
    del stored["start_from"]
    assert read_recipe(stored).start_from == "base", "a run from before there was a choice"


@pytest.mark.parametrize("speed", list(Speed))
def test_a_stored_recipe_is_read_as_it_was(settings: Settings, speed: Speed) -> None:
    """A run that waited in the queue trains with other settings than those that were asked for."""
    recipe = make_recipe(settings, {"speed": speed.value, "curriculum": "union"})
    assert read_recipe(json.loads(json.dumps(stored_recipe(recipe)))) == recipe


def test_a_run_from_before_there_were_speeds_is_a_full_training_on_all_labels() -> None:
    """After an upgrade a waiting run fails, or the list of runs does."""
    recipe = read_recipe({"loss": "infonce", "epochs": 1})
    assert (recipe.speed, recipe.curriculum, recipe.training) == (
        Speed.FULL,
        "union",
        TrainingSettings(loss="infonce", epochs=1),
    )
