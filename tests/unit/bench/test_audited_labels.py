import itertools
from dataclasses import replace

import numpy as np
import pytest

from bench.audited_labels import SCALE, Arm, Audited, Campaign, case_values, run_campaign, training_stages, wrong_labels
from retriever.types import TrainingStage

N_QUERIES, N_PASSAGES = 12, 20


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    """Twelve queries of twenty passages; better ranks are more often relevant, the LLM marks some too many."""
    draw = np.random.default_rng(0)
    rank = np.tile(np.arange(1, N_PASSAGES + 1), N_QUERIES)
    human = np.where(draw.random(len(rank)) < 0.9 / np.sqrt(rank), 3, draw.integers(0, 2, len(rank)))
    proposed = np.where(draw.random(len(rank)) < 0.2, draw.integers(0, 4, len(rank)), human)
    queries = [f"q{number}" for number in range(N_QUERIES) for _ in range(N_PASSAGES)]
    passages = [f"{query}-p{position}" for query, position in zip(queries, rank, strict=True)]
    return Campaign(
        query_ids=tuple(queries),
        passage_ids=tuple(passages),
        proposed=proposed,
        human=human,
        rank=rank,
        score=1.0 - rank / 40,
        queries={query: f"question {query}" for query in queries},
        passages={passage: f"text {passage}" for passage in passages},
    )


def grades(stage: TrainingStage) -> dict[str, float]:
    return {passage.passage_id: passage.grade for entry in stage.lists for passage in entry.passages}


OURS = Arm("ours", by_value=True, curriculum=True, soft=True)


@pytest.mark.parametrize("by_value", [True, False])
def test_the_audits_of_a_share_are_among_those_of_the_next(campaign: Campaign, by_value: bool) -> None:
    """An audit that is forgotten again would make 20 % cheaper than they are."""
    standings = list(run_campaign(campaign, by_value=by_value, shares=(0.0, 0.1, 0.5, 1.0), seed=0))
    assert [standing.share for standing in standings] == [0.0, 0.1, 0.5, 1.0]
    assert [int(standing.audited.sum()) for standing in standings] == [0, 24, 120, 240]
    for earlier, later in itertools.pairwise(standings):
        assert not (earlier.audited & ~later.audited).any()


@pytest.mark.parametrize("by_value", [True, False])
def test_grades_of_pairs_nobody_audited_change_nothing(campaign: Campaign, by_value: bool) -> None:
    """The leak that would make the claim worthless: an order, calibrator or label that peeks at open pairs."""
    standing = next(iter(run_campaign(campaign, by_value=by_value, shares=(0.3,), seed=1)))
    turned = replace(campaign, human=np.where(standing.audited, campaign.human, 3 - campaign.human))
    again = next(iter(run_campaign(turned, by_value=by_value, shares=(0.3,), seed=1)))
    assert (again.audited == standing.audited).all()
    assert standing.p_relevant is not None
    assert again.p_relevant is not None
    assert again.p_relevant.tolist() == standing.p_relevant.tolist()
    for arm in (OURS, Arm("plain", by_value=False, curriculum=False, soft=False)):
        assert training_stages(turned, arm, again) == training_stages(campaign, arm, standing)


def test_the_value_order_finds_more_wrong_proposals_than_chance(campaign: Campaign) -> None:
    """An order that is no better than chance would be no order; the truth here is known because it was made."""
    wrong = (campaign.proposed >= SCALE.relevant_from) != (campaign.human >= SCALE.relevant_from)
    found = {}
    for by_value in (True, False):
        standings = [next(iter(run_campaign(campaign, by_value=by_value, shares=(0.3,), seed=n))) for n in range(8)]
        found[by_value] = np.mean([float((standing.audited & wrong).sum()) for standing in standings])
    assert found[True] > 1.2 * found[False]


def test_pairs_in_doubt_at_the_top_are_worth_most(campaign: Campaign) -> None:
    """Values are the product's, of the pair's own rank and its query's own threshold."""
    nobody = np.zeros(campaign.n_pairs, dtype=np.bool_)
    p = np.where(campaign.rank == 1, 0.5, 0.99)
    values = case_values(campaign, nobody, p)
    assert values[campaign.rank == 1].min() > values[campaign.rank != 1].max()
    assert values.shape == (campaign.n_pairs,)


def test_in_the_curriculum_an_audit_holds_over_the_proposal_and_people_come_last(campaign: Campaign) -> None:
    """Otherwise a wrong proposal would stay a positive after a person rejected it."""
    standing = Audited(0.5, campaign.rank <= 10, None)
    llm, people = training_stages(campaign, OURS, standing)
    assert (llm.name, people.name) == ("llm", "people")
    human = dict(zip(campaign.passage_ids, campaign.human.tolist(), strict=True))
    audited = {passage for at, passage in enumerate(campaign.passage_ids) if standing.audited[at]}
    assert grades(people) == {passage: human[passage] for passage in audited}
    assert all(grades(llm)[passage] == human[passage] for passage in audited & grades(llm).keys())
    assert len(grades(llm)) == campaign.n_pairs  # every query has a pair that nobody audited
    (union,) = training_stages(campaign, replace(OURS, curriculum=False), standing)
    assert grades(union) == grades(llm)


def test_soft_targets_are_positives_only_where_the_calibrator_is_sure(campaign: Campaign) -> None:
    """A doubtful proposal at full weight is the plain arm, not ours."""
    p = np.where(campaign.proposed >= 2, 0.6, 0.05)
    p[:40] = np.where(campaign.proposed[:40] >= 2, 0.95, 0.05)
    (stage,) = training_stages(campaign, OURS, Audited(0.0, np.zeros(campaign.n_pairs, dtype=np.bool_), p))
    sure = {
        passage
        for at, passage in enumerate(campaign.passage_ids)
        if at < 40 and campaign.proposed[at] >= SCALE.relevant_from
    }
    assert {passage for passage, grade in grades(stage).items() if grade >= SCALE.relevant_from} == sure
    assert max(passage.weight for entry in stage.lists for passage in entry.passages) <= 0.25


def test_lists_come_best_first_so_that_cutting_keeps_what_teaches_most(campaign: Campaign) -> None:
    """The full model keeps six passages of a list: cut at random it would keep six easy negatives."""
    (stage,) = training_stages(campaign, OURS, Audited(1.0, np.ones(campaign.n_pairs, dtype=np.bool_), None))
    rank = dict(zip(campaign.passage_ids, campaign.rank.tolist(), strict=True))
    for entry in stage.lists:
        sides = [0 if one.grade >= 2 else 1 if one.grade == 0 else 2 for one in entry.passages]
        assert sides == sorted(sides)
        for side in (0, 1):
            found = [
                (-one.grade, rank[one.passage_id]) for one, at in zip(entry.passages, sides, strict=True) if at == side
            ]
            assert found == sorted(found)


def test_wrong_labels_are_those_left_wrong_after_the_audits(campaign: Campaign) -> None:
    """Counted before the audits instead, the order of the queue would seem not to matter."""
    nobody = Audited(0.0, np.zeros(campaign.n_pairs, dtype=np.bool_), None)
    sides = [(a >= 2) != (b >= 2) for a, b in zip(campaign.proposed.tolist(), campaign.human.tolist(), strict=True)]
    assert wrong_labels(campaign, nobody) == pytest.approx(sum(sides) / len(sides))
    top = Audited(0.5, campaign.rank <= 10, None)
    left = [side for side, rank in zip(sides, campaign.rank, strict=True) if rank > 10]
    assert wrong_labels(campaign, top) == pytest.approx(sum(left) / len(sides))
