"""Agreement from blind grades alone, on both databases: who counts, with whom, and who may see it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sklearn.metrics import cohen_kappa_score

from annotator.types import ConfidenceKind, Criterion
from app.bootstrap import Workspace
from app.services.agreement_views import AgreementView, RatersAgreement, get_agreement
from builders import TOPICS, query_id, truth
from compared import add_judges, add_questions, careful, hasty
from db.enums import PersonKind, ReviewAction, RevocationAct, Role, Split, Visibility
from db.models import Batch, BatchPair, Calibrator, Person, Revocation, Suggestion
from worked import NOW, all_pairs, person, said, say, say_all, undo

SHOWN = Visibility.SHOWN


@pytest.fixture
def asked(any_workspace: Workspace) -> Workspace:
    """Twelve calibrate questions with 72 pairs, two judges that answered all, and an owner called Olga."""
    add_questions(any_workspace)
    add_judges(any_workspace)
    person(any_workspace, "Olga", Role.OWNER)
    return any_workspace


def wrong_often(question: str, passage: str, number: int) -> int:
    """A person who calls every fifth pair one grade too high."""
    return min(3, truth(question, passage) + (number % 5 == 0))


def grade_all(workspace: Workspace, name: str, *, wrong: bool = False, **given: Any) -> dict[tuple[str, str], int]:
    """That person grades every pair blind, truthfully or wrong often; the grades."""
    pairs = all_pairs(workspace)
    found = {key: wrong_often(*key, n) if wrong else truth(*key) for n, key in enumerate(pairs)}
    say_all(workspace, [said(pairs[key], name, grade, **given) for key, grade in found.items()])
    return found


def between(found: AgreementView, one: str, other: str) -> RatersAgreement:
    return next(row for row in (*found.people, *found.with_judges) if {row.first, row.second} == {one, other})


def test_two_people_and_two_judges_agree_as_another_library_says(asked: Workspace) -> None:
    """A κ of the wrong pairs, or weighed otherwise than it is said to be."""
    ada, bob = grade_all(asked, "Ada"), grade_all(asked, "Bob", wrong=True)
    found = get_agreement(asked, person="Olga")
    assert (found.n_grades, found.n_pairs, found.n_twice) == (144, 72, 72)
    both = between(found, "Ada", "Bob").kappa
    assert (both.n, both.n_questions) == (72, 12)
    assert both.value == pytest.approx(cohen_kappa_score(list(ada.values()), list(bob.values()), weights="quadratic"))
    assert both.same == pytest.approx(sum(ada[key] == bob[key] for key in ada) / 72)
    topics = {query_id(topic): topic for topic in TOPICS}
    for name, judge in (("careful", careful), ("hasty", hasty)):
        said = [judge(topics[question], passage)[0] for question, passage in ada]
        with_bob = between(found, "Bob", name).kappa
        assert with_bob.value == pytest.approx(cohen_kappa_score(list(bob.values()), said, weights="quadratic"))
        (one,) = [row for row in found.judges if row.judge == name]
        twice = cohen_kappa_score([*ada.values(), *bob.values()], [*said, *said], weights="quadratic")
        assert (one.kappa.n, one.kappa.value) == (144, pytest.approx(twice))
        assert one.alpha.n == 72
    assert found.alpha.n == 72
    assert found.alpha.low is not None
    assert found.alpha.high is not None
    assert found.alpha.low < found.alpha.value < found.alpha.high <= 1
    (rare,) = [row for row in found.judges if row.judge == "rare"]
    assert (rare.kappa.too_few, rare.kappa.n, rare.kappa.value) == (True, 12, None)


def test_only_first_blind_grades_that_stand_count(asked: Workspace) -> None:
    """Agreement with a proposal that was on the screen, or with an answer that was read before, is no agreement."""
    pairs = list(all_pairs(asked).values())
    blind = say(asked, pairs[0], "Ada", 3)
    say(asked, pairs[0], "Ada", 1, visibility=SHOWN, revises_id=blind)  # revised after the reveal: the first counts
    say(asked, pairs[1], "Ada", 2, visibility=SHOWN)
    undo(asked, say(asked, pairs[2], "Ada", 2))
    say(asked, pairs[3], "Ada", 2, hidden_check=True)
    say(asked, pairs[4], "Ada", 2, action=ReviewAction.ADJUDICATE)
    say(asked, pairs[5], "Ada", visibility=SHOWN)  # skipped, but it had shown the proposal
    say(asked, pairs[5], "Ada", 2)
    say(asked, pairs[6], "Ada", None, action=ReviewAction.FLAG, note="unclear")
    found = get_agreement(asked, person="Olga")
    assert (found.n_grades, found.n_pairs) == (1, 1)
    say(asked, pairs[2], "Ada", 1)  # given again, blind still
    say(asked, pairs[7], "Ada", 0)
    say(asked, pairs[7], "Ada", 3)  # changed her mind: the first is what she thought alone
    assert get_agreement(asked, person="Olga").n_grades == 3


def test_the_sample_of_an_undecided_certificate_feeds_no_figure(asked: Workspace) -> None:
    """Errors of a sample read off a κ before the certificate is decided."""
    grade_all(asked, "Ada")
    pair_id = next(iter(all_pairs(asked).values()))
    with asked.sessions.begin() as session:
        suggestion = session.scalars(sa.select(Suggestion).where(Suggestion.pair_id == pair_id)).first()
        assert suggestion is not None
        shared = {"criterion": Criterion.RELEVANCE, "judge_id": suggestion.judge_id, "created_at": NOW}
        calibrator = Calibrator(confidence_kind=ConfidenceKind.VERBAL, parameters={}, n_reviews=1, **shared)
        session.add(calibrator)
        session.flush()
        batch = Batch(
            hash="b", calibrator_id=calibrator.id, epsilon=0.1, delta=0.1, n_pairs=1, n_audits=1, plan={}, **shared
        )
        session.add(batch)
        session.flush()
        drawn = {"relevant_class": True, "confidence": 0.9, "audit_position": 1}
        session.add(BatchPair(batch_id=batch.id, pair_id=pair_id, suggestion_id=suggestion.id, **drawn))
    found = get_agreement(asked, person="Olga")
    assert (found.n_grades, found.n_pairs) == (71, 71)
    assert between(found, "Ada", "careful").kappa.n == 71


def test_a_second_blind_grade_of_the_same_person_is_not_two_people(asked: Workspace) -> None:
    """A person who agrees with herself raises α."""
    grade_all(asked, "Ada")
    grade_all(asked, "Ada")
    found = get_agreement(asked, person="Olga")
    assert (found.n_grades, found.n_twice, found.people) == (72, 0, ())
    assert found.alpha.too_few


def test_a_revoked_person_and_a_revoked_judge_are_no_raters(asked: Workspace) -> None:
    """Labels taken out of use that live on in a figure."""
    grade_all(asked, "Ada")
    grade_all(asked, "Bob", wrong=True)
    before = get_agreement(asked, person="Olga")
    hasty_id = next(one.judge_id for one in before.judges if one.judge == "hasty")
    with asked.sessions.begin() as session:
        bob = session.scalars(sa.select(Person.id).where(Person.name == "Bob")).one()
        act = {"act": RevocationAct.REVOKE, "reason": "guesses", "person_id": bob, "created_at": NOW}
        session.add_all([Revocation(judge_id=hasty_id, **act), Revocation(reviewer_id=bob, **act)])
    found = get_agreement(asked, person="Olga")
    assert found.n_grades == 72
    assert found.people == ()
    assert {one.judge for one in found.judges} == {"careful", "rare"}


def test_held_out_questions_compare_people_and_no_judge(any_workspace: Workspace) -> None:
    """Held-out grades test retrievers; a judge chosen by them would be chosen on the test set."""
    add_questions(any_workspace, split=Split.HELD_OUT)
    add_judges(any_workspace)
    grade_all(any_workspace, "Ada")
    grade_all(any_workspace, "Bob", wrong=True)
    found = get_agreement(any_workspace, person="me")
    assert found.judges == ()
    assert found.with_judges == ()
    assert between(found, "Ada", "Bob").kappa.n == 72


def test_an_adjudicator_sees_everybody_by_number_and_a_reviewer_only_herself(asked: Workspace) -> None:
    """Who decides between two people must not know who is usually right; nobody reads another's figures."""
    for name in ("Ada", "Bob", "Cyd"):
        grade_all(asked, name, wrong=name == "Bob")
    person(asked, "Judy", Role.ADJUDICATOR)
    owner = get_agreement(asked, person="Olga")
    assert {(row.first, row.second) for row in owner.people} == {("Ada", "Bob"), ("Ada", "Cyd"), ("Bob", "Cyd")}
    assert (owner.named, owner.everything) == (True, True)
    judy = get_agreement(asked, person="Judy")
    assert (judy.named, judy.everything, len(judy.people), len(judy.with_judges)) == (False, True, 3, 9)
    shown = {name for row in (*judy.people, *judy.with_judges) for name in (row.first, row.second)}
    assert not shown & {"Ada", "Bob", "Cyd"}
    assert [row.kappa for row in judy.people] == [row.kappa for row in owner.people]
    ada = get_agreement(asked, person="Ada")
    assert (ada.named, ada.everything) == (False, False)
    assert len(ada.people) == 2
    assert all("Ada" in (row.first, row.second) for row in ada.people)
    assert all(row.first == "Ada" for row in ada.with_judges)
    assert not {name for row in ada.people for name in (row.first, row.second)} & {"Bob", "Cyd"}
    assert ada.judges == owner.judges
    stranger = get_agreement(asked, person="nobody yet")
    assert (stranger.people, stranger.with_judges) == ((), ())


