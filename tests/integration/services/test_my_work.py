"""What one person did, counted by hand on both databases; nobody sees another's work but owners."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.bootstrap import Workspace
from app.errors import InputInvalid, NotAllowed
from app.services import adjudicating
from app.services.my_work import LEAST_CHECKS, LEAST_TIMED, PAUSE_SECONDS, get_work, list_work, share
from builders import Clock, with_clock
from compared import add_questions, add_reviews
from db.enums import ReviewAction, Role, Visibility
from disputed import say as raise_flag
from worked import NOW, all_pairs, person, said, say, say_all, undo

SHOWN, FLAG, ADJUDICATE = Visibility.SHOWN, ReviewAction.FLAG, ReviewAction.ADJUDICATE
YESTERDAY = NOW - timedelta(days=1)


@pytest.fixture
def desk(any_workspace: Workspace) -> Workspace:
    """Twelve questions, 72 pairs that Grace's file judged, an owner called Olga, and a Wednesday that stands still."""
    add_questions(any_workspace)
    add_reviews(any_workspace)
    person(any_workspace, "Olga", Role.OWNER)
    person(any_workspace, "Ada")
    return with_clock(any_workspace, Clock(NOW))


def test_labels_are_counted_once_and_timed_without_pauses(desk: Workspace) -> None:
    """A reveal, an undo or a lunch break that doubles somebody's work, or halves it."""
    pairs = list(all_pairs(desk).values())
    blind = say_all(
        desk,
        [
            said(pair, "Ada", 1, seconds=12.0, created_at=NOW - timedelta(days=number))
            for number, pair in enumerate(pairs[:24])
        ],
    )
    say(desk, pairs[0], "Ada", 1, visibility=SHOWN, revises_id=blind[0], seconds=4.0)  # kept
    say(desk, pairs[1], "Ada", 3, visibility=SHOWN, revises_id=blind[1], seconds=4.0)  # revised
    say(desk, pairs[24], "Ada", 2, visibility=SHOWN, seconds=PAUSE_SECONDS + 1)  # lunch
    say(desk, pairs[25], "Ada", 2, visibility=SHOWN, seconds=None)
    undo(desk, say(desk, pairs[26], "Ada", 2, seconds=30.0))
    say(desk, pairs[27], "Ada", seconds=10.0)  # a skip
    say(desk, pairs[28], "Ada", None, action=FLAG, note="?", seconds=10.0)
    found = get_work(desk, person="Ada")
    assert (found.labels, found.n_timed, found.n_long, found.n_untimed) == (26, 24, 1, 1)
    # 24 · 12 s, two answers of 4 s, 30 s undone, 10 s each for the skip and the flag
    assert found.hours * 3600 == pytest.approx(24 * 12 + 8 + 30 + 20)
    assert found.per_hour == pytest.approx(24 / 346 * 3600)
    assert (found.today, found.this_week) == (3, 5)  # Wednesday: today's three, Tuesday's and Monday's one each
    assert (found.kept, found.revised, found.undos, found.skips) == (1, 1, 1, 1)
    assert (found.blind.hits, found.blind.n) == (24, 26)
    assert found.pause_seconds == PAUSE_SECONDS


def test_too_few_timed_labels_give_no_pace(desk: Workspace) -> None:
    """A first card answered in two seconds: 1,800 labels an hour."""
    pairs = list(all_pairs(desk).values())
    say_all(desk, [said(pair, "Ada", 1, seconds=2.0) for pair in pairs[: LEAST_TIMED - 1]])
    assert get_work(desk, person="Ada").per_hour is None
    say(desk, pairs[40], "Ada", 1, seconds=2.0)
    assert get_work(desk, person="Ada").per_hour == pytest.approx(1800)


