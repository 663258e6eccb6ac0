"""Point-wise prompts: one query, one passage, one graded answer, with judged examples where the prompt shows some."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from annotator.cleaning import clean
from annotator.errors import PromptInvalid
from annotator.prompts.rendering import PLACEHOLDER, Message, cut, fence, fill, rubric, without_empty_blocks
from annotator.types import Criterion, JudgeRequest, Scale

RENDERING = 1
"""Counted up whenever `Prompt.render` changes what a judge sees; part of every version."""

_ALLOWED = {
    "system": {"rubric", "relevant_rubric", "irrelevant_rubric", "relevant_from", "max_grade", "fence"},
    "user": {
        "fence",
        "query",
        "definition_block",
        "title_block",
        "passage_note",
        "passage",
        "max_grade",
        "examples_block",
    },
    "definition_block": {"fence", "definition"},
    "title_block": {"fence", "title"},
    "cut_note": {"what", "shown", "total"},
    "examples_block": {"examples", "fence"},
    "example": {"fence", "number", "query", "title", "passage", "grade", "label"},
}
_NEEDED = {
    "system": {"fence"},
    "user": {"fence", "query", "definition_block", "title_block", "passage_note", "passage"},
    "definition_block": {"fence", "definition"},
    "title_block": {"fence", "title"},
    "cut_note": {"what", "shown", "total"},
    "examples_block": {"examples"},
    "example": {"fence", "number", "query", "passage", "grade"},
}


class _Limits(BaseModel):
    """Longest text shown of each part, in characters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: Annotated[int, Field(ge=1)]
    definition: Annotated[int, Field(ge=1)]
    title: Annotated[int, Field(ge=1)]
    passage: Annotated[int, Field(ge=1)]
    example: Annotated[int, Field(ge=1)] | None = None


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
    examples_block: Annotated[str, Field(min_length=1)] | None = None
    example: Annotated[str, Field(min_length=1)] | None = None


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
    examples_block: str | None = None
    example: str | None = None
    content: str = ""

    @property
    def shows_examples(self) -> bool:
        """Whether the examples of a request are shown at all."""
        return self.example is not None

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
            shown = cut(text, limit=self.limits[what])
            if shown.is_cut:
                notes[what] = fill(self.cut_note, {"what": what, "shown": f"{shown.shown}", "total": f"{shown.total}"})
                texts[what] = shown.text
        examples = self._example_texts(request)
        code = fence(self.version, {**texts, **examples})
        fixed = {"fence": code, "max_grade": str(scale.max_grade), "relevant_from": str(scale.relevant_from)}
        other_notes = "\n".join(note for what, note in notes.items() if what != "passage")
        definition = fill(self.definition_block, {**fixed, **texts}) if texts["definition"].strip() else ""
        title = fill(self.title_block, {**fixed, **texts}) if texts["title"].strip() else ""
        note = "\n".join(part for part in (other_notes, notes.get("passage", "")) if part)
        blocks = {
            "definition_block": definition.rstrip(),
            "title_block": title.rstrip(),
            "passage_note": note,
            "examples_block": self._examples(request, examples, code=code, scale=scale),
        }
        sides = {
            "rubric": rubric(scale, self.meanings),
            "relevant_rubric": rubric(scale, self.meanings, grades=scale.grades[scale.relevant_from :]),
            "irrelevant_rubric": rubric(scale, self.meanings, grades=scale.grades[: scale.relevant_from]),
        }
        return (
            Message("system", fill(self.system, {**fixed, **sides}).strip()),
            Message("user", fill(without_empty_blocks(self.user, blocks), {**fixed, **texts, **blocks}).strip()),
        )

    def schema_for(self, scale: Scale) -> dict[str, object]:
        """The JSON schema of a reply, with the scale's grades as the only ones allowed."""
        schema: dict[str, object] = json.loads(json.dumps(dict(self.schema)))
        properties = schema["properties"]
        if isinstance(properties, dict):
            properties["grade"] = {"type": "integer", "enum": list(scale.grades)}
        return schema

    def _example_texts(self, request: JudgeRequest) -> dict[str, str]:
        """The cleaned and cut texts of the examples, by `<number> <part>`; empty where the prompt shows none."""
        if self.example is None:
            return {}
        limit = self.limits.get("example", self.limits["passage"])
        texts: dict[str, str] = {}
        for number, example in enumerate(request.examples, start=1):
            for part, text in (("query", example.query), ("title", example.title), ("passage", example.passage)):
                texts[f"{number} {part}"] = cut(clean(text), limit=limit).text
        return texts

    def _examples(self, request: JudgeRequest, texts: Mapping[str, str], *, code: str, scale: Scale) -> str:
        if self.example is None or self.examples_block is None or not request.examples:
            return ""
        shown = [
            fill(
                self.example,
                {
                    "fence": code,
                    "number": str(number),
                    "query": texts[f"{number} query"],
                    "title": texts[f"{number} title"],
                    "passage": texts[f"{number} passage"],
                    "grade": str(example.grade),
                    "label": scale.labels[example.grade],
                },
            ).rstrip()
            for number, example in enumerate(request.examples, start=1)
        ]
        return fill(self.examples_block, {"examples": "\n".join(shown), "fence": code}).rstrip()


