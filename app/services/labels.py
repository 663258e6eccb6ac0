"""Looking at labels: pages of suggestions, one pair in full, and overturning what was accepted."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import replace
from typing import TypedDict, Unpack

from sqlalchemy.orm import Session

from annotator.types import Criterion, SuggestionStatus
from app.bootstrap import Workspace
from app.errors import InputInvalid, NotAllowed, NothingToDo
from app.services.refusals import refuse_revoked_person
from app.services.views import HistoryEntry, HitView, JudgeView, LabelPage, LabelRow, PairView
from app.services.votes import votes_of
from db.enums import LabelSource, Outcome, ReviewAction, Split, Visibility
from db.models import JudgeRow, PairState, Review
from db.queries.histories import list_trained, what_done
from db.queries.pairs import (
    PairFilter,
    PairRecord,
    get_definition,
    get_record_or_raise,
    list_hits,
    list_ids,
    list_ids_before,
    list_pair_decisions,
    list_pair_reviews,
    list_pair_suggestions,
    list_records,
)
from db.queries.people import person_named
from db.queries.positives import PositiveCount, count_positives
from db.queries.revoked_labels import POLICY as REVOCATION_POLICY
from db.queries.states import refresh_state

COUNTED = 10_000
"""Pairs up to which a list says exactly how many fit."""
SEARCHED = 1000
"""The same where words are looked for: each pair that is counted is held against what the full-text index found."""
HUMAN_SOURCES = (LabelSource.HUMAN, LabelSource.ADJUDICATED)


def judge_view(row: JudgeRow) -> JudgeView:
    """A stored judge as screens show it."""
    return JudgeView(
        name=row.name, kind=row.kind, model=row.model, prompt_version=row.prompt_version, certifiable=row.certifiable
    )


class LabelFilters(TypedDict, total=False):
    """What a list of labels is narrowed to, as `PairFilter` says."""

    text: str
    query: str
    passage: str
    reason: str
    judge_id: int | None
    grade: int | None
    confidence_from: float | None
    confidence_to: float | None
    split: Split | None
    outcome: Outcome | None
    reviewed: bool | None
    disputed: bool | None
    flagged: bool | None


def list_labels(
    workspace: Workspace,
    *,
    criterion: Criterion = Criterion.RELEVANCE,
    after: int | None = None,
    before: int | None = None,
    limit: int = 50,
    **filters: Unpack[LabelFilters],
) -> LabelPage:
    """A page of pairs that have a suggestion, with what was decided and what people said.

    It begins behind the pair `after`, or ends before the pair `before`, so that a page deep in a million costs what the
    first one costs; how many fit is told up to `COUNTED`.
    """
    wanted = PairFilter(**filters)
    with workspace.sessions.read() as session:
        first = list_ids(session, criterion=criterion, wanted=wanted, limit=_head(wanted, limit))
        counted = len(first) < _head(wanted, limit)
        ids, offset = _page(first, whole=counted, after=after, before=before, limit=limit)
        if ids is None:
            if before is not None:
                ids = list_ids_before(session, criterion=criterion, wanted=wanted, before=before, limit=limit)
            else:
                ids = list_ids(session, criterion=criterion, wanted=wanted, after=after or 0, limit=limit + 1)
        more = before is not None or len(ids) > limit
        ids = ids[:limit]
        records = list_records(session, criterion=criterion, pair_ids=ids)
        return LabelPage(
            rows=tuple(_row(record) for record in records),
            total=len(first) if counted else len(first) - 1,
            counted=counted,
            offset=offset,
            has_more=more,
        )


def _head(wanted: PairFilter, limit: int) -> int:
    """How many ids are read at once: enough to count, fewer where words are looked for."""
    searched = any(text.strip() for text in (wanted.text, wanted.query, wanted.passage, wanted.reason))
    return max(SEARCHED if searched else COUNTED, limit) + 1


def _page(
    first: list[int], *, whole: bool, after: int | None, before: int | None, limit: int
) -> tuple[list[int] | None, int | None]:
    """The page among the first ids, one more where there is one, and its place from 0; None when it lies behind them.

    whole: there are no others.
    """
    if before is not None:
        end = bisect_left(first, before)
        start = max(0, end - limit)
        return (first[start:end], start) if whole or end < len(first) else (None, None)
    start = 0 if after is None else bisect_right(first, after)
    page = first[start : start + limit + 1]
    return (page, start) if whole or len(page) > limit else (None, None)


def _row(record: PairRecord) -> LabelRow:
    suggestion, judge, state = record.suggestion, record.judge, record.state
    if suggestion is None or judge is None or state is None:
        raise ValueError(f"pair {record.pair.id} is listed without a suggestion")
    row = LabelRow(
        pair_id=record.pair.id,
        query=record.query.text,
        passage_title=record.passage.title,
        split=record.cluster.split,
        concealed=record.concealed,
        stale=record.stale,
        status=suggestion.status,
        grade=suggestion.grade,
        confidence=suggestion.confidence,
        confidence_kind=suggestion.confidence_kind,
        judge=judge_view(judge),
        outcome=state.outcome,
        certified=_certified(record),
        why="" if record.decision is None else record.decision.why,
        human_grade=None if record.review is None else record.review.grade,
        curated_grade=state.curated_grade,
        curated_source=state.curated_source,
    )
    if not record.concealed:
        return row
    by_people = state.curated_source in HUMAN_SOURCES
    return replace(
        row,
        stale=False,
        status=None,
        grade=None,
        confidence=None,
        confidence_kind=None,
        judge=None,
        outcome=None,
        certified=False,
        why="",
        curated_grade=state.curated_grade if by_people else None,
        curated_source=state.curated_source if by_people else None,
    )


def _certified(record: PairRecord) -> bool:
    return record.decision is not None and record.decision.certificate_id is not None


def get_pair(workspace: Workspace, *, pair_id: int, criterion: Criterion = Criterion.RELEVANCE) -> PairView:
    """One pair with all that is known of it; of one that people judge blind, nothing that was said of it.

    Raises:
        NotFound: there is no such pair.
    """
    with workspace.sessions.read() as session:
        view = pair_view(session, pair_id=pair_id, criterion=criterion)
        return concealed(view) if view.concealed else view


def concealed(pair: PairView) -> PairView:
    """The pair without anything that a judge, the retriever or another person said of it."""
    return replace(
        pair,
        concealed=True,
        stale=False,
        evidence=None,
        status=None,
        grade=None,
        grade_distribution=None,
        confidence=None,
        confidence_kind=None,
        reason="",
        votes=None,
        judge=None,
        outcome=None,
        certified=False,
        why="",
        hits=(),
        history=(),
        curated_grade=None,
        curated_source=None,
    )


def pair_view(session: Session, *, pair_id: int, criterion: Criterion, whole: bool = True) -> PairView:
    """One pair in full, read in the caller's session; whoever shows it conceals what must not be seen.

    Not `whole`: without its history, which a card does not show.
    """
    record = get_record_or_raise(session, pair_id=pair_id, criterion=criterion)
    suggestion, state = record.suggestion, record.state
    definition = get_definition(session, record.query.id)
    evidence = None
    if suggestion is not None and suggestion.evidence_start is not None and suggestion.evidence_end is not None:
        evidence = (suggestion.evidence_start, suggestion.evidence_end)
    return PairView(
        pair_id=pair_id,
        query_id=record.query.external_id,
        query=record.query.text,
        definition=None if definition is None else definition.text,
        passage_id=record.passage.external_id,
        passage_title=record.passage.title,
        passage_text=record.passage.text,
        evidence=evidence,
        split=record.cluster.split,
        concealed=record.concealed,
        stale=record.stale,
        status=None if suggestion is None else suggestion.status,
        grade=None if suggestion is None else suggestion.grade,
        grade_distribution=(
            None
            if suggestion is None or suggestion.grade_distribution is None
            else tuple(float(p) for p in suggestion.grade_distribution)
        ),
        confidence=None if suggestion is None else suggestion.confidence,
        confidence_kind=None if suggestion is None else suggestion.confidence_kind,
        reason="" if suggestion is None else suggestion.reason,
        votes=None if suggestion is None else votes_of(suggestion.context),
        judge=None if record.judge is None else judge_view(record.judge),
        outcome=None if state is None else state.outcome,
        certified=_certified(record),
        why="" if record.decision is None else record.decision.why,
        hits=tuple(HitView(hit.system, hit.rank, hit.score) for hit in list_hits(session, pair_id)),
        history=(
            _history(session, pair_id=pair_id, criterion=criterion, named=state is None or not _waits(state))
            if whole
            else ()
        ),
        curated_grade=None if state is None else state.curated_grade,
        curated_source=None if state is None else state.curated_source,
    )


def _waits(state: PairState) -> bool:
    """Whether an adjudicator is to decide it: until then nobody is told who said what, on this screen either."""
    return state.disputed or state.flagged


def _history(session: Session, *, pair_id: int, criterion: Criterion, named: bool) -> tuple[HistoryEntry, ...]:
    entries = []
    for suggestion, judge in list_pair_suggestions(session, pair_id=pair_id, criterion=criterion):
        if suggestion.status is SuggestionStatus.UNREADABLE:
            what = "reply could not be read"
        else:
            sure = (
                ""
                if suggestion.confidence is None
                else f" at {suggestion.confidence:.2f} ({suggestion.confidence_kind})"
            )
            what = f"proposed grade {suggestion.grade}{sure}"
        entries.append(HistoryEntry(suggestion.created_at, judge.name, what, suggestion.reason))
    for decision, policy in list_pair_decisions(session, pair_id=pair_id, criterion=criterion):
        revoked = policy.version.startswith(REVOCATION_POLICY)
        who = "revocation" if revoked else f"{policy.kind} {policy.version[:8]}"
        what = "set aside" if revoked else str(decision.outcome)
        entries.append(HistoryEntry(decision.created_at, who, what, decision.why))
    reviews = list_pair_reviews(session, pair_id=pair_id, criterion=criterion)
    known = {review.id: review for review, _ in reviews}
    for review, person in reviews:
        if not review.hidden_check:  # who reads this may be served the pair as one
            about = known.get(review.revises_id or review.undoes_id or 0)
            who = person.name if named else "a reviewer"
            entries.append(HistoryEntry(review.created_at, who, _review_text(review, about), review.note))
    for at, model, grade in list_trained(session, pair_id=pair_id, criterion=criterion):
        entries.append(HistoryEntry(at, model, f"was trained on it as {grade:g}", ""))
    return tuple(sorted(entries, key=lambda entry: entry.at))


_DONE = {
    "undone": "took back the review before",
    "sent back": "sent the flag back",
    "skipped": "skip",
    "flagged": "flag",
}


def _review_text(review: Review, about: Review | None) -> str:
    did = what_done(review, about)
    if review.grade is None:
        return _DONE.get(did, did)
    seen = "blind" if review.visibility is Visibility.BLIND else "saw the suggestion"
    return f"{did} {review.grade} ({seen})"


def overturn(
    workspace: Workspace,
    *,
    pair_id: int,
    person: str,
    grade: int,
    note: str,
    criterion: Criterion = Criterion.RELEVANCE,
) -> PairView:
    """Puts a person's grade in place of an accepted suggestion; both stay on record.

    Raises:
        NotFound: there is no such pair.
        InputInvalid: the grade is not on the scale.
        NothingToDo: the pair has no suggestion to overturn.
        NotAllowed: people judge the pair blind, so it is graded on the review screen alone; or this person is revoked.
    """
    check_grade(workspace, grade)
    with workspace.sessions.begin() as session:
        record = get_record_or_raise(session, pair_id=pair_id, criterion=criterion)
        if record.suggestion is None:
            raise NothingToDo(f"pair {pair_id} has no suggestion to overturn")
        if record.concealed:
            raise NotAllowed(
                f"pair {pair_id} is judged blind",
                user_message="This pair is judged blind. Grade it on the Review screen; there is nothing to overturn.",
            )
        now = workspace.now()
        person_id = person_named(session, person, now=now).id
        refuse_revoked_person(session, person_id)
        session.add(
            Review(
                pair_id=pair_id,
                criterion=criterion,
                person_id=person_id,
                action=ReviewAction.GRADE,
                grade=grade,
                visibility=Visibility.SHOWN,
                suggestion_id=record.suggestion.id,
                note=note,
                created_at=now,
            )
        )
        session.flush()
        refresh_state(session, pair_id=pair_id, criterion=criterion, now=now)
        return pair_view(session, pair_id=pair_id, criterion=criterion)


def count_queries_without_positive(workspace: Workspace, *, criterion: Criterion) -> PositiveCount:
    """How many queries the judges found nothing for; such queries are kept and counted."""
    with workspace.sessions.read() as session:
        return count_positives(session, criterion=criterion, relevant_from=workspace.scale.relevant_from)


def check_grade(workspace: Workspace, grade: int) -> None:
    """Raises InputInvalid unless the grade is on the workspace's scale."""
    if grade not in workspace.scale.grades:
        raise InputInvalid(f"grade {grade} is not on the scale 0..{workspace.scale.max_grade}")
