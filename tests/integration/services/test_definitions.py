"""Definitions: written where they are missing, edited by people, and what they leave behind is stale."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from annotator.judges.call_ledger import InMemoryCallLedger
from annotator.judges.chat import ChatModel, make_client
from annotator.judges.definitions import DefinitionWriter
from annotator.judges.retrying import RetryPolicy
from annotator.judges.scripted import ScriptedJudge
from annotator.prompts.loader import load_text_prompt
from annotator.types import Criterion, JudgeKind
from app.bootstrap import Workspace
from app.errors import InputInvalid
from app.services import definitions, labelling, labels, overview, reviewing, routing
from app.services.importing import NewQuery, import_queries
from builders import TOPICS, add_candidates, add_corpus, pair_ids, query_id, scripted_judge
from db.enums import LabelSource, Outcome
from db.errors import NotFound
from db.models import Definition, Suggestion
from db.queries.training import list_open_proposals
from servers.scripted_llm import Behaviour, Request, ScriptedLLM, says, server_error

TRAIN = TOPICS[:3]
BREAD, BICYCLE = query_id(TOPICS[0]), query_id(TOPICS[1])
N_PAIRS = 18


@pytest.fixture
def pooled(any_workspace: Workspace) -> Workspace:
    """Three train questions with six candidates each."""
    add_corpus(any_workspace, topics=TRAIN)
    add_candidates(any_workspace, topics=TRAIN)
    return any_workspace


def count(workspace: Workspace, table: type[Any]) -> int:
    with workspace.sessions.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def good(request: Request) -> Behaviour:
    """A definition that repeats its query, so that a mix-up shows."""
    query = request.user_message.split("\n")[1]
    return says(json.dumps({"meaning": f"About: {query}", "counts": ["causes"], "does_not_count": []}))


def writer_at(server: ScriptedLLM, ledger: InMemoryCallLedger | None = None) -> DefinitionWriter:
    chat = ChatModel(
        make_client(api_key="test", base_url=server.base_url, timeout=10.0),
        model="scripted",
        ledger=InMemoryCallLedger() if ledger is None else ledger,
        retry=RetryPolicy(max_attempts=1),
        concurrency=2,
    )
    return DefinitionWriter(chat, prompt=load_text_prompt("definition"))


def label_and_route(workspace: Workspace, judge: ScriptedJudge | None = None) -> ScriptedJudge:
    judge = judge or scripted_judge(workspace)
    labelling.label(workspace, judge)
    routing.route(workspace)
    return judge


def test_every_query_that_lacks_a_definition_gets_its_own_and_a_second_run_asks_nothing(pooled: Workspace) -> None:
    """Definitions paid for again on every run, or one query's definition under another."""
    with ScriptedLLM(good) as server:
        report = definitions.write_missing(pooled, writer_at(server))
        assert (report.written, report.unreadable, report.failed) == (3, 0, 0)
        again = definitions.write_missing(pooled, writer_at(server))
        assert (again.written, len(server.requests)) == (0, 3)
    for topic in TRAIN:
        view = definitions.get_definitions(pooled, query=query_id(topic))
        (version,) = view.versions
        assert version.text.startswith(f"About: {topic.question}")
        assert (version.version, version.author) == (1, "scripted/definition")
    assert definitions.get_overview(pooled).lacking == 0


def test_a_failed_query_is_written_on_the_next_run_and_an_unreadable_reply_is_not_bought_again(
    pooled: Workspace,
) -> None:
    """One bad reply is bought again for ever, or one outage leaves a query without a definition for good."""
    ledger = InMemoryCallLedger()

    def broken(request: Request) -> Behaviour:
        if TRAIN[0].question in request.user_message:
            return server_error()
        return says("no idea") if TRAIN[1].question in request.user_message else good(request)

    with ScriptedLLM(broken) as server:
        report = definitions.write_missing(pooled, writer_at(server, ledger))
    assert (report.written, report.unreadable, report.failed) == (1, 1, 1)
    with ScriptedLLM(good) as server:
        report = definitions.write_missing(pooled, writer_at(server, ledger))
        assert (report.written, report.unreadable, len(server.requests)) == (1, 1, 1)
    assert definitions.get_overview(pooled).lacking == 1


