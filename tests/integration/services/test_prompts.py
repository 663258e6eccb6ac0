"""The effective prompt of a suggestion: to the letter what was sent, whoever judged, or said not to be."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from annotator.judges.base import Judge
from annotator.judges.call_ledger import InMemoryCallLedger
from annotator.judges.ensemble import EnsembleJudge
from annotator.judges.examples import ExampleJudge, ExamplePool
from annotator.judges.openai_chat import OpenAIChatJudge
from annotator.prompts.loader import load_prompt
from annotator.types import ConfidenceKind, Criterion
from app.bootstrap import Workspace, make_chat, make_judge
from app.config import Settings, settings_from
from app.errors import NotAllowed, NothingToDo
from app.services import definitions, labelling, labels, prompts
from app.services.importing import NewCandidate, NewQuery, import_candidates, import_queries
from builders import TOPICS, add_candidates, add_corpus, pair_ids, query_id, scripted_judge
from db.enums import Split
from db.errors import NotFound
from db.models import Batch, BatchPair, Calibrator, Passage, PromptRow, Suggestion
from db.queries import prompts as prompt_queries
from servers.scripted_llm import Behaviour, Request, ScriptedLLM, good, graded_list, ranked, says, selected

TRAIN = TOPICS[:2]
BREAD = query_id(TOPICS[0])


@pytest.fixture
def pooled(workspace: Workspace) -> Workspace:
    """Two train questions with six candidates each, one with a definition, and a hostile passage."""
    add_corpus(workspace, topics=TRAIN)
    add_candidates(workspace, topics=TRAIN)
    definitions.set_definition(workspace, query=BREAD, text="Causes count.", person="Ada")
    return workspace


def answers(request: Request) -> Behaviour:
    """A server that serves every kind of judge."""
    name = request.body.get("response_format", {}).get("json_schema", {}).get("name", "")
    if name == "relsel":
        return selected(request, lambda text: len(text) % 2 == 0)
    if name == "pseudo_answer":
        return says(json.dumps({"answer": "Because of the starter."}))
    if name == "utilsel":
        return selected(request, lambda text: len(text) % 4 == 0, confidence=0.7)
    if name == "utilrank":
        return ranked(request, len)
    if name == "grades_of_passages":
        return graded_list(request, lambda text: len(text) % 4)
    return good(grade=2)


def settings_for(server: ScriptedLLM, workspace: Workspace) -> Settings:
    values = {"openai_base_url": server.base_url, "judge": "llm", "llm_model": "scripted"}
    return settings_from(workspace.settings.workspace, values)


def make(workspace: Workspace, server: ScriptedLLM, spec: dict[str, Any]) -> Judge:
    return make_judge(settings_for(server, workspace), workspace.scale, InMemoryCallLedger(), spec)


def suggestions(workspace: Workspace) -> list[Suggestion]:
    with workspace.sessions.read() as session:
        return list(session.scalars(sa.select(Suggestion).order_by(Suggestion.id)))


SPECS: dict[str, dict[str, Any]] = {
    "pointwise": {"kind": "pointwise"},
    "another prompt": {"kind": "pointwise", "prompt": "pointwise_criteria"},
    "listwise": {"kind": "listwise"},
    "utilsel": {"kind": "utility", "method": "utilsel"},
    "utilrank": {"kind": "utility", "method": "utilrank"},
}


@pytest.mark.parametrize("what", SPECS)
def test_what_is_shown_is_to_the_letter_what_the_server_received(pooled: Workspace, what: str) -> None:
    """A lead asks what the judge had been told, and is shown something else."""
    with ScriptedLLM(answers) as server:
        labelling.label(pooled, make(pooled, server, SPECS[what]))
        sent = {
            tuple((str(m["role"]), str(m["content"])) for m in request.body["messages"]) for request in server.requests
        }
    made = suggestions(pooled)
    assert len(made) == 12
    seen = set()
    for suggestion in made:
        view = prompts.get_effective_prompt(pooled, suggestion.id)
        assert view.steps
        assert view.note == ""
        assert all(step.verified is True for step in view.steps)
        seen |= {tuple((m.role, m.content) for m in step.messages) for step in view.steps}
    assert seen == sent


def test_an_ensembles_prompts_are_those_of_all_its_members(pooled: Workspace) -> None:
    """Of three prompts that voted one is shown."""
    names = ("pointwise_relevance", "pointwise_sides", "pointwise_criteria")
    spec = {"kind": "ensemble", "members": [{"kind": "pointwise", "prompt": name} for name in names]}
    with ScriptedLLM(answers) as server:
        judge = make(pooled, server, spec)
        assert isinstance(judge, EnsembleJudge)
        labelling.label(pooled, judge)
        assert len(server.requests) == 36
    view = prompts.get_effective_prompt(pooled, suggestions(pooled)[0].id)
    assert [step.prompt for step in view.steps] == ["pointwise", "pointwise-sides", "pointwise-criteria"]
    assert all(step.verified is True for step in view.steps)


def test_the_examples_that_a_judge_was_shown_are_shown(pooled: Workspace) -> None:
    """A label that an example decided, and nobody can see which."""
    labelling.label(pooled, scripted_judge(pooled))
    ids = pair_ids(pooled)
    pair = ids[query_id(TOPICS[1]), "bicycle-answer"]
    labels.overturn(pooled, pair_id=pair, person="Ada", grade=3, note="")
    with pooled.sessions.read() as session:
        shown = prompt_queries.list_examples(session, [1])
    with ScriptedLLM(answers) as server:
        chat = make_chat(settings_for(server, pooled), InMemoryCallLedger())
        inner = OpenAIChatJudge(chat, prompt=load_prompt("pointwise_examples"), scale=pooled.scale)
        judge = ExampleJudge(
            inner,
            pool=ExamplePool(tuple(shown.values())),
            k=1,
            similarity=lambda query, others: [1.0 for _ in others],
        )
        labelling.label(pooled, judge)
    view = prompts.get_effective_prompt_of_pair(pooled, ids[BREAD, "bread-answer"])
    (step,) = view.steps
    assert step.verified is True
    assert "People gave it grade 3 (answers)." in step.messages[1].content
    assert TOPICS[1].answer in step.messages[1].content


def test_a_text_that_changed_since_is_said_to_have_changed(pooled: Workspace) -> None:
    """Today's passage is shown as the one that was judged."""
    with ScriptedLLM(answers) as server:
        labelling.label(pooled, make(pooled, server, {"kind": "pointwise"}))
    with pooled.sessions.begin() as session:
        passage = session.scalars(sa.select(Passage).where(Passage.external_id == "bread-answer")).one()
        passage.text = "Another text altogether."
    view = prompts.get_effective_prompt_of_pair(pooled, pair_ids(pooled)[BREAD, "bread-answer"])
    assert [step.verified for step in view.steps] == [False]


