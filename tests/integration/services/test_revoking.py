"""Revoking a judge or a person takes all they said out of use, and giving them back brings all of it back exactly."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from annotator.types import Criterion, JudgeKind
from app.bootstrap import Workspace, open_with
from app.config import settings_from
from app.errors import InputInvalid, NotAllowed, NothingToDo
from app.services import (
    calibrating,
    certifying,
    choosing,
    definitions,
    label_sets,
    labelling,
    labels,
    lineage,
    reviewing,
    revoking,
    routing,
)
from app.services.importing import NewJudgement, NewSuggestion, import_judgements, import_suggestions
from app.services.lineage_views import Author
from builders import (
    TOPICS,
    add_candidates,
    add_corpus,
    add_suggestions,
    audit,
    judge_held_out,
    pair_ids,
    scripted_judge,
    truth,
)
from db.enums import LabelSource, Outcome, Role, Split
from db.models import Decision, JudgeRow, Pair, PairState, Person, Query, Review, Suggestion
from db.queries.training import list_human_judgements
from simulated import World, certifiable, judge_of, simulated_again

ABOUT = Criterion.RELEVANCE
N = 60


def rich(workspace: Workspace) -> World:
    """Two judges on every pair, a certificate for one class at least of the second, audits by Ada, and grades by Bo."""
    world = certifiable(workspace)
    second = simulated_again(world, confidences=(0.6, 0.9), seed=9)
    judge_id = calibrating.find_judge(workspace, "scripted/1")
    batch = certifying.freeze(workspace, judge_id=judge_id, n=N, person="Olga", epsilon=0.3, seed=3)
    world.person("Ada", at_most=N)
    certifying.issue(workspace, batch_id=batch.id)
    labelling.label(workspace, judge_of(second, name="scripted/2"))
    world.person("Bo", at_most=5)
    return world


def snapshot(workspace: Workspace) -> dict[int, tuple[object, ...]]:
    """All that holds for every pair, but for when it was computed."""
    with workspace.sessions.read() as session:
        return {
            state.pair_id: (
                state.suggestion_id,
                state.decision_id,
                state.outcome,
                state.review_id,
                state.curated_grade,
                state.curated_source,
            )
            for state in session.scalars(sa.select(PairState).where(PairState.criterion == ABOUT))
        }


def whole(workspace: Workspace) -> tuple[object, ...]:
    """What counts now: states, which certificates are in force, the calibrator that holds, and what trains."""
    with workspace.sessions.read() as session:
        trainable = label_sets.list_trainable(workspace, session, criterion=ABOUT)
    calibrators = tuple(judge.calibrator_id for judge in calibrating.list_judges(workspace))
    certificates = tuple(one.state for one in certifying.list_certificates(workspace))
    waiting = {pair.pair_id for pair in reviewing.list_waiting(workspace)}
    return snapshot(workspace), certificates, calibrators, trainable, waiting


def judge(workspace: Workspace, name: str) -> Author:
    return lineage.find_author(workspace, judge=name)


def person(workspace: Workspace, name: str) -> Author:
    return lineage.find_author(workspace, person=name)


def revoke(workspace: Workspace, author: Author) -> revoking.RevocationReport:
    return revoking.revoke(workspace, author=author, reason="made it up", person=workspace.settings.person)


def restore(workspace: Workspace, author: Author) -> revoking.RevocationReport:
    return revoking.restore(workspace, author=author, reason="it was right", person=workspace.settings.person)


def test_revoked_and_given_back_in_any_order_everything_is_as_it_was(any_workspace: Workspace) -> None:
    """A revocation by mistake that cannot be taken back costs every label, audit and certificate it touched."""
    rich(any_workspace)
    everybody = [judge(any_workspace, "scripted/1"), judge(any_workspace, "scripted/2")]
    everybody += [person(any_workspace, name) for name in ("Ada", "Bo", "Grace")]
    before = whole(any_workspace)
    assert "issued" in before[1]
    chance = random.Random(11)
    for _ in range(6):
        gone: list[Author] = []
        for author in chance.sample(everybody, chance.randint(2, len(everybody))):
            revoke(any_workspace, author)
            gone.append(author)
            if len(gone) > 1 and chance.random() < 0.4:
                restore(any_workspace, gone.pop(chance.randrange(len(gone))))
        assert whole(any_workspace) != before
        chance.shuffle(gone)
        for author in gone:
            restore(any_workspace, author)
        assert whole(any_workspace) == before


def test_nothing_that_a_revoked_judge_said_counts_any_more(any_workspace: Workspace) -> None:
    """A judge found to be making things up would go on training the model and carrying certificates."""
    world = rich(any_workspace)
    author = judge(any_workspace, "scripted/1")
    foreseen = revoking.foresee(any_workspace, author=author)
    before = snapshot(any_workspace)
    accepted = [pair for pair, state in before.items() if state[2] is Outcome.ACCEPTED]
    assert foreseen.n_accepted > 0
    assert foreseen.n_certificates >= 1
    assert foreseen.n_labels == sum(1 for state in before.values() if state[5] is LabelSource.ACCEPTED)
    assert foreseen.n_fallback == foreseen.n_labels  # the second judge has said something of every pair
    report = revoke(any_workspace, author)
    assert report.n_certificates == foreseen.n_certificates
    with any_workspace.sessions.read() as session:
        standing = session.scalars(
            sa.select(JudgeRow.name)
            .join(Suggestion, Suggestion.judge_id == JudgeRow.id)
            .join(PairState, PairState.suggestion_id == Suggestion.id)
            .distinct()
        ).all()
        assert list(standing) == ["scripted/2"]
        of_judge = set(session.scalars(sa.select(Suggestion.id).where(Suggestion.judge_id.in_(author.ids))))
        trained = label_sets.list_trainable(any_workspace, session, criterion=ABOUT)
    assert not {label.suggestion_id for label in trained} & of_judge
    assert "issued" not in [one.state for one in certifying.list_certificates(any_workspace)]
    after = snapshot(any_workspace)
    assert {after[pair][2] for pair in accepted} == {Outcome.REJECTED}, "a certificate left them to people"
    ungraded = {pair for pair in accepted if before[pair][3] is None}
    assert ungraded
    assert ungraded <= {pair.pair_id for pair in reviewing.list_waiting(any_workspace)}
    assert len(after) == len(before) == len(world.truth)


def test_without_another_judge_its_decided_pairs_wait_for_people_and_the_rest_is_unlabelled(
    workspace: Workspace,
) -> None:
    """Pairs that vanish from the queue with their judge are never judged by anybody."""
    add_corpus(workspace)
    add_candidates(workspace)
    add_suggestions(workspace)
    decided = {pair for pair, state in snapshot(workspace).items() if state[2] is not None}
    revoke(workspace, judge(workspace, "scripted/1"))
    after = snapshot(workspace)
    assert {after[pair][:3:2] for pair in decided} == {(None, Outcome.REJECTED)}
    assert decided <= {pair.pair_id for pair in reviewing.list_waiting(workspace)}
    assert all(state[4] is None for state in after.values())
    pair_id = next(iter(decided))
    assert any(
        "scripted/1 is revoked: made it up" in entry.note
        for entry in labels.get_pair(workspace, pair_id=pair_id).history
    )


def test_a_revoked_judge_is_asked_nothing_new(workspace: Workspace) -> None:
    """Money would be spent on labels that count for nothing."""
    add_corpus(workspace)
    add_candidates(workspace)
    add_suggestions(workspace)
    author = judge(workspace, "scripted/1")
    revoke(workspace, author)
    with pytest.raises(NotAllowed, match="revoked"):
        labelling.label(workspace, scripted_judge(workspace))
    with pytest.raises(NotAllowed, match="revoked"):
        choosing.use_judge(workspace, judge_id=author.ids[0])
    labelling.label(workspace, scripted_judge(workspace, name="scripted/2"))
    assert {state[0] is None for state in snapshot(workspace).values()} == {False}
    restore(workspace, author)
    labelling.label(workspace, scripted_judge(workspace))


def test_what_was_said_since_stays_when_an_older_judge_is_given_back(workspace: Workspace) -> None:
    """Labels paid for to replace a revoked judge's would be thrown away by giving it back."""
    add_corpus(workspace)
    add_candidates(workspace)
    add_suggestions(workspace)
    author = judge(workspace, "scripted/1")
    revoke(workspace, author)
    labelling.label(workspace, scripted_judge(workspace, name="scripted/2", confidence=0.5))
    held = snapshot(workspace)
    restore(workspace, author)
    assert {pair: state[0] for pair, state in snapshot(workspace).items()} == {p: s[0] for p, s in held.items()}


