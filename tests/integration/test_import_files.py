"""Imports of files with good and bad lines, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import InstrumentedAttribute

from annotator.types import Criterion
from app.bootstrap import Workspace, open_with
from app.config import settings_from
from app.errors import InputInvalid
from app.services.data import get_data
from app.services.importing import (
    NewCandidate,
    NewJudgement,
    NewQuery,
    NewSuggestion,
    import_candidates,
    import_judgements,
    import_passages,
    import_path,
    import_queries,
    import_suggestions,
)
from app.services.views import ImportReport
from db.enums import LabelSource, PersonKind, ReviewAction, Split, Visibility
from db.models import (
    Candidate,
    CandidateHit,
    Definition,
    ImportRejection,
    JudgeRow,
    Pair,
    PairState,
    Passage,
    Person,
    Query,
    QueryCluster,
    Review,
    Source,
    Suggestion,
)
from db.queries.people import person_named
from db.queries.states import refresh_state


def write(file: Path, *rows: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
    return file


def beir(folder: Path) -> Path:
    """Three passages, three queries, judgements of two splits on a binary scale."""
    write(
        folder / "corpus.jsonl",
        {"_id": "p1", "title": "One", "text": "first passage"},
        {"_id": "p2", "title": "", "text": "second passage"},
        {"_id": "p3", "title": "Three", "text": ""},
    )
    write(
        folder / "queries.jsonl",
        {"_id": "q1", "text": "where is the first passage", "definition": "The first counts."},
        {"_id": "q2", "text": "what about another thing"},
        {"_id": "q3", "text": "nobody judged this"},
    )
    write(folder / "qrels" / "train.tsv", "query-id\tcorpus-id\tscore", "q1\tp1\t1", "q1\tp2\t0")
    write(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore", "q2\tp3\t1")
    return folder


def count(workspace: Workspace, table: type) -> int:
    with workspace.sessions.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def texts_of(workspace: Workspace, column: InstrumentedAttribute[str]) -> dict[str, str]:
    """That column of every passage, by the passage's id."""
    with workspace.sessions.read() as session:
        return {name: value for name, value in session.execute(sa.select(Passage.external_id, column))}


def splits(workspace: Workspace) -> dict[str, Split | None]:
    with workspace.sessions.read() as session:
        rows = session.execute(
            sa.select(Query.external_id, QueryCluster.split).join(QueryCluster, QueryCluster.id == Query.cluster_id)
        )
        return {external_id: split for external_id, split in rows}


def curated(workspace: Workspace) -> dict[tuple[str, str], tuple[int | None, LabelSource | None]]:
    with workspace.sessions.read() as session:
        rows = session.execute(
            sa.select(Query.external_id, Passage.external_id, PairState.curated_grade, PairState.curated_source)
            .join(Pair, Pair.id == PairState.pair_id)
            .join(Query, Query.id == Pair.query_id)
            .join(Passage, Passage.id == Pair.passage_id)
        )
        return {(query, passage): (grade, source) for query, passage, grade, source in rows}


def say(workspace: Workspace, *, action: ReviewAction, grade: int) -> None:
    """A person here grades the pair (q1, p1)."""
    now = workspace.now()
    with workspace.sessions.begin() as session:
        pair_id = session.scalars(
            sa.select(Pair.id)
            .join(Query, Query.id == Pair.query_id)
            .join(Passage, Passage.id == Pair.passage_id)
            .where(Query.external_id == "q1", Passage.external_id == "p1")
        ).one()
        session.add(
            Review(
                pair_id=pair_id,
                criterion=Criterion.RELEVANCE,
                person_id=person_named(session, "Ada", now=now).id,
                action=action,
                grade=grade,
                visibility=Visibility.SHOWN,
                note="",
                created_at=now,
            )
        )
        session.flush()
        refresh_state(session, pair_id=pair_id, criterion=Criterion.RELEVANCE, now=now)


def reasons(report: ImportReport) -> list[tuple[str, int, str]]:
    return [(problem.file, problem.line, problem.reason) for problem in report.problems]


def counts(report: ImportReport) -> tuple[int, int, int, int, int]:
    return report.passages, report.queries, report.judgements, report.suggestions, report.candidates