def test_an_edit_is_a_new_version_and_the_older_one_stays(pooled: Workspace) -> None:
    """An expert's guideline overwrites the one under which a thousand pairs were judged."""
    first = definitions.set_definition(pooled, query=BREAD, text="Causes count.", person="Ada")
    second = definitions.set_definition(pooled, query=BREAD, text="  Causes and remedies count. ", person="Grace")
    assert (first.changed, second.changed) == (True, True)
    versions = second.definitions.versions
    assert [(v.version, v.text, v.author) for v in versions] == [
        (1, "Causes count.", "Ada"),
        (2, "Causes and remedies count.", "Grace"),
    ]
    same = definitions.set_definition(pooled, query=BREAD, text="Causes and remedies count.", person="Ada")
    assert (same.changed, len(same.definitions.versions)) == (False, 2)


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b", "x" * 8_001])
def test_a_definition_that_says_nothing_or_is_never_shown_whole_is_refused(pooled: Workspace, text: str) -> None:
    """Judges are told that nothing counts, or shown half of a guideline."""
    with pytest.raises(InputInvalid):
        definitions.set_definition(pooled, query=BREAD, text=text, person="Ada")
    assert count(pooled, Definition) == 0


def test_an_unknown_query_is_named(pooled: Workspace) -> None:
    """A traceback for a typing error."""
    with pytest.raises(NotFound, match="q-nobody"):
        definitions.set_definition(pooled, query="q-nobody", text="x", person="Ada")


def test_a_changed_definition_takes_acceptance_from_its_own_query_only(pooled: Workspace) -> None:
    """Labels made under a guideline that was given up train on; or one edit throws away the whole corpus."""
    label_and_route(pooled)
    assert overview.get_overview(pooled).funnel.accepted == N_PAIRS
    report = definitions.set_definition(pooled, query=BREAD, text="Only causes count.", person="Ada")
    assert report.dropped == 6
    accepted = labels.list_labels(pooled, outcome=Outcome.ACCEPTED)
    rejected = labels.list_labels(pooled, outcome=Outcome.REJECTED)
    assert (accepted.total, rejected.total) == (12, 6)
    assert {row.query for row in rejected.rows} == {TOPICS[0].question}
    assert all("definition" in row.why and row.curated_grade is None for row in rejected.rows)
    assert definitions.get_overview(pooled).stale == 6


def test_stale_pairs_are_labelled_again_under_the_new_definition_and_accepted_again(pooled: Workspace) -> None:
    """Stale pairs wait for ever, or all pairs are paid for again."""
    first = label_and_route(pooled)
    assert len(first.asked) == N_PAIRS
    definitions.set_definition(pooled, query=BREAD, text="Only causes count.", person="Ada")
    again = label_and_route(pooled)
    assert len(again.asked) == 6
    assert {request.definition for request in again.asked} == {"Only causes count."}
    assert count(pooled, Suggestion) == N_PAIRS + 6
    assert overview.get_overview(pooled).funnel.accepted == N_PAIRS
    assert definitions.get_overview(pooled).stale == 0
    assert len(label_and_route(pooled).asked) == 0


def test_routing_accepts_no_stale_suggestion(pooled: Workspace) -> None:
    """A click on "route", or another threshold, accepts what was said under the older definition."""
    label_and_route(pooled)
    definitions.set_definition(pooled, query=BREAD, text="Only causes count.", person="Ada")
    routing.route(pooled)
    routing.route(pooled, policy=replace(routing.bare_policy(pooled), threshold_relevant=0.1))
    assert overview.get_overview(pooled).funnel.accepted == N_PAIRS - 6


