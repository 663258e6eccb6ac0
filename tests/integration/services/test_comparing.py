"""Judges compared on the same blind reviews, on both databases; every figure worked out by hand from `compared`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from annotator.types import ConfidenceKind, Criterion, JudgeIdentity, JudgeKind, SuggestionStatus
from app.bootstrap import Workspace
from app.errors import InputInvalid
from app.services.comparing import compare_judges, comparison_mark
from app.services.importing import import_path
from app.services.judge_views import ComparedJudge, JudgeComparison
from builders import passage_ids, query_id
from compared import TWELVE, add_compared, add_judges, add_questions, add_reviews
from db.enums import ReviewAction, Split, Visibility
from db.models import JudgeRow, Pair, Passage, Query, Review, Suggestion
from db.queries.labelling import ensure_judge

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture
def judged(any_workspace: Workspace) -> Workspace:
    add_compared(any_workspace)
    return any_workspace


def compared(workspace: Workspace, **options: object) -> JudgeComparison:
    return compare_judges(workspace, resamples=50, **options)  # type: ignore[arg-type]


def named(found: JudgeComparison, name: str) -> ComparedJudge:
    return next(one for one in found.judges if one.judge.name == name)


def pair_of(session: sa.orm.Session, question: str, passage: str) -> int:
    found = session.scalar(
        sa.select(Pair.id)
        .join(Query, Query.id == Pair.query_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .where(Query.external_id == question, Passage.external_id == passage)
    )
    assert found is not None
    return found


def add_llm(workspace: Workspace, name: str, *, model: str = "m", kind: JudgeKind = JudgeKind.LLM) -> int:
    """A judge of our own that has said nothing yet."""
    with workspace.sessions.begin() as session:
        identity = JudgeIdentity(name, kind, model, "p1", Criterion.RELEVANCE, True, {})
        return ensure_judge(session, identity, now=NOW).id


def says(workspace: Workspace, judge_id: int, pairs: list[int], **values: object) -> None:
    """One suggestion of that judge for each pair; by default readable, grade 0, without confidence or tokens."""
    given = {"status": SuggestionStatus.OK, "grade": 0, "reason": "", "raw_reply": "", **values}
    with workspace.sessions.begin() as session:
        session.add_all(
            Suggestion(pair_id=pair, judge_id=judge_id, criterion=Criterion.RELEVANCE, created_at=NOW, **given)
            for pair in pairs
        )


def all_pairs(workspace: Workspace) -> list[int]:
    with workspace.sessions.read() as session:
        return list(session.scalars(sa.select(Pair.id).order_by(Pair.id)))


def test_judges_stand_side_by_side_on_the_pairs_all_of_them_labelled(judged: Workspace) -> None:
    """Disaster: a judge that looks better because it was asked the easy pairs."""
    found = compared(judged)
    assert (found.n_reviews, found.n_relevant, found.n_common, found.n_readable) == (72, 24, 72, 72)
    assert (found.n_questions, found.n_left_out, found.split) == (12, 0, Split.CALIBRATE)
    assert [one.judge.name for one in found.judges] == ["careful", "hasty"]
    assert [(one.judge.name, one.n_labelled) for one in found.others] == [("rare", 6)]
    careful, hasty = found.judges
    assert careful.accuracy.value == pytest.approx(66 / 72)
    assert (careful.relevant.n_proposed, careful.relevant.n_human) == (18, 24)
    assert careful.relevant.precision is not None
    assert careful.relevant.precision.value == 1.0
    assert careful.relevant.recall is not None
    assert careful.relevant.recall.value == pytest.approx(18 / 24)
    assert careful.irrelevant.precision is not None
    assert careful.irrelevant.precision.value == pytest.approx(48 / 54)
    assert hasty.accuracy.value == pytest.approx(60 / 72)
    assert hasty.relevant.precision is not None
    assert hasty.relevant.precision.value == pytest.approx(24 / 36)
    assert careful.behind_best is None
    assert hasty.behind_best is not None
    assert hasty.behind_best.value == pytest.approx(-6 / 72)
    assert careful.accuracy.low is not None
    assert careful.accuracy.low <= careful.accuracy.value


def test_a_judge_that_labelled_little_shrinks_the_common_pairs_only_when_asked_for(judged: Workspace) -> None:
    """Disaster: a comparison on six pairs that is shown as one on seventy."""
    rare = compared(judged).others[0].id
    found = compared(judged, judge_ids=[rare, named(compared(judged), "careful").id])
    assert (found.n_common, found.n_left_out, found.n_questions) == (6, 66, 1)
    assert [one.judge.name for one in found.others] == ["hasty"]
    assert named(found, "rare").accuracy.low is None
    assert named(found, "rare").raw is None
    assert "no confidence" in named(found, "rare").calibration_note
    with pytest.raises(InputInvalid, match="judge 9999"):
        compared(judged, judge_ids=[9999])


def test_confidences_are_calibrated_across_questions_and_their_kind_is_named(judged: Workspace) -> None:
    """Disaster: a calibrated figure fitted on the very reviews it is measured with."""
    hasty = named(compared(judged), "hasty")
    assert hasty.confidence_kind is ConfidenceKind.VERBAL
    assert hasty.raw is not None
    assert hasty.raw.ece.value == pytest.approx((36 * abs(0.9 - 24 / 36) + 36 * 0.1) / 72)
    assert hasty.calibrated is not None
    assert hasty.calibrated.ece.value < hasty.raw.ece.value
    assert hasty.n_confidence == 72


def test_too_few_reviews_give_no_calibrated_figure_but_say_so(any_workspace: Workspace) -> None:
    """Disaster: a calibrator of twelve reviews."""
    add_questions(any_workspace)
    add_judges(any_workspace)
    with any_workspace.sessions.begin() as session:
        person = _person(session)
        for topic in TWELVE:
            pair = pair_of(session, query_id(topic), passage_ids(topic)[0])
            session.add(_review(pair, person, grade=3))
    careful = named(compared(any_workspace), "careful")
    assert careful.calibrated is None
    assert "12 blind reviews of 12 queries" in careful.calibration_note


def test_only_blind_reviews_that_nobody_took_back_count(judged: Workspace) -> None:
    """Disaster: people who saw the proposal vouching for it."""
    with judged.sessions.begin() as session:
        person = _person(session)
        seen = pair_of(session, query_id(TWELVE[0]), passage_ids(TWELVE[0])[0])
        session.add(_review(seen, person, grade=0, visibility=Visibility.SHOWN))
        taken_back = _review(seen, person, grade=0)
        session.add(taken_back)
        session.flush()
        session.add(_review(seen, person, action=ReviewAction.UNDO, grade=None, undoes_id=taken_back.id))
    assert named(compared(judged), "careful").accuracy.value == pytest.approx(66 / 72)
    with judged.sessions.begin() as session:
        session.add(_review(seen, _person(session), grade=0))
    assert named(compared(judged), "careful").accuracy.value == pytest.approx(65 / 72)


def test_held_out_reviews_never_choose_a_judge(judged: Workspace) -> None:
    """Disaster: the reviews that test the retriever used up to choose who labels its training data."""
    with pytest.raises(InputInvalid, match="held-out"):
        compared(judged, split=Split.HELD_OUT)
    train = compared(judged, split=Split.TRAIN)
    assert (train.n_reviews, train.judges, train.others) == (0, (), ())


def test_an_unreadable_reply_is_counted_and_never_a_wrong_grade(judged: Workspace) -> None:
    """Disaster: a judge called wrong, or right, for a reply nobody could read."""
    pairs = all_pairs(judged)
    llm = add_llm(judged, "llm")
    says(judged, llm, pairs[:60])
    says(judged, llm, pairs[60:], status=SuggestionStatus.UNREADABLE, grade=None)
    found = compared(judged)
    assert (found.n_common, found.n_readable) == (72, 60)
    assert (named(found, "llm").n_unreadable, named(found, "llm").n_answered, named(found, "llm").n) == (12, 72, 60)


def test_a_later_suggestion_of_the_same_judge_takes_the_place_of_the_earlier(judged: Workspace) -> None:
    """Disaster: a pair counted twice, or judged by what the judge no longer says."""
    pairs = all_pairs(judged)
    llm = add_llm(judged, "llm")
    says(judged, llm, pairs, grade=3)
    says(judged, llm, pairs, grade=0)
    assert named(compared(judged), "llm").accuracy.value == pytest.approx(48 / 72)


def test_replies_from_the_cache_are_priced_like_paid_ones(judged: Workspace) -> None:
    """Disaster: a judge that looks free because its replies were bought last week. 100 + 20 tokens: $0.012 each."""
    pairs = all_pairs(judged)
    llm = add_llm(judged, "llm")
    says(judged, llm, pairs[:8], prompt_tokens=100, completion_tokens=20, cost_usd=0.012)
    says(judged, llm, pairs[8:], prompt_tokens=100, completion_tokens=20, cost_usd=0.0)
    one = named(compared(judged), "llm")
    assert one.usd_per_1000 == pytest.approx(12.0)
    assert one.tokens_per_pair == pytest.approx(120.0)


def test_a_price_that_nobody_knows_is_unknown_and_one_from_the_settings_is_used(judged: Workspace) -> None:
    """Disaster: an unknown price shown as nothing."""
    llm = add_llm(judged, "llm", model="some-model")
    says(judged, llm, all_pairs(judged), prompt_tokens=1000, completion_tokens=100, cost_usd=None)
    assert named(compared(judged), "llm").usd_per_1000 is None
    assert named(compared(judged), "careful").usd_per_1000 is None
    settings = judged.settings.model_copy(
        update={
            "llm_model": "some-model",
            "llm_price_in_per_million_usd": 2.0,
            "llm_price_out_per_million_usd": 10.0,
        }
    )
    priced = named(compared(replace(judged, settings=settings)), "llm")
    assert priced.usd_per_1000 == pytest.approx(1000 * (1000 * 2 + 100 * 10) / 1e6)


def test_an_ensemble_costs_what_its_members_cost(judged: Workspace) -> None:
    """Disaster: three judges for the price of none, because their votes were found stored."""
    pairs = all_pairs(judged)
    one, two = add_llm(judged, "one"), add_llm(judged, "two")
    says(judged, one, pairs, prompt_tokens=100, completion_tokens=0, cost_usd=0.001)
    says(judged, two, pairs, prompt_tokens=200, completion_tokens=0, cost_usd=0.004)
    both = add_llm(judged, "both", kind=JudgeKind.ENSEMBLE)
    members = [{"judge": name, "prompt_version": "p1", "grade": 0, "suggestion_id": 1} for name in ("one", "two")]
    says(
        judged,
        both,
        pairs,
        confidence=1.0,
        confidence_kind=ConfidenceKind.VOTES,
        grade_distribution=[1.0, 0.0, 0.0, 0.0],
        cost_usd=0.0,
        context={"members": members},
    )
    found = named(compared(judged), "both")
    assert found.usd_per_1000 == pytest.approx(5.0)
    assert found.tokens_per_pair == pytest.approx(300.0)
    assert found.confidence_kind is ConfidenceKind.VOTES


def test_the_mark_changes_with_every_suggestion_and_review(judged: Workspace) -> None:
    """Disaster: a screen that goes on showing yesterday's comparison."""
    before = comparison_mark(judged)
    assert comparison_mark(judged) == before
    says(judged, add_llm(judged, "llm"), all_pairs(judged)[:1])
    after = comparison_mark(judged)
    assert after != before
    add_reviews(judged)
    assert comparison_mark(judged) == after  # the same reviews again change nothing


