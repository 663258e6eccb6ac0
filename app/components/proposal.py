"""What was proposed for the pair on the card: grade, confidence as a small bar, reason; or why none of it is shown."""

from __future__ import annotations

from app.components.badges import KINDS, grade_html
from app.components.text import counted, escaped
from app.services.calibrated_confidence import CalibratedView
from app.services.views import Card, PairView, ScaleView


def proposal_html(card: Card, *, scale: ScaleView, calibrated: CalibratedView | None) -> str:
    """The panel beside the passage; after a blind grade, that grade stands over the proposal."""
    pair = card.pair
    if card.phase == "revise":
        return _panel("Your grade and the proposal", _revealed(card, scale, calibrated), kind="rl-revealed")
    if pair.concealed:
        follows = (
            "The proposal follows once you have graded."
            if card.reveals
            else "What was proposed is not shown, so that your grade is your own."
        )
        return _panel("Judged blind", f"<p>{follows}</p>", kind="rl-blind")
    return _panel("Proposed grade", _proposed(pair, scale, calibrated))


def _panel(title: str, body: str, *, kind: str = "") -> str:
    return f'<section class="rl-panel {kind}"><h3>{title}</h3>{body}</section>'


def _proposed(pair: PairView, scale: ScaleView, calibrated: CalibratedView | None) -> str:
    if pair.status is None:
        return "<p>None: no judge has seen this pair.</p>"
    if pair.status.value == "unreadable":
        return "<p>None: the judge’s reply could not be read.</p>"
    stale = '<p class="rl-tag">the definition changed after the judge had seen it</p>' if pair.stale else ""
    reason = f'<p class="rl-reason" dir="auto">{escaped(pair.reason)}</p>' if pair.reason.strip() else ""
    return f"{grade_html(pair.grade, scale)}{sureness_html(pair, scale=scale, calibrated=calibrated)}{reason}{stale}"


def _revealed(card: Card, scale: ScaleView, calibrated: CalibratedView | None) -> str:
    proposed = card.pair.grade
    if card.own_grade is None or proposed is None:
        verdict = ""
    elif card.own_grade == proposed:
        verdict = "<p><b>Same grade.</b></p>"
    else:
        apart = counted(abs(card.own_grade - proposed), "step")
        across = (card.own_grade >= scale.relevant_from) != (proposed >= scale.relevant_from)
        verdict = f"<p><b>{apart} apart{', and on the other side of relevant' if across else ''}.</b></p>"
    return (
        f'<p class="rl-own"><span>You</span>{grade_html(card.own_grade, scale)}</p>'
        f'<p class="rl-own"><span>Judge</span>{grade_html(proposed, scale)}</p>{verdict}'
        f"{sureness_html(card.pair, scale=scale, calibrated=calibrated)}"
        + (f'<p class="rl-reason" dir="auto">{escaped(card.pair.reason)}</p>' if card.pair.reason.strip() else "")
    )


def sureness_html(pair: PairView, *, scale: ScaleView, calibrated: CalibratedView | None) -> str:
    """How sure, as a bar with its number: calibrated and from how many judgements, else as it was stated."""
    if calibrated is not None and pair.grade is not None:
        relevant = pair.grade >= scale.relevant_from
        share = calibrated.p_relevant if relevant else 1.0 - calibrated.p_relevant
        what = "relevant" if relevant else "not relevant"
        said = f"sure that it is {what}; calibrated on {counted(calibrated.n_judgements, 'blind judgement')}"
        return _bar(share, said)
    if pair.confidence is None:
        return '<p class="rl-muted">no confidence given</p>'
    return _bar(pair.confidence, f"{KINDS.get(str(pair.confidence_kind), str(pair.confidence_kind))}, not calibrated")


def _bar(share: float, said: str) -> str:
    width = max(0.0, min(1.0, share)) * 100
    return (
        f'<p class="rl-sure"><span class="rl-confidence"><span class="rl-track" aria-hidden="true">'
        f'<b style="width:{width:.0f}%"></b></span><strong>{share:.0%}</strong></span>'
        f'<span class="rl-muted">{escaped(said)}</span></p>'
    )