def test_a_stale_proposal_is_no_target_of_training(pooled: Workspace) -> None:
    """The retriever is trained toward a guideline that an expert took back."""
    label_and_route(pooled, scripted_judge(pooled, confidence=0.3))

    def open_proposals() -> int:
        with pooled.sessions.read() as session:
            return len(list_open_proposals(session, criterion=Criterion.RELEVANCE))

    assert open_proposals() == N_PAIRS
    definitions.set_definition(pooled, query=BREAD, text="Only causes count.", person="Ada")
    assert open_proposals() == N_PAIRS - 6


def test_a_persons_grade_outlives_a_change_of_the_definition(pooled: Workspace) -> None:
    """An edit takes a human grade out of the training set."""
    label_and_route(pooled)
    pair = pair_ids(pooled)[BREAD, "bread-answer"]
    labels.overturn(pooled, pair_id=pair, person="Ada", grade=1, note="")
    definitions.set_definition(pooled, query=BREAD, text="Only causes count.", person="Ada")
    view = labels.get_pair(pooled, pair_id=pair)
    assert (view.curated_grade, view.curated_source) == (1, LabelSource.HUMAN)


def test_a_judge_that_reads_no_definition_never_goes_stale(pooled: Workspace) -> None:
    """The local judge is asked the same again after every edit."""
    local = scripted_judge(pooled)
    local.identity = replace(local.identity, kind=JudgeKind.LOCAL)
    label_and_route(pooled, local)
    definitions.set_definition(pooled, query=BREAD, text="Only causes count.", person="Ada")
    assert definitions.get_overview(pooled).stale == 0
    assert overview.get_overview(pooled).funnel.accepted == N_PAIRS


def test_a_definition_that_comes_in_a_file_makes_stale_like_an_edit(pooled: Workspace) -> None:
    """An import changes the guideline, and nobody notices that the labels are of the older one."""
    label_and_route(pooled)
    import_queries(pooled, [NewQuery(BREAD, TOPICS[0].question, None, "From a file.")], source_name="everyday")
    assert definitions.get_overview(pooled).stale == 6
    assert overview.get_overview(pooled).funnel.accepted == N_PAIRS - 6


def test_a_query_whose_definition_a_person_wrote_meanwhile_keeps_it(pooled: Workspace) -> None:
    """The LLM's definition, asked for earlier, replaces an expert's."""

    def slow_person(request: Request) -> Behaviour:
        if TRAIN[0].question in request.user_message:
            definitions.set_definition(pooled, query=BREAD, text="Ada's own.", person="Ada")
        return good(request)

    with ScriptedLLM(slow_person) as server:
        definitions.write_missing(pooled, writer_at(server))
    assert [v.author for v in definitions.get_definitions(pooled, query=BREAD).versions] == ["Ada"]


def test_writing_stops_on_request_with_what_was_written_stored(
    pooled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelling loses what was paid for."""
    monkeypatch.setattr(definitions, "_STORE_EVERY", 1)
    with ScriptedLLM(good) as server:
        report = definitions.write_missing(
            pooled, writer_at(server), should_cancel=lambda: count(pooled, Definition) >= 1
        )
    assert 1 <= report.written <= 3
    assert count(pooled, Definition) == report.written


def test_the_card_shows_the_definition_that_holds(pooled: Workspace) -> None:
    """People and judges grade by different guidelines."""
    definitions.set_definition(pooled, query=BREAD, text="Causes count.", person="Ada")
    definitions.set_definition(pooled, query=BREAD, text="Only remedies count.", person="Ada")
    label_and_route(pooled, scripted_judge(pooled, confidence=0.3))
    card = reviewing.claim(pooled, person="Ada", pair_id=pair_ids(pooled)[BREAD, "bread-answer"])
    assert card is not None
    assert card.pair.definition == "Only remedies count."
