"""Exports: every layout, and back in again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace, open_with
from app.config import settings_from
from app.errors import Conflict, InputInvalid
from app.services.exporting import export
from app.services.importing import (
    NewJudgement,
    NewQuery,
    NewSuggestion,
    import_judgements,
    import_passages,
    import_path,
    import_queries,
    import_suggestions,
)
from db.enums import Outcome, PolicyKind, Split
from db.models import Decision, Definition, Pair, PairState, Passage, Policy, Query, QueryCluster, Suggestion
from db.queries.states import set_decision


def fill(workspace: Workspace) -> None:
    """A train and a held-out query; people's judgements, an accepted suggestion and a proposal on each."""
    import_passages(workspace, [(f"p {n}", f"Title {n}", f"text “{n}”\twith\ttabs") for n in range(6)], source_name="s")
    queries = [
        NewQuery("q-train", "first question here", Split.TRAIN, "What counts."),
        NewQuery("q-held", "second thing asked", Split.HELD_OUT),
        NewQuery("q-none", "third of no split"),
    ]
    import_queries(workspace, queries, source_name="s")
    judged = [("q-train", 0, 3), ("q-train", 1, 0), ("q-train", 2, 1), ("q-held", 0, 2), ("q-none", 1, 1)]
    import_judgements(
        workspace,
        [NewJudgement(query, f"p {number}", grade) for query, number, grade in judged],
        source_name="s",
        person="Ada",
        max_grade=3,
    )
    proposed = [(query, number) for query in ("q-train", "q-held") for number in (3, 4)]
    import_suggestions(
        workspace,
        [NewSuggestion(query, f"p {number}", "gpt", 2, 3, token_probability=0.9) for query, number in proposed],
        source_name="s",
    )
    now = workspace.now()
    with workspace.sessions.begin() as session:
        policy = Policy(
            version="v1", kind=PolicyKind.BARE_THRESHOLD, criterion=Criterion.RELEVANCE, parameters={}, created_at=now
        )
        session.add(policy)
        session.flush()
        rows = session.execute(
            sa.select(PairState, Suggestion)
            .join(Suggestion, Suggestion.id == PairState.suggestion_id)
            .join(Pair, Pair.id == PairState.pair_id)
            .join(Passage, Passage.id == Pair.passage_id)
            .where(Passage.external_id == "p 3")
        ).all()
        for state, suggestion in rows:
            decision = Decision(
                pair_id=state.pair_id,
                criterion=Criterion.RELEVANCE,
                suggestion_id=suggestion.id,
                policy_id=policy.id,
                outcome=Outcome.ACCEPTED,
                why="confident",
                created_at=now,
            )
            session.add(decision)
            session.flush()
            set_decision(state, decision, suggestion, now=now)


def json_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def content(workspace: Workspace) -> dict[str, Any]:
    """What must survive the way out and in: texts, splits, definitions, people's grades."""
    with workspace.sessions.read() as session:
        return {
            "passages": set(map(tuple, session.execute(sa.select(Passage.external_id, Passage.title, Passage.text)))),
            "queries": set(
                map(
                    tuple,
                    session.execute(
                        sa.select(Query.external_id, Query.text, QueryCluster.split, Definition.text)
                        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
                        .outerjoin(Definition, Definition.query_id == Query.id)
                    ),
                )
            ),
            "human": set(
                map(
                    tuple,
                    session.execute(
                        sa.select(Query.external_id, Passage.external_id, PairState.curated_grade)
                        .join(Pair, Pair.id == PairState.pair_id)
                        .join(Query, Query.id == Pair.query_id)
                        .join(Passage, Passage.id == Pair.passage_id)
                        .where(PairState.review_id.is_not(None))
                    ),
                )
            ),
        }


