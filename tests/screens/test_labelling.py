"""The Labelling screen: what would be sent where and cost what, a job that runs, and the pairs that got no reply."""

from __future__ import annotations

import pytest

from app.bootstrap import Workspace, open_workspace
from app.services import label_jobs
from db.enums import RunStatus
from servers.scripted_llm import ScriptedLLM, fails, good

pytestmark = pytest.mark.screens


def html_of(screen) -> str:
    return " ".join(element.proto.body for element in screen.get("html"))


def button(screen, key: str):
    return next((found for found in screen.button if found.key == key), None)


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch):
    with ScriptedLLM(otherwise=good(grade=2)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        yield server


def test_without_a_key_it_says_that_no_text_leaves_and_how_to_ask_an_llm(app, small: Workspace) -> None:
    """Somebody who handles confidential passages must know before the first click."""
    screen = app("labelling")
    assert "No text leaves this machine." in html_of(screen)
    assert any("OPENAI_API_KEY" in caption.value for caption in screen.caption)


def test_the_host_the_plan_and_one_prompt_are_shown_before_anything_is_sent(app, small: Workspace, llm) -> None:
    """Passages sent to a host nobody was told of cannot be taken back."""
    screen = app("labelling")
    host = llm.base_url.removeprefix("http://").removesuffix("/v1")
    assert f"are sent to <strong>{host}</strong>" in html_of(screen)
    assert {metric.label: metric.value for metric in screen.metric}["Pairs"] == "12"
    sent = " ".join(code.value for code in screen.code)
    assert "merge two sorted streams lazily" in sent
    assert llm.requests == []


def test_a_started_job_is_queued_once_with_its_cap_and_says_that_no_worker_runs(app, small: Workspace, llm) -> None:
    """A second click that opens a second budget spends twice what the owner allowed."""
    screen = app("labelling")
    screen.number_input(key="labelling.cap.tokens").set_value(50_000).run()
    button(screen, "labelling.start").click().run()
    assert not screen.exception
    (job,) = label_jobs.list_jobs(small)
    assert (job.status, job.token_cap, job.n_pairs) == (RunStatus.QUEUED, 50_000, 12)
    assert "worker does not run" in screen.warning[0].value
    assert button(screen, "labelling.start") is None
    button(screen, f"labelling.cancel.{job.id}").click().run()
    assert label_jobs.get_job(small, job_id=job.id).status is RunStatus.CANCELLED


def test_pairs_without_a_reply_are_listed_with_the_reason_and_hostile_text_stays_text(
    app, small: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    """A failure that is counted but not shown is never mended; an error message is a stranger's text."""
    refusal = fails(400, message="<img src=x onerror=alert(1)> too long")
    with ScriptedLLM(otherwise=refusal) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        opened = open_workspace(tmp_path / "workspace")
        asked = label_jobs.create(opened, person="me", here=True)
        label_jobs.run_here(opened, asked.job_id)
        opened.close()
        screen = app("labelling")
    assert not screen.exception
    assert any(header.value == "12 pairs without a label" for header in screen.header)
    assert "&lt;img src=x onerror=alert(1)&gt; too long" in html_of(screen)
    assert "<img src=x" not in html_of(screen)
    assert button(screen, "labelling.retry").disabled
