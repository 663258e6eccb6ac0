"""The parser over six thousand replies of real models to judging prompts, many of them malformed."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from annotator.parsing import parse_reply
from annotator.types import Scale


@pytest.fixture(scope="module")
def replies(shared_data: Path) -> list[dict[str, object]]:
    """Every reply with its source and, where known, what its own authors read in it (-1: they gave up)."""
    with gzip.open(shared_data / "llm-replies" / "replies.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_no_real_reply_crashes_the_parser_and_few_usable_ones_are_lost(
    replies: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Disaster: a job that dies on reply 4,711, or a parser so strict that it throws the labels away."""
    parsed = [(str(row["source"]), parse_reply(str(row["reply"]), scale=Scale())) for row in replies]
    unreadable = Counter(re.sub(r"\d+|'.*'", "…", reply.problem) for _, reply in parsed if reply.problem is not None)
    with capsys.disabled():
        print(f"\n{unreadable.total()} of {len(parsed)} real replies are unreadable: {dict(unreadable)}")  # noqa: T201
    about_one_passage = [reply for source, reply in parsed if "p-mult" not in source]
    readable = sum(reply.grade is not None for reply in about_one_passage)
    assert readable / len(about_one_passage) > 0.9


def test_replies_about_several_passages_are_never_read_as_one_grade(replies: list[dict[str, object]]) -> None:
    """Disaster: the grade of passage 2 stored for passage 1."""
    several = [str(row["reply"]) for row in replies if "p-mult" in str(row["source"])]
    assert len(several) > 1_000
    assert not [reply for reply in several if parse_reply(reply, scale=Scale()).grade is not None]


def test_where_the_authors_read_a_grade_we_read_the_same_or_none(replies: list[dict[str, object]]) -> None:
    """Disaster: a misreading that nobody sees, because every reply gives some number."""
    for row in replies:
        if isinstance(theirs := row.get("their_parse"), int) and theirs >= 0:
            ours = parse_reply(str(row["reply"]), scale=Scale()).grade
            assert ours in (theirs, None), row


def test_whole_json_objects_give_the_grade_that_json_gives(replies: list[dict[str, object]]) -> None:
    """Disaster: our own reading of JSON differing from that of the standard library."""
    compared = 0
    for row in replies:
        try:
            value = json.loads(str(row["reply"]))
        except ValueError:
            continue
        if isinstance(value, dict) and set(value) == {"explanation", "relevance"}:
            compared += 1
            assert parse_reply(str(row["reply"]), scale=Scale()).grade == value["relevance"]
    assert compared > 3_000