def test_a_revoked_persons_grades_fall_back_to_others_and_to_what_is_accepted(any_workspace: Workspace) -> None:
    """A careless reviewer's grades would stay in the training set and in the evaluation."""
    add_corpus(any_workspace)
    add_candidates(any_workspace)
    add_suggestions(any_workspace)
    judge_held_out(any_workspace, person="Grace")
    ids = pair_ids(any_workspace)
    accepted = next(pair for pair, state in snapshot(any_workspace).items() if state[2] is Outcome.ACCEPTED)
    labels.overturn(any_workspace, pair_id=accepted, person="Bo", grade=1, note="no")
    both = next(
        pair
        for pair in ids.values()
        if pair != accepted and snapshot(any_workspace).get(pair, (0,) * 6)[2] is Outcome.ACCEPTED
    )
    labels.overturn(any_workspace, pair_id=both, person="Ada", grade=2, note="")
    labels.overturn(any_workspace, pair_id=both, person="Bo", grade=0, note="")
    with any_workspace.sessions.read() as session:
        n_held_out = len(list_human_judgements(session, split=Split.HELD_OUT, criterion=ABOUT))
    assert n_held_out > 0
    foreseen = revoking.foresee(any_workspace, author=person(any_workspace, "Bo"))
    assert (foreseen.n_labels, foreseen.n_fallback, foreseen.n_held_out) == (2, 2, 0)
    assert revoking.foresee(any_workspace, author=person(any_workspace, "Grace")).n_held_out == n_held_out
    revoke(any_workspace, person(any_workspace, "Bo"))
    revoke(any_workspace, person(any_workspace, "Grace"))
    after = snapshot(any_workspace)
    assert after[accepted][5] is LabelSource.ACCEPTED
    assert after[both][4:] == (2, LabelSource.HUMAN)
    with any_workspace.sessions.read() as session:
        assert list_human_judgements(session, split=Split.HELD_OUT, criterion=ABOUT) == []
        assert session.scalar(sa.select(sa.func.count()).select_from(Review)) >= 3 + n_held_out  # nothing is deleted


