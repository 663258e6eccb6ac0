"""How a training run is to train: its speed, its curriculum and every setting, checked before the run is recorded.

A recipe is what `training_run.settings` holds. Which labels go into it is in `label_sets`, the work in `model_making`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from app.config import Settings, Speed
from app.errors import InputInvalid
from retriever.types import AdapterSettings, TrainingSettings

CURRICULA = ("curriculum", "union", "human", "llm")
ON_TOP = "adapter."
"""How an override begins that is for the adapter on top of an encoder."""
_SHARED = ("loss", "seed")
STARTS = ("base", "live")
FROM_BASE, FROM_LIVE = STARTS
_MOST_MINED = 64


@dataclass(frozen=True, slots=True)
class HumanStage:
    """How people's labels are trained on after those of the LLM; None is as in the stage before."""

    epochs: int | None = None
    learning_rate: float | None = None
    one_positive: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a run trains.

    training: of an adapter of the query vector, or of the encoder itself. curriculum: a name of CURRICULA.
    mined_negatives: hard negatives a question that the live model finds, 0 for none, None for as many as a
    question's labelled passages are short of those that the training takes of one; for an encoder only. human: see
    `HumanStage`; for an encoder only, for an adapter stops at the epoch that its unseen slice says. start_from: a name
    of STARTS, from which full model an encoder's training starts: the first base, or the live one, which is the
    anchor's reference too. on_top: the adapter that is trained for the trained encoder; None for none.
    """

    training: TrainingSettings | AdapterSettings
    curriculum: str = CURRICULA[0]
    mined_negatives: int | None = None
    human: HumanStage = field(default_factory=HumanStage)
    start_from: str = STARTS[0]
    on_top: AdapterSettings | None = None

    @property
    def speed(self) -> Speed:
        if isinstance(self.training, AdapterSettings):
            return Speed.ADAPTER
        return Speed.FULL if self.on_top is None else Speed.FULL_ADAPTER


def make_recipe(settings: Settings, overrides: Mapping[str, Any]) -> Recipe:
    """The workspace's recipe, changed by `overrides`: speed, curriculum, mined_negatives, start_from, or a setting of
    the training.

    Where an encoder gets an adapter on top, a setting is the encoder's, with ON_TOP before its name the adapter's, and
    loss and seed are both's.

    Without an anchor no training starts from the live model: a second fine-tune on top of a first can lower scores.

    Raises:
        InputInvalid: an override is unknown or not allowed; the message names it.
    """
    changes = dict(overrides)
    speed = changes.pop("speed", settings.speed)
    curriculum = changes.pop("curriculum", settings.curriculum)
    mined = changes.pop("mined_negatives", settings.mined_negatives)
    start_from = changes.pop("start_from", settings.start_from)
    if speed not in tuple(Speed):
        raise InputInvalid(f"speed is {speed!r}; choose {', '.join(Speed)}")
    if curriculum not in CURRICULA:
        raise InputInvalid(f"curriculum is {curriculum!r}; choose {', '.join(CURRICULA)}")
    if mined is not None and (type(mined) is not int or not 0 <= mined <= _MOST_MINED):
        raise InputInvalid(f"mined_negatives is {mined!r}; it must be a whole number from 0 to {_MOST_MINED}")
    if start_from not in STARTS:
        raise InputInvalid(f"start_from is {start_from!r}; choose {' or '.join(STARTS)}")
    adapter = speed == Speed.ADAPTER
    if adapter and overrides.get("mined_negatives"):
        raise InputInvalid("mined_negatives is for an encoder's training; an adapter samples the corpus anyway")
    if adapter and overrides.get("start_from") == FROM_LIVE:
        raise InputInvalid("start_from is for a full training; an adapter is trained for the live encoder anyway")
    on_top = None
    try:
        if speed == Speed.FULL_ADAPTER:
            own = {name: value for name, value in changes.items() if name.startswith(ON_TOP)}
            changes = {name: value for name, value in changes.items() if name not in own}
            shared = {name: changes[name] for name in _SHARED if name in changes}
            on_top = settings.adapter_on_top(**shared | {name.removeprefix(ON_TOP): own[name] for name in own})
        training = settings.adapter_training(**changes) if adapter else settings.full_training(**changes)
    except ValueError as exc:
        whose = f"; those of the adapter on top begin with {ON_TOP!r}" if speed == Speed.FULL_ADAPTER else ""
        raise InputInvalid(f"these training settings cannot be used: {exc}{whose}") from exc
    if adapter:
        return Recipe(training, curriculum, mined_negatives=0)
    if start_from == FROM_LIVE and not (isinstance(training, TrainingSettings) and training.anchor > 0):
        raise InputInvalid("start_from is 'live' and anchor is 0: give an anchor above 0, or start from the base")
    human = HumanStage(settings.human_epochs, settings.human_learning_rate, settings.human_one_positive)
    return Recipe(training, curriculum, mined, human, start_from, on_top)


def stored_recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON for `training_run.settings`."""
    return {"speed": str(recipe.speed), **asdict(recipe)}


def read_recipe(stored: Mapping[str, Any]) -> Recipe:
    """The recipe of a run; one recorded before there were speeds is a full training on all labels at once."""
    if "training" not in stored:
        return Recipe(TrainingSettings(**stored), "union")
    kind = AdapterSettings if stored["speed"] == Speed.ADAPTER else TrainingSettings
    on_top = stored.get("on_top")
    return Recipe(
        kind(**stored["training"]),
        stored["curriculum"],
        stored["mined_negatives"],
        HumanStage(**stored["human"]),
        stored.get("start_from", STARTS[0]),
        None if on_top is None else AdapterSettings(**on_top),
    )
