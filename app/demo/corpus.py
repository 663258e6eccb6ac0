"""The demo corpus: the standard library and language reference that every Python carries in itself, as passages.

Nothing is downloaded and nothing is stored in the repository: the text is read from the Python that runs, by a script
in a process of its own (`_collect_stdlib.py`). This module decides what a passage is:

- One passage a docstring of a public module, function, class, method, property or documented object. Docstrings of
  fewer than 3 words ("Return self.") are left out, and so are docstrings that are only a generated signature.
- The same text under several names is one passage. It is called by the name under which the thing is defined, with
  the fewest dots, then the fewest letters (`concurrent.futures.Executor.submit`, not
  `concurrent.futures._base.Executor.submit`); the other names are its aliases.
- The topics of `help()` named "string-methods" and "debugger" are left out: they repeat what `str` and `pdb` say.
- Module docstrings and the other topics are cut at paragraphs into passages of about 80 to 220 words: `heapq`,
  `heapq#2`, `topic:with`, `topic:with#2`. A paragraph that two topics share stays in the shorter, more specific topic.

The questions that go with it are in `app.demo.questions`.
"""

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

COLLECTOR = Path(__file__).with_name("_collect_stdlib.py")

FEWEST_WORDS = 3
FULL_CHUNK_WORDS = 80
LARGEST_CHUNK_WORDS = 220
SMALLEST_CHUNK_WORDS = 40
REPEATING_TOPICS = frozenset({"string-methods", "debugger"})

_ADDRESS = re.compile(r"(?<=\bat )0x[0-9a-fA-F]+\b")
_TUPLE_FIELD = re.compile(r"Alias for field number \d+")
_TOPIC_UNDERLINE = re.compile(r"\s*([*=\-~^\"])\1{2,}\s*")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(?=[^\s*])([^*]+?)(?<=[^\s*])\1(?![\w*])")


class DemoCorpusError(Exception):
    """The demo corpus could not be read from this Python; `user_message` says so without details."""

    def __init__(self, message: str, *, user_message: str) -> None:
        super().__init__(message)
        self.user_message = user_message


@dataclass(frozen=True, slots=True)
class DemoPassage:
    """One passage of the demo corpus; `aliases` are the other qualified names of the same text."""

    id: str
    title: str
    text: str
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Documented:
    """One public name and what it documents, as the collector reports it."""

    name: str
    kind: str
    signature: str
    text: str
    as_defined: bool
    inherited: bool

    def publicness(self) -> tuple[bool, bool, int, int, str]:
        """Smaller is the better name for this text."""
        return (
            self.inherited,
            not self.as_defined,
            self.name.count("."),
            len(self.name),
            self.name,
        )

    def title(self) -> str:
        if self.kind == "module":
            return f"{self.name} (module)"
        return self.name + self.signature

    def says_something(self) -> bool:
        if len(self.text.split()) < FEWEST_WORDS or _TUPLE_FIELD.fullmatch(self.text):
            return False
        # What dataclass and namedtuple write when the author wrote nothing: the signature alone.
        own_name = self.name.rpartition(".")[2]
        return not (self.kind == "class" and re.fullmatch(rf"{re.escape(own_name)}\(.*\)( -> None)?", self.text))


def build_corpus(python: str = sys.executable, *, timeout_seconds: float = 120.0) -> list[DemoPassage]:
    """The passages of `python`'s own documentation, sorted by id; the same for every run of the same Python.

    Raises:
        DemoCorpusError: `python` does not start, takes longer than `timeout_seconds`, or reports no documentation.
    """
    documented, topics = _collect(python, timeout_seconds=timeout_seconds)
    passages = [*_api_passages(documented), *_topic_passages(topics)]
    if not passages:
        raise DemoCorpusError(
            f"{python} has no docstrings: is it run with -OO, or is its library stripped?",
            user_message="This Python carries no documentation, so the demo has no passages. Use a full Python.",
        )
    return sorted(passages, key=lambda passage: _order(passage.id))


