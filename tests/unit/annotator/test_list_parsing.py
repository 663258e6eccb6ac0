"""Replies about several passages: each passage stands under a label of its own, and nothing is guessed."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.list_parsing import parse_grades, parse_ranking, parse_selection
from annotator.reply_json import ReplyUnreadable
from annotator.types import Scale

LABELS = ("1kf", "2bd", "3xz")
SCALE = Scale()


def grades(*entries: object) -> str:
    return json.dumps({"grades": entries})


def entry(label: str, grade: object, confidence: float = 0.5) -> dict[str, object]:
    return {"id": label, "grade": grade, "confidence": confidence}


def test_each_passage_gets_its_own_grade_wherever_it_stands_in_the_reply() -> None:
    """Disaster: grades given by place in the reply, so that one passage left out shifts all that follow."""
    read = parse_grades(grades(entry("3xz", 0), entry("1kf", 3, 0.9), entry("2bd", 1)), labels=LABELS, scale=SCALE)
    assert {place: listed.grade for place, listed in read.grades.items()} == {0: 3, 1: 1, 2: 0}
    assert read.grades[0].confidence == 0.9
    assert read.problems == {}


def test_missing_doubled_and_off_scale_passages_are_unreadable_and_the_others_stay() -> None:
    """Disaster: a passage that the judge never spoke of becomes a certain negative."""
    missing = parse_grades(grades(entry("1kf", 2), entry("2bd", 0)), labels=LABELS, scale=SCALE)
    assert set(missing.grades) == {0, 1}
    assert missing.problems == {2: "the reply leaves this passage out"}
    twice = [entry("1kf", 2), entry("1kf", 2), entry("2bd", 0), entry("3xz", 7)]
    doubled = parse_grades(grades(*twice), labels=LABELS, scale=SCALE)
    assert set(doubled.grades) == {1}
    assert doubled.problems == {0: "the reply grades it twice", 2: "a grade off the scale 0..3"}


@pytest.mark.parametrize("label", ["1", "P1", "passage 1kf", "1kg", "", 1, None])
def test_a_label_that_is_not_copied_exactly_names_no_passage(label: object) -> None:
    """Disaster: a place number taken for a passage that the model never meant."""
    read = parse_grades(grades(entry(label, 3)), labels=LABELS, scale=SCALE)  # type: ignore[arg-type]
    assert read.grades == {}
    assert len(read.problems) == 3


def test_brackets_and_capitals_around_a_label_do_not_matter() -> None:
    """Disaster: a whole pool unreadable because a model copied the brackets too."""
    read = parse_grades(grades(entry("[1KF]", 3)), labels=LABELS, scale=SCALE)
    assert read.grades[0].grade == 3


@pytest.mark.parametrize(
    "grade",
    [None, True, 1.5, "two", "2/3", 4, -1, [2], "", 10**12],
)
def test_a_grade_that_is_no_grade_is_unreadable(grade: object) -> None:
    """Disaster: None or true read as 0 or 1."""
    read = parse_grades(grades(entry("1kf", grade), entry("2bd", 1)), labels=LABELS, scale=SCALE)
    assert set(read.grades) == {1}


def test_an_entry_with_two_different_grades_is_unreadable() -> None:
    """Disaster: JSON's last key wins in silence."""
    text = '{"grades": [{"id": "1kf", "grade": 3, "grade": 0}, {"id": "2bd", "grade": 1}]}'
    read = parse_grades(text, labels=LABELS, scale=SCALE)
    assert set(read.grades) == {1}


@pytest.mark.parametrize(
    ("text", "finish"),
    [
        ("", None),
        ("I cannot judge these.", None),
        ('{"grades": [{"id": "1kf", "grade": 3}', None),
        ('{"grades": [{"id": "1kf", "grade": 3}]}', "length"),
        ('{"grades": [{"id": "1kf", "grade": 3}]}', "content_filter"),
        ('{"grades": [{"id": "1kf", "grade": 3}]} or rather {"grades": [{"id": "1kf", "grade": 0}]}', None),
        ('<think>perhaps {"grades": [{"id": "1kf", "grade": 3}]}', None),
        ('I said "grades": before. {"grades": [{"id": "1kf", "grade": 3}]}', None),
        ('{"grades": {"1kf": 3}}', None),
        ('{"grades": "1kf 3"}', None),
        ("{" * 100_000, None),
        ("[" * 100_000 + '{"grades": []}', None),
    ],
)
def test_a_reply_without_one_clear_list_leaves_every_passage_unreadable(text: str, finish: str | None) -> None:
    """Disaster: the first of two contradicting lists is taken."""
    read = parse_grades(text, labels=LABELS, scale=SCALE, finish_reason=finish)
    assert read.grades == {}
    assert set(read.problems) == {0, 1, 2}


