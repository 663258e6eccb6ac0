"""The Labels screen shows how an ensemble's members voted and how far they agree, but never of a pair judged blind."""

from __future__ import annotations

import math

import pytest
import sqlalchemy as sa

from annotator.judges.ensemble import EnsembleJudge
from annotator.judges.scripted import ScriptedJudge
from app.bootstrap import Workspace
from app.components.votes import agreement_text
from app.services import labelling, labels, reviewing
from app.services.importing import NewCandidate, NewQuery, import_candidates, import_queries
from app.services.votes import MemberVoteView, VotesView, votes_of
from db.enums import Split
from db.models import Pair, Passage, Query, Suggestion

HOSTILE = "<b>gpt</b> $x$"


@pytest.fixture
def voted(small: Workspace) -> Workspace:
    """Three judges, one unreadable and one with a hostile name, have voted on every pair, also of a blind question."""
    import_queries(small, [NewQuery("blind", "A question judged blind?", Split.CALIBRATE)], source_name="more")
    with small.sessions.read() as session:
        passage = session.scalars(sa.select(Passage.external_id).order_by(Passage.id)).first()
    assert passage is not None
    import_candidates(small, [NewCandidate("blind", passage, "bm25", 1, 1.0)], source_name="more")
    grades = {"first": 3, HOSTILE: 0, "third": None}
    members = [ScriptedJudge(lambda request, g=grade: g, name=name) for name, grade in grades.items()]
    labelling.label(small, EnsembleJudge(members, scale=small.scale))
    return small


def pair_of(workspace: Workspace, split: Split) -> int:
    with workspace.sessions.read() as session:
        blind = Query.external_id == "blind"
        wanted = blind if split is Split.CALIBRATE else ~blind
        statement = sa.select(Pair.id).join(Query, Query.id == Pair.query_id).where(wanted).order_by(Pair.id)
        return session.scalars(statement).first() or 0


def shown(app, pair_id: int) -> str:
    screen = app("labels")
    screen.query_params["pair"] = str(pair_id)
    screen.run()
    assert not screen.exception
    captions = " ".join(caption.value for caption in screen.caption)
    return " ".join(element.proto.body for element in screen.get("html")) + captions


def test_each_member_is_shown_with_its_grade_and_the_figures_in_plain_words(app, voted: Workspace) -> None:
    """A lead cannot tell a label that two judges fought over from one that all gave."""
    page = shown(app, pair_of(voted, Split.TRAIN))
    assert "How the members voted" in page
    assert "first" in page
    assert "&lt;b&gt;gpt" in page
    assert "<b>gpt" not in page
    assert "unreadable: no vote" in page
    assert f"Entropy {math.log(2):.2f}: the votes are divided" in page
    assert "First–second distance 0.00: a tie" in page


def test_votes_on_a_pair_that_people_judge_blind_are_shown_nowhere(app, voted: Workspace) -> None:
    """What three judges said of an audited pair stands beside it, and the audit measures nothing."""
    pair_id = pair_of(voted, Split.CALIBRATE)
    with voted.sessions.read() as session:
        stored = session.scalars(sa.select(Suggestion).where(Suggestion.pair_id == pair_id)).one()
        assert votes_of(stored.context) is not None
    view = labels.get_pair(voted, pair_id=pair_id)
    assert (view.concealed, view.votes) == (True, None)
    card = reviewing.claim(voted, person="Ada", pair_id=pair_id)
    assert card is not None
    assert card.pair.votes is None
    page = shown(app, pair_id)
    assert "A question judged blind?" in page
    for word in ("How the members voted", "Entropy", "First–second"):
        assert word not in page


def test_a_single_judge_shows_no_votes(app, small: Workspace) -> None:
    """An empty table of members under every label."""
    page = shown(app, pair_of(small, Split.TRAIN))
    assert "How the members voted" not in page
    assert votes_of(None) is None
    assert votes_of({"examples": [1, 2]}) is None


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((0.0, 1.0), ("Entropy 0.00: all votes are alike", "0 is all alike, 1.39 is", "no second grade")),
        ((0.64, 1 / 3), ("Entropy 0.64: the votes are divided", "0.33: the commonest grade leads the second by 33%")),
        ((None, None), ("Fewer than two votes",)),
    ],
)
def test_the_words_say_what_the_figures_mean(
    voted: Workspace, figures: tuple[float | None, float | None], words: tuple[str, ...]
) -> None:
    """An entropy of 0.64 without a scale tells nobody anything."""
    one = MemberVoteView("a", "m", "v", 3, None, None)
    said = agreement_text(VotesView((one, one, one), *figures), scale=reviewing.get_scale(voted))
    for word in words:
        assert word in said