def test_a_beir_directory_comes_in_with_splits_definitions_and_mapped_grades(
    any_workspace: Workspace, tmp_path: Path
) -> None:
    """The whole loop stands on this: wrong splits or grades would make every later figure wrong."""
    report = import_path(any_workspace, beir(tmp_path / "set"))
    assert (counts(report), report.n_problems) == ((3, 3, 3, 0, 0), 0)
    assert splits(any_workspace) == {"q1": Split.TRAIN, "q2": Split.HELD_OUT, "q3": None}
    assert curated(any_workspace) == {
        ("q1", "p1"): (3, LabelSource.HUMAN),
        ("q1", "p2"): (0, LabelSource.HUMAN),
        ("q2", "p3"): (3, LabelSource.HUMAN),
    }
    with any_workspace.sessions.read() as session:
        review = session.scalars(sa.select(Review).where(Review.grade == 3).order_by(Review.id)).first()
        assert review is not None
        assert (review.original_grade, review.visibility, review.action) == ("1", Visibility.BLIND, ReviewAction.GRADE)
        person = session.scalars(sa.select(Person)).one()
        assert (person.name, person.kind) == ("import:set", PersonKind.IMPORTED)
        source = session.scalars(sa.select(Source)).one()
        assert (source.max_grade, source.scale_mapping) == (1, {"1": {"0": 0, "1": 3}})
        assert session.scalars(sa.select(Definition.text)).all() == ["The first counts."]
    assert any("0 → 0, 1 → 3" in note for note in report.notes)


def test_importing_the_same_again_changes_nothing(any_workspace: Workspace, tmp_path: Path) -> None:
    """People repeat an import that seemed to hang; doubled labels would double their weight."""
    folder = beir(tmp_path / "set")
    import_path(any_workspace, folder)
    before = {table: count(any_workspace, table) for table in (Passage, Query, QueryCluster, Pair, Review, Definition)}
    report = import_path(any_workspace, folder)
    assert (counts(report), report.unchanged) == ((0, 0, 0, 0, 0), 9)
    assert {table: count(any_workspace, table) for table in before} == before


def test_a_grade_that_changed_in_the_source_is_appended_and_holds(any_workspace: Workspace, tmp_path: Path) -> None:
    """Corrected judgements must count, and the earlier ones must stay to be seen."""
    folder = beir(tmp_path / "set")
    import_path(any_workspace, folder)
    write(folder / "qrels" / "train.tsv", "query-id\tcorpus-id\tscore", "q1\tp1\t0", "q1\tp2\t0")
    report = import_path(any_workspace, folder)
    assert report.judgements == 1
    assert curated(any_workspace)["q1", "p1"] == (0, LabelSource.HUMAN)
    assert count(any_workspace, Review) == 4


def test_a_repeated_import_never_takes_back_what_a_person_said_since(any_workspace: Workspace, tmp_path: Path) -> None:
    """A nightly import would silently undo every correction made by hand."""
    folder = beir(tmp_path / "set")
    import_path(any_workspace, folder)
    say(any_workspace, action=ReviewAction.GRADE, grade=1)
    import_path(any_workspace, folder)
    assert curated(any_workspace)["q1", "p1"] == (1, LabelSource.HUMAN)


