"""What a key press or click at the review desk does: one service call for the target it was meant for, then a notice.

A press that was made before the screen showed what the last one had done is refused; it is never moved elsewhere.
"""

from __future__ import annotations

from app import state
from app.components import keys
from app.components.badges import grade_text
from app.components.problems import OURS, sentence
from app.components.text import counted, shortened
from app.errors import InputInvalid
from app.services import reviewing
from app.services.views import ScaleView, UndoneView

SCREEN = "review"


def take(press: keys.Press) -> None:
    """Deal with one press; whatever comes of it, keys count again afterwards."""
    late = press.turn != state.get_turn()
    state.next_turn()
    if late:
        _refuse(keys.TOO_EARLY)
        return
    try:
        _deal_with(press)
    except OURS as exc:
        _refuse(sentence(exc))


def keep_alive(card: str) -> None:
    """Hold the card for its person a while longer; say so when it was lost."""
    try:
        held = reviewing.renew(state.get_workspace(), card=card, person=state.get_person())
    except OURS as exc:
        _refuse(sentence(exc))
        return
    if held is None:
        _to_queue()
        _refuse("The card before lay open too long and was given on. Nothing you graded is lost; this is the next one.")


def take_back() -> None:
    """Undo the last step of this person; what was graded at once is taken back at once."""
    bulk = state.get_bulk()
    undone = _undo()
    if undone is None:
        _refuse("There is nothing of yours to take back.")
        return
    n_undone = 1
    state.note_open_pair(undone.pair_id)
    while undone.pair_id in bulk and n_undone < len(bulk) and (before := _undo()) is not None:
        undone, n_undone = before, n_undone + 1
        state.note_open_pair(undone.pair_id)
    scale = reviewing.get_scale(state.get_workspace())
    what = undone.action if undone.grade is None else grade_text(undone.grade, scale)
    if n_undone > 1:
        what = f"{what} of {n_undone:,} passages"
    where = "" if state.get_list() is not None else " Here it is again."
    state.leave_notice(SCREEN, f"Taken back: {what}, on “{shortened(undone.query, 70)}”.{where}")


def _undo() -> UndoneView | None:
    return reviewing.undo(state.get_workspace(), person=state.get_person(), criterion=state.get_criterion())


def _deal_with(press: keys.Press) -> None:
    if press.key == keys.HELP:
        state.ask_for_help()
        return
    if press.key == keys.UNDO:
        _to_queue()
        take_back()
    state.keep_bulk(())
    scale = reviewing.get_scale(state.get_workspace())
    grade = keys.grade_of(press.key, max_grade=scale.max_grade)
    row = keys.pair_of(press.card)
    match press.key:
        case keys.UNDO:
            pass
        case keys.LIST | keys.SEVERAL:
            _turn_list(press)
        case keys.AROUND:
            state.ask_around(None if state.is_around_asked(press.card) else press.card)
        case keys.PROPOSALS:
            state.show_proposals(not state.are_proposals_shown())
        case keys.OPEN if row is not None:
            state.show_list(None)
            state.want_pair(row)
        case _ if press.card == keys.PICKED and grade is not None:
            _grade_picked(press.pairs, grade, scale)
        case _ if row is not None and grade is not None:
            _grade_row(row, grade)
        case _:
            _answer(press, grade)


def _answer(press: keys.Press, grade: int | None) -> None:
    """Answer the card with that id, and no other; a card that was already answered is refused."""
    workspace, person, card = state.get_workspace(), state.get_person(), press.card
    seconds = state.get_seconds_on(card)
    if grade is not None:
        revealed = reviewing.grade(workspace, card=card, person=person, grade=grade, seconds=seconds, note=press.note)
        if revealed is not None:
            return  # the same pair goes on, wherever it was opened from
    elif press.key == keys.KEEP:
        reviewing.keep(workspace, card=card, person=person, seconds=seconds)
    elif press.key == keys.SKIP:
        reviewing.skip(workspace, card=card, person=person, seconds=seconds)
    elif press.key == keys.FLAG:
        reviewing.flag(workspace, card=card, person=person, note=press.note, seconds=seconds)
        state.leave_notice(SCREEN, "Flagged. An adjudicator will look at it; nobody else is asked.")
    else:
        return
    _to_queue()


def _grade_row(pair_id: int, grade: int) -> None:
    if pair_id == state.get_open_pair():
        _grade_open(pair_id, grade)
        return
    reviewing.grade_in_place(
        state.get_workspace(),
        pair_id=pair_id,
        person=state.get_person(),
        criterion=state.get_criterion(),
        grade=grade,
    )


def _grade_open(pair_id: int, grade: int) -> None:
    """Grade the pair that this person has open as a card from its row; what it reveals is shown on the card."""
    workspace, person = state.get_workspace(), state.get_person()
    card = reviewing.claim(
        workspace, person=person, criterion=state.get_criterion(), pair_id=pair_id, desk=state.get_desk()
    )
    if card is None:
        return
    seconds = state.get_seconds_on(card.card)
    revealed = reviewing.grade(workspace, card=card.card, person=person, grade=grade, seconds=seconds)
    if revealed is None:
        state.forget_open_pair()
    else:
        state.show_list(None)


def _grade_picked(pair_ids: tuple[int, ...], grade: int, scale: ScaleView) -> None:
    if not pair_ids:
        raise InputInvalid("no rows are picked", user_message="Pick passages first.")
    opened = state.get_open_pair()
    result = reviewing.grade_many(
        state.get_workspace(),
        pair_ids=[pair_id for pair_id in pair_ids if pair_id != opened],
        person=state.get_person(),
        criterion=state.get_criterion(),
        grade=grade,
    )
    graded = result.graded
    if opened is not None and opened in pair_ids:
        _grade_open(opened, grade)
        graded = (*graded, opened)
    state.keep_bulk(graded)
    said = f"{counted(len(graded), 'passage')} graded {grade_text(grade, scale)}. u takes it back."
    if result.refused:
        whys = " ".join(dict.fromkeys(refused.why for refused in result.refused))
        _refuse(f"{said} {len(result.refused):,} not: {whys}")
    else:
        state.leave_notice(SCREEN, said)


def _turn_list(press: keys.Press) -> None:
    """`l` goes from the card to the list and back, `b` to picking and back."""
    shown, picking = state.get_list(), press.key == keys.SEVERAL
    if shown is None:
        pair_id = state.get_open_pair()
        if pair_id is not None:
            state.show_list(state.QueryList(pair_id, picking=picking))
    elif picking:
        state.show_list(state.QueryList(shown.pair_id, picking=not shown.picking))
    else:
        state.show_list(None)


def _to_queue() -> None:
    """The pair that somebody's link or hand had asked for is dealt with."""
    state.want_pair(None)
    state.close_linked_pair()


def _refuse(text: str) -> None:
    state.leave_notice(SCREEN, text, "refused")