def test_an_older_suggestion_keeps_the_definition_it_was_made_under(pooled: Workspace) -> None:
    """After an edit every old label seems to have been made under the new guideline."""
    with ScriptedLLM(answers) as server:
        labelling.label(pooled, make(pooled, server, {"kind": "pointwise"}))
    pair = pair_ids(pooled)[BREAD, "bread-answer"]
    definitions.set_definition(pooled, query=BREAD, text="Only remedies count.", person="Ada")
    (step,) = prompts.get_effective_prompt_of_pair(pooled, pair).steps
    assert step.verified is True
    assert "Causes count." in step.messages[1].content
    assert "Only remedies" not in step.messages[1].content


def test_the_text_of_each_prompt_in_use_is_stored_once(pooled: Workspace) -> None:
    """A prompt file is edited, and what produced last month's labels is gone."""
    with ScriptedLLM(answers) as server:
        for spec in (SPECS["utilsel"], SPECS["utilrank"], SPECS["pointwise"], SPECS["pointwise"]):
            labelling.label(pooled, make(pooled, server, spec))
    with pooled.sessions.read() as session:
        names = sorted(session.scalars(sa.select(PromptRow.name)))
    assert names == ["pointwise", "pseudo-answer", "relsel", "utilrank", "utilsel"]


