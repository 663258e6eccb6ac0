"""What one person did at the review desk: pace, agreement with what was decided, hidden checks, flags.

A reviewer and an adjudicator see their own work only, an owner everybody's; the rule is kept here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from typing import Literal

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import InputInvalid, NotAllowed
from app.services.audit_planning import LONGEST_SECONDS
from app.services.refusals import is_owner
from db.enums import PersonKind, Role
from db.queries import working
from db.queries.working import NO_FLAGS, NOTHING, FlagCounts, Hits, RaisedFlag, WorkCounts

PAUSE_SECONDS = LONGEST_SECONDS
"""A card that was open for longer lay there while somebody did something else; its time says nothing of their pace."""

LEAST_TIMED = 20
"""Fewer timed labels give no pace. Our choice."""

LEAST_CHECKS = 10
"""Fewer hidden checks give no share: it would nearly name the pair. Our choice."""

FLAGS_SHOWN = 20

Outcome = Literal["open", "graded", "sent back", "adjudicated"]


@dataclass(frozen=True, slots=True)
class ShareView:
    """`hits` of `n`, with the 95 % interval of the share (Wilson 1927); bounds None without any."""

    hits: int
    n: int
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class AgainstDecided:
    """A person's grades beside what was decided: the very same grade, and the same side of the threshold."""

    same: ShareView
    same_side: ShareView


@dataclass(frozen=True, slots=True)
class FlagView:
    """A flag and what came of it: "open", or "graded", "sent back" or "adjudicated" since.

    answer: what the adjudicator wrote who sent it back; empty otherwise. A decision's note is not told here: the pair
    may come to its flagger as a hidden check.
    """

    pair_id: int
    query: str
    note: str
    raised_at: datetime
    outcome: Outcome
    answer: str


@dataclass(frozen=True, slots=True)
class WorkView:
    """One person's work under one criterion, up to `as_of`.

    labels: grades and adjudications that stand; an answer to a reveal is no second label. today and this_week count
    since midnight and since Monday, UTC. per_hour: labels by the hour of work, from n_timed labels and the hours that
    all was done in, skips, flags and what was taken back included; cards open for longer than `pause_seconds` (n_long
    labels) count for neither, nor do labels without a time (n_untimed). None below `LEAST_TIMED` labels.
    hidden_checks: answers given before today; None below `LEAST_CHECKS`, so that no single card can be told from it.
    kept and revised: what followed a reveal.
    """

    person: str
    role: Role
    criterion: Criterion
    as_of: datetime
    labels: int
    today: int
    this_week: int
    adjudications: int
    per_hour: float | None
    hours: float
    n_timed: int
    n_long: int
    n_untimed: int
    pause_seconds: float
    blind: ShareView
    adjudicated: AgainstDecided
    hidden_checks: AgainstDecided | None
    kept: int
    revised: int
    undos: int
    skips: int
    flags_open: int
    flags_graded: int
    flags_sent_back: int
    flags_adjudicated: int
    flags: tuple[FlagView, ...]


def get_work(
    workspace: Workspace, *, person: str, of: str | None = None, criterion: Criterion = Criterion.RELEVANCE
) -> WorkView:
    """The work of `of`, or of the person who asks, who may be new here.

    Raises:
        NotAllowed: another's work is asked for by somebody who is no owner.
        InputInvalid: there is no person called `of`.
    """
    wanted = of or person
    with workspace.sessions.read() as session:
        if wanted != person and not is_owner(workspace, session, person):
            raise NotAllowed(
                f"{person!r} is no owner and may not see the work of {wanted!r}",
                user_message="You see your own work; that of others is shown to owners alone.",
            )
        someone = next((one for one in working.list_workers(session).values() if one.name == wanted), None)
        if someone is None and of is not None and of != person:
            raise InputInvalid(f"there is no person called {of!r}")
        if someone is None:
            return _view(workspace, wanted, Role.REVIEWER, criterion, None, NOTHING, NOTHING, NO_FLAGS, ())
        key, now = someone.id, workspace.now()
        counts = working.count_work(
            session, criterion=criterion, today=_day(now), this_week=_week(now), pause=PAUSE_SECONDS, person_id=key
        )
        relevant_from = workspace.scale.relevant_from
        decided = working.count_against_adjudications(
            session, criterion=criterion, relevant_from=relevant_from, person_id=key
        )
        checks = working.count_hidden_checks(
            session, criterion=criterion, relevant_from=relevant_from, before=_day(now), person_id=key
        )
        flags = working.count_flags(session, criterion=criterion, person_id=key)
        raised = working.list_flags(session, criterion=criterion, person_id=key, newest=FLAGS_SHOWN)
    return _view(
        workspace,
        someone.name,
        someone.role,
        criterion,
        counts.get(key),
        decided.get(key, NOTHING),
        checks.get(key, NOTHING),
        flags.get(key, NO_FLAGS),
        tuple(_flag(one) for one in raised),
    )


