"""The audit queue built aside while people review, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from annotator.calibration import JudgedInput, fit_calibrator
from annotator.types import ConfidenceKind, Criterion
from app.bootstrap import Workspace
from app.services import promotion, queue_order, reviewing
from app.services.importing import NewCandidate, import_candidates
from app.services.indexing import dense_system
from builders import TOPICS, add_candidates, add_corpus, add_model, add_suggestions, pair_ids, passage_ids, queued
from builders import query_id as of_topic
from db.enums import QueueCause
from db.models import Calibrator, QueueEntry, Suggestion
from db.queries import queue_building as building
from db.queries import queue_places
from db.queries.queue_signals import last_review, load_queue_settings, read_signals
from db.queries.queue_values import order_queue
from db.queries.registry import get_model_or_raise

FEW = TOPICS[:2]
RELEVANCE = Criterion.RELEVANCE


@pytest.fixture
def desk(any_workspace: Workspace) -> Workspace:
    """Two train questions with six rejected pairs each."""
    return queued(any_workspace, topics=FEW)


def with_settings(workspace: Workspace, **changes: object) -> Workspace:
    return replace(workspace, settings=workspace.settings.model_copy(update=changes))


def entries(workspace: Workspace, *, version: int | None = None) -> list[QueueEntry]:
    """The served entries, or those of a version, by value."""
    with workspace.sessions.read() as session:
        wanted = queue_places.active_version(session, RELEVANCE) if version is None else version
        return list(
            session.scalars(sa.select(QueueEntry).where(QueueEntry.version == wanted).order_by(QueueEntry.position))
        )


def versions(workspace: Workspace) -> set[int]:
    with workspace.sessions.read() as session:
        return set(session.scalars(sa.select(QueueEntry.version)))


def still_open(workspace: Workspace) -> dict[int, int]:
    return {entry.pair_id: entry.open for entry in entries(workspace)}


def answer(workspace: Workspace, *, person: str = "Ada", grade: int = 0) -> int:
    """Grades this person's next card; returns its pair."""
    card = reviewing.claim(workspace, person=person)
    assert card is not None
    reviewing.grade(workspace, card=card.card, person=person, grade=grade)
    return card.pair.pair_id


