"""What a bench returns, and how it is printed and stored. No measuring happens here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

RESULTS = Path(__file__).parent / "results"
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Result:
    """What a bench measured; `target` says in words what `holds` means, `lines` are for people."""

    name: str
    holds: bool
    target: str
    figures: Mapping[str, Json]
    lines: tuple[str, ...] = ()

    def as_json(self) -> str:
        """One line of JSON: name, holds, target, figures; floats rounded to 6 digits.

        Raises:
            ValueError: a figure is NaN or infinite; say None where there is no number.
        """
        return json.dumps(self._fields(), ensure_ascii=False, allow_nan=False)

    def write(self, *, quick: bool, folder: Path = RESULTS) -> Path:
        """The file it was stored in: `NAME.json`, or `NAME.quick.json` for a quick run."""
        path = folder / (f"{self.name}.quick.json" if quick else f"{self.name}.json")
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self._fields(), ensure_ascii=False, allow_nan=False, indent=1)
        path.write_text(text + "\n", encoding="utf-8")
        return path

    def _fields(self) -> dict[str, Json]:
        return {"name": self.name, "holds": self.holds, "target": self.target, "figures": _rounded(self.figures)}


def _rounded(value: Json) -> Json:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(inner) for inner in value]
    return value
