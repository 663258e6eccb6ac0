"""Kept facts and counts equal what they are derived from, whatever the services did, on both databases."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from annotator.routing import BareThreshold
from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import definitions, labelling, labels, lineage, reviewing, revoking, routing
from app.services.importing import (
    NewCandidate,
    NewJudgement,
    NewSuggestion,
    import_candidates,
    import_judgements,
    import_suggestions,
)
from app.services.overview import get_overview
from builders import (
    TOPICS,
    add_candidates,
    add_corpus,
    add_suggestions,
    audit,
    pair_ids,
    query_id,
    scripted_judge,
)
from db.enums import Outcome, Split
from db.models import Candidate, PairState, QueryCluster, Suggestion
from db.queries import counters

RELEVANCE = Criterion.RELEVANCE
RIGHT = {"pairs": 0, "counts": 0, "candidates": 0, "usage": 0}
SOME = (*TOPICS[:3], TOPICS[12], TOPICS[13])


def compared(workspace: Workspace) -> dict[str, int]:
    with workspace.sessions.read() as session:
        return counters.compare(session)


def test_every_way_to_write_keeps_the_counts(any_workspace: Workspace) -> None:
    """The Overview says ninety were accepted where a hundred were, because one way to write forgot to count."""
    workspace = any_workspace
    add_corpus(workspace, topics=SOME)
    early = [NewSuggestion(query_id(SOME[0]), "bread-answer", "early", 2, 3, token_probability=0.7)]
    import_suggestions(workspace, early, source_name="before pooling")
    assert compared(workspace) == RIGHT, "a state before the pair is a candidate"
    add_candidates(workspace, topics=SOME)
    assert compared(workspace) == RIGHT
    ids = sorted(pair_ids(workspace).items())
    draw = random.Random(5)

    def route() -> None:
        at = draw.choice((0.5, 0.93, 0.99))
        routing.route(workspace, policy=BareThreshold(threshold_relevant=at, threshold_irrelevant=0.9))

    def overturn() -> None:
        judged = [pair_id for (query, _), pair_id in ids if query in {query_id(topic) for topic in SOME[:3]}]
        labels.overturn(
            workspace, pair_id=draw.choice(judged), person=draw.choice("AB"), grade=draw.randint(0, 3), note=""
        )

    def bring_judgements() -> None:
        (query, passage), _ = draw.choice(ids)
        row = NewJudgement(query, passage, draw.randint(0, 3))
        import_judgements(workspace, [row], source_name="file", person="F", max_grade=3)

    def bring_suggestions() -> None:
        rows = [
            NewSuggestion(query, passage, "early", draw.choice((0, 1, None)), 3, verbal_confidence=None)
            for (query, passage), _ in draw.sample(ids, 3)
        ]
        import_suggestions(workspace, rows, source_name=f"file {draw.random()}")

    def revoke_and_restore() -> None:
        owner, author = workspace.settings.person, lineage.find_author(workspace, judge="early")
        revoking.revoke(workspace, author=author, person=owner, reason="wrong")
        assert compared(workspace) == RIGHT
        revoking.restore(workspace, author=author, person=owner, reason="right after all")

    def relabel() -> None:
        labelling.label(workspace, scripted_judge(workspace, lambda *_: draw.randint(0, 3), name=f"j/{draw.random()}"))

    def define() -> None:
        definitions.set_definition(workspace, query=query_id(SOME[1]), text=f"about {draw.random()}", person="A")

    acts: list[Callable[[], object]] = [
        lambda: add_suggestions(workspace, confidence=0.95),
        route,
        overturn,
        lambda: reviewing.undo(workspace, person="A"),
        lambda: audit(workspace, person="C", at_most=3),
        bring_judgements,
        bring_suggestions,
        relabel,
        define,
        revoke_and_restore,
    ]
    turns = [*acts, *draw.choices(acts[1:7], k=10)]
    for number, act in enumerate(turns):
        act()
        assert compared(workspace) == RIGHT, f"after {number}: {getattr(act, '__name__', act)}"
    view = get_overview(workspace)
    with workspace.sessions.read() as session:
        accepted = session.scalar(
            sa.select(sa.func.count()).select_from(PairState).where(PairState.outcome == Outcome.ACCEPTED)
        )
        proposals = session.scalar(sa.select(sa.func.sum(Suggestion.prompt_tokens)))
    assert view.funnel.accepted == accepted
    assert view.prompt_tokens == proposals


def test_a_split_set_later_moves_what_was_counted_without_one(any_workspace: Workspace) -> None:
    """Held-out pairs are counted among the train ones, because they were counted before the split was drawn."""
    add_corpus(any_workspace, topics=SOME)
    with any_workspace.sessions.begin() as session:
        cluster = QueryCluster(split=None)
        session.add(cluster)
        session.flush()
        cluster_id = cluster.id
        session.execute(
            sa.text(
                "INSERT INTO query (external_id, text, text_key, cluster_id, source_id, created_at) "
                "SELECT 'later', 'later', 'later', :cluster, source_id, created_at FROM query LIMIT 1"
            ),
            {"cluster": cluster_id},
        )
    import_candidates(any_workspace, [NewCandidate("later", "bread-answer", "bm25", 1, 1.0)], source_name="s")
    import_judgements(
        any_workspace, [NewJudgement("later", "bread-answer", 2)], source_name="s", person="F", max_grade=3
    )
    with any_workspace.sessions.read() as session:
        assert counters.count_candidates(session) == {None: 1}
    with any_workspace.sessions.begin() as session:
        session.execute(sa.update(QueryCluster).where(QueryCluster.id == cluster_id).values(split=Split.HELD_OUT))
    assert compared(any_workspace) == RIGHT
    with any_workspace.sessions.read() as session:
        assert counters.count_candidates(session) == {Split.HELD_OUT: 1}
        (group,) = counters.list_groups(session, criterion=RELEVANCE)
    assert (group.split, group.candidate, group.curated_grade, group.n) == (Split.HELD_OUT, True, 2, 1)


def test_what_a_switched_off_trigger_spoilt_is_noticed_and_made_anew(any_workspace: Workspace) -> None:
    """Counts that went wrong once stay wrong for ever, and nobody is told."""
    add_corpus(any_workspace, topics=SOME)
    add_candidates(any_workspace, topics=SOME)
    add_suggestions(any_workspace)
    with any_workspace.sessions.begin() as session:
        session.execute(sa.text("DELETE FROM candidate_count"))
        session.execute(sa.text("UPDATE pair_count SET n = n + 1"))
        session.execute(sa.text("UPDATE usage_count SET nano_usd = nano_usd + 5"))
        session.execute(sa.text("DELETE FROM pair_facts WHERE pair_id = (SELECT min(pair_id) FROM pair_facts)"))
    wrong = compared(any_workspace)
    assert wrong["pairs"] == 1
    assert all(wrong.values())
    with any_workspace.sessions.begin() as session:
        counters.recount(session)
    assert compared(any_workspace) == RIGHT
    add_suggestions(any_workspace, threshold=0.99)
    assert compared(any_workspace) == RIGHT, "triggers go on from what was made anew"


def test_nothing_of_a_write_that_failed_is_counted(any_workspace: Workspace) -> None:
    """A refused import leaves its rows in the counts."""
    add_corpus(any_workspace, topics=SOME)
    add_candidates(any_workspace, topics=SOME)
    add_suggestions(any_workspace)
    before = get_overview(any_workspace).funnel

    class Stop(RuntimeError):
        pass

    def write_and_fail() -> None:
        with any_workspace.sessions.begin() as session:
            session.execute(sa.delete(PairState))
            session.execute(sa.text("DELETE FROM candidate_hit"))
            session.execute(sa.delete(Candidate))
            assert counters.count_candidates(session) == {}
            assert counters.list_groups(session, criterion=RELEVANCE) == []
            raise Stop

    with pytest.raises(Stop):
        write_and_fail()
    assert get_overview(any_workspace).funnel == before
    assert compared(any_workspace) == RIGHT