class Aside:
    """A queue that was computed and written, and is not served yet."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        with workspace.sessions.begin() as session:
            self.version = building.reserve_version(session, criterion=RELEVANCE, now=workspace.now())
            self.seen = last_review(session)
            settings = load_queue_settings(session, RELEVANCE)
            signals = read_signals(session, criterion=RELEVANCE, settings=settings)
            order = order_queue(signals, settings)
            building.insert_entries(session, signals, order, criterion=RELEVANCE, version=self.version)
            self.length = len(order)

    def serve(self) -> bool:
        with self.workspace.sessions.begin() as session:
            return building.serve_version(
                session,
                criterion=RELEVANCE,
                version=self.version,
                length=self.length,
                seen=self.seen,
                now=self.workspace.now(),
            )


def test_a_rebuilt_queue_is_served_whole_and_old_ones_go(desk: Workspace) -> None:
    """Every retrain leaves another 200,000 rows behind, or the queue is served half written."""
    pairs = set(pair_ids(desk).values())
    first = {entry.version for entry in entries(desk)}
    assert {entry.pair_id for entry in entries(desk)} == pairs
    for _ in range(3):
        assert queue_order.rebuild(desk) == 12
    assert {entry.pair_id for entry in entries(desk)} == pairs
    assert [entry.position for entry in entries(desk)] == list(range(1, 13))
    assert not first & versions(desk)
    assert len(versions(desk)) == 2  # the one before stays for whoever is reading it


def test_the_order_does_not_change_when_nothing_did(desk: Workspace) -> None:
    """People see another order after every rebuild, and nobody can say why."""
    before = [(entry.pair_id, entry.random_position, entry.reason) for entry in entries(desk)]
    queue_order.rebuild(desk)
    assert [(entry.pair_id, entry.random_position, entry.reason) for entry in entries(desk)] == before


def test_what_people_did_while_the_queue_was_built_counts_in_it(desk: Workspace) -> None:
    """A grade given during a rebuild is asked for again, or one taken back is never asked for again."""
    taken_back, stays = answer(desk, person="Grace"), answer(desk, person="Ada")
    aside = Aside(desk)
    graded = answer(desk, person="Joan")
    flagged = reviewing.claim(desk, person="Rosa")
    assert flagged is not None
    reviewing.flag(desk, card=flagged.card, person="Rosa", note="cut off")
    reviewing.undo(desk, person="Grace")
    assert aside.serve()
    found = still_open(desk)
    assert found[graded] == found[flagged.pair.pair_id] == 0
    assert found[taken_back] == 1
    assert found.get(stays, 0) == 0
    assert sum(found.values()) == 12 - 3


def test_an_older_build_never_takes_the_place_of_a_newer_one(desk: Workspace) -> None:
    """A slow build that began before a certificate fell is served after the one that knows of it."""
    slow = Aside(desk)
    queue_order.rebuild(desk)
    served = {entry.version for entry in entries(desk)}
    assert not slow.serve()
    assert {entry.version for entry in entries(desk)} == served
    queue_order.rebuild(desk)
    assert slow.version not in versions(desk)


def test_two_people_are_wanted_where_the_overlap_says_so(desk: Workspace) -> None:
    """A second opinion is asked for once too often, or never after a rebuild."""
    desk = with_settings(desk, overlap=2)
    queue_order.rebuild(desk)
    assert set(still_open(desk).values()) == {2}
    pair = answer(desk, person="Ada")
    assert still_open(desk)[pair] == 1
    queue_order.rebuild(desk)
    entry = next(entry for entry in entries(desk) if entry.pair_id == pair)
    assert (entry.wanted, entry.open) == (2, 1)
    assert "1 answered already" in entry.reason
    reviewing.undo(desk, person="Ada")
    assert still_open(desk)[pair] == 2
    with desk.sessions.begin() as session:
        building.put_back(session, pair_id=pair, criterion=RELEVANCE, now=desk.now())
        building.put_back(session, pair_id=pair, criterion=RELEVANCE, now=desk.now())
    assert still_open(desk)[pair] == 2  # never above what is wanted


def test_a_closed_entry_is_opened_for_as_many_as_its_graders_leave(desk: Workspace) -> None:
    """A flag that is taken back asks a third person, or nobody."""
    desk = with_settings(desk, overlap=2)
    queue_order.rebuild(desk)
    pair = answer(desk, person="Ada")
    with desk.sessions.begin() as session:
        queue_places.close_entry(session, pair_id=pair, criterion=RELEVANCE)
    assert still_open(desk)[pair] == 0
    with desk.sessions.begin() as session:
        queue_places.reopen(session, pair_id=pair, criterion=RELEVANCE)
    assert still_open(desk)[pair] == 1


def test_a_long_queue_is_left_to_be_built_aside(desk: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grade that sets off an alarm takes the reviewer half a minute, or the queue never learns of it."""
    monkeypatch.setattr(building, "IN_PLACE", 3)
    before = {entry.version for entry in entries(desk)}
    with desk.sessions.begin() as session:
        assert building.rebuild_queue(session, criterion=RELEVANCE, now=desk.now()) == 12
    assert {entry.version for entry in entries(desk)} == before
    assert queue_order.get_queue(desk).behind
    assert queue_order.catch_up(desk) == 1
    assert not queue_order.get_queue(desk).behind
    assert {entry.version for entry in entries(desk)} != before
    assert queue_order.catch_up(desk) == 0


