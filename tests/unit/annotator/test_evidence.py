"""Quotes found again in their passage, or dropped."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.evidence import locate


@pytest.mark.parametrize(
    ("passage", "quoted", "found"),
    [
        ("Pilots fly low to train.", "fly low", "fly low"),
        ("Pilots  fly\n\tlow to train.", "Pilots fly low", "Pilots  fly\n\tlow"),
        ("Pilots fly low.", " Pilots\nfly  low. ", "Pilots fly low."),
        (
            "He said \u201cfly low\u201d \u2014 twice.",
            'said "fly low" - twice',
            "said \u201cfly low\u201d \u2014 twice",
        ),
        ("It\u2019s low.", "It's low", "It\u2019s low"),
        ("It's low.", "It\u2019s low", "It's low"),
        ("caf\u00e9 noir", "cafe\u0301 noir", "caf\u00e9 noir"),
        ("cafe\u0301 noir", "caf\u00e9 noir", "cafe\u0301 noir"),
        ("the \ufb01rst flight", "first flight", "\ufb01rst flight"),
        ("10\u00a0km up", "10 km", "10\u00a0km"),
        ("low\u00ad-level fl\u200bight", "low-level flight", "low\u00ad-level fl\u200bight"),
        ("a\x00b\x1bc d", "a b c d", "a\x00b\x1bc d"),
        ("Pilots fly low.", '"Pilots fly low."', "Pilots fly low."),
        ("twice low, low twice", "low", "low"),
        ("\u6771\u4eac\u306f\u9996\u90fd\u3067\u3059", "\u9996\u90fd", "\u9996\u90fd"),
        ("\u0646\u0635 \u0639\u0631\u0628\u064a", "\u0639\u0631\u0628\u064a", "\u0639\u0631\u0628\u064a"),
        ("\uac00\ub098 \ub2e4", "\u1100\u1161\uac00"[:2] + "\ub098", "\uac00\ub098"),
    ],
)
def test_a_quote_is_found_through_differences_of_writing_only(passage: str, quoted: str, found: str) -> None:
    """Disaster: true evidence dropped for a curly quotation mark, or offsets that mark the wrong words."""
    evidence = locate(passage, quoted)
    assert evidence is not None
    assert evidence.text == found == passage[evidence.start : evidence.end]


@pytest.mark.parametrize(
    ("passage", "quoted"),
    [
        ("Pilots fly low.", "Pilots fly high"),
        ("Pilots fly low.", "pilots fly low"),
        ("Pilots fly low.", "Pilots ... low"),
        ("Pilots fly low.", "Pilotsfly low"),
        ("Pilots fly low.", ""),
        ("Pilots fly low.", "   "),
        ("Pilots fly low.", "."),
        ("Pilots fly low.", '""'),
        ("", "Pilots"),
        ("the \ufb01rst", "irst"),
        ("cafe\u0301 noir and more", "cafe noir"),
    ],
)
def test_what_is_not_in_the_passage_is_dropped(passage: str, quoted: str) -> None:
    """Disaster: an invented quote shown to a reviewer as the passage's own words."""
    assert locate(passage, quoted) is None


def test_a_quote_never_ends_in_the_middle_of_a_character() -> None:
    """Disaster: a span that cuts an accent off its letter."""
    evidence = locate("cafe\u0301 x cafe", "x\u00a0cafe")
    assert evidence is not None
    assert evidence.text == "x cafe"
    assert locate("x cafe\u0301", "x\u00a0cafe") is None


texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=80)


@given(texts, st.data())
@settings(max_examples=300, deadline=None)
def test_every_stretch_of_a_passage_is_found_verbatim(passage: str, data: st.DataObject) -> None:
    """Disaster: a judge that quotes faithfully and is not believed."""
    start = data.draw(st.integers(0, len(passage)))
    end = data.draw(st.integers(start, len(passage)))
    quoted = passage[start:end]
    evidence = locate(passage, quoted)
    if any(character.isalnum() for character in quoted):
        assert evidence is not None
        assert evidence.text == passage[evidence.start : evidence.end] == quoted.strip()


@given(texts, texts)
@settings(max_examples=300, deadline=None)
def test_found_spans_are_spans_of_the_passage_and_say_what_was_quoted(passage: str, quoted: str) -> None:
    """Disaster: offsets outside the passage, which the screen then cannot mark."""
    evidence = locate(passage, quoted)
    if evidence is not None:
        assert 0 <= evidence.start < evidence.end <= len(passage)
        assert evidence.text == passage[evidence.start : evidence.end]


@given(
    st.lists(
        st.sampled_from(["alpha", "b\u00e9ta", "\ufb01n", "\u201cx\u201d", "d-e", "\u00bd"]), min_size=1, max_size=8
    )
)
@settings(max_examples=200, deadline=None)
def test_a_quote_in_compatibility_form_is_found(words: list[str]) -> None:
    """Disaster: evidence lost because the judge writes composed letters and the passage decomposed ones."""
    passage = "before  " + unicodedata.normalize("NFD", " \n ".join(words)) + " after"
    evidence = locate(passage, unicodedata.normalize("NFKC", " ".join(words)))
    assert evidence is not None
    assert passage[evidence.start : evidence.end] == evidence.text


def test_a_megabyte_is_searched_in_seconds() -> None:
    """Disaster: one huge passage that stops a job."""
    passage = "word \u2019 " * 150_000 + "the end"
    started = time.perf_counter()
    assert locate(passage, "word \u2019 the\nend") is not None
    assert locate(passage, "word ' word ' nowhere") is None
    assert time.perf_counter() - started < 10
