"""Cards by the words they hold: rare or frequent, remembered or looked for anew, the same cards in the same order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import ConfidenceKind, Criterion
from app.bootstrap import Workspace
from app.services import next_cards, reviewing
from app.services.desk_choice import ORDERS, DeskChoice, Order
from app.services.desk_memory import memory_of
from builders import TOPICS, queued
from db.models import Batch, BatchPair, Calibrator, Lease, QueueEntry, Suggestion
from db.queries import queue_building, queue_next, queue_search
from db.queries.desk_filters import COLUMNS
from db.queries.queue_places import active_version
from db.queries.text_search import matching_pairs
from desks import claim, wanting

RARE: Mapping[str, Mapping[str, int]] = {
    "frequent": {"query": 0, "passage": 0, "suggestion": 0},
    "rare": {"query": 10_000, "passage": 10_000, "suggestion": 10_000},
}


def expected(workspace: Workspace, desk: DeskChoice) -> list[int]:
    """The pairs that hold the words, in the order chosen."""
    column = getattr(QueueEntry, COLUMNS[desk.order])
    with workspace.sessions.read() as session:
        wanted = set(session.scalars(matching_pairs(session, desk.text, criterion=Criterion.RELEVANCE)))
        version = active_version(session, Criterion.RELEVANCE)
        entries = sa.select(QueueEntry.pair_id).where(QueueEntry.version == version).order_by(column)
        return [pair_id for pair_id in session.scalars(entries) if pair_id in wanted]


def served(workspace: Workspace, desk: DeskChoice, *, person: str = "Ada") -> list[int]:
    """The pairs that come until none is left; they are graded."""
    found = []
    while (card := reviewing.claim(workspace, person=person, desk=desk)) is not None:
        found.append(card.pair.pair_id)
        reviewing.grade(workspace, card=card.card, person=person, grade=1)
    return found


def counted(search: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    """The same search, which notes each call."""

    def noted(*args: Any, **asked: Any) -> Any:
        calls.append(search.__name__)
        return search(*args, **asked)

    return noted


def draw(workspace: Workspace, pair_ids: list[int]) -> None:
    """Puts these pairs into the sample of an open batch."""
    now = workspace.now()
    with workspace.sessions.begin() as session:
        suggestions = {pair_id: one_suggestion(session, pair_id) for pair_id in pair_ids}
        shared: dict[str, Any] = {
            "criterion": Criterion.RELEVANCE,
            "judge_id": suggestions[pair_ids[0]].judge_id,
            "created_at": now,
        }
        calibrator = Calibrator(confidence_kind=ConfidenceKind.VERBAL, parameters={}, n_reviews=1, **shared)
        session.add(calibrator)
        session.flush()
        n = len(pair_ids)
        batch = Batch(
            hash="b", calibrator_id=calibrator.id, epsilon=0.1, delta=0.1, n_pairs=n, n_audits=n, plan={}, **shared
        )
        session.add(batch)
        session.flush()
        session.add_all(
            BatchPair(
                batch_id=batch.id,
                pair_id=pair_id,
                suggestion_id=suggestion.id,
                relevant_class=True,
                confidence=0.9,
                audit_position=place,
            )
            for place, (pair_id, suggestion) in enumerate(suggestions.items(), start=1)
        )


def one_suggestion(session: Session, pair_id: int) -> Suggestion:
    return session.scalars(sa.select(Suggestion).where(Suggestion.pair_id == pair_id)).one()


@pytest.mark.parametrize("words", RARE)
def test_rare_and_frequent_words_serve_the_same_cards_in_the_order_chosen(
    any_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """A frequent word is looked for in another way than a rare one, and that way leaves pairs out."""
    monkeypatch.setattr(queue_search, "RARE", RARE[words])
    monkeypatch.setattr(queue_search, "SOME", 2)
    queued(any_workspace, topics=TOPICS[:5])
    texts: dict[Order, str] = dict(zip(ORDERS, ("the", "is", "before", "w"), strict=True))
    found = 0
    for order, text in texts.items():
        desk = DeskChoice(order=order, text=text)
        wanted = expected(any_workspace, desk)
        assert served(any_workspace, desk) == wanted
        found += len(wanted)
        while reviewing.undo(any_workspace, person="Ada") is not None:
            pass
        with any_workspace.sessions.begin() as session:
            session.execute(sa.delete(Lease))  # what was taken back is open again, and would come first
    assert found > 12, "too few to say anything"


def test_two_people_who_look_for_the_same_words_never_get_one_pair(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found ahead for one person is taken for free, and given to two."""
    monkeypatch.setattr(queue_search, "SOME", 2)
    queued(workspace, topics=TOPICS[:4])
    desk = DeskChoice(text="the")
    wanted, people, found = expected(workspace, desk), ("Ada", "Bob", "Cleo", "Dan"), []
    while cards := [card for who in people if (card := reviewing.claim(workspace, person=who, desk=desk)) is not None]:
        opened = [card.pair.pair_id for card in cards]
        assert len(set(opened)) == len(opened), "one pair is open at two people's"
        found += opened
        for who, card in zip(people, cards, strict=False):
            reviewing.grade(workspace, card=card.card, person=who, grade=1)
    assert sorted(found) == sorted(wanted)