def test_prose_fences_and_closed_thinking_around_the_list_do_not_matter_but_end_token_confidence() -> None:
    """Disaster: a token probability after reasoning, which is always near 1, taken for certainty."""
    body = grades(entry("1kf", 2))
    plain = parse_grades(f"```json\n{body}\n```", labels=LABELS, scale=SCALE).grades[0]
    assert plain.grade_at is not None
    for around in (f"<think>Is it 3?</think>{body}", f"Here you are: {body}", f"Well, 1kf is a 2.\n{body}\nDone."):
        listed = parse_grades(around, labels=LABELS, scale=SCALE).grades[0]
        assert (listed.grade, listed.grade_at) == (2, None)


def test_the_place_of_a_grade_is_that_of_its_own_digit() -> None:
    """Disaster: the token probability of one passage's grade, or of a digit in a label, booked on another."""
    text = grades(entry("1kf", 2), entry("2bd", 0), entry("3xz", 3))
    read = parse_grades(text, labels=LABELS, scale=SCALE)
    for listed in read.grades.values():
        assert listed.grade_at is not None
        assert text[listed.grade_at] == str(listed.grade)
        assert text[: listed.grade_at].endswith('"grade": ')
    assert len({listed.grade_at for listed in read.grades.values()}) == 3


def test_a_selection_may_be_empty_and_a_label_twice_is_one_passage() -> None:
    """Disaster: `[0]` of an empty selection, or -1, as in the released code."""
    assert dict(parse_selection('{"selected": []}', labels=LABELS).selected) == {}
    read = parse_selection('{"selected": ["2bd", "2bd"]}', labels=LABELS)
    assert dict(read.selected) == {1: None}
    assert read.unreadable == {}


def test_a_selection_keeps_stated_confidences_apart() -> None:
    """Disaster: one number for all, though the judge gave several."""
    text = '{"selected": [{"id": "1kf", "confidence": 0.9}, {"id": "3xz", "confidence": "70%"}], "rest": 0.8}'
    read = parse_selection(text, labels=LABELS)
    assert dict(read.selected) == {0: 0.9, 2: 0.7}
    assert read.rest == 0.8


def test_an_unknown_label_leaves_open_which_of_the_others_was_meant() -> None:
    """Disaster: the passage that the model did pick counts as not picked."""
    read = parse_selection('{"selected": ["1kf", "9zz"]}', labels=LABELS)
    assert set(read.selected) == {0}
    assert set(read.unreadable) == {1, 2}


def test_a_ranking_keeps_its_order_and_says_what_it_leaves_out() -> None:
    """Disaster: a passage left out is ranked last, or the ranking shifts."""
    read = parse_ranking('{"ranking": ["3xz", "1kf"]}', labels=LABELS)
    assert (read.order, read.missing) == ((2, 0), (1,))


@pytest.mark.parametrize("text", ['{"ranking": ["1kf", "1kf", "2bd"]}', '{"ranking": ["1kf", "4qq"]}', "1kf > 2bd"])
def test_a_ranking_with_places_in_doubt_is_refused(text: str) -> None:
    """Disaster: `[0]` becomes index -1 and the last passage becomes the best (a fault of the released code)."""
    with pytest.raises(ReplyUnreadable):
        parse_ranking(text, labels=LABELS)


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_reply_whatever_crashes_or_makes_up_a_passage(text: str) -> None:
    """Disaster: one odd reply stops a job of a hundred thousand pairs."""
    read = parse_grades(text, labels=LABELS, scale=SCALE)
    assert set(read.grades) | set(read.problems) == {0, 1, 2}
    for parse in (parse_selection, parse_ranking):
        with contextlib.suppress(ReplyUnreadable):
            parse(text, labels=LABELS)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.sampled_from([*LABELS, "1", "x"]), "grade": st.integers(-1, 4) | st.none() | st.booleans()}
        ),
        max_size=6,
    )
)
def test_a_grade_is_read_only_where_its_label_stands_once_with_a_grade_on_the_scale(
    entries: list[dict[str, object]],
) -> None:
    """Disaster: any way at all to a grade that the reply does not state."""
    read = parse_grades(json.dumps({"grades": entries}), labels=LABELS, scale=SCALE)
    for place, label in enumerate(LABELS):
        stated = [e["grade"] for e in entries if e["id"] == label]
        good = len(stated) == 1 and type(stated[0]) is int and 0 <= stated[0] <= 3
        assert (place in read.grades) == good
        if good:
            assert read.grades[place].grade == stated[0]
