"""The Lineage screen leads from a model to its labels and authors and back, and lets owners alone revoke."""

from __future__ import annotations

import hashlib

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import label_sets, labels, lineage
from db.enums import ModelStage, Role, RunStatus
from db.models import Certificate, Decision, LiveModel, ModelVersion, PairState, Person, SpotCheck, TrainingRun
from db.queries.suspending import scale_to_store


@pytest.fixture
def trained(small: Workspace) -> Workspace:
    """The small workspace with one reviewer's grade and a live model trained on what was curated then."""
    page = labels.list_labels(small)
    labels.overturn(small, pair_id=page.rows[1].pair_id, person="Bo", grade=2, note="")
    now = small.now()
    with small.sessions.begin() as session:
        label_set = label_sets.freeze(small, session, criterion=Criterion.RELEVANCE, person="Ada")
        base, tuned = (
            ModelVersion(
                hash=hashlib.sha256(name.encode()).hexdigest(),
                name=name,
                path=f"models/{name}",
                dim=8,
                stage=stage,
                created_at=now,
            )
            for name, stage in (("base", ModelStage.RETIRED), ("tuned", ModelStage.LIVE))
        )
        session.add(base)
        session.flush()
        tuned.base_id = base.id
        session.add(tuned)
        session.flush()
        session.add(LiveModel(id=1, model_version_id=tuned.id, changed_at=now))
        session.add(
            TrainingRun(
                workflow_id="train-1",
                label_set_id=label_set.id,
                base_model_id=base.id,
                model_version_id=tuned.id,
                status=RunStatus.DONE,
                stage="done",
                settings={"loss": "sum_marginal", "epochs": 2},
                report={},
                created_at=now,
            )
        )
    return small


def html_of(app) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def choose(screen, word: str):
    number = next(at for at, option in enumerate(screen.selectbox(key="lineage.author").options) if word in option)
    return screen.selectbox(key="lineage.author").set_value(number).run()


def button(screen, label: str):
    return next(one for one in screen.button if one.label == label)


def test_a_model_shows_its_chain_its_sources_its_authors_and_its_labels(app, trained: Workspace) -> None:
    """Whoever asks why a model does what it does gets no answer."""
    screen = app("lineage")
    shown = html_of(screen)
    for said in ("base", "4 labels on 3 questions", "accepted proposals", "people", "local · prompt 1", "Bo"):
        assert said in shown
    table = screen.dataframe[0].value
    assert len(table) == 4
    assert sorted(table["Author"]) == ["Bo", *["local (prompt 1)"] * 3]
    assert sorted(table["How"]) == ["proposal shown", *["uncertified"] * 3]
    screen.selectbox(key="lineage.by").set_value("Bo").run()
    assert list(screen.dataframe[0].value["Author"]) == ["Bo"]
    assert not screen.exception


def test_a_link_opens_one_pair_with_every_model_that_used_it(app, trained: Workspace) -> None:
    """A label found to be wrong cannot be followed to the model it spoilt."""
    page = lineage.list_labels(trained, label_set_id=1)
    screen = app("lineage")
    screen.query_params["pair"] = str(page.rows[0].pair_id)
    screen = screen.switch_page("screens/lineage.py").run()
    screen.button_group(key="lineage.start").set_value("A pair").run()
    assert not screen.exception
    assert "tuned (LIVE)" in html_of(screen)


def test_what_people_judge_blind_is_hidden_here_too(app, trained: Workspace) -> None:
    """A spot check would be answered by whoever read the accepted grade on the Lineage screen."""
    with trained.sessions.begin() as session:
        accepted = sa.select(PairState.pair_id).where(PairState.review_id.is_(None), PairState.curated_grade == 3)
        pair_id = session.scalar(accepted.limit(1))
        assert pair_id is not None
        _await_spot_check(session, pair_id, trained)
    screen = app("lineage")
    table = screen.dataframe[0].value
    hidden = table[table["How"] == "judged blind"]
    assert list(hidden["Grade"]) == ["hidden"]
    assert list(hidden["Author"]) == [""]
    screen.selectbox(key="lineage.source").set_value("accepted proposals").run()
    assert len(screen.dataframe[0].value) == 2, "being in a list narrowed to a source would tell"
    view = lineage.get_pair_lineage(trained, pair_id=pair_id)
    assert view.concealed
    assert [(use.label.grade, use.label.author, use.label.source) for use in view.uses] == [(None, None, None)]


def _await_spot_check(session, pair_id: int, workspace: Workspace) -> None:
    now = workspace.now()
    state = session.get_one(PairState, (pair_id, Criterion.RELEVANCE))
    before = session.get_one(Decision, state.decision_id)
    certificate = Certificate(
        batch_hash="b",
        judge_id=1,
        criterion=Criterion.RELEVANCE,
        relevant_class=True,
        epsilon=0.1,
        delta=0.05,
        n_audits=1,
        n_errors=0,
        threshold=0.9,
        coverage=1.0,
        details={"scale": scale_to_store(workspace.scale)},
        created_at=now,
    )
    session.add(certificate)
    session.flush()
    decision = Decision(
        pair_id=pair_id,
        criterion=Criterion.RELEVANCE,
        suggestion_id=before.suggestion_id,
        policy_id=before.policy_id,
        certificate_id=certificate.id,
        outcome=before.outcome,
        why="certified",
        created_at=now,
    )
    session.add(decision)
    session.flush()
    state.decision_id = decision.id
    session.add(SpotCheck(certificate_id=certificate.id, pair_id=pair_id, position=1, created_at=now))


def test_revoking_says_first_what_it_means_and_needs_a_reason(app, trained: Workspace) -> None:
    """A click by mistake would empty the training set without a word."""
    screen = app("lineage")
    screen.button_group(key="lineage.start").set_value("A judge or reviewer").run()
    choose(screen, "Judge: local")
    words = " ".join(element.value for element in screen.markdown)
    assert "3 labels would leave the next label set" in words.replace("\\", "")
    assert "The live model is one of them" in words.replace("\\", "")
    button(screen, "Revoke").click().run()
    assert any("Say why first" in one.value for one in screen.warning)
    assert not lineage.list_authors(trained)[0].revoked
    next(one for one in screen.text_input if one.label.startswith("Why")).set_value("it guesses")
    button(screen, "Revoke").click().run()
    assert not screen.exception
    assert any("revoked" in one.value for one in screen.success)
    assert "it guesses" in html_of(screen)
    screen.button_group(key="lineage.start").set_value("A model").run()
    assert any("3 labels" in one.value for one in screen.warning)
    assert lineage.count_revoked_of(trained, [2]) == {2: 3}


def test_only_an_owner_sees_the_form(app, trained: Workspace) -> None:
    """Anybody at the desk could take a colleague's work out of use."""
    with trained.sessions.begin() as session:
        session.add(Person(name="Lead", kind="reviewer", role=Role.OWNER, created_at=trained.now()))
    screen = app("lineage")
    screen.button_group(key="lineage.start").set_value("A judge or reviewer").run()
    choose(screen, "Reviewer: Bo")
    assert not [one for one in screen.button if one.label == "Revoke"]
    assert any("Only an owner" in one.value for one in screen.info)


def test_an_empty_workspace_says_what_comes_first(app, empty: Workspace) -> None:
    """A newcomer who opens the screen finds an error."""
    screen = app("lineage")
    assert not screen.exception
    assert "No model yet" in html_of(screen)
