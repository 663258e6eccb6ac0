"""Revoking a judge or a person, and giving them back: an owner's act, with a reason, in one transaction.

Suggestions and reviews stay as they are. What changes is what counts: the states of pairs, certificates, calibrators,
the audit queue, and so the next label set. How is in `db/queries/revoking.py` and beside it; what was
made of somebody's labels so far is in `lineage.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import InputInvalid, NothingToDo
from app.services.lineage import uses_of
from app.services.lineage_views import (
    Author,
    AuthorKind,
    AuthorLineage,
    Consequences,
    ModelUse,
    RevocationEntry,
    RevocationReport,
)
from app.services.refusals import is_owner, require_owner
from app.services.routing import route_pairs
from db.enums import RevocationAct
from db.models import Calibrator, Certificate, JudgeRow
from db.queries import certificates_back, revoked_labels
from db.queries import lineage as lineage_queries
from db.queries import revoking as queries
from db.queries.calibrating import list_calibrators
from db.queries.certifying import lock_certifying
from db.queries.people import person_named
from db.queries.queue_building import rebuild_queue
from db.queries.registry import get_live
from db.queries.suspending import scale_to_store, suspend_other_scales

MAX_REASON = 2000


def may_revoke(workspace: Workspace, *, person: str) -> bool:
    """Whether this person is an owner."""
    with workspace.sessions.read() as session:
        return is_owner(workspace, session, person)


def foresee(workspace: Workspace, *, author: Author) -> Consequences:
    """What revoking this author would do now; nothing is written."""
    with workspace.sessions.read() as session:
        uses = uses_of(session, author)
        models = AuthorLineage(author, revoked=False, n_said=0, uses=uses).models
        if author.kind is AuthorKind.PERSON:
            return _foresee_person(workspace, session, author, models=models)
        judges = [session.get_one(JudgeRow, judge_id) for judge_id in author.ids]
        leaving = [
            lineage_queries.count_leaving_judges(session, author.ids, criterion=criterion)
            for criterion in sorted({judge.criterion for judge in judges})
        ]
        certificates = lineage_queries.list_certificates_of(session, author.ids)
        soft = [one for one in _calibrators(workspace, session) if one.judge_id in author.ids]
        jobs = lineage_queries.list_unfinished_jobs(session, author.ids)
        return Consequences(
            author=author,
            n_labels=sum(one.n_labels for one in leaving),
            n_fallback=sum(one.n_fallback for one in leaving),
            n_soft=_count_soft(workspace, session, soft),
            n_held_out=0,
            n_certificates=len(certificates),
            n_accepted=lineage_queries.count_accepted_under(session, certificates),
            n_batches=lineage_queries.count_open_batches(session, author.ids),
            n_calibrators=0,
            n_jobs=sum(job.status.is_active for job in jobs),
            models=models,
        )


def _foresee_person(
    workspace: Workspace, session: Session, author: Author, *, models: tuple[ModelUse, ...]
) -> Consequences:
    person_id = author.ids[0]
    certificates = [one.id for one in certificates_back.list_audited_by(session, person_id)]
    leaving = [
        lineage_queries.count_leaving_person(session, person_id, criterion=criterion, suspended=certificates)
        for criterion in Criterion
    ]
    fallen = [one for one in _calibrators(workspace, session) if _fitted_on(session, one, person_id)]
    return Consequences(
        author=author,
        n_labels=sum(one.n_labels for one in leaving),
        n_fallback=sum(one.n_fallback for one in leaving),
        n_soft=_count_soft(workspace, session, fallen),
        n_held_out=sum(one.n_held_out for one in leaving),
        n_certificates=len(certificates),
        n_accepted=lineage_queries.count_accepted_under(session, certificates),
        n_batches=0,
        n_calibrators=len(fallen),
        n_jobs=0,
        models=models,
    )


def _calibrators(workspace: Workspace, session: Session) -> list[Calibrator]:
    return [one for c in Criterion for one in list_calibrators(session, criterion=c, scale=workspace.scale)]


def _fitted_on(session: Session, stored: Calibrator, person_id: int) -> bool:
    """Whether a calibrator was fitted on questions that this person had judged blind by then."""
    judged = lineage_queries.list_blind_queries(session, person_id, criterion=stored.criterion, until=stored.created_at)
    return not judged.isdisjoint(int(query) for query in stored.parameters["queries"])


def _count_soft(workspace: Workspace, session: Session, calibrators: Sequence[Calibrator]) -> int:
    if not workspace.settings.train_on_proposed:
        return 0
    return sum(
        lineage_queries.count_open_proposals(
            session, [one for one in calibrators if one.criterion is criterion], criterion=criterion
        )
        for criterion in Criterion
    )


def revoke(workspace: Workspace, *, author: Author, reason: str, person: str) -> RevocationReport:
    """Takes everything that this author said out of use, in one transaction; of a judge, what is not revoked yet.

    A judge's pairs go by another judge's proposal, decided as usual if the one before had been decided, or wait for
    people. Pairs that a person graded fall back to other people's grades, then to what is accepted. Certificates that
    rest on the author are suspended; a calibrator fitted on a person's blind reviews holds no more until it is fitted
    again. A judge's open batches are closed and its label jobs asked to stop; audits of other open batches that the
    person answered wait for somebody else.

    Raises:
        NotAllowed: `person` is no owner.
        InputInvalid: there is no reason, or it is longer than 2,000 characters.
        NothingToDo: the author is revoked already.
    """
    reason = _checked(reason)
    with workspace.sessions.begin() as session:
        by, now = _begin(workspace, session, person=person, to="revoke a judge or a reviewer"), workspace.now()
        report = _Tally(author, RevocationAct.REVOKE, reason)
        if author.kind is AuthorKind.PERSON:
            row = queries.hold_person(session, author.ids[0])
            if queries.is_revoked(queries.get_newest(session, reviewer_id=row.id)):
                raise NothingToDo(f"{row.name!r} is revoked", user_message=f"{row.name} is revoked already.")
            act = queries.add_revocation(
                session, act=RevocationAct.REVOKE, reason=reason, person_id=by, now=now, reviewer_id=row.id
            )
            queries.drop_leases(session, row.id)
            for criterion in Criterion:
                report.n_pairs += queries.refresh_reviewed(session, row.id, criterion=criterion, now=now)
            report.n_certificates = len(certificates_back.suspend_audited_by(session, act, row, now=now))
        else:
            _revoke_judges(workspace, session, report, by=by)
        return report.finish(workspace, session)


def _revoke_judges(workspace: Workspace, session: Session, report: _Tally, *, by: int) -> None:
    now = workspace.now()
    judges = [queries.hold_judge(session, judge_id) for judge_id in sorted(report.author.ids)]
    fresh = [one for one in judges if not queries.is_revoked(queries.get_newest(session, judge_id=one.id))]
    if not fresh:
        raise NothingToDo(
            f"judge {report.author.name!r} is revoked", user_message=f"{report.author.name} is revoked already."
        )
    # All of them before the first pair falls back, so that none falls back to the next one to go.
    acts = [
        queries.add_revocation(
            session, act=RevocationAct.REVOKE, reason=report.reason, person_id=by, now=now, judge_id=judge.id
        )
        for judge in fresh
    ]
    decided: dict[Criterion, list[int]] = {}
    for act, judge in zip(acts, fresh, strict=True):
        report.n_jobs += queries.stop_jobs(session, judge.id, message="stopped: the judge is revoked")
        changed = revoked_labels.set_judge_aside(session, act, judge, now=now)
        report.n_pairs += changed.n_pairs
        report.n_fallback += changed.n_fallback
        report.n_certificates += len(changed.certificates)
        report.n_batches += changed.n_batches
        decided.setdefault(judge.criterion, []).extend(changed.decided)
    for criterion, pair_ids in decided.items():
        route_pairs(workspace, session, pair_ids, criterion=criterion)


def restore(workspace: Workspace, *, author: Author, reason: str, person: str) -> RevocationReport:
    """Gives an author back: what they said counts as it did, unless something newer has taken its place since.

    Certificates that only revocations suspended are in force again if nothing that they rest on has changed; batches
    that were closed stay closed.

    Raises:
        NotAllowed: `person` is no owner.
        InputInvalid: there is no reason, or it is longer than 2,000 characters.
        NothingToDo: the author is not revoked.
    """
    reason = _checked(reason)
    with workspace.sessions.begin() as session:
        by, now = _begin(workspace, session, person=person, to="give a judge or a reviewer back"), workspace.now()
        report = _Tally(author, RevocationAct.RESTORE, reason)
        judges: list[JudgeRow] = []
        if author.kind is AuthorKind.PERSON:
            row = queries.hold_person(session, author.ids[0])
            if not queries.is_revoked(queries.get_newest(session, reviewer_id=row.id)):
                raise NothingToDo(f"{row.name!r} is not revoked", user_message=f"{row.name} is not revoked.")
            queries.add_revocation(
                session, act=RevocationAct.RESTORE, reason=reason, person_id=by, now=now, reviewer_id=row.id
            )
            for criterion in Criterion:
                report.n_pairs += queries.refresh_reviewed(session, row.id, criterion=criterion, now=now)
        else:
            judges = _restore_judges(workspace, session, report, by=by)
        report.n_certificates = len(
            certificates_back.give_certificates_back(
                session, name=author.name, may=_unchanged(workspace, session), now=now
            )
        )
        for judge in judges:
            certificates_back.reject_unbacked(session, judge, reason="what it rests on changed, or is revoked", now=now)
        return report.finish(workspace, session)


def _restore_judges(workspace: Workspace, session: Session, report: _Tally, *, by: int) -> list[JudgeRow]:
    now = workspace.now()
    held = [queries.hold_judge(session, judge_id) for judge_id in sorted(report.author.ids)]
    gone = [(one, queries.get_newest(session, judge_id=one.id)) for one in held]
    # The newest revocation first: what it set aside had stood in for what the earlier ones did.
    revoked = sorted(
        ((judge, act) for judge, act in gone if act is not None and queries.is_revoked(act)),
        key=lambda one: -one[1].id,
    )
    if not revoked:
        raise NothingToDo(
            f"judge {report.author.name!r} is not revoked", user_message=f"{report.author.name} is not revoked."
        )
    arrived: dict[Criterion, list[int]] = {}
    for judge, act in revoked:
        queries.add_revocation(
            session, act=RevocationAct.RESTORE, reason=report.reason, person_id=by, now=now, judge_id=judge.id
        )
        changed = revoked_labels.give_judge_back(session, act, judge, now=now)
        report.n_pairs += changed.n_pairs
        arrived.setdefault(judge.criterion, []).extend(changed.decided)
    for criterion, pair_ids in arrived.items():  # decided as a label job does at its end, for that one was stopped
        route_pairs(workspace, session, pair_ids, criterion=criterion)
    return [judge for judge, _ in revoked]


def _unchanged(workspace: Workspace, session: Session) -> list[int]:
    """Ids of certificates whose scale, calibrator and (of the retriever's) live model are those of their issue."""
    live = get_live(session)
    newest = set(
        session.scalars(
            sa.select(sa.func.max(Calibrator.id)).group_by(
                Calibrator.judge_id, Calibrator.confidence_kind, Calibrator.criterion
            )
        )
    )

    def holds(certificate: Certificate) -> bool:
        judge = session.get_one(JudgeRow, certificate.judge_id)
        model_hash = judge.parameters.get("model_hash")
        return (
            certificate.details.get("scale") == scale_to_store(workspace.scale)
            and certificate.calibrator_id in newest
            and (model_hash is None or (live is not None and live.hash == model_hash))
        )

    return [one.id for one in certificates_back.list_suspended_by_revocation(session) if holds(one)]


def list_acts(workspace: Workspace, *, limit: int = 50) -> tuple[RevocationEntry, ...]:
    """Who was revoked and given back, by whom and why, newest first."""
    with workspace.sessions.read() as session:
        return tuple(
            RevocationEntry(row.created_at, row.act, author, by, row.reason)
            for row, author, by in lineage_queries.list_acts(session, limit=limit)
        )


def _checked(reason: str) -> str:
    cleaned = " ".join(reason.split())
    if not 1 <= len(cleaned) <= MAX_REASON:
        raise InputInvalid(f"a reason needs 1 to {MAX_REASON} characters, got {len(cleaned)}")
    return cleaned


def _begin(workspace: Workspace, session: Session, *, person: str, to: str) -> int:
    """Checks who asks and keeps others from freezing, issuing and being served cards; returns the person's id."""
    require_owner(workspace, session, person, to=to)
    for criterion in Criterion:
        lock_certifying(session, criterion=criterion, now=workspace.now())
    suspend_other_scales(session, workspace.scale, workspace.now())
    return person_named(session, person, now=workspace.now()).id


class _Tally:
    """The report of an act under way."""

    def __init__(self, author: Author, act: RevocationAct, reason: str) -> None:
        self.author, self.act, self.reason = author, act, reason
        self.n_pairs = self.n_fallback = self.n_certificates = self.n_batches = self.n_jobs = 0

    def finish(self, workspace: Workspace, session: Session) -> RevocationReport:
        """Computes the audit queues anew and says what was done."""
        now = workspace.now()
        waiting = [rebuild_queue(session, criterion=criterion, now=now) for criterion in Criterion]
        return RevocationReport(
            author=self.author,
            act=self.act,
            reason=self.reason,
            n_pairs=self.n_pairs,
            n_fallback=self.n_fallback,
            n_certificates=self.n_certificates,
            n_batches=self.n_batches,
            n_jobs=self.n_jobs,
            n_waiting=sum(waiting),
        )
