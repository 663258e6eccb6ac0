"""The demo corpus: complete, stable and clean on the Python that runs the tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.demo.corpus import (
    COLLECTOR,
    DemoCorpusError,
    DemoPassage,
    build_corpus,
    resolve,
)

EXCLUDED = (
    "antigravity",
    "this",
    "tkinter",
    "idlelib",
    "test",
    "turtle",
    "turtledemo",
    "lib2to3",
    "pydoc_data",
)


@pytest.fixture(scope="session")
def corpus() -> list[DemoPassage]:
    return build_corpus()


@pytest.fixture(scope="session")
def by_id(corpus: list[DemoPassage]) -> dict[str, DemoPassage]:
    return {passage.id: passage for passage in corpus}


def test_every_supported_python_carries_at_least_5000_passages(
    corpus: list[DemoPassage],
) -> None:
    """A demo of a few hundred passages, where every retriever finds everything and retraining shows nothing."""
    assert len(corpus) >= 5_000


def test_ids_are_unique(corpus: list[DemoPassage]) -> None:
    """Two passages under one id, of which the import keeps one and the judgements mean the other."""
    assert len({passage.id for passage in corpus}) == len(corpus)


@pytest.mark.parametrize(
    "stable_id",
    [
        "heapq",
        "heapq#2",
        "heapq.merge",
        "str.split",
        "str.maketrans",
        "os.path.join",
        "open",
        "math.gcd",
        "OSError",
        "collections.abc.Mapping",
        "concurrent.futures.ThreadPoolExecutor",
        "logging.handlers.RotatingFileHandler",
        "xml.etree.ElementTree.parse",
        "importlib.metadata.version",
        "asyncio.wait_for",
        "pathlib.PurePath.joinpath",
        "topic:with",
        "topic:with#2",
    ],
)
def test_well_known_things_keep_their_public_name(stable_id: str, by_id: dict[str, DemoPassage]) -> None:
    """Judgements made by name that point at nothing, because a private or second-hand name was chosen."""
    assert stable_id in by_id


def test_a_passage_is_a_title_with_its_signature_and_the_docstring(
    by_id: dict[str, DemoPassage],
) -> None:
    """A reviewer who sees a bare docstring and cannot tell whose it is."""
    merge = by_id["heapq.merge"]
    assert merge.title == "heapq.merge(*iterables, key=None, reverse=False)"
    assert merge.text.startswith("Merge multiple sorted inputs into a single sorted output.")


def test_a_method_title_shows_what_the_caller_writes(
    by_id: dict[str, DemoPassage],
) -> None:
    """`self` in every title: a word that every passage has and no question means."""
    assert by_id["str.split"].title == "str.split(sep=None, maxsplit=-1)"


def test_other_names_of_a_passage_resolve_to_it(corpus: list[DemoPassage]) -> None:
    """A right answer counted as unjudged because it was written under its second name."""
    names = resolve(corpus)
    assert names["IOError"] == names["socket.error"] == names["OSError"] == "OSError"
    assert names["pathlib.Path.joinpath"] == "pathlib.PurePath.joinpath"
    assert names["topic:if"] == "topic:else"
    assert names["io.open"] == "open"
    assert names["bisect.bisect"] == "bisect.bisect_right"
    assert names["concurrent.futures.ThreadPoolExecutor.submit"] == "concurrent.futures.Executor.submit"


def test_no_text_appears_twice(corpus: list[DemoPassage]) -> None:
    """A duplicate of a relevant passage that counts as a miss each time the retriever finds it."""
    # A part of the manual of pdb repeats a method, and topics are told apart by paragraph: see below.
    whole = [passage for passage in corpus if "#" not in passage.id and not passage.id.startswith("topic:")]
    texts = [" ".join(passage.text.split()) for passage in whole]
    assert len(set(texts)) == len(texts)


def test_no_alias_is_the_id_of_another_passage(corpus: list[DemoPassage], by_id: dict[str, DemoPassage]) -> None:
    """One name that means two passages, so that a judgement lands on the wrong one."""
    assert not [alias for passage in corpus for alias in passage.aliases if alias in by_id]


def test_nothing_comes_from_excluded_or_private_modules(
    corpus: list[DemoPassage],
) -> None:
    """A browser opened by `antigravity`, or a display asked for by `tkinter`, on the machine of whoever tries us."""
    for passage in corpus:
        if not passage.id.startswith("topic:"):
            name = passage.id.partition("#")[0]
            assert name.split(".")[0] not in EXCLUDED
            assert not any(part.startswith("_") for part in name.split("."))


def test_no_memory_address_and_no_path_of_this_machine_is_left(
    corpus: list[DemoPassage],
) -> None:
    """Passages that differ on every run, so that every judgement and every vector goes stale."""
    for passage in corpus:
        both = f"{passage.title}\n{passage.text}"
        assert not re.search(r"\bat 0x[0-9a-fA-F]+", both), passage.id
        assert sys.prefix not in both, passage.id
        assert str(Path.home()) not in both, passage.id


def test_no_passage_is_empty_and_topic_passages_fit_an_encoder(
    corpus: list[DemoPassage],
) -> None:
    """A passage cut off by the encoder after 256 tokens, whose second half can never be found."""
    for passage in corpus:
        assert len(passage.text.split()) >= 3 or "#" in passage.id or passage.id.startswith("topic:")
        assert passage.text.strip()
        if passage.id.startswith("topic:"):
            assert len(passage.text.split()) <= 260, passage.id


def test_topics_that_contain_each_other_do_not_repeat_paragraphs(
    corpus: list[DemoPassage],
) -> None:
    """`topic:compound`, which repeats the whole of `topic:with`, found and counted as a miss."""
    seen: dict[str, str] = {}
    for passage in corpus:
        if passage.id.startswith("topic:"):
            for paragraph in passage.text.split("\n\n"):
                topic = passage.id.partition("#")[0]
                if len(paragraph.split()) >= 20:
                    assert seen.setdefault(" ".join(paragraph.split()), topic) == topic


def test_two_runs_with_different_hash_seeds_write_the_same_bytes(
    tmp_path: Path,
) -> None:
    """A corpus whose content hash changes from run to run, so that no cached vector is ever used again."""
    outputs = []
    for seed in ("1", "2"):
        output = tmp_path / f"{seed}.json"
        # Without -I, which would ignore the seed; an empty directory and -S keep the rest as isolated as it is in use.
        command = [sys.executable, "-S", "-B", str(COLLECTOR), str(output)]
        environment = {
            "PYTHONHASHSEED": seed,
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(tmp_path),
        }
        subprocess.run(command, check=True, cwd=tmp_path, timeout=120, env=environment)
        outputs.append(output.read_bytes())
    assert outputs[0] == outputs[1]
    assert build_corpus() == build_corpus()


def test_collecting_prints_nothing(tmp_path: Path) -> None:
    """The Zen of Python in the middle of a progress bar."""
    command = [
        sys.executable,
        "-I",
        "-S",
        "-B",
        str(COLLECTOR),
        str(tmp_path / "out.json"),
    ]
    finished = subprocess.run(command, check=True, cwd=tmp_path, timeout=120, capture_output=True)
    assert (finished.stdout, finished.stderr) == (b"", b"")
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]


def test_a_python_that_does_not_exist_is_named_in_the_error(tmp_path: Path) -> None:
    """A traceback from subprocess on the screen of someone who only pressed "try the demo"."""
    with pytest.raises(DemoCorpusError, match="no-such-python") as caught:
        build_corpus(str(tmp_path / "no-such-python"))
    assert caught.value.user_message


def test_a_relative_path_to_python_is_one_from_here(corpus: list[DemoPassage]) -> None:
    """`.venv/bin/python` not found, because the collector starts in a directory of its own."""
    assert build_corpus(os.path.relpath(sys.executable)) == corpus


def test_a_python_that_hangs_is_given_up_after_the_timeout() -> None:
    """A demo that waits for ever for a module which asks a question on import."""
    with pytest.raises(DemoCorpusError, match="did not list its library within") as caught:
        build_corpus(timeout_seconds=0.01)
    assert caught.value.user_message


def test_a_program_that_is_no_python_is_refused(tmp_path: Path) -> None:
    """An empty corpus taken for a small one."""
    impostor = tmp_path / "python"
    impostor.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    impostor.chmod(0o755)
    with pytest.raises(DemoCorpusError, match=r"(?s)status 3.*broken"):
        build_corpus(str(impostor))


def test_a_report_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Half a report, from a full disk, imported as if it were the whole library."""
    impostor = tmp_path / "python"
    impostor.write_text('#!/bin/sh\nfor last; do :; done\necho \'{"records": [[1\' > "$last"\n')
    impostor.chmod(0o755)
    with pytest.raises(DemoCorpusError, match="cannot be read"):
        build_corpus(str(impostor))


def test_a_python_without_docstrings_is_refused(tmp_path: Path) -> None:
    """A Python run with -OO that yields a demo without passages and without a word."""
    impostor = tmp_path / "python"
    impostor.write_text('#!/bin/sh\nfor last; do :; done\necho \'{"records":[],"topics":{},"failed":[]}\' > "$last"\n')
    impostor.chmod(0o755)
    with pytest.raises(DemoCorpusError, match="no docstrings"):
        build_corpus(str(impostor))