def list_work(workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE) -> tuple[WorkView, ...]:
    """Everybody's work, most labels first, without the single flags; for others than owners their own alone."""
    with workspace.sessions.read() as session:
        if not is_owner(workspace, session, person):
            allowed = False
        else:
            allowed, now, relevant_from = True, workspace.now(), workspace.scale.relevant_from
            people = working.list_workers(session)
            counts = working.count_work(
                session, criterion=criterion, today=_day(now), this_week=_week(now), pause=PAUSE_SECONDS
            )
            decided = working.count_against_adjudications(session, criterion=criterion, relevant_from=relevant_from)
            checks = working.count_hidden_checks(
                session, criterion=criterion, relevant_from=relevant_from, before=_day(now)
            )
            flags = working.count_flags(session, criterion=criterion)
    if not allowed:
        return (get_work(workspace, person=person, criterion=criterion),)
    found = [
        _view(
            workspace,
            one.name,
            one.role,
            criterion,
            counts.get(key),
            decided.get(key, NOTHING),
            checks.get(key, NOTHING),
            flags.get(key, NO_FLAGS),
            (),
        )
        for key, one in people.items()
        if one.kind is PersonKind.REVIEWER and (key in counts or one.name == person)
    ]
    return tuple(sorted(found, key=lambda one: (-one.labels, one.person)))


def _view(
    workspace: Workspace,
    name: str,
    role: Role,
    criterion: Criterion,
    counts: WorkCounts | None,
    decided: Hits,
    checks: Hits,
    flags: FlagCounts,
    raised: tuple[FlagView, ...],
) -> WorkView:
    did = counts or WorkCounts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0, 0, 0, 0)
    paced = did.n_timed >= LEAST_TIMED and did.seconds > 0.0
    return WorkView(
        person=name,
        role=role,
        criterion=criterion,
        as_of=workspace.now(),
        labels=did.labels,
        today=did.today,
        this_week=did.this_week,
        adjudications=did.adjudications,
        per_hour=did.n_timed / did.seconds * 3600.0 if paced else None,
        hours=did.seconds / 3600.0,
        n_timed=did.n_timed,
        n_long=did.n_long,
        n_untimed=did.n_untimed,
        pause_seconds=PAUSE_SECONDS,
        blind=share(did.blind, did.labels),
        adjudicated=_against(decided),
        hidden_checks=_against(checks) if checks.n >= LEAST_CHECKS else None,
        kept=did.kept,
        revised=did.revised,
        undos=did.undos,
        skips=did.skips,
        flags_open=flags.open,
        flags_graded=flags.graded,
        flags_sent_back=flags.sent_back,
        flags_adjudicated=flags.adjudicated,
        flags=raised,
    )


def _flag(one: RaisedFlag) -> FlagView:
    outcome: Outcome = "open"
    if one.adjudicated:
        outcome = "adjudicated"
    elif one.sent_back:
        outcome = "sent back"
    elif one.graded:
        outcome = "graded"
    answer = one.answer if outcome == "sent back" else ""
    return FlagView(one.pair_id, one.query, one.note, one.created_at, outcome, answer)


def share(hits: int, n: int) -> ShareView:
    """`hits` of `n` with the interval of the share, in [0, 1].

    Formula: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), z = 1.96. Source: Wilson 1927.
    """
    if not n:
        return ShareView(0, 0, None, None)
    p, z = hits / n, 1.959964
    middle, reach = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return ShareView(hits, n, max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale))


def _against(hits: Hits) -> AgainstDecided:
    return AgainstDecided(share(hits.same, hits.n), share(hits.same_side, hits.n))


def _day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _week(now: datetime) -> datetime:
    return _day(now) - timedelta(days=now.weekday())
