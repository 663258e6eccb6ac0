"""What screens share: escaping, evidence, grades in words, keys, tables, and the comparison of two models."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from app.components.badges import confidence_text, grade_html, grade_text, judge_text
from app.components.evaluation import verdict_of
from app.components.keys import Press, grade_of, press_from
from app.components.passage import marked, passage_html
from app.components.table import table_html
from app.components.text import counted, literal, shortened
from app.components.uploads import safe_name, write_uploads
from app.errors import InputInvalid
from app.services.views import DifferenceView, EvaluationView, JudgeView, MeasureView, QueryChange, ScaleView
from db.enums import Split

SCALE = ScaleView(max_grade=3, relevant_from=2, labels=("unrelated", "related", "partly answers", "answers"))


@given(st.text(), st.integers(-3, 60), st.integers(-3, 60))
def test_marking_evidence_changes_no_character_and_adds_no_markup(text: str, start: int, end: int) -> None:
    """A highlight that swallows or runs the passage is worse than none."""
    import html

    shown = marked(text, (start, end))
    assert html.unescape(shown.replace("<mark>", "", 1).replace("</mark>", "", 1)) == text
    assert shown.count("<") == (2 if 0 <= start < end <= len(text) else 0)


def test_line_breaks_and_direction_are_kept() -> None:
    """Code without its lines and Arabic from the wrong side cannot be read."""
    html = passage_html(title="", text="a\n  b", evidence=None)
    assert "a\n  b" in html
    assert 'dir="auto"' in html


def test_an_empty_passage_says_that_it_is_empty() -> None:
    """A blank box looks like a fault of the screen."""
    assert "This passage is empty" in passage_html(title="t", text=" ", evidence=None)


@pytest.mark.parametrize("text", ["[a](http://x)", "![i](http://x/y.png)", "$x$ :red[y]", "<b>", "# h", "`c` *d* _e_"])
def test_markdown_in_data_is_shown_not_obeyed(text: str) -> None:
    """A picture in a run's message would call a stranger's server."""
    shown = literal(text)
    for mark in "[]()!$:<>#`*_":
        assert shown.count(mark) == shown.count("\\" + mark)


def test_a_grade_is_a_number_and_a_word_and_its_absence_is_said() -> None:
    """Colour alone tells some people nothing; an absent grade is not grade 0."""
    assert grade_text(2, SCALE) == "2 · partly answers"
    assert "2 · partly answers" in grade_html(2, SCALE)
    assert grade_text(None, SCALE) == "no grade"
    assert confidence_text(None, None) == "none given"
    assert confidence_text(0.625, "votes") == "62% (share of votes)"


def test_the_local_judge_is_never_taken_for_an_llm() -> None:
    """Numbers from a formula must not pass for a language model's judgement."""
    from annotator.types import JudgeKind

    judge = JudgeView(name="local", kind=JudgeKind.LOCAL, model="m", prompt_version="1", certifiable=False)
    assert "no LLM" in judge_text(judge)
    assert "uncertified" in judge_text(judge)


@pytest.mark.parametrize(("key", "grade"), [("0", 0), ("3", 3), ("4", None), ("s", None), ("10", None), ("²", None)])
def test_a_key_stands_for_a_grade_of_the_scale_or_for_none(key: str, grade: int | None) -> None:
    """A key beyond the scale must not become its highest grade."""
    assert grade_of(key, max_grade=3) == grade


@pytest.mark.parametrize(
    "sent", [None, 3, "2", {}, {"card": 1, "key": "2", "pressed_at": 0}, {"card": "c", "key": "2"}]
)
def test_a_malformed_press_is_no_press(sent: object) -> None:
    """What the browser sends is not trusted."""
    assert press_from(sent) is None


def test_a_press_carries_its_card() -> None:
    """Without the card's id a late press lands on the next one."""
    assert press_from({"card": "c", "key": "2", "pressed_at": 5}) == Press(card="c", key="2", pressed_at=5.0)


