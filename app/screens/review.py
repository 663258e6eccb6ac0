"""Review: one pair at a time, or a whole query; a key grades, and it is saved before the next card is drawn.

Audits and spot checks of certificates come first and blind; then what was not accepted, and the candidates of calibrate
and held-out questions, which people alone judge.
"""

from __future__ import annotations

import streamlit as st

from app import state
from app.components import desk_choice, keys, presses
from app.components.answers import answers_html, empty_html, list_answers_html
from app.components.card import board_html
from app.components.desk_parts import Proposals
from app.components.key_help import show_help
from app.components.problems import notice_html, told
from app.components.side_list import READ, list_html, side_html
from app.services import calibrated_confidence, labels, passage_texts, reviewing
from app.services.desk_views import SidePair
from app.services.views import Card, PairView, ReviewProgress, ScaleView
from db.enums import Split


def draw() -> None:
    scale = reviewing.get_scale(state.get_workspace())
    desk_choice.choose_desk(scale)
    desk()


@st.fragment
def desk() -> None:
    scale = reviewing.get_scale(state.get_workspace())
    st.html(notice_html(state.take_notice(presses.SCREEN)))
    card = None
    with told():
        if state.get_list() is None:
            card = _one_card(scale)
        else:
            _whole_query(scale)
    minutes = state.get_workspace().settings.review_minutes
    keys.listen(
        widget="review.keys",
        max_grade=scale.max_grade,
        on_press=presses.take,
        on_alive=presses.keep_alive,
        renew_seconds=60 * minutes / 4,
        idle_seconds=60 * minutes,
    )
    if card is not None:
        with told():
            _beside(card, scale)
    if state.take_help_request():
        show_help(scale)


def _one_card(scale: ScaleView) -> Card | None:
    workspace, person, criterion = state.get_workspace(), state.get_person(), state.get_criterion()
    wanted = state.get_wanted_pair() or state.get_linked_pair()
    if wanted is not None:
        st.button("Back to the queue", key="review.queue", on_click=_to_queue, type="tertiary")
    card = reviewing.claim(workspace, person=person, criterion=criterion, pair_id=wanted, desk=state.get_desk())
    progress = reviewing.get_progress(workspace, person=person, criterion=criterion)
    if card is None:
        _nothing(progress)
        return None
    pair_id = card.pair.pair_id
    state.open_card(card.card, pair_id=pair_id)
    concealed = card.pair.concealed
    st.html(
        board_html(
            card,
            scale=scale,
            turn=state.get_turn(),
            progress=progress,
            calibrated=(
                None
                if concealed
                else calibrated_confidence.get_calibrated(workspace, pair_id=pair_id, criterion=criterion)
            ),
            around=(reviewing.neighbours(workspace, pair_id=pair_id) if state.is_around_asked(card.card) else None),
            guidelines=workspace.settings.guidelines,
        )
    )
    st.html(answers_html(card, scale=scale, can_undo=_can_undo(card, progress)))
    return card


def _beside(card: Card, scale: ScaleView) -> None:
    """The query's other candidates, once the card is on its way: nobody waits for them."""
    proposals = _proposals(card.pair)
    side = _candidates(card.pair.pair_id, proposals)
    st.html(side_html(side, scale=scale, card=card.card, turn=state.get_turn(), proposals=proposals))


def _candidates(pair_id: int, proposals: Proposals) -> tuple[SidePair, ...]:
    """Without proposals that this person has not seen yet: whoever is shown one is not asked for that pair blind."""
    return reviewing.list_query(
        state.get_workspace(),
        pair_id=pair_id,
        person=state.get_person(),
        criterion=state.get_criterion(),
        blind=proposals != "shown",
    )


def _proposals(pair: PairView) -> Proposals:
    if state.get_desk().blind or pair.split in (Split.CALIBRATE, Split.HELD_OUT):
        return "never"
    return "shown" if state.are_proposals_shown() else "hidden"


def _can_undo(card: Card, progress: ReviewProgress) -> bool:
    return bool(progress.graded or progress.skipped or card.phase == "revise")


def _whole_query(scale: ScaleView) -> None:
    workspace, person, criterion = state.get_workspace(), state.get_person(), state.get_criterion()
    shown = state.get_list()
    if shown is None:
        return
    pair = labels.get_pair(workspace, pair_id=shown.pair_id, criterion=criterion)
    progress = reviewing.get_progress(workspace, person=person, criterion=criterion)
    proposals = _proposals(pair)
    side = _candidates(shown.pair_id, proposals)
    st.html(
        list_html(
            side,
            scale=scale,
            turn=state.get_turn(),
            query=pair.query,
            definition=pair.definition,
            guidelines=workspace.settings.guidelines,
            texts=passage_texts.list_texts(
                workspace, pair_ids=[candidate.pair_id for candidate in side], characters=READ
            ),
            picking=shown.picking,
            progress=progress,
        )
    )
    st.html(
        list_answers_html(
            picking=shown.picking,
            can_undo=bool(progress.graded or progress.skipped),
            scale=scale,
            proposals=proposals,
        )
    )


def _nothing(progress: ReviewProgress) -> None:
    """No card: what that means here, and what to do next."""
    narrowed = state.get_desk().narrowed
    if narrowed:
        st.html(
            empty_html(
                "Nothing waits that fits these filters",
                "Take a filter away, or search for other words.",
                turn=state.get_turn(),
            )
        )
        st.button("Clear all filters", key="review.clear_all", on_click=desk_choice.clear)
        return
    done = bool(progress.graded or progress.skipped)
    if done:
        title = "Nothing is waiting for you"
        text = "Your reviews are saved. Train a model on them to see what they gained."
    else:
        title = "The queue is empty"
        text = (
            "Pairs come here when a judge has graded them and the grade was not accepted, when a certificate audits or "
            "spot-checks them, and when their question calibrates judges or is held out. See what is there already."
        )
    target = state.SCREENS["train" if done else "overview"]
    st.html(empty_html(title, text, turn=state.get_turn(), can_undo=done))
    with st.container(horizontal=True):
        st.page_link(target.path, label=f"Go to {target.title}", icon=target.icon)


def _to_queue() -> None:
    state.want_pair(None)
    state.close_linked_pair()


draw()
