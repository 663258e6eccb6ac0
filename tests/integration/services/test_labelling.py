"""Labelling with any judge: resumed where it stopped, nothing paid for twice, nothing unreadable taken for a grade."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from annotator.errors import JudgeUnavailable
from annotator.judges.base import Judge
from annotator.judges.call_ledger import Ticket
from annotator.judges.chat import ChatModel, make_client
from annotator.judges.local import LocalJudge
from annotator.judges.openai_chat import OpenAIChatJudge
from annotator.judges.reply_cache import CachedReply
from annotator.prompts.loader import load_prompt
from annotator.routing import BareThreshold
from annotator.types import Criterion, JudgeFailure, Proposal, SuggestionStatus, Usage
from app.bootstrap import Workspace
from app.services import labelling, labels, overview, reviewing, routing
from app.services.call_ledger import DatabaseLedger
from builders import N_TRAIN, TOPICS, add_candidates, add_corpus, pair_ids, scripted_judge, truth
from db.enums import Outcome
from db.models import Decision, LabelFailure, LabelJob, Pair, PairState, Query, QueryCluster, Suggestion
from servers.scripted_llm import COMPLETION_TOKENS, PROMPT_TOKENS, Behaviour, ScriptedLLM, good

TRAIN_AND_HELD_OUT = (*TOPICS[:3], TOPICS[N_TRAIN])
N_PAIRS = 18


@pytest.fixture
def pooled(any_workspace: Workspace) -> Workspace:
    """Three train questions and a held-out one with six candidates each."""
    add_corpus(any_workspace, topics=TRAIN_AND_HELD_OUT)
    add_candidates(any_workspace, topics=TRAIN_AND_HELD_OUT)
    return any_workspace


def count(workspace: Workspace, table: type[Any]) -> int:
    with workspace.sessions.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def states(workspace: Workspace) -> list[PairState]:
    with workspace.sessions.read() as session:
        return list(session.scalars(sa.select(PairState).order_by(PairState.pair_id)))


@pytest.mark.parametrize("make", [scripted_judge, lambda _: LocalJudge()], ids=["scripted", "local"])
def test_only_train_questions_are_labelled_and_each_pair_once(
    pooled: Workspace, make: Callable[[Workspace], Judge]
) -> None:
    """A judge's grade on a held-out question leaks into what it is measured by; a repeat pays again."""
    seen: list[tuple[int, int]] = []
    report = labelling.label(pooled, make(pooled), on_progress=lambda done, total: seen.append((done, total)))
    assert (report.proposed, report.failed, report.unreadable) == (N_PAIRS, 0, 0)
    assert seen[-1] == (N_PAIRS, N_PAIRS)
    with pooled.sessions.read() as session:
        splits = session.scalars(
            sa.select(QueryCluster.split)
            .join(Query, Query.cluster_id == QueryCluster.id)
            .join(Pair, Pair.query_id == Query.id)
            .join(Suggestion, Suggestion.pair_id == Pair.id)
        ).all()
    assert [str(split) for split in splits] == ["train"] * N_PAIRS
    again = labelling.label(pooled, make(pooled))
    assert (again.proposed, count(pooled, Suggestion)) == (0, N_PAIRS)


def test_the_local_judge_sees_the_signals_of_the_pool(workspace: Workspace) -> None:
    """The judge that lives on retrieval signals gets none, and proposes by shared words alone."""
    add_corpus(workspace, topics=TRAIN_AND_HELD_OUT)
    add_candidates(workspace, topics=TRAIN_AND_HELD_OUT)
    judge = scripted_judge(workspace)
    labelling.label(workspace, judge)
    first = next(r for r in judge.asked if r.passage == TOPICS[0].answer and r.query == TOPICS[0].question)
    signals = first.signals
    assert (signals.bm25_rank, signals.bm25_score, signals.best_bm25_score) == (1, 19.0, 19.0)
    assert (signals.dense_rank, signals.fused_rank, signals.pool_size) == (1, 1, 6)
    assert signals.dense_score == pytest.approx(0.9)


