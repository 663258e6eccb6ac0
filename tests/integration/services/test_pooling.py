"""Splits for questions without one, and what pooling needs first; ranks and repeats are in the tests of the loop."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services import pooling
from app.services.importing import NewQuery, import_passages, import_queries
from builders import TOPICS, query_id
from db.enums import Split
from db.models import Query, QueryCluster


def splits(workspace: Workspace) -> dict[str, Split | None]:
    with workspace.sessions.read() as session:
        rows = session.execute(
            sa.select(Query.external_id, QueryCluster.split).join(QueryCluster, QueryCluster.id == Query.cluster_id)
        )
        return {external_id: split for external_id, split in rows}


def ask(workspace: Workspace, *queries: NewQuery) -> None:
    import_queries(workspace, queries, source_name="everyday")


def test_without_passages_nothing_is_decided_or_copied(workspace: Workspace) -> None:
    """Questions get their split for good, and 90 MB are copied, before anybody imported a passage."""
    ask(workspace, *(NewQuery(query_id(topic), topic.question) for topic in TOPICS))
    with pytest.raises(NothingToDo, match="no passages"):
        pooling.pool(workspace)
    assert set(splits(workspace).values()) == {None}
    assert list(workspace.settings.models.iterdir()) == []


def test_without_questions_there_is_nothing_to_pool(workspace: Workspace) -> None:
    """A pool of nothing is reported as done."""
    import_passages(workspace, [("p", "", "a passage")], source_name="everyday")
    with pytest.raises(NothingToDo, match="no questions"):
        pooling.pool(workspace)


def test_few_questions_all_train_and_splits_are_set_once(any_workspace: Workspace) -> None:
    """The second pooling moves a question from training into the test."""
    ask(any_workspace, *(NewQuery(query_id(topic), topic.question) for topic in TOPICS[:19]))
    assert pooling.assign_splits(any_workspace) == {"train": 19}
    before = splits(any_workspace)
    assert pooling.assign_splits(any_workspace) == {}
    assert splits(any_workspace) == before
    assert set(before.values()) == {Split.TRAIN}


def test_of_many_questions_about_a_quarter_is_held_out(any_workspace: Workspace) -> None:
    """No question is left to prove anything on, or hardly one to train on."""
    ask(any_workspace, *(NewQuery(f"q{n}", f"what does word{n} mean beside other{n}") for n in range(200)))
    assigned = pooling.assign_splits(any_workspace)
    assert sum(assigned.values()) == 200
    assert 30 <= assigned["held-out"] <= 70
    assert 8 <= assigned["calibrate"] <= 35  # an eighth of the other 150; without them no judge can be certified
    assert set(splits(any_workspace).values()) == set(Split)


def test_near_duplicates_share_a_split_even_when_a_third_question_links_them(any_workspace: Workspace) -> None:
    """A paraphrase of a training question is in the test, and the model looks better than it is."""
    families = []
    for n in range(40):
        words = [f"word{number}of{n}" for number in range(11)]
        # The first two share 7 of 11 words; the third shares 8 of 10, which is enough, with each of them.
        texts = (words[:9], words[2:], words[1:10])
        families.append([f"f{n}-{member}" for member in range(3)])
        ask(any_workspace, *(NewQuery(f"f{n}-{m}", " ".join(text)) for m, text in enumerate(texts)))
    pooling.assign_splits(any_workspace)
    found = splits(any_workspace)
    assert all(len({found[member] for member in family}) == 1 for family in families)
    assert {Split.TRAIN, Split.HELD_OUT} <= set(found.values())
    with any_workspace.sessions.read() as session:  # else this test proves nothing about linked clusters
        assert session.scalar(sa.select(sa.func.count()).select_from(QueryCluster)) > len(families)


def test_a_near_duplicate_of_a_held_out_question_is_held_out_too(any_workspace: Workspace) -> None:
    """The test set leaks into training by a question that came without a split."""
    ask(any_workspace, NewQuery("old", "how do I remove red wine stains from a wool carpet", Split.HELD_OUT))
    ask(any_workspace, NewQuery("new", "how can I remove red wine stains from a carpet, wool"))
    pooling.assign_splits(any_workspace)
    assert splits(any_workspace) == {"old": Split.HELD_OUT, "new": Split.HELD_OUT}