def test_a_judge_without_a_prompt_says_so(pooled: Workspace) -> None:
    """A traceback where the local judge, or a judge from before the store of prompts, proposed."""
    labelling.label(pooled, make_judge(pooled.settings, pooled.scale, InMemoryCallLedger()))
    view = prompts.get_effective_prompt(pooled, suggestions(pooled)[0].id)
    assert view.steps == ()
    assert "no prompt" in view.note
    labelling.label(pooled, scripted_judge(pooled))
    view = prompts.get_effective_prompt(pooled, suggestions(pooled)[-1].id)
    assert view.steps == ()
    assert "not stored" in view.note


def test_what_was_never_proposed_has_no_prompt(pooled: Workspace) -> None:
    """A prompt of the utility pipeline is shown as that of a grade of relevance."""
    with ScriptedLLM(answers) as server:
        labelling.label(pooled, make(pooled, server, SPECS["utilsel"]))
    with pytest.raises(NothingToDo):
        prompts.get_effective_prompt_of_pair(pooled, 1, criterion=Criterion.RELEVANCE)
    with pytest.raises(NotFound):
        prompts.get_effective_prompt(pooled, 10_000)


def test_a_blind_pair_is_refused(workspace: Workspace) -> None:
    """The drafted answer in a prompt tells a blind reviewer what the judge found relevant."""
    add_corpus(workspace, topics=TRAIN)
    import_queries(workspace, [NewQuery("q-cal", "why is bread stale", Split.CALIBRATE)], source_name="everyday")
    rows = [NewCandidate("q-cal", "bread-answer", "bm25", 1, 1.0)]
    import_candidates(workspace, rows, source_name="everyday")
    with ScriptedLLM(answers) as server:
        labelling.label(workspace, make(workspace, server, SPECS["pointwise"]))
    (suggestion,) = suggestions(workspace)
    with pytest.raises(NotAllowed):
        prompts.get_effective_prompt(workspace, suggestion.id)


def test_a_neighbours_prompt_does_not_tell_what_was_said_of_a_locked_pair(any_workspace: Workspace) -> None:
    """An auditor opens the prompt of the next pair, and reads which of the sampled ones the judge took for relevant."""
    add_corpus(any_workspace, topics=TRAIN)
    add_candidates(any_workspace, topics=TRAIN)
    with ScriptedLLM(answers) as server:
        labelling.label(any_workspace, make(any_workspace, server, SPECS["utilsel"]))
    made = suggestions(any_workspace)
    locked, neighbour = made[0], made[1]
    assert len(prompts.get_effective_prompt(any_workspace, neighbour.id).steps) == 3
    with any_workspace.sessions.begin() as session:
        now = any_workspace.now()
        calibrator = Calibrator(
            judge_id=locked.judge_id,
            confidence_kind=ConfidenceKind.VERBAL,
            criterion=Criterion.UTILITY,
            parameters={},
            n_reviews=1,
            created_at=now,
        )
        session.add(calibrator)
        session.flush()
        batch = Batch(
            hash="x",
            criterion=Criterion.UTILITY,
            judge_id=locked.judge_id,
            calibrator_id=calibrator.id,
            epsilon=0.1,
            delta=0.05,
            n_pairs=1,
            n_audits=1,
            plan={},
            created_at=now,
        )
        session.add(batch)
        session.flush()
        session.add(
            BatchPair(
                batch_id=batch.id,
                pair_id=locked.pair_id,
                suggestion_id=locked.id,
                relevant_class=True,
                confidence=0.9,
                audit_position=1,
            )
        )
    with pytest.raises(NotAllowed):
        prompts.get_effective_prompt(any_workspace, locked.id)
    first, rest = prompts.get_effective_prompt(any_workspace, neighbour.id).steps
    assert first.verified is True
    assert (rest.messages, rest.verified) == ((), None)
    assert "not shown" in rest.name
    elsewhere = prompts.get_effective_prompt(any_workspace, made[-1].id)
    assert [step.verified for step in elsewhere.steps] == [True, True, True]