def test_what_a_person_says_while_an_import_writes_stays(postgres_workspace: Workspace, tmp_path: Path) -> None:
    """The import's earlier review would stand above the person's later one until somebody judges again."""
    folder = beir(tmp_path / "set")
    import_path(postgres_workspace, folder)
    (folder / "qrels" / "test.tsv").unlink()
    said: list[int] = []

    def interrupt(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO pair_state") and not said:
            said.append(1)
            say(postgres_workspace, action=ReviewAction.GRADE, grade=1)

    sa.event.listen(sa.Engine, "before_cursor_execute", interrupt)
    try:
        write(folder / "qrels" / "train.tsv", "query-id\tcorpus-id\tscore", "q1\tp1\t0", "q1\tp2\t0")
        report = import_path(postgres_workspace, folder)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", interrupt)
    assert (report.judgements, said) == (1, [1])
    assert curated(postgres_workspace)["q1", "p1"] == (1, LabelSource.HUMAN)


def test_an_adjudication_stays_above_an_imported_judgement(any_workspace: Workspace, tmp_path: Path) -> None:
    """The adjudicated grade is the strongest there is."""
    folder = beir(tmp_path / "set")
    import_path(any_workspace, folder)
    say(any_workspace, action=ReviewAction.ADJUDICATE, grade=2)
    import_path(any_workspace, folder, source="another", judgements_as="Bob")
    assert curated(any_workspace)["q1", "p1"] == (2, LabelSource.ADJUDICATED)


def test_every_kind_of_bad_line_is_listed_with_file_line_and_reason_and_the_good_ones_go_in(
    any_workspace: Workspace, tmp_path: Path
) -> None:
    """An import that stops at, or silently drops, line 17 of a million is useless."""
    folder = tmp_path / "set"
    corpus = write(
        folder / "corpus.jsonl",
        {"_id": "p1", "title": "", "text": "good"},
        "{broken",
        {"title": "no id", "text": "x"},
        {"_id": "p4", "title": "", "text": " "},
        {"_id": "p1", "title": "", "text": "other content"},
        {"_id": "x" * 501, "title": "", "text": "x"},
        {"_id": "p7", "title": "", "text": 5},
        '{"_id": "p8", "text": "\\ud800"}',
        '{"_id": "p\\u0000", "text": "x"}',
        '{"_id": "p10", "text": "nul \\u0000 removed"}',
    )
    with corpus.open("ab") as stream:
        stream.write(b'{"_id": "p11", "text": "caf\xe9"}\n')
    write(folder / "queries.jsonl", {"_id": "q1", "text": "good question"}, {"_id": "q2", "text": ""})
    write(
        folder / "qrels" / "test.tsv",
        "query-id\tcorpus-id\tscore",
        "q1\tp1\t1",
        "q9\tp1\t1",
        "q1\tp9\t1",
        "q1\tp10\tyes",
        "q1\tp10\t99",
        "q1\tp10\t-1",
        "q1\tp1\t0",
        "q1\tp1",
    )
    report = import_path(any_workspace, folder)
    assert counts(report) == (2, 1, 1, 0, 0)
    listed = reasons(report)
    expected = [
        ("corpus.jsonl", 2, "invalid JSON"),
        ("corpus.jsonl", 3, "id is missing"),
        ("corpus.jsonl", 4, "neither a title nor a text"),
        ("corpus.jsonl", 5, "came before with another text"),
        ("corpus.jsonl", 6, "at most 500"),
        ("corpus.jsonl", 7, "must be text"),
        ("corpus.jsonl", 8, "surrogate"),
        ("corpus.jsonl", 9, "control character"),
        ("corpus.jsonl", 11, "not UTF-8"),
        ("queries.jsonl", 2, "has no text"),
        ("qrels/test.tsv", 3, "no query"),
        ("qrels/test.tsv", 4, "no passage"),
        ("qrels/test.tsv", 5, "whole number"),
        ("qrels/test.tsv", 6, "not on the source's scale 0..1"),
        ("qrels/test.tsv", 7, "not on the source's scale"),
        ("qrels/test.tsv", 8, "came before in this import"),
        ("qrels/test.tsv", 9, "2 values for 3 columns"),
    ]
    assert sorted((file, line) for file, line, _ in listed) == sorted((file, line) for file, line, _ in expected)
    found = {(file, line): reason for file, line, reason in listed}
    assert [found[file, line] for file, line, part in expected if part not in found[file, line]] == []
    assert report.n_problems == len(expected) == count(any_workspace, ImportRejection)
    assert any("1 NUL" in note for note in report.notes)


def test_refused_lines_of_an_earlier_try_are_forgotten_when_the_file_was_mended(
    workspace: Workspace, tmp_path: Path
) -> None:
    """A list of problems that never shrinks is not read."""
    file = write(tmp_path / "corpus.jsonl", {"_id": "p1", "text": "a"}, "{broken")
    import_path(workspace, file)
    assert get_data(workspace).sources[0].n_rejected_lines == 1
    write(file, {"_id": "p1", "text": "a"}, {"_id": "p2", "text": "b"})
    report = import_path(workspace, file)
    assert (report.passages, report.unchanged, report.n_problems) == (1, 1, 0)
    assert get_data(workspace).sources[0].n_rejected_lines == 0


def test_the_report_holds_the_first_thousand_problems_and_the_database_all(
    workspace: Workspace, tmp_path: Path
) -> None:
    """A file in the wrong layout must not fill the memory with its complaints."""
    report = import_path(workspace, write(tmp_path / "corpus.jsonl", *["{broken"] * 2500, {"_id": "p", "text": "x"}))
    assert (len(report.problems), report.n_problems, report.passages) == (1000, 2500, 1)
    assert count(workspace, ImportRejection) == 2500


def test_a_changed_passage_replaces_the_old_text_and_a_judged_query_is_refused(
    any_workspace: Workspace, tmp_path: Path
) -> None:
    """A judgement is about a text: changing a judged question under it makes it a lie."""
    folder = beir(tmp_path / "set")
    import_path(any_workspace, folder)
    import_passages(any_workspace, [("p4", "Four", "fourth passage")], source_name="set")
    old = texts_of(any_workspace, Passage.text_hash)["p4"]
    write(folder / "corpus.jsonl", {"_id": "p4", "title": "Four", "text": "mended passage"})
    write(
        folder / "queries.jsonl",
        {"_id": "q1", "text": "another question altogether"},
        {"_id": "q3", "text": "nobody judged this one yet"},
    )
    report = import_path(any_workspace, folder)
    with any_workspace.sessions.read() as session:
        texts = {name: text for name, text in session.execute(sa.select(Query.external_id, Query.text))}
    assert texts_of(any_workspace, Passage.text)["p4"] == "mended passage"
    assert texts_of(any_workspace, Passage.text_hash)["p4"] != old
    assert texts["q1"] == "where is the first passage"
    assert texts["q3"] == "nobody judged this one yet"
    assert any("people judged" in reason for _, _, reason in reasons(report))
    assert any("1 passages were there with another text" in note for note in report.notes)


def test_a_passage_that_was_judged_or_proposed_for_keeps_its_text(any_workspace: Workspace, tmp_path: Path) -> None:
    """Grades, evidence and frozen label sets would refer to a text that nobody read."""
    rows = [(name, "", f"{name} as it was") for name in ("judged", "proposed", "pooled", "free")]
    import_passages(any_workspace, rows, source_name="s")
    import_queries(any_workspace, [NewQuery("q", "a question")], source_name="s")
    import_judgements(any_workspace, [NewJudgement("q", "judged", 1)], source_name="s", person="Ada", max_grade=3)
    write(tmp_path / "suggestions.jsonl", {"query_id": "q", "passage_id": "proposed", "judge": "j", "grade": 2})
    import_path(any_workspace, tmp_path / "suggestions.jsonl", max_grade=3)
    import_candidates(any_workspace, [NewCandidate("q", "pooled", "bm25", 1, 2.5)], source_name="s")
    report = import_passages(any_workspace, [(name, "", f"{name} anew") for name, _, _ in rows], source_name="s")
    assert texts_of(any_workspace, Passage.text) == {
        "judged": "judged as it was",
        "proposed": "proposed as it was",
        "pooled": "pooled anew",
        "free": "free anew",
    }
    assert [reason for _, _, reason in reasons(report)] == [
        f"the passage '{name}' is judged and keeps its text; import the new text under another id"
        for name in ("judged", "proposed")
    ]
    assert any("2 passages were there with another text" in note for note in report.notes)


def test_a_judged_chunk_of_a_document_that_shifts_is_a_listed_problem(workspace: Workspace, tmp_path: Path) -> None:
    """A paragraph put in front moves texts from one id to the next, and the labels would stay behind."""
    first, second, third = (" ".join([word] * 150) for word in ("one", "two", "three"))
    guide = write(tmp_path / "docs" / "guide.md", "# Setup", "", first, "", second)
    import_path(workspace, tmp_path / "docs")
    import_queries(workspace, [NewQuery("q", "a question")], source_name="docs")
    judged = [NewJudgement("q", "guide.md#setup.1", 3)]
    import_judgements(workspace, judged, source_name="docs", person="Ada", max_grade=3)
    write(guide, "# Setup", "", third, "", first, "", second)
    report = import_path(workspace, tmp_path / "docs")
    assert texts_of(workspace, Passage.text) == {
        "guide.md#setup.1": first,
        "guide.md#setup.2": first,
        "guide.md#setup.3": second,
    }
    assert [(file, "is judged" in reason) for file, _, reason in reasons(report)] == [("guide.md", True)]
    assert not any("no longer in its documents" in note for note in report.notes)


def test_an_id_of_another_source_is_never_overwritten_nor_judged_by_mistake(
    any_workspace: Workspace, tmp_path: Path
) -> None:
    """Two corpora both number from 1: the second one's judgements would land on the first one's passages."""
    import_path(any_workspace, beir(tmp_path / "first"))
    other = tmp_path / "second"
    write(
        other / "corpus.jsonl", {"_id": "p1", "title": "", "text": "quite another text"}, {"_id": "n1", "text": "new"}
    )
    write(other / "queries.jsonl", {"_id": "n-q", "text": "a question of its own"})
    write(other / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore", "n-q\tp1\t1", "n-q\tn1\t1")
    report = import_path(any_workspace, other)
    assert counts(report) == (1, 1, 1, 0, 0)
    assert [reason.split(":")[0] for _, _, reason in reasons(report)] == [
        "the id 'p1' belongs to a passage of another source with another text; "
        "give it an id of its own, or import it under that source's name to correct it",
        'the passage "p1" was refused in this import',
    ]
    assert ("n-q", "p1") not in curated(any_workspace)


def test_near_duplicate_queries_share_the_strictest_split(any_workspace: Workspace, tmp_path: Path) -> None:
    """A paraphrase of a test question in training makes the test meaningless."""
    rows = [
        NewQuery("a", "how do I merge two sorted streams", Split.TRAIN),
        NewQuery("b", "merge two sorted streams", Split.HELD_OUT),
        NewQuery("c", "something else entirely", Split.TRAIN),
    ]
    report = import_queries(any_workspace, rows, source_name="x")
    assert splits(any_workspace) == {"a": Split.HELD_OUT, "b": Split.HELD_OUT, "c": Split.TRAIN}
    assert any("1 groups of near-duplicate queries asked for different splits" in note for note in report.notes)
    later = import_queries(any_workspace, [NewQuery("d", "Sorted streams: merge two!", Split.TRAIN)], source_name="y")
    assert splits(any_workspace)["d"] is Split.HELD_OUT
    assert any("kept the split they had" in note for note in later.notes)
    assert count(any_workspace, QueryCluster) == 2


def test_judgement_files_of_no_known_split_give_none_unless_told(workspace: Workspace, tmp_path: Path) -> None:
    """dl19 could be training or test; guessing wrong leaks."""
    folder = beir(tmp_path / "set")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "dl20.tsv")
    (folder / "qrels" / "train.tsv").rename(folder / "qrels" / "dl19.tsv")
    report = import_path(workspace, folder)
    assert set(splits(workspace).values()) == {None}
    assert sum("names no split" in note for note in report.notes) == 2
    import_path(workspace, folder, splits={"dl19": Split.TRAIN, "dl20": Split.HELD_OUT})
    assert splits(workspace) == {"q1": Split.TRAIN, "q2": Split.HELD_OUT, "q3": None}
    with pytest.raises(InputInvalid, match="dl21"):
        import_path(workspace, folder, splits={"dl21": Split.TRAIN})


def test_disjoint_judgement_files_wait_to_be_asked_for(workspace: Workspace, tmp_path: Path) -> None:
    """Taking both a split and its stricter cut would put back what the cut removed."""
    folder = beir(tmp_path / "set")
    (folder / "qrels" / "train_disjoint.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tp1\t1\n")
    report = import_path(workspace, folder)
    assert report.judgements == 3
    assert any("train_disjoint" in note for note in report.notes)
    again = open_with(settings_from(tmp_path / "again", {}))
    report = import_path(again, folder, splits={"train_disjoint": Split.TRAIN})
    assert report.judgements == 2
    assert any("qrels/train.tsv was left out" in note for note in report.notes)
    again.close()


def test_suggestions_made_elsewhere_keep_their_judge_scale_and_one_kind_of_confidence(
    any_workspace: Workspace, tmp_path: Path
) -> None:
    """Mixing a stated confidence with a token probability makes both useless; an unreadable reply is no grade 0."""
    folder = beir(tmp_path / "set")
    write(
        folder / "suggestions.jsonl",
        {
            **{"query_id": "q1", "corpus_id": "p1", "judge": "gpt/cot", "answer": "yes", "max_grade": 1, "grade": 1},
            **{"verbal_confidence": 0.7, "token_probability": 0.9},
        },
        {"query_id": "q1", "corpus_id": "p2", "judge": "gpt/cot", "max_grade": 3, "grade": 2, "verbal_confidence": 0.6},
        {"query_id": "q2", "corpus_id": "p1", "judge": "gpt/cot", "max_grade": 3, "grade": None, "raw_reply": "hm"},
        {"query_id": "q2", "corpus_id": "p2", "judge": "gpt/cot", "max_grade": 3, "grade": 4},
        {"query_id": "q2", "corpus_id": "p2", "judge": "gpt/cot", "grade": 1},
        {"query_id": "q2", "corpus_id": "p2", "judge": "gpt/cot", "max_grade": 3, "grade": 1, "token_probability": 1.2},
        {"query_id": "q2", "corpus_id": "p2", "max_grade": 3, "grade": 1},
    )
    report = import_path(any_workspace, folder)
    assert (report.suggestions, report.n_problems) == (3, 4)
    with any_workspace.sessions.read() as session:
        first, second, third = session.scalars(sa.select(Suggestion).order_by(Suggestion.id)).all()
        judge = session.scalars(sa.select(JudgeRow)).one()
        states = session.scalars(sa.select(PairState.suggestion_id).order_by(PairState.suggestion_id)).all()
    assert (judge.name, str(judge.kind)) == ("gpt/cot", "imported")
    assert (first.grade, first.original_grade, first.confidence, str(first.confidence_kind)) == (3, "1", 0.9, "token")
    assert json.loads(first.raw_reply) == {"answer": "yes", "token_probability": 0.9, "verbal_confidence": 0.7}
    assert (second.grade, second.confidence, str(second.confidence_kind)) == (2, 0.6, "verbal")
    assert (third.grade, str(third.status), third.raw_reply, third.confidence) == (None, "unreadable", "hm", None)
    assert {first.id, second.id, third.id} <= set(states)
    assert curated(any_workspace)["q1", "p1"] == (3, LabelSource.HUMAN)
    again = import_path(any_workspace, folder)
    assert (again.suggestions, count(any_workspace, Suggestion)) == (0, 3)


def test_a_grade_distribution_is_added_up_onto_the_workspace_scale(any_workspace: Workspace) -> None:
    """Soft targets on another scale than the labels would train the wrong thing."""
    import_passages(any_workspace, [("p", "", "text")], source_name="s")
    import_queries(any_workspace, [NewQuery("q", "a question")], source_name="s")
    row = NewSuggestion("q", "p", "j", 4, 4, grade_distribution=(0.1, 0.1, 0.2, 0.2, 0.4))
    import_suggestions(any_workspace, [row], source_name="s")
    with any_workspace.sessions.read() as session:
        shares = session.scalars(sa.select(Suggestion.grade_distribution)).one()
    assert shares == pytest.approx([0.1, 0.1, 0.4, 0.4])


def test_a_run_becomes_candidates_and_a_second_run_adds_its_ranks(any_workspace: Workspace, tmp_path: Path) -> None:
    """Candidates of another system must not wipe out where the first one ranked them."""
    import_path(any_workspace, beir(tmp_path / "set"))
    run = write(
        tmp_path / "bm25.run", "q1 Q0 p1 0 12.5 bm25", "q1 Q0 p2 1 11 bm25", "q9 Q0 p2 1 11 bm25", "q1 Q0 p3 2 x b"
    )
    report = import_path(any_workspace, run)
    assert (report.candidates, report.n_problems) == (2, 2)
    assert any("1 was added" in note for note in report.notes)
    other = import_path(any_workspace, write(tmp_path / "b.run", "q1 0 p2 1 0.9 dense"), system="my-dense")
    assert other.candidates == 1
    with any_workspace.sessions.read() as session:
        hits = session.execute(sa.select(CandidateHit.system, CandidateHit.rank).order_by(CandidateHit.system)).all()
        candidates = session.execute(sa.select(Candidate.rank, Candidate.pool_size, Candidate.score)).all()
    assert sorted(map(tuple, hits)) == [("bm25", 1), ("bm25", 2), ("my-dense", 1)]
    assert sorted(map(tuple, candidates)) == [(1, 2, pytest.approx(1 / 61)), (2, 2, pytest.approx(1 / 62))]
    assert import_path(any_workspace, run).unchanged == 2


def test_trec_judgements_are_read_with_either_second_column(any_workspace: Workspace, tmp_path: Path) -> None:
    """Both `0` and `Q0` are in the wild."""
    import_path(any_workspace, beir(tmp_path / "set"))
    file = write(tmp_path / "judged.qrels", "q3 0 p1 2", "q3 Q0 p2 0", "q3 7 p3 1", "q3 0 p3 -1")
    report = import_path(any_workspace, file, split=Split.CALIBRATE, max_grade=2, judgements_as="NIST")
    assert (report.judgements, report.n_problems) == (2, 2)
    assert splits(any_workspace)["q3"] is Split.CALIBRATE
    assert curated(any_workspace)["q3", "p1"] == (3, LabelSource.HUMAN)


def test_a_mapping_given_by_hand_holds_and_is_stored(workspace: Workspace, tmp_path: Path) -> None:
    """On TREC DL a 1 is not relevant; only the person knows what a source's grades mean."""
    import_path(workspace, beir(tmp_path / "set"))
    file = write(tmp_path / "judged.qrels", "q3 0 p1 -2", "q3 0 p2 4")
    report = import_path(workspace, file, scale={-2: 0, 4: 2})
    assert (report.judgements, report.n_problems) == (2, 0)
    assert curated(workspace)["q3", "p2"] == (2, LabelSource.HUMAN)
    with pytest.raises(InputInvalid, match="off the workspace's grades"):
        import_path(workspace, file, scale={-2: 0, 4: 9})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels.csv", "query-id,score\nq1,1\n"),
        ("corpus.csv", "id,words\n1,x\n"),
        ("notes.txt", "some text\n"),
        ("data.xyz", "a b\n"),
        ("things.jsonl", '{"_id": "1", "text": "which?"}\n'),
        ("things.jsonl", ""),
    ],
)
def test_what_cannot_be_told_is_refused_whole_and_leaves_no_trace(
    workspace: Workspace, tmp_path: Path, name: str, content: str
) -> None:
    """A guess that is wrong imports queries as passages."""
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(InputInvalid):
        import_path(workspace, file)
    assert count(workspace, Source) == 0