def test_a_revoked_person_can_neither_grade_nor_import(workspace: Workspace) -> None:
    """Somebody who may not judge would go on filling the desk with grades that count for nothing."""
    add_corpus(workspace)
    add_candidates(workspace)
    add_suggestions(workspace, confidence=0.6)
    audit(workspace, person="Bo", at_most=2)
    card = reviewing.claim(workspace, person="Bo")
    assert card is not None
    revoke(workspace, person(workspace, "Bo"))
    with pytest.raises(NotAllowed, match="revoked"):
        reviewing.grade(workspace, card=card.card, person="Bo", grade=1)
    with pytest.raises(NotAllowed, match="revoked"):
        reviewing.claim(workspace, person="Bo")
    with pytest.raises(NotAllowed, match="revoked"):
        reviewing.undo(workspace, person="Bo")
    again = reviewing.claim(workspace, person="Ada", pair_id=card.pair.pair_id)
    assert again is not None, "the pair that Bo had open is free"
    query, passage = card.pair.query_id, card.pair.passage_id
    with pytest.raises(NotAllowed, match="revoked"):
        import_judgements(workspace, [NewJudgement(query, passage, 1)], source_name="late", person="Bo", max_grade=3)


def test_an_import_in_a_revoked_judges_name_is_refused_line_by_line(workspace: Workspace) -> None:
    """Labels of a revoked judge would come back through a file and be current at once."""
    add_corpus(workspace)
    add_candidates(workspace)
    (query, passage), other = list(pair_ids(workspace))[:2]
    rows = [NewSuggestion(query, passage, judge="elsewhere", grade=3, max_grade=3)]
    import_suggestions(workspace, rows, source_name="first")
    revoke(workspace, judge(workspace, "elsewhere"))
    more = [replace(rows[0], query_id=other[0], passage_id=other[1])]
    report = import_suggestions(workspace, more, source_name="first")
    assert report.suggestions == 0
    assert "revoked" in report.problems[0].reason


