"""The state of the corpus as a hash: what an index, a comparison and a promotion rest on."""

from __future__ import annotations

from app.bootstrap import Workspace
from app.errors import NothingToDo
from db.queries.corpus_state import keep, read_state


def corpus_hash(workspace: Workspace) -> str:
    """The hash of the corpus as it is now: one row is read, or every passage after a change until it is kept again.

    Raises:
        NothingToDo: there is no passage yet.
    """
    with workspace.sessions.read() as session:
        state = read_state(session)
    if state.n == 0:
        raise NothingToDo("there are no passages yet", user_message="Import passages first: relabel import PATH")
    return state.hash


def keep_corpus_hash(workspace: Workspace) -> None:
    """Has the hash of the corpus kept, where it is not: for whoever has just changed it, or works for long on it."""
    with workspace.sessions.read() as session:
        state = read_state(session)
    if not state.kept and state.n:
        with workspace.sessions.begin() as session:
            keep(session, state, now=workspace.now())
