"""Which index answers a query: one that was encoded as the settings say now, and one state for what is compared."""

from __future__ import annotations

import numpy as np
import pytest

from annotator.types import Criterion
from app.bootstrap import Workspace, open_with
from app.config import settings_from
from app.errors import NotAllowed, NothingToDo
from app.services import evaluating, promotion, retrievers, round_figures
from app.services.doctor import examine
from app.services.gate_passes import why_refused
from app.services.importing import import_passages
from app.services.indexing import (
    FinishedIndex,
    dense_system,
    ensure_dense_index,
    ensure_live_model,
    model_path,
)
from app.services.pooling import pool
from app.services.retrievers import open_index, open_retriever, open_together
from app.services.search import search
from builders import add_corpus, add_model, judge_held_out
from db.enums import ModelStage
from db.models import Evaluation, IndexVersion, ModelVersion
from retriever.encoder import Encoder

LONG = [(f"p{at}", "", f"word number {at} " * 30 + " final subject cats") for at in range(5)]


def again(workspace: Workspace, **settings: object) -> Workspace:
    """The same workspace under other settings."""
    workspace.close()
    return open_with(settings_from(workspace.settings.workspace, settings))


def test_another_max_length_never_searches_vectors_of_the_one_before(workspace: Workspace) -> None:
    """Queries read at 256 tokens meet passages cut at 8, nobody is told, and the gate decides by it."""
    short = again(workspace, max_length=8)
    import_passages(short, LONG, source_name="x")
    model = ensure_live_model(short)
    at_8 = ensure_dense_index(short, model)
    long = again(short)
    with pytest.raises(NothingToDo) as refused:
        open_retriever(long, model)
    assert "encoded at 8 tokens, and max_length is 256 now" in refused.value.user_message
    with pytest.raises(NothingToDo) as refused:
        search(long, question="cats")
    assert "relabel pool" in refused.value.user_message
    assert "encoded at 8 tokens" in next(check.detail for check in examine(long) if check.name == "index")
    opened = open_retriever(long, model, build=True)
    expected = Encoder.load(model_path(long, model), max_length=256).encode([LONG[0][2]])
    np.testing.assert_allclose(opened.index.vectors[:1], expected, atol=1e-5)
    assert "256 tokens" in next(check.detail for check in examine(long) if check.name == "index")
    back = again(long, max_length=8)
    assert ensure_dense_index(back, model) == at_8, "nothing is encoded twice"


def test_an_index_from_before_its_length_was_named_still_serves(workspace: Workspace) -> None:
    """An update of the program has a million passages encoded anew."""
    import_passages(workspace, LONG, source_name="x")
    model = ensure_live_model(workspace)
    ensure_dense_index(workspace, model)
    with workspace.sessions.read() as session:
        row = session.query(IndexVersion).one()
        assert row.system == dense_system(model)
    assert open_index(workspace, model) is not None
    assert open_index(again(workspace, max_length=128), model) is None


def test_bf16_vectors_do_not_answer_where_float32_is_asked_for(workspace: Workspace) -> None:
    """Somebody sets a float32 backend for exact figures, and searches what bf16 made."""
    fast = again(workspace, encoder_backend="torch-bf16")
    import_passages(fast, LONG, source_name="x")
    model = ensure_live_model(fast)
    made = ensure_dense_index(fast, model)
    auto = again(fast)
    assert ensure_dense_index(auto, model) == made, "auto takes any backend that keeps parity"
    exact = again(auto, encoder_backend="torch")
    with pytest.raises(NothingToDo) as refused:
        open_retriever(exact, model)
    assert "in bf16, and encoder_backend asks for float32 now" in refused.value.user_message
    opened = open_retriever(exact, model, build=True)
    expected = Encoder.load(model_path(exact, model), max_length=256).encode([LONG[0][2]])
    np.testing.assert_allclose(opened.index.vectors[:1], expected, atol=1e-6)


def test_vectors_answer_only_for_what_is_no_more_exact(workspace: Workspace) -> None:
    """bf16 asked for on a machine where int8 was faster, and int8 goes on answering."""
    fast = again(workspace, encoder_backend="openvino-int8")
    import_passages(fast, LONG, source_name="x")
    model = ensure_live_model(fast)
    in_int8 = ensure_dense_index(fast, model)
    assert "in int8 or more exact" in next(check.detail for check in examine(fast) if check.name == "index")
    half = again(fast, encoder_backend="torch-bf16")
    with pytest.raises(NothingToDo) as refused:
        open_retriever(half, model)
    assert "in int8, and encoder_backend asks for bf16 now" in refused.value.user_message
    with pytest.raises(NothingToDo) as refused:
        open_retriever(again(half), model)
    assert "in int8, and encoder_backend is auto, which goes down to bf16 now" in refused.value.user_message
    in_bf16 = ensure_dense_index(half, model)
    assert in_bf16 != in_int8
    assert ensure_dense_index(again(half, encoder_backend="openvino-int8"), model) == in_bf16