def test_grades_are_held_against_what_others_decided_later(desk: Workspace) -> None:
    """A person who is right because they decided themselves, or who is judged by what they had read before."""
    pairs = list(all_pairs(desk).values())
    say(desk, pairs[0], "Ada", 0)
    say(desk, pairs[0], "Ada", 3)  # what she thought last, before it was decided
    say(desk, pairs[0], "Judy", 3, action=ADJUDICATE)
    say(desk, pairs[0], "Ada", 0)  # too late
    say(desk, pairs[1], "Ada", 2)
    wrong = say(desk, pairs[1], "Judy", 0, action=ADJUDICATE)
    undo(desk, wrong)
    say(desk, pairs[1], "Judy", 3, action=ADJUDICATE)  # the same side, another grade
    say(desk, pairs[2], "Ada", 1)
    say(desk, pairs[2], "Ada", 1, action=ADJUDICATE)  # her own decision says nothing of her
    undo(desk, say(desk, pairs[3], "Ada", 1))
    say(desk, pairs[3], "Judy", 1, action=ADJUDICATE)
    found = get_work(desk, person="Ada").adjudicated
    assert (found.same.hits, found.same.n) == (1, 2)
    assert (found.same_side.hits, found.same_side.n) == (2, 2)
    assert get_work(desk, person="Judy").adjudications == 3


def test_hidden_checks_are_told_from_yesterday_on_and_not_before_there_are_ten(desk: Workspace) -> None:
    """A counter that moves with the card tells which card was the check."""
    pairs = list(all_pairs(desk).values())[: LEAST_CHECKS + 1]
    say_all(desk, [said(pair, "Judy", 2, action=ADJUDICATE, created_at=YESTERDAY) for pair in pairs])
    answers = [2, 2, 2, 2, 2, 2, 2, 3, 0]
    say_all(
        desk,
        [
            said(pair, "Ada", answer, hidden_check=True, created_at=YESTERDAY)
            for pair, answer in zip(pairs, answers, strict=False)
        ],
    )
    assert get_work(desk, person="Ada").hidden_checks is None
    say(desk, pairs[9], "Ada", 2, hidden_check=True, created_at=YESTERDAY)
    say(desk, pairs[10], "Ada", 0, hidden_check=True, created_at=NOW)  # today's is not told yet
    found = get_work(desk, person="Ada")
    assert found.hidden_checks is not None
    assert (found.hidden_checks.same.hits, found.hidden_checks.same.n) == (8, 10)
    assert found.hidden_checks.same_side.hits == 9
    assert found.adjudicated.same.n == 0  # a hidden check is no grade that was decided on
    tomorrow = with_clock(desk, Clock(NOW + timedelta(days=1)))
    later = get_work(tomorrow, person="Ada").hidden_checks
    assert later is not None
    assert (later.same.hits, later.same.n) == (8, 11)


def test_flags_say_what_came_of_them(desk: Workspace) -> None:
    """A flag that nobody answers, and a reviewer who never learns of it."""
    pairs = list(all_pairs(desk).values())
    for number in range(4):
        say(desk, pairs[number], "Ada", None, action=FLAG, note=f"note {number}")
    say(desk, pairs[1], "Bob", 2)
    say(desk, pairs[2], "Bob", 2)
    say(desk, pairs[2], "Judy", 1, action=ADJUDICATE)
    undo(desk, say(desk, pairs[3], "Bob", 2))
    undo(desk, say(desk, pairs[4], "Ada", None, action=FLAG, note="a slip"))
    found = get_work(desk, person="Ada")
    assert (found.flags_open, found.flags_graded, found.flags_adjudicated) == (2, 1, 1)
    assert [(one.note, one.outcome) for one in found.flags] == [
        ("note 3", "open"),
        ("note 2", "adjudicated"),
        ("note 1", "graded"),
        ("note 0", "open"),
    ]