def test_what_was_taken_back_or_let_go_is_found_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search remembers where it was and never looks back: a pair that came free waits for ever."""
    monkeypatch.setattr(queue_search, "SOME", 2)
    workspace = wanting(workspace, 2, topics=TOPICS[:3])
    desk = DeskChoice(text="the")
    wanted = expected(workspace, desk)
    assert served(workspace, desk) == wanted
    held = claim(workspace, "Bob", desk=desk)
    assert held.pair.pair_id == wanted[0]
    assert served(workspace, desk, person="Cleo") == wanted[1:], "Bob holds the first"
    reviewing.skip(workspace, card=held.card, person="Bob")
    assert served(workspace, desk, person="Cleo") == wanted[:1], "it came free behind what Cleo had looked through"
    assert reviewing.undo(workspace, person="Cleo") is not None
    assert served(workspace, desk, person="Cleo") == wanted[:1], "and again once it was taken back"


@pytest.mark.parametrize("words", RARE)
def test_a_reason_found_ahead_serves_no_pair_that_is_judged_blind_by_now(
    any_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Being found by a word that only the judge wrote tells what was proposed."""
    monkeypatch.setattr(queue_search, "RARE", RARE[words])
    queued(any_workspace, topics=TOPICS[:2])
    desk = DeskChoice(order="query", text="scripted")  # every reason has it, no question and no passage
    first = claim(any_workspace, desk=desk).pair
    found = expected(any_workspace, desk)
    draw(any_workspace, [pair_id for pair_id in found if pair_id != first.pair_id][::2])
    readable = expected(any_workspace, desk)
    assert readable[0] == first.pair_id
    assert 0 < len(readable) < len(found)
    assert served(any_workspace, desk) == readable


def test_the_card_that_words_found_is_shown_again_and_not_under_other_words(workspace: Workspace) -> None:
    """Every look at the screen gives another card, or words that are not in it keep an old card."""
    queued(workspace, topics=TOPICS[:2])
    card = claim(workspace, desk=DeskChoice(text="sourdough"))
    assert claim(workspace, desk=DeskChoice(text="sourdough")).card == card.card
    memory_of(workspace).served.clear()
    assert claim(workspace, desk=DeskChoice(text="sourdough")).card == card.card, "another process served it"
    other = claim(workspace, desk=DeskChoice(text="derailleur"))
    assert other.card != card.card
    assert "derailleur" in other.pair.passage_text