def test_imported_people_are_raters_and_said_to_be_imported(asked: Workspace) -> None:
    """Judgements from a file, taken for a colleague's."""
    grade_all(asked, "Ada")
    grade_all(asked, "trec")
    with asked.sessions.begin() as session:
        session.scalars(sa.select(Person).where(Person.name == "trec")).one().kind = PersonKind.IMPORTED
    (row,) = get_agreement(asked, person="Olga").people
    assert {row.first, row.second} == {"Ada", "trec (imported)"}


def test_agreement_over_time_puts_each_grade_into_its_week_or_month(asked: Workspace) -> None:
    """A judge that got worse in May must not be saved by April."""
    pairs = list(all_pairs(asked).items())
    early = [NOW - timedelta(days=14) if number < 36 else NOW for number in range(72)]
    say_all(
        asked,
        [
            said(pair_id, name, truth(*key), created_at=early[number] if name == "Ada" else NOW)
            for number, (key, pair_id) in enumerate(pairs)
            for name in ("Ada", "Bob")
        ],
    )
    found = get_agreement(asked, person="Olga")
    assert found.period == "week"
    first, last = found.over_time
    assert [f"{one.start:%Y-%m-%d %H:%M}" for one in (first, last)] == ["2026-04-20 00:00", "2026-05-04 00:00"]
    assert (first.judges["careful"].n, last.judges["careful"].n) == (36, 108)
    assert (first.alpha.n, last.alpha.n) == (0, 72)  # a pair's agreement is reached by its second grade
    say(asked, pairs[0][1], "Cyd", 3, created_at=NOW - timedelta(days=100))
    by_month = get_agreement(asked, person="Olga")
    assert by_month.period == "month"
    assert [f"{one.start:%Y-%m-%d}" for one in by_month.over_time] == ["2026-01-01", "2026-04-01", "2026-05-01"]


def test_no_more_than_the_newest_grades_are_read(asked: Workspace) -> None:
    """A workspace of millions of reviews that is read whole for one page."""
    grade_all(asked, "Ada")
    found = get_agreement(asked, person="Olga", newest=30)
    assert (found.n_grades, found.is_capped) == (30, True)


def test_a_workspace_without_reviews_has_figures_of_nothing(any_workspace: Workspace) -> None:
    """An empty page that fails instead of saying what to do."""
    found = get_agreement(any_workspace, person="me")
    assert (found.n_grades, found.people, found.judges, found.over_time) == (0, (), (), ())
    assert found.alpha.too_few