def test_the_live_model_says_where_search_puts_a_passage_and_another_one_changes_the_order(
    any_workspace: Workspace,
) -> None:
    """People go on auditing what mattered to a model that serves no more."""
    add_corpus(any_workspace, topics=FEW)
    add_candidates(any_workspace, topics=FEW)
    first = add_model(any_workspace, "first", live=True)
    second = add_model(any_workspace, "second", base_id=first)
    passages = [passage for topic in FEW for passage in passage_ids(topic)]
    with any_workspace.sessions.read() as session:
        systems = [dense_system(get_model_or_raise(session, one)) for one in (first, second)]
    rows = [
        NewCandidate(of_topic(topic), passage, system, place, 0.9 - place / 100)
        for topic in FEW
        for system, ranked in zip(systems, (passages, passages[::-1]), strict=True)
        for place, passage in enumerate(ranked, start=1)
    ]
    import_candidates(any_workspace, rows, source_name="everyday")
    add_suggestions(any_workspace, confidence=0.6)
    ids = pair_ids(any_workspace)
    top, bottom = ids[of_topic(FEW[0]), passages[0]], ids[of_topic(FEW[0]), passages[-1]]
    values = {entry.pair_id: entry.value or 0.0 for entry in entries(any_workspace)}
    assert values[top] > values[bottom]
    promotion.promote(any_workspace, model_id=second, person=any_workspace.settings.person, override_reason="a test")
    after = {entry.pair_id: entry.value or 0.0 for entry in entries(any_workspace)}
    assert after[bottom] > after[top]


def test_people_judge_held_out_pairs_without_a_trace_of_what_was_proposed(any_workspace: Workspace) -> None:
    """A filter by judge or grade finds blind pairs and so tells what was proposed for them."""
    queued(any_workspace, topics=TOPICS[10:14])
    found = entries(any_workspace)
    blind = [entry for entry in found if entry.cause is QueueCause.PEOPLE_ONLY]
    assert len(blind) == 12
    assert {(entry.judge_id, entry.grade, entry.confidence) for entry in blind} == {(None, None, None)}
    told = [entry for entry in found if entry.cause is not QueueCause.PEOPLE_ONLY]
    assert all(entry.judge_id is not None and entry.grade is not None and entry.confidence == 0.6 for entry in told)
    assert "people only" in blind[0].reason


def test_a_calibrated_judge_is_ordered_by_its_calibrator(workspace: Workspace) -> None:
    """The queue goes by what the judge claims, though blind reviews say that it is always too sure."""
    queued(workspace, topics=FEW)
    with workspace.sessions.begin() as session:
        judge_id, kind = session.execute(
            sa.select(Suggestion.judge_id, Suggestion.confidence_kind).order_by(Suggestion.id).limit(1)
        ).one()
        assert kind is not None
        # Of what it calls relevant at 60 %, people find one in ten.
        inputs = [JudgedInput(3 if at % 2 else 0, 0.6, None) for at in range(400)]
        relevant = [at % 2 == 1 and at % 20 == 1 for at in range(400)]
        fitted = fit_calibrator(
            inputs, relevant, [at // 4 for at in range(400)], scale=workspace.scale, kind=ConfidenceKind(kind)
        )
        session.add(
            Calibrator(
                judge_id=judge_id,
                confidence_kind=kind,
                criterion=RELEVANCE,
                parameters={"calibrator": fitted.to_json(), "queries": []},
                n_reviews=400,
                created_at=workspace.now(),
            )
        )
    raw = {entry.confidence for entry in entries(workspace)}
    queue_order.rebuild(workspace)
    assert raw == {0.6}
    called_relevant = [entry.confidence for entry in entries(workspace) if entry.grade in (2, 3)]
    assert called_relevant
    assert all(one is not None and one < 0.3 for one in called_relevant)
    with workspace.sessions.begin() as session:  # where no calibrator is asked, the order is behind
        building.rebuild_queue(session, criterion=RELEVANCE, now=workspace.now())
    assert queue_order.get_queue(workspace).behind


def test_the_view_counts_what_waits_by_cause(desk: Workspace) -> None:
    """An owner plans a day of reviews by a number that counts what is done."""
    answer(desk)
    view = queue_order.get_queue(desk)
    assert view.pairs == sum(one.pairs for one in view.causes) == 11
    assert [one.pairs for one in view.causes] == sorted((one.pairs for one in view.causes), reverse=True)
