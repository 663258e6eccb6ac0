"""Lines and records of files, good and bad."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InputInvalid
from app.services.importing.checks import clean_id, whole_grade
from app.services.importing.reading import MAX_LINE_BYTES, read_lines, read_records
from app.services.importing.rows import BadLine, Line, Refused
from app.services.importing.scales import default_mapping
from app.services.importing.seen import SeenKeys, Sight


def records(path: Path) -> list[Line[dict[str, object]] | Refused]:
    return list(read_records(path, path.name))


def test_a_line_that_is_not_utf8_is_refused_and_the_next_one_is_read(tmp_path: Path) -> None:
    """One Latin-1 line must not cost the other million."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"a": "\xe9"}\n\n{"a": 3}\r\n')
    first, second, third = records(file)
    assert isinstance(first, Line)
    assert first.value == {"a": 1}
    assert second == Refused("a.jsonl", 2, "not UTF-8: byte 0xe9 at position 8")
    assert third == Line("a.jsonl", 4, {"a": 3})


@pytest.mark.parametrize("line", ['{"a": 1', "[1]", '{"a": NaN}', "nonsense", "[" * 100_000])
def test_invalid_json_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    """NaN and bare values slip through lenient parsers and break later."""
    file = tmp_path / "a.jsonl"
    file.write_text(f'{line}\n{{"a": 2}}\n')
    bad, good = records(file)
    assert isinstance(bad, Refused)
    assert (bad.line, bad.reason.startswith("invalid JSON")) == (1, True)
    assert isinstance(good, Line)


def test_an_endless_line_is_refused_without_filling_the_memory(tmp_path: Path) -> None:
    """A file without line ends would be read whole."""
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * (MAX_LINE_BYTES + 10) + b"\nshort\n")
    long, short = read_lines(file, "a.txt")
    assert isinstance(long, Refused)
    assert short == Line("a.txt", 2, "short")


def test_a_cut_gzip_file_gives_its_lines_and_then_says_that_it_is_damaged(tmp_path: Path) -> None:
    """An aborted download must not pass for the whole file."""
    packed = gzip.compress("".join(json.dumps({"n": n, "x": n * 7919}) + "\n" for n in range(5000)).encode())
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(packed[: len(packed) // 2])
    got = records(file)
    assert len(got) > 100
    assert isinstance(got[-1], Refused)
    assert "damaged" in got[-1].reason


def test_a_file_that_only_claims_to_be_gzip_is_refused_whole(tmp_path: Path) -> None:
    """Nothing of it can be trusted."""
    file = tmp_path / "a.jsonl.gz"
    file.write_text('{"a": 1}\n')
    with pytest.raises(InputInvalid, match="gzip"):
        records(file)


def test_csv_may_hold_line_breaks_and_quotes_and_names_the_line_a_record_begins_at(tmp_path: Path) -> None:
    """Texts have line breaks; a line number that drifts sends people to the wrong place."""
    file = tmp_path / "a.csv"
    file.write_text('id,text\n1,"two\n\nlines, ""quoted"""\n2,too,many\n3,fine\n')
    assert records(file) == [
        Line("a.csv", 2, {"id": "1", "text": 'two\n\nlines, "quoted"'}),
        Refused("a.csv", 5, "3 values for 2 columns"),
        Line("a.csv", 6, {"id": "3", "text": "fine"}),
    ]


def test_a_quote_that_is_never_closed_is_refused_instead_of_swallowing_the_rest(tmp_path: Path) -> None:
    """A lenient reader makes one huge text of all following lines and says nothing."""
    file = tmp_path / "a.csv"
    file.write_text('id,text\n1,good\n2,"open\n3,lost\n')
    good, bad = records(file)
    assert isinstance(good, Line)
    assert isinstance(bad, Refused)
    assert bad.line == 3


def test_a_quotation_mark_in_tsv_is_a_character(tmp_path: Path) -> None:
    """TSV with a stray inch mark must not join lines."""
    file = tmp_path / "a.tsv"
    file.write_text('id\ttext\n1\t5" disk\n2\tb\n')
    assert [line.value for line in records(file) if isinstance(line, Line)] == [
        {"id": "1", "text": '5" disk'},
        {"id": "2", "text": "b"},
    ]


def test_parquet_rows_are_read_and_a_broken_file_is_refused(tmp_path: Path) -> None:
    """Parquet has no lines; rows are counted from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["1", "2"], "text": ["a", None]}), file)
    assert records(file) == [
        Line("a.parquet", 1, {"id": "1", "text": "a"}),
        Line("a.parquet", 2, {"id": "2", "text": None}),
    ]
    file.write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputInvalid, match="Parquet"):
        records(file)


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(alphabet=st.characters(codec="utf-8"), max_size=20))))
def test_json_lines_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    """Odd characters (line separators, NUL, emoji) split or change lines in naive readers."""
    file = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="\n")
    assert [line.value for line in records(file) if isinstance(line, Line)] == rows


@pytest.mark.parametrize(
    "value", [None, "", "  ", "x" * 501, "a\0b", "a\tb", "a\nb", "a\u2028b", "\ud800", True, 1.5, ["a"]]
)
def test_an_id_that_could_be_lost_or_mistaken_is_refused(value: object) -> None:
    """A tab in an id breaks every TSV written later; half a surrogate pair breaks the database."""
    with pytest.raises(BadLine):
        clean_id(value, "passage id")


def test_a_whole_number_is_an_id() -> None:
    """Many corpora number their passages."""
    assert clean_id(17, "passage id") == "17"
    assert clean_id("Ω a/ b", "passage id") == "Ω a/ b"


@pytest.mark.parametrize("value", ["", "high", "1.5", "nan", 0.5, float("inf"), True, None, "１"])
def test_a_grade_that_is_no_whole_number_is_refused(value: object) -> None:
    """float("nan") or a rounded 0.5 would silently become a label."""
    with pytest.raises(BadLine):
        whole_grade(value)


def test_whole_grades_are_read_from_text_and_floats() -> None:
    """BEIR files write 1, pandas writes 1.0."""
    assert [whole_grade(value) for value in ("2", "1.0", "+3", "-1", 2.0, 0)] == [2, 1, 3, -1, 2, 0]


def test_default_mappings_by_hand() -> None:
    """A binary yes is the highest grade; other scales spread and round halves up."""
    assert default_mapping(1, 3) == {0: 0, 1: 3}
    assert default_mapping(3, 3) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert default_mapping(2, 3) == {0: 0, 1: 2, 2: 3}
    assert default_mapping(4, 3) == {0: 0, 1: 1, 2: 2, 3: 2, 4: 3}
    assert default_mapping(3, 1) == {0: 0, 1: 0, 2: 1, 3: 1}


def test_a_key_met_again_is_told_from_one_with_other_content() -> None:
    """Two lines with one id and two texts: one of them is wrong, and nobody knows which."""
    with SeenKeys() as seen:
        assert seen.meet("passage", "a", content="x") is Sight.FIRST
        assert seen.meet("passage", "a", content="x") is Sight.SAME
        assert seen.meet("passage", "a", content="y") is Sight.DIFFERENT
        assert seen.meet("query", "a", content="y") is Sight.FIRST
        assert seen.has("query", "a")
        assert not seen.has("query", "b")
