"""What several verbs share: the options they have in common, and opening the workspace that is meant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import reported, say

if TYPE_CHECKING:
    from annotator.types import Criterion
    from app.bootstrap import Workspace

Where = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", help="The workspace directory \\[default: RELABEL_WORKSPACE, else the nearest upwards]."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON on standard output.")]
WhichCriterion = Annotated[str, typer.Option("--criterion", help="What the grades are about: relevance or utility.")]
Speed = Annotated[
    str | None,
    typer.Option(
        "--speed",
        help="adapter (seconds), full (minutes, passages encoded anew) or full+adapter (both, the adapter on top) "
        "\\[default: the workspace's].",
    ),
]
Curriculum = Annotated[
    str | None,
    typer.Option("--curriculum", help="curriculum, union, human or llm \\[default: the workspace's]."),
]
Changes = Annotated[
    str | None,
    typer.Option("--set", help="Other settings of the training: NAME=VALUE,adapter.NAME=VALUE (docs/settings.md)."),
]
Who = Annotated[str | None, typer.Option("--person", help="Who does this \\[default: the workspace's person].")]


@contextmanager
def opened(where: Path | None) -> Iterator[Workspace]:
    """The workspace meant, closed at the end; our errors become one sentence and an exit code."""
    with reported():
        from app.bootstrap import open_workspace
        from app.config import find_workspace

        workspace = open_workspace(find_workspace(where))
        try:
            yield workspace
        finally:
            workspace.close()


def criterion_of(text: str) -> Criterion:
    """The criterion that `--criterion` names.

    Raises:
        InputInvalid: there is no such criterion.
    """
    from annotator.types import Criterion
    from app.errors import InputInvalid

    if text not in tuple(Criterion):
        raise InputInvalid(f"--criterion is {text!r}; choose {' or '.join(Criterion)}")
    return Criterion(text)


def option_of(criterion: Criterion) -> str:
    """What to add to a command for this criterion; empty for the usual one."""
    from annotator.types import Criterion

    return "" if criterion is Criterion.RELEVANCE else f" --criterion {criterion}"


def say_next(workspace: Workspace, criterion: Criterion | None = None) -> None:
    """Says the first thing that the Overview would have done next, on standard error; nothing when nothing waits."""
    from annotator.types import Criterion
    from app.services.overview import get_overview

    for step in get_overview(workspace, criterion=criterion or Criterion.RELEVANCE).next_steps[:1]:
        say(f"Next: {step.text} [{step.command or 'relabel serve'}]")


def is_pooled(workspace: Workspace) -> bool:
    """Whether any pair was put up for judging."""
    from app.services.overview import get_overview

    view = get_overview(workspace)
    return bool(view.funnel.candidates or view.graded_candidates)


def pairs_of(text: str | None, option: str) -> dict[str, str]:
    """NAME=VALUE,NAME=VALUE as a mapping.

    Raises:
        InputInvalid: a part has no equals sign.
    """
    from app.errors import InputInvalid

    pairs = {}
    for part in (text or "").split(","):
        if part.strip():
            key, equals, value = part.partition("=")
            if not equals:
                raise InputInvalid(f"{option} needs NAME=VALUE,NAME=VALUE, got {text!r}")
            pairs[key.strip()] = value.strip()
    return pairs


def recipe_of(changes: str | None, **named: object) -> dict[str, object]:
    """What is to be changed of the workspace's recipe: the options given, and what `--set` says.

    Raises:
        InputInvalid: a part of `--set` has no equals sign.
    """
    import json

    read: dict[str, object] = {name: value for name, value in named.items() if value is not None}
    for name, text in pairs_of(changes, "--set").items():
        try:
            read[name] = json.loads(text)
        except ValueError:  # a word, as in kind=mlp
            read[name] = text
    return read


def serve_workspace(path: Path, port: int | None) -> None:
    """Serves the workspace in that directory until it is stopped, and says its address once it answers."""
    from app.bootstrap import open_workspace
    from app.serving import serve as serve_application

    workspace = open_workspace(path)
    workspace.close()
    serve_application(
        workspace.settings, port=port, announce=lambda address: say(f"Relabel is at {address}  (Ctrl-C stops it)")
    )
