"""The retriever's tier with the real model: proposed, certified, kept from the LLM, and suspended with its model."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from annotator.errors import CalibrationImpossible
from annotator.types import JudgeKind
from app.bootstrap import Workspace
from app.services import certifying, labelling, routing, self_labelling
from app.services.importing import NewJudgement, NewQuery, import_judgements, import_passages, import_queries
from builders import TOPICS, add_candidates, audit, passage_ids, query_id, scripted_judge, truth
from db.enums import LabelSource, Outcome, Split
from db.models import Decision, JudgeRow, LabelJob, PairState, Suggestion
from db.queries.self_labels import suspend_self_labels

N_CALIBRATE = 8
CALIBRATE, TRAIN = TOPICS[:N_CALIBRATE], TOPICS[N_CALIBRATE:]


def prepared(workspace: Workspace, *, judged: int = N_CALIBRATE) -> Workspace:
    """Eight calibrate questions, twelve train questions, candidates of all, and blind grades of the first so many."""
    rows = [
        (passage, topic.name, text)
        for topic in TOPICS
        for passage, text in zip(passage_ids(topic), (topic.answer, topic.partly, topic.related), strict=True)
    ]
    import_passages(workspace, rows, source_name="everyday")
    queries = [
        NewQuery(query_id(topic), topic.question, Split.CALIBRATE if topic in CALIBRATE else Split.TRAIN)
        for topic in TOPICS
    ]
    import_queries(workspace, queries, source_name="everyday")
    add_candidates(workspace)
    import_judgements(
        workspace,
        [
            NewJudgement(query_id(topic), passage, truth(query_id(topic), passage))
            for number, topic in enumerate(TOPICS[:judged])
            for near in (topic, TOPICS[number + 1], TOPICS[number + 2])
            for passage in passage_ids(near)
        ],
        source_name="everyday",
        person="Grace",
        max_grade=3,
    )
    return workspace


def states(workspace: Workspace) -> dict[int, PairState]:
    with workspace.sessions.read() as session:
        return {state.pair_id: state for state in session.scalars(sa.select(PairState))}


def certified(workspace: Workspace, judge_id: int) -> int:
    """Freezes the judge's batch, audits the sample truthfully and issues; returns how many pairs are accepted."""
    batch = certifying.freeze(workspace, judge_id=judge_id, n=36, person="Ada", epsilon=0.35, delta=0.2, seed=3)
    assert audit(workspace, person="Ada", at_most=batch.n_audits) == batch.n_audits
    return certifying.issue(workspace, batch_id=batch.id).accepted


def test_the_retriever_labels_what_it_is_certified_for_and_the_llm_only_the_rest(any_workspace: Workspace) -> None:
    """A tier whose labels are bought a second time saves nothing; one that labels without a certificate is a guess."""
    workspace = prepared(any_workspace)
    report = self_labelling.self_label(workspace)
    assert report.proposed == len(TRAIN) * 6
    assert (report.fitted_queries, report.failed, report.reused) == (N_CALIBRATE, 0, False)
    with workspace.sessions.read() as session:
        judge = session.get_one(JudgeRow, report.judge_id)
        grades = set(session.scalars(sa.select(Suggestion.grade).where(Suggestion.judge_id == judge.id)))
    assert judge.kind is JudgeKind.RETRIEVER
    assert grades == {0, 3}  # the ends of the scale, never a middle grade

    routing.route(workspace)
    assert all(state.curated_source in (None, LabelSource.HUMAN) for state in states(workspace).values())

    accepted = certified(workspace, report.judge_id)
    assert accepted > 0
    own = {pair_id for pair_id, state in states(workspace).items() if state.curated_source is LabelSource.SELF}
    assert len(own) == accepted

    judge_of_the_rest = scripted_judge(workspace)
    labelling.label(workspace, judge_of_the_rest)
    asked = {request.pair_id for request in judge_of_the_rest.asked}
    assert not asked & own
    tiers = self_labelling.get_tiers(workspace)
    assert (tiers.retriever, tiers.calls_saved) == (accepted, accepted)
    assert tiers.people == 36
    assert tiers.total == len(TRAIN) * 6
    assert tiers.human_cost == 36 + report.fitted_on
    assert any("costs more than it saves" in warning for warning in tiers.warnings)


def test_another_live_model_suspends_what_the_one_before_certified(any_workspace: Workspace) -> None:
    """A certificate whose features are gone would go on vouching for labels that nobody could check."""
    workspace = prepared(any_workspace)
    accepted = certified(workspace, self_labelling.self_label(workspace).judge_id)
    with workspace.sessions.begin() as session:
        assert suspend_self_labels(session, reason="another model went live", now=workspace.now()) == accepted
    left = states(workspace).values()
    assert not any(state.curated_source is LabelSource.SELF for state in left)
    with workspace.sessions.read() as session:
        whys = set(session.scalars(sa.select(Decision.why).where(Decision.outcome == Outcome.REJECTED)))
    assert any("another model went live" in why for why in whys)
    assert self_labelling.get_tiers(workspace).calls_saved == 0


def test_a_second_run_proposes_nothing_new_and_uses_the_stored_classifier(workspace: Workspace) -> None:
    """Fitted anew with every run, each run would suspend the certificates of the one before."""
    prepared(workspace)
    first = self_labelling.self_label(workspace)
    second = self_labelling.self_label(workspace)
    assert (second.judge_id, second.proposed, second.reused) == (first.judge_id, 0, True)
    third = self_labelling.self_label(workspace, refit=True)
    assert (third.judge_id, third.proposed) == (first.judge_id, 0)  # the same grades give the same classifier


def test_the_retriever_never_replaces_what_an_llm_said(workspace: Workspace) -> None:
    """An LLM's label that was paid for would be lost to one that cost nothing."""
    prepared(workspace)
    labelling.label(workspace, scripted_judge(workspace))
    assert self_labelling.self_label(workspace).proposed == 0


def test_what_an_llm_said_while_the_retriever_computed_stays(workspace: Workspace) -> None:
    """Between reading a chunk and writing it a job of the LLM may pass; its labels must not be overwritten."""
    prepared(workspace)
    stored: list[int] = []

    def label_first() -> bool:
        """Asked between two chunks: here the LLM comes first for all pairs but those of the chunk under way."""
        if not stored:
            stored.append(labelling.label(workspace, scripted_judge(workspace)).proposed)
        return False

    assert self_labelling.self_label(workspace, should_cancel=label_first).proposed == 0
    assert stored[0] >= len(TRAIN) * 6


def test_with_too_few_blind_grades_it_says_what_is_missing(workspace: Workspace) -> None:
    """Fitted on three relevant pairs, the classifier would label by chance."""
    prepared(workspace, judged=2)
    with pytest.raises(CalibrationImpossible) as refused:
        self_labelling.self_label(workspace)
    assert "10 of each are needed" in refused.value.user_message
    with workspace.sessions.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(LabelJob)) == 0
