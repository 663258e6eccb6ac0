"""The runner of benches: the last line is JSON, the exit code says whether the claim holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import __main__ as runner
from bench import public_data
from bench.result import Result


def _result(*, holds: bool = True, value: float = 1 / 3) -> Result:
    return Result(
        name="trial", holds=holds, target="a third", figures={"value": value, "list": (1, 2.0)}, lines=("shown",)
    )


def _answering(monkeypatch: pytest.MonkeyPatch, result: Result) -> None:
    monkeypatch.setattr(runner, "bench_names", lambda: {"trial": "a trial"})
    monkeypatch.setattr(runner, "run_bench", lambda name, *, quick: result)


def test_the_json_line_comes_last_and_alone_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a program that reads the last line from reading a sentence."""
    _answering(monkeypatch, _result())
    assert runner.main(["trial"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "shown"
    expected = {"name": "trial", "holds": True, "target": "a third", "figures": {"value": 0.333333, "list": [1, 2.0]}}
    assert json.loads(lines[-1]) == expected
    assert runner.main(["trial", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [expected]


def test_a_claim_that_does_not_hold_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a broken promise from passing as green because the bench itself ran well."""
    _answering(monkeypatch, _result(holds=False))
    assert runner.main(["trial"]) == 1
    assert "DOES NOT HOLD: a third" in capsys.readouterr().out


def test_missing_data_is_neither_a_success_nor_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a machine without the data from reporting that the promise was broken, or kept."""
    monkeypatch.setenv("RELABEL_SHARED_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(runner, "bench_names", lambda: {"trial": "a trial"})
    monkeypatch.setattr(runner, "run_bench", lambda name, *, quick: public_data.read_qrels("diras", "test"))
    assert runner.main(["trial"]) == 2
    assert "RELABEL_SHARED_DATA" in capsys.readouterr().err


def test_a_result_that_is_no_number_is_refused() -> None:
    """Prevents NaN in a committed result, which no JSON reader but Python's accepts."""
    with pytest.raises(ValueError, match="JSON"):
        _result(value=float("nan")).as_json()


def test_a_quick_result_never_overwrites_the_full_one(tmp_path: Path) -> None:
    """Prevents the committed figures from becoming those of a shortened run."""
    assert _result().write(quick=False, folder=tmp_path).name == "trial.json"
    assert _result(value=2.0).write(quick=True, folder=tmp_path).name == "trial.quick.json"
    assert json.loads((tmp_path / "trial.json").read_text(encoding="utf-8"))["figures"]["value"] == 0.333333


def test_every_bench_says_in_its_first_line_what_it_measures() -> None:
    """Prevents a list of names that only their author understands, and support modules from being listed."""
    names = runner.bench_names()
    assert all(line for line in names.values())
    assert {"result", "public_data"}.isdisjoint(names)


def test_judgements_and_suggestions_of_the_public_sets_are_read(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a bench that measures on half of the data because a line was read wrongly."""
    monkeypatch.setenv("RELABEL_SHARED_DATA", str(shared_data))
    assert len(public_data.read_qrels("diras", "test")) == 660
    suggestions = public_data.read_suggestions("diras")
    assert len(suggestions) == 3960
    assert all(0 <= one.grade <= one.max_grade for one in suggestions)
    assert len(public_data.read_queries("diras")) == 11
    assert len(public_data.read_passages("diras")) == 492
