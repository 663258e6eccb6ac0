"""The Work screen: a person's own work, agreement with its n, and whether to stop; others' work for owners alone."""

from __future__ import annotations

from datetime import timedelta

from app.bootstrap import Workspace
from builders import truth
from compared import add_compared
from db.enums import ReviewAction, Role
from worked import NOW, all_pairs, person, retrained, said, say, say_all


def html_of(app) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def captions_of(app) -> str:
    return " ".join(caption.value for caption in app.caption).replace("\\", "")


def part(screen, name: str):
    screen = screen.button_group(key="work.part").set_value(name).run()
    assert not screen.exception
    return screen


def reviewed(workspace: Workspace) -> None:
    """Ada and me grade all 72 pairs blind, beside two judges; Ada raises a flag."""
    add_compared(workspace)
    pairs = all_pairs(workspace)
    say_all(
        workspace,
        [said(pair_id, name, truth(*key), seconds=12.0) for key, pair_id in pairs.items() for name in ("Ada", "me")],
    )
    say(workspace, next(iter(pairs.values())), "Ada", None, action=ReviewAction.FLAG, note="<b>odd</b> passage")


def test_somebody_new_is_told_where_to_begin(app, empty: Workspace) -> None:
    """A page of dashes on the first day."""
    screen = app("work")
    assert "No labels yet" in html_of(screen)
    assert "No blind grades yet" in html_of(part(screen, "Agreement"))
    assert "Not enough rounds to say: it needs two" in html_of(part(screen, "Return"))


def test_an_owner_sees_everybodys_work_and_can_open_one(app, empty: Workspace) -> None:
    """An owner who cannot see who needs help, or a figure without its n."""
    reviewed(empty)
    screen = app("work")
    assert "Labels per hour" in html_of(screen)
    assert "300" in html_of(screen)  # 72 labels of 12 s
    assert "n = 72 in 0.2 h" in html_of(screen)
    screen = screen.selectbox(key="work.whose").set_value("Ada").run()
    assert not screen.exception
    page = html_of(screen)
    assert "1 flag" in captions_of(screen)
    assert "&lt;b&gt;odd&lt;/b&gt; passage" in page
    assert "<b>odd" not in page


def test_a_reviewer_sees_only_their_own_work(app, empty: Workspace) -> None:
    """A list of colleagues' pace, open to all of them."""
    reviewed(empty)
    person(empty, "Olga", Role.OWNER)
    screen = app("work")  # as "me", a reviewer now
    assert screen.selectbox(key="main.person").value == "me"
    assert "work.whose" not in {box.key for box in screen.selectbox}
    assert "Ada" not in html_of(screen)
    agreement = part(screen, "Agreement")
    page = html_of(agreement)
    assert "Ada" not in page
    assert "Person " in page
    assert "owners alone see their names" in captions_of(agreement)


def test_agreement_is_shown_with_its_n_and_interval(app, empty: Workspace) -> None:
    """A coefficient that is believed more than it deserves."""
    reviewed(empty)
    screen = part(app("work"), "Agreement")
    page = html_of(screen)
    assert "careful" in page
    assert "hasty" in page
    assert "72 pairs of 12 questions" in page
    assert "too few" in page  # the rare judge
    assert "216 first blind grades of 72 pairs" in captions_of(screen)
    assert "Month from" in page
    assert "2026-05-01" in page


def test_the_return_is_told_with_its_interval_and_n(app, empty: Workspace) -> None:
    """Stop or go on, from a number that nobody can check."""
    reviewed(empty)
    first, _ = retrained(empty, "m<1>", at=NOW - timedelta(hours=1))
    retrained(empty, "m2", at=NOW, against=first, gain=(0.01, 0.004, 0.016))
    page = html_of(part(app("work"), "Return"))
    assert "+0.0100" in page
    assert "+0.0040 to +0.0160; n\u00a0=\u00a050" in page
    assert "m&lt;1&gt;" in page
    assert "0 audits, at least 20 are needed" in page  # calibrate questions train nothing
