"""Settings of one workspace: `relabel.toml`, overridden by environment variables `RELABEL_*` and the usual few."""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import AliasChoices, Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from annotator.audit_value import EXPLORED
from app.errors import SettingsInvalid, WorkspaceMissing
from retriever.types import LOSS_NAMES, AdapterSettings, TrainingSettings

FILE = "relabel.toml"
KERNEL_POWER_ON_TOP = 8.0
"""`kernel_power` of an adapter on top of a trained encoder; chosen on training-side questions (docs/training.md)."""
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Change = str | bool | int | float | None
"""What a field of `TrainingSettings` or `AdapterSettings` may be set to, in the tables `training` and `adapter`."""
_WORDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


class Speed(StrEnum):
    """What a retrain trains: an adapter of the query vector, the encoder itself, or it and then an adapter on top."""

    ADAPTER = "adapter"
    FULL = "full"
    FULL_ADAPTER = "full+adapter"


class Settings(BaseSettings):
    """Every setting, frozen. Precedence: environment, then `relabel.toml`, then the defaults here."""

    model_config = SettingsConfigDict(
        env_prefix="RELABEL_", frozen=True, extra="forbid", populate_by_name=True, env_ignore_empty=True
    )

    workspace: Path
    name: Annotated[str, StringConstraints(min_length=1, max_length=80)] = "Relabel"
    database_url: str | None = Field(None, validation_alias=AliasChoices("DATABASE_URL", "RELABEL_DATABASE_URL"))

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8501
    person: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "me"
    review_minutes: Annotated[float, Field(gt=0)] = 10.0
    guidelines: Annotated[str, StringConstraints(max_length=8000)] = ""

    model: str = "default"
    max_length: Annotated[int, Field(ge=8, le=8192)] = 256
    index_kind: Literal["auto", "flat", "hnsw", "ivf_sq8", "ivf_pq"] = "auto"
    encoder_backend: Literal["auto", "torch", "torch-bf16", "openvino", "openvino-bf16", "openvino-int8"] = "auto"
    max_grade: Annotated[int, Field(ge=1, le=9)] = 3
    relevant_from: Annotated[int, Field(ge=1, le=9)] = 2
    pool_depth: Annotated[int, Field(ge=1, le=1000)] = 20
    pool_per_system: Annotated[int, Field(ge=1, le=1000)] = 30

    judge: Literal["auto", "local", "llm"] = "auto"
    accept_relevant: Probability = 0.9
    accept_irrelevant: Probability = 0.9
    spot_check_share: Probability = 0.02
    overlap: Annotated[int, Field(ge=1, le=5)] = 1
    overlap_share: Probability = 1.0
    explored: Probability = EXPLORED
    check_share: Annotated[float, Field(ge=0, le=0.2)] = 0.02
    train_on_proposed: bool = True

    openai_api_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("OPENAI_API_KEY", "RELABEL_OPENAI_API_KEY")
    )
    openai_base_url: str | None = Field(
        None, validation_alias=AliasChoices("OPENAI_BASE_URL", "RELABEL_OPENAI_BASE_URL")
    )
    llm_model: str = "gpt-4o-mini"
    llm_concurrency: Annotated[int, Field(ge=1, le=512)] = 16
    llm_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    llm_max_completion_tokens: Annotated[int, Field(ge=16)] = 300
    llm_requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    llm_cap_usd: Annotated[float, Field(gt=0)] | None = None
    llm_cap_tokens: Annotated[int, Field(gt=0, le=2_000_000_000)] | None = None
    llm_price_in_per_million_usd: Annotated[float, Field(ge=0)] | None = None
    llm_price_out_per_million_usd: Annotated[float, Field(ge=0)] | None = None

    speed: Speed = Speed.FULL_ADAPTER
    curriculum: Literal["curriculum", "union", "human", "llm"] = "curriculum"
    human_epochs: Annotated[int, Field(ge=1, le=100)] | None = None
    human_learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    human_one_positive: bool = False
    mined_negatives: Annotated[int, Field(ge=0, le=64)] | None = None
    start_from: Literal["base", "live"] = "base"
    loss: str = LOSS_NAMES[0]
    epochs: Annotated[int, Field(ge=1, le=100)] | None = None
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-5
    batch_queries: Annotated[int, Field(ge=1, le=1024)] = 16
    list_size: Annotated[int, Field(ge=2, le=512)] = 4
    train_max_length: Annotated[int, Field(ge=8, le=8192)] = 128
    seed: int = 0
    training: dict[str, Change] = {}
    adapter: dict[str, Change] = {}
    round_min_gain: Annotated[float, Field(ge=0, le=1)] = 0.002
    reviewer_hourly_cost: Annotated[float, Field(ge=0)] | None = None
    gate_rule: Literal["better", "not-worse"] = "better"
    gate_margin: Annotated[float, Field(ge=0, le=1)] = 0.01

    @property
    def database(self) -> str:
        """The database's URL: `DATABASE_URL`, or a SQLite file in the workspace."""
        return self.database_url or f"sqlite:///{self.workspace / 'relabel.sqlite'}"

    @property
    def jobs_database(self) -> str:
        """Where DBOS keeps its own state, beside the workspace's database and never in it when that is a file."""
        if self.database_url and not self.database_url.startswith("sqlite"):
            return self.database_url
        return f"sqlite:///{self.workspace / 'jobs.sqlite'}"

    def full_training(self, **changes: Any) -> TrainingSettings:
        """How the encoder itself is trained, with these changes.

        Raises: ValueError naming what is unknown or not allowed.
        """
        values: dict[str, Any] = {
            "loss": self.loss,
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "batch_queries": self.batch_queries,
            "list_size": self.list_size,
            "max_length": self.train_max_length,
            "seed": self.seed,
            **self.training,
            **changes,
            "relevant_from": self.relevant_from,
            "max_grade": self.max_grade,
        }
        return TrainingSettings(**typed(TrainingSettings, values))

    def adapter_training(self, **changes: Any) -> AdapterSettings:
        """How a query adapter is trained, with these changes.

        Raises: ValueError naming what is unknown or not allowed.
        """
        values: dict[str, Any] = {
            "loss": self.loss,
            "seed": self.seed,
            **self.adapter,
            **changes,
            "relevant_from": self.relevant_from,
            "max_grade": self.max_grade,
        }
        return AdapterSettings(**typed(AdapterSettings, values))

    def adapter_on_top(self, **changes: Any) -> AdapterSettings:
        """How an adapter on top of a trained encoder is trained, with these changes.

        Unless said otherwise its keys reach less far than those of an adapter by itself, for what carries over the
        encoder below has learned; and the questions put aside as unseen may lose gate_margin by it, which the gate lets
        a model lose.
        Raises: ValueError naming what is unknown or not allowed.
        """
        usual = {"kernel_power": KERNEL_POWER_ON_TOP, "unseen_tolerance": self.gate_margin}
        return self.adapter_training(**usual | self.adapter | changes)

    @property
    def models(self) -> Path:
        return self.workspace / "models"

    @property
    def indexes(self) -> Path:
        return self.workspace / "indexes"

    @property
    def has_llm(self) -> bool:
        """Whether an LLM is to be asked: a key or an endpoint is set, and the local judge is not insisted on."""
        reachable = self.openai_api_key is not None or self.openai_base_url is not None
        return self.judge == "llm" or (self.judge == "auto" and reachable)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment above the file, whose values come as arguments; nothing else is read."""
        return (env_settings, init_settings)


def load_settings(workspace: Path) -> Settings:
    """The settings of the workspace in that directory.

    Raises:
        WorkspaceMissing: there is no `relabel.toml` in it.
        SettingsInvalid: the file or an environment variable holds something that is not allowed.
    """
    file = workspace / FILE
    if not file.is_file():
        raise WorkspaceMissing(
            f"no {FILE} in {workspace}",
            user_message=f"{workspace} is not a workspace. Make one with: relabel init {workspace}",
        )
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsInvalid(f"{file} cannot be read: {exc}") from exc
    return settings_from(workspace, values, origin=str(file))


def settings_from(workspace: Path, values: dict[str, Any], *, origin: str = "settings") -> Settings:
    """The settings made of `values` and the environment.

    Raises:
        SettingsInvalid: a value is unknown or not allowed; the message names it.
    """
    try:
        settings = Settings(**{**values, "workspace": workspace.absolute()})
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise SettingsInvalid(f"{origin}: {problems}") from exc
    if settings.relevant_from > settings.max_grade:
        raise SettingsInvalid(
            f"{origin}: relevant_from ({settings.relevant_from}) is above max_grade ({settings.max_grade})"
        )
    for table, made in (("training", settings.full_training), ("adapter", settings.adapter_training)):
        try:
            made()
        except ValueError as exc:
            raise SettingsInvalid(f"{origin}: {table}: {exc}") from exc
    return settings


def typed(kind: type[TrainingSettings | AdapterSettings], values: dict[str, Any]) -> dict[str, Any]:
    """The values, each of the type that its field has; Python checks none of them when it makes a dataclass.

    Raises: ValueError naming what is unknown or of another type.
    """
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name not in hints:
            raise ValueError(f"there is no setting {name!r}; there are {', '.join(sorted(hints))}")
        wanted = get_args(hints[name]) or (hints[name],)
        fits = type(value) in wanted or (type(value) is int and float in wanted)
        if not fits:
            words = " or ".join("nothing" if one is type(None) else _WORDS[one] for one in wanted)
            raise ValueError(f"{name} is {value!r}; it must be {words}")
    return values


def find_workspace(given: Path | None) -> Path:
    """The workspace meant: the one given, else `RELABEL_WORKSPACE`, else the nearest `relabel.toml` upwards."""
    if given is not None:
        return given
    if named := os.environ.get("RELABEL_WORKSPACE"):
        return Path(named)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder
    return here
