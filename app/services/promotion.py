"""What is live: promoted by the gate or an owner's override with a reason, and rolled back; one transaction each."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from app.errors import NotAllowed, NothingToDo
from app.services.gate_passes import why_refused
from app.services.indexing import corpus_hash, find_index
from app.services.models import model_view
from app.services.queue_order import renew
from app.services.refusals import require_owner
from app.services.views import ModelView, PromotionView
from db.enums import ModelStage, PromotionCause, Split
from db.models import Evaluation, LiveModel, ModelVersion, Person, Promotion
from db.queries.people import person_named
from db.queries.registry import get_live, get_model_or_raise, list_standing_promotions, lock_live
from db.queries.self_labels import suspend_self_labels
from db.queries.training import criterion_of_model, latest_evaluation


def get_live_view(workspace: Workspace) -> ModelView | None:
    """The live model, or None before the first."""
    with workspace.sessions.read() as session:
        live = get_live(session)
        return None if live is None else model_view(session, live)


def list_models(workspace: Workspace) -> tuple[ModelView, ...]:
    """Every model version, newest first."""
    with workspace.sessions.read() as session:
        models = session.scalars(sa.select(ModelVersion).order_by(ModelVersion.id.desc()))
        return tuple(model_view(session, model) for model in models)


def promote(workspace: Workspace, *, model_id: int, person: str, override_reason: str | None = None) -> None:
    """Makes a model live, if the gate passed against the model that is live now, or by an override with a reason.

    Raises:
        NotFound: there is no such model.
        NothingToDo: it is live already.
        NotAllowed: the gate did not pass and no reason was given, or not by an owner; or its index is not complete.
    """
    state = corpus_hash(workspace)
    with workspace.sessions.begin() as session:
        lock_live(session)
        model = get_model_or_raise(session, model_id)
        live = get_live(session)
        if live is not None and live.id == model.id:
            raise NothingToDo(f"{model.name} is live already")
        criterion = criterion_of_model(session, model.id)
        evaluation = latest_evaluation(session, model_id=model.id, split=Split.HELD_OUT, criterion=criterion)
        refused = why_refused(
            session,
            evaluation,
            live=live,
            criterion=criterion,
            state=state,
            max_length=workspace.settings.max_length,
        )
        passed = not refused
        reason = " ".join((override_reason or "").split())
        if refused and not reason:
            raise NotAllowed(
                f"the gate did not pass for model {model_id}",
                user_message=f"{refused} An owner may override this with a reason.",
            )
        if refused:
            require_owner(workspace, session, person, to="promote a model against the gate")
        cause = PromotionCause.GATE if passed else PromotionCause.OVERRIDE
        _switch(
            workspace,
            session,
            model=model,
            state=state,
            person=person,
            cause=cause,
            reason=reason or "the gate passed",
            evaluation=evaluation,
        )
    renew(workspace)


def get_refusal(workspace: Workspace, *, model_id: int) -> str:
    """Why the gate would not let a model go live now, in words; empty where it would.

    Raises:
        NotFound: there is no such model.
    """
    state = corpus_hash(workspace)
    with workspace.sessions.read() as session:
        model = get_model_or_raise(session, model_id)
        criterion = criterion_of_model(session, model.id)
        evaluation = latest_evaluation(session, model_id=model.id, split=Split.HELD_OUT, criterion=criterion)
        return why_refused(
            session,
            evaluation,
            live=get_live(session),
            criterion=criterion,
            state=state,
            max_length=workspace.settings.max_length,
        )


def rollback(workspace: Workspace, *, person: str, reason: str) -> str:
    """Makes the model live again that was live before the present one; returns its name.

    Raises:
        NothingToDo: there was none.
        NotAllowed: its index does not cover the corpus as it is now.
    """
    state = corpus_hash(workspace)
    with workspace.sessions.begin() as session:
        lock_live(session)
        last = _last_step_forward(session)
        if last is None or last.previous_model_id is None:
            raise NothingToDo("there is no earlier model to go back to")
        model = get_model_or_raise(session, last.previous_model_id)
        _switch(
            workspace,
            session,
            model=model,
            state=state,
            person=person,
            cause=PromotionCause.ROLLBACK,
            reason=" ".join(reason.split()) or "rolled back",
            evaluation=None,
        )
        name = model.name
    renew(workspace)
    return name


def can_roll_back(workspace: Workspace) -> bool:
    """Whether there is an earlier model to go back to."""
    with workspace.sessions.read() as session:
        last = _last_step_forward(session)
        return last is not None and last.previous_model_id is not None


def _last_step_forward(session: Session) -> Promotion | None:
    """The promotion that made the live model live and was not itself rolled back."""
    standing = list_standing_promotions(session)
    return standing[-1] if standing else None


def _switch(
    workspace: Workspace,
    session: Session,
    *,
    model: ModelVersion,
    state: str,
    person: str,
    cause: PromotionCause,
    reason: str,
    evaluation: Evaluation | None,
) -> None:
    index = find_index(workspace, session, model, state=state)
    if index is None:
        raise NotAllowed(
            f"model {model.id} has no index over the corpus as it is now",
            user_message="This model's index does not cover the present passages with the present settings. "
            "Run: relabel evaluate --model " + model.hash[:12],
        )
    now = workspace.now()
    row = session.get(LiveModel, 1)
    previous = None
    if row is None:
        session.add(LiveModel(id=1, model_version_id=model.id, index_version_id=index.id, changed_at=now))
    else:
        previous = row.model_version_id
        before = get_model_or_raise(session, previous)
        before.stage = ModelStage.RETIRED
        row.model_version_id, row.index_version_id, row.changed_at = model.id, index.id, now
    model.stage = ModelStage.LIVE
    suspend_self_labels(session, reason=f"{model.name} went live, and it rests on the model before", now=now)
    session.add(
        Promotion(
            model_version_id=model.id,
            previous_model_id=previous,
            evaluation_id=None if evaluation is None else evaluation.id,
            cause=cause,
            reason=reason,
            person_id=person_named(session, person, now=now).id,
            created_at=now,
        )
    )


def list_promotions(workspace: Workspace, limit: int = 20) -> tuple[PromotionView, ...]:
    """Changes of the live model, newest first."""
    with workspace.sessions.read() as session:
        rows = session.execute(
            sa.select(Promotion, Person.name)
            .outerjoin(Person, Person.id == Promotion.person_id)
            .order_by(Promotion.id.desc())
            .limit(limit)
        )
        return tuple(
            PromotionView(
                model=get_model_or_raise(session, promotion.model_version_id).name,
                previous=(
                    None
                    if promotion.previous_model_id is None
                    else get_model_or_raise(session, promotion.previous_model_id).name
                ),
                cause=promotion.cause,
                reason=promotion.reason,
                person=name,
                created_at=promotion.created_at,
            )
            for promotion, name in rows
        )
