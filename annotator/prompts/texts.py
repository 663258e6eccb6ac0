"""Prompts over any texts: several passages at once, each under a short label, or none. `pointwise.py` is apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from annotator.cleaning import clean
from annotator.errors import PromptInvalid
from annotator.prompts.rendering import (
    PLACEHOLDER,
    Cut,
    Message,
    cut,
    fence,
    fill,
    labels,
    rubric,
    without_empty_blocks,
)
from annotator.types import Criterion, Scale

RENDERING = 1
"""Counted up whenever `TextPrompt.render` changes what a judge sees; part of every version of this kind."""

_FIXED = {"fence", "count", "max_grade", "relevant_from", "rubric"}
_Text = Annotated[str, Field(min_length=1)]
_Positive = Annotated[int, Field(ge=1)]


class _TextFile(BaseModel):
    """What a prompt file of this kind must hold, and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["texts"]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    criterion: Criterion
    limits: dict[str, _Positive]
    words: dict[str, _Positive] = {}
    meanings: dict[str, str] = {}
    system: _Text
    user: _Text
    blocks: dict[str, _Text] = {}
    item: _Text | None = None
    item_blocks: dict[str, _Text] = {}
    cut_note: _Text
    schema_: Annotated[dict[str, object], Field(alias="schema")]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The messages of one call, and the label under which each item stands in them, in the order given."""

    messages: tuple[Message, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """A prompt, ready to render; `version` is a hash of all that decides what a judge is shown and may answer.

    `limits` are characters and `words` words (runs without white space) of each text by name; `blocks` surround a text
    that may be missing, `item` one of several passages and `item_blocks` a text of it that may be missing.
    """

    name: str
    version: str
    criterion: Criterion
    system: str
    user: str
    schema: Mapping[str, object]
    limits: Mapping[str, int]
    words: Mapping[str, int]
    meanings: Mapping[str, str]
    blocks: Mapping[str, str]
    item: str | None
    item_blocks: Mapping[str, str]
    cut_note: str
    content: str

    def render(
        self, texts: Mapping[str, str], *, items: Sequence[Mapping[str, str]] = (), scale: Scale | None = None
    ) -> Rendered:
        """The messages; texts are cleaned, cut where a limit says so (and said so), and fenced.

        Fence and labels are hashes of prompt and texts: the same texts always render alike, yet no text can contain
        the fence, or the label of any item.

        Raises:
            ValueError: a text has a name that the prompt does not know, or one that it always shows is not given.
        """
        scale = scale or Scale()
        self._refuse_missing(texts, items)
        shown = {name: self._cut(name, text) for name, text in texts.items()}
        shown_items = [{name: self._cut(name, text) for name, text in item.items()} for item in items]
        plain = {name: part.text for name, part in shown.items()}
        every = {**plain, **{f"{n} {k}": v.text for n, item in enumerate(shown_items, 1) for k, v in item.items()}}
        code = fence(self.version, every)
        names = labels(len(items), code=code, texts=list(every.values()))
        fixed = {
            "fence": code,
            "count": str(len(items)),
            "max_grade": str(scale.max_grade),
            "relevant_from": str(scale.relevant_from),
            "rubric": rubric(scale, self.meanings),
        }
        blocks = {
            f"{name}_block": fill(block, {**fixed, **plain}).rstrip() if plain.get(name, "").strip() else ""
            for name, block in self.blocks.items()
        }
        blocks["notes"] = "\n".join(self._note(name, part) for name, part in shown.items() if part.is_cut)
        if self.item is not None:
            listed = zip(names, shown_items, strict=True)
            blocks["items"] = "\n".join(self._item(self.item, fixed, label, item) for label, item in listed)
        user = fill(without_empty_blocks(self.user, blocks), {**fixed, **plain, **blocks})
        return Rendered((Message("system", fill(self.system, fixed).strip()), Message("user", user.strip())), names)

    def schema_for(self, scale: Scale) -> dict[str, object]:
        """The JSON schema of a reply, with the scale's grades as the only ones allowed wherever a grade stands."""
        schema: dict[str, object] = json.loads(json.dumps(dict(self.schema)))
        _allow_only(schema, list(scale.grades))
        return schema

    def _refuse_missing(self, texts: Mapping[str, str], items: Sequence[Mapping[str, str]]) -> None:
        always = set(PLACEHOLDER.findall(self.user)) & set(self.limits)
        in_items = set(PLACEHOLDER.findall(self.item or "")) & set(self.limits)
        missing = (always - set(texts)).union(*(in_items - set(item) for item in items))
        if missing:
            raise ValueError(f"the prompt {self.name} also needs: {', '.join(sorted(missing))}")
        if items and self.item is None:
            raise ValueError(f"the prompt {self.name} shows no items")

    def _item(self, template: str, fixed: Mapping[str, str], label: str, item: Mapping[str, Cut]) -> str:
        plain = {"label": label, **{name: part.text for name, part in item.items()}}
        blocks = {
            f"{name}_block": fill(block, {**fixed, **plain}).rstrip() if plain.get(name, "").strip() else ""
            for name, block in self.item_blocks.items()
        }
        blocks["note"] = "\n".join(self._note(name, part) for name, part in item.items() if part.is_cut)
        return fill(without_empty_blocks(template, blocks), {**fixed, **plain, **blocks}).rstrip()

    def _cut(self, name: str, text: str) -> Cut:
        if name not in self.limits:
            raise ValueError(f"the prompt {self.name} shows no {name}")
        # A text of megabytes is not cleaned beyond what can be shown: invisible characters rarely fill ten times that.
        limit = self.limits[name]
        shown = cut(clean(text[: 10 * limit]), limit=limit, words=self.words.get(name))
        return Cut(shown.text, shown.shown, max(shown.total, len(text) if len(text) > 10 * limit else 0))

    def _note(self, what: str, part: Cut) -> str:
        return fill(self.cut_note, {"what": what, "shown": str(part.shown), "total": str(part.total)})