def test_the_doctor_says_what_an_approximate_index_misses(workspace: Workspace) -> None:
    """A recall that is measured, stored, and seen by nobody."""
    import_passages(workspace, LONG, source_name="x")
    ensure_dense_index(workspace, ensure_live_model(workspace))
    assert "recall" not in next(check.detail for check in examine(workspace) if check.name == "index")
    with workspace.sessions.begin() as session:
        row = session.query(IndexVersion).one()
        row.kind, row.recall = "hnsw", 0.9874
    said = next(check.detail for check in examine(workspace) if check.name == "index")
    assert said.endswith("in float32, hnsw, recall@10 0.987 of exact search with the encoder's own queries")


def test_a_model_does_not_go_live_on_an_index_of_another_length(workspace: Workspace) -> None:
    """Promoted, and every search fails; or a pass at one length decides about another."""
    add_corpus(workspace)
    add_model(workspace, "base", live=True)
    candidate = add_model(workspace, "candidate")
    other = again(workspace, max_length=64)
    with pytest.raises(NotAllowed) as refused:
        promotion.promote(other, model_id=candidate, person="me", override_reason="tried")
    assert "relabel evaluate" in refused.value.user_message
    promotion.promote(again(other), model_id=candidate, person="me", override_reason="tried")


def test_a_pass_at_another_length_lapses(workspace: Workspace) -> None:
    """Compared at 64 tokens, where it won, and live at 256, where nobody looked."""
    add_corpus(workspace)
    live_id = add_model(workspace, "base", live=True)
    candidate = add_model(workspace, "candidate")
    passed = Evaluation(
        model_version_id=candidate,
        baseline_model_id=live_id,
        split="held-out",
        criterion=Criterion.RELEVANCE,
        comparison={"regression": [], "rests_on": {"corpus": "c", "max_length": 64, "last_revocation": 0}},
        gate_passed=True,
        gate_reasons=[],
        created_at=workspace.now(),
    )
    with workspace.sessions.read() as session:
        live = session.get_one(ModelVersion, live_id)
        said = {
            length: why_refused(session, passed, live=live, criterion=Criterion.RELEVANCE, state="c", max_length=length)
            for length in (64, 256)
        }
    assert said[64] == ""
    assert "compared at 64 tokens, and max_length is 256 now" in said[256]


@pytest.fixture
def two(workspace: Workspace) -> tuple[Workspace, ModelVersion, ModelVersion]:
    """Two models that share their weights under two names, over the everyday corpus."""
    quick = again(workspace, max_length=16)
    add_corpus(quick)
    model = ensure_live_model(quick)
    pool(quick)
    judge_held_out(quick)
    with quick.sessions.begin() as session:
        other = ModelVersion(
            hash="f" * 64,
            name="other",
            path=model.path,
            dim=model.dim,
            stage=ModelStage.CANDIDATE,
            base_id=model.id,
            created_at=quick.now(),
        )
        session.add(other)
    return quick, model, other


def imports_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An import comes in after the first index was opened; returns what states were opened."""
    real = retrievers.ensure_index_of_now
    states: list[str] = []

    def ensure(*args: object, **options: object) -> FinishedIndex:
        found = real(*args, **options)  # type: ignore[arg-type]
        if not states:
            import_passages(workspace, [("late", "", "Came in late.")], source_name="more")
        states.append(found.state)
        return found

    monkeypatch.setattr(retrievers, "ensure_index_of_now", ensure)
    return states


def test_models_that_are_compared_search_one_corpus(
    two: tuple[Workspace, ModelVersion, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import while the candidate is encoded: only one side can find the new passages, and the gate decides by it."""
    workspace, model, other = two
    states = imports_once(workspace, monkeypatch)
    opened = open_together(workspace, [model, other])
    assert len(states) == 4
    assert {retriever.state for retriever in opened} == {states[-1]}
    assert [retriever.index.n for retriever in opened] == [61, 61]


def test_an_evaluation_and_a_rounds_figures_hold_one_corpus(
    two: tuple[Workspace, ModelVersion, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state that is stored with a comparison is not the one that was searched."""
    workspace, model, other = two
    states = imports_once(workspace, monkeypatch)
    found = evaluating.run_evaluation(workspace, model=other, baseline=model)
    with workspace.sessions.read() as session:
        rests_on = session.get_one(Evaluation, found).comparison["rests_on"]
    assert (rests_on["corpus"], rests_on["max_length"]) == (states[-1], 16)
    states.clear()
    figures = round_figures.measure(workspace, {"a": model, "b": other}, criterion=Criterion.RELEVANCE)
    assert figures.by_model["a"] == figures.by_model["b"] != {}
    assert len(states) == 2


def test_a_look_taken_while_the_gate_decided_is_counted(
    two: tuple[Workspace, ModelVersion, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two evaluations at a time take the same look; or everybody waits for a quarter of a minute of resampling."""
    workspace, model, other = two
    real, looks = evaluating._verdict, []

    def slow(*args: object, **options: object) -> object:
        looks.append(options["looks"])
        with workspace.sessions.begin() as session:  # others can write while it decides
            session.get_one(ModelVersion, other.id).name = f"other {len(looks)}"
        if len(looks) == 1:
            evaluating.run_evaluation(workspace, model=other, baseline=model)
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluating, "_verdict", slow)
    found = evaluating.run_evaluation(workspace, model=other, baseline=model)
    assert looks == [0, 0, 1]
    with workspace.sessions.read() as session:
        assert session.get_one(Evaluation, found).look == 2
