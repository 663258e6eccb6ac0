"""How much of the corpus the written questions reach, how they are asked, and whether each finds its own passage."""

from __future__ import annotations

from dataclasses import dataclass

from app.bootstrap import Workspace
from db.queries import questions as question_queries
from db.queries.questions import OwnPassage, Reach

LISTED = 20


@dataclass(frozen=True, slots=True)
class ReachView:
    """Of so many passages, documents or sources, how many have a question; the share is in [0, 1]."""

    total: int
    with_question: int
    share: float


@dataclass(frozen=True, slots=True)
class QuestionCoverage:
    """Coverage over all jobs.

    `dropped` counts questions by the reason why they were not kept, `patterns` the kept ones by their way of asking.
    `found` questions have their own passage in their pool, at `mean_rank` on average (from 1); `lost` were pooled and
    have not; `not_pooled` wait. `lost_questions` lists the first of the lost.
    """

    questions: int
    passages: ReachView
    documents: ReachView
    sources: ReachView
    asked: int
    unreadable: int
    failed: int
    dropped: dict[str, int]
    patterns: dict[str, int]
    not_pooled: int
    found: int
    lost: int
    mean_rank: float | None
    lost_questions: tuple[OwnPassage, ...]


def get_coverage(workspace: Workspace) -> QuestionCoverage | None:
    """Coverage of the corpus, or None where questions were never asked for."""
    with workspace.sessions.read() as session:
        outcomes = question_queries.count_outcomes(session)
        if not outcomes.passages:
            return None
        patterns = question_queries.count_patterns(session)
        passages, documents, sources = question_queries.reach(session)
        own = question_queries.count_own_passages(session)
        return QuestionCoverage(
            questions=sum(patterns.values()),
            passages=_reach(passages),
            documents=_reach(documents),
            sources=_reach(sources),
            asked=sum(outcomes.passages.values()),
            unreadable=outcomes.passages.get("unreadable", 0),
            failed=outcomes.passages.get("failed", 0),
            dropped=dict(outcomes.dropped),
            patterns=patterns,
            not_pooled=own.not_pooled,
            found=own.found,
            lost=own.lost,
            mean_rank=own.mean_rank,
            lost_questions=tuple(question_queries.list_lost(session, limit=LISTED)) if own.lost else (),
        )


def _reach(counts: Reach) -> ReachView:
    share = counts.with_question / counts.total if counts.total else 0.0
    return ReachView(counts.total, counts.with_question, share)