def test_a_flag_that_was_sent_back_stays_with_its_author_and_has_the_answer(desk: Workspace) -> None:
    """Who asks about a pair finds the question gone from their work, and never reads what was answered."""
    pairs = list(all_pairs(desk).values())
    for pair_id, name in ((pairs[0], "Ada"), (pairs[0], "Olga"), (pairs[1], "Ada")):
        raise_flag(desk, pair_id, name, None, note=f"{name} asks")
    say(desk, pairs[0], "Bob", 2)
    case = adjudicating.open_case(desk, person="Olga", pair_id=pairs[0])
    assert case is not None
    adjudicating.send_back(desk, card=case.card, person="Olga", note="yes, all of it")

    ada, olga = get_work(desk, person="Ada"), get_work(desk, person="Olga")
    assert (ada.flags_open, ada.flags_graded, ada.flags_sent_back, ada.flags_adjudicated) == (1, 0, 1, 0)
    assert [(one.note, one.outcome, one.answer) for one in ada.flags] == [
        ("Ada asks", "open", ""),
        ("Ada asks", "sent back", "yes, all of it"),
    ]
    assert [(one.outcome, one.answer) for one in olga.flags] == [("sent back", "yes, all of it")], "the second undo"
    assert olga.undos == 0, "to settle a flag takes back nothing of one's own"
    assert {one.person: one.flags_sent_back for one in list_work(desk, person="Olga")}["Olga"] == 1

    adjudicating.undo(desk, person="Olga")
    again = get_work(desk, person="Ada")
    assert [one.outcome for one in again.flags] == ["open", "graded"], "raised again, under Olga's name"
    assert (again.flags_sent_back, again.undos) == (0, 0)

    case = adjudicating.open_case(desk, person="Olga", pair_id=pairs[0])
    assert case is not None
    adjudicating.decide(desk, card=case.card, person="Olga", grade=1, note="the answer of a hidden check")
    told = get_work(desk, person="Ada").flags[1]
    assert (told.outcome, told.answer) == ("adjudicated", "")


def test_only_owners_see_the_work_of_others(desk: Workspace) -> None:
    """A list of who is slow, open to everybody."""
    pairs = list(all_pairs(desk).values())
    say(desk, pairs[0], "Ada", 1)
    say_all(desk, [said(pair, "Bob", 1) for pair in pairs[:2]])
    person(desk, "Judy", Role.ADJUDICATOR)
    assert get_work(desk, person="Olga", of="Ada").labels == 1
    assert [(one.person, one.labels) for one in list_work(desk, person="Olga")] == [("Bob", 2), ("Ada", 1), ("Olga", 0)]
    for other in ("Bob", "Judy", "nobody"):
        with pytest.raises(NotAllowed, match="Ada"):
            get_work(desk, person=other, of="Ada")
        assert [one.person for one in list_work(desk, person=other)] == [other]
    with pytest.raises(InputInvalid, match="Zoe"):
        get_work(desk, person="Olga", of="Zoe")


def test_what_came_in_a_file_is_nobodys_work(desk: Workspace) -> None:
    """72 judgements in no time, at the head of the list."""
    assert "Grace" not in {one.person for one in list_work(desk, person="Olga")}
    assert get_work(desk, person="Olga", of="Grace").labels == 0


def test_somebody_new_has_done_nothing_yet(desk: Workspace) -> None:
    """An error on the first day."""
    found = get_work(desk, person="Newcomer")
    assert (found.person, found.labels, found.per_hour, found.flags) == ("Newcomer", 0, None, ())


def test_a_share_has_the_interval_of_the_textbook() -> None:
    """3 of 3 shown as certainty."""
    found = share(8, 10)  # Wilson 95 %: .490 to .943
    assert (found.hits, found.n) == (8, 10)
    assert found.low == pytest.approx(0.4901, abs=1e-3)
    assert found.high == pytest.approx(0.9433, abs=1e-3)
    assert share(3, 3).low == pytest.approx(0.4385, abs=1e-3)
    assert share(3, 3).high == 1.0
    assert share(0, 0).low is None