def test_a_beir_export_comes_back_with_the_same_texts_splits_and_human_grades(
    any_workspace: Workspace, tmp_path: Path
) -> None:
    """Data that cannot leave and return is lost; a judge's grade that returns as a person's is a forgery."""
    fill(any_workspace)
    report = export(any_workspace, layout="beir", target=tmp_path / "out", include_proposed=True)
    assert report.n_rows == 5 + 3  # the fourth proposal is for a held-out question, which people judge blind
    assert report.files == (
        "corpus.jsonl",
        "export.json",
        "labels.jsonl",
        *("qrels/test.tsv", "qrels/train.tsv", "qrels/unsplit.tsv", "queries.jsonl"),
    )
    other = open_with(settings_from(tmp_path / "other", {}))
    back = import_path(other, tmp_path / "out")
    assert back.n_problems == 0
    assert content(other) == content(any_workspace)
    other.close()


def test_held_out_judgements_are_peoples_alone_and_every_label_names_its_source(
    any_workspace: Workspace, tmp_path: Path
) -> None:
    """Held-out figures measured on a judge's own grades flatter that judge."""
    fill(any_workspace)
    export(any_workspace, layout="beir", target=tmp_path / "out", include_proposed=True)
    assert (tmp_path / "out" / "qrels" / "test.tsv").read_text() == "query-id\tcorpus-id\tscore\nq-held\tp 0\t2\n"
    labels = {(row["query_id"], row["corpus_id"]): row for row in json_lines(tmp_path / "out" / "labels.jsonl")}
    human, accepted, proposed = labels["q-train", "p 0"], labels["q-train", "p 3"], labels["q-train", "p 4"]
    assert (human["source"], human["person"], human["split"], human["judge"]) == ("human", "Ada", "train", None)
    assert (accepted["source"], accepted["judge"], accepted["decision"]) == ("accepted", "gpt", "accepted")
    assert (accepted["policy"], accepted["why"], accepted["confidence"]) == ("v1", "confident", 0.9)
    assert (proposed["source"], proposed["decision"], proposed["split"]) == ("proposed", None, "train")
    assert ("q-held", "p 4") not in labels


def test_proposals_stay_out_unless_asked_for(any_workspace: Workspace, tmp_path: Path) -> None:
    """What nobody accepted is no label."""
    fill(any_workspace)
    report = export(any_workspace, layout="labels", target=tmp_path / "labels.jsonl")
    assert report.n_rows == 5 + 2
    assert {row["source"] for row in json_lines(tmp_path / "labels.jsonl")} == {"human", "accepted"}


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_triplets_and_lists_hold_train_labels_only_and_say_where_they_come_from(
    workspace: Workspace, tmp_path: Path, file_format: str
) -> None:
    """A held-out pair in a training file is the worst leak there is; grade 1 is neither positive nor negative."""
    import pyarrow.parquet as pq

    fill(workspace)

    def rows(layout: str) -> list[dict[str, Any]]:
        report = export(workspace, layout=layout, target=tmp_path / "out", file_format=file_format)
        assert report.files == (f"{layout}.{file_format}",)
        file = tmp_path / "out" / report.files[0]
        found: list[dict[str, Any]] = json_lines(file) if file_format == "jsonl" else pq.read_table(file).to_pylist()
        assert report.n_rows == len(found)
        return found

    triplets = rows("triplets")
    assert [(row["query_id"], row["positive_id"], row["negative_id"]) for row in triplets] == [
        ("q-train", "p 0", "p 1"),
        ("q-train", "p 3", "p 1"),
    ]
    assert list(triplets[0])[:3] == ["query", "positive", "negative"]
    assert triplets[0]["positive"] == "Title 0 text “0”\twith\ttabs"
    assert [row["positive_source"] for row in triplets] == ["human", "accepted"]
    assert triplets[1]["positive_judge"] == "gpt"
    (listed,) = rows("lists")
    assert listed["labels"] == [3.0, 2.0, 1.0, 0.0]
    assert listed["doc_ids"] == ["p 0", "p 3", "p 2", "p 1"]
    assert listed["sources"] == ["human", "accepted", "human", "human"]
    assert listed["decisions"] == [None, "accepted", None, None]


