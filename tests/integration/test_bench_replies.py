"""The hand-checked sample is the one that was drawn, and holds no text of any reply."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from annotator.parsing import parse_reply
from annotator.types import Scale
from bench.replies_sample import CHECKED, CheckedReply, Reply, draw, read_checked, read_replies, shape_of


@pytest.fixture(scope="module")
def replies(shared_data: Path) -> list[Reply]:
    return read_replies()


@pytest.fixture(scope="module")
def checked(replies: list[Reply]) -> list[CheckedReply]:
    return read_checked(replies)


def test_the_sample_is_the_seeded_draw_half_of_it_among_what_was_refused_then(
    replies: list[Reply], checked: list[CheckedReply]
) -> None:
    """Disaster: a sample from which the hard replies were taken out afterwards.

    Since the draw the parser has learnt to read objects that lack only their last brace, and refuses nothing else anew.
    """

    def refused_then(text: str) -> bool:
        return shape_of(text) == "cut JSON" or parse_reply(text, scale=Scale()).grade is None

    lines = {one.reply.line for one in checked}
    assert set(draw(replies, refused=refused_then)) == lines
    assert len(lines) == len(checked) == 300
    assert Counter(refused_then(one.reply.text) for one in checked) == {True: 150, False: 150}


def test_the_committed_file_copies_no_reply(checked: list[CheckedReply]) -> None:
    """Disaster: text under another licence in the repository."""
    rows = [json.loads(line) for line in CHECKED.read_text(encoding="utf-8").splitlines()]
    assert {key for row in rows for key in row} == {"line", "sha256", "source", "grade", "second", "why"}
    assert max(len(row.get("why", "")) for row in rows) < 120
    for one in checked:
        assert len(one.why) < 20 or one.why not in one.reply.text


def test_a_corpus_of_another_version_is_refused(replies: list[Reply], tmp_path: Path) -> None:
    """Disaster: judgements about replies that are not the ones that were read."""
    row = {"line": 0, "sha256": "0" * 64, "source": replies[0].source, "grade": 1, "second": 1}
    path = tmp_path / "checked.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="not the reply that was read"):
        read_checked(replies, path=path)


def test_no_reading_of_the_sample_is_wrong(checked: list[CheckedReply]) -> None:
    """Disaster: a change to the parser that reads more by guessing."""
    readings = [(one, parse_reply(one.reply.text, scale=Scale()).grade) for one in checked]
    assert not [one.reply.line for one, grade in readings if grade is not None and grade != one.grade]
    assert not [one.reply.line for one, grade in readings if grade is not None and grade != one.second]
    assert sum(grade is not None for _, grade in readings) >= 186