def test_a_calibrator_fitted_on_a_revoked_person_holds_no_more_until_it_is_fitted_again(workspace: Workspace) -> None:
    """Soft targets would keep the confidence that a careless reviewer taught."""
    world = certifiable(workspace)
    judge_id = calibrating.find_judge(workspace, None)
    grace = person(workspace, "Grace")
    assert revoking.foresee(workspace, author=grace).n_calibrators == 1
    revoke(workspace, grace)
    assert calibrating.get_calibration(workspace, judge_id=judge_id).calibrator_id is None
    with workspace.sessions.read() as session:
        assert label_sets.list_trainable(workspace, session, criterion=ABOUT) == []
    import_judgements(
        workspace,
        [NewJudgement(q, p, world.truth[q, p]) for q, p in world.pairs(Split.CALIBRATE)],
        source_name="s2",
        person="Hedy",
        max_grade=3,
    )
    fitted = calibrating.calibrate(workspace, judge_id=judge_id).calibrator_id
    assert fitted is not None
    restore(workspace, grace)
    assert calibrating.get_calibration(workspace, judge_id=judge_id).calibrator_id == fitted


def test_audits_of_an_open_batch_by_a_revoked_person_wait_for_somebody_else(workspace: Workspace) -> None:
    """A certificate would rest on answers that count for nothing, or never be issued."""
    world = certifiable(workspace)
    judge_id = calibrating.find_judge(workspace, "scripted/1")
    batch = certifying.freeze(workspace, judge_id=judge_id, n=N, person="Olga", epsilon=0.3, seed=3)
    world.person("Ada", at_most=10)
    revoke(workspace, person(workspace, "Ada"))
    assert certifying.list_batches(workspace)[0].n_answered == 0
    assert world.person("Bo", at_most=N) == N
    assert certifying.issue(workspace, batch_id=batch.id).accepted > 0


def test_only_an_owner_with_a_reason_revokes(workspace: Workspace) -> None:
    """Anybody at the desk could take a colleague's work out of the training set."""
    add_corpus(workspace)
    add_candidates(workspace)
    add_suggestions(workspace)
    author = judge(workspace, "scripted/1")
    with pytest.raises(NotAllowed, match="no owner"):
        revoking.revoke(workspace, author=author, reason="because", person="Somebody")
    with pytest.raises(InputInvalid, match="reason"):
        revoking.revoke(workspace, author=author, reason="  ", person=workspace.settings.person)
    with pytest.raises(NothingToDo, match="not revoked"):
        restore(workspace, author)
    revoke(workspace, author)
    with pytest.raises(NothingToDo, match="is revoked"):
        revoke(workspace, author)
    with workspace.sessions.begin() as session:
        session.add(Person(name="Lead", kind="reviewer", role=Role.OWNER, created_at=workspace.now()))
    with pytest.raises(NotAllowed, match="no owner"):
        restore(workspace, author)
    revoking.restore(workspace, author=author, reason="checked", person="Lead")
    newest = revoking.list_acts(workspace)[0]
    assert (newest.by, newest.reason) == ("Lead", "checked")


