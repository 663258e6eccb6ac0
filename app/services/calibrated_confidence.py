"""How sure a pair's judge is, calibrated on blind judgements: what the review card shows in place of the raw number."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from annotator.errors import AnnotatorError
from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.calibrating import load_calibrator
from app.services.judged import judged_inputs
from db.models import Candidate, Pair, PairState, Suggestion
from db.queries.calibrating import JUDGED_COLUMNS, get_calibrator, judged_row


@dataclass(frozen=True, slots=True)
class CalibratedView:
    """The probability in (0, 1) that a person who judges blind says relevant, and from how many judgements it comes."""

    p_relevant: float
    n_judgements: int


def get_calibrated(
    workspace: Workspace, *, pair_id: int, criterion: Criterion = Criterion.RELEVANCE
) -> CalibratedView | None:
    """What the calibrator of the current proposal's judge makes of it; None where there is no proposal or calibrator.

    Whoever shows it sees to it that the proposal itself may be seen.
    """
    with workspace.sessions.read() as session:
        row = session.execute(
            sa.select(*JUDGED_COLUMNS, Suggestion.judge_id)
            .select_from(PairState)
            .join(Suggestion, Suggestion.id == PairState.suggestion_id)
            .join(Pair, Pair.id == PairState.pair_id)
            .outerjoin(Candidate, Candidate.pair_id == Pair.id)
            .where(PairState.pair_id == pair_id, PairState.criterion == criterion, Suggestion.grade.is_not(None))
        ).one_or_none()
        if row is None or row.confidence_kind is None:
            return None
        stored = get_calibrator(
            session, judge_id=row.judge_id, kind=row.confidence_kind, criterion=criterion, scale=workspace.scale
        )
        if stored is None:
            return None
        inputs = judged_inputs(session, [judged_row(row)])
        try:
            p_relevant = float(load_calibrator(stored).p_relevant(inputs)[0])
        except AnnotatorError:  # fitted by another version, or on other inputs: the raw number is shown as what it is
            return None
        return CalibratedView(p_relevant=p_relevant, n_judgements=stored.n_reviews)