def test_a_missing_column_is_named(workspace: Workspace, tmp_path: Path) -> None:
    """ "Invalid file" sends people to the forum."""
    file = write(tmp_path / "judged.csv", "query-id,score", "q1,1")
    with pytest.raises(InputInvalid, match="no column corpus-id or corpus_id"):
        import_path(workspace, file, layout="qrels")


def test_an_empty_file_is_a_problem_and_no_success(workspace: Workspace, tmp_path: Path) -> None:
    """An export that failed upstream leaves an empty file."""
    (tmp_path / "corpus.jsonl").write_text("")
    report = import_path(workspace, tmp_path / "corpus.jsonl")
    assert reasons(report) == [("corpus.jsonl", 1, "the file is empty")]


def test_tables_of_every_format_are_told_by_name_and_columns(workspace: Workspace, tmp_path: Path) -> None:
    """The same data in four formats must mean the same."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": [1, 2], "title": ["a", "b"], "text": ["x", "y"]}), tmp_path / "things.parquet")
    files: Iterable[tuple[Path, tuple[int, int, int, int, int]]] = [
        (tmp_path / "things.parquet", (2, 0, 0, 0, 0)),
        (write(tmp_path / "corpus.tsv", "docid\ttext", "3\tz"), (1, 0, 0, 0, 0)),
        (write(tmp_path / "topics.csv", "qid,query", 'q1,"one, two"'), (0, 1, 0, 0, 0)),
        (write(tmp_path / "my-queries.txt", "first question", "second question", "first question"), (0, 2, 0, 0, 0)),
        (write(tmp_path / "j.csv", "query_id,doc_id,relevance", "q1,1,1"), (0, 0, 1, 0, 0)),
    ]
    for file, expected in files:
        report = import_path(workspace, file)
        assert (file.name, counts(report), report.n_problems) == (file.name, expected, 0)


def test_a_folder_of_documents_becomes_passages_with_stable_ids(workspace: Workspace, tmp_path: Path) -> None:
    """Labels hang on ids: an edit elsewhere in a document must not move them."""
    folder = tmp_path / "docs"
    guide = write(folder / "guide" / "setup.md", "# Setup", "", "Install it.", "", "## Use", "", "Run it.")
    write(folder / "page.html", "<title>P</title><h1>Head</h1><p>Body</p><script>evil()</script>")
    write(folder / "note.txt", "One paragraph.")
    write(folder / ".hidden.md", "secret")
    (folder / "bad.txt").write_bytes(b"ok\n\xff\xfe\n")
    report = import_path(workspace, folder)
    assert report.passages == 4
    assert reasons(report) == [("bad.txt", 2, "not UTF-8: byte 0xff")]
    with workspace.sessions.read() as session:
        ids = set(session.scalars(sa.select(Passage.external_id)))
    assert ids == {"guide/setup.md#setup.1", "guide/setup.md#use.1", "page.html#head.1", "note.txt#top.1"}
    write(guide, "# Setup", "", "Install it again.", "", "## Usage", "", "Run it.")
    report = import_path(workspace, folder)
    assert (report.passages, report.unchanged) == (1, 2)
    assert any("1 passages of this source are no longer" in note for note in report.notes)


def test_progress_is_told_while_it_goes(workspace: Workspace, tmp_path: Path) -> None:
    """A silent import looks hung, and people kill it."""
    told: list[tuple[str, int]] = []
    import_path(workspace, beir(tmp_path / "set"), progress=lambda what, n: told.append((what, n)))
    assert told == [("passages", 3), ("queries", 3), ("judgements", 1), ("judgements", 3)]


def test_rows_from_a_program_meet_the_same_rules(any_workspace: Workspace) -> None:
    """The demo's loader must not be a way around the checks."""
    passages = import_passages(
        any_workspace, [("p1", "T", "x"), ("", "", "no id"), ("p2", "", "y")], source_name="demo"
    )
    assert (passages.passages, passages.n_problems) == (2, 1)
    import_queries(any_workspace, [NewQuery("q", "a question", Split.TRAIN, "definition")], source_name="demo")
    judged = [NewJudgement("q", "p1", 3), NewJudgement("q", "p2", 1.5), NewJudgement("q", "nope", 1)]
    report = import_judgements(any_workspace, judged, source_name="demo", person="Authors", max_grade=3)
    assert (report.judgements, report.n_problems) == (1, 2)
    found = import_candidates(any_workspace, [NewCandidate("q", "p1", "bm25", 1, 2.5)], source_name="demo")
    assert found.candidates == 1
    again = import_judgements(any_workspace, judged[:1], source_name="demo", person="Authors", max_grade=3)
    assert (again.judgements, again.unchanged) == (0, 1)


TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.dictionaries(TEXT, TEXT, max_size=8))
def test_ids_and_texts_of_any_characters_come_back_as_they_went_in(
    any_workspace: Workspace, rows: dict[str, str]
) -> None:
    """Databases fold, trim and re-encode; two ids that become one would merge two passages."""
    with any_workspace.sessions.begin() as session:
        session.execute(sa.delete(ImportRejection))
        session.execute(sa.delete(Passage))
    given_rows = [(external_id, "title", text) for external_id, text in rows.items()]
    report = import_passages(any_workspace, given_rows, source_name="any")
    with any_workspace.sessions.read() as session:
        stored = {name: text for name, text in session.execute(sa.select(Passage.external_id, Passage.text))}
    assert report.passages + report.n_problems == len(rows)
    assert stored == {external_id: text for external_id, text in rows.items() if external_id in stored}
    assert report.passages == len(stored)
    assert import_passages(any_workspace, given_rows, source_name="any").unchanged == len(stored)
