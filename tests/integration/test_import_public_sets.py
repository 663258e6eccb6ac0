"""Real public sets come in whole, fast, and in bounded memory."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from app.bootstrap import Workspace
from app.services.data import get_data
from app.services.importing import import_path
from db.enums import Split
from db.models import JudgeRow, Query, QueryCluster, Suggestion


def n_suggestions(workspace: Workspace) -> dict[tuple[str, str | None], int]:
    with workspace.sessions.read() as session:
        rows = session.execute(
            sa.select(JudgeRow.name, Suggestion.confidence_kind, sa.func.count())
            .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
            .group_by(JudgeRow.name, Suggestion.confidence_kind)
        )
        return {(name, None if kind is None else str(kind)): n for name, kind, n in rows}


def test_scifact_comes_in_whole_within_seconds_and_only_once(any_workspace: Workspace, shared_data: Path) -> None:
    """The numbers are those of the set's own description; three seconds is what a person waits without wondering."""
    began = time.monotonic()
    report = import_path(any_workspace, shared_data / "scifact")
    seconds = time.monotonic() - began
    assert (report.passages, report.queries, report.judgements, report.n_problems) == (5183, 1109, 919 + 339, 0)
    assert seconds < 12, f"took {seconds:.1f} s; 1 to 3 s on an idle machine"
    again = import_path(any_workspace, shared_data / "scifact")
    assert (again.passages, again.queries, again.judgements) == (0, 0, 0)
    view = get_data(any_workspace)
    assert view.n_judgements == {"human": 1258}
    assert sum(view.n_queries.values()) == 1109


def test_diras_keeps_six_judges_their_confidence_kinds_and_the_definitions(
    any_workspace: Workspace, shared_data: Path
) -> None:
    """Where both kinds of confidence are there the token probability is taken; mixed kinds cannot be calibrated."""
    report = import_path(any_workspace, shared_data / "diras")
    assert (report.passages, report.queries, report.judgements, report.suggestions) == (492, 11, 660, 3960)
    assert n_suggestions(any_workspace) == {
        ("gpt-4/cot", "token"): 660,
        ("gpt-3.5/cot", "token"): 660,
        ("gpt-4/no-definition", "verbal"): 660,
        ("gpt-4/no-cot", "verbal"): 660,
        ("llama-3-8b/zero-shot", "token"): 660,
        ("llama-3-8b/distilled", "token"): 660,
    }


def test_trecdl_takes_its_splits_by_name_and_keeps_its_scale(workspace: Workspace, shared_data: Path) -> None:
    """dl19 trains and dl20 tests; a 1 of NIST's scale stays a 1."""
    report = import_path(workspace, shared_data / "trecdl", splits={"dl19": Split.TRAIN, "dl20": Split.HELD_OUT})
    assert (report.passages, report.queries, report.judgements, report.suggestions) == (20349, 97, 20646, 123833)
    assert report.n_problems == 0
    with workspace.sessions.read() as session:
        rows = session.execute(
            sa.select(QueryCluster.split, sa.func.count(Query.id))
            .join(Query, Query.cluster_id == QueryCluster.id)
            .group_by(QueryCluster.split)
        )
        by_split = {split: n for split, n in rows}
    assert sum(by_split.values()) == 97
    assert by_split[Split.HELD_OUT] >= 54


def test_cranfield_is_graded_without_a_zero_and_its_two_empty_documents_are_listed(
    workspace: Workspace, shared_data: Path
) -> None:
    """Grades 1..3 alone are no binary scale; a judgement of an empty document must not vanish unseen."""
    report = import_path(workspace, shared_data / "cranfield")
    assert (report.passages, report.judgements) == (1398, 1611)
    assert [(problem.file, problem.reason) for problem in report.problems] == [
        ("corpus.jsonl", "passage '471' has neither a title nor a text"),
        ("corpus.jsonl", "passage '995' has neither a title nor a text"),
        ("qrels/test.tsv", 'there is no passage with the id "995"'),
    ]
    assert any("0..3 were taken as they are" in note for note in report.notes)
