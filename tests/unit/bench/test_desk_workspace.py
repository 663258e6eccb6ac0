"""The invented workspace of the review desk's benches is one that the product itself could have made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace, open_workspace
from app.services import labels, reviewing
from bench import desk_workspace
from bench.desk_rows import PER_QUERY, WAITING, Size, Words, queries
from bench.desk_workspace import DeskWrong, check, desk_copy, make_desk
from db.enums import Outcome, Split
from db.models import PairState, Review, Suggestion

SIZE = Size(2_500)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """49 train questions, one for calibration and one held out, 50 candidates each."""
    workspace = make_desk(tmp_path_factory.mktemp("desk") / "workspace", SIZE)
    yield workspace
    workspace.close()


def test_its_numbers_are_those_that_its_size_says(desk: Workspace) -> None:
    """A bench at a million that holds a tenth of it would show a speed that nobody gets."""
    with desk.sessions.read() as session:
        n_suggestions = session.scalar(sa.select(sa.func.count()).select_from(Suggestion))
        n_states = session.scalar(sa.select(sa.func.count()).select_from(PairState))
        n_blind = session.scalar(sa.select(sa.func.count()).select_from(Review).where(Review.suggestion_id.is_(None)))
        n_flagged = session.scalar(sa.select(sa.func.count()).select_from(PairState).where(PairState.flagged)) or 0
    assert n_suggestions == 2_500
    assert n_states == 2_500 + PER_QUERY - WAITING  # of the held-out question what people graded
    assert n_blind == 2 * (PER_QUERY - WAITING)  # of the calibrate and of the held-out question
    assert 0 < n_flagged < 5
    assert reviewing.get_progress(desk, person="Person 01").waiting == 51 * WAITING - n_flagged
    assert labels.list_labels(desk, outcome=Outcome.REJECTED).total == 49 * (WAITING + 1)


def test_a_card_of_it_is_served_and_graded_as_any_other(desk: Workspace) -> None:
    """Rows that the desk cannot serve would be measured as an empty queue."""
    card = reviewing.claim(desk, person="Somebody new")
    assert card is not None
    assert len(card.pair.passage_text.split()) == 40
    reviewing.grade(desk, card=card.card, person="Somebody new", grade=2)
    again = reviewing.claim(desk, person="Somebody new")
    assert again is not None
    assert again.pair.pair_id != card.pair.pair_id
    reviewing.skip(desk, card=again.card, person="Somebody new")
    assert reviewing.undo(desk, person="Somebody new") is not None
    assert reviewing.undo(desk, person="Somebody new") is not None
    assert labels.get_pair(desk, pair_id=card.pair.pair_id).curated_grade is None


def test_a_state_that_the_product_would_not_have_is_found(desk: Workspace) -> None:
    """Figures of a workspace that contradicts itself say nothing about a real one."""
    turned = (
        sa.update(PairState).where(PairState.review_id.is_not(None)).values(curated_grade=3 - PairState.curated_grade)
    )
    check(desk, SIZE)
    with desk.sessions.begin() as session:
        session.execute(turned)
    with pytest.raises(DeskWrong, match="states that change"):
        check(desk, SIZE)
    with desk.sessions.begin() as session:
        session.execute(turned)
    with desk.sessions.begin() as session:
        session.execute(sa.update(PairState).where(PairState.pair_id == 1).values(outcome=None, decision_id=None))
    with pytest.raises(DeskWrong, match="undecided"):
        check(desk, SIZE)


def test_it_is_made_once_and_a_copy_of_it_may_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bench that grades in the kept workspace would find another queue each time it runs."""
    made = []
    monkeypatch.setattr(desk_workspace, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(desk_workspace, "make_desk", lambda folder, size: made.append(size) or make_desk(folder, size))
    for _ in range(2):
        with desk_copy(Size(50)) as folder:
            workspace = open_workspace(folder)
            assert reviewing.get_progress(workspace, person="A").waiting == 2 * WAITING
            card = reviewing.claim(workspace, person="A")
            assert card is not None
            reviewing.grade(workspace, card=card.card, person="A", grade=0)
            workspace.close()
        assert not folder.exists()
    assert made == [Size(50)]


def test_sizes_are_whole_questions_and_every_split_is_there() -> None:
    """A workspace without held-out questions would never show the blind cards, which are served otherwise."""
    assert [one for _, _, one in queries(SIZE, Words(0))].count(Split.TRAIN) == 49
    assert {SIZE.split_of(49), SIZE.split_of(50)} == {Split.CALIBRATE, Split.HELD_OUT}
    assert (Size(1_000_000).n_pairs, Size(1_000_000).n_waiting) == (1_020_000, 204_000)
    with pytest.raises(ValueError, match="no multiple of 50"):
        Size(1_001)
