"""Why a card is in front of somebody, in the words of somebody who knows the field and nothing of how search works."""

from __future__ import annotations

from dataclasses import dataclass

from db.enums import QueueCause

_BLIND = {
    QueueCause.NEAR_THRESHOLD: "your answer helps to tell where relevant passages of this question end",
    QueueCause.HIGH_RANK: "search puts it near the top for this question",
    QueueCause.PEOPLE_ONLY: "this question is judged by people only",
    QueueCause.DRAWN: "drawn at random",
}


@dataclass(frozen=True, slots=True)
class Why:
    """What the words are made of. place: where search puts the passage, from 1; pooled: its place among the candidates
    where search has none. sure: of the judge in what it proposed, in [0, 1]. relevant: the side it proposed. split: the
    question's, in words. graders: people who graded it, of `wanted`. votes: judges who said relevant, of how many.
    """

    cause: QueueCause
    place: int | None
    pooled: int | None
    sure: float | None
    relevant: bool | None
    split: str
    graders: int
    wanted: int
    votes: tuple[int, int]


def reason_for(why: Why) -> str:
    """One line for the card. It may tell what was proposed; where people grade blind, `blind_reason` is shown."""
    text = _reason(why)
    if why.wanted > 1 and why.cause is not QueueCause.SUSPECT_HUMAN:
        text += f"; {why.wanted} people are asked about it" + (
            f", {why.graders} answered already" if why.graders else ""
        )
    return text


def blind_reason(cause: QueueCause) -> str:
    """As much of it as tells nothing of what any judge or person said."""
    return _BLIND.get(cause, "chosen because an answer is worth much here")


def _reason(why: Why) -> str:
    where = _where(why)
    said = "it was proposed as " + ("relevant" if why.relevant else "not relevant")
    match why.cause:
        case QueueCause.PEOPLE_ONLY:
            return f"{where}; a {why.split} question is judged by people only"
        case QueueCause.SUSPECT_HUMAN:
            return "the grade that a person gave and what sure judges say differ; a second person is asked"
        case QueueCause.UNREADABLE:
            return f"{where}; the judge's reply could not be read"
        case QueueCause.DISAGREEMENT:
            yes, n = why.votes
            return f"judges disagree: {yes} of {n} say relevant, {n - yes} say not; {where}"
        case QueueCause.FALSE_NEGATIVE if why.relevant is None:
            return f"{where}, and nobody has judged it: it may be a good passage that was missed"
        case QueueCause.FALSE_NEGATIVE:
            return f"{where}, yet {said}: it may be a good passage that was missed"
        case QueueCause.NEAR_THRESHOLD:
            return f"search can hardly tell it from the other side: {said}{_sure(why)}, right at the border"
        case QueueCause.HIGH_RANK:
            return f"{where}, where a wrong label does most harm; {said}{_sure(why)}"
        case QueueCause.DRAWN:
            return f"drawn at random, so that nothing is overlooked; {where}"
    return f"{where}; the judge is not sure enough: {said}{_sure(why)}"


def _where(why: Why) -> str:
    if why.place is not None:
        return f"search puts it at place {why.place} for this question"
    if why.pooled is not None:
        return f"place {why.pooled} among the passages found for this question"
    return "not among the passages found for this question"


def _sure(why: Why) -> str:
    return "" if why.sure is None else f" ({why.sure:.0%} sure)"
