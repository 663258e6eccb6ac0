"""Saving and deleting what a screen is narrowed to, under a name: the same on Review and on Labels."""

from __future__ import annotations

from app import state
from app.components.problems import OURS, sentence
from app.services import saved_views


def save_view(screen: str, filters: saved_views.Filters) -> None:
    """Keeps the filters under the name that the screen's form holds, for everybody if its box is ticked."""
    name = str(state.value_of(f"{screen}.view_name") or "")
    try:
        saved_views.save_view(
            state.get_workspace(),
            person=state.get_person(),
            screen=screen,
            name=name,
            filters=filters,
            shared=bool(state.value_of(f"{screen}.view_shared")),
        )
    except OURS as exc:
        state.leave_notice(screen, sentence(exc), "refused")
    else:
        state.leave_notice(screen, f"Saved as “{' '.join(name.split())}”.")


def delete_view(screen: str, view_id: int, *, done: str) -> bool:
    """Whether the view is gone; the notice is `done` then, else why not."""
    try:
        saved_views.delete_view(state.get_workspace(), view_id=view_id, person=state.get_person())
    except OURS as exc:
        state.leave_notice(screen, sentence(exc), "refused")
        return False
    state.leave_notice(screen, done)
    return True
