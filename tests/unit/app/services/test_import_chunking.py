"""Cutting documents into passages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bs4 import BeautifulSoup, Tag
from bs4.element import PageElement
from hypothesis import given
from hypothesis import strategies as st

from app.services.importing.chunking import MAX_WORDS, Block, _html_parts, chunk_html, chunk_markdown, chunk_text

GUIDE = """---
title: "The guide"
---
Before any heading.

# Setup

First paragraph,
on two lines with `code`.

- one point

## On Linux

Use the package.

## Example

Run it.

## Example

Run it again.
"""


def test_passages_follow_the_headings_and_carry_them_in_the_title() -> None:
    """A passage without its heading answers nothing: "Use the package." of what?"""
    chunks = {chunk.anchor: chunk for chunk in chunk_markdown(GUIDE, name="file")}
    assert list(chunks) == ["top.1", "setup.1", "on-linux.1", "example.1", "example-2.1"]
    assert chunks["on-linux.1"].title == "The guide › Setup › On Linux"
    assert chunks["setup.1"].text == "First paragraph, on two lines with code.\n\none point"


def test_an_edit_in_one_section_keeps_the_ids_and_texts_of_all_others() -> None:
    """People's labels hang on ids; renumbering a whole file would tear them all off."""
    edited = GUIDE.replace("Use the package.", " ".join(["A whole new paragraph of words."] * 100))
    before = {chunk.anchor: chunk.text for chunk in chunk_markdown(GUIDE, name="f")}
    after = {chunk.anchor: chunk.text for chunk in chunk_markdown(edited, name="f")}
    assert len(after) > len(before)
    assert all(after[anchor] == text for anchor, text in before.items() if not anchor.startswith("on-linux"))


def test_html_loses_scripts_styles_and_comments_but_no_text() -> None:
    """Script text in a passage would be retrieved, judged and shown."""
    page = (
        "<html><head><title>Page</title><style>p {}</style><p>One <b>two</b><!-- secret --><script>evil()</script>"
        "<h2>Sub</h2><ul><li>a<li>b</ul>tail"
    )
    chunks = chunk_html(page, name="f")
    assert [(c.anchor, c.title, c.text) for c in chunks] == [
        ("top.1", "Page", "One two"),
        ("sub.1", "Page › Sub", "a\n\nb\n\ntail"),
    ]


def test_a_block_ends_where_its_element_does_however_it_is_wrapped() -> None:
    """The text after a nested list would otherwise join the list's last point."""
    page = "<div>a<i> b<svg><title>no</title><p>no</p></svg> c</i><ul><li><b>d</b></ul> e<h2><div>f</div></h2></div>g"
    chunks = chunk_html(page, name="f")
    assert [(c.anchor, c.text) for c in chunks] == [("top.1", "a b c\n\nd\n\ne\n\nf\n\ng")]


def test_cutting_looks_at_each_element_once_however_deep_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a few MiB that opens a tag at every letter would keep the import busy for hours."""
    depth, looks = 20_000, 0
    soup = BeautifulSoup("<b>x" * depth + "<svg>y" * depth, "html.parser")
    climb = vars(PageElement)["parents"].fget

    def counted(element: PageElement) -> Iterator[Tag]:
        nonlocal looks
        for parent in climb(element):
            looks += 1
            assert looks <= depth, "the way up is walked again and again"
            yield parent

    monkeypatch.setattr(PageElement, "parents", property(counted))
    assert list(_html_parts(soup)) == [Block("x" * depth)]


def test_a_deeply_nested_page_keeps_its_text() -> None:
    """Depth must cost neither an error nor text."""
    chunks = chunk_html("<b>x" * 20_000, name="f")
    assert [c.text for c in chunks] == ["x" * 20_000]


def test_a_table_and_a_code_block_are_kept() -> None:
    """Reference pages are mostly tables and code."""
    chunks = chunk_markdown("| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx = 1\n  y\n```\n", name="f")
    assert chunks[0].text == "a\n\nb\n\n1\n\n2\n\nx = 1\n  y"


@given(st.lists(st.text(alphabet="ab .\n", min_size=1, max_size=3000), max_size=4))
def test_no_word_is_lost_and_no_passage_is_too_long(paragraphs: list[str]) -> None:
    """Text that falls between two passages can never be found."""
    text = "\n\n".join(paragraphs)
    chunks = chunk_text(text, name="f")
    assert " ".join(chunk.text for chunk in chunks).split() == text.split()
    assert all(len(chunk.text.split()) <= MAX_WORDS for chunk in chunks)


@given(st.text(max_size=200))
def test_any_text_can_be_cut_without_an_error(text: str) -> None:
    """One odd document must not stop the import of a folder."""
    for cut in (chunk_markdown, chunk_html, chunk_text):
        anchors = [chunk.anchor for chunk in cut(text, name="f")]
        assert len(anchors) == len(set(anchors))