def prompt_from(loaded: object, *, content: str, name: str) -> Prompt:
    """The prompt that a read file describes; `content` is the file as it was, to be kept.

    Raises:
        PromptInvalid: placeholders or schema are wrong.
        pydantic.ValidationError: a field is missing, unknown or wrong.
    """
    file = _PromptFile.model_validate(loaded)
    for part, allowed in _ALLOWED.items():
        if getattr(file, part) is None:
            continue
        used = set(PLACEHOLDER.findall(str(getattr(file, part))))
        if used - allowed or _NEEDED[part] - used:
            wrong = ", ".join(sorted(used - allowed)) or "none"
            missing = ", ".join(sorted(_NEEDED[part] - used)) or "none"
            raise PromptInvalid(f"{name}: {part}: unknown placeholders: {wrong}; missing ones: {missing}")
    used = set(PLACEHOLDER.findall(file.system))
    if "rubric" not in used and not {"relevant_rubric", "irrelevant_rubric"} <= used:
        raise PromptInvalid(f"{name}: system: it shows no rubric, whole or in its two sides")
    if ((file.example is None) != (file.examples_block is None)) or (
        (file.example is not None) != ("examples_block" in PLACEHOLDER.findall(file.user))
    ):
        raise PromptInvalid(f"{name}: example, examples_block and its place in user belong together")
    properties = file.schema_.get("properties")
    if not isinstance(properties, dict) or next(iter(properties), None) != "grade":
        raise PromptInvalid(
            f"{name}: schema: the first property must be the grade, or no reasoning-free token carries it"
        )
    # A list of pairs keeps the order of the properties in the hash, for the order decides what the judge writes first.
    # What a file leaves out is not hashed: a new optional field gives the older prompts no new version.
    dumped = file.model_dump(mode="json", by_alias=True)
    dumped["limits"] = {what: limit for what, limit in dumped["limits"].items() if limit is not None}
    described = {field: value for field, value in dumped.items() if value is not None}
    ordered = json.dumps([described, list(properties)], sort_keys=True)
    version = hashlib.sha256(f"rendering {RENDERING}\n{ordered}".encode()).hexdigest()[:16]
    return Prompt(
        name=file.name,
        version=version,
        criterion=file.criterion,
        system=file.system,
        user=file.user,
        schema=file.schema_,
        definition_block=file.definition_block,
        title_block=file.title_block,
        cut_note=file.cut_note,
        meanings=file.meanings,
        limits=dumped["limits"],
        examples_block=file.examples_block,
        example=file.example,
        content=content,
    )
