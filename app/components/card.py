"""The review board: query, passage and what is known of the pair, drawn in one piece; the side list comes after it."""

from __future__ import annotations

from app.components.badges import KINDS, grade_html, judge_text, system_text
from app.components.desk_parts import line_html
from app.components.passage import passage_html, query_html
from app.components.proposal import proposal_html
from app.components.text import counted, escaped
from app.components.votes import votes_html
from app.services.calibrated_confidence import CalibratedView
from app.services.desk_views import CardReview, NeighboursView, NeighbourView
from app.services.views import Card, ReviewProgress, ScaleView


def board_html(
    card: Card,
    *,
    scale: ScaleView,
    turn: int,
    progress: ReviewProgress,
    calibrated: CalibratedView | None = None,
    around: NeighboursView | None = None,
    guidelines: str = "",
) -> str:
    """The card as HTML, with the id that a key press sends back and the turn that changes once one was dealt with.

    The query's other candidates come after it, into the place that is left for them here.
    `around` is None until the neighbours were asked for; `calibrated` is None where no calibrator holds.
    """
    pair = card.pair
    passage = passage_html(
        title=pair.passage_title,
        text=pair.passage_text,
        evidence=pair.evidence,
        before="" if around is None else _neighbour(around.before, "before"),
        after="" if around is None else _neighbour(around.after, "after"),
        foot=_foot(card, asked=around is not None),
    )
    return (
        f'<div class="rl-board" data-card="{escaped(card.card)}" data-turn="{turn}" data-phase="{card.phase}">'
        f"{line_html('Why this one', card.queue_reason or pair.why, progress)}"
        f'<div class="rl-sheet"><div class="rl-reading">'
        f"{query_html(pair.query, pair.definition, guidelines=guidelines)}{passage}</div>"
        f'<div class="rl-beside">{proposal_html(card, scale=scale, calibrated=calibrated)}'
        f'{_more(card, scale)}<section class="rl-panel rl-others" data-beside-here></section></div></div></div>'
    )


def _foot(card: Card, *, asked: bool) -> str:
    """Below the passage: the text around it on demand, the pair's history, and its own address."""
    pair_id = card.pair.pair_id
    label = "Hide the text around it" if asked else "Text around it"
    history = (
        ""
        if card.pair.concealed or (card.wanted > 1 and card.phase == "grade")  # each is to judge alone
        else f'<a href="labels?pair={pair_id}" data-pair-link target="_blank" '
        f'title="Who graded it, which models it trained; opens in a new tab">History</a>'
    )
    return (
        f'<div class="rl-foot"><button type="button" data-press="a" aria-expanded="{"true" if asked else "false"}">'
        f"<kbd>a</kbd> {label}</button>"
        f'<span>{history}<a href="review?pair={pair_id}" data-pair-link '
        f'title="The address of this pair, to be sent to somebody">Pair {pair_id}</a></span></div>'
    )


def _neighbour(neighbour: NeighbourView | None, where: str) -> str:
    if neighbour is None:
        words = "Nothing is known to come before this passage." if where == "before" else "Nothing is known to follow."
        return f'<p class="rl-around rl-muted">{words}</p>'
    title = f"{escaped(neighbour.title)}: " if neighbour.title.strip() else ""
    name = "Before it" if where == "before" else "After it"
    return f'<div class="rl-around" dir="auto"><b>{name}</b> {title}{escaped(neighbour.text)}</div>'


def _more(card: Card, scale: ScaleView) -> str:
    """What one wants to know now and then: who judged and voted, how it was found, what people said before."""
    pair = card.pair
    parts = []
    if pair.judge is not None and not pair.concealed:
        kind = KINDS.get(str(pair.confidence_kind), "")
        parts.append(("Judge", escaped(judge_text(pair.judge)) + (f"; confidence {escaped(kind)}" if kind else "")))
    if pair.hits:
        found = " · ".join(f"{system_text(hit.system)}, rank {hit.rank}" for hit in pair.hits)
        parts.append(("Found by", escaped(found)))
    if card.wanted > 1:
        parts.append(("Graders", f"{card.wanted - card.open} of the {card.wanted} people wanted have graded it"))
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in parts)
    facts = f'<dl class="rl-facts">{rows}</dl>' if rows else ""
    votes = votes_html(pair.votes, scale=scale) if pair.votes is not None and not pair.concealed else ""
    earlier = "".join(_earlier(review, scale) for review in card.reviews)
    reviews = f'<h4>Earlier reviews</h4><ul class="rl-earlier">{earlier}</ul>' if earlier else ""
    if not facts and not votes and not reviews:
        return ""
    named = [name for name, there in (("judge", bool(facts)), ("votes", bool(votes))) if there]
    if card.reviews:
        named.append(counted(len(card.reviews), "earlier review"))
    return (
        f'<details class="rl-more"><summary>More: {escaped(", ".join(named))}</summary>'
        f"{facts}{votes}{reviews}</details>"
    )


def _earlier(review: CardReview, scale: ScaleView) -> str:
    grade = f" {grade_html(review.grade, scale)}" if review.grade is not None else ""
    seen = " blind" if review.blind else ""
    note = f"<q>{escaped(review.note)}</q>" if review.note.strip() else ""
    return (
        f"<li><b>{escaped(review.person)}</b> {escaped(review.what)}{seen}{grade} "
        f'<span class="rl-muted">{review.at:%d %b %Y}</span>{note}</li>'
    )
