"""What a new encoder costs before it can be tried: how many passages it must encode, and how long that takes here."""

from __future__ import annotations

from dataclasses import dataclass

from app.bootstrap import Workspace
from app.services.encoder_choice import get_choice
from app.services.indexing import encoder_model
from db.queries.registry import get_live, newest_index


@dataclass(frozen=True, slots=True)
class EncodingTime:
    """Passages to encode; seconds: by the speed measured on this machine, None where it was not measured."""

    n_passages: int
    seconds: float | None


def get_encoding_time(workspace: Workspace) -> EncodingTime | None:
    """What encoding the corpus with a new encoder would take; None where nothing was indexed for the live one yet."""
    with workspace.sessions.read() as session:
        live = get_live(session)
        encoder = None if live is None else encoder_model(session, live)
        index = None if encoder is None else newest_index(session, model_id=encoder.id)
    if encoder is None or index is None:
        return None
    choice = get_choice(workspace, encoder)
    speeds = () if choice is None else choice.figures
    speed = next((one.texts_per_second for one in speeds if choice and one.backend == choice.backend), None)
    return EncodingTime(index.n_passages, None if not speed else index.n_passages / speed)
