"""Hybrid search of a small corpus with the real model: fitted on judged questions, kept, used, on screen too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import streamlit as st
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from annotator.types import Criterion
from app.bootstrap import Workspace, open_with
from app.cli import cli
from app.config import settings_from
from app.errors import InputInvalid, NothingToDo
from app.services import hybrid, promotion, search
from app.services.importing import NewJudgement, NewQuery, import_judgements, import_queries
from app.services.indexing import ensure_dense_index, ensure_live_model
from builders import N_TRAIN, TOPICS, add_corpus, passage_ids, query_id
from db.enums import Split
from db.models.retraining import HybridMix
from db.queries import hybrid as hybrid_queries
from db.queries.registry import get_live
from trained import Trained

MAIN = Path(__file__).parents[3] / "app" / "main.py"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Forty train questions, each the text of the one passage that answers it, which a person judged; indexed."""
    folder = tmp_path_factory.mktemp("hybrid") / "workspace"
    workspace = open_with(settings_from(folder, {}))
    (folder / "relabel.toml").write_text("", encoding="utf-8")
    add_corpus(workspace)
    asked = [
        (f"own-{number}-{topic.name}", text, passage)
        for topic in TOPICS
        for number, (text, passage) in enumerate(zip((topic.answer, topic.partly), passage_ids(topic)[:2], strict=True))
    ]
    import_queries(workspace, [NewQuery(query, text, Split.TRAIN) for query, text, _ in asked], source_name="own")
    import_judgements(
        workspace,
        [NewJudgement(query, passage, 3) for query, _, passage in asked],
        source_name="own",
        person="Ada",
        max_grade=3,
    )
    ensure_dense_index(workspace, ensure_live_model(workspace))
    yield workspace
    workspace.close()


def test_nothing_is_fitted_before_anybody_judged(workspace: Workspace) -> None:
    """A mix out of nothing would look like one that was measured."""
    add_corpus(workspace)
    with pytest.raises(NothingToDo, match="live"):
        hybrid.fit(workspace)
    assert hybrid.get_fitted(workspace) is None


def test_a_mix_is_fitted_on_judged_questions_and_kept(searched: Workspace) -> None:
    """Figures without their number of questions and judgements mean nothing, and a fit that is lost is done twice."""
    view = hybrid.fit(searched)
    assert (view.n_queries, view.n_judgements, view.criterion) == (40, 40, Criterion.RELEVANCE)
    assert set(view.figures) == {"dense", "bm25", "rrf", "linear"}
    assert all(0.9 <= value <= 1.0 for value in view.figures.values())  # each question is the text of its passage
    assert hybrid.get_fitted(searched) == view
    assert hybrid.get_fitted(searched, criterion=Criterion.UTILITY) is None


def test_held_out_questions_never_enter_a_mix(searched: Workspace) -> None:
    """Fitted on what the gate judges by, a mix could not be measured any more."""
    held_out = [NewJudgement(f"q-{topic.name}", passage_ids(topic)[0], 3) for topic in TOPICS[12:]]
    import_judgements(searched, held_out, source_name="own", person="Ada", max_grade=3)
    with searched.sessions.read() as session:
        rows = hybrid_queries.list_mix_judgements(session, criterion=Criterion.RELEVANCE, trained_on=[])
    assert len(rows) == 40
    assert not {query for query, *_ in rows} & {judgement.query_id for judgement in held_out}


