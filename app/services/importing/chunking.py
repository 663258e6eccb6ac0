"""Cuts a document into passages along its headings and paragraphs, with ids that survive edits elsewhere in it.

A passage has about 80 to 200 words of one section: whole paragraphs, as many as fit; only a longer paragraph is cut, at
the end of a sentence where there is one. Our choice: long enough to answer something, short enough for an encoder.

The id of a passage is the document's path, its heading and its place under that heading: `guide/setup.md#on-linux.2`;
`#top` stands for text before the first heading, and a heading that comes again is counted, `#example-2.1`. So an edit
moves ids only below the same heading, and there only when a paragraph crosses the border of a passage; other sections,
whose labels people made, keep theirs. Where an id comes to stand for another text but its passage is judged or
proposed for, the import keeps the old text and lists the new one as a problem (`corpus_writing.py`). Renaming a heading
or a file gives new ids.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bs4 import BeautifulSoup, Tag, XMLParsedAsHTMLWarning
from bs4.element import NavigableString, PreformattedString
from markdown_it import MarkdownIt
from markdown_it.token import Token

MIN_WORDS = 80
MAX_WORDS = 200
TOP = "top"
MAX_SLUG = 80

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_FRONT_TITLE = re.compile(r"""^title:[ \t]*["']?(.+?)["']?[ \t]*$""", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")
_DROPPED = ("script", "style", "noscript", "template", "title", "svg", "iframe")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        "address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer "
        "form h1 h2 h3 h4 h5 h6 header html li main nav ol p pre section summary table td th tr ul",
    )
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage of a document; `anchor` is its id within the document."""

    anchor: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list item, table cell or code block."""

    text: str


Part = Heading | Block


def chunk_markdown(text: str, *, name: str) -> list[Chunk]:
    """The passages of a Markdown document; `name` is its title when it has none of its own."""
    title = None
    if front := _FRONT_MATTER.match(text):
        found = _FRONT_TITLE.search(front.group(1) or "")
        title, text = found and found.group(1), text[front.end() :]
    return _chunks(list(_markdown_parts(text)), title=title, name=name)


def chunk_html(text: str, *, name: str) -> list[Chunk]:
    """The passages of an HTML page, without scripts, styles and comments; `name` is its title when it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        soup = BeautifulSoup(text, "html.parser")
    title = soup.title.get_text(" ", strip=True) if soup.title is not None else None
    return _chunks(list(_html_parts(soup)), title=title or None, name=name)


def chunk_text(text: str, *, name: str) -> list[Chunk]:
    """The passages of a plain text; a blank line ends a paragraph."""
    blocks = (Block(_one_line(block)) for block in re.split(r"\n[ \t]*\n", text))
    return _chunks([block for block in blocks if block.text], title=None, name=name)


def _markdown_parts(text: str) -> Iterator[Part]:
    heading: int | None = None
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "heading_open":
            heading = int(token.tag[1])
        elif token.type == "inline":
            content = _one_line(_inline_text(token.children or []))
            if heading is not None:
                yield Heading(heading, content)
                heading = None
            elif content:
                yield Block(content)
        elif token.type in ("fence", "code_block") and token.content.strip():
            yield Block(token.content.strip("\n"))
        elif token.type == "html_block":
            yield from _html_parts(BeautifulSoup(token.content, "html.parser"))


def _inline_text(tokens: Iterable[Token]) -> str:
    words = []
    for token in tokens:
        if token.type in ("text", "code_inline", "image"):
            words.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            words.append(" ")
    return "".join(words)


def _html_parts(soup: BeautifulSoup) -> Iterator[Part]:
    """Runs of text that belong to one block element, in the order of the page, without dropped elements."""
    # A parent comes before what is in it, so each element asks its parent only: a walk up to the block would be
    # quadratic in the depth, and so is taking the dropped elements out. By id, as the hash of a tag is all its text.
    blocks: dict[int, Tag | None] = {id(soup): None}
    current: Tag | None = None
    words: list[str] = []
    for element in soup.descendants:
        if id(element.parent) not in blocks:
            continue  # below a dropped element
        block = blocks[id(element.parent)]
        if isinstance(element, Tag):
            if element.name not in _DROPPED:
                blocks[id(element)] = element if element.name in _BLOCKS else block
            continue
        if isinstance(element, PreformattedString) or not isinstance(element, NavigableString):
            continue  # comments, declarations, processing instructions
        if block is not current:
            yield from _part(current, words)
            current, words = block, []
        words.append(str(element))
    yield from _part(current, words)


def _part(block: Tag | None, words: list[str]) -> Iterator[Part]:
    raw = "".join(words)
    text = raw.strip("\n") if block is not None and block.name == "pre" else _one_line(raw)
    if not text.strip():
        return
    level = None if block is None else _HEADINGS.get(block.name)
    yield Block(text) if level is None else Heading(level, text)


def _chunks(parts: list[Part], *, title: str | None, name: str) -> list[Chunk]:
    first = next((part for part in parts if isinstance(part, Heading) and part.level == 1), None)
    title = title or (first.text if first is not None and first.text else name)
    chunks: list[Chunk] = []
    anchors: Counter[str] = Counter()
    path: list[Heading] = []
    section: list[str] = []
    anchor = TOP

    def close() -> None:
        shown = [title, *(heading.text for heading in path if heading.text and heading.text != title)]
        for number, text in enumerate(_pack(section), start=1):
            chunks.append(Chunk(f"{anchor}.{number}", " › ".join(shown), text))
        section.clear()

    for part in parts:
        if isinstance(part, Block):
            section.append(part.text)
            continue
        close()
        path = [heading for heading in path if heading.level < part.level] + [part]
        slug = slug_of(part.text)
        anchors[slug] += 1
        anchor = slug if anchors[slug] == 1 else f"{slug}-{anchors[slug]}"
    close()
    return chunks


def slug_of(heading: str) -> str:
    """The heading in lower case with hyphens, as an anchor; letters of all scripts stay."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", heading).casefold())
    return "-".join(words)[:MAX_SLUG].rstrip("-") or "section"


def _pack(paragraphs: Iterable[str]) -> Iterator[str]:
    """Whole paragraphs together until a passage is long enough; a last short one joins what is there if it fits."""
    held: list[str] = []
    n_held = 0
    for piece in (piece for paragraph in paragraphs for piece in _cut(paragraph)):
        n = len(piece.split())
        if (held and n_held + n > MAX_WORDS) or n_held >= MIN_WORDS:
            yield "\n\n".join(held)
            held, n_held = [], 0
        held.append(piece)
        n_held += n
    if held:
        yield "\n\n".join(held)


def _cut(paragraph: str) -> Iterator[str]:
    """The paragraph, or when it is too long, its sentences (and at worst its words) in pieces that are not."""
    if len(paragraph.split()) <= MAX_WORDS:
        yield paragraph
        return
    held: list[str] = []
    for sentence in _SENTENCE_END.split(paragraph):
        words = sentence.split()
        if held and len(held) + len(words) > MAX_WORDS:
            yield " ".join(held)
            held = []
        held += words
        while len(held) > MAX_WORDS:
            yield " ".join(held[:MAX_WORDS])
            held = held[MAX_WORDS:]
    if held:
        yield " ".join(held)


def _one_line(text: str) -> str:
    return " ".join(text.split())