def test_the_judges_of_diras_come_out_as_published(workspace: Workspace, shared_data: Path) -> None:
    """Disaster: figures that hold for made-up judges alone. GPT-4's 608 of 660 right, from the files themselves."""
    import_path(
        workspace, shared_data / "diras", splits={"test": Split.CALIBRATE}, scale={0: 0, 1: 2, 2: 3}, max_grade=None
    )
    with workspace.sessions.read() as session:
        gpt4 = session.scalar(sa.select(JudgeRow.id).where(JudgeRow.name == "gpt-4/no-cot"))
        llama = session.scalar(sa.select(JudgeRow.id).where(JudgeRow.name == "llama-3-8b/zero-shot"))
    assert gpt4 is not None
    assert llama is not None
    found = compared(workspace, judge_ids=[gpt4, llama])
    assert (found.n_readable, found.n_questions, found.n_relevant) == (660, 11, 186)
    one, other = named(found, "gpt-4/no-cot"), named(found, "llama-3-8b/zero-shot")
    assert one.accuracy.value > other.accuracy.value
    assert other.behind_best is not None
    assert other.behind_best.high is not None
    assert other.behind_best.high < 0
    assert other.raw is not None
    assert other.calibrated is not None
    assert other.calibrated.ece.value < 0.5 * other.raw.ece.value


def _person(session: sa.orm.Session) -> int:
    from db.queries.people import person_named

    return person_named(session, "Ada", now=NOW).id


def _review(
    pair_id: int,
    person_id: int,
    *,
    grade: int | None,
    action: ReviewAction = ReviewAction.GRADE,
    visibility: Visibility = Visibility.BLIND,
    undoes_id: int | None = None,
) -> Review:
    return Review(
        pair_id=pair_id,
        criterion=Criterion.RELEVANCE,
        person_id=person_id,
        action=action,
        grade=grade,
        visibility=visibility,
        undoes_id=undoes_id,
        created_at=NOW,
    )
