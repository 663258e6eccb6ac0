"""The Data screen counts what is there, imports uploads and hands out exports."""

from __future__ import annotations

import json

import pytest

from app import state
from app.bootstrap import Workspace
from app.services import data, prepared_exports


def press(app, label: str):
    app = next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def test_the_counts_are_those_of_the_workspace(app, small: Workspace) -> None:
    """A wrong count hides a failed import."""
    screen = app("data")
    metrics = {metric.label: metric.value for metric in screen.metric}
    assert (metrics["Passages"], metrics["Train questions"], metrics["Held-out questions"]) == ("4", "3", "0")


def test_an_upload_is_imported_under_its_own_name_and_bad_lines_are_listed(app, empty: Workspace) -> None:
    """Lines left out in silence are missing from every later search."""
    good = [json.dumps({"_id": f"p{number}", "title": "t", "text": f"passage {number}"}) for number in range(3)]
    content = "\n".join([*good, "{ not json", ""]).encode()
    screen = app("data")
    screen.file_uploader[0].upload("corpus.jsonl", content, "application/jsonl").run()
    press(screen, "Import")
    assert data.get_data(empty).n_passages == 3
    assert [source.name for source in data.get_data(empty).sources] == ["corpus.jsonl"]
    assert "1 line could not be read" in screen.warning[0].value
    report = " ".join(element.proto.body for element in screen.get("html"))
    assert "Why it was left out" in report
    assert ">4</td>" in report
    assert "1 line left out of corpus" in screen.expander[0].label.replace("\\", "")
    [left_out] = data.list_left_out(empty, source="corpus.jsonl")
    assert (left_out.file, left_out.line) == ("corpus.jsonl", 4)


def test_a_file_that_cannot_be_used_is_refused_in_words(app, empty: Workspace) -> None:
    """A traceback after an upload says nothing about the file."""
    screen = app("data")
    screen.file_uploader[0].upload("picture.png", b"\x89PNG\r\n\x1a\n\x00\xff", "image/png").run()
    press(screen, "Import")
    assert screen.warning or screen.error
    assert data.get_data(empty).n_passages == 0


def test_an_export_is_prepared_for_download(app, small: Workspace) -> None:
    """An export that loses labels is found out only after a model was trained on it."""
    screen = press(app("data"), "Prepare the export")
    assert screen.get("download_button")[0].label.startswith("Download")
    prepared = screen.session_state[state.EXPORT]
    assert prepared.path.is_relative_to(small.settings.workspace / "exports")
    lines = [json.loads(line) for line in prepared.path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == prepared.n_rows >= 3
    again = press(screen, "Prepare the export").session_state[state.EXPORT]
    assert again.path.is_file()
    assert not prepared.path.exists()


def test_an_export_too_large_for_the_browser_is_left_where_it_lies(
    app, small: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million labels are read into the server's memory for one download, and the server dies with them."""
    monkeypatch.setattr(prepared_exports, "BROWSER_BYTES", 10)
    screen = press(app("data"), "Prepare the export")
    assert not screen.get("download_button")
    prepared = screen.session_state[state.EXPORT]
    assert any(code.value == str(prepared.path) for code in screen.code)
    assert prepared.path.stat().st_size == prepared.n_bytes > 10
