"""The arrows of ARCHITECTURE.md hold: who imports whom, what loads when, which names are free, what is tracked."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "annotator", "retriever", "db")
HEAVY = ("torch", "faiss", "transformers", "sentence_transformers", "streamlit", "dbos", "datasets")
MAX_TRACKED_BYTES = 1_000_000


def _python(code: str, *, cwd: Path) -> str:
    """What a fresh interpreter prints; it starts outside the repository, as an installed program would."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _loaded_after(statement: str, *, cwd: Path) -> list[str]:
    code = f"import sys\n{statement}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    return json.loads(_python(code, cwd=cwd).splitlines()[-1].replace("'", '"'))


def test_the_import_contracts_hold() -> None:
    """Prevents a lower layer from reaching up, which would make it untestable alone."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_the_four_packages_are_those_of_this_repository(package: str, tmp_path: Path) -> None:
    """Prevents another installed package called `db` or `app` from being imported in place of ours."""
    found = _python(f"import {package}; print({package}.__file__)", cwd=tmp_path).strip()
    assert Path(found).resolve() == ROOT / package / "__init__.py"


@pytest.mark.parametrize("statement", ["import app.cli", "import retriever", "import annotator", "import db"])
def test_a_package_face_loads_nothing_heavy(statement: str, tmp_path: Path) -> None:
    """Prevents a second of waiting, and torch in a process that only looks something up."""
    assert _loaded_after(statement, cwd=tmp_path) == []


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    """Prevents `relabel --help` from taking as long as a training."""
    statement = (
        "from typer.testing import CliRunner\nfrom app.cli import cli\n"
        "for words in (['--help'], ['train', '--help'], ['search', '--help']):\n"
        "    assert CliRunner().invoke(cli, words).exit_code == 0"
    )
    assert _loaded_after(statement, cwd=tmp_path) == []


def test_nothing_beside_main_shadows_an_installed_package() -> None:
    """Prevents `streamlit run app/main.py`, which puts app/ first on the path, from importing ours for theirs."""
    beside = {
        path.stem for path in (ROOT / "app").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    installed = set(importlib.metadata.packages_distributions()) | set(sys.stdlib_module_names) | set(PACKAGES)
    assert beside & (installed - {"app"}) == set()


def test_no_file_over_a_megabyte_is_tracked() -> None:
    """Prevents weights, corpora or databases from getting into the history, where they stay."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=60, check=True).stdout
    files = [ROOT / os.fsdecode(name) for name in names.split(b"\0") if name]
    assert files
    assert [file.name for file in files if file.is_file() and file.stat().st_size > MAX_TRACKED_BYTES] == []


def test_every_dependency_is_explained() -> None:
    """Prevents a dependency that nobody can say the use of."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    names = [wanted.split(">")[0].split("[")[0] for wanted in project["dependencies"]]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_dependency_is_pinned() -> None:
    """Prevents an installation tomorrow that differs from the tested one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    names = [name.split(">")[0].split("[")[0].lower().replace("_", "-") for name in wanted]
    assert [name for name in names if name not in pinned] == []
