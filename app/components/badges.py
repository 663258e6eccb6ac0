"""Grades, confidences, judges and outcomes in words and small marks; colour is never the only signal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from app.components.text import escaped
from app.services.views import JudgeView, ScaleView

LOCAL = "local judge"

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "token": "from token probabilities",
        "verbal": "stated by the judge",
        "votes": "share of votes",
        "retriever": "from retrieval signals",
    }
)

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "adjudicated": "adjudicated",
        "human": "people",
        "accepted": "accepted proposals",
        "self": "self-labels",
        "proposed": "proposals not accepted (soft targets)",
    }
)

SPLITS: Mapping[str, str] = MappingProxyType({"train": "train", "calibrate": "calibrate", "held-out": "held-out"})


def grade_text(grade: int | None, scale: ScaleView) -> str:
    """A grade as number and word, such as "2 · partly answers"; an absent one is said, never shown as 0."""
    if grade is None:
        return "no grade"
    word = scale.labels[grade] if 0 <= grade < len(scale.labels) else "outside the scale"
    return f"{grade} · {word}"


def grade_html(grade: int | None, scale: ScaleView) -> str:
    """A grade as a chip: number, word, and one filled bar for each step of the scale."""
    if grade is None:
        return '<span class="rl-grade rl-grade-none">no grade</span>'
    side = "rl-relevant" if grade >= scale.relevant_from else "rl-irrelevant"
    bars = "".join(f'<i class="{"on" if step <= grade else ""}"></i>' for step in range(1, scale.max_grade + 1))
    return (
        f'<span class="rl-grade {side}"><span class="rl-bars" aria-hidden="true">{bars}</span>'
        f"{escaped(grade_text(grade, scale))}</span>"
    )


def confidence_text(confidence: float | None, kind: str | None) -> str:
    if confidence is None:
        return "none given"
    return f"{confidence:.0%} ({KINDS.get(str(kind), str(kind))})"


def confidence_html(confidence: float | None, kind: str | None) -> str:
    """A confidence as a bar with its number and where it comes from; raw, so never compared between kinds."""
    if confidence is None:
        return '<span class="rl-muted">none given</span>'
    return (
        f'<span class="rl-confidence"><span class="rl-track" aria-hidden="true">'
        f'<b style="width:{max(0.0, min(1.0, confidence)) * 100:.0f}%"></b></span>'
        f"<strong>{confidence:.0%}</strong></span>"
        f'<span class="rl-muted">{escaped(KINDS.get(str(kind), str(kind)))}, not calibrated</span>'
    )


def judge_text(judge: JudgeView | None) -> str:
    """Who proposes, and plainly when it is no LLM or carries no certificate."""
    if judge is None:
        return "no judge"
    match str(judge.kind):
        case "local":
            return f"{LOCAL}: no LLM, uncertified"
        case "retriever":
            return f"{judge.name}: the retriever itself, no LLM"
        case "imported":
            return f"{judge.name}: imported, uncertified"
        case _:
            return f"{judge.name}" if judge.certifiable else f"{judge.name}: uncertified"


def judges_text(names: Iterable[str]) -> str:
    """The judges by name, the built-in one never without what it is not."""
    return ", ".join(f"{name} (no LLM, uncertified)" if name == LOCAL else name for name in names) or "none yet"


def outcome_text(outcome: str | None, *, certified: bool) -> str:
    """What was decided; an acceptance without a certificate says so."""
    accepted = "accepted" if certified else "accepted, uncertified"
    return {"accepted": accepted, "rejected": "rejected"}.get(str(outcome), "not decided")


def outcome_html(outcome: str | None, *, certified: bool) -> str:
    mark = {"accepted": "✓", "rejected": "✕"}.get(str(outcome), "–")
    words = outcome_text(outcome, certified=certified)
    return f'<span class="rl-outcome"><span aria-hidden="true">{mark}</span> {words}</span>'


def source_text(source: str) -> str:
    return SOURCES.get(source, source)


def sources_text(counts: Mapping[str, int], *, n_uncertified: int) -> str:
    """How many labels come from whom, and how many of the accepted ones carry no certificate."""
    parts = []
    for source, number in counts.items():
        if number:
            part = f"{number:,} adjudicated" if source == "adjudicated" else f"{number:,} from {source_text(source)}"
            if source == "accepted" and n_uncertified:
                part += ", uncertified" if n_uncertified == number else f", {n_uncertified:,} of them uncertified"
            parts.append(part)
    return "; ".join(parts)


def system_text(system: str) -> str:
    """What found a candidate, in words that need no knowledge of search engines."""
    if system == "bm25":
        return "words (BM25)"
    if system.startswith("dense:"):
        return f"meaning (model {system.removeprefix('dense:')[:6]})"
    return system


def facts_html(facts: list[tuple[str, str]]) -> str:
    """A list of name and value; the values are HTML already, made by this module or escaped by the caller."""
    rows = "".join(f"<dt>{escaped(name)}</dt><dd>{value}</dd>" for name, value in facts)
    return f'<dl class="rl-facts">{rows}</dl>'