def test_a_judge_that_breaks_midway_keeps_what_it_said_and_is_asked_only_for_the_rest(pooled: Workspace) -> None:
    """A crash at pair 9,999 of 10,000 loses paid hours (ragas#1522)."""
    asked = 0

    def script(query: str, passage: str) -> Any:
        nonlocal asked
        asked += 1
        return JudgeUnavailable("no credit left") if asked == 8 else truth(query, passage)

    with pytest.raises(JudgeUnavailable):
        labelling.label(pooled, scripted_judge(pooled, script))
    assert count(pooled, Suggestion) == 7
    judge = scripted_judge(pooled)
    report = labelling.label(pooled, judge)
    assert (report.proposed, len(judge.asked), count(pooled, Suggestion)) == (11, 11, N_PAIRS)
    with pooled.sessions.read() as session:
        jobs = session.scalars(sa.select(LabelJob).order_by(LabelJob.id)).all()
        assert [(job.n_pairs, str(job.status)) for job in jobs] == [(18, "failed"), (11, "done")]


def test_labelling_stops_on_request_with_everything_stored(pooled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling throws away what was just paid for, or does not stop at all."""
    monkeypatch.setattr(labelling, "STORE_EVERY", 5)
    report = labelling.label(pooled, scripted_judge(pooled), should_cancel=lambda: count(pooled, Suggestion) >= 10)
    assert (report.proposed, count(pooled, Suggestion)) == (10, 10)


def test_a_pair_without_a_reply_is_in_the_ledger_and_asked_for_again(pooled: Workspace) -> None:
    """A failed call is taken for a grade, cached, or forgotten (docetl#50, search-relevance#528)."""
    failing = ("q-bread", "bread-partly")
    pair_id = pair_ids(pooled)[failing]

    def script(query: str, passage: str) -> Any:
        if (query, passage) == failing:
            return JudgeFailure(pair_id, "HTTP 500: \0 overloaded", retryable=True)
        return truth(query, passage)

    report = labelling.label(pooled, scripted_judge(pooled, script))
    assert (report.proposed, report.failed) == (17, 1)
    with pooled.sessions.read() as session:
        (failure,) = session.scalars(sa.select(LabelFailure))
        assert (failure.pair_id, failure.retryable) == (pair_id, True)
        assert failure.reason == "HTTP 500: \ufffd overloaded"
    judge = scripted_judge(pooled)
    assert labelling.label(pooled, judge).proposed == 1
    assert [request.pair_id for request in judge.asked] == [pair_id]


def test_an_unreadable_reply_never_becomes_a_grade_and_waits_for_a_person(pooled: Workspace) -> None:
    """Gibberish counts as "not relevant" and trains as a negative."""
    unreadable = pair_ids(pooled)["q-bread", "bread-answer"]

    def script(query: str, passage: str) -> Any:
        return None if (query, passage) == ("q-bread", "bread-answer") else truth(query, passage)

    report = labelling.label(pooled, scripted_judge(pooled, script))
    routed = routing.route(pooled)
    assert (report.unreadable, routed.accepted, routed.rejected) == (1, 17, 1)
    view = labels.get_pair(pooled, pair_id=unreadable)
    assert (view.status, view.grade, view.outcome) == (SuggestionStatus.UNREADABLE, None, Outcome.REJECTED)
    assert (view.curated_grade, view.why) == (None, "the reply could not be read")
    assert routed.waiting == 1 + 6  # and the held-out question's
    assert reviewing.claim(pooled, person="Ada", pair_id=unreadable) is not None
    assert overview.get_overview(pooled).funnel.unreadable == 1


def test_a_reply_with_characters_no_database_takes_is_stored_readably(pooled: Workspace) -> None:
    """One hostile reply stops labelling for good: it comes out of the cache again at each attempt."""
    pair_id = pair_ids(pooled)["q-bread", "bread-answer"]

    def script(query: str, passage: str) -> Any:
        return Proposal(
            pair_id=pair_ids(pooled)[query, passage],
            status=SuggestionStatus.OK,
            grade=2,
            grade_distribution=None,
            confidence=None,
            confidence_kind=None,
            evidence=None,
            evidence_dropped=False,
            reason="half \ud800 a pair",
            raw_reply="nul \0 and \udfff",
            usage=Usage(),
        )

    assert labelling.label(pooled, scripted_judge(pooled, script)).proposed == N_PAIRS
    assert labels.get_pair(pooled, pair_id=pair_id).reason == "half ? a pair"


def test_routing_twice_decides_once(pooled: Workspace) -> None:
    """Each click on "route" appends the same decisions again."""
    labelling.label(pooled, scripted_judge(pooled))
    first, second = routing.route(pooled), routing.route(pooled)
    assert (first.accepted, first.rejected, first.waiting) == (18, 0, 6)
    assert (second.accepted, second.rejected, second.waiting) == (0, 0, 6)
    assert count(pooled, Decision) == N_PAIRS


def test_another_threshold_decides_anew_and_keeps_the_old_decisions(pooled: Workspace) -> None:
    """Nobody can say any more why a label trained last week."""
    labelling.label(pooled, scripted_judge(pooled))
    strict = BareThreshold(threshold_relevant=0.99, threshold_irrelevant=0.9)
    routing.route(pooled)
    routed = routing.route(pooled, policy=strict)
    assert (routed.accepted, routed.rejected) == (12, 6)
    back = routing.route(pooled)
    assert (back.accepted, back.rejected, back.waiting) == (18, 0, 6)
    assert count(pooled, Decision) == 3 * N_PAIRS
    assert {state.outcome for state in states(pooled)} == {Outcome.ACCEPTED}


def test_what_a_bare_threshold_accepts_says_that_it_is_uncertified(pooled: Workspace) -> None:
    """A guess is sold as a guarantee."""
    labelling.label(pooled, scripted_judge(pooled))
    routing.route(pooled)
    rows = labels.list_labels(pooled, outcome=Outcome.ACCEPTED).rows
    assert len(rows) == N_PAIRS
    assert all(row.why.startswith("uncertified: ") for row in rows)
    assert overview.get_overview(pooled).uncertified


class DiesAfterStoring(DatabaseLedger):
    """Stores a reply, and the process dies before anyone used it."""

    def __init__(self, workspace: Workspace, *, after: int) -> None:
        super().__init__(workspace)
        self._left = after

    async def settle(self, ticket: Ticket, reply: CachedReply, *, cost_usd: float | None) -> None:
        await super().settle(ticket, reply, cost_usd=cost_usd)
        self._left -= 1
        if self._left == 0:
            raise KeyError("the power went")


def test_a_crash_between_reply_and_suggestion_pays_for_no_reply_twice(workspace: Workspace) -> None:
    """A crash buys every reply again (rule 2)."""
    add_corpus(workspace, topics=TRAIN_AND_HELD_OUT)
    add_candidates(workspace, topics=TRAIN_AND_HELD_OUT)

    def answer(_: object) -> Behaviour:
        return good(grade=3)

    with ScriptedLLM(answer) as server:

        def judge(ledger: DatabaseLedger) -> OpenAIChatJudge:
            client = make_client(api_key="key", base_url=server.base_url, timeout=10)
            chat = ChatModel(client, model="scripted", ledger=ledger, concurrency=2)
            return OpenAIChatJudge(chat, prompt=load_prompt(), scale=workspace.scale)

        with DiesAfterStoring(workspace, after=5) as dying, pytest.raises(KeyError):
            labelling.label(workspace, judge(dying), ledger=dying)
        bought, stored = len(server.requests), count(workspace, Suggestion)
        assert 5 <= bought < N_PAIRS
        with DatabaseLedger(workspace) as ledger:
            report = labelling.label(workspace, judge(ledger), ledger=ledger)
        assert report.proposed == N_PAIRS - stored
        assert len(server.requests) == N_PAIRS
        assert len({request.user_message for request in server.requests}) == N_PAIRS
    paid_now = N_PAIRS - bought
    assert (report.prompt_tokens, report.completion_tokens) == (paid_now * PROMPT_TOKENS, paid_now * COMPLETION_TOKENS)
    with workspace.sessions.read() as session:
        grades = session.scalars(sa.select(Suggestion.grade).where(Suggestion.criterion == Criterion.RELEVANCE)).all()
    assert list(grades) == [3] * N_PAIRS
