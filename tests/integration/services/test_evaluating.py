"""Two real models compared: slices, the regression set, what to judge first, and who may override the gate.

The live model is the built-in one with its word vectors spoilt; the candidate is the built-in one, so it is better.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace, open_with
from app.config import Settings, settings_from
from app.errors import Conflict, InputInvalid, NotAllowed, NothingToDo
from app.services import evaluating, judging_first, promotion, regression, reviewing
from app.services.evaluation_views import evaluation_view, list_query_rows, query_rows_csv
from app.services.importing import NewJudgement, NewQuery, import_judgements, import_passages, import_queries
from app.services.indexing import ensure_live_model, register_model
from app.services.views import EvaluationView
from builders import TOPICS, add_corpus, add_model, judge_held_out, passage_ids, query_id, truth
from db.enums import LabelSource, ModelStage, PersonKind, PromotionCause, Role, Split
from db.models import (
    Candidate,
    Evaluation,
    JudgeFirst,
    LabelSet,
    LabelSetItem,
    Pair,
    Passage,
    Person,
    Query,
    TrainingRun,
)
from db.queries.training import label_sets_of, list_trained_positives

HELD_OUT = TOPICS[12:]
QUICK = {"max_length": 32, "person": "Ada"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A workspace with a weak live model and a good candidate, both indexed and compared once; at rest."""
    import torch
    from safetensors.torch import load_file, save_file

    from retriever.model_store import default_model_path

    root = tmp_path_factory.mktemp("compared")
    weak = root / "weak"
    shutil.copytree(default_model_path(), weak)
    weights = load_file(weak / "model.safetensors")
    words = weights["embeddings.word_embeddings.weight"]
    noise = torch.randn(words.shape, generator=torch.Generator().manual_seed(1))
    weights["embeddings.word_embeddings.weight"] = words + 4 * words.std() * noise
    save_file(weights, weak / "model.safetensors", metadata={"format": "pt"})
    workspace = open_with(settings_from(root / "w", {**QUICK, "model": str(weak)}))
    add_corpus(workspace)
    judge_held_out(workspace)
    live = ensure_live_model(workspace)
    staging = workspace.settings.models / ".candidate"
    shutil.copytree(default_model_path(), staging)
    register_model(workspace, staging=staging, name="candidate", base_id=live.id, dim=384, stage=ModelStage.CANDIDATE)
    regression.add_check(workspace, query="q-rice", passage_id="rice-answer", person="Ada", note="asked every day")
    regression.add_check(workspace, query=TOPICS[0].question, passage_id="noise-answer", deepest_rank=1, person="Ada")
    evaluating.evaluate_model(workspace, model_id=candidate_id(workspace))
    workspace.close()
    return workspace.settings


