"""Every verb is documented: an example in its help, a row in the README, its options explained."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from app.cli import cli
from app.errors import AppError

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GROUP = typer.main.get_command(cli)
assert isinstance(GROUP, click.Group) or hasattr(GROUP, "commands")
VERBS = sorted(GROUP.commands)


def test_the_verbs_are_those_of_the_design() -> None:
    """Prevents a verb that got lost in a merge."""
    wanted = "demo init import pool label serve worker train evaluate promote rollback search export status doctor"
    assert set(wanted.split()) <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example_that_it_understands(verb: str) -> None:
    """Prevents an example that answers "no such option"."""
    shown = CliRunner().invoke(cli, [verb, "--help"], terminal_width=200)
    assert shown.exit_code == 0
    example = re.search(r"Example: (.+)", GROUP.commands[verb].help or "")
    assert example is not None, f"relabel {verb} has no example"
    assert example.group(1) in " ".join(shown.output.split())
    words = [word for word in shlex.split(example.group(1)) if not re.fullmatch(r"[A-Z_]+=.*", word)]
    assert words[:2] == ["relabel", verb]
    GROUP.commands[verb].make_context(verb, words[2:])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_readme(verb: str) -> None:
    """Prevents a verb that only its author knows."""
    assert f"| `relabel {verb}` |" in README


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_the_defaults_that_it_speaks_of(verb: str) -> None:
    """Prevents a default in square brackets from being swallowed as markup."""
    shown = " ".join(re.sub("[│]", " ", CliRunner().invoke(cli, [verb, "--help"], terminal_width=200).output).split())
    for parameter in GROUP.commands[verb].params:
        stated = re.search(r"\[default: [^]]+\]", getattr(parameter, "help", None) or "")
        if stated is not None:
            assert stated.group().replace("\\", "") in shown


def test_the_readme_names_every_exit_code() -> None:
    """Prevents a script from meeting a code that no document explains."""
    codes = {AppError.exit_code, *(error.exit_code for error in AppError.__subclasses__()), 0, 70, 130}
    assert [code for code in sorted(codes) if f"\n| {code} | " not in README] == []
