"""From a record of a file to the value it stands for: the names that columns go by, and nothing about storing.

Ids and texts are checked where they are stored (`checks`), so that rows handed over by a program meet the same rules.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from app.errors import InputInvalid
from app.services.importing.checks import clean_id, finite_number, probability, shown, whole_grade
from app.services.importing.rows import BadLine, NewJudgement, NewPassage, NewQuery, NewSuggestion
from db.enums import Split

OWN_ID = ("_id", "id", "docid", "doc_id", "passage_id", "pid")
OWN_QUERY_ID = ("_id", "id", "qid", "query_id", "query-id")
QUERY_ID = ("query-id", "query_id", "qid")
PASSAGE_ID = ("corpus-id", "corpus_id", "passage_id", "passage-id", "docid", "doc_id", "pid")
PASSAGE_TEXT = ("text", "contents", "content", "passage", "body")
QUERY_TEXT = ("text", "query", "question")
GRADE = ("score", "grade", "relevance", "rel", "label")
JUDGE = ("judge",)

NEEDS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "corpus": (OWN_ID, PASSAGE_TEXT),
    "queries": (OWN_QUERY_ID, QUERY_TEXT),
    "qrels": (QUERY_ID, PASSAGE_ID, GRADE),
    "suggestions": (QUERY_ID, PASSAGE_ID, JUDGE, ("grade",)),
}
"""Layout -> the values a record of it must have, each under one of these names."""

_KNOWN_OF_A_SUGGESTION = {
    *QUERY_ID,
    *PASSAGE_ID,
    "judge",
    "grade",
    "max_grade",
    "token_probability",
    "verbal_confidence",
    "grade_distribution",
    "reason",
    "raw_reply",
    "model",
    "prompt_version",
}

_SPLITS = frozenset(str(split) for split in Split)

Record = Mapping[str, object]


def has_columns(columns: Collection[str], layout: str) -> bool:
    """Whether a record with these columns can be of that layout."""
    return all(any(name in columns for name in names) for names in NEEDS[layout])


def check_columns(columns: Collection[str], layout: str, file: str) -> None:
    """Refuses a whole table that lacks a column.

    Raises:
        InputInvalid: naming the columns that are missing and those that are there.
    """
    missing = [" or ".join(names) for names in NEEDS[layout] if not any(name in columns for name in names)]
    if missing:
        raise InputInvalid(
            f"{file} cannot be read as {layout}: no column {'; no column '.join(missing)}. "
            f"Its columns are: {', '.join(map(str, columns)) or 'none'}"
        )


def passage_of(record: Record) -> NewPassage:
    title, text = _first(record, ("title",)), _first(record, PASSAGE_TEXT)
    return NewPassage(
        clean_id(_first(record, OWN_ID), "passage id"), _text(title, "title"), _text(text, "text of the passage")
    )


def query_of(record: Record) -> NewQuery:
    definition, split = record.get("definition"), record.get("split")
    return NewQuery(
        clean_id(_first(record, OWN_QUERY_ID), "query id"),
        _text(_first(record, QUERY_TEXT), "text of the query"),
        split=Split(split) if isinstance(split, str) and split in _SPLITS else None,
        definition=_text(definition, "definition") if definition else None,
    )


def judgement_of(record: Record) -> NewJudgement:
    query_id, passage_id = _pair(record)
    return NewJudgement(query_id, passage_id, whole_grade(_first(record, GRADE)))


def suggestion_of(record: Record) -> NewSuggestion:
    query_id, passage_id = _pair(record)
    grade, max_grade = record.get("grade"), record.get("max_grade")
    if "grade" not in record:
        raise BadLine("the grade is missing; write null where the judge's reply could not be read")
    return NewSuggestion(
        query_id=query_id,
        passage_id=passage_id,
        judge=clean_id(record.get("judge"), "judge"),
        grade=None if grade in (None, "") else whole_grade(grade),
        max_grade=None if max_grade in (None, "") else whole_grade(max_grade),
        token_probability=probability(record.get("token_probability"), "token_probability"),
        verbal_confidence=probability(record.get("verbal_confidence"), "verbal_confidence"),
        grade_distribution=_distribution(record.get("grade_distribution")),
        reason=_text(record.get("reason"), "reason"),
        raw_reply=_text(record.get("raw_reply"), "raw_reply"),
        model=_text(record.get("model"), "model") or None,
        prompt_version=_text(record.get("prompt_version"), "prompt_version") or None,
        extra={
            name: value
            for name, value in record.items()
            if name not in _KNOWN_OF_A_SUGGESTION and (value is None or isinstance(value, str | int | float | bool))
        },
    )


def _pair(record: Record) -> tuple[str, str]:
    return (
        clean_id(_first(record, QUERY_ID), "query id"),
        clean_id(_first(record, PASSAGE_ID), "passage id"),
    )


def _first(record: Record, names: tuple[str, ...]) -> object:
    for name in names:
        if name in record:
            return record[name]
    return None


def _text(value: object, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadLine(f"the {what} is {shown(value)}; it must be text")
    return value


def _distribution(value: object) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise BadLine(f"the grade_distribution is {shown(value)}; it must be a list of probabilities")
    shares = tuple(finite_number(share, "grade_distribution") for share in value)
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-3:
        raise BadLine(f"the grade_distribution is {shown(value)}; its probabilities must sum to 1")
    return tuple(share / sum(shares) for share in shares)