def test_a_definition_changed_meanwhile_keeps_the_certificate_suspended(workspace: Workspace) -> None:
    """A certificate would come back for labels that were made under another definition of what counts."""
    rich(workspace)
    author = judge(workspace, "scripted/1")
    with workspace.sessions.begin() as session:
        session.execute(sa.update(JudgeRow).values(kind=JudgeKind.LLM))  # only LLMs read definitions
        certificate_id, certified = session.execute(
            sa.select(Decision.certificate_id, Query.external_id)
            .join(Pair, Pair.query_id == Query.id)
            .join(Decision, Decision.pair_id == Pair.id)
            .where(Decision.certificate_id.is_not(None))
            .limit(1)
        ).one()
    revoke(workspace, author)
    definitions.set_definition(workspace, query=certified, text="Only the first one counts.", person="Olga")
    restore(workspace, author)
    states = {one.id: one.state for one in certifying.list_certificates(workspace)}
    assert states.pop(certificate_id) == "suspended"
    assert set(states.values()) <= {"issued", "refused"}, "the other class rests on nothing that changed"
    with workspace.sessions.read() as session:
        decided = session.scalars(sa.select(Decision.pair_id).where(Decision.certificate_id == certificate_id))
        held = snapshot(workspace)
        assert {held[pair][2] for pair in decided} == {Outcome.REJECTED}


def test_routing_after_a_revocation_leaves_what_it_set_aside_alone(workspace: Workspace) -> None:
    """The next label job's routing would decide anew on what a revoked judge had said."""
    add_corpus(workspace)
    add_candidates(workspace)
    add_suggestions(workspace)
    revoke(workspace, judge(workspace, "scripted/1"))
    routed = routing.route(workspace)
    assert (routed.accepted, routed.rejected) == (0, 0)


def test_calls_under_way_when_their_judge_is_revoked_count_again_with_it(
    any_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels that were paid for are current for no pair ever after, and the judge never asks again."""
    add_corpus(any_workspace)
    add_candidates(any_workspace)
    monkeypatch.setattr(labelling, "STORE_EVERY", 10)
    asked = 0

    def answer(query: str, passage: str) -> int:
        nonlocal asked
        asked += 1
        if asked == 25:
            revoke(any_workspace, judge(any_workspace, "scripted/1"))
        return truth(query, passage)

    labelling.label(any_workspace, scripted_judge(any_workspace, answer))
    with any_workspace.sessions.read() as session:
        said = dict(session.execute(sa.select(Suggestion.pair_id, Suggestion.id)).all())
    assert len(said) > 20
    held = {pair: state[0] for pair, state in snapshot(any_workspace).items()}
    assert set(held.values()) == {None}
    assert len(held) < len(said), "no call was under way"
    restore(any_workspace, judge(any_workspace, "scripted/1"))
    restored = snapshot(any_workspace)
    assert {pair: state[0] for pair, state in restored.items()} == said
    trained = {pair for pair, state in restored.items() if state[2] is not None}
    assert {pair for pair in trained if pair not in held}, "what came meanwhile is not decided about"


def test_a_revocation_asks_the_database_no_more_often_for_more_pairs(tmp_path: Path) -> None:
    """Revoking a judge of 30,000 pairs holds the one writer a minute, and reviewers read "database is locked"."""
    counted = []
    for topics in (TOPICS[:3], TOPICS):
        opened = open_with(settings_from(tmp_path / str(len(topics)), {}))
        add_corpus(opened, topics=topics)
        add_candidates(opened, topics=topics)
        labelling.label(opened, scripted_judge(opened))
        labelling.label(opened, scripted_judge(opened, name="scripted/2"))
        asked = itertools.count()
        sa.event.listen(opened.sessions.engine, "before_cursor_execute", partial(_count, asked))
        routing.route(opened)
        assert (
            revoke(opened, judge(opened, "scripted/2")).n_pairs == restore(opened, judge(opened, "scripted/2")).n_pairs
        )
        counted.append((next(asked), len(snapshot(opened))))
        opened.close()
    (few, n_few), (many, n_many) = counted
    assert n_many - n_few > 40
    assert many - few < 10  # some steps are left out where no question is held out


def _count(asked: Iterator[int], *_: object) -> None:
    next(asked)
