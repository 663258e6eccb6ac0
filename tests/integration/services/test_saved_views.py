"""Saved views: whose they are, who sees them, and what may be kept in one."""

from __future__ import annotations

import pytest

from app.bootstrap import Workspace
from app.errors import InputInvalid, NotAllowed
from app.services.saved_views import delete_view, list_views, save_view, share_view
from db.errors import NotFound


def names(workspace: Workspace, person: str, screen: str = "labels") -> list[str]:
    return [view.title for view in list_views(workspace, person=person, screen=screen)]


def test_a_view_is_its_makers_until_it_is_shared(any_workspace: Workspace) -> None:
    """A colleague's private filters fill everybody's list, or a shared one cannot be found."""
    mine = save_view(
        any_workspace, person="Ada", screen="labels", name=" Low  first ", filters={"text": "tea", "to": 0.4}
    )
    save_view(any_workspace, person="Bob", screen="labels", name="Bob's", filters={"disputed": True}, shared=True)
    save_view(any_workspace, person="Ada", screen="review", name="Blind", filters={"blind": True, "judge": None})
    assert names(any_workspace, "Ada") == ["Low first", "Bob's (Bob)"]
    assert names(any_workspace, "Bob") == ["Bob's"]
    assert names(any_workspace, "Ada", "review") == ["Blind"]
    share_view(any_workspace, view_id=mine.id, person="Ada", shared=True)
    assert names(any_workspace, "Bob") == ["Bob's", "Low first (Ada)"]
    found = list_views(any_workspace, person="Bob", screen="labels")[1]
    assert (found.filters, found.shared, found.mine) == ({"text": "tea", "to": 0.4}, True, False)


def test_saving_under_the_same_name_changes_that_view(any_workspace: Workspace) -> None:
    """Every save makes another view of the same name."""
    save_view(any_workspace, person="Ada", screen="labels", name="A", filters={"text": "tea"})
    save_view(any_workspace, person="Ada", screen="labels", name="A", filters={"text": "milk"}, shared=True)
    (view,) = list_views(any_workspace, person="Ada", screen="labels")
    assert (view.filters, view.shared) == ({"text": "milk"}, True)


def test_nobody_deletes_or_hides_somebody_elses_view_but_an_owner_tidies_the_shared(any_workspace: Workspace) -> None:
    """A team's view disappears because somebody clicked the cross."""
    shared = save_view(any_workspace, person="Ada", screen="labels", name="A", filters={}, shared=True)
    private = save_view(any_workspace, person="Ada", screen="labels", name="B", filters={})
    owner = any_workspace.settings.person
    with pytest.raises(NotAllowed):
        share_view(any_workspace, view_id=shared.id, person="Bob", shared=False)
    for view, person in ((shared, "Bob"), (private, owner)):
        with pytest.raises(NotAllowed):
            delete_view(any_workspace, view_id=view.id, person=person)
    delete_view(any_workspace, view_id=shared.id, person=owner)
    delete_view(any_workspace, view_id=private.id, person="Ada")
    assert names(any_workspace, "Ada") == []
    with pytest.raises(NotFound):
        delete_view(any_workspace, view_id=shared.id, person="Ada")


@pytest.mark.parametrize(
    ("name", "filters"),
    [
        (" ", {}),
        ("x" * 101, {}),
        ("x", {"a": ["list"]}),
        ("x", {"a": float("nan")}),
        ("x", {"a": "y" * 2001}),
        ("x", {str(n): n for n in range(41)}),
    ],
)
def test_what_cannot_be_kept_is_refused(workspace: Workspace, name: str, filters: dict[str, object]) -> None:
    """A view that cannot be read again, or megabytes of one."""
    with pytest.raises(InputInvalid):
        save_view(workspace, person="Ada", screen="labels", name=name, filters=filters)  # type: ignore[arg-type]
