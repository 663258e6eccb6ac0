"""A workspace as a team has it after months: very many suggestions, and a fifth as many pairs waiting for people.

Passages and questions come in by the real import, and the real function builds the queue; candidates, suggestions,
decisions, reviews and states between them are inserted many at a time, past no constraint and no trigger. `check`
compares the result with what the services say. What the rows hold is in `desk_rows`.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, JudgeIdentity, JudgeKind, Proposal
from app.bootstrap import Workspace, open_with
from app.config import load_settings
from app.services.corpus_states import keep_corpus_hash
from app.services.importing import NewQuery, import_passages, import_queries
from app.services.overview import get_overview
from app.services.routing import bare_policy
from bench.desk_rows import FLAG_NOTE, PEOPLE, SYSTEMS, DrawnReview, Size, Words, passages, pools, queries
from db.enums import LabelSource, Outcome, PersonKind, PolicyKind, QueueCause, ReviewAction, Role, RunStatus, Visibility
from db.models import (
    Candidate,
    CandidateHit,
    Decision,
    LabelJob,
    Pair,
    PairState,
    Query,
    QueueEntry,
    Review,
    SeenPair,
    Suggestion,
)
from db.queries import labelling
from db.queries.deciding import ensure_policy, list_undecided
from db.queries.people import person_named
from db.queries.queue_building import rebuild_queue
from db.queries.states import GRADING, refresh_states

SOURCE = "review desk bench"
RELEVANCE = Criterion.RELEVANCE
KEPT = Path(tempfile.gettempdir()) / "relabel-bench-desks"
_ROOT = Path(__file__).parent.parent
_DECIDED_BY = ("bench/desk_rows.py", "bench/desk_workspace.py", "db/migrations/versions/*.py", "db/queries/*.py")
_AT_A_TIME = 20_000
_SOME_POOLS = 400
_CHECKED = 300
_TOKENS_USD = (0.15e-6, 0.6e-6)
"""US dollars a prompt and a completion token: those of a small model, so that a sum of many has something to add."""


class DeskWrong(RuntimeError):
    """What was made contradicts what the services say of it; the message names both."""


def make_desk(folder: Path, size: Size, *, settings: Mapping[str, Any] | None = None, seed: int = 0) -> Workspace:
    """An open workspace of that size in a new directory, checked; `settings` go into its relabel.toml.

    Raises:
        DeskWrong: what the services say of it contradicts what was put in.
    """
    folder.mkdir(parents=True)
    stated: dict[str, Any] = {"name": "Review desk bench", "person": PEOPLE[0], **(settings or {})}
    lines = [f"{name} = {_toml(value)}" for name, value in stated.items()]
    (folder / "relabel.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings_read = load_settings(folder)
    if settings_read.database_url != stated.get("database_url"):
        raise DeskWrong("DATABASE_URL is set: unset it, or what is invented here would go into that database")
    workspace = open_with(settings_read)
    try:
        fill(workspace, size, seed=seed)
        check(workspace, size)
    except BaseException:
        workspace.close()
        raise
    return workspace


def fill(workspace: Workspace, size: Size, *, seed: int = 0) -> None:
    """Puts everything into an empty workspace, on SQLite or PostgreSQL."""
    words = Words(seed)
    import_passages(workspace, passages(size, words), source_name=SOURCE)
    import_queries(workspace, (NewQuery(*query) for query in queries(size, words)), source_name=SOURCE)
    keep_corpus_hash(workspace)
    now = workspace.now()
    policy = bare_policy(workspace)
    with workspace.sessions.begin() as session:
        job = _job(session, size, now=now)
        policy_id = ensure_policy(
            session,
            version=policy.version,
            kind=PolicyKind.BARE_THRESHOLD,
            criterion=RELEVANCE,
            parameters=dict(policy.parameters),
            now=now,
        ).id
        people = [_person(session, place, now=now) for place in range(len(PEOPLE))]
    drawn = pools(size, words, scale=workspace.scale, policy=policy, seed=seed)
    reviews: list[DrawnReview] = []
    while some := list(islice(drawn, _SOME_POOLS)):
        with workspace.sessions.begin() as session:
            _insert(
                session,
                Pair,
                ({"query_id": pool.query + 1, "passage_id": one + 1} for pool in some for one in pool.passages),
            )
            proposals = (proposal for pool in some for proposal in pool.proposals)
            _insert(session, Suggestion, (_suggestion(proposal, job=job, now=now) for proposal in proposals))
            _insert(
                session,
                Decision,
                (
                    {
                        "pair_id": pair,
                        "criterion": RELEVANCE,
                        "suggestion_id": pair,  # a held-out question has none, and those come last
                        "policy_id": policy_id,
                        "outcome": outcome,
                        "why": why,
                        "created_at": now,
                    }
                    for pool in some
                    for pair, (outcome, why) in zip(pool.pairs, pool.decisions, strict=False)
                ),
            )
            reviews += (review for pool in some for review in pool.reviews)
    random.Random(seed).shuffle(reviews)
    with workspace.sessions.begin() as session:
        _insert(session, Review, _reviews(reviews, people=people, now=now))
    with workspace.sessions.begin() as session:
        _derive(session, now=now)
    with workspace.sessions.begin() as session:
        rebuild_queue(session, criterion=RELEVANCE, now=now)


def check(workspace: Workspace, size: Size) -> None:
    """Compares what the services say of a fresh workspace with its size.

    Raises:
        DeskWrong: something differs.
    """
    said = get_overview(workspace).funnel
    asked = bare_policy(workspace).version
    with workspace.sessions.read() as session:
        counted = session.execute(
            sa.select(
                sa.func.count(),
                sa.func.count().filter(PairState.outcome == Outcome.ACCEPTED),
                sa.func.count().filter(PairState.outcome == Outcome.REJECTED),
                sa.func.count().filter(PairState.flagged),
            )
            .select_from(PairState)
            .where(PairState.suggestion_id.is_not(None))
        ).one()
        last_pair = session.scalar(sa.select(sa.func.max(Pair.id)))
        last_query = session.scalar(sa.select(sa.func.max(Query.id)))
        policy_id = session.scalars(sa.select(Decision.policy_id).limit(1)).one()
        # Beside what was meant to wait, the queue asks a second person about grades that look wrong. A flagged pair
        # waits for an adjudicator, not at the desk.
        suspects = session.scalar(sa.select(sa.func.count()).where(QueueEntry.cause == QueueCause.SUSPECT_HUMAN)) or 0
        undecided = list_undecided(session, policy_id=policy_id, criterion=RELEVANCE, limit=1)
        drift = _not_refreshed(session, size, now=workspace.now())
        if session.get_bind().dialect.name == "sqlite":
            _expect("rows without what they point to", list(session.execute(sa.text("PRAGMA foreign_key_check"))), [])
    _expect("pairs and questions", (last_pair, last_query), (size.n_pairs, size.n_queries))
    _expect("suggestions", counted[0], size.n_suggestions)
    _expect("accepted and rejected", (said.accepted, said.rejected), (counted[1], counted[2]))
    _expect(f"undecided by policy {asked}", undecided, [])
    _expect("pairs that wait, beside suspect grades", said.waiting - suspects, size.n_waiting - counted[3])
    _expect("states that change when they are brought up to date", drift, [])


@contextmanager
def desk_copy(size: Size) -> Iterator[Path]:
    """The directory of a fresh copy of the workspace of that size, made now or kept from an earlier run.

    It is kept under the temporary folder by the hash of the source that decides its content; remove it there by hand.
    """
    kept = KEPT / f"{_source_hash()[:16]}-{size.n_suggestions}"
    if not kept.is_dir():
        unfinished = kept.with_name(f"{kept.name}.{os.getpid()}")
        try:
            make_desk(unfinished, size).close()
            unfinished.rename(kept)
        except OSError:
            if not kept.is_dir():  # else another process was first
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="relabel-desk-", dir=KEPT) as holder:
        folder = Path(holder, "workspace")
        shutil.copytree(kept, folder)
        yield folder


def _source_hash() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for pattern in _DECIDED_BY:
        for path in sorted(_ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _insert(session: Session, table: Any, rows: Iterable[Mapping[str, object]]) -> None:
    stream = iter(rows)
    while some := list(islice(stream, _AT_A_TIME)):
        session.connection().execute(sa.insert(table.__table__), some)


def _job(session: Session, size: Size, *, now: datetime) -> LabelJob:
    identity = JudgeIdentity(
        name="bench-llm",
        kind=JudgeKind.LLM,
        model="bench-llm",
        prompt_version="desk",
        criterion=RELEVANCE,
        certifiable=True,
        parameters={"temperature": 0.0},
    )
    judge = labelling.ensure_judge(session, identity, now=now)
    job = LabelJob(
        judge_id=judge.id,
        criterion=RELEVANCE,
        n_pairs=size.n_suggestions,
        done=size.n_suggestions,
        status=RunStatus.DONE,
        started_at=now - timedelta(days=90),
        finished_at=now - timedelta(days=89),
    )
    session.add(job)
    session.flush()
    return job


def _person(session: Session, place: int, *, now: datetime) -> int:
    role = Role.OWNER if place == 0 else Role.ADJUDICATOR if place == 1 else Role.REVIEWER
    return person_named(session, PEOPLE[place], now=now, kind=PersonKind.REVIEWER, role=role).id


def _suggestion(proposal: Proposal, *, job: LabelJob, now: datetime) -> dict[str, object]:
    usage = proposal.usage
    return {
        "pair_id": proposal.pair_id,
        "judge_id": job.judge_id,
        "criterion": RELEVANCE,
        "job_id": job.id,
        "status": proposal.status,
        "grade": proposal.grade,
        "grade_distribution": None if proposal.grade_distribution is None else list(proposal.grade_distribution),
        "confidence": proposal.confidence,
        "confidence_kind": proposal.confidence_kind,
        "evidence_dropped": False,
        "reason": proposal.reason,
        "raw_reply": proposal.raw_reply,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost_usd": usage.prompt_tokens * _TOKENS_USD[0] + usage.completion_tokens * _TOKENS_USD[1],
        "reply_key": f"{proposal.pair_id:064x}",
        "created_at": now,
    }


def _reviews(drawn: Iterable[DrawnReview], *, people: list[int], now: datetime) -> Iterator[dict[str, object]]:
    """The reviews of the last sixty days, evenly; a blind one shows no suggestion."""
    in_order = list(drawn)
    step = timedelta(days=60) / max(1, len(in_order))
    for number, review in enumerate(in_order):
        yield {
            "pair_id": review.pair,
            "criterion": RELEVANCE,
            "person_id": people[review.person],
            "action": ReviewAction.FLAG if review.grade is None else ReviewAction.GRADE,
            "grade": review.grade,
            "visibility": Visibility.BLIND if review.blind else Visibility.SHOWN,
            "suggestion_id": None if review.blind else review.pair,
            "hidden_check": False,
            "card": f"desk-{number}",
            "seconds": 4.0 + number % 37,
            "note": FLAG_NOTE if review.grade is None else "",
            "created_at": now - timedelta(days=60) + number * step,
        }


def _derive(session: Session, *, now: datetime) -> None:
    """Candidates, hits, who has seen what, and the states, all from what is there."""
    rank = (Pair.id - 1) % 50 + 1
    at = sa.literal(now, Candidate.pooled_at.type)
    _from(
        session, Candidate, pair_id=Pair.id, rank=rank, score=1.0 / (60 + rank), pool_size=sa.literal(50), pooled_at=at
    )
    for system, place in zip(SYSTEMS, (rank, (rank * 7) % 50 + 1), strict=True):
        _from(session, CandidateHit, pair_id=Pair.id, system=sa.literal(system), rank=place, score=1.0 / (1.0 * place))
    seen = sa.select(
        Review.pair_id, Review.criterion, Review.person_id, sa.func.min(Review.created_at, type_=Review.created_at.type)
    ).where(Review.visibility == Visibility.SHOWN)
    session.execute(
        sa.insert(SeenPair).from_select(
            ["pair_id", "criterion", "person_id", "created_at"],
            seen.group_by(Review.pair_id, Review.criterion, Review.person_id),
            include_defaults=False,
        )
    )
    _derive_states(session, now=now)


def _derive_states(session: Session, *, now: datetime) -> None:
    grading = Review.action.in_(GRADING)
    said = (
        sa.select(
            Review.pair_id.label("pair_id"),
            sa.func.max(Review.id).filter(grading).label("review_id"),
            sa.func.count(sa.distinct(Review.person_id)).filter(grading).label("graders"),
            (sa.func.min(Review.grade) != sa.func.max(Review.grade)).label("differ"),
            (sa.func.count().filter(Review.action == ReviewAction.FLAG) > 0).label("flagged"),
        )
        .group_by(Review.pair_id)
        .subquery()
    )
    latest = sa.orm.aliased(Review)
    accepted = Decision.outcome == Outcome.ACCEPTED
    source = PairState.curated_source.type
    states = (
        sa.select(
            Pair.id,
            sa.literal(RELEVANCE, PairState.criterion.type),
            Suggestion.id,
            Decision.id,
            Decision.outcome,
            latest.id,
            sa.case((latest.id.is_not(None), latest.grade), (accepted, Suggestion.grade)),
            sa.case(
                (latest.id.is_not(None), sa.literal(LabelSource.HUMAN, source)),
                (accepted, sa.literal(LabelSource.ACCEPTED, source)),
            ),
            sa.func.coalesce(said.c.graders, 0),
            sa.func.coalesce(said.c.differ, sa.false()),
            sa.func.coalesce(said.c.flagged, sa.false()),
            sa.literal(now, PairState.updated_at.type),
        )
        .outerjoin(Suggestion, Suggestion.pair_id == Pair.id)
        .outerjoin(Decision, Decision.pair_id == Pair.id)
        .outerjoin(said, said.c.pair_id == Pair.id)
        .outerjoin(latest, latest.id == said.c.review_id)
        .where(sa.or_(Suggestion.id.is_not(None), said.c.pair_id.is_not(None)))
    )
    names = (
        "pair_id criterion suggestion_id decision_id outcome review_id curated_grade curated_source graders disputed"
    )
    session.execute(
        sa.insert(PairState).from_select(
            [*names.split(), "flagged", "updated_at"], states.order_by(Pair.id), include_defaults=False
        )
    )


def _from(session: Session, table: Any, **columns: Any) -> None:
    selected = sa.select(*columns.values()).select_from(Pair).order_by(Pair.id)
    session.execute(sa.insert(table).from_select(list(columns), selected, include_defaults=False))


def _not_refreshed(session: Session, size: Size, *, now: datetime) -> list[str]:
    """Of some pairs, what changes when the product itself brings their state up to date; the session is rolled back."""
    pair_ids = sorted(random.Random(1).sample(range(1, size.n_pairs + 1), min(_CHECKED, size.n_pairs)))
    pair_ids = list(session.scalars(sa.select(PairState.pair_id).where(PairState.pair_id.in_(pair_ids))))
    columns = [column for column in PairState.__table__.columns if column.name != "updated_at"]
    states = sa.select(*columns).where(PairState.pair_id.in_(pair_ids)).order_by(PairState.pair_id)
    before = list(session.execute(states))
    refresh_states(session, pair_ids=pair_ids, criterion=RELEVANCE, now=now)
    return [f"{old} became {new}" for old, new in zip(before, session.execute(states), strict=True) if old != new]


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise DeskWrong(f"{what}: {found}, but there should be {wanted}")
