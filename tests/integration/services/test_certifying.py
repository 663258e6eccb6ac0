"""The certified accept rule on both databases: frozen, drawn, audited blind, used once, suspended when it must be."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from annotator.judges.local import LocalJudge
from annotator.routing import BareThreshold
from annotator.types import Criterion
from app.bootstrap import Workspace, open_with
from app.config import settings_from
from app.errors import Conflict, NotAllowed, NothingToDo
from app.services import (
    audit_planning,
    calibrating,
    certifying,
    choosing,
    label_sets,
    labelling,
    labels,
    reviewing,
    routing,
)
from app.services.certificate_views import BatchView
from app.services.exporting import export
from app.services.importing import NewSuggestion, import_suggestions
from app.terminal import plain
from builders import pair_ids
from db.enums import CertificateState, LabelSource, Outcome, Split, Visibility
from db.models import (
    BatchPair,
    Certificate,
    CertificateEvent,
    Decision,
    Lease,
    PairState,
    Person,
    Policy,
    Review,
    SeenPair,
    SpotCheck,
    Suggestion,
)
from db.queries.audits import locked_pairs
from db.queries.certifying import lock_certifying
from db.queries.draws import hold_draws
from db.queries.suspending import suspend_for_definition
from simulated import World, certifiable, judge_of, labelled, reviewed, simulated, with_settings

EPSILON = 0.3
N = 60
STRICT = BareThreshold(threshold_relevant=0.999, threshold_irrelevant=0.999)


def frozen(world: World, *, n: int = N, epsilon: float = EPSILON, seed: int = 3) -> BatchView:
    judge_id = calibrating.find_judge(world.workspace, "scripted/1")
    return certifying.freeze(world.workspace, judge_id=judge_id, n=n, person="Olga", epsilon=epsilon, seed=seed)


def issued(world: World) -> BatchView:
    batch = frozen(world)
    world.person(at_most=N)
    certifying.issue(world.workspace, batch_id=batch.id)
    return batch


def sample_of(workspace: Workspace, batch_id: int) -> dict[int, BatchPair]:
    with workspace.sessions.read() as session:
        rows = session.scalars(
            sa.select(BatchPair).where(BatchPair.batch_id == batch_id, BatchPair.audit_position.is_not(None))
        )
        return {row.pair_id: row for row in rows}


def states(workspace: Workspace) -> dict[int, PairState]:
    with workspace.sessions.read() as session:
        return {state.pair_id: state for state in session.scalars(sa.select(PairState))}


def accepted_under_certificate(workspace: Workspace) -> set[int]:
    with workspace.sessions.read() as session:
        return set(
            session.scalars(
                sa.select(PairState.pair_id)
                .join(Decision, Decision.id == PairState.decision_id)
                .where(PairState.outcome == Outcome.ACCEPTED, Decision.certificate_id.is_not(None))
            )
        )


def certificate_states(workspace: Workspace) -> list[str]:
    return [one.state for one in certifying.list_certificates(workspace)]


def test_from_freezing_to_accepting_the_promise_is_kept(any_workspace: Workspace) -> None:
    """Labels are accepted without a bound, or with one that the realised errors break."""
    world = certifiable(any_workspace)
    batch = frozen(world)
    assert (batch.state, batch.n_pairs, batch.n_audits, batch.n_to_go) == ("open", 120, N, N)
    assert world.person(at_most=N) == N
    report = certifying.issue(any_workspace, batch_id=batch.id)
    keys = {pair_id: key for key, pair_id in pair_ids(any_workspace).items()}
    accepted = accepted_under_certificate(any_workspace)
    assert report.accepted == len(accepted) > 0
    assert report.accepted + report.rejected == 120
    sample = sample_of(any_workspace, batch.id)
    assert accepted.isdisjoint(sample)
    for relevant in (False, True):
        of_class = [pair_id for pair_id in accepted if (world.said[keys[pair_id]][0] >= 2) == relevant]
        wrong = sum((world.truth[keys[pair_id]] >= 2) != relevant for pair_id in of_class)
        assert wrong <= EPSILON * len(of_class)
    now = states(any_workspace)
    for pair_id in sample:
        assert now[pair_id].curated_source is LabelSource.HUMAN
        assert now[pair_id].curated_grade == world.truth[keys[pair_id]]
    waiting = {pair.pair_id for pair in reviewing.list_waiting(any_workspace)}
    assert {pair_id for pair_id in keys if now[pair_id].outcome is Outcome.REJECTED} - set(sample) <= waiting
    shown = labels.get_pair(any_workspace, pair_id=min(accepted - waiting))
    assert (shown.certified, shown.outcome) == (True, Outcome.ACCEPTED)
    assert "certified" in shown.why
    assert "uncertified" not in shown.why


def test_a_class_that_fails_is_stored_and_nothing_of_it_is_accepted(workspace: Workspace) -> None:
    """A pooled bound hides that one class is mostly wrong; a refusal that leaves no trace is tried until it works."""
    world = certifiable(workspace)
    batch = frozen(world, n=20, epsilon=0.01)
    world.person(at_most=20)
    report = certifying.issue(workspace, batch_id=batch.id)
    assert [(c.state, c.threshold, c.coverage) for c in report.certificates] == [("refused", None, 0.0)] * 2
    assert (report.accepted, report.batch.state) == (0, "refused")
    with workspace.sessions.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Certificate)) == 2
        assert session.scalar(sa.select(sa.func.count()).select_from(CertificateEvent)) == 0
    assert frozen(world, n=20).attempt == 2


def test_no_look_is_possible_before_every_audit_is_answered(any_workspace: Workspace) -> None:
    """Looking while the audits run and stopping at the best look breaks the promise in one case of ten."""
    world = certifiable(any_workspace)
    batch = frozen(world)
    first = reviewing.claim(any_workspace, person="Ada")
    assert first is not None
    reviewing.skip(any_workspace, card=first.card, person="Ada")
    assert world.person(at_most=N - 1) == N - 1
    with pytest.raises(NothingToDo, match="1 of 60 blind audits"):
        certifying.issue(any_workspace, batch_id=batch.id)
    with any_workspace.sessions.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Certificate)) == 0
    view = certifying.list_batches(any_workspace)[0]
    assert (view.n_to_go, view.state) == (1, "open")
    assert "error" not in json.dumps(plain(view))
    again = reviewing.claim(any_workspace, person="Ada")
    assert again is not None
    assert again.pair.pair_id == first.pair.pair_id
    assert certifying.issue(any_workspace, batch_id=batch.id, close_early=True).batch.n_answered == N - 1
    certificates = certifying.list_certificates(any_workspace)
    with any_workspace.sessions.read() as session:
        rows = session.scalars(sa.select(Certificate)).all()
    assert sum(row.details["n_unanswered"] for row in rows) == 1
    assert sum(c.n_errors for c in certificates) >= 1


def test_audits_are_used_once_even_by_two_at_the_same_time(any_workspace: Workspace) -> None:
    """A second certificate from the same audits is no certificate."""
    world = certifiable(any_workspace)
    batch = frozen(world)
    world.person(at_most=N)

    def issue(_: int) -> bool:
        try:
            certifying.issue(any_workspace, batch_id=batch.id)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(issue, range(2))) == [False, True]
    assert len(certifying.list_certificates(any_workspace)) == 2


def test_nothing_anywhere_tells_what_was_proposed_for_a_locked_pair(any_workspace: Workspace, tmp_path: Path) -> None:
    """A reviewer who can look the proposal up judges the judge's words, not the passage."""
    world = certifiable(any_workspace)
    routing.route(any_workspace)  # decisions made before the freeze must not show either
    batch = frozen(world)
    sample = sample_of(any_workspace, batch.id)
    routing.route(any_workspace)
    by_link = reviewing.claim(any_workspace, person="Ada", pair_id=max(sample))
    served = reviewing.claim(any_workspace, person="Grace")
    assert by_link is not None
    assert served is not None
    assert by_link.pair.pair_id == max(sample)
    assert served.pair.pair_id in sample
    told: list[object] = [by_link, served]
    told += [labels.get_pair(any_workspace, pair_id=pair_id) for pair_id in sample]
    page = labels.list_labels(any_workspace, limit=500)
    listed = [row for row in page.rows if row.pair_id in sample]
    assert len(listed) == N
    told += listed
    for value in told:
        view = json.dumps(plain(value))
        assert "SECRET" not in view
        assert "scripted" not in view
    for row in listed:
        assert (row.status, row.grade, row.confidence, row.outcome, row.why) == (None, None, None, None, "")
    for card in (by_link, served):
        assert (card.pair.grade, card.pair.confidence, card.pair.hits, card.pair.history) == (None, None, (), ())
        assert "blind audit" in card.queue_reason
    for outcome in Outcome:  # being in a list that is narrowed to one outcome would tell
        narrowed = labels.list_labels(any_workspace, outcome=outcome, limit=500)
        assert {row.pair_id for row in narrowed.rows}.isdisjoint(sample)
    keys = {pair_id: key for key, pair_id in pair_ids(any_workspace).items()}
    hidden = {keys[pair_id] for pair_id in sample}
    export(any_workspace, layout="labels", target=tmp_path / "l.jsonl", include_proposed=True)
    rows = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    assert rows
    assert hidden.isdisjoint({(row["query_id"], row["corpus_id"]) for row in rows})
    export(any_workspace, layout="lists", target=tmp_path / "s.jsonl", include_proposed=True)
    for line in (tmp_path / "s.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert hidden.isdisjoint({(row["query_id"], passage) for passage in row["doc_ids"]})
    with pytest.raises(NotAllowed):
        labels.overturn(any_workspace, pair_id=max(sample), person="Ada", grade=0, note="")


def test_the_sample_is_served_first_and_no_queue_by_value_enters_it(any_workspace: Workspace) -> None:
    """Pairs picked because they looked doubtful stand in for a random sample, and the bound is void."""
    world = certifiable(any_workspace)
    routing.route(any_workspace)
    batch = frozen(world)
    sample = sample_of(any_workspace, batch.id)
    waiting = [pair.pair_id for pair in reviewing.list_waiting(any_workspace)]
    drawn = sorted(sample, key=lambda pair_id: sample[pair_id].audit_position or 0)
    assert waiting[:N] == drawn
    assert set(waiting[N:]).isdisjoint(sample)
    for expected in drawn[:5]:
        card = reviewing.claim(any_workspace, person="Ada")
        assert card is not None
        assert card.pair.pair_id == expected
        shown = reviewing.grade(any_workspace, card=card.card, person="Ada", grade=0)
        assert shown is not None
        reviewing.keep(any_workspace, card=shown.card.card, person="Ada")
    with any_workspace.sessions.read() as session:
        first = sa.select(Review).where(Review.card.is_not(None), Review.revises_id.is_(None))
        rows = session.scalars(first).all()
    assert {row.visibility for row in rows} == {Visibility.BLIND}
    assert {row.suggestion_id for row in rows} == {None}


def test_the_sample_feeds_nothing_before_its_certificate_is_issued(any_workspace: Workspace) -> None:
    """An audit that also trains or calibrates is no independent test of what it trained."""
    world = certifiable(any_workspace)
    batch = frozen(world)
    sample = set(sample_of(any_workspace, batch.id))
    world.person(at_most=N)

    def trainable() -> set[int]:
        with any_workspace.sessions.read() as session:
            return {
                label.pair_id
                for label in label_sets.list_trainable(any_workspace, session, criterion=Criterion.RELEVANCE)
            }

    assert trainable()
    assert trainable().isdisjoint(sample)
    judge_id = calibrating.find_judge(any_workspace, None)
    before = calibrating.get_calibration(any_workspace, judge_id=judge_id)
    assert before.n_reviews == 50
    certifying.issue(any_workspace, batch_id=batch.id)
    assert sample <= trainable()
    released = calibrating.calibrate(any_workspace, judge_id=judge_id, with_train=True, replace=True)
    assert released.n_reviews == 50 + N


def test_only_a_calibrated_judge_that_is_certifiable_gets_a_batch(any_workspace: Workspace) -> None:
    """A certificate on a confidence that nobody ever compared with people, or on word overlap."""
    world = simulated(any_workspace)
    labelling.label(any_workspace, LocalJudge())
    with pytest.raises(NotAllowed, match="not certifiable"):
        certifying.freeze(any_workspace, judge_id=calibrating.find_judge(any_workspace, None), n=20, person="Olga")
    labelled(world)
    with pytest.raises(NotAllowed, match="uncalibrated"):
        frozen(world)


def test_a_calibrator_that_saw_a_question_of_the_batch_is_refused(workspace: Workspace) -> None:
    """Fitted and tested on one question, the calibrated confidence flatters itself."""
    world = certifiable(workspace)
    issued(world)
    judge_id = calibrating.find_judge(workspace, None)
    calibrating.calibrate(workspace, judge_id=judge_id, with_train=True, replace=True)
    with pytest.raises(Conflict, match="was fitted on"):
        frozen(world, n=10)
    with pytest.raises(Conflict):
        audit_planning.plan(workspace, judge_id=judge_id)


def test_one_batch_at_a_time_holds_a_pair(any_workspace: Workspace) -> None:
    """Two samples of one batch, of which the better is used, are two looks."""
    world = certifiable(any_workspace)
    frozen(world)
    with pytest.raises(Conflict, match="in an open batch"):
        frozen(world)


def test_what_people_touched_or_have_open_is_in_no_batch(workspace: Workspace) -> None:
    """Somebody who has seen the proposal is asked for a blind judgement of it."""
    world = certifiable(workspace)
    routing.route(workspace, policy=STRICT)
    for action in ("grade", "skip"):
        card = reviewing.claim(workspace, person="Ada")
        assert card is not None
        if action == "grade":
            reviewing.grade(workspace, card=card.card, person="Ada", grade=1)
        else:
            reviewing.skip(workspace, card=card.card, person="Ada")
    assert reviewing.claim(workspace, person="Ada") is not None
    batch = frozen(world, n=20)
    assert batch.n_pairs == 117
    assert sum(batch.excluded.values()) == 3


def test_a_frozen_batch_can_be_neither_changed_nor_deleted(any_workspace: Workspace) -> None:
    """Moving one pair into or out of the sample afterwards makes any promise come true."""
    frozen(certifiable(any_workspace))
    for verb in (
        "UPDATE batch_pair SET audit_position = NULL",
        "DELETE FROM batch_pair",
        "UPDATE batch SET n_audits = 1",
    ):
        with pytest.raises(DBAPIError, match="append-only"), any_workspace.sessions.begin() as session:
            session.execute(sa.text(verb))


def test_another_judge_takes_the_certificate_of_the_one_before_away(any_workspace: Workspace) -> None:
    """A label of a new model or prompt passes under the certificate of the old one."""
    world = certifiable(any_workspace)
    issued(world)
    accepted = accepted_under_certificate(any_workspace)
    replaced = min(accepted)
    query, passage = {pair_id: key for key, pair_id in pair_ids(any_workspace).items()}[replaced]
    import_suggestions(
        any_workspace, [NewSuggestion(query, passage, "gpt-5", 3, 3, token_probability=0.99)], source_name="elsewhere"
    )
    assert "suspended" in certificate_states(any_workspace)
    now = states(any_workspace)
    assert (now[replaced].outcome, now[replaced].curated_grade) == (None, None)
    with any_workspace.sessions.read() as session:
        event = session.scalar(sa.select(CertificateEvent).order_by(CertificateEvent.id.desc()))
        assert event is not None
        assert event.state is CertificateState.SUSPENDED
        assert "another suggestion" in event.reason
        relevant = session.get_one(Certificate, event.certificate_id).relevant_class
        classes = {row.pair_id: row.relevant_class for row in session.scalars(sa.select(BatchPair))}
    fallen = {pair_id for pair_id in accepted if classes[pair_id] is relevant} - {replaced}
    waiting = {pair.pair_id for pair in reviewing.list_waiting(any_workspace)}
    assert fallen
    assert fallen <= waiting
    assert all(now[pair_id].outcome is Outcome.REJECTED for pair_id in fallen)
    routing.route(any_workspace)
    assert fallen <= {pair.pair_id for pair in reviewing.list_waiting(any_workspace)}


def test_relabelling_by_another_judge_waits_for_the_open_batch(workspace: Workspace) -> None:
    """Labelling while audits run throws away the hours that people put into them."""
    world = certifiable(workspace)
    batch = frozen(world)
    other = judge_of(world, name="scripted/2")
    assert labelling.label(workspace, other).proposed == 50  # the calibrate questions
    assert certifying.list_batches(workspace)[0].state == "open"
    world.person(at_most=N)
    certifying.issue(workspace, batch_id=batch.id)
    accepted = accepted_under_certificate(workspace)
    assert accepted
    assert labelling.label(workspace, judge_of(world, name="scripted/2")).proposed == 120
    assert "suspended" not in certificate_states(workspace)
    assert accepted_under_certificate(workspace) == accepted


def test_another_judge_takes_over_only_when_it_is_chosen_and_then_suspends(any_workspace: Workspace) -> None:
    """Asking a second judge for its opinion undoes hundreds of audits; or the better judge can never be certified."""
    world = certifiable(any_workspace)
    issued(world)
    accepted = accepted_under_certificate(any_workspace)
    labelling.label(any_workspace, judge_of(world, name="scripted/2"))
    routing.route(any_workspace)
    after = states(any_workspace)
    assert accepted_under_certificate(any_workspace) == accepted
    waiting = {pair.pair_id for pair in reviewing.list_waiting(any_workspace)}
    left = {pair_id for pair_id, state in after.items() if state.outcome is Outcome.REJECTED and not state.review_id}
    assert left <= waiting, "what the certificate left to people is accepted by the bare threshold under another judge"
    first = calibrating.find_judge(any_workspace, "scripted/1")
    report = choosing.use_judge(any_workspace, judge_id=calibrating.find_judge(any_workspace, "scripted/2"))
    assert report.changed >= len(accepted)
    assert report.accepted == 0, "a bare threshold takes back what a certificate decided"
    assert "issued" not in certificate_states(any_workspace)
    assert accepted_under_certificate(any_workspace) == set()
    assert choosing.use_judge(any_workspace, judge_id=first).changed >= report.changed
    with pytest.raises(NothingToDo):
        choosing.use_judge(any_workspace, judge_id=first)


def test_an_import_under_an_open_batch_closes_it(any_workspace: Workspace) -> None:
    """A certificate is issued for suggestions that are not those that hold."""
    world = certifiable(any_workspace)
    batch = frozen(world)
    query, passage = world.pairs(Split.TRAIN)[0]
    import_suggestions(
        any_workspace, [NewSuggestion(query, passage, "gpt-5", 3, 3, token_probability=0.9)], source_name="elsewhere"
    )
    (view,) = certifying.list_batches(any_workspace)
    assert (view.state, certifying.list_certificates(any_workspace)) == ("closed", ())
    with pytest.raises(Conflict):
        certifying.issue(any_workspace, batch_id=batch.id)


def test_a_changed_definition_suspends_what_was_certified_under_the_old_one(any_workspace: Workspace) -> None:
    """What counts as relevant changes, and the labels that were certified by the older meaning stay accepted."""
    world = certifiable(any_workspace)
    issued(world)
    accepted = accepted_under_certificate(any_workspace)
    with any_workspace.sessions.begin() as session:
        query = session.scalar(sa.text("SELECT query_id FROM pair WHERE id = :id").bindparams(id=min(accepted)))
        suspend_for_definition(session, [int(query)], any_workspace.now())
    assert "suspended" in certificate_states(any_workspace)
    assert min(accepted) not in accepted_under_certificate(any_workspace)
    assert min(accepted) in {pair.pair_id for pair in reviewing.list_waiting(any_workspace)}


def test_wrong_spot_checks_suspend_the_certificate(any_workspace: Workspace) -> None:
    """The model behind a name changes, and nobody notices that what is accepted is wrong."""
    world = with_settings(certifiable(any_workspace), spot_check_share=1.0)
    issued(world)
    accepted = accepted_under_certificate(world.workspace)
    card = reviewing.claim(world.workspace, person="Eve")
    assert card is not None
    assert card.pair.pair_id in accepted
    assert "spot check" in card.queue_reason
    assert card.pair.grade is None
    assert labels.get_pair(world.workspace, pair_id=card.pair.pair_id).concealed
    assert world.person("Eve", at_most=len(accepted), wrong=True)
    certificates = certifying.list_certificates(world.workspace)
    fallen = [one for one in certificates if one.state == "suspended"]
    assert fallen
    assert all("drift" in one.reason for one in fallen)
    assert "issued" not in {one.state for one in certificates}
    assert accepted_under_certificate(world.workspace) == set()


def test_right_spot_checks_leave_the_certificate_in_force(workspace: Workspace) -> None:
    """An alarm without a cause sends good labels back to people."""
    world = with_settings(certifiable(workspace), spot_check_share=0.5)
    issued(world)
    n = sum(one.spot_checks.n_drawn for one in certifying.list_certificates(world.workspace) if one.spot_checks)
    assert n > 0
    world.person("Eve", at_most=n)
    views = [one for one in certifying.list_certificates(world.workspace) if one.spot_checks is not None]
    assert sum(one.spot_checks.n_done for one in views if one.spot_checks) == n
    assert {one.state for one in views} == {"issued"}


def test_a_spot_check_answered_once_stays_answered_as_it_was(any_workspace: Workspace) -> None:
    """Wrong labels are graded blind, the proposal is read, the grade is undone and given again as proposed."""
    world = with_settings(certifiable(any_workspace), spot_check_share=1.0)
    workspace = world.workspace
    issued(world)
    card = reviewing.claim(workspace, person="Eve")
    assert card is not None
    assert "spot check" in card.queue_reason
    pair_id, truth = card.pair.pair_id, world.truth[card.pair.query_id, card.pair.passage_id]
    reviewing.grade(workspace, card=card.card, person="Eve", grade=0 if truth >= 2 else 3)

    def read() -> list[tuple[int, int]]:
        views = [one.spot_checks for one in certifying.list_certificates(workspace) if one.spot_checks]
        return [(one.n_done, one.n_wrong) for one in views if one.n_done]

    before = read()
    assert len(before) == 1
    reviewing.undo(workspace, person="Eve")
    again = reviewing.claim(workspace, person="Eve")
    assert again is not None
    assert again.pair.pair_id == pair_id
    assert "spot check" not in again.queue_reason
    reviewing.grade(workspace, card=again.card, person="Eve", grade=truth)
    assert read() == before
    assert labels.get_pair(workspace, pair_id=pair_id).grade == truth


def certified_trainable(workspace: Workspace) -> int:
    with workspace.sessions.read() as session:
        rows = label_sets.list_trainable(workspace, session, criterion=Criterion.RELEVANCE)
        return sum(row.certified and row.review_id is None for row in rows)


def test_another_scale_suspends_what_was_certified_under_the_old_one(any_workspace: Workspace) -> None:
    """One line of the settings turns grade 1 from irrelevant to relevant, and the old bound is still promised."""
    world = certifiable(any_workspace)
    issued(world)
    accepted = accepted_under_certificate(any_workspace)
    assert accepted
    with any_workspace.sessions.read() as session:
        in_force = session.scalars(sa.select(Certificate).where(Certificate.threshold.is_not(None))).all()
        assert {json.dumps(row.details["scale"], sort_keys=True) for row in in_force} == {
            '{"max_grade": 3, "relevant_from": 2}'
        }
    assert certified_trainable(any_workspace) == len(accepted)
    lower = with_settings(world, relevant_from=1).workspace
    routing.route(lower)
    assert accepted_under_certificate(any_workspace) == set()
    assert certified_trainable(lower) == 0
    certificates = certifying.list_certificates(lower)
    assert "issued" not in {one.state for one in certificates}
    fallen = next(one for one in certificates if one.state == "suspended")
    assert fallen.reason == "the scale changed from 0 to 3, relevant from 2 to 0 to 3, relevant from 1"
    judge_id = calibrating.find_judge(lower, None)
    assert calibrating.get_calibration(lower, judge_id=judge_id).calibrator_id is None
    with pytest.raises(NotAllowed, match="uncalibrated"):
        certifying.freeze(lower, judge_id=judge_id, n=10, person="Olga")


def test_a_batch_frozen_on_another_scale_is_closed_and_not_issued(any_workspace: Workspace) -> None:
    """Answers are read on a scale that the sample, the calibrator and the sides were not made for."""
    world = certifiable(any_workspace)
    batch = frozen(world)
    world.person(at_most=N)
    higher = with_settings(world, relevant_from=3).workspace
    with pytest.raises(Conflict, match="the scale changed"):
        certifying.issue(higher, batch_id=batch.id)
    (view,) = certifying.list_batches(higher)
    assert view.state == "closed"
    assert "the scale changed from 0 to 3, relevant from 2" in view.note


def test_a_workspace_opened_on_another_scale_suspends_before_anybody_looks(tmp_path: Path) -> None:
    """A tool that asks no service first reads labels that nothing certifies any more."""
    opened = open_with(settings_from(tmp_path / "workspace", {}))
    issued(certifiable(opened))
    assert accepted_under_certificate(opened)
    opened.close()
    again = open_with(settings_from(tmp_path / "workspace", {"relevant_from": 1}))
    assert accepted_under_certificate(again) == set()
    again.close()


def test_whoever_has_seen_the_proposal_is_never_asked_about_it_blind(any_workspace: Workspace) -> None:
    """A card that showed the proposal is taken away, and its reader answers the audit of that pair from memory."""
    world = certifiable(any_workspace)
    batch = frozen(world)
    first, second = sorted(sample_of(any_workspace, batch.id).values(), key=lambda row: row.audit_position or 0)[:2]
    assert reviewing.claim(any_workspace, person="Bob", pair_id=second.pair_id) is not None
    with any_workspace.sessions.begin() as session:  # as if the card had been open while the sample was drawn
        bob = session.scalar(sa.select(Person.id).where(Person.name == "Bob"))
        now = any_workspace.now()
        assert bob is not None
        session.add(SeenPair(pair_id=first.pair_id, criterion=Criterion.RELEVANCE, person_id=bob, created_at=now))
        session.execute(sa.delete(Lease))
    served = reviewing.claim(any_workspace, person="Bob")
    assert served is not None
    assert served.pair.pair_id == second.pair_id
    with pytest.raises(Conflict, match="has seen"):
        reviewing.claim(any_workspace, person="Bob", pair_id=first.pair_id)
    other = reviewing.claim(any_workspace, person="Ada")
    assert other is not None
    assert other.pair.pair_id == first.pair_id


def test_what_somebody_had_open_with_the_proposal_is_in_no_later_sample(any_workspace: Workspace) -> None:
    """The card is closed without an answer, so nothing tells that its pair was seen."""
    world = certifiable(any_workspace)
    one, two = (pair_ids(any_workspace)[key] for key in world.pairs(Split.TRAIN)[:2])
    for pair_id in (one, two):  # opening the second takes the first away
        card = reviewing.claim(any_workspace, person="Bob", pair_id=pair_id)
        assert card is not None
        assert card.pair.grade is not None
    batch = frozen(world)
    assert (batch.n_pairs, sum(batch.excluded.values())) == (118, 2)


def test_a_pair_that_was_open_while_its_certificate_was_issued_is_no_spot_check(any_workspace: Workspace) -> None:
    """Bob reads a proposal, the pair is drawn, and he is asked about it as if he had not."""
    world = with_settings(certifiable(any_workspace), spot_check_share=1.0)
    batch = frozen(world)
    with any_workspace.sessions.read() as session:
        rest = session.scalars(sa.select(BatchPair).where(BatchPair.audit_position.is_(None))).all()
        surest = max(rest, key=lambda row: (row.confidence, -row.pair_id)).pair_id
    world.person(at_most=N)
    card = reviewing.claim(world.workspace, person="Bob", pair_id=surest)
    assert card is not None
    assert card.pair.grade is not None
    report = certifying.issue(world.workspace, batch_id=batch.id)
    accepted = accepted_under_certificate(any_workspace)
    assert surest in accepted
    with any_workspace.sessions.read() as session:
        assert set(session.scalars(sa.select(SpotCheck.pair_id))) == accepted - {surest}
    assert sum(one.spot_checks.n_drawn for one in report.certificates if one.spot_checks) == len(accepted) - 1


def test_no_card_is_served_while_a_sample_is_drawn(postgres_workspace: Workspace) -> None:
    """A card with the proposal is opened between the look at the open cards and the draw."""
    relevance, now = Criterion.RELEVANCE, postgres_workspace.now()
    with postgres_workspace.sessions.begin() as drawing:
        lock_certifying(drawing, criterion=relevance, now=now)
        with postgres_workspace.sessions.read() as serving:
            serving.execute(sa.text("SET LOCAL lock_timeout = 50"))
            with pytest.raises(DBAPIError, match="timeout"):
                hold_draws(serving, criterion=relevance, shared=True)
        with postgres_workspace.sessions.begin() as serving:
            hold_draws(serving, criterion=Criterion.UTILITY, shared=True)
    with postgres_workspace.sessions.begin() as one, postgres_workspace.sessions.begin() as two:
        hold_draws(one, criterion=relevance, shared=True)
        hold_draws(two, criterion=relevance, shared=True)


def test_a_closed_batch_counts_as_an_attempt_and_keeps_its_audits(any_workspace: Workspace) -> None:
    """Draw, look, close, draw again, until the sample is a friendly one: and the screen says that it is the first."""
    world = certifiable(any_workspace)
    certifying.close(any_workspace, batch_id=frozen(world).id, reason="I do not like the draw")
    batch = frozen(world, seed=4)
    assert batch.attempt == 2
    world.person(at_most=25)
    closed = certifying.close(any_workspace, batch_id=batch.id, reason="nor the answers")
    assert (closed.state, closed.n_answered) == ("closed", 25)
    with any_workspace.sessions.read() as session:
        void = session.scalars(sa.select(Certificate).where(Certificate.batch_id == batch.id)).all()
        assert [row.details for row in void] == [{"void": "nor the answers", "n_answered": 25}] * 2
        answered = set(session.scalars(sa.select(Review.pair_id).where(Review.card.is_not(None))))
    reviewing.undo(any_workspace, person="Ada")
    again = frozen(world, n=30)
    assert (again.attempt, again.n_pairs) == (3, 95)
    with any_workspace.sessions.read() as session:
        held = set(session.scalars(sa.select(BatchPair.pair_id).where(BatchPair.batch_id == again.id)))
    assert answered.isdisjoint(held)


def test_a_bare_threshold_decides_nothing_that_a_certificate_decided(any_workspace: Workspace) -> None:
    """Routing after the certificate accepts, uncertified, what the certificate had just refused."""
    world = certifiable(any_workspace)
    issued(world)
    before = {pair_id: state.decision_id for pair_id, state in states(any_workspace).items()}
    report = routing.route(any_workspace)
    assert (report.accepted, report.rejected) == (0, 0)
    assert {pair_id: state.decision_id for pair_id, state in states(any_workspace).items()} == before


def test_a_new_calibrator_does_not_slip_under_a_certificate(workspace: Workspace) -> None:
    """The certificate names one calibrator and the labels rest on another; or a click loses hundreds of audits."""
    world = certifiable(workspace)
    issued(world)
    judge_id = calibrating.find_judge(workspace, None)
    same = calibrating.calibrate(workspace, judge_id=judge_id)
    assert same.calibrator_id == 1
    with pytest.raises(Conflict):
        calibrating.calibrate(workspace, judge_id=judge_id, with_train=True)
    assert "issued" in certificate_states(workspace)
    calibrating.calibrate(workspace, judge_id=judge_id, with_train=True, replace=True)
    assert "issued" not in certificate_states(workspace)
    assert accepted_under_certificate(workspace) == set()


def test_calibrate_questions_are_labelled_and_nothing_else_is_done_with_them(any_workspace: Workspace) -> None:
    """What the judge is measured on is shown, accepted or trained on."""
    world = labelled(simulated(any_workspace))
    routing.route(any_workspace)
    calibrate = {pair_ids(any_workspace)[key] for key in world.pairs(Split.CALIBRATE)}
    with any_workspace.sessions.read() as session:
        proposed = set(session.scalars(sa.select(Suggestion.pair_id)))
        decided = set(session.scalars(sa.select(Decision.pair_id)))
        trainable = label_sets.list_trainable(any_workspace, session, criterion=Criterion.RELEVANCE)
    assert calibrate <= proposed
    assert calibrate.isdisjoint(decided)
    assert calibrate.isdisjoint({label.pair_id for label in trainable})
    for pair_id in sorted(calibrate)[:3]:
        assert "SECRET" not in json.dumps(plain(labels.get_pair(any_workspace, pair_id=pair_id)))
        card = reviewing.claim(any_workspace, person="Ada", pair_id=pair_id)
        assert card is not None
        assert "SECRET" not in json.dumps(plain(card))
        assert "sure" not in card.queue_reason
    rows = labels.list_labels(any_workspace, limit=500).rows
    assert all(row.concealed and row.grade is None for row in rows if row.pair_id in calibrate)


def test_only_blind_reviews_calibrate(workspace: Workspace) -> None:
    """Grades that people gave after reading the proposal agree with it, and the judge looks calibrated."""
    world = reviewed(labelled(simulated(workspace)))
    routing.route(workspace, policy=STRICT)
    shown = 0
    while (card := reviewing.claim(workspace, person="Ada")) is not None and shown < 10:
        reviewing.grade(workspace, card=card.card, person="Ada", grade=card.pair.grade or 0)
        shown += 1
    judge_id = calibrating.find_judge(workspace, None)
    view = calibrating.calibrate(workspace, judge_id=judge_id, with_train=True)
    assert shown == 10
    assert (view.n_reviews, view.n_queries) == (50, 5)
    assert world.truth


def test_the_policy_of_a_certificate_is_stored_with_its_thresholds(workspace: Workspace) -> None:
    """Nobody can say later by which rule a label was accepted."""
    issued(certifiable(workspace))
    with workspace.sessions.read() as session:
        (policy,) = session.scalars(sa.select(Policy)).all()
        assert policy.kind == "certified"
        assert policy.parameters["epsilon"] == EPSILON
        assert session.scalars(locked_pairs(Criterion.RELEVANCE)).all() == []
