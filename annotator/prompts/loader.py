"""Prompts as validated, frozen values, and the messages they render. The text of the prompts is in the YAML files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from annotator.cleaning import clean
from annotator.errors import PromptInvalid
from annotator.types import Criterion, JudgeRequest, Scale

RENDERING = 1
"""Counted up whenever `Prompt.render` changes what a judge sees; part of every version."""

_FOLDER = Path(__file__).parent
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_ALLOWED = {
    "system": {"rubric", "relevant_from", "max_grade", "fence"},
    "user": {"fence", "query", "definition_block", "title_block", "passage_note", "passage", "max_grade"},
    "definition_block": {"fence", "definition"},
    "title_block": {"fence", "title"},
    "cut_note": {"what", "shown", "total"},
}
_NEEDED = {
    "system": {"rubric", "fence"},
    "user": {"fence", "query", "definition_block", "title_block", "passage_note", "passage"},
    "definition_block": {"fence", "definition"},
    "title_block": {"fence", "title"},
    "cut_note": {"what", "shown", "total"},
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user"]
    content: str


class _Limits(BaseModel):
    """Longest text shown of each part, in characters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: Annotated[int, Field(ge=1)]
    definition: Annotated[int, Field(ge=1)]
    title: Annotated[int, Field(ge=1)]
    passage: Annotated[int, Field(ge=1)]


class _PromptFile(BaseModel):
    """What a prompt file must hold, and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    criterion: Criterion
    limits: _Limits
    meanings: dict[str, str] = {}
    system: Annotated[str, Field(min_length=1)]
    user: Annotated[str, Field(min_length=1)]
    definition_block: Annotated[str, Field(min_length=1)]
    title_block: Annotated[str, Field(min_length=1)]
    cut_note: Annotated[str, Field(min_length=1)]
    schema_: Annotated[dict[str, object], Field(alias="schema")]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, ready to render; `version` is a hash of all that decides what a judge is shown and may answer."""

    name: str
    version: str
    criterion: Criterion
    system: str
    user: str
    schema: Mapping[str, object]
    definition_block: str
    title_block: str
    cut_note: str
    meanings: Mapping[str, str]
    limits: Mapping[str, int]

    def render(self, request: JudgeRequest, scale: Scale) -> tuple[Message, ...]:
        """The system and the user message; texts are cleaned, cut where a limit says so (and said so), and fenced.

        The fence is a hash of prompt and texts: the same request always renders alike, yet no text can contain its own
        fence.
        """
        texts = {
            "query": clean(request.query),
            "definition": clean(request.definition or ""),
            "title": clean(request.title),
            "passage": clean(request.passage),
        }
        notes: dict[str, str] = {}
        for what, text in texts.items():
            limit = self.limits[what]
            if len(text) > limit:
                notes[what] = _fill(self.cut_note, {"what": what, "shown": f"{limit}", "total": f"{len(text)}"})
                texts[what] = text[:limit]
        fence = _fence(self.version, texts)
        fixed = {"fence": fence, "max_grade": str(scale.max_grade), "relevant_from": str(scale.relevant_from)}
        other_notes = "\n".join(note for what, note in notes.items() if what != "passage")
        definition = _fill(self.definition_block, {**fixed, **texts}) if texts["definition"].strip() else ""
        title = _fill(self.title_block, {**fixed, **texts}) if texts["title"].strip() else ""
        note = "\n".join(part for part in (other_notes, notes.get("passage", "")) if part)
        blocks = {"definition_block": definition.rstrip(), "title_block": title.rstrip(), "passage_note": note}
        return (
            Message("system", _fill(self.system, {**fixed, "rubric": self._rubric(scale)}).strip()),
            Message("user", _fill(_without_empty_blocks(self.user, blocks), {**fixed, **texts, **blocks}).strip()),
        )

    def schema_for(self, scale: Scale) -> dict[str, object]:
        """The JSON schema of a reply, with the scale's grades as the only ones allowed."""
        schema: dict[str, object] = json.loads(json.dumps(dict(self.schema)))
        properties = schema["properties"]
        if isinstance(properties, dict):
            properties["grade"] = {"type": "integer", "enum": list(scale.grades)}
        return schema

    def _rubric(self, scale: Scale) -> str:
        known = all(label in self.meanings for label in scale.labels)
        lines = (
            f"{g} = {label}" + (f": {self.meanings[label]}" if known else "") for g, label in enumerate(scale.labels)
        )
        return "\n".join(lines)


def load_prompt(name: str = "pointwise_relevance") -> Prompt:
    """The prompt of that file name that ships with this package.

    Raises:
        PromptInvalid: there is no such prompt, or its file is not valid.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or not (_FOLDER / f"{name}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
        raise PromptInvalid(f"no prompt is called {name!r}; there are: {known}")
    return read_prompt(_FOLDER / f"{name}.yaml")


def read_prompt(path: Path) -> Prompt:
    """The prompt in a file.

    Raises:
        PromptInvalid: the file cannot be read, or a field is missing, unknown or wrong.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        content = _PromptFile.model_validate(loaded)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as exc:
        raise PromptInvalid(f"{path.name}: {exc}", user_message=f"The prompt file {path.name} is not valid.") from exc
    for part, allowed in _ALLOWED.items():
        used = set(_PLACEHOLDER.findall(str(getattr(content, part))))
        if used - allowed or _NEEDED[part] - used:
            wrong = ", ".join(sorted(used - allowed)) or "none"
            missing = ", ".join(sorted(_NEEDED[part] - used)) or "none"
            raise PromptInvalid(f"{path.name}: {part}: unknown placeholders: {wrong}; missing ones: {missing}")
    properties = content.schema_.get("properties")
    if not isinstance(properties, dict) or next(iter(properties), None) != "grade":
        raise PromptInvalid(
            f"{path.name}: schema: the first property must be the grade, or no reasoning-free token carries it"
        )
    # A list of pairs keeps the order of the properties in the hash, for the order decides what the judge writes first.
    ordered = json.dumps([content.model_dump(mode="json", by_alias=True), list(properties)], sort_keys=True)
    version = hashlib.sha256(f"rendering {RENDERING}\n{ordered}".encode()).hexdigest()[:16]
    return Prompt(
        name=content.name,
        version=version,
        criterion=content.criterion,
        system=content.system,
        user=content.user,
        schema=content.schema_,
        definition_block=content.definition_block,
        title_block=content.title_block,
        cut_note=content.cut_note,
        meanings=content.meanings,
        limits=content.limits.model_dump(),
    )


def _fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders filled in one pass, so that what fills them is never read as a template."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _without_empty_blocks(template: str, blocks: Mapping[str, str]) -> str:
    """The template without the lines that hold nothing but an empty block."""
    empty = {f"{{{{{name}}}}}" for name, text in blocks.items() if not text}
    return "\n".join(line for line in template.splitlines() if line.strip() not in empty)


def _fence(version: str, texts: Mapping[str, str]) -> str:
    """A short code that occurs in none of the texts and that their authors could not foresee."""
    seed = json.dumps([version, texts], sort_keys=True)
    for salt in range(1_000):
        code = hashlib.sha256(f"{salt}\n{seed}".encode()).hexdigest()[:12]
        if not any(code in text for text in texts.values()):
            return code
    raise AssertionError("a hash cannot occur a thousand times in texts that it is a hash of")
