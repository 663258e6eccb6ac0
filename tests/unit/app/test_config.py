"""Settings: the environment before the file, wrong values named, every one documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.config import FILE, Settings, find_workspace, load_settings, settings_from
from app.errors import SettingsInvalid, WorkspaceMissing

ROOT = Path(__file__).parents[3]


def _workspace(folder: Path, text: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(text, encoding="utf-8")
    return folder


def test_the_environment_goes_before_the_file_and_the_file_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a container that is configured by its environment from using what somebody left in a file."""
    folder = _workspace(tmp_path, "pool_depth = 7\nepochs = 3\n")
    monkeypatch.setenv("RELABEL_POOL_DEPTH", "9")
    settings = load_settings(folder)
    assert (settings.pool_depth, settings.epochs, settings.list_size) == (9, 3, 4)


def test_an_empty_variable_counts_as_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents `OPENAI_BASE_URL=` in a compose file from being taken for an endpoint."""
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    monkeypatch.setenv("RELABEL_PORT", "")
    settings = load_settings(_workspace(tmp_path))
    assert (settings.openai_base_url, settings.port, settings.has_llm) == (None, 8501, False)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("pool_depth = 0", "pool_depth"),
        ('judge = "gpt"', "judge"),
        ("accept_relevant = 1.5", "accept_relevant"),
        ("pol_depth = 5", "pol_depth"),
        ("max_grade = 2\nrelevant_from = 3", "relevant_from"),
        ("epochs = 'many'", "epochs"),
        ("epochs = ", FILE),
        ('speed = "fast"', "speed"),
        ('curriculum = "both"', "curriculum"),
        ('loss = "magic"', "loss is 'magic'"),
        ("[training]\nlora_rnk = 8", "training: there is no setting 'lora_rnk'"),
        ("[training]\nkeep = 2", "training: keep is 2"),
        ('[training]\nepochs = "3"', "training: epochs is '3'; it must be a whole number"),
        ("[training]\nlora_rank = true", "training: lora_rank is True; it must be a whole number or nothing"),
        ("[adapter]\nrank = 0", "adapter: rank is 0"),
        ("[adapter]\nrank = 1.5", "adapter: rank is 1.5"),
    ],
)
def test_a_wrong_value_in_the_file_is_named(text: str, named: str, tmp_path: Path) -> None:
    """Prevents a misspelt setting from silently being the default."""
    with pytest.raises(SettingsInvalid, match=named) as caught:
        load_settings(_workspace(tmp_path, text))
    assert FILE in str(caught.value)


def test_the_tables_change_one_speed_and_the_scale_stays_the_workspaces(tmp_path: Path) -> None:
    """Prevents a training on another scale than people grade on, or an adapter's rank from reaching a full training."""
    text = "max_grade = 4\n[training]\nepochs = 3\nrelevant_from = 1\n[adapter]\nepochs = 7\nmax_grade = 9\n"
    settings = load_settings(_workspace(tmp_path, text))
    full, adapter = settings.full_training(seed=5), settings.adapter_training()
    assert (full.epochs, full.seed, full.relevant_from, full.max_grade) == (3, 5, 2, 4)
    assert (adapter.epochs, adapter.seed, adapter.relevant_from, adapter.max_grade) == (7, 0, 2, 4)


def test_a_wrong_value_in_the_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a search through the file for a value that came from elsewhere."""
    monkeypatch.setenv("RELABEL_LLM_CONCURRENCY", "none")
    with pytest.raises(SettingsInvalid, match="llm_concurrency"):
        load_settings(_workspace(tmp_path))


def test_a_wrong_key_is_never_repeated_in_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a secret from getting into a log because another setting was wrong."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(_workspace(tmp_path, "epochs = 0"))
    assert "very-secret" not in str(caught.value)
    monkeypatch.setenv("RELABEL_EPOCHS", "1")
    assert "very-secret" not in repr(load_settings(tmp_path))


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    """Prevents one service from changing what another one reads."""
    settings = load_settings(_workspace(tmp_path))
    with pytest.raises(ValidationError, match="frozen"):
        settings.epochs = 5  # type: ignore[misc]


def test_a_directory_without_settings_is_no_workspace_and_says_how_to_make_one(tmp_path: Path) -> None:
    """Prevents a database from being made in whatever directory somebody stood in."""
    with pytest.raises(WorkspaceMissing) as caught:
        load_settings(tmp_path)
    assert f"relabel init {tmp_path}" in caught.value.user_message
    assert list(tmp_path.iterdir()) == []


def test_the_workspace_is_the_given_one_else_the_named_one_else_the_nearest_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents labels from landing in another workspace than the one meant."""
    above = _workspace(tmp_path / "work")
    below = above / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert find_workspace(None) == above
    monkeypatch.setenv("RELABEL_WORKSPACE", str(tmp_path / "named"))
    assert find_workspace(None) == tmp_path / "named"
    assert find_workspace(tmp_path / "given") == tmp_path / "given"


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ({}, False),
        ({"openai_api_key": "k"}, True),
        ({"openai_base_url": "http://127.0.0.1:1/v1"}, True),
        ({"openai_api_key": "k", "judge": "local"}, False),
        ({"judge": "llm"}, True),
    ],
)
def test_the_llm_is_asked_only_where_it_is_reachable_or_insisted_on(
    values: dict[str, str], asked: bool, tmp_path: Path
) -> None:
    """Prevents texts from leaving the machine of somebody who chose the local judge."""
    assert settings_from(tmp_path, dict(values)).has_llm is asked


def test_every_setting_is_documented_with_its_default() -> None:
    """Prevents a setting that can only be found in the code, or a default that is told wrong."""
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, flags=re.MULTILINE))
    fields = {name: field for name, field in Settings.model_fields.items() if name != "workspace"}
    assert set(rows) == set(fields)
    for name, field in fields.items():
        if field.default is not None:
            shown = f'"{field.default}"' if isinstance(field.default, str) else str(field.default)
            shown = shown.lower() if isinstance(field.default, bool) else shown  # as TOML writes it
            assert rows[name] == f"`{shown}`", name


def test_long_work_keeps_its_state_beside_a_sqlite_database_and_inside_a_server(tmp_path: Path) -> None:
    """Prevents retraining from locking reviewers out of the file they write to."""
    own = settings_from(tmp_path, {"database_url": "sqlite:////elsewhere/reviews.sqlite"})
    assert own.jobs_database == f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    server = settings_from(tmp_path, {"database_url": "postgresql://host/relabel"})
    assert server.jobs_database == server.database