def test_an_empty_workspace_exports_files_with_all_columns(workspace: Workspace, tmp_path: Path) -> None:
    """An empty table without columns breaks the reader that comes next."""
    import pyarrow.parquet as pq

    for layout, columns in (("labels", 16), ("triplets", 16), ("lists", 9)):
        export(workspace, layout=layout, target=tmp_path / f"{layout}.parquet", file_format="parquet")
        table = pq.read_table(tmp_path / f"{layout}.parquet")
        assert (table.num_rows, table.num_columns) == (0, columns)


def test_trec_files_refuse_ids_with_spaces_and_leave_nothing_behind(workspace: Workspace, tmp_path: Path) -> None:
    """A space shifts the columns, and every tool reads another passage's grade."""
    fill(workspace)
    with pytest.raises(InputInvalid, match="space"):
        export(workspace, layout="trec", target=tmp_path / "trec")
    assert [path.name for path in tmp_path.iterdir() if path.name != "workspace"] == []


def test_trec_judgements_have_four_columns(workspace: Workspace, tmp_path: Path) -> None:
    """trec_eval reads exactly this."""
    import_passages(workspace, [("p1", "", "text")], source_name="s")
    import_queries(workspace, [NewQuery("q1", "a question", Split.HELD_OUT)], source_name="s")
    import_judgements(workspace, [NewJudgement("q1", "p1", 2)], source_name="s", max_grade=3)
    export(workspace, layout="trec", target=tmp_path / "trec")
    assert (tmp_path / "trec" / "test.qrels").read_text() == "q1 0 p1 2\n"


def test_what_is_there_is_only_overwritten_on_demand_and_only_if_it_is_ours(
    workspace: Workspace, tmp_path: Path
) -> None:
    """`relabel export --overwrite ~` must not replace a home directory."""
    fill(workspace)
    target = tmp_path / "out"
    export(workspace, layout="beir", target=target)
    with pytest.raises(Conflict):
        export(workspace, layout="beir", target=target)
    (target / "corpus.jsonl").write_text("stale")
    export(workspace, layout="beir", target=target, overwrite=True)
    assert len(json_lines(target / "corpus.jsonl")) == 6
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    with pytest.raises(Conflict, match="not an earlier export"):
        export(workspace, layout="beir", target=precious, overwrite=True)
    file = tmp_path / "labels.jsonl"
    file.write_text("mine")
    with pytest.raises(Conflict):
        export(workspace, layout="labels", target=file)
    assert file.read_text() == "mine"


def test_a_failed_export_leaves_the_old_file_and_no_half_one(workspace: Workspace, tmp_path: Path) -> None:
    """Half a label file trains half a model and nobody notices."""
    fill(workspace)
    target = tmp_path / "labels.jsonl"
    export(workspace, layout="labels", target=target)
    old = target.read_bytes()
    broken = open_with(settings_from(tmp_path / "broken", {}))
    with broken.sessions.begin() as session:
        session.execute(sa.text("ALTER TABLE policy RENAME TO gone"))
    with pytest.raises(sa.exc.OperationalError):
        export(broken, layout="labels", target=target, overwrite=True)
    broken.close()
    assert target.read_bytes() == old
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


def test_layouts_and_formats_that_do_not_exist_are_named_with_those_that_do(
    workspace: Workspace, tmp_path: Path
) -> None:
    """A typing error must not end in a traceback."""
    with pytest.raises(InputInvalid, match="triplets"):
        export(workspace, layout="triples", target=tmp_path / "x")
    with pytest.raises(InputInvalid, match="jsonl or parquet"):
        export(workspace, layout="labels", target=tmp_path / "x", file_format="csv")
    with pytest.raises(InputInvalid, match="Parquet is for"):
        export(workspace, layout="beir", target=tmp_path / "x", file_format="parquet")
