"""A small workspace in a few calls, made by the real services: passages, questions, candidates, suggestions, audits.

Twenty everyday topics: the first twelve questions train, the last eight are held out. A topic has three passages: the
first answers its question, the second answers it partly, the third is about the same thing only. `truth` grades any
pair, so a test can say what a careful person would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from annotator.judges.scripted import Scripted, ScriptedJudge
from annotator.routing import BareThreshold
from annotator.types import JudgeRequest
from app.bootstrap import Workspace
from app.services import labelling, reviewing, routing
from app.services.importing import (
    NewCandidate,
    NewJudgement,
    NewQuery,
    import_candidates,
    import_judgements,
    import_passages,
    import_queries,
)
from app.services.indexing import index_name
from db.enums import ModelStage, PromotionCause, Split
from db.models import IndexVersion, LiveModel, ModelVersion, Pair, Passage, Promotion, Query
from db.queries.registry import hash_corpus

N_TRAIN = 12


@dataclass(frozen=True)
class Topic:
    name: str
    question: str
    answer: str
    partly: str
    related: str


TOPICS = (
    Topic(
        "bread",
        "why does my sourdough not rise",
        "A loaf that stays flat mostly has a starter that is too young or was fed too long ago to make gas.",
        "Dough grows slowly in a cold kitchen; give it more hours.",
        "Sourdough was the usual bread before baker's yeast was sold.",
    ),
    Topic(
        "bicycle",
        "how do I stop a chain from slipping",
        "A chain that jumps under load is worn: replace it together with the sprockets it has ground down.",
        "Check that the rear derailleur is aligned with the cog.",
        "Chains replaced belts on most bicycles around 1890.",
    ),
    Topic(
        "tomatoes",
        "what makes tomato leaves turn yellow",
        "Lower leaves lose their green when the plant lacks nitrogen or stands in wet soil.",
        "Too much water harms the roots of many vegetables.",
        "Tomatoes came to Europe from the Andes.",
    ),
    Topic(
        "sleep",
        "how can I fall asleep faster",
        "Go to bed at the same hour, leave the phone outside and keep the room cool and dark.",
        "Coffee in the afternoon keeps many people awake.",
        "Adults spend about a third of their life in bed.",
    ),
    Topic(
        "coffee",
        "why is my espresso sour",
        "A sharp cup means too little was extracted: grind finer or let the water run longer.",
        "Light roasts hold more acid than dark ones.",
        "Espresso machines were first shown in Turin.",
    ),
    Topic(
        "paint",
        "how long must wall paint dry before a second coat",
        "Wait four hours for emulsion and a full day for gloss before rolling again.",
        "Warm air and an open window shorten the wait.",
        "White is still the best-selling colour for walls.",
    ),
    Topic(
        "cat",
        "why does a cat scratch the sofa",
        "Clawing furniture sheds old nail sheaths and leaves a mark for others; offer a post beside it.",
        "Citrus spray keeps some pets away from fabric.",
        "Cats were tamed in the Near East some ten thousand years ago.",
    ),
    Topic(
        "passport",
        "how do I renew an expired passport",
        "Fill in the renewal form, add one photo and the old document, and hand it in at the town office.",
        "Photos for official papers must be no older than six months.",
        "Passports carry a chip since 2005.",
    ),
    Topic(
        "guitar",
        "why does my guitar go out of tune",
        "New strings stretch for days, and a dry neck bends; both pull the pitch down.",
        "Wind the string at least twice around the post.",
        "The guitar has six strings since the eighteenth century.",
    ),
    Topic(
        "battery",
        "how do I make a phone battery last longer",
        "Keep the charge between a fifth and four fifths and never leave the phone in the sun.",
        "A dim screen saves energy.",
        "Lithium cells were first sold in 1991.",
    ),
    Topic(
        "running",
        "what helps against knee pain from running",
        "Shorter steps and stronger hips take the load off the joint; rest until stairs no longer hurt.",
        "Old shoes lose their cushioning after 700 kilometres.",
        "The marathon is 42.195 kilometres long.",
    ),
    Topic(
        "window",
        "how do I get rid of condensation on windows",
        "Air the room in short bursts and heat it evenly, so that moist air never meets cold glass.",
        "Drying laundry indoors makes a flat damp.",
        "Double glazing became common in the 1970s.",
    ),
    Topic(
        "rice",
        "how much water does rice need",
        "Take one and a half cups of liquid for a cup of white grains and two for brown.",
        "Rinse the grains until the water is clear.",
        "Rice feeds half of the world.",
    ),
    Topic(
        "tax",
        "when must I file my income tax return",
        "The declaration is due on the last day of July, or in February if an adviser prepares it.",
        "Late filers pay a surcharge each month.",
        "Income was first taxed in Britain in 1799.",
    ),
    Topic(
        "dog",
        "how often should a dog be washed",
        "A bath every two to three months is enough, unless the coat smells or is full of mud.",
        "Use a shampoo made for animals.",
        "Dogs smell many thousand times better than people.",
    ),
    Topic(
        "stain",
        "how do I remove red wine from a carpet",
        "Dab, never rub: blot the wine, then lay on soda water and salt until the colour has gone.",
        "Vinegar loosens many stains.",
        "Carpets from Persia are knotted by hand.",
    ),
    Topic(
        "car",
        "why will my car not start in the cold",
        "Frost halves the power of an old starter battery; have it tested and charged.",
        "Thick oil makes the engine hard to turn.",
        "Cars have electric starters since 1912.",
    ),
    Topic(
        "plants",
        "how do I water plants while on holiday",
        "Lead a wick from a bucket into each pot; it draws what the soil needs for two weeks.",
        "Move pots out of the sun before you leave.",
        "House plants were a fashion of the Victorians.",
    ),
    Topic(
        "egg",
        "how long does a soft boiled egg take",
        "Six minutes in boiling water give a set white and a runny yolk.",
        "Prick the shell so that it does not burst.",
        "Hens lay about three hundred eggs a year.",
    ),
    Topic(
        "noise",
        "what can I do about noisy neighbours",
        "Talk to them first, keep a diary of the times, and then write to the landlord.",
        "Quiet hours begin at ten in the evening.",
        "Sound travels faster in water than in air.",
    ),
)


def passage_ids(topic: Topic) -> tuple[str, str, str]:
    """The ids of the answering, the partly answering and the merely related passage."""
    return f"{topic.name}-answer", f"{topic.name}-partly", f"{topic.name}-related"


def query_id(topic: Topic) -> str:
    return f"q-{topic.name}"


def truth(query: str, passage: str) -> int:
    """The grade a careful person gives; both are ids of the source."""
    topic, _, what = passage.rpartition("-")
    return {"answer": 3, "partly": 2, "related": 1}[what] if query == f"q-{topic}" else 0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def pass_minutes(self, minutes: float) -> None:
        self.at += timedelta(minutes=minutes)


def with_clock(workspace: Workspace, clock: Clock) -> Workspace:
    """The same workspace, its time told by that clock."""
    return replace(workspace, now=clock)


def add_corpus(workspace: Workspace, *, topics: tuple[Topic, ...] = TOPICS) -> None:
    """Passages and questions; the first twelve topics train, the others are held out."""
    rows = [
        (external_id, topic.name, text)
        for topic in topics
        for external_id, text in zip(passage_ids(topic), (topic.answer, topic.partly, topic.related), strict=True)
    ]
    import_passages(workspace, rows, source_name="everyday")
    queries = [
        NewQuery(query_id(topic), topic.question, Split.TRAIN if topic in TOPICS[:N_TRAIN] else Split.HELD_OUT)
        for topic in topics
    ]
    import_queries(workspace, queries, source_name="everyday")


def add_candidates(workspace: Workspace, *, topics: tuple[Topic, ...] = TOPICS) -> None:
    """Six candidates a question without any model: its own three passages, then the three of the next topic."""
    rows = []
    for number, topic in enumerate(topics):
        pool = passage_ids(topic) + passage_ids(topics[(number + 1) % len(topics)])
        for rank, passage in enumerate(pool, start=1):
            rows.append(NewCandidate(query_id(topic), passage, "bm25", rank, 20.0 - rank))
            rows.append(NewCandidate(query_id(topic), passage, "dense:test", rank, 1.0 - rank / 10))
    import_candidates(workspace, rows, source_name="everyday")


def scripted_judge(
    workspace: Workspace,
    script: Callable[[str, str], Scripted] = truth,
    *,
    confidence: float | None = 0.95,
    name: str = "scripted/1",
) -> ScriptedJudge:
    """A judge that answers by the source's ids of question and passage; by default it tells the truth."""
    ids = pair_ids(workspace)
    keys = {pair_id: key for key, pair_id in ids.items()}

    def answer(request: JudgeRequest) -> Scripted:
        return script(*keys[request.pair_id])

    return ScriptedJudge(answer, confidence=confidence, name=name)


