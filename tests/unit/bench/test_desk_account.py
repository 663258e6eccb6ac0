"""What the bench of many reviewers would find: each kind of fault is made by hand here and must be seen."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

from app.bootstrap import open_workspace
from app.services import reviewing
from bench.desk_account import Stored, above_quota, account_of, held, lost_answers, open_twice, stored_unasked
from bench.desk_reviewer import Log, returned_grades, review_until
from bench.desk_rows import Size
from bench.desk_workspace import make_desk
from bench.many_reviewers import Crowd, review_together
from db.enums import ReviewAction

GRADE, SKIP, UNDO = ReviewAction.GRADE, ReviewAction.SKIP, ReviewAction.UNDO


def stored(number: int, pair: int, person: int, action: ReviewAction = GRADE, **other: object) -> Stored:
    fields = {"grade": 1 if action is GRADE else None, "card": f"c{number}", "undoes": None, "hidden_check": False}
    return Stored(number, pair, f"Reviewer {person:02}", action, **{**fields, **other})  # type: ignore[arg-type]


def line(what: str, at: float, card: str = "c1", pair: int = 7, **other: object) -> dict[str, object]:
    return {"what": what, "at": at, "card": card, "pair": pair, **other}


def served(at: float, pair: int = 7, card: str = "c1", phase: str = "grade") -> dict[str, object]:
    return line("served", at, card, pair, phase=phase)


def test_a_pair_that_more_people_graded_than_wanted_is_found() -> None:
    """A quota that is exceeded for a moment and undone afterwards was exceeded."""
    two = [stored(1, 7, 0), stored(2, 7, 1)]
    assert len(above_quota(two, {7: 1}, watched={7})) == 1
    assert above_quota(two, {7: 2}, watched={7}) == []
    assert above_quota(two, {7: 1}, watched={8}) == []
    taken_back = [stored(1, 7, 0), stored(2, 7, 0, UNDO, undoes=1, card=None), stored(3, 7, 1)]
    assert above_quota(taken_back, {}, watched={7}) == []
    too_late = [stored(1, 7, 0), stored(2, 7, 1), stored(3, 7, 0, UNDO, undoes=1, card=None)]
    assert len(above_quota(too_late, {}, watched={7})) == 1


def test_a_person_counts_once_and_a_hidden_check_not_at_all() -> None:
    """A blind grade that is revised is one person's; a check asks about a graded pair on purpose."""
    revised = [stored(1, 7, 0), stored(2, 7, 0), stored(3, 7, 1, hidden_check=True), stored(4, 7, 2, SKIP)]
    assert above_quota(revised, {7: 1}, watched={7}) == []
    one_undone = [stored(1, 7, 0), stored(2, 7, 0), stored(3, 7, 0, UNDO, undoes=2, card=None), stored(4, 7, 1)]
    assert len(above_quota(one_undone, {7: 1}, watched={7})) == 1  # the blind grade still stands


def test_a_pair_that_two_people_had_open_at_once_is_found() -> None:
    """The fault that other tools are known for: two people do the same work."""
    first = [served(1.0), line("asked", 3.0), line("done", 3.1)]
    assert len(open_twice([first, [served(2.0), line("asked", 2.5)]], {}, hidden=set())) == 1
    assert open_twice([first, [served(2.0), line("asked", 2.5)]], {7: 2}, hidden=set()) == []
    assert open_twice([first, [served(3.05), line("asked", 4.0)]], {}, hidden=set()) == []
    assert open_twice([first, [served(2.0, pair=8), line("asked", 2.5)]], {}, hidden=set()) == []
    assert open_twice([first, [served(2.0, phase="revise"), line("asked", 2.5)]], {}, hidden=set()) == []
    assert open_twice([first, [served(2.0, card="check"), line("asked", 2.5)]], {}, hidden={"check"}) == []


def test_a_card_is_held_until_the_next_thing_its_person_says() -> None:
    """A kill ends nothing at the server; what a person says next ends what they surely held."""
    assert held([served(1.0), line("killed", 2.0), served(5.0), line("asked", 6.0)]) == [
        (1.0, 2.0, 7, "c1"),
        (5.0, 6.0, 7, "c1"),
    ]
    assert held([]) == []


def test_an_answer_that_is_not_stored_as_it_was_given_is_lost() -> None:
    """A grade that returned and is not there, or is another one, is work that nobody will do again."""
    given = [[line("done", 1.0, action="grade", grade=2)]]
    assert lost_answers(given, [stored(1, 7, 0, grade=2)]) == []
    assert len(lost_answers(given, [])) == 1
    assert len(lost_answers(given, [stored(1, 7, 0, grade=3)])) == 1
    assert len(lost_answers(given, [stored(1, 8, 0, grade=2)])) == 1
    assert len(lost_answers(given, [stored(1, 7, 1, grade=2)])) == 1
    assert len(lost_answers(given, [stored(1, 7, 0, grade=2), stored(2, 7, 0, grade=2, card="c1")])) == 1
    undone = [[line("done", 1.0, action="undo", grade=None, undone=True)]]
    assert len(lost_answers(undone, [])) == 1
    assert lost_answers(undone, [stored(1, 7, 0, UNDO, undoes=9, card=None)]) == []


def test_an_answer_that_nobody_gave_is_found() -> None:
    """A late press that met the next card would be stored without ever having been asked for."""
    asked = [[line("asked", 1.0, action="grade"), line("asked", 2.0, card="c2", action="undo")]]
    undo = stored(2, 7, 0, UNDO, undoes=1, card=None)
    assert stored_unasked(asked, [stored(1, 7, 0), undo]) == []
    assert len(stored_unasked(asked, [stored(3, 7, 0)])) == 1
    assert len(stored_unasked(asked, [stored(1, 7, 0), undo, stored(4, 7, 0, UNDO, undoes=3, card=None)])) == 1


def test_a_log_survives_a_kill_and_half_a_line_of_it_is_left_out(tmp_path: Path) -> None:
    """What was returned before a kill must be held against what is stored, or the kill hides a loss."""
    log = Log(tmp_path / "log.jsonl")

    def work() -> None:
        for number in range(1_000_000):
            log.say("done", grade=number)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    while returned_grades(log.lines()) < 5:
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    whole = log.lines()
    assert [one["grade"] for one in whole] == list(range(len(whole)))
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"what": "do')
    assert log.lines() == whole


def test_a_crowd_with_a_killed_process_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Three people at one desk, one of them killed: the whole account, on real processes."""
    account = review_together(tmp_path / "desk", Crowd(people=3, grades=5), settings={})
    assert account.kills == 1
    assert account.grades_returned >= 15
    assert account.reviews >= account.grades_returned
    assert account.problems == ()
    assert account.holds


def test_a_stored_grade_that_somebody_changed_is_noticed(tmp_path: Path) -> None:
    """A bench that finds nothing wrong whatever is stored would prove nothing."""
    folder = tmp_path / "desk"
    make_desk(folder, Size(50)).close()
    log = Log(tmp_path / "log.jsonl")
    review_until(folder, number=1, grades=3, log=log, seed=0)
    assert account_of(folder, [[], log.lines()], kills=0).problems == ("Reviewer 00 came to no end",)
    workspace = open_workspace(folder)
    card = reviewing.claim(workspace, person="Reviewer 01")
    assert card is not None
    reviewing.grade(workspace, card=card.card, person="Reviewer 01", grade=0)
    workspace.close()
    account = account_of(folder, [[], log.lines()], kills=0)
    assert account.unasked == 1
    assert not account.holds
