"""When a pass of the gate counts no more: another criterion, revoked judgements, another corpus."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import NotAllowed, NothingToDo
from app.services import evaluating, promotion, revoking, round_figures, runs
from app.services.importing import NewJudgement, import_judgements, import_passages
from app.services.lineage_views import Author, AuthorKind
from app.services.search import search
from builders import N_TRAIN, TOPICS, passage_ids, query_id, truth
from db.enums import PromotionCause, Split
from db.models import Evaluation, LabelSet, Person, TrainingRun
from db.queries.registry import get_model_or_raise
from retriever.dense_index import DenseIndex
from retriever.types import Hit
from trained import Trained


def pass_gate(workspace: Workspace) -> None:
    """A copy of the newest comparison whose gate passed: eight questions are too few for a real pass."""
    with workspace.sessions.begin() as session:
        old = session.scalars(sa.select(Evaluation).order_by(Evaluation.id.desc()).limit(1)).one()
        values = {column.key: getattr(old, column.key) for column in sa.inspect(Evaluation).column_attrs}
        session.add(Evaluation(**{**values, "id": None, "gate_passed": True}))


def judge(workspace: Workspace, person: str, *, held_out: bool = True, criterion: Criterion) -> Author:
    """Whatever that person judged of every third passage, as an author who can be revoked."""
    topics = TOPICS[N_TRAIN:] if held_out else TOPICS[:N_TRAIN]
    rows = [NewJudgement(query_id(t), passage_ids(t)[0], truth(query_id(t), passage_ids(t)[0])) for t in topics]
    import_judgements(workspace, rows, source_name=person, person=person, max_grade=3, criterion=criterion)
    return author(workspace, person)


def author(workspace: Workspace, person: str) -> Author:
    with workspace.sessions.read() as session:
        found = session.scalars(sa.select(Person.id).where(Person.name == person)).one()
    return Author(AuthorKind.PERSON, person, (found,), ())


def made_of_utility_labels(workspace: Workspace, model_id: int) -> None:
    """As if the newest run that made the model had trained it on labels of utility."""
    with workspace.sessions.begin() as session:
        now, base = workspace.now(), session.scalars(sa.select(TrainingRun.base_model_id)).first()
        labels = LabelSet(hash="u" * 64, criterion="utility", n_labels=1, n_queries=1, counts={}, created_at=now)
        session.add(labels)
        session.flush()
        session.add(
            TrainingRun(
                workflow_id="utility",
                label_set_id=labels.id,
                base_model_id=base,
                model_version_id=model_id,
                status="done",
                stage="done",
                settings={},
                report={},
                created_at=now,
            )
        )


def refusal(workspace: Workspace, model_id: int) -> str:
    with pytest.raises(NotAllowed) as refused:
        promotion.promote(workspace, model_id=model_id, person="Ada")
    assert promotion.get_refusal(workspace, model_id=model_id) in refused.value.user_message
    return refused.value.user_message


def promoted(workspace: Workspace, model_id: int) -> bool:
    """Whether the model goes live by the gate."""
    assert promotion.get_refusal(workspace, model_id=model_id) == ""
    promotion.promote(workspace, model_id=model_id, person="Ada")
    return promotion.list_promotions(workspace)[0].cause is PromotionCause.GATE


def test_a_model_of_utility_labels_goes_live_by_its_figures_on_utility_alone(
    after: Workspace, trained: Trained
) -> None:
    """What failed on utility is measured on relevance instead, with looks of its own, passes and goes live."""
    made_of_utility_labels(after, trained.model_id)
    pass_gate(after)  # on relevance
    assert "never compared on what people judged of utility" in refusal(after, trained.model_id)
    with pytest.raises(NothingToDo):  # measured on utility unless told otherwise, and nobody judged that
        evaluating.evaluate_model(after, model_id=trained.model_id)
    judge(after, "Hedy", criterion=Criterion.UTILITY)
    found = evaluating.evaluate_model(after, model_id=trained.model_id)
    assert (found.criterion, found.look, found.n_judgements) == (Criterion.UTILITY, 1, 8)
    other = evaluating.evaluate_model(after, model_id=trained.model_id, criterion=Criterion.RELEVANCE)
    assert (other.criterion, other.n_judgements) == (Criterion.RELEVANCE, 24)
    pass_gate(after)  # on relevance again, and newer than what was found on utility
    assert refusal(after, trained.model_id).startswith("The gate did not pass: ")
    view = next(model for model in promotion.list_models(after) if model.id == trained.model_id)
    assert view.evaluation is not None
    assert view.evaluation.id == found.id


def test_a_pass_on_judgements_that_were_revoked_since_lapses(after: Workspace, trained: Trained) -> None:
    """Half of the held-out grades turn out to be a bot's, are revoked, and the model they favoured goes live."""
    bystander = judge(after, "Ruth", held_out=False, criterion=Criterion.RELEVANCE)
    other = judge(after, "Hedy", criterion=Criterion.UTILITY)
    pass_gate(after)
    for one in (bystander, other):  # neither is behind what was measured
        revoking.revoke(after, author=one, reason="left", person="Ada")
    assert promotion.get_refusal(after, model_id=trained.model_id) == ""
    behind = author(after, "Grace")
    revoking.revoke(after, author=behind, reason="a bot", person="Ada")
    assert refusal(after, trained.model_id).startswith("Grace, who judged held-out questions, was revoked after")
    revoking.restore(after, author=behind, reason="it was not", person="Ada")
    assert promoted(after, trained.model_id), "the judgements are those that were measured"