def pair_ids(workspace: Workspace) -> dict[tuple[str, str], int]:
    """(question id, passage id) of the source -> pair id."""
    with workspace.sessions.read() as session:
        rows = session.execute(
            sa.select(Query.external_id, Passage.external_id, Pair.id)
            .join(Pair, Pair.query_id == Query.id)
            .join(Passage, Passage.id == Pair.passage_id)
        )
        return {(query, passage): pair_id for query, passage, pair_id in rows}


def add_suggestions(workspace: Workspace, *, threshold: float = 0.9, confidence: float = 0.95) -> None:
    """A true suggestion for every candidate of a train question, decided at that threshold."""
    labelling.label(workspace, scripted_judge(workspace, confidence=confidence))
    routing.route(workspace, policy=BareThreshold(threshold_relevant=threshold, threshold_irrelevant=threshold))


def queued(workspace: Workspace, *, topics: tuple[Topic, ...] = TOPICS) -> Workspace:
    """The workspace with every candidate in the audit queue: suggestions below the threshold, held-out ones bare."""
    add_corpus(workspace, topics=topics)
    add_candidates(workspace, topics=topics)
    add_suggestions(workspace, confidence=0.6)
    return workspace


def audit(workspace: Workspace, *, person: str = "Ada", at_most: int = 10_000) -> int:
    """Grades cards truthfully until the queue is empty, keeping blind grades; returns how many cards."""
    for done in range(at_most):
        card = reviewing.claim(workspace, person=person)
        if card is None:
            return done
        grade = truth(card.pair.query_id, card.pair.passage_id)
        shown = reviewing.grade(workspace, card=card.card, person=person, grade=grade, seconds=1.0)
        if shown is not None:
            reviewing.keep(workspace, card=shown.card.card, person=person, seconds=1.0)
    return at_most


