"""Whether a pass of the gate still counts: what a comparison rested on, against what holds now.

The gate's verdict itself is in `retriever.gate`, stored by `evaluating`; what goes live by it is in `promotion`.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import PromotionCause
from db.models import Evaluation, ModelVersion
from db.queries.evaluating import last_revocation, list_changed_reviewers
from db.queries.registry import list_standing_promotions
from db.queries.regression import list_checks


def why_refused(
    session: Session,
    evaluation: Evaluation | None,
    *,
    live: ModelVersion | None,
    criterion: Criterion,
    state: str,
    max_length: int,
) -> str:
    """Why the gate does not let a model pass by its newest comparison, empty if it does.

    criterion: that of the model's labels, which alone it is let through by. state: the hash of the corpus now.
    max_length: tokens that are read of a passage now.
    """
    if evaluation is None:
        return f"This model was never compared on what people judged of {criterion} on held-out questions."
    if live is None or evaluation.baseline_model_id != live.id:
        return "This model was not compared with the one that is live now; evaluate it again."
    if evaluation.gate_passed is not True:
        return "The gate did not pass: " + " ".join(evaluation.gate_reasons)
    checked = {result["id"] for result in evaluation.comparison.get("regression", ())}
    pinned = sum(check.id not in checked for check in list_checks(session))
    if pinned:
        since = f"{pinned} regression check was" if pinned == 1 else f"{pinned} regression checks were"
        return f"{since} pinned after this model was compared; evaluate it again."
    return _other_judgements(session, evaluation) or _other_vectors(evaluation, state=state, max_length=max_length)


def count_let_through(session: Session) -> int:
    """How many models in a row, the live one last, the gate let through without their being shown better."""
    count = 0
    for promotion in reversed(list_standing_promotions(session)):
        evaluation = None if promotion.evaluation_id is None else session.get(Evaluation, promotion.evaluation_id)
        if (
            promotion.cause is not PromotionCause.GATE
            or evaluation is None
            or evaluation.comparison.get("better", True)
        ):
            break
        count += 1
    return count


def _other_judgements(session: Session, evaluation: Evaluation) -> str:
    # Evaluations stored before it was kept go by the clock.
    since = evaluation.comparison.get("rests_on", {}).get("last_revocation")
    changed = list_changed_reviewers(
        session,
        split=evaluation.split,
        criterion=evaluation.criterion,
        since=last_revocation(session, until=evaluation.created_at) if since is None else since,
        judged_until=evaluation.created_at,
    )
    if not changed:
        return ""
    first = changed[0]
    others = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
    return (
        f"{first.name}, who judged {evaluation.split} questions, was {'revoked' if first.revoked else 'given back'} "
        f"after this model was compared{others}; evaluate it again."
    )


def _other_vectors(evaluation: Evaluation, *, state: str, max_length: int) -> str:
    rests_on = evaluation.comparison.get("rests_on", {})
    if rests_on.get("corpus", state) != state:
        return "The passages changed after this model was compared; evaluate it again over those there are now."
    read = rests_on.get("max_length", max_length)
    if read != max_length:
        return f"This model was compared at {read} tokens, and max_length is {max_length} now; evaluate it again."
    return ""
