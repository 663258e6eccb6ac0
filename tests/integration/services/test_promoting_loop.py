"""Trained models on a tiny corpus with the real model: promoted, refused, rolled back, searched."""

from __future__ import annotations

import shutil

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.errors import InputInvalid, NotAllowed, NothingToDo
from app.services import promotion
from app.services.importing import import_passages
from app.services.indexing import ensure_dense_index
from app.services.search import search
from builders import (
    TOPICS,
    add_model,
)
from db.enums import ModelStage, PromotionCause
from db.models import (
    Evaluation,
    LiveModel,
    Promotion,
)
from db.queries.registry import get_model_or_raise
from trained import Trained, count, live_id, stages


def test_a_model_that_the_gate_refused_needs_a_reason_to_go_live(after: Workspace, trained: Trained) -> None:
    """One click puts a worse model before every user, and nobody knows why."""
    for reason in (None, "", "   "):
        with pytest.raises(NotAllowed) as refused:
            promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason=reason)
        assert refused.value.user_message.startswith("The gate did not pass: ")
        assert "8, at least 30 are needed" in refused.value.user_message
    assert count(after, Promotion) == 1
    promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="  eight are  all we have ")
    newest = promotion.list_promotions(after)[0]
    assert (newest.cause, newest.reason, newest.person) == (PromotionCause.OVERRIDE, "eight are all we have", "Ada")
    assert newest.previous == "all-MiniLM-L6-v2"
    with pytest.raises(NothingToDo):
        promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="again")


def test_the_gate_counts_only_against_the_model_that_is_live_now(after: Workspace, trained: Trained) -> None:
    """A pass against last month's model lets a worse one replace this month's."""
    with after.sessions.begin() as session:
        old = session.scalars(sa.select(Evaluation)).one()
        values = {c.key: getattr(old, c.key) for c in sa.inspect(Evaluation).column_attrs if c.key != "id"}
        session.add(Evaluation(**{**values, "gate_passed": True}))
    other = add_model(after, "other")
    promotion.promote(after, model_id=other, person="Ada", override_reason="a try")
    with pytest.raises(NotAllowed, match="the gate did not pass") as refused:
        promotion.promote(after, model_id=trained.model_id, person="Ada")
    assert "not compared with the one that is live now" in refused.value.user_message
    promotion.rollback(after, person="Ada", reason="")
    promotion.promote(after, model_id=trained.model_id, person="Ada")
    assert promotion.list_promotions(after)[0].cause is PromotionCause.GATE


def test_rolling_back_goes_down_the_stack_of_promotions(after: Workspace, trained: Trained) -> None:
    """The second rollback brings back the very model that was rolled back."""
    base, second = live_id(after), trained.model_id
    third = add_model(after, "third")
    for model in (second, third):
        promotion.promote(after, model_id=model, person="Ada", override_reason="a try")
    assert stages(after) == {base: ModelStage.RETIRED, second: ModelStage.RETIRED, third: ModelStage.LIVE}
    promotion.rollback(after, person="Ada", reason="worse")
    assert (live_id(after), stages(after)[third]) == (second, ModelStage.RETIRED)
    assert promotion.rollback(after, person="Ada", reason="still") == "all-MiniLM-L6-v2"
    assert stages(after) == {base: ModelStage.LIVE, second: ModelStage.RETIRED, third: ModelStage.RETIRED}
    with pytest.raises(NothingToDo):
        promotion.rollback(after, person="Ada", reason="further")
    promotion.promote(after, model_id=third, person="Ada", override_reason="once more")
    promotion.rollback(after, person="Ada", reason="no")
    assert live_id(after) == base
    with after.sessions.read() as session:
        row = session.get_one(LiveModel, 1)
        assert row.index_version_id is not None
    assert [p.cause for p in promotion.list_promotions(after)].count(PromotionCause.ROLLBACK) == 3


def test_a_model_whose_index_lacks_new_passages_does_not_go_live(after: Workspace, trained: Trained) -> None:
    """After a promotion, search does not find what was imported yesterday."""
    import_passages(after, [("new-1", "new", "Something that came later.")], source_name="later")
    with pytest.raises(NotAllowed, match="no index"):
        promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="quick")
    with pytest.raises(NothingToDo):
        search(after, question="anything")
    with after.sessions.read() as session:
        models = [get_model_or_raise(session, model_id) for model_id in (live_id(after), trained.model_id)]
    for model in models:
        ensure_dense_index(after, model)
    promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="quick")
    assert "new-1" in {hit.passage_id for hit in search(after, question="Something that came later", k=3).live}


def test_a_model_whose_index_folder_is_lost_does_not_go_live_until_it_is_built_again(
    after: Workspace, trained: Trained
) -> None:
    """Promotion points every search at a folder that is not there."""
    with after.sessions.read() as session:
        model = get_model_or_raise(session, trained.model_id)
    folder = ensure_dense_index(after, model)
    shutil.rmtree(folder)
    with pytest.raises(NotAllowed, match="no index"):
        promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="quick")
    assert ensure_dense_index(after, model).is_dir()
    promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="quick")


def test_search_shows_the_live_model_and_the_candidate_side_by_side(after: Workspace, trained: Trained) -> None:
    """The two columns show the same model, or ranks of the wrong list."""
    found = search(after, question=TOPICS[15].question, k=60)
    assert (found.live_model, found.candidate_model) == ("all-MiniLM-L6-v2", f"run {trained.run_id} (sum_marginal)")
    assert found.live[0].passage_id == "stain-answer"
    live, candidate = ({hit.passage_id: hit.rank for hit in hits} for hits in (found.live, found.candidate))
    assert len(live) == len(candidate) == 60
    assert all(hit.other_rank == candidate[hit.passage_id] for hit in found.live)
    assert all(hit.other_rank == live[hit.passage_id] for hit in found.candidate)
    assert [h.score for h in found.live] != [h.score for h in found.candidate]
    promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="why not")
    now = search(after, question=TOPICS[15].question, k=60)
    assert (now.live_model, now.candidate_model, now.candidate) == (found.candidate_model, None, ())
    assert {hit.passage_id: hit.rank for hit in now.live} == candidate


@pytest.mark.parametrize(("question", "k"), [("  ", 10), ("bread", 0)])
def test_a_search_for_nothing_is_refused(after: Workspace, question: str, k: int) -> None:
    """An empty question shows ten random passages as results."""
    with pytest.raises(InputInvalid):
        search(after, question=question, k=k)
