"""Filling a workspace with the demo: passages from the running Python, questions with their splits, judgements.

Only the judgements of calibrate and held-out questions are loaded. Those of the train questions stay in the file: they
stand in for people when audits are simulated, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.bootstrap import Workspace
from app.demo.corpus import DemoPassage, build_corpus, resolve
from app.demo.questions import HIGHEST_GRADE, DemoQuestion, load_questions
from app.services import importing, reviewing
from app.services.importing.rows import NewJudgement, NewQuery
from app.services.indexing import Progress
from db.enums import Split

PASSAGES, QUESTIONS, JUDGEMENTS = "demo passages", "demo questions", "demo judgements"
SIMULATED = "simulated audits"


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What the workspace holds of the demo now, and how much of it is new."""

    passages: int
    new_passages: int
    new_questions: int
    new_judgements: int


def load(workspace: Workspace, *, limit: int | None = None, on_passages: Progress | None = None) -> LoadReport:
    """Adds the demo to a workspace; what is there already stays as it is.

    `limit` makes a small demo of about so many passages: every n-th question of each split, the passages judged for
    them, and others evenly from the rest.

    Raises:
        DemoCorpusError: the running Python's library cannot be read.
    """
    corpus = build_corpus()
    questions = load_questions()
    ids = resolve(corpus)
    if limit is not None:
        questions = _fewer(questions, ids, limit)
        corpus = _smaller(corpus, questions, ids, limit)

    def rows() -> Iterator[tuple[str, str, str]]:
        for done, passage in enumerate(corpus, start=1):
            if on_passages is not None and (done % 100 == 0 or done == len(corpus)):
                on_passages(done, len(corpus))
            yield passage.id, passage.title, passage.text

    passages = importing.import_passages(workspace, rows(), source_name=PASSAGES, layout="demo")
    queries = importing.import_queries(
        workspace,
        [NewQuery(q.id, q.text, split=Split(q.split), definition=q.definition) for q in questions],
        source_name=QUESTIONS,
        layout="demo",
    )
    judgements = importing.import_judgements(
        workspace,
        [
            NewJudgement(question.id, passage_id, grade)
            for question in questions
            if question.split != Split.TRAIN
            for passage_id, grade in _by_passage(question, ids).items()
        ],
        source_name=JUDGEMENTS,
        person=JUDGEMENTS,
        max_grade=HIGHEST_GRADE,
        layout="demo",
    )
    return LoadReport(
        passages=len(corpus),
        new_passages=passages.passages,
        new_questions=queries.queries,
        new_judgements=judgements.judgements,
    )


def _by_passage(question: DemoQuestion, ids: Mapping[str, str]) -> dict[str, int]:
    """Grades by passage id; where two judged names are one passage, the higher grade."""
    grades: dict[str, int] = {}
    for name, grade in question.judgements.items():
        passage_id = ids[name]
        grades[passage_id] = max(grade, grades.get(passage_id, 0))
    return grades


def _fewer(questions: list[DemoQuestion], ids: Mapping[str, str], limit: int) -> list[DemoQuestion]:
    """Every n-th question of each split, n as small as leaves a tenth of the passages to those judged for none."""
    splits = [[question for question in questions if question.split == split] for split in Split]
    for step in range(1, len(questions) + 1):
        kept = [question for split in splits for question in split[::step]]
        if len({ids[name] for question in kept for name in question.judgements}) <= limit * 0.9:
            break
    return kept


def _smaller(
    corpus: list[DemoPassage], questions: list[DemoQuestion], ids: Mapping[str, str], limit: int
) -> list[DemoPassage]:
    judged = {ids[name] for question in questions for name in question.judgements}
    others = [passage for passage in corpus if passage.id not in judged]
    room = max(0, limit - len(judged))
    step = max(1, len(others) // room) if room else 0
    kept = {passage.id for passage in others[::step][:room]} if room else set()
    return [passage for passage in corpus if passage.id in judged or passage.id in kept]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Simulated audits: pairs answered from the demo's own judgements, and pairs left because nobody judged them."""

    answered: int
    unanswered: int


def train_judgements() -> dict[tuple[str, str], int]:
    """What the demo's own judgements say of train questions, by the ids of question and passage; never imported."""
    ids = resolve(build_corpus())
    return {
        (question.id, passage_id): grade
        for question in load_questions()
        if question.split == Split.TRAIN
        for passage_id, grade in _by_passage(question, ids).items()
    }


def simulate_audits(workspace: Workspace, *, on_progress: Progress | None = None) -> AuditReport:
    """Answers the audit queue from the demo's judgements of train questions; unjudged pairs are left unanswered.

    Each answer goes through the review desk like a person's, under the name "simulated audits".
    """
    grades = train_judgements()
    waiting = reviewing.list_waiting(workspace)
    answered = 0
    for done, pair in enumerate(waiting, start=1):
        grade = grades.get((pair.query_id, pair.passage_id))
        if grade is not None:
            card = reviewing.claim(workspace, person=SIMULATED, pair_id=pair.pair_id)
            if card is not None:
                reviewing.grade(
                    workspace,
                    card=card.card,
                    person=SIMULATED,
                    grade=grade,
                    note="simulated from the demo's judgements",
                )
                answered += 1
        if on_progress is not None:
            on_progress(done, len(waiting))
    return AuditReport(answered=answered, unanswered=len(waiting) - answered)
