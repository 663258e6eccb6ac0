"""Reads prompt files into validated, frozen values. The text of the prompts is in the YAML files beside this one.

A file without a `kind` is a point-wise prompt (`pointwise.py`); `kind: texts` is any other (`texts.py`): several
passages at once, or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from annotator.errors import PromptInvalid
from annotator.prompts import pointwise, texts
from annotator.prompts.pointwise import RENDERING, Prompt
from annotator.prompts.rendering import Message
from annotator.prompts.texts import Rendered, TextPrompt

__all__ = [
    "RENDERING",
    "Message",
    "Prompt",
    "Rendered",
    "TextPrompt",
    "load_prompt",
    "load_text_prompt",
    "parse_prompt",
    "prompt_names",
    "read_prompt",
    "shipped_prompts",
]

_FOLDER = Path(__file__).parent


def prompt_names() -> tuple[str, ...]:
    """The file names, without their ending, of all prompts that ship with this package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def shipped_prompts() -> tuple[Prompt | TextPrompt, ...]:
    """All prompts that ship with this package, by file name.

    Raises:
        PromptInvalid: a file is not valid.
    """
    return tuple(parse_prompt(_content(_shipped(name)), name=f"{name}.yaml") for name in prompt_names())


def load_prompt(name: str = "pointwise_relevance") -> Prompt:
    """The point-wise prompt of that file name that ships with this package.

    Raises:
        PromptInvalid: there is no such prompt, it is of another kind, or its file is not valid.
    """
    return read_prompt(_shipped(name))


def load_text_prompt(name: str) -> TextPrompt:
    """The prompt over any texts of that file name that ships with this package.

    Raises:
        PromptInvalid: there is no such prompt, it is point-wise, or its file is not valid.
    """
    path = _shipped(name)
    prompt = parse_prompt(_content(path), name=path.name)
    if not isinstance(prompt, TextPrompt):
        raise PromptInvalid(f"{path.name} is a point-wise prompt")
    return prompt


def read_prompt(path: Path) -> Prompt:
    """The point-wise prompt in a file.

    Raises:
        PromptInvalid: the file cannot be read, is of another kind, or a field is missing, unknown or wrong.
    """
    prompt = parse_prompt(_content(path), name=path.name)
    if not isinstance(prompt, Prompt):
        raise PromptInvalid(f"{path.name} is no point-wise prompt")
    return prompt


def parse_prompt(content: str, *, name: str) -> Prompt | TextPrompt:
    """The prompt that a file's content describes; `name` is for messages.

    Raises:
        PromptInvalid: a field is missing, unknown or wrong.
    """
    try:
        loaded = yaml.safe_load(content)
        if isinstance(loaded, Mapping) and "kind" in loaded:
            return texts.prompt_from(loaded, content=content, name=name)
        return pointwise.prompt_from(loaded, content=content, name=name)
    except (yaml.YAMLError, ValidationError) as exc:
        raise PromptInvalid(f"{name}: {exc}", user_message=f"The prompt file {name} is not valid.") from exc


def _shipped(name: str) -> Path:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or not (_FOLDER / f"{name}.yaml").is_file():
        raise PromptInvalid(f"no prompt is called {name!r}; there are: {', '.join(prompt_names())}")
    return _FOLDER / f"{name}.yaml"


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise PromptInvalid(f"{path.name}: {exc}", user_message=f"The prompt file {path.name} cannot be read.") from exc
