"""Settling what reviewers differ about, on both databases: nobody named before, nothing decided twice or unseen."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid, NotAllowed
from app.services import adjudicating, labels, reviewing
from app.services.adjudication_views import Case
from builders import TOPICS, Clock, pair_ids, passage_ids, query_id, queued, with_clock
from db.enums import LabelSource, ReviewAction, Role, Visibility
from db.models import PairState, QueueEntry, Review, SeenPair
from disputed import say, with_role

FIRST, SECOND = TOPICS[0], TOPICS[1]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(any_workspace: Workspace, clock: Clock) -> Workspace:
    """Two train questions, twelve pairs in the queue, Olga and Otto as adjudicators."""
    workspace = queued(with_clock(any_workspace, clock), topics=(FIRST, SECOND))
    with_role(workspace, "Olga", Role.ADJUDICATOR)
    with_role(workspace, "Otto", Role.ADJUDICATOR)
    return workspace


def pair_of(workspace: Workspace, topic=FIRST, number: int = 0) -> int:
    return pair_ids(workspace)[query_id(topic), passage_ids(topic)[number]]


def differ(workspace: Workspace, pair_id: int, *, people: tuple[str, str] = ("Ada", "Bo"), **said) -> None:
    say(workspace, pair_id, people[0], 0, **said)
    say(workspace, pair_id, people[1], 3, **said)


def opened(workspace: Workspace, person: str = "Olga", **wish) -> Case:
    case = adjudicating.open_case(workspace, person=person, **wish)
    assert case is not None
    return case


def state_of(workspace: Workspace, pair_id: int) -> PairState:
    with workspace.sessions.read() as session:
        return session.get_one(PairState, (pair_id, Criterion.RELEVANCE))


def reviews(workspace: Workspace, action: ReviewAction | None = None) -> list[Review]:
    with workspace.sessions.read() as session:
        found = session.scalars(sa.select(Review).order_by(Review.id))
        return [review for review in found if action in (None, review.action)]


def test_a_decision_stands_above_both_grades_and_settles_the_dispute(desk: Workspace) -> None:
    """Without it two contradicting grades train as if nobody had noticed."""
    pair_id = pair_of(desk)
    differ(desk, pair_id)
    case = opened(desk)
    assert (case.pair.pair_id, case.disputed, case.flagged) == (pair_id, True, False)
    settled = adjudicating.decide(desk, card=case.card, person="Olga", grade=2, note="half of it", seconds=4.0)
    assert (settled.grade, settled.note) == (2, "half of it")
    view = labels.get_pair(desk, pair_id=pair_id)
    assert (view.curated_grade, view.curated_source) == (2, LabelSource.ADJUDICATED)
    (stored,) = reviews(desk, ReviewAction.ADJUDICATE)
    assert (stored.grade, stored.note, stored.seconds, stored.card) == (2, "half of it", 4.0, case.card)
    assert not state_of(desk, pair_id).disputed
    assert adjudicating.open_case(desk, person="Olga") is None
    assert len(reviews(desk, ReviewAction.GRADE)) == 2, "both grades stay on record"


def test_names_and_proposals_are_hidden_until_it_is_decided(desk: Workspace) -> None:
    """Who said it, or what the machine said, decides in place of the text."""
    pair_id = pair_of(desk)
    differ(desk, pair_id, note="I know this")
    case = opened(desk)
    shown = repr(case)
    assert "Ada" not in shown
    assert "Bo" not in shown
    assert "scripted" not in shown
    assert (case.pair.grade, case.pair.confidence, case.pair.reason, case.pair.judge) == (None, None, "", None)
    assert sorted(voice.who for voice in case.voices) == ["Reviewer A", "Reviewer B"]
    assert {voice.note for voice in case.voices} == {"I know this"}
    settled = adjudicating.decide(desk, card=case.card, person="Olga", grade=3)
    assert {(voice.who, voice.grade, voice.how) for voice in settled.voices} == {
        ("Ada", 0, "blind"),
        ("Bo", 3, "blind"),
    }
    assert (settled.pair.grade, settled.pair.judge.name) == (3, "scripted/1")
    again = adjudicating.get_last_settled(desk, person="Olga")
    assert again == settled, "what was revealed can be read again after a reload"


def test_letters_tell_neither_who_came_first_nor_who_it_was_last_time(desk: Workspace) -> None:
    """Reviewer A is always the same colleague, and everybody knows which."""
    for topic in (FIRST, SECOND):
        for number in range(3):
            differ(desk, pair_of(desk, topic, number))
    firsts = set()
    put_off: list[int] = []
    for _ in range(6):
        case = opened(desk, put_off=tuple(put_off))
        put_off.append(case.pair.pair_id)
        firsts.add(case.voices[0].grade)
        assert case.voices == opened(desk, pair_id=case.pair.pair_id).voices, "and it stays while one looks"
    assert firsts == {0, 3}


def test_only_adjudicators_and_owners_may_open_or_decide(desk: Workspace) -> None:
    """Anybody could overrule their colleagues."""
    differ(desk, pair_of(desk))
    card = opened(desk).card
    with pytest.raises(NotAllowed):
        adjudicating.open_case(desk, person="Ada")
    with pytest.raises(NotAllowed):
        adjudicating.decide(desk, card=card, person="Ada", grade=3)
    with pytest.raises(NotAllowed):
        adjudicating.undo(desk, person="Ada")
    with_role(desk, "Oz", Role.OWNER)
    assert adjudicating.may_adjudicate(desk, person="Oz")
    assert not adjudicating.may_adjudicate(desk, person="Ada")
    assert not reviews(desk, ReviewAction.ADJUDICATE)


def test_a_second_press_counts_once_and_never_meets_the_next_case(desk: Workspace) -> None:
    """A double press decides the next pair unread."""
    differ(desk, pair_of(desk, number=0))
    differ(desk, pair_of(desk, number=1))
    case = opened(desk)
    adjudicating.decide(desk, card=case.card, person="Olga", grade=2)
    with pytest.raises(Conflict) as refused:
        adjudicating.decide(desk, card=case.card, person="Olga", grade=2)
    assert "already" in refused.value.user_message
    assert len(reviews(desk, ReviewAction.ADJUDICATE)) == 1
    assert opened(desk).pair.pair_id != case.pair.pair_id


def test_two_adjudicators_are_served_different_cases(desk: Workspace, clock: Clock) -> None:
    """Two people read the same case, and one of them for nothing."""
    differ(desk, pair_of(desk, number=0))
    differ(desk, pair_of(desk, number=1))
    olga, otto = opened(desk, "Olga"), opened(desk, "Otto")
    assert olga.pair.pair_id != otto.pair.pair_id
    assert opened(desk, "Olga") == olga, "what is open stays open"
    with pytest.raises(Conflict):
        adjudicating.open_case(desk, person="Otto", pair_id=olga.pair.pair_id)
    clock.pass_minutes(60)
    assert opened(desk, "Otto", pair_id=olga.pair.pair_id).pair.pair_id == olga.pair.pair_id, "who left holds nothing"


def test_of_two_decisions_of_one_case_only_the_first_counts(desk: Workspace, clock: Clock) -> None:
    """The later of two adjudicators overwrites a decision that was not there when they looked."""
    differ(desk, pair_of(desk))
    slow = opened(desk, "Olga")
    clock.pass_minutes(60)
    fast = opened(desk, "Otto")
    assert fast.pair.pair_id == slow.pair.pair_id
    adjudicating.decide(desk, card=fast.card, person="Otto", grade=1)
    with pytest.raises(Conflict) as refused:
        adjudicating.decide(desk, card=slow.card, person="Olga", grade=3)
    assert "settled already" in refused.value.user_message
    assert state_of(desk, slow.pair.pair_id).curated_grade == 1


def test_eight_presses_at_once_decide_once(desk: Workspace, clock: Clock) -> None:
    """Two transactions both find the case open and both store a decision."""
    differ(desk, pair_of(desk))
    names = ["Olga", "Otto"]
    cards = {"Olga": opened(desk, "Olga").card}
    clock.pass_minutes(60)
    cards["Otto"] = opened(desk, "Otto").card
    start = threading.Barrier(8)

    def press(number: int) -> int:
        name = names[number % 2]
        start.wait()
        try:
            adjudicating.decide(desk, card=cards[name], person=name, grade=number % 4)
        except Conflict:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(press, range(8))) == 1
    assert len(reviews(desk, ReviewAction.ADJUDICATE)) == 1


def test_a_grade_given_meanwhile_is_read_before_it_is_decided(desk: Workspace) -> None:
    """A third opinion, with the reason that settles it, is overruled unread."""
    pair_id = pair_of(desk)
    differ(desk, pair_id)
    case = opened(desk)
    say(desk, pair_id, "Cy", 2, note="see the last sentence")
    with pytest.raises(Conflict) as refused:
        adjudicating.decide(desk, card=case.card, person="Olga", grade=0)
    assert "meanwhile" in refused.value.user_message
    fresh = opened(desk)
    assert fresh.card != case.card
    assert "see the last sentence" in {voice.note for voice in fresh.voices}
    adjudicating.decide(desk, card=fresh.card, person="Olga", grade=2)


def test_a_card_is_worth_nothing_in_other_hands_or_made_up(desk: Workspace) -> None:
    """A page kept open under another name decides in that name."""
    differ(desk, pair_of(desk))
    case = opened(desk)
    for card in (case.card, "case.relevance.1", "x", case.card.replace("relevance", "nonsense")):
        with pytest.raises(Conflict):
            adjudicating.decide(desk, card=card, person="Otto", grade=1)
    with pytest.raises(InputInvalid):
        adjudicating.decide(desk, card=case.card, person="Olga", grade=9)
    assert not reviews(desk, ReviewAction.ADJUDICATE)


def test_who_graded_a_pair_does_not_decide_it_while_somebody_else_could(desk: Workspace) -> None:
    """Somebody settles a dispute in favour of themselves."""
    pair_id = pair_of(desk)
    differ(desk, pair_id, people=("Olga", "Bo"))
    assert adjudicating.open_case(desk, person="Olga") is None
    (row,) = adjudicating.list_cases(desk, person="Olga").rows
    assert row.mine
    with pytest.raises(NotAllowed) as refused:
        adjudicating.open_case(desk, person="Olga", pair_id=pair_id)
    assert "graded this pair yourself" in refused.value.user_message
    case = opened(desk, "Otto")
    assert case.own == ""
    with pytest.raises(Conflict):
        adjudicating.decide(desk, card=case.card, person="Olga", grade=1)
    adjudicating.decide(desk, card=case.card, person="Otto", grade=1)


def test_who_graded_a_pair_decides_it_when_nobody_else_can_and_is_told(desk: Workspace) -> None:
    """A case where every adjudicator has a grade waits for ever."""
    pair_id = pair_of(desk)
    differ(desk, pair_id, people=("Olga", "Otto"))
    case = opened(desk, "Olga")
    assert "every other adjudicator graded it too" in case.own
    with_role(desk, "Otto", Role.REVIEWER)
    case = opened(desk, "Olga")
    assert "nobody else here" in case.own
    adjudicating.decide(desk, card=case.card, person="Olga", grade=1)
    assert state_of(desk, pair_id).curated_grade == 1


def test_a_flag_is_sent_back_to_the_queue_without_a_grade(desk: Workspace) -> None:
    """The only way to answer a question about a pair would be to grade it."""
    pair_id = pair_of(desk)
    say(desk, pair_id, "Ada", None, note="is the photo part of it?")
    served = {card.pair.pair_id for card in _serve_all(desk)}
    assert pair_id not in served, "a flagged pair is served to nobody"
    case = opened(desk)
    assert (case.disputed, case.flagged) == (False, True)
    assert [(voice.act, voice.grade, voice.note) for voice in case.voices] == [
        ("flagged", None, "is the photo part of it?")
    ]
    settled = adjudicating.send_back(desk, card=case.card, person="Olga", note="no, the text only")
    assert settled.grade is None
    assert [(voice.who, voice.act) for voice in settled.voices] == [("Ada", "flagged")]
    assert settled.pair.grade is None, "who may be asked for it is told nothing"
    assert not state_of(desk, pair_id).flagged
    assert pair_id in {card.pair.pair_id for card in _serve_all(desk)}
    flag, undo = reviews(desk, ReviewAction.FLAG)[0], reviews(desk, ReviewAction.UNDO)[0]
    assert (undo.undoes_id, undo.note, undo.card) == (flag.id, "no, the text only", case.card)
    with pytest.raises(Conflict):
        adjudicating.send_back(desk, card=case.card, person="Olga")


def _serve_all(workspace: Workspace) -> list[reviewing.Card]:
    """Every card that the queue serves, each skipped by somebody new so that nothing changes."""
    cards: list[reviewing.Card] = []
    with workspace.sessions.read() as session:
        n = session.scalar(sa.select(sa.func.count()).select_from(QueueEntry)) or 0
    who = f"looker {len(reviews(workspace))}"
    for _ in range(n + 1):
        card = reviewing.claim(workspace, person=who)
        if card is None or card.pair.pair_id in {one.pair.pair_id for one in cards}:
            break
        cards.append(card)
        reviewing.skip(workspace, card=card.card, person=who)
    return cards


def test_all_flags_of_a_pair_are_settled_together_and_a_dispute_stays(desk: Workspace) -> None:
    """A pair flagged twice comes again and again; or sending it back hides that its graders differ."""
    pair_id = pair_of(desk)
    differ(desk, pair_id)
    say(desk, pair_id, "Cy", None, note="odd")
    say(desk, pair_id, "Di", None, note="odd too")
    case = opened(desk)
    assert (case.disputed, case.flagged) == (True, True)
    settled = adjudicating.send_back(desk, card=case.card, person="Olga")
    assert {voice.who for voice in settled.voices if voice.act == "flagged"} == {"Cy", "Di"}
    state = state_of(desk, pair_id)
    assert (state.disputed, state.flagged) == (True, False)
    with pytest.raises(Conflict):
        adjudicating.send_back(desk, card=opened(desk).card, person="Olga")
    assert adjudicating.undo(desk, person="Olga") is not None
    assert state_of(desk, pair_id).flagged
    assert reviews(desk, ReviewAction.FLAG)[-1].note == "odd; odd too"


def test_decisions_are_undone_one_after_the_other_and_come_next(desk: Workspace) -> None:
    """A slip of the finger stands above what two people said, for good."""
    one, two = pair_of(desk, number=0), pair_of(desk, number=1)
    differ(desk, one)
    differ(desk, two)
    decided = []
    for grade in (1, 2):
        case = opened(desk)
        decided.append(case.pair.pair_id)
        adjudicating.decide(desk, card=case.card, person="Olga", grade=grade)
    assert sorted(decided) == sorted([one, two])
    undone = adjudicating.undo(desk, person="Olga")
    assert (undone.pair_id, undone.grade) == (decided[1], 2)
    assert state_of(desk, decided[1]).disputed
    assert opened(desk).pair.pair_id == decided[1]
    assert adjudicating.get_last_settled(desk, person="Olga").grade == 1
    assert adjudicating.undo(desk, person="Olga").pair_id == decided[0]
    assert adjudicating.undo(desk, person="Olga") is None
    again = opened(desk, pair_id=decided[0])
    adjudicating.decide(desk, card=again.card, person="Olga", grade=0)
    assert state_of(desk, decided[0]).curated_grade == 0
    assert len(reviews(desk, ReviewAction.ADJUDICATE)) == 3, "what was taken back stays on record"


def test_a_decision_is_blind_only_where_everything_on_the_card_was(desk: Workspace) -> None:
    """A grade led by the proposal is counted as if it had been given blind, and calibrates the judge on itself."""
    first, second = pair_of(desk, number=0), pair_of(desk, number=1)
    differ(desk, first)
    differ(desk, second, visibility=Visibility.SHOWN)
    for pair_id in (first, second):
        adjudicating.decide(desk, card=opened(desk, pair_id=pair_id).card, person="Olga", grade=2)
    assert {review.pair_id: review.visibility for review in reviews(desk, ReviewAction.ADJUDICATE)} == {
        first: Visibility.BLIND,
        second: Visibility.SHOWN,
    }
    adjudicating.undo(desk, person="Olga")
    adjudicating.undo(desk, person="Olga")
    adjudicating.decide(desk, card=opened(desk, pair_id=first).card, person="Olga", grade=2)
    assert reviews(desk, ReviewAction.ADJUDICATE)[-1].visibility is Visibility.SHOWN, "the reveal was seen"
    with desk.sessions.read() as session:
        seen = session.scalars(sa.select(SeenPair.pair_id).order_by(SeenPair.pair_id)).all()
    assert sorted(set(seen)) == sorted([first, second])


def test_nothing_is_told_of_a_held_out_pair_even_after_the_decision(any_workspace: Workspace) -> None:
    """What a judge said of a held-out question leaks into the people who measure it."""
    workspace = queued(any_workspace, topics=TOPICS[11:13])
    with_role(workspace, "Olga", Role.ADJUDICATOR)
    pair_id = pair_ids(workspace)[query_id(TOPICS[12]), passage_ids(TOPICS[12])[0]]
    differ(workspace, pair_id)
    settled = adjudicating.decide(workspace, card=opened(workspace).card, person="Olga", grade=3)
    assert settled.pair.concealed
    assert (settled.pair.grade, settled.pair.judge) == (None, None)
    assert {voice.who for voice in settled.voices} == {"Ada", "Bo"}


def test_the_last_grade_of_each_person_counts_and_a_revision_is_told_afterwards_only(desk: Workspace) -> None:
    """A grade that was revised shows beside its revision, and says what the machine proposed."""
    pair_id = pair_of(desk)
    blind = say(desk, pair_id, "Ada", 1)
    say(desk, pair_id, "Ada", 3, visibility=Visibility.SHOWN, revises=blind)
    say(desk, pair_id, "Bo", 0)
    case = opened(desk)
    assert sorted(voice.grade for voice in case.voices) == [0, 3]
    settled = adjudicating.decide(desk, card=case.card, person="Olga", grade=1)
    assert [(voice.who, voice.grade, voice.how) for voice in settled.voices] == [
        ("Ada", 1, "blind"),
        ("Ada", 3, "after seeing the proposal, having graded blind before"),
        ("Bo", 0, "blind"),
    ]


def test_the_list_goes_by_query_the_longest_waiting_first_with_counts(desk: Workspace, clock: Clock) -> None:
    """The hardest cases wait for ever, or one reads each question five times."""
    later, other, early = pair_of(desk, FIRST, 0), pair_of(desk, SECOND, 0), pair_of(desk, FIRST, 1)
    differ(desk, early)
    clock.pass_minutes(1)
    differ(desk, other)
    clock.pass_minutes(1)
    say(desk, later, "Ada", None, note="?")
    page = adjudicating.list_cases(desk, person="Olga")
    assert [row.pair_id for row in page.rows] == [early, later, other]
    assert (page.total, page.disputed, page.flagged, page.queries) == (3, 2, 1, 2)
    assert [(row.graders, row.disputed, row.flagged) for row in page.rows] == [
        (2, True, False),
        (0, False, True),
        (2, True, False),
    ]
    second = adjudicating.list_cases(desk, person="Olga", offset=1, limit=1)
    assert [row.pair_id for row in second.rows] == [later]
    served = []
    while (case := adjudicating.open_case(desk, person="Olga")) is not None:
        served.append(case.pair.pair_id)
        adjudicating.decide(desk, card=case.card, person="Olga", grade=1)
    assert served == [early, later, other]


def test_what_is_put_off_comes_last_and_comes_again(desk: Workspace) -> None:
    """A hard case blocks all others, or is lost once it was put off."""
    first, second = pair_of(desk, number=0), pair_of(desk, number=1)
    differ(desk, first)
    differ(desk, second)
    one = opened(desk).pair.pair_id
    two = opened(desk, put_off=(one,)).pair.pair_id
    assert {one, two} == {first, second}
    assert opened(desk, put_off=(one, two)).pair.pair_id == one


def test_a_settled_pair_is_not_opened_again(desk: Workspace) -> None:
    """A link to a case decided an hour ago decides it once more."""
    pair_id = pair_of(desk)
    with pytest.raises(Conflict):
        adjudicating.open_case(desk, person="Olga", pair_id=pair_id)
    differ(desk, pair_id)
    adjudicating.decide(desk, card=opened(desk, pair_id=pair_id).card, person="Olga", grade=1)
    with pytest.raises(Conflict):
        adjudicating.open_case(desk, person="Olga", pair_id=pair_id)


def test_what_waits_is_found_by_its_own_indexes(workspace: Workspace) -> None:
    """Opening the screen reads a million states to find twenty cases."""
    from db.queries.disputes import _waiting

    with workspace.sessions.read() as session:
        statement = sa.select(_waiting(Criterion.RELEVANCE))
        compiled = str(statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True}))
        plan = " ".join(str(row) for row in session.execute(sa.text(f"EXPLAIN QUERY PLAN {compiled}")))
    assert "ix_pair_state_disputed" in plan
    assert "ix_pair_state_flagged" in plan