@pytest.mark.parametrize(
    ("name", "safe"), [("../../etc/passwd", "passwd"), ("C:\\x\\a.tsv", "a.tsv"), ("..", "upload"), ("", "upload")]
)
def test_an_uploaded_name_never_leaves_its_directory(name: str, safe: str) -> None:
    """A name with slashes would write over files of ours."""
    assert safe_name(name) == safe


class Upload(io.BytesIO):
    """A file as the browser sends it."""

    def __init__(self, name: str) -> None:
        super().__init__(name.encode())
        self.name = name


def test_two_uploads_of_one_name_are_refused(tmp_path: Path) -> None:
    """Prevents one file from silently taking the place of another."""
    with pytest.raises(InputInvalid, match=r"a\.jsonl"):
        write_uploads([Upload("x/a.jsonl"), Upload("y/a.jsonl")], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_uploaded_set_keeps_its_judgements_whatever_the_split_is_called(tmp_path: Path) -> None:
    """Prevents judgements of a year or a fold from being left out beside the corpus they belong to."""
    folder = write_uploads([Upload("corpus.jsonl"), Upload("queries.jsonl"), Upload("dl19.tsv")], tmp_path)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == ["corpus.jsonl", "qrels/dl19.tsv", "queries.jsonl"]


def test_cells_of_a_table_are_escaped() -> None:
    """Reasons and file names come from outside."""
    assert "<b>" not in table_html(["h"], [["<b>x</b>"]])


def test_words_are_counted_and_cut_readably() -> None:
    """ "1 queries" and words cut in the middle read as carelessness."""
    assert counted(1, "query", "queries") == "1 query"
    assert counted(1200, "query", "queries") == "1,200 queries"
    assert shortened("one two three four", 12) == "one two…"
    assert shortened("short", 12) == "short"


def difference(low: float, high: float) -> DifferenceView:
    return DifferenceView(
        measure="nDCG@10",
        slice="all",
        baseline=0.5,
        candidate=0.54,
        mean=0.04,
        low=low,
        high=high,
        p_value=0.01,
        n_queries=75,
    )


def test_only_an_interval_without_zero_is_called_better_or_worse() -> None:
    """A difference within the noise that is called better promotes by chance."""
    assert verdict_of(difference(0.01, 0.07)) == "better"
    assert verdict_of(difference(-0.07, -0.01)) == "worse"
    assert verdict_of(difference(-0.01, 0.07)) == "no clear difference"


def comparison() -> None:
    from tests_of_components import EVALUATION

    from app.components.evaluation import show_changes, show_differences, show_gate, show_headline

    show_headline(EVALUATION)
    show_gate(EVALUATION)
    show_differences(EVALUATION)
    show_changes(EVALUATION)


def test_a_comparison_names_its_measure_interval_and_number_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure without its n and interval invites belief it did not earn."""
    import sys
    from types import SimpleNamespace

    evaluation = EvaluationView(
        id=1,
        model="new",
        baseline="old",
        split=Split.HELD_OUT,
        look=2,
        n_queries=75,
        n_judgements=412,
        measures=(MeasureView(name="nDCG@10", value=0.54, n_queries=75),),
        baseline_measures=(MeasureView(name="nDCG@10", value=0.5, n_queries=75),),
        differences=(difference(0.01, 0.07),),
        better=(QueryChange(query_id="q", text="<b>merge</b>", baseline=0.2, candidate=0.9),),
        worse=(),
        unjudged_at_10=0.31,
        baseline_unjudged_at_10=0.28,
        gate_passed=False,
        gate_reasons=("too close to call",),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    monkeypatch.setitem(sys.modules, "tests_of_components", SimpleNamespace(EVALUATION=evaluation))
    shown = AppTest.from_function(comparison).run()
    assert not shown.exception
    html = " ".join(element.proto.body for element in shown.get("html"))
    assert "0.500 → 0.540" in html
    assert "75 held-out questions" in html
    assert "412 human judgements" in html
    assert "+0.010 to +0.070" in html
    assert "does not pass" in html
    assert "too close to call" in html
    assert "&lt;b&gt;merge&lt;/b&gt;" in html
