"""Reviews and retrainings put into a workspace row by row, so that a test can say who said what, when and how."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from db.enums import ModelStage, PersonKind, ReviewAction, Role, RunStatus, Split, Visibility
from db.models import Evaluation, LabelSet, ModelVersion, Pair, Passage, Person, Query, Review, TrainingRun

NOW = datetime(2026, 5, 6, 12, 0, tzinfo=UTC)  # a Wednesday


def person(workspace: Workspace, name: str, role: Role = Role.REVIEWER) -> int:
    """The id of that person, made with the role if new."""
    with workspace.sessions.begin() as session:
        found = session.scalar(sa.select(Person.id).where(Person.name == name))
        if found is not None:
            return found
        made = Person(name=name, kind=PersonKind.REVIEWER, role=role, created_at=NOW)
        session.add(made)
        session.flush()
        return made.id


def all_pairs(workspace: Workspace) -> dict[tuple[str, str], int]:
    """(question id, passage id) of the source -> pair id, in the order of the ids."""
    with workspace.sessions.read() as session:
        rows = session.execute(
            sa.select(Query.external_id, Passage.external_id, Pair.id)
            .join(Pair, Pair.query_id == Query.id)
            .join(Passage, Passage.id == Pair.passage_id)
            .order_by(Pair.id)
        )
        return {(row[0], row[1]): row[2] for row in rows}


def said(pair_id: int, name: str, grade: int | None = None, **given: Any) -> dict[str, Any]:
    """One review by that person, a blind grade or a skip unless told otherwise, to be stored by `say_all`."""
    return {
        "pair_id": pair_id,
        "name": name,
        "grade": grade,
        "action": ReviewAction.GRADE if grade is not None else ReviewAction.SKIP,
        "visibility": Visibility.BLIND,
        "seconds": 10.0,
        "created_at": NOW,
        "note": "",
        "criterion": Criterion.RELEVANCE,
        **given,
    }


def say_all(workspace: Workspace, rows: Iterable[dict[str, Any]]) -> list[int]:
    """The ids of these reviews, stored in one transaction; people are made where they are new."""
    with workspace.sessions.begin() as session:
        known: dict[str, int] = {row.name: row.id for row in session.execute(sa.select(Person.name, Person.id))}
        reviews = []
        for row in rows:
            name = row["name"]
            if name not in known:
                made = Person(name=name, kind=PersonKind.REVIEWER, role=Role.REVIEWER, created_at=NOW)
                session.add(made)
                session.flush()
                known[name] = made.id
            reviews.append(Review(person_id=known[name], **{key: row[key] for key in row if key != "name"}))
        session.add_all(reviews)
        session.flush()
        return [review.id for review in reviews]


def say(workspace: Workspace, pair_id: int, name: str, grade: int | None = None, **given: Any) -> int:
    """Stores one review; returns its id."""
    return say_all(workspace, [said(pair_id, name, grade, **given)])[0]


def undo(workspace: Workspace, review_id: int, **given: Any) -> int:
    """Takes a review back, as its author."""
    with workspace.sessions.read() as session:
        taken = session.get_one(Review, review_id)
        name = session.get_one(Person, taken.person_id).name
    return say(workspace, taken.pair_id, name, action=ReviewAction.UNDO, undoes_id=review_id, seconds=None, **given)


def retrained(
    workspace: Workspace,
    name: str,
    *,
    at: datetime,
    against: int | None = None,
    gain: tuple[float, float, float] = (0.0, 0.0, 0.0),
    n: int = 50,
) -> tuple[int, int]:
    """A finished run on labels frozen at that moment, measured beside a model; returns the ids of model and run.

    gain: nDCG@10, mean, low and high, over n held-out questions.
    """
    with workspace.sessions.begin() as session:
        model = ModelVersion(
            hash=name.ljust(64, "0"), name=name, path=name, dim=4, stage=ModelStage.CANDIDATE, created_at=at
        )
        labels = LabelSet(
            hash=f"l-{name}".ljust(64, "0"),
            criterion=Criterion.RELEVANCE,
            n_labels=1,
            n_queries=1,
            counts={},
            created_at=at,
        )
        session.add_all([model, labels])
        session.flush()
        evaluation = None
        if against is not None:
            mean, low, high = gain
            difference = {"mean": mean, "low": low, "high": high, "p": 0.5, "n": n}
            evaluation = Evaluation(
                model_version_id=model.id,
                baseline_model_id=against,
                label_set_id=labels.id,
                split=Split.HELD_OUT,
                criterion=Criterion.RELEVANCE,
                qrels_hash="q",
                look=1,
                n_queries=n,
                n_judgements=n,
                measures={},
                comparison={"slices": {"all": {"nDCG@10": difference}}},
                per_query=[],
                gate_passed=False,
                gate_reasons=[],
                created_at=at,
            )
            session.add(evaluation)
            session.flush()
        run = TrainingRun(
            active=None,
            workflow_id=name,
            label_set_id=labels.id,
            base_model_id=model.id if against is None else against,
            model_version_id=model.id,
            evaluation_id=None if evaluation is None else evaluation.id,
            status=RunStatus.DONE,
            stage="done",
            settings={},
            report={},
            created_at=at,
        )
        session.add(run)
        session.flush()
        return model.id, run.id
