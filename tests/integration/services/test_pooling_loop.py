"""Before and beside training on a tiny corpus with the real model: pooled, and what the Overview says."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.services import labelling, overview, pooling, promotion, runs
from app.services.importing import import_passages
from builders import (
    TOPICS,
    add_corpus,
    audit,
    passage_ids,
    scripted_judge,
)
from db.models import (
    Candidate,
    CandidateHit,
    Pair,
    Passage,
    Query,
)
from db.queries.registry import get_live
from trained import count

RICE = TOPICS[12]


def test_pooling_keeps_ranks_and_scores_of_each_system(before: Workspace) -> None:
    """Nobody can tell later which system found a passage, and the local judge has nothing to go by."""
    from retriever.encoder import Encoder

    with before.sessions.read() as session:
        live = get_live(session)
        assert live is not None
        rows = session.execute(
            sa.select(CandidateHit.system, CandidateHit.rank, CandidateHit.score, Passage.external_id)
            .join(Pair, Pair.id == CandidateHit.pair_id)
            .join(Query, Query.id == Pair.query_id)
            .join(Passage, Passage.id == Pair.passage_id)
            .where(Query.external_id == "q-rice")
            .order_by(CandidateHit.system, CandidateHit.rank)
        ).all()
        fused = session.scalars(
            sa.select(Candidate)
            .join(Pair, Pair.id == Candidate.pair_id)
            .join(Query, Query.id == Pair.query_id)
            .where(Query.external_id == "q-rice")
            .order_by(Candidate.rank)
        ).all()
    systems = {row.system for row in rows}
    assert systems == {"bm25", f"dense:{live.hash[:12]}"}
    for system in systems:
        mine = [row for row in rows if row.system == system]
        assert [row.score for row in mine] == sorted((row.score for row in mine), reverse=True)
        assert len({row.rank for row in mine}) == len(mine)
        assert {row.rank for row in mine} <= set(range(1, 9))
    encoder = Encoder.load(before.settings.workspace / live.path)
    texts = {
        external_id: f"rice {text}"
        for external_id, text in zip(passage_ids(RICE), (RICE.answer, RICE.partly, RICE.related), strict=True)
    }
    vectors = encoder.encode([RICE.question, *texts.values()])
    cosines = dict(zip(texts, (vectors[1:] @ vectors[0]).tolist(), strict=True))
    dense = {row.external_id: row.score for row in rows if row.system != "bm25"}
    assert {row: dense[row] for row in cosines if row in dense} == pytest.approx(
        {row: cosine for row, cosine in cosines.items() if row in dense}, abs=1e-4
    )
    assert max(dense, key=lambda passage: dense[passage]) == max(cosines, key=lambda passage: cosines[passage])
    assert [candidate.rank for candidate in fused] == list(range(1, len(fused) + 1))
    assert {candidate.pool_size for candidate in fused} == {len(fused)}


def test_pooling_again_adds_nothing_and_labels_nothing_twice(before: Workspace) -> None:
    """Each pooling doubles the candidates, and the bill."""
    candidates, hits = count(before, Candidate), count(before, CandidateHit)
    again = pooling.pool(before)
    assert (again.n_queries, again.new, again.assigned) == (12, 0, {})  # held-out questions are judged: they stay
    assert again.renewed > 0
    assert (count(before, Candidate), count(before, CandidateHit)) == (candidates, hits)
    judge = scripted_judge(before)
    assert labelling.label(before, judge).proposed == 0


def test_the_overview_says_what_to_do_next_from_nothing_to_a_candidate(
    workspace: Workspace, before: Workspace, after: Workspace
) -> None:
    """A newcomer stands before a page of zeros."""

    def steps(opened: Workspace) -> list[str]:
        return [step.text for step in overview.get_overview(opened).next_steps]

    assert steps(workspace) == ["Import the passages your retriever searches."]
    import_passages(workspace, [("p", "", "a passage")], source_name="s")
    assert steps(workspace) == ["Import questions people ask."]
    add_corpus(workspace)
    assert steps(workspace) == ["Pool candidates for the questions."]
    assert steps(before)[-1] == "Retrain on the curated labels."
    runs.create_run(before, person="Ada")
    assert steps(before)[0] == "A training run is waiting for a worker. Follow it."
    assert "Retrain on the curated labels." not in steps(before)
    assert steps(after)[0].startswith("A candidate, run ")
    assert "Retrain on the curated labels." not in steps(after), "these labels are trained on already"
    candidate = promotion.list_models(after)[0].id
    promotion.promote(after, model_id=candidate, person="Ada", override_reason="go")
    assert not any("candidate" in step for step in steps(after))


def test_the_overview_counts_what_the_labels_page_shows(before: Workspace) -> None:
    """Two screens, two numbers, and no trust in either."""
    view = overview.get_overview(before)
    assert view.n_queries == {"train": 12, "held-out": 8}
    assert view.n_passages == 60
    assert view.funnel.proposed == view.funnel.accepted == view.funnel.curated
    assert (view.funnel.rejected, view.funnel.audited, view.judges) == (0, 0, ("scripted/1",))
    assert view.uncertified
    graded = audit(before, at_most=3)
    assert overview.get_overview(before).funnel.waiting == view.funnel.waiting - graded
