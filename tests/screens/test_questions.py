"""The Data screen says how much of the corpus the LLM's questions cover."""

from __future__ import annotations

import json
from dataclasses import replace

from app.bootstrap import Workspace
from app.services.importing import NewCandidate, import_candidates
from app.services.questions import QuestionWish, write_questions
from db.models import GeneratedQuestion, Passage, Query
from servers.scripted_llm import ScriptedLLM, says

QUESTION = "<b>what</b> does the <script> set"


def write(workspace: Workspace) -> None:
    """One question, written from the one passage that is long enough, which is hostile."""
    entry = {"question": QUESTION, "evidence": "window.hacked=1"}
    with ScriptedLLM(
        otherwise=says(json.dumps({"questions": [entry, {"question": "who", "evidence": "nobody"}]}))
    ) as server:
        settings = workspace.settings.model_copy(update={"openai_base_url": server.base_url})
        assert write_questions(replace(workspace, settings=settings), QuestionWish(n=2)).written == 1


def html(screen) -> str:  # type: ignore[no-untyped-def]
    return " ".join(element.proto.body for element in screen.get("html"))


def test_without_written_questions_the_screen_says_nothing_of_them(app, small: Workspace) -> None:
    """A panel full of zeros hides what matters."""
    assert "Questions written by the LLM" not in [header.value for header in app("data").header]


def test_the_coverage_is_shown_with_what_was_dropped(app, small: Workspace) -> None:
    """A share without its numbers, or hostile text drawn as it came."""
    write(small)
    screen = app("data")
    assert not screen.exception
    assert "Questions written by the LLM" in [header.value for header in screen.header]
    metrics = {metric.label: metric.value for metric in screen.metric}
    assert metrics["Questions for training"] == "1"
    assert metrics["Passages with a question"] == "25.0%"
    assert "not in the passage word for word" in html(screen)
    assert any("No question was pooled yet" in caption.value for caption in screen.caption)


def test_a_question_that_misses_its_own_passage_is_flagged_and_escaped(app, small: Workspace) -> None:
    """A lost question trained on as a hard one; or its text run as a script."""
    write(small)
    with small.sessions.read() as session:
        question = session.query(Query).join(GeneratedQuestion, GeneratedQuestion.query_id == Query.id).one()
        other = small_passage(session)
    import_candidates(small, [NewCandidate(question.external_id, other, "bm25", 1, 3.0)], source_name="a run")
    screen = app("data")
    assert not screen.exception
    assert any("1 question cannot find" in warning.value for warning in screen.warning)
    assert "&lt;b&gt;what&lt;/b&gt;" in html(screen)
    assert "<script>" not in html(screen)


def small_passage(session) -> str:  # type: ignore[no-untyped-def]
    """The id of a passage that nothing was asked about."""
    return str(session.query(Passage.external_id).order_by(Passage.id).limit(1).scalar())
