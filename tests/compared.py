"""Two judges that differ in a known way, on calibrate questions that people judged blind.

Twelve questions by six passages: 72 pairs, of which people call 24 relevant (3 the answer, 2 the partly answering one,
1 the related one, 0 those of the next topic). `careful` misses half of the partly answering ones; `hasty` calls
everything of the topic relevant.
"""

from __future__ import annotations

from app.bootstrap import Workspace
from app.services.importing import (
    NewJudgement,
    NewQuery,
    NewSuggestion,
    import_judgements,
    import_passages,
    import_queries,
    import_suggestions,
)
from builders import TOPICS, Topic, passage_ids, query_id, truth
from db.enums import Split

TWELVE = TOPICS[:12]


def pool_of(topic: Topic) -> tuple[str, ...]:
    """The six passages that are judged for a topic's question."""
    return passage_ids(topic) + passage_ids(TWELVE[(TWELVE.index(topic) + 1) % len(TWELVE)])


def careful(topic: Topic, passage: str) -> tuple[int, float]:
    """Grade and stated confidence: right, but for the partly answering passage of every other topic."""
    if passage == passage_ids(topic)[1] and TWELVE.index(topic) % 2 == 0:
        return 1, 0.6
    return truth(query_id(topic), passage), 0.95


def hasty(topic: Topic, passage: str) -> tuple[int, float]:
    """Grade and stated confidence: whatever is about the topic answers the question."""
    return (3, 0.9) if passage in passage_ids(topic) else (0, 0.9)


def add_questions(workspace: Workspace, *, split: Split = Split.CALIBRATE) -> None:
    """Passages and the twelve questions, to calibrate unless told otherwise."""
    rows = [
        (name, topic.name, text)
        for topic in TWELVE
        for name, text in zip(passage_ids(topic), (topic.answer, topic.partly, topic.related), strict=True)
    ]
    import_passages(workspace, rows, source_name="everyday")
    import_queries(workspace, [NewQuery(query_id(t), t.question, split) for t in TWELVE], source_name="everyday")


def add_reviews(workspace: Workspace) -> None:
    """What people say of all 72 pairs, blind."""
    import_judgements(
        workspace,
        [NewJudgement(query_id(t), p, truth(query_id(t), p)) for t in TWELVE for p in pool_of(t)],
        source_name="people",
        person="Grace",
        max_grade=3,
    )


def add_judges(workspace: Workspace) -> None:
    """What both judges say of all 72 pairs, and a third one of the first topic's six."""
    rows = [
        NewSuggestion(query_id(t), p, name, grade, 3, verbal_confidence=confidence)
        for name, judge in (("careful", careful), ("hasty", hasty))
        for t in TWELVE
        for p in pool_of(t)
        for grade, confidence in [judge(t, p)]
    ]
    first = TWELVE[0]
    rows += [NewSuggestion(query_id(first), p, "rare", truth(query_id(first), p), 3) for p in pool_of(first)]
    import_suggestions(workspace, rows, source_name="judges")


def add_compared(workspace: Workspace) -> None:
    """Questions, reviews and judges."""
    add_questions(workspace)
    add_reviews(workspace)
    add_judges(workspace)