def judge_held_out(workspace: Workspace, *, person: str = "Grace") -> None:
    """True judgements of every passage of its topic for each held-out question, as from a file."""
    judge_topics(workspace, TOPICS[N_TRAIN:], person=person)


def judge_topics(workspace: Workspace, topics: Sequence[Topic], *, person: str) -> None:
    """True judgements of every passage of its topic for each of these questions, as from a file."""
    import_judgements(
        workspace,
        [
            NewJudgement(query_id(topic), passage, truth(query_id(topic), passage))
            for topic in topics
            for passage in passage_ids(topic)
        ],
        source_name="everyday",
        person=person,
        max_grade=3,
    )


def add_model(workspace: Workspace, name: str, *, base_id: int | None = None, live: bool = False) -> int:
    """A model version without weights but with an index row over the corpus as it is; for what never loads it."""
    now = workspace.now()
    with workspace.sessions.begin() as session:
        model = ModelVersion(
            hash=hashlib.sha256(name.encode()).hexdigest(),
            name=name,
            path=f"models/{name}",
            dim=384,
            stage=ModelStage.LIVE if live else ModelStage.CANDIDATE,
            base_id=base_id,
            created_at=now,
        )
        session.add(model)
        session.flush()
        state, n = hash_corpus(session)
        folder = workspace.settings.indexes / name
        folder.mkdir()
        index = IndexVersion(
            system=index_name(model, max_length=workspace.settings.max_length, precision="f32"),
            corpus_hash=state,
            model_version_id=model.id,
            path=f"indexes/{name}",
            n_passages=n,
            created_at=now,
        )
        session.add(index)
        if live:
            session.flush()
            session.add(LiveModel(id=1, model_version_id=model.id, index_version_id=index.id, changed_at=now))
            session.add(
                Promotion(model_version_id=model.id, cause=PromotionCause.FIRST, reason="the first", created_at=now)
            )
        return model.id