@pytest.mark.parametrize("words", RARE)
def test_a_person_who_grades_blind_is_found_no_pair_by_a_reason(
    any_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Whoever looks for a word of the judge's and grades blind knows what was proposed before they grade."""
    monkeypatch.setattr(queue_search, "RARE", RARE[words])
    queued(any_workspace, topics=TOPICS[:2])
    seen = DeskChoice(text="scripted")  # every reason has it, no question and no passage
    card = claim(any_workspace, desk=seen)
    assert reviewing.claim(any_workspace, person="Ada", desk=DeskChoice(text="scripted", blind=True)) is None
    again = claim(any_workspace, desk=seen)
    reviewing.skip(any_workspace, card=again.card, person="Ada")
    assert again.pair.pair_id == card.pair.pair_id
    assert reviewing.claim(any_workspace, person="Ada", desk=DeskChoice(text="scripted", blind=True)) is None, "skipped"
    desk = DeskChoice(text="sourdough", blind=True)
    told = expected(any_workspace, desk)
    assert len(told) > 2
    blind = claim(any_workspace, "Bob", desk=desk)
    assert blind.pair.pair_id in told
    assert blind.pair.concealed


def test_what_others_hold_far_ahead_hides_nothing_behind_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody did hundreds of pairs behind one that others keep open, and is told that nothing is left."""
    monkeypatch.setattr(queue_search, "SOME", 2)
    monkeypatch.setattr(next_cards, "FAR", 4)
    workspace = wanting(workspace, 2, topics=TOPICS[:4])
    desk = DeskChoice(text="the")
    wanted = expected(workspace, desk)
    assert len(wanted) > 8
    for name in ("Bob", "Cleo"):
        assert claim(workspace, name, desk=desk).pair.pair_id == wanted[0]
    assert served(workspace, desk) == wanted[1:]


@pytest.mark.parametrize("text", ["", "the"])
def test_a_long_queue_without_anything_to_do_is_looked_through_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Every look of somebody who is done walks through the whole queue, and nobody grades meanwhile; or what they took
    back, or what others let go, is not found any more.
    """
    monkeypatch.setattr(queue_building, "IN_PLACE", 0)
    queued(workspace, topics=TOPICS[:2])
    desk = DeskChoice(order="query", text=text)
    held = claim(workspace, "Bob", desk=desk)
    first = served(workspace, desk)
    assert first
    assert held.pair.pair_id not in first
    looked: list[str] = []
    for module, name in ((queue_next, "next_queued"), (queue_search, "list_matches")):
        monkeypatch.setattr(module, name, counted(getattr(module, name), looked))
    reviewing.skip(workspace, card=held.card, person="Bob")
    assert served(workspace, desk) == [held.pair.pair_id], "Bob let it go, and Ada had it still to do"
    looked.clear()
    assert reviewing.claim(workspace, person="Ada", desk=desk) is None
    assert not looked
    assert reviewing.undo(workspace, person="Ada") is not None
    assert served(workspace, desk) == [held.pair.pair_id]
    monkeypatch.setattr(next_cards, "NOTHING_S", 0.0)
    looked.clear()
    assert reviewing.claim(workspace, person="Ada", desk=desk) is None
    assert looked, "looked through again after a while"


@pytest.mark.parametrize("words", RARE)
def test_what_was_skipped_comes_back_by_its_words_alone(
    any_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """What one skipped comes back without the words that are looked for, or never."""
    monkeypatch.setattr(queue_search, "RARE", RARE[words])
    queued(any_workspace, topics=TOPICS[:2])
    for text in ("sourdough", "derailleur"):
        card = claim(any_workspace, desk=DeskChoice(text=text))
        reviewing.skip(any_workspace, card=card.card, person="Ada")
    desk = DeskChoice(text="derailleur")
    found = served(any_workspace, desk)
    assert found == [
        *[pair_id for pair_id in expected(any_workspace, desk) if pair_id != card.pair.pair_id],
        card.pair.pair_id,
    ]