def test_a_pass_from_while_somebody_was_revoked_lapses_when_they_are_given_back(
    after: Workspace, trained: Trained
) -> None:
    """The judgements that would have failed the model are back, and nobody asks them."""
    judge(after, "Hedy", criterion=Criterion.RELEVANCE)
    behind = author(after, "Grace")
    revoking.revoke(after, author=behind, reason="a bot", person="Ada")
    evaluating.evaluate_model(after, model_id=trained.model_id)
    pass_gate(after)
    assert promotion.get_refusal(after, model_id=trained.model_id) == ""
    revoking.restore(after, author=behind, reason="it was not", person="Ada")
    assert "Grace, who judged held-out questions, was given back after" in refusal(after, trained.model_id)


def test_a_revocation_while_the_models_were_searching_makes_the_pass_lapse_too(
    after: Workspace, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judgements are read, then two models search for minutes, and what was revoked meanwhile looks older."""
    find = evaluating.open_together
    told = []

    def revoked_meanwhile(*args: object, **options: object) -> object:
        if not told:
            told.append(revoking.revoke(after, author=author(after, "Grace"), reason="a bot", person="Ada"))
        return find(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluating, "open_together", revoked_meanwhile)
    evaluating.evaluate_model(after, model_id=trained.model_id)
    pass_gate(after)
    assert refusal(after, trained.model_id).startswith("Grace, ")


def test_a_pass_over_another_corpus_lapses(after: Workspace, trained: Trained) -> None:
    """A thousand new passages come in, and what was measured without them decides what finds them."""
    pass_gate(after)
    import_passages(after, [("new", "", "Snow is white.")], source_name="more")
    assert "passages changed" in refusal(after, trained.model_id)
    evaluating.evaluate_model(after, model_id=trained.model_id)
    pass_gate(after)
    assert promoted(after, trained.model_id)


def test_an_evaluation_from_before_the_corpus_was_kept_still_counts(after: Workspace, trained: Trained) -> None:
    """An update of the program takes every pass away, or falls over what it does not find."""
    with after.sessions.begin() as session:
        old = session.scalars(sa.select(Evaluation)).one()
        values = {c.key: getattr(old, c.key) for c in sa.inspect(Evaluation).column_attrs if c.key != "id"}
        comparison = {name: value for name, value in old.comparison.items() if name != "rests_on"}
        session.add(Evaluation(**{**values, "gate_passed": True, "comparison": comparison}))
    revoking.revoke(after, author=author(after, "Grace"), reason="a bot", person="Ada")
    assert "was revoked after" in refusal(after, trained.model_id)
    revoking.restore(after, author=author(after, "Grace"), reason="it was not", person="Ada")
    assert promoted(after, trained.model_id)


def test_models_are_compared_by_exact_search_and_users_are_served_as_fast_as_the_index_can(
    after: Workspace, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two approximate indexes miss other passages, and the gate takes their luck for a gain."""
    how: list[bool] = []
    real = DenseIndex.search

    def listening(index: DenseIndex, vectors: NDArray[np.float32], k: int, *, exact: bool = False) -> list[list[Hit]]:
        how.append(exact)
        return real(index, vectors, k, exact=exact)

    monkeypatch.setattr(DenseIndex, "search", listening)
    evaluating.evaluate_model(after, model_id=trained.model_id)
    with after.sessions.read() as session:
        model = get_model_or_raise(session, trained.model_id)
    round_figures.measure(after, {"new": model}, criterion=Criterion.RELEVANCE)
    assert how == [True, True, True]
    search(after, question="red wine on a carpet", k=3)
    assert set(how[3:]) == {False}


def test_the_split_and_the_run_of_a_finished_training_are_those_that_the_gate_reads(
    after: Workspace, trained: Trained
) -> None:
    """A good figure on train questions opens the gate."""
    run = runs.get_run(after, run_id=trained.run_id)
    assert run.evaluation is not None
    assert (run.evaluation.split, run.evaluation.criterion) == (Split.HELD_OUT, Criterion.RELEVANCE)
    evaluating.evaluate_model(after, model_id=trained.model_id, split=Split.HELD_OUT)
    with after.sessions.begin() as session:
        old = session.scalars(sa.select(Evaluation).order_by(Evaluation.id.desc()).limit(1)).one()
        values = {c.key: getattr(old, c.key) for c in sa.inspect(Evaluation).column_attrs if c.key != "id"}
        session.add(Evaluation(**{**values, "split": Split.CALIBRATE, "gate_passed": True}))
    assert refusal(after, trained.model_id).startswith("The gate did not pass: ")