def resolve(passages: Iterable[DemoPassage]) -> dict[str, str]:
    """Passage id by qualified name: every id and every alias."""
    names: dict[str, str] = {}
    kept = list(passages)
    for passage in kept:
        names.update(dict.fromkeys(passage.aliases, passage.id))
    names.update((passage.id, passage.id) for passage in kept)
    return names


def _collect(python: str, *, timeout_seconds: float) -> tuple[list[_Documented], dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="relabel-demo-") as directory:
        output = Path(directory) / "stdlib.json"
        # -I and -S: neither the environment nor site-packages may change what the corpus is. Home is the temporary
        # directory, so that a module which reads or writes a dot file on import finds an empty home.
        environment = {key: os.environ[key] for key in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if key in os.environ}
        environment |= {"HOME": directory, "TMPDIR": directory}
        # A relative path is one from where the caller stands, not from the temporary directory; a bare name is on PATH.
        executable = os.path.abspath(python) if os.path.dirname(python) else python
        try:
            finished = subprocess.run(
                [executable, "-I", "-S", "-B", str(COLLECTOR), str(output)],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=timeout_seconds,
                check=False,
            )
        except OSError as exc:
            raise DemoCorpusError(
                f"could not start {python}: {exc}",
                user_message="The Python that should provide the demo passages could not be started.",
            ) from exc
        except subprocess.TimeoutExpired as exc:
            raise DemoCorpusError(
                f"{python} did not list its library within {timeout_seconds:g} s",
                user_message=f"Reading the demo passages took longer than {timeout_seconds:g} seconds. Try again.",
            ) from exc
        if finished.returncode != 0 or not output.exists():
            said = finished.stderr.decode("utf-8", "replace").strip()[-2000:]
            raise DemoCorpusError(
                f"{python} ended with status {finished.returncode} while listing its library: {said}",
                user_message="Reading the demo passages from this Python failed; the log has the details.",
            )
        try:
            found = json.loads(output.read_text(encoding="utf-8"))
            documented = [_Documented(*record) for record in found["records"]]
            topics = {str(name): str(text) for name, text in found["topics"].items()}
        except (ValueError, KeyError, TypeError) as exc:
            raise DemoCorpusError(
                f"{python} reported its library in a form that cannot be read: {exc}",
                user_message="Reading the demo passages from this Python failed; the log has the details.",
            ) from exc
    if found["failed"]:
        logger.info(
            "demo corpus: %d modules do not import here: %s",
            len(found["failed"]),
            ", ".join(found["failed"]),
        )
    return documented, topics


def _api_passages(documented: Iterable[_Documented]) -> Iterator[DemoPassage]:
    same_text: dict[str, list[_Documented]] = {}
    for item in documented:
        if item.says_something():
            same_text.setdefault(" ".join(item.text.split()), []).append(item)
    groups = [sorted(group, key=_Documented.publicness) for group in same_text.values()]
    # `unittest.main` is a class and a module with different texts: the class keeps the name.
    taken = {item.name for group in groups for item in group if item.kind != "module"}
    for best, *others in groups:
        is_module = best.kind == "module"
        passage_id = f"module:{best.name}" if is_module and best.name in taken else best.name
        aliases = tuple(sorted({other.name for other in others} - {best.name}))
        text = _without_addresses(best.text)
        if not is_module:
            yield DemoPassage(id=passage_id, title=best.title(), text=text, aliases=aliases)
            continue
        for number, chunk in enumerate(_chunks(_paragraphs(text)), start=1):
            yield DemoPassage(
                id=_numbered(passage_id, number),
                title=best.title() if number == 1 else f"{best.name} (module, part {number})",
                text=chunk,
                aliases=aliases if number == 1 else (),
            )


