"""Overview and Labels say who labelled what: the retriever, the LLM, people, nobody."""

from __future__ import annotations

import sqlalchemy as sa

from annotator.types import Criterion, JudgeKind
from app.bootstrap import Workspace
from db.enums import Outcome
from db.models import Decision, JudgeRow, PairState, Suggestion
from db.queries.standing import set_decision


def captions(screen) -> str:
    return " ".join(caption.value for caption in screen.caption)


def test_without_a_certificate_nothing_is_the_retrievers(app, small: Workspace) -> None:
    """A tier that looks as if it worked before anybody certified it is trusted for nothing."""
    for name in ("overview", "labels"):
        shown = captions(app(name))
        assert "Of 12 train candidates, labelled by: retriever 0 (0 relevant)" in shown
        assert "3 uncertified" in shown
        assert "LLM call" not in shown


def test_self_labels_of_irrelevant_pairs_alone_are_a_warning(app, small: Workspace) -> None:
    """When no relevant pair gets through, the tier only confirms what is not there, and nobody would notice."""
    with small.sessions.begin() as session:
        session.execute(sa.update(JudgeRow).values(kind=JudgeKind.RETRIEVER))
        for state in session.scalars(sa.select(PairState).where(PairState.outcome == Outcome.ACCEPTED)).all():
            state.curated_grade, state.curated_source = None, None
        rejected = session.scalars(sa.select(PairState).where(PairState.outcome == Outcome.REJECTED)).all()
        irrelevant = 0
        for state in rejected:
            suggestion = session.get_one(Suggestion, state.suggestion_id)
            if suggestion.grade is None or suggestion.grade >= 2:
                continue
            accepted = Decision(
                pair_id=state.pair_id,
                criterion=Criterion.RELEVANCE,
                suggestion_id=suggestion.id,
                policy_id=session.get_one(Decision, state.decision_id).policy_id,
                outcome=Outcome.ACCEPTED,
                why="certified",
                created_at=small.now(),
            )
            session.add(accepted)
            session.flush()
            set_decision(state, accepted, suggestion, now=small.now())
            irrelevant += 1
    assert irrelevant > 0
    screen = app("overview")
    assert f"retriever {irrelevant} (0 relevant)" in captions(screen)
    assert "no relevant one got through" in " ".join(warning.value for warning in screen.warning)
