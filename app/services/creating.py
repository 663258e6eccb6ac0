"""Making a workspace: its directory, its settings file with every setting named, its database."""

from __future__ import annotations

from pathlib import Path

from app.bootstrap import open_with
from app.config import FILE, load_settings, settings_from
from app.errors import Conflict

_TEMPLATE = """\
# Settings of this workspace. Each can be overridden by an environment variable, e.g. RELABEL_POOL_DEPTH=30.
# DATABASE_URL, OPENAI_API_KEY and OPENAI_BASE_URL are read from the environment too; keep keys out of this file.

name = {name}
max_grade = {max_grade}
relevant_from = {relevant_from}

# model = "default"            # a sentence-transformers model by name or path
# pool_depth = 20              # candidates for each question
# judge = "auto"               # auto, local, llm
# llm_model = "gpt-4o-mini"
# accept_relevant = 0.9        # bare thresholds: labels accepted by them are uncertified
# accept_irrelevant = 0.9
# loss = "sum_marginal"        # or infonce
# epochs = 2
"""


def create_workspace(path: Path, *, name: str, max_grade: int = 3, relevant_from: int = 2) -> Path:
    """Makes the directory, its `relabel.toml` and its database; returns the settings file.

    Raises:
        Conflict: there is a workspace already.
        SettingsInvalid: the grades contradict each other.
    """
    file = path / FILE
    if file.exists():
        raise Conflict(f"{path} is a workspace already")
    settings_from(path, {"name": name, "max_grade": max_grade, "relevant_from": relevant_from})
    path.mkdir(parents=True, exist_ok=True)
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    file.write_text(_TEMPLATE.format(name=quoted, max_grade=max_grade, relevant_from=relevant_from), encoding="utf-8")
    open_with(load_settings(path)).close()
    return file