def _allow_only(schema: object, grades: list[int]) -> None:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict) and "grade" in properties:
            properties["grade"] = {"type": "integer", "enum": grades}
        for value in schema.values():
            _allow_only(value, grades)


def prompt_from(loaded: object, *, content: str, name: str) -> TextPrompt:
    """The prompt that a read file describes; `content` is the file as it was, to be kept.

    Raises:
        PromptInvalid: a text is never shown, or a placeholder means nothing.
        pydantic.ValidationError: a field is missing, unknown or wrong.
    """
    file = _TextFile.model_validate(loaded)
    names = set(file.limits)
    if set(file.words) - names or set(file.blocks) - names or set(file.item_blocks) - names:
        raise PromptInvalid(f"{name}: words, blocks and item_blocks may only name texts that have a limit")
    in_blocks = {f"{block}_block" for block in file.blocks}
    in_items = {f"{block}_block" for block in file.item_blocks}
    listed = {"items"} if file.item is not None else set()
    _check(name, "system", file.system, allowed=_FIXED, needed={"fence"})
    _check(
        name,
        "user",
        file.user,
        allowed=_FIXED | names | in_blocks | listed | {"notes"},
        needed={"fence", "notes"} | in_blocks | listed,
    )
    _check(name, "cut_note", file.cut_note, allowed={"what", "shown", "total"}, needed={"what", "shown", "total"})
    for text, block in file.blocks.items():
        _check(name, f"blocks: {text}", block, allowed=_FIXED | {text}, needed={"fence", text})
    for text, block in file.item_blocks.items():
        _check(name, f"item_blocks: {text}", block, allowed=_FIXED | {"label", text}, needed={text})
    if file.item is not None:
        allowed = _FIXED | names | in_items | {"label", "note"}
        _check(name, "item", file.item, allowed=allowed, needed={"fence", "label", "note"} | in_items)
    everywhere = "\n".join([file.user, file.item or "", *file.blocks.values(), *file.item_blocks.values()])
    if unseen := names - set(PLACEHOLDER.findall(everywhere)):
        raise PromptInvalid(f"{name}: limits name texts that are never shown: {', '.join(sorted(unseen))}")
    dumped = file.model_dump(mode="json", by_alias=True)
    schema = json.dumps(dumped.pop("schema"))  # unsorted: the order of the keys decides what is written first
    seed = f"texts, rendering {RENDERING}\n{json.dumps(dumped, sort_keys=True)}\n{schema}"
    return TextPrompt(
        name=file.name,
        version=hashlib.sha256(seed.encode()).hexdigest()[:16],
        criterion=file.criterion,
        system=file.system,
        user=file.user,
        schema=file.schema_,
        limits=file.limits,
        words=file.words,
        meanings=file.meanings,
        blocks=file.blocks,
        item=file.item,
        item_blocks=file.item_blocks,
        cut_note=file.cut_note,
        content=content,
    )


def _check(name: str, part: str, template: str, *, allowed: set[str], needed: set[str]) -> None:
    used = set(PLACEHOLDER.findall(template))
    if used - allowed or needed - used:
        wrong = ", ".join(sorted(used - allowed)) or "none"
        missing = ", ".join(sorted(needed - used)) or "none"
        raise PromptInvalid(f"{name}: {part}: unknown placeholders: {wrong}; missing ones: {missing}")