@pytest.fixture
def compared(models: Settings, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of the workspace to change; models and indexes are shared."""
    folder = tmp_path / "copy"
    folder.mkdir()
    shutil.copy(models.workspace / "relabel.sqlite", folder)
    for name in ("models", "indexes"):
        shutil.copytree(models.workspace / name, folder / name, copy_function=os.link)
    workspace = open_with(settings_from(folder, QUICK))
    yield workspace
    workspace.close()


def candidate_id(workspace: Workspace) -> int:
    return promotion.list_models(workspace)[0].id


def newest(workspace: Workspace) -> EvaluationView:
    with workspace.sessions.read() as session:
        row = session.scalars(sa.select(Evaluation).order_by(Evaluation.id.desc()).limit(1)).one()
        return evaluation_view(session, row)


def pass_gate(workspace: Workspace) -> None:
    """A copy of the newest comparison whose gate passed: eight questions are too few for a real pass."""
    with workspace.sessions.begin() as session:
        old = session.scalars(sa.select(Evaluation).order_by(Evaluation.id.desc()).limit(1)).one()
        values = {column.key: getattr(old, column.key) for column in sa.inspect(Evaluation).column_attrs}
        session.add(Evaluation(**{**values, "id": None, "gate_passed": True}))


def test_the_better_model_is_shown_better_with_every_slice_that_has_queries(compared: Workspace) -> None:
    """A comparison the wrong way round promotes the worse model."""
    found = newest(compared)
    (overall,) = [d for d in found.differences if (d.slice, d.measure) == ("all", "nDCG@10")]
    assert (found.model, found.look, found.n_queries) == ("candidate", 1, 8)
    assert overall.mean > 0.2
    assert overall.candidate is not None
    assert overall.baseline is not None
    assert overall.candidate - overall.baseline == pytest.approx(overall.mean)
    sizes = {d.slice: d.n_queries for d in found.differences if d.measure == "nDCG@10"}
    # By hand: "how much water does rice need" has 6 words, none under 5 or over 9; each has 2 relevant passages.
    words = [len(topic.question.split()) for topic in HELD_OUT]
    assert min(words) >= 5
    assert max(words) < 10
    assert sizes == {
        "all": 8,
        "unseen": 8,
        "5 to 9 words": 8,
        "2 to 4 relevant passages": 8,
        "0 training labels": 8,
    }


def test_the_regression_set_checks_both_models_on_questions_of_any_split(compared: Workspace) -> None:
    """The answer a customer complained about disappears again, and a check that never held blocks every candidate."""
    first, second = newest(compared).checks
    assert (first.query, first.passage_id, first.candidate) == (TOPICS[12].question, "rice-answer", 1)
    assert second.query == TOPICS[0].question  # a train question: it is searched though nobody judged it
    assert second.candidate != 1
    reasons = newest(compared).gate_reasons
    assert any("1 of 2 regression checks fail with both models, which does not block" in reason for reason in reasons)


def test_a_check_that_only_the_live_model_holds_blocks_the_gate(compared: Workspace) -> None:
    """The one question that must not break breaks, and the mean hides it."""
    rows = {
        "holds": {"candidate": 1, "baseline": 9, "deepest_rank": 3, "query": "a", "title": "", "passage_id": "p"},
        "broken": {"candidate": 4, "baseline": 3, "deepest_rank": 3, "query": "b", "title": "t", "passage_id": "p"},
        "gone": {"candidate": None, "baseline": 2, "deepest_rank": 3, "query": "c", "title": "", "passage_id": "p"},
        "never": {"candidate": None, "baseline": None, "deepest_rank": 3, "query": "d", "title": "", "passage_id": "p"},
    }
    outcome = regression.outcome_of(list(rows.values()))
    assert outcome.n_checks == 4
    assert outcome.broken == (
        '"t" for "b" is at rank 4, not within 3',
        '"p" for "c" is not among the first 100, not within 3',
    )
    assert len(outcome.failing_before) == 1


def test_a_check_pinned_after_the_comparison_makes_its_pass_lapse(compared: Workspace) -> None:
    """Somebody pins what must hold, and the next click promotes a model that was never checked for it."""
    pass_gate(compared)
    pinned = regression.add_check(compared, query="q-egg", passage_id="egg-answer", person="Ada")
    with pytest.raises(NotAllowed) as refused:
        promotion.promote(compared, model_id=candidate_id(compared), person="Ada")
    assert "1 regression check was pinned after" in refused.value.user_message
    regression.retire_check(compared, check_id=pinned.id, person="Ada")
    promotion.promote(compared, model_id=candidate_id(compared), person="Ada")
    assert promotion.list_promotions(compared)[0].cause is PromotionCause.GATE


def test_what_cannot_be_pinned_is_refused_in_words(compared: Workspace) -> None:
    """A typing error pins nothing, and the gate says that the set holds."""
    for query, passage, within in (("q-nobody", "rice-answer", 10), ("q-rice", "nothing", 10), ("q-rice", "a", 0)):
        with pytest.raises(InputInvalid):
            regression.add_check(compared, query=query, passage_id=passage, deepest_rank=within, person="Ada")
    with pytest.raises(Conflict, match="already"):
        regression.add_check(compared, query="q-rice", passage_id="rice-answer", deepest_rank=3, person="Grace")


def test_a_check_is_retired_by_who_pinned_it_or_an_owner_and_stays_on_record(compared: Workspace) -> None:
    """Whoever wants a model promoted retires the check that stands in its way."""
    with pytest.raises(NotAllowed):
        regression.retire_check(compared, check_id=1, person="Grace")
    mine = regression.add_check(compared, query="q-egg", passage_id="egg-answer", person="Grace")
    regression.retire_check(compared, check_id=mine.id, person="Grace")
    regression.retire_check(compared, check_id=1, person="Ada")  # the workspace's own person
    assert [check.id for check in regression.list_checks(compared)] == [2]
    kept = regression.list_checks(compared, with_retired=True)
    assert [(check.id, check.retired_at is None) for check in kept] == [(1, False), (2, True), (mine.id, False)]
    with pytest.raises(NothingToDo):
        regression.retire_check(compared, check_id=1, person="Ada")


def test_what_nobody_judged_in_either_top_is_served_first_and_blind_and_leaves_when_graded(
    compared: Workspace,
) -> None:
    """The candidate's finds count as unrelated for ever because nobody is ever asked."""
    found = newest(compared)
    rows = list_query_rows(compared, evaluation_id=found.id)
    view = judging_first.get_judge_first(compared, evaluation_id=found.id)
    assert (view.asked, view.waiting, view.next_look) == (0, 0, 2)
    # Three of sixty passages are judged for each question: at least seven of ten are not, in either top.
    assert view.unjudged >= sum(round(10 * max(row.live_unjudged or 0, row.candidate_unjudged or 0)) for row in rows)
    before = reviewing.get_progress(compared, person="Ada").waiting
    put = judging_first.judge_first(compared, evaluation_id=found.id)
    assert put == view.unjudged
    assert reviewing.get_progress(compared, person="Ada").waiting == before + put
    assert judging_first.judge_first(compared, evaluation_id=found.id) == put  # asked twice, nothing twice
    ranks = []
    for number in range(3):
        card = reviewing.claim(compared, person="Ada")
        assert card is not None
        assert card.queue_reason == "in the top 10 of a model that is compared, judged by nobody"
        assert card.pair.concealed
        assert card.pair.split is Split.HELD_OUT
        with compared.sessions.read() as session:
            assert session.get(Candidate, card.pair.pair_id) is not None
            ranks.append(session.scalars(sa.select(JudgeFirst.rank).filter_by(pair_id=card.pair.pair_id)).one())
        reviewing.grade(compared, card=card.card, person="Ada", grade=truth(card.pair.query_id, card.pair.passage_id))
        asked = judging_first.get_judge_first(compared, evaluation_id=found.id)
        assert (asked.asked, asked.waiting) == (put, put - number - 1)
    assert ranks == sorted(ranks)
    reviewing.undo(compared, person="Ada")
    assert judging_first.get_judge_first(compared, evaluation_id=found.id).waiting == put - 2


def test_comparing_again_after_judging_first_counts_as_another_look(compared: Workspace) -> None:
    """Judged until it passes: each try is free, and the gate believes the luckiest."""
    first = newest(compared)
    judging_first.judge_first(compared, evaluation_id=first.id)
    everything = [
        NewJudgement(query_id(topic), passage, truth(query_id(topic), passage))
        for topic in HELD_OUT
        for other in TOPICS
        for passage in passage_ids(other)
    ]
    import_judgements(compared, everything, source_name="all", person="Ada", max_grade=3)
    assert judging_first.get_judge_first(compared, evaluation_id=first.id).waiting == 0
    again = evaluating.evaluate_model(compared, model_id=candidate_id(compared))
    assert (first.look, again.look) == (1, 2)
    assert (again.unjudged_at_10, again.baseline_unjudged_at_10, again.n_to_judge) == (0.0, 0.0, 0)
    with pytest.raises(NothingToDo):
        judging_first.judge_first(compared, evaluation_id=again.id)


def test_every_query_is_listed_with_both_figures_and_written_safely(compared: Workspace) -> None:
    """Ten questions of fifteen hundred are shown, and a question that begins with = runs in somebody's spreadsheet."""
    rows = list_query_rows(compared, evaluation_id=newest(compared).id)
    assert len(rows) == 8
    assert [row.difference for row in rows] == sorted(row.difference or 0.0 for row in rows)
    assert {row.n_relevant for row in rows} == {2}
    assert {row.seen for row in rows} == {False}
    rice = next(row for row in rows if row.query_id == "q-rice")
    assert rice.live is not None
    assert rice.difference == pytest.approx(rice.candidate - rice.live)
    text = query_rows_csv([replace(rice, text='=cmd|"a",b\n')])
    (line,) = list(csv.DictReader(io.StringIO(text)))
    assert line["text"] == '\'=cmd|"a",b\n'
    assert float(line["candidate"]) == rice.candidate
    assert line["seen"] == "unseen"


def test_an_override_is_an_owners_and_a_reviewer_hears_so(compared: Workspace) -> None:
    """A reviewer who is tired of the gate puts a worse model before every user."""
    model = candidate_id(compared)
    with pytest.raises(NotAllowed) as refused:
        promotion.promote(compared, model_id=model, person="Grace", override_reason="I like it")
    assert refused.value.user_message == "Only an owner of the workspace may promote a model against the gate."
    with compared.sessions.begin() as session:
        now = compared.now()
        session.add(Person(name="Olga", kind=PersonKind.REVIEWER, role=Role.OWNER, created_at=now))
    with pytest.raises(NotAllowed):  # once somebody is an owner, the workspace's own person is one no more
        promotion.promote(compared, model_id=model, person="Ada", override_reason="I like it")
    promotion.promote(compared, model_id=model, person="Olga", override_reason="agreed with the team")
    assert promotion.list_promotions(compared)[0].cause is PromotionCause.OVERRIDE


def trained_on(workspace: Workspace, model_id: int, *, passage: str) -> int:
    """As if a run had made the model of one label: that passage, relevant to a train question; the label set's id."""
    now = workspace.now()
    with workspace.sessions.begin() as session:
        pair = Pair(
            query_id=session.scalars(sa.select(Query.id).where(Query.external_id == "q-bread")).one(),
            passage_id=session.scalars(sa.select(Passage.id).where(Passage.external_id == passage)).one(),
        )
        label_set = LabelSet(hash="b" * 64, criterion="relevance", n_labels=1, n_queries=1, counts={}, created_at=now)
        session.add_all([pair, label_set])
        session.flush()
        item = {"pair_id": pair.id, "grade": 3.0, "weight": 1.0, "source": LabelSource.HUMAN}
        session.add(LabelSetItem(label_set_id=label_set.id, **item))
        session.add(
            TrainingRun(
                workflow_id="made",
                label_set_id=label_set.id,
                base_model_id=promotion.list_models(workspace)[-1].id,
                model_version_id=model_id,
                status="done",
                stage="done",
                settings={},
                report={},
                created_at=now,
            )
        )
        return label_set.id


def test_a_live_model_by_itself_is_measured_on_seen_and_unseen_questions_apart(compared: Workspace) -> None:
    """A figure that is high because half of its questions were trained on."""
    model, topic = candidate_id(compared), HELD_OUT[0]
    trained_on(compared, model, passage=passage_ids(topic)[0])
    promotion.promote(compared, model_id=model, person="Ada", override_reason="a try")
    found = evaluating.evaluate_model(compared, model_id=model)
    assert found.baseline is None
    values = {measure.name: (measure.value, measure.n_queries) for measure in found.measures}
    assert (values["nDCG@10, seen"][1], values["nDCG@10, unseen"][1]) == (1, 7)
    mixed = (values["nDCG@10, seen"][0] + 7 * values["nDCG@10, unseen"][0]) / 8
    assert mixed == pytest.approx(values["nDCG@10"][0])


def more_held_out(workspace: Workspace) -> None:
    """Forty more held-out questions, each in the words of a passage that answers it; judged."""
    rows = [
        (f"q-{topic.name}-{number}", words, passage)
        for topic in TOPICS
        for number, (words, passage) in enumerate(
            [(topic.answer, passage_ids(topic)[0]), (topic.partly, passage_ids(topic)[1])]
        )
    ]
    import_queries(
        workspace, [NewQuery(key, f"is it so: {words}", Split.HELD_OUT) for key, words, _ in rows], source_name="forty"
    )
    judged = [NewJudgement(key, passage, 3) for key, _, passage in rows]
    import_judgements(workspace, judged, source_name="forty", person="Grace", max_grade=3)


def test_a_candidate_that_passes_goes_live_by_the_gate_as_the_settings_have_it(compared: Workspace) -> None:
    """Settings of the gate that nothing reads, or a pass that only an owner's word can use."""
    more_held_out(compared)
    model = candidate_id(compared)
    found = evaluating.evaluate_model(compared, model_id=model)
    assert found.n_queries == 48
    assert found.gate_passed, found.gate_reasons
    live = next(one.id for one in promotion.list_models(compared) if one.id != model)
    promotion.promote(compared, model_id=model, person="Ada")
    assert promotion.list_promotions(compared)[0].cause is PromotionCause.GATE
    worse = evaluating.evaluate_model(compared, model_id=live)
    assert worse.gate_passed is False
    with pytest.raises(NotAllowed):
        promotion.promote(compared, model_id=live, person="Ada")
    lost = -next(d for d in worse.differences if (d.slice, d.measure) == ("all", "nDCG@10")).low
    compared.close()
    lenient = {**QUICK, "gate_rule": "not-worse", "gate_margin": min(1.0, 2 * lost)}
    wide = open_with(settings_from(compared.settings.workspace, lenient))
    assert evaluating.evaluate_model(wide, model_id=live).gate_passed
    wide.close()


def test_a_passage_of_the_same_text_is_as_good_as_trained_on(compared: Workspace) -> None:
    """A copy under another id makes a leaked question count as an unseen one."""
    label_set_id = trained_on(compared, candidate_id(compared), passage="rice-answer")
    with compared.sessions.read() as session:
        rice = session.scalars(sa.select(Passage).where(Passage.external_id == "rice-answer")).one()
        found = list_trained_positives(session, label_set_ids=[label_set_id], relevant_from=2)
        assert found == {"rice-answer"}
    import_passages(compared, [("copy", rice.title, rice.text), ("other", "", "Not that.")], source_name="x")
    with compared.sessions.read() as session:
        found = list_trained_positives(session, label_set_ids=[label_set_id], relevant_from=2)
    assert found == {"rice-answer", "copy"}


def test_what_the_base_or_the_encoder_was_trained_on_is_seen(workspace: Workspace) -> None:
    """A second round on other labels calls what the first one learnt unseen, and leakage passes for a gain."""
    add_corpus(workspace)
    base = add_model(workspace, "base")
    round_one = add_model(workspace, "one", base_id=base)
    round_two = add_model(workspace, "two", base_id=round_one)
    now = workspace.now()
    with workspace.sessions.begin() as session:
        query, passage = session.scalars(sa.select(Query)).first(), session.scalars(sa.select(Passage)).first()
        assert query is not None
        assert passage is not None
        pair = Pair(query_id=query.id, passage_id=passage.id)
        session.add(pair)
        session.flush()
        made = []
        for number, model_id in enumerate((round_one, round_one, round_two)):
            label_set = LabelSet(
                hash=f"{number:064d}", criterion="relevance", n_labels=1, n_queries=1, counts={}, created_at=now
            )
            session.add(label_set)
            session.flush()
            session.add(
                LabelSetItem(
                    label_set_id=label_set.id, pair_id=pair.id, grade=3.0, weight=1.0, source=LabelSource.HUMAN
                )
            )
            session.add(
                TrainingRun(
                    workflow_id=f"w{number}",
                    label_set_id=label_set.id,
                    base_model_id=base,
                    model_version_id=model_id,
                    status="done",
                    stage="done",
                    settings={},
                    report={},
                    created_at=now,
                )
            )
            made.append(label_set.id)
        session.flush()
        assert label_sets_of(session, [base]) == []
        assert label_sets_of(session, [round_one]) == made[:2]  # trained twice to the same weights: both sets
        assert label_sets_of(session, [round_two]) == made
