"""What a new encoder costs before it can be tried: how many passages it must encode, and how long that takes here."""

from __future__ import annotations

from dataclasses import dataclass

from app.bootstrap import Workspace
from app.services.encoder_choice import get_choice
from app.services.indexing import encoder_model
from db.queries.counts import count_passages
from db.queries.registry import get_live


@dataclass(frozen=True, slots=True)
class EncodingTime:
    """Passages to encode; seconds: by the speed measured on this machine, None where it was not measured."""

    n_passages: int
    seconds: float | None


def get_encoding_time(workspace: Workspace) -> EncodingTime | None:
    """What encoding the corpus with a new encoder would take; None where no model is live yet."""
    with workspace.sessions.read() as session:
        live = get_live(session)
        if live is None:
            return None
        encoder = encoder_model(session, live)
        n = count_passages(session)
    choice = get_choice(workspace, encoder)
    if choice is None:
        return EncodingTime(n, None)
    asked = workspace.settings.encoder_backend
    backend = choice.backend if asked == "auto" else asked
    speed = next((one.texts_per_second for one in choice.figures if one.backend == backend), None)
    return EncodingTime(n, n / speed if speed else None)
