"""Later blind looks at what was accepted under a certificate; too many errors among them suspend it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from annotator.drift import DriftReading, drift_e_process
from annotator.types import Scale
from app.services.certificate_views import SpotCheckView
from db.models import Certificate, SpotCheck
from db.queries.certifying import count_spot_checks, get_certificate_or_raise, list_spot_answers
from db.queries.suspending import stored_scale, suspend_certificates


def draw_spot_checks(
    session: Session, certificate: Certificate, accepted: Sequence[int], *, share: float, seed: int, now: datetime
) -> int:
    """Draws a share of the accepted pairs, at random and in random order, to be judged blind; returns how many."""
    n = min(len(accepted), math.ceil(share * len(accepted)))
    drawn = random.Random(seed).sample(sorted(accepted), n)
    session.add_all(
        SpotCheck(certificate_id=certificate.id, pair_id=pair_id, position=position, created_at=now)
        for position, pair_id in enumerate(drawn, start=1)
    )
    return n


def read_drift(session: Session, certificate: Certificate) -> DriftReading:
    """How the spot checks answered so far speak against the certificate, at its own δ as rate of false alarms.

    Read on the scale that the certificate was issued under.
    """
    scale = stored_scale(certificate.details) or Scale()  # none is kept only where the certificate fell for that
    grades = list_spot_answers(session, certificate_id=certificate.id, criterion=certificate.criterion)
    wrong = [scale.is_relevant(grade) != certificate.relevant_class for grade in grades]
    population = int(certificate.details.get("n_accepted", 0))
    return drift_e_process(wrong, epsilon=certificate.epsilon, alpha=certificate.delta, population=population or None)


def watch(session: Session, *, certificate_id: int, now: datetime) -> None:
    """To be called when a spot check was answered: suspends the certificate if the alarm sounds."""
    certificate = get_certificate_or_raise(session, certificate_id)
    reading = read_drift(session, certificate)
    if reading.alarm:
        reason = (
            f"drift: {reading.n_wrong} of {reading.n_checks} spot checks were wrong, more than "
            f"ε = {certificate.epsilon:.0%} can explain"
        )
        suspend_certificates(session, [certificate], reason=reason, now=now)


def spot_check_view(session: Session, certificate: Certificate) -> SpotCheckView | None:
    """Where the spot checks of a certificate stand; None when none were drawn."""
    drawn = count_spot_checks(session, certificate.id)
    if not drawn:
        return None
    reading = read_drift(session, certificate)
    return SpotCheckView(
        n_drawn=drawn,
        n_done=reading.n_checks,
        n_wrong=reading.n_wrong,
        e_value=min(reading.peak, 1e9),
        alarm_from=1.0 / certificate.delta,
    )
