"""The whole desk in one step: the card, the question's other candidates and how far the person is."""

from __future__ import annotations

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.desk_choice import DEFAULT, DeskChoice
from app.services.desk_progress import count_waiting, progress_of
from app.services.desk_turns import begin_turn, in_turn
from app.services.desk_views import DeskView, SidePair
from app.services.serving import serve
from app.services.side_list import list_in_turn


def open_desk(
    workspace: Workspace,
    *,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    pair_id: int | None = None,
    desk: DeskChoice = DEFAULT,
) -> DeskView:
    """What `claim`, `list_query` of the card's pair and `get_progress` return, in one transaction instead of three.

    Raises:
        Conflict: the pair asked for is open at somebody else's, or is judged blind and this person has seen the
            proposal.
        NotFound: the pair asked for does not exist.
        NotAllowed: this person is revoked.
    """

    def opened(session: Session) -> DeskView:
        turn = begin_turn(workspace, session, person=person, criterion=criterion)
        card = serve(workspace, session, turn=turn, criterion=criterion, pair_id=pair_id, desk=desk)
        side: tuple[SidePair, ...] = ()
        if card is None:
            waiting = count_waiting(workspace, session, criterion=criterion)
        else:
            side = list_in_turn(
                workspace, session, pair_id=card.pair.pair_id, turn=turn, criterion=criterion, blind=desk.blind
            )
            waiting = card.waiting
        return DeskView(
            card=card,
            side=side,
            progress=progress_of(
                workspace, session, person=person, person_id=turn.person_id, criterion=criterion, waiting=waiting
            ),
        )

    return in_turn(workspace, opened)
