"""Examples from audits: used only where they measured better on blind reviews, and never taken from those."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa

from annotator.judges.call_ledger import InMemoryCallLedger
from annotator.judges.examples import ExampleJudge
from annotator.types import Criterion
from app.bootstrap import Workspace, make_judge
from app.config import settings_from
from app.errors import NothingToDo, SettingsInvalid
from app.services import example_trial, labels, reviewing
from app.services.importing import NewCandidate, NewQuery, import_candidates, import_passages, import_queries
from app.services.judge_knowledge import known_to
from app.services.measured_examples import measured_examples, query_likeness
from builders import TOPICS, add_candidates, add_corpus, add_suggestions, pair_ids, query_id
from db.enums import Split
from db.models import LabelJob, Query, QueryCluster, Review
from db.queries.examples import list_blind_pairs, list_example_reviews
from servers.scripted_llm import Behaviour, Request, ScriptedLLM, good, says

CALIBRATE = TOPICS[3:15]
TRAIN = TOPICS[:3]


def with_llm(workspace: Workspace, server: ScriptedLLM) -> Workspace:
    values = {"openai_base_url": server.base_url, "judge": "llm", "llm_model": "scripted"}
    return replace(workspace, settings=settings_from(workspace.settings.workspace, values))


def grade_blind(workspace: Workspace, *, pairs: Sequence[tuple[str, str]], grade: Callable[[str], int]) -> None:
    ids = pair_ids(workspace)
    for query, passage in pairs:
        card = reviewing.claim(workspace, person="Ada", pair_id=ids[query, passage])
        assert card is not None
        reviewing.grade(workspace, card=card.card, person="Ada", grade=grade(passage), seconds=1.0)


@pytest.fixture
def judged(workspace: Workspace) -> Workspace:
    """Three audited train questions, and twelve calibrate questions with two blind grades each: one right, one not."""
    add_corpus(workspace, topics=TRAIN)
    add_candidates(workspace, topics=TRAIN)
    add_suggestions(workspace)
    for topic in TRAIN:
        pair = pair_ids(workspace)[query_id(topic), f"{topic.name}-answer"]
        labels.overturn(workspace, pair_id=pair, person="Ada", grade=3, note="")
    rows = [
        (f"{t.name}-{what}", "", text)
        for t in CALIBRATE
        for what, text in (("answer", t.answer), ("related", t.related))
    ]
    import_passages(workspace, rows, source_name="calibrate")
    queries = [NewQuery(query_id(t), t.question, Split.CALIBRATE) for t in CALIBRATE]
    import_queries(workspace, queries, source_name="calibrate")
    candidates = [
        NewCandidate(query_id(t), f"{t.name}-{what}", "bm25", rank, 2.0 - rank)
        for t in CALIBRATE
        for rank, what in enumerate(("answer", "related"), start=1)
    ]
    import_candidates(workspace, candidates, source_name="calibrate")
    pairs = [(query_id(t), f"{t.name}-{what}") for t in CALIBRATE for what in ("answer", "related")]
    grade_blind(workspace, pairs=pairs, grade=lambda passage: 3 if passage.endswith("answer") else 0)
    return workspace


def shows_examples(request: Request) -> bool:
    return "People gave it grade" in request.user_message


def truth_of(request: Request) -> int:
    passage = request.user_message.split("BEGIN passage ")[1].split("\n", 1)[1]
    return 3 if any(passage.startswith(topic.answer) for topic in TOPICS) else 0


def helped(request: Request) -> Behaviour:
    """A judge that says 3 to everything until it has seen examples."""
    return good(grade=truth_of(request) if shows_examples(request) else 3)


def never_helped(request: Request) -> Behaviour:
    """A judge that is right either way."""
    return good(grade=truth_of(request))


def test_examples_that_help_are_measured_stored_and_then_shown(judged: Workspace) -> None:
    """Examples are switched on by belief, or measured and never used."""
    with ScriptedLLM(helped) as server:
        workspace = with_llm(judged, server)
        assert example_trial.get_trial(workspace) is None
        trial = example_trial.measure(workspace, k=2)
        assert len(server.requests) == 48
        assert (trial.n_pairs, trial.n_queries, trial.n_examples, trial.k) == (24, 12, 3, 2)
        assert (trial.accuracy_without, trial.accuracy_with, trial.difference) == (0.5, 1.0, 0.5)
        assert trial.low is not None
        assert trial.low > 0
        assert trial.helps
        assert example_trial.get_trial(workspace) == trial
        spec = {"kind": "pointwise", "examples": True}
        judge = make_judge(workspace.settings, workspace.scale, InMemoryCallLedger(), spec, known=known_to(workspace))
        assert isinstance(judge, ExampleJudge)
        assert judge.identity.parameters["examples"] == 2
        example_trial.measure(workspace, k=2)
        assert len(server.requests) == 48  # a second measurement over the same reviews costs nothing


def test_a_measurement_is_planned_to_the_call_before_any_is_made(judged: Workspace) -> None:
    """A measurement asks twice as often as thought, or a second one is announced as paid when all replies are there."""
    with ScriptedLLM(helped) as server:
        workspace = with_llm(judged, server)
        priced = workspace.settings.model_copy(
            update={"llm_price_in_per_million_usd": 1.0, "llm_price_out_per_million_usd": 1.0}
        )
        workspace = replace(workspace, settings=priced)
        plan = example_trial.plan(workspace, k=2, cap_tokens=1_000_000)
        assert server.requests == []
        assert (plan.n_items, plan.n_calls, plan.n_stored, plan.token_cap) == (24, 48, 0, 1_000_000)
        assert plan.host == server.base_url.split("/")[2]
        assert "People gave it grade" in plan.prompt[-1].content
        assert 0 < plan.tokens < plan.worst_tokens
        assert plan.worst_cost_usd == pytest.approx(plan.worst_tokens / 1e6)  # one dollar a million either way
        assert plan.cost_usd is not None
        assert 0 < plan.cost_usd < plan.worst_cost_usd
        example_trial.measure(workspace, k=2)
        sent = {request.user_message for request in server.requests}
        assert len(server.requests) == plan.n_calls
        assert plan.prompt[-1].content in sent
        again = example_trial.plan(workspace, k=2)
        assert (again.host, again.n_calls, again.n_stored, again.tokens, again.worst_tokens) == (None, 48, 48, 0, 0)
        assert example_trial.plan(workspace, k=1).n_stored == 24  # those without examples are the same calls
    assert len(server.requests) == 48


def test_examples_that_do_not_help_are_shown_to_no_judge(judged: Workspace) -> None:
    """A longer, dearer prompt for nothing."""
    with ScriptedLLM(never_helped) as server:
        workspace = with_llm(judged, server)
        trial = example_trial.measure(workspace, k=2)
        assert (trial.difference, trial.low, trial.helps) == (0.0, 0.0, False)
        assert measured_examples(workspace) is None
        with pytest.raises(SettingsInvalid, match="measured better"):
            make_judge(
                workspace.settings,
                workspace.scale,
                InMemoryCallLedger(),
                {"kind": "pointwise", "examples": True},
                known=known_to(workspace),
            )


def test_a_measurement_holds_only_for_its_model(judged: Workspace) -> None:
    """What helped a small model is shown to a large one that it harms."""
    with ScriptedLLM(helped) as server:
        workspace = with_llm(judged, server)
        example_trial.measure(workspace, k=2)
        other = replace(workspace, settings=workspace.settings.model_copy(update={"llm_model": "another"}))
        trial = example_trial.get_trial(other)
        assert trial is not None
        assert (trial.helps, trial.holds) == (True, False)
        assert measured_examples(other) is None


def test_an_example_is_never_of_a_question_that_measures(judged: Workspace) -> None:
    """The blind reviews themselves among the examples: the gain is the answer key."""
    with judged.sessions.read() as session:
        reviews = list_example_reviews(session, criterion=Criterion.RELEVANCE, limit=100)
        splits = session.scalars(
            sa.select(QueryCluster.split)
            .join(Query, Query.cluster_id == QueryCluster.id)
            .where(Query.id.in_({pair.query_id for pair in list_blind_pairs(session, criterion=Criterion.RELEVANCE)}))
        ).all()
        assert len(reviews) == 3
        assert set(splits) == {Split.CALIBRATE}
        assert {session.get_one(Review, id_).grade for id_ in reviews} == {3}
    with ScriptedLLM(helped) as server:
        example_trial.measure(with_llm(judged, server), k=3)
        shown = [request.user_message for request in server.requests if shows_examples(request)]
    for message in shown:
        before = message.split("Now the pair that is to be graded:")[0]
        assert not any(topic.question in before for topic in CALIBRATE)


def test_a_reply_that_cannot_be_read_is_wrong_on_either_side(judged: Workspace) -> None:
    """A judge that falls silent where it is unsure measures as better."""

    def mute(request: Request) -> Behaviour:
        return says("no idea") if shows_examples(request) else good(grade=truth_of(request))

    with ScriptedLLM(mute) as server:
        trial = example_trial.measure(with_llm(judged, server), k=2)
    assert (trial.accuracy_with, trial.accuracy_without, trial.helps) == (0.0, 1.0, False)


def test_what_a_measurement_calls_is_charged_to_a_job(judged: Workspace) -> None:
    """A measurement of 10,000 calls appears on no bill and stops at no cap."""
    with ScriptedLLM(helped) as server:
        example_trial.measure(with_llm(judged, server), k=2, cap_tokens=1_000_000)
    with judged.sessions.read() as session:
        jobs = session.scalars(sa.select(LabelJob).order_by(LabelJob.id)).all()
        assert [job.spec.get("kind") for job in jobs][-1] == "example-trial"
        assert (jobs[-1].token_cap, str(jobs[-1].status)) == (1_000_000, "done")


def test_too_few_blind_reviews_or_no_audit_measure_nothing(workspace: Workspace) -> None:
    """Two questions decide what a hundred thousand labels are made with."""
    add_corpus(workspace, topics=TRAIN)
    with ScriptedLLM(helped) as server:
        with pytest.raises(NothingToDo, match="calibrate"):
            example_trial.measure(with_llm(workspace, server))
        assert server.requests == []
    with pytest.raises(SettingsInvalid):
        example_trial.measure(workspace)


def test_query_likeness_is_bm25_over_the_queries() -> None:
    """Examples about anything: expected scores by hand with k1 = 1.5, b = 0.75."""
    scores = query_likeness("bake bread", ["bake bread", "bake cake slowly", "tax return"])
    idf_bake = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    idf_bread = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    norm = [1.5 * (0.25 + 0.75 * n / (7 / 3)) for n in (2, 3)]
    assert scores[0] == pytest.approx((idf_bake + idf_bread) * 2.5 / (1 + norm[0]))
    assert scores[1] == pytest.approx(idf_bake * 2.5 / (1 + norm[1]))
    assert scores[2] == 0.0
    assert query_likeness("x", []) == []