def _topic_passages(topics: Mapping[str, str]) -> Iterator[DemoPassage]:
    taken_by: dict[str, str] = {}
    chunks_of: dict[str, tuple[str, list[str]]] = {}
    aliases: dict[str, list[str]] = {}
    for name, text in sorted(topics.items(), key=lambda topic: (len(topic[1]), topic[0])):
        if name in REPEATING_TOPICS:
            continue
        heading, paragraphs = _clean_topic(text)
        fresh = [paragraph for paragraph in paragraphs if _key(paragraph) not in taken_by]
        if paragraphs and not fresh:  # `if` and `else` are one text
            aliases.setdefault(taken_by[_key(paragraphs[0])], []).append(f"topic:{name}")
        chunks_of[name] = (heading, _chunks(fresh))
        for number, chunk in enumerate(chunks_of[name][1], start=1):
            for paragraph in chunk.split("\n\n"):
                if len(paragraph.split()) >= 8:  # "For example:" is shared by topics that share nothing else
                    taken_by.setdefault(_key(paragraph), _numbered(f"topic:{name}", number))
    for name, (heading, chunks) in chunks_of.items():
        for number, chunk in enumerate(chunks, start=1):
            passage_id = _numbered(f"topic:{name}", number)
            part = "" if number == 1 else f", part {number}"
            yield DemoPassage(
                id=passage_id,
                title=f"{heading} (language reference: {name}{part})",
                text=_without_addresses(chunk),
                aliases=tuple(sorted(aliases.get(passage_id, ()))),
            )


def _clean_topic(text: str) -> tuple[str, list[str]]:
    """The heading of a topic and its paragraphs, without underlines and emphasis."""
    lines = [line.rstrip() for line in text.replace("``", "").splitlines()]
    kept = [line for line in lines if not _TOPIC_UNDERLINE.fullmatch(line)]
    paragraphs = [_EMPHASIS.sub(r"\2", paragraph) for paragraph in _paragraphs("\n".join(kept))]
    heading = paragraphs[0].strip() if paragraphs else ""
    has_heading = len(lines) > 1 and _TOPIC_UNDERLINE.fullmatch(lines[1]) is not None
    return (heading, paragraphs[1:]) if has_heading else (" ".join(heading.split()[:8]), paragraphs)


def _paragraphs(text: str) -> list[str]:
    blocks = (block.strip("\n") for block in re.split(r"\n\s*\n", text) if block.strip())
    return [piece for block in blocks for piece in _pieces(block)]


def _chunks(paragraphs: Sequence[str]) -> list[str]:
    """Paragraphs joined into texts of about 80 to 220 words; none is lost, and their order is kept."""
    chunks: list[list[str]] = []
    current: list[str] = []
    words = 0
    for paragraph in paragraphs:
        more = len(paragraph.split())
        full = words >= FULL_CHUNK_WORDS and words + more > (FULL_CHUNK_WORDS + LARGEST_CHUNK_WORDS) / 2
        if current and (full or (words >= SMALLEST_CHUNK_WORDS and words + more > LARGEST_CHUNK_WORDS)):
            chunks.append(current)
            current, words = [], 0
        current.append(paragraph)
        words += more
    if current and chunks and words < SMALLEST_CHUNK_WORDS:
        chunks[-1] += current
    elif current:
        chunks.append(current)
    return ["\n\n".join(chunk) for chunk in chunks]


def _pieces(paragraph: str) -> Iterator[str]:
    """A paragraph of more than 220 words (a grammar, a table) cut between lines; any other as it is."""
    if len(paragraph.split()) <= LARGEST_CHUNK_WORDS:
        yield paragraph
        return
    lines: list[str] = []
    words = 0
    for line in paragraph.splitlines():
        more = len(line.split())
        if lines and words + more > LARGEST_CHUNK_WORDS:
            yield "\n".join(lines)
            lines, words = [], 0
        lines.append(line)
        words += more
    yield "\n".join(lines)


def _without_addresses(text: str) -> str:
    return _ADDRESS.sub("0x...", text)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}#{number}"


def _key(paragraph: str) -> str:
    return " ".join(paragraph.split())


def _order(passage_id: str) -> tuple[str, int]:
    name, _, number = passage_id.partition("#")
    return (name, int(number or 1))
