"""Freezing a label set: the curated grades of the train questions and the soft targets beside them, hashed."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services.label_weights import weigh_accepted, weight_of
from app.services.recipes import CURRICULA, HumanStage
from app.services.soft_targets import list_soft_targets
from app.services.views import TrainableLabels
from db.enums import LabelSource, Split
from db.models import LabelSet, LabelSetItem
from db.queries import training as training_queries
from db.queries.counts import count_uncertified_curated
from db.queries.people import person_named
from db.queries.suspending import suspend_other_scales
from db.queries.training import CuratedLabel, LabelledText
from retriever.training_lists import IRRELEVANT_BELOW
from retriever.types import GradedList, LabelledPassage, TrainingStage

NO_CHANGE = HumanStage()


def get_trainable(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> TrainableLabels:
    """What the next label set would hold, and why training could not start with it."""
    with workspace.sessions.read() as session:
        labels = _list_unweighted(workspace, session, criterion=criterion)
        n_uncertified = count_uncertified_curated(session, criterion=criterion, split=Split.TRAIN)
    counts = Counter(str(label.source) for label in labels)
    return TrainableLabels(
        n_labels=len(labels),
        n_queries=len({label.query_id for label in labels}),
        counts=dict(counts),
        n_uncertified=n_uncertified,
        problem=_problem(workspace, labels),
    )


def _problem(workspace: Workspace, labels: list[CuratedLabel]) -> str | None:
    if not labels:
        return "No label of a train question is accepted or audited yet. Label and review first."
    relevant_from = workspace.settings.relevant_from
    relevant = {label.query_id for label in labels if label.grade >= relevant_from}
    if not relevant:
        return f"No curated label is relevant (grade {relevant_from} or more) yet. Review some pairs first."
    return None


def freeze(
    workspace: Workspace, session: Session, *, criterion: Criterion, person: str, judge: str | None = None
) -> LabelSet:
    """The label set of what is trainable now; the same grades and weights give the same, already stored set.

    With a judge's name it holds instead all that this judge proposed for train questions and nothing else, accepted or
    not: that is how the judges' labels are compared by the retrievers they make.

    Raises:
        NothingToDo: there is nothing to train on yet.
    """
    suspend_other_scales(session, workspace.scale, workspace.now())
    if judge is None:
        labels = list_trainable(workspace, session, criterion=criterion)
    else:
        labels = training_queries.list_proposed(session, judge=judge, criterion=criterion)
        if not labels:
            raise NothingToDo(f"the judge {judge!r} proposed nothing for a train question")
    problem = _problem(workspace, labels)
    if problem is not None:
        raise NothingToDo(problem)
    label_hash = _hash(criterion, labels)
    known = session.scalar(sa.select(LabelSet).where(LabelSet.hash == label_hash))
    if known is not None:
        return known
    now = workspace.now()
    label_set = LabelSet(
        hash=label_hash,
        criterion=criterion,
        n_labels=len(labels),
        n_queries=len({label.query_id for label in labels}),
        counts=dict(Counter(str(label.source) for label in labels)),
        person_id=person_named(session, person, now=now).id,
        created_at=now,
    )
    session.add(label_set)
    session.flush()
    session.execute(
        sa.insert(LabelSetItem),
        [
            {
                "label_set_id": label_set.id,
                "pair_id": label.pair_id,
                "grade": float(label.grade),
                "weight": weight_of(label),
                "source": label.source,
                "suggestion_id": label.suggestion_id,
                "decision_id": label.decision_id,
                "review_id": label.review_id,
            }
            for label in labels
        ],
    )
    return label_set


def list_trainable(workspace: Workspace, session: Session, *, criterion: Criterion) -> list[CuratedLabel]:
    """What may train: the curated grades and, beside them, calibrated soft targets of what nobody accepted or audited.

    Accepted and trainable are two things: only what is accepted under a certificate carries an error bound.
    """
    labels = _list_unweighted(workspace, session, criterion=criterion)
    return weigh_accepted(workspace, session, labels, criterion=criterion)


def _list_unweighted(workspace: Workspace, session: Session, *, criterion: Criterion) -> list[CuratedLabel]:
    curated = training_queries.list_curated(session, criterion=criterion)
    return curated + list_soft_targets(workspace, session, criterion=criterion)


def is_trained(workspace: Workspace, session: Session, *, criterion: Criterion) -> bool:
    """Whether a finished run has already trained on the labels that are trainable now.

    Weights and expected grades do not count: they move with every calibrator and every pooling, and nobody said more.
    """
    labels = _list_unweighted(workspace, session, criterion=criterion)
    now = {_said(label.pair_id, label.source, label.grade) for label in labels}
    return any(
        now == {_said(*item) for item in training_queries.list_items(session, label_set_id)}
        for label_set_id in training_queries.list_trained_sets(session, criterion=criterion, n_labels=len(labels))
    )


def _said(pair_id: int, source: LabelSource, grade: float) -> tuple[int, LabelSource, float | None]:
    return pair_id, source, None if source is LabelSource.PROPOSED else grade


def _hash(criterion: Criterion, labels: list[CuratedLabel]) -> str:
    digest = hashlib.sha256(f"{criterion}\n".encode())
    # In Python's order: each database sorts text by rules of its own.
    for label in sorted(labels, key=lambda label: (label.query_key, label.passage_key)):
        line = "\t".join(
            [label.query_key, label.passage_key, f"{label.grade:g}", str(label.source), f"{weight_of(label):.6f}"]
        )
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


LLM_STAGE, HUMAN_STAGE, UNION_STAGE = "LLM labels", "human labels", "all labels"


def stage_names(curriculum: str) -> tuple[str, ...]:
    """The stages that a curriculum trains in order, where there are labels for each."""
    return {
        "curriculum": (LLM_STAGE, HUMAN_STAGE),
        "union": (UNION_STAGE,),
        "human": (HUMAN_STAGE,),
        "llm": (LLM_STAGE,),
    }[curriculum]


def load_stages(
    session: Session,
    label_set_id: int,
    *,
    relevant_from: int,
    curriculum: str = CURRICULA[0],
    human: HumanStage = NO_CHANGE,
) -> list[TrainingStage]:
    """A frozen label set as the stages of a curriculum; one without a list that has a positive is left out.

    What the LLM and the retriever labelled (accepted, self-labelled, soft targets) comes first, what people graded
    last: on both at once a retriever came out far worse than on either order of the two. What a person said of a pair
    holds over the judge there too: in a curriculum the first stage has all labels of the questions that a judge
    labelled, or an audited answer and the negatives that the judge found for it would never meet; questions that
    people alone graded wait for the last stage. `human` holds for people's labels after those of the LLM, not where
    they are all there is.
    Source: Zhang et al., arXiv 2504.05220, tables on curriculum and union; that audits overwrite grades, arXiv
    2502.03699; people's grades in the first stage are our choice.
    """
    by_people = training_queries.HUMAN
    items = list(training_queries.stream_items(session, label_set_id))
    judged = {item.query_key for item in items if item.source not in by_people} if curriculum == CURRICULA[0] else ()
    chosen: dict[str, Callable[[LabelledText], bool]] = {
        LLM_STAGE: lambda item: item.source not in by_people or item.query_key in judged,
        HUMAN_STAGE: lambda item: item.source in by_people,
        UNION_STAGE: lambda item: True,
    }
    stages: list[TrainingStage] = []
    for name in stage_names(curriculum):
        lists = _lists([item for item in items if chosen[name](item)], relevant_from=relevant_from)
        if not any(passage.grade >= relevant_from for entry in lists for passage in entry.passages):
            continue
        after = human if name == HUMAN_STAGE and stages else NO_CHANGE
        stages.append(
            TrainingStage(
                name=name,
                lists=tuple(lists),
                epochs=after.epochs,
                learning_rate=after.learning_rate,
                one_positive=after.one_positive,
            )
        )
    return stages


def _lists(items: Iterable[LabelledText], *, relevant_from: int) -> list[GradedList]:
    """The labels as graded lists, one a question, in the order in which a long list is to be cut from its end.

    Positives first, then what training takes for a negative, then the grades between; within each the surest label,
    then the highest grade, then the best rank in the pool, for the hardest negatives teach most. Our choice.
    """
    lists: dict[str, tuple[str, list[tuple[tuple[float, ...], LabelledPassage]]]] = {}
    for item in items:
        passages = lists.setdefault(item.query_key, (item.query, []))[1]
        text = f"{item.title} {item.text}" if item.title else item.text
        side = 0 if item.grade >= relevant_from else 1 if item.grade < IRRELEVANT_BELOW else 2
        rank = math.inf if item.rank is None else item.rank
        passage = LabelledPassage(passage_id=item.passage_key, text=text, grade=item.grade, weight=item.weight)
        passages.append(((side, -item.weight, -item.grade, rank), passage))
    return [
        GradedList(
            query_id=query_id,
            query=query,
            passages=tuple(passage for _, passage in sorted(passages, key=lambda p: (p[0], p[1].passage_id))),
        )
        for query_id, (query, passages) in sorted(lists.items())
    ]