def test_what_the_live_model_was_trained_on_never_enters_its_mix(after: Workspace, trained: Trained) -> None:
    """On what it learned by heart a model needs no words, and on every other question it lacks them."""
    promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="a try")
    learned = [NewJudgement(query_id(t), passage_ids(t)[0], 3) for t in TOPICS[:N_TRAIN]]
    duplicate = NewQuery("again", f"{TOPICS[0].question}?", Split.TRAIN)  # of a question that was trained on
    import_queries(after, [duplicate], source_name="own")
    learned.append(NewJudgement("again", passage_ids(TOPICS[0])[0], 3))
    import_judgements(after, learned, source_name="own", person="Ada", max_grade=3)
    with pytest.raises(NothingToDo) as refused:
        hybrid.fit(after)
    assert "was not trained on. Until then ranks are fused" in refused.value.user_message
    asked = [NewQuery("cal", TOPICS[1].partly, Split.CALIBRATE), NewQuery("new", TOPICS[2].partly, Split.TRAIN)]
    import_queries(after, asked, source_name="own")
    others = [NewJudgement(q.external_id, passage_ids(t)[1], 3) for q, t in zip(asked, TOPICS[1:3], strict=True)]
    import_judgements(after, others, source_name="own", person="Ada", max_grade=3)
    view = hybrid.fit(after)
    assert (view.n_queries, view.n_judgements, view.dense_weight) == (2, 2, None)
    promotion.rollback(after, person="Ada", reason="compare")
    assert hybrid.fit(after).n_queries == 15, "the base model was trained on none of them"


def test_hybrid_search_finds_the_exact_word_and_says_how_it_ranked(searched: Workspace) -> None:
    """A search that silently stays dense shows no difference, and nobody knows why."""
    found = search.search(searched, question="electric starters since 1912", k=3, retriever="hybrid")
    assert found.live[0].passage_id == "car-related"
    assert [hit.rank for hit in found.live] == [1, 2, 3]
    assert found.retriever == "hybrid"
    assert found.mixed
    plain = search.search(searched, question="electric starters since 1912", k=3)
    assert (plain.retriever, plain.mixed) == ("dense", "")
    with pytest.raises(InputInvalid, match="choose dense or hybrid"):
        search.search(searched, question="x", retriever="sparse")


def test_the_newest_weights_of_the_model_are_those_that_rank(searched: Workspace) -> None:
    """An old mix that stays in force makes a new fit a lie."""
    with searched.sessions.begin() as session:
        live = get_live(session)
        assert live is not None
        row = HybridMix(
            model_version_id=live.id,
            criterion=Criterion.UTILITY,
            weights={"dense": 0.0, "bm25": 1.0},
            figures={},
            n_queries=40,
            n_judgements=40,
            created_at=searched.now(),
        )
        session.add(row)
    found = search.search(searched, question="nitrogen", k=1, retriever="hybrid", criterion=Criterion.UTILITY)
    assert found.mixed == "0.00 meaning + 1.00 words"
    assert (found.live[0].passage_id, found.live[0].score) == ("tomatoes-answer", 1.0)
    with searched.sessions.begin() as session:
        session.execute(sa.delete(HybridMix).where(HybridMix.criterion == Criterion.UTILITY))


def test_the_verbs_fit_a_mix_and_search_with_it(searched: Workspace) -> None:
    """What only Python can do, nobody does."""
    where = ["--workspace", str(searched.settings.workspace)]
    fitted = CliRunner().invoke(cli, ["hybrid", *where])
    assert fitted.exit_code == 0, fitted.output
    assert "40 questions not trained on, 40 human judgements" in fitted.output
    found = CliRunner().invoke(cli, ["search", "peas in a pod", "--retriever", "hybrid", "--json", *where])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["retriever"] == "hybrid"
    refused = CliRunner().invoke(cli, ["search", "peas", "--retriever", "sparse", *where])
    assert refused.exit_code == 2


def test_the_screen_searches_by_meaning_and_by_words(searched: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A choice on the screen that changes nothing is worse than none."""
    monkeypatch.setenv("RELABEL_WORKSPACE", str(searched.settings.workspace))
    try:
        screen = AppTest.from_file(str(MAIN), default_timeout=120).run().switch_page("screens/search.py").run()
        screen.text_input(key="search.question").set_value("electric starters since 1912")
        next(button for button in screen.button if button.label == "Search").click().run()
        assert not screen.exception
        assert not any("Live model:" in caption.value for caption in screen.caption)
        screen.button_group(key="search.retriever").set_value("hybrid")
        next(button for button in screen.button if button.label == "Search").click().run()
        assert not screen.exception
        assert any("Live model:" in caption.value for caption in screen.caption)
    finally:
        st.cache_resource.clear()
