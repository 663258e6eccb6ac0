"""Where a model comes from, down to the authors of its labels, and where a judge's, a person's or a pair's labels went.

Read alone; taking an author's labels out of use is in `revoking.py`.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.config import Speed
from app.errors import InputInvalid
from app.services.indexing import encoder_model
from app.services.lineage_views import (
    Author,
    AuthorChoice,
    AuthorKind,
    AuthorLineage,
    AuthorShare,
    ChainLink,
    LabelSetView,
    LineageLabel,
    LineagePage,
    ModelChoice,
    ModelLineage,
    ModelUse,
    PairLineage,
    PairUse,
    RunFacts,
    SetUse,
    SourceShare,
)
from app.services.recipes import FROM_BASE
from db.enums import LabelSource, ModelKind, Visibility
from db.errors import NotFound
from db.models import JudgeRow, LabelSet, ModelVersion, Person
from db.queries import lineage as queries
from db.queries.lineage import AuthorCount, ItemFilter, ItemRow
from db.queries.pairs import get_record_or_raise
from db.queries.registry import get_live, get_model_or_raise
from db.queries.standing import revoked_judges, revoked_people
from db.queries.training import criterion_of_model, get_run_of_model

PASSAGE_START = 160
"""Characters of a passage that a list shows."""


# Forth: from a model


def list_models(workspace: Workspace) -> tuple[ModelChoice, ...]:
    """Every model, the live one first, then the newest."""
    with workspace.sessions.read() as session:
        live = get_live(session)
        models = session.scalars(sa.select(ModelVersion).order_by(ModelVersion.id.desc())).all()
        choices = []
        for model in sorted(models, key=lambda one: (live is None or one.id != live.id, -one.id)):
            label_set = _label_set_of(session, model.id)
            n_labels = None if label_set is None else label_set.n_labels
            choices.append(ModelChoice(model.id, model.name, model.hash, model.stage, n_labels))
        return tuple(choices)


def get_model_lineage(workspace: Workspace, *, model_id: int) -> ModelLineage:
    """A model with its run, its label set by source and author, and the models it stands on.

    Raises:
        NotFound: there is no such model.
    """
    with workspace.sessions.read() as session:
        model = get_model_or_raise(session, model_id)
        live = get_live(session)
        run = get_run_of_model(session, model.id)
        label_set = _label_set_of(session, model.id)
        facts = None
        if run is not None:
            person = None if run.person_id is None else session.get_one(Person, run.person_id).name
            facts = RunFacts(run.id, run.status, person, run.settings, run.started_at, run.finished_at)
        return ModelLineage(
            id=model.id,
            name=model.name,
            hash=model.hash,
            kind=model.kind,
            stage=model.stage,
            is_live=live is not None and live.id == model.id,
            created_at=model.created_at,
            run=facts,
            label_set=None if label_set is None else _label_set_view(session, label_set),
            chain=_chain(session, model),
        )


def _label_set_of(session: Session, model_id: int) -> LabelSet | None:
    run = get_run_of_model(session, model_id)
    return None if run is None else session.get_one(LabelSet, run.label_set_id)


def _stands_on(session: Session, model: ModelVersion) -> list[tuple[str, ModelVersion]]:
    """The encoder of an adapter, then bases down to the first; each once."""
    found: list[tuple[str, ModelVersion]] = []
    seen, at = {model.id}, model
    while True:
        role, below = ("base", at.base_id) if at.kind is ModelKind.FULL else ("encoder", at.encoder_id)
        if below is None or below in seen:
            return found
        at = get_model_or_raise(session, below)
        seen.add(at.id)
        found.append((role, at))


def _chain(session: Session, model: ModelVersion) -> tuple[ChainLink, ...]:
    below = _stands_on(session, model)
    sets = {one.id: _label_set_of(session, one.id) for _, one in below}
    revoked = queries.count_revoked(session, [one.id for one in sets.values() if one is not None])
    links = []
    for role, one in below:
        label_set = sets[one.id]
        n_labels = 0 if label_set is None else label_set.n_labels
        n_revoked = 0 if label_set is None else revoked.get(label_set.id, 0)
        set_id = None if label_set is None else label_set.id
        links.append(ChainLink(role, one.id, one.name, one.hash, one.kind, one.stage, set_id, n_labels, n_revoked))
    return tuple(links)


def _label_set_view(session: Session, label_set: LabelSet) -> LabelSetView:
    sources = queries.count_by_source(session, label_set.id)
    weight = sum(of_source for _, _, of_source in sources) or 1.0
    authors = queries.count_by_author(session, label_set.id)
    return LabelSetView(
        id=label_set.id,
        hash=label_set.hash[:12],
        criterion=label_set.criterion,
        n_labels=label_set.n_labels,
        n_queries=label_set.n_queries,
        n_revoked=sum(one.n_labels for one in authors if one.revoked),
        frozen_by=None if label_set.person_id is None else session.get_one(Person, label_set.person_id).name,
        created_at=label_set.created_at,
        sources=tuple(SourceShare(source, n, of_source / weight) for source, n, of_source in sources),
        authors=tuple(
            AuthorShare(_author(one), one.n_labels, one.weight / weight, one.n_certified, one.n_blind, one.revoked)
            for one in authors
        ),
    )


def _author(one: AuthorCount) -> Author:
    if one.judge_id is not None:
        return Author(AuthorKind.JUDGE, one.name, (one.judge_id,), (one.prompt_version,))
    return Author(AuthorKind.PERSON, one.name, () if one.person_id is None else (one.person_id,), ())


def count_revoked_of(workspace: Workspace, model_ids: Collection[int]) -> dict[int, int]:
    """Model -> labels since revoked that it, or a model it stands on, was trained on; models without one are left out.

    For marks beside models.
    """
    with workspace.sessions.read() as session:
        sets: dict[int, set[int]] = {}
        for model_id in model_ids:
            model = get_model_or_raise(session, model_id)
            of_model = [_label_set_of(session, one.id) for one in (model, *(m for _, m in _stands_on(session, model)))]
            sets[model_id] = {one.id for one in of_model if one is not None}
        revoked = queries.count_revoked(session, {one for of_model in sets.values() for one in of_model})
    counted = {model_id: sum(revoked.get(one, 0) for one in of_model) for model_id, of_model in sets.items()}
    return {model_id: number for model_id, number in counted.items() if number}


def settings_without_revoked(workspace: Workspace) -> dict[str, object]:
    """Overrides of a training run under which no model lies that learnt revoked labels; none where none would.

    An adapter is trained for the live encoder, and an anchored training may start from it: where that one learnt
    labels since revoked, the encoder is trained anew, from the first base.
    """
    with workspace.sessions.read() as session:
        live = get_live(session)
        if live is None:
            return {}
        encoder = encoder_model(session, live).id
    if not count_revoked_of(workspace, [encoder]):
        return {}
    speed = workspace.settings.speed
    return {"speed": Speed.FULL_ADAPTER if speed is Speed.ADAPTER else speed, "start_from": FROM_BASE}


def list_labels(
    workspace: Workspace,
    *,
    label_set_id: int,
    source: LabelSource | None = None,
    author: Author | None = None,
    text: str = "",
    offset: int = 0,
    limit: int = 50,
) -> LineagePage:
    """A page of the labels of a label set, by pair; of a pair that people judge blind, its texts alone.

    Narrowed to a source or an author, such pairs are left out: being in the list would tell.

    Raises:
        NotFound: there is no such label set.
    """
    with workspace.sessions.read() as session:
        label_set = session.get(LabelSet, label_set_id)
        if label_set is None:
            raise NotFound(f"there is no label set {label_set_id}")
        only = ItemFilter(
            source=source,
            judge_id=author.ids[0] if author is not None and author.kind is AuthorKind.JUDGE else None,
            person_id=author.ids[0] if author is not None and author.kind is AuthorKind.PERSON else None,
            text=text,
        )
        rows, total = queries.list_items(session, label_set, only=only, offset=offset, limit=limit)
        return LineagePage(tuple(_label(row, concealed=row.concealed) for row in rows), total, offset)


def _label(row: ItemRow, *, concealed: bool) -> LineageLabel:
    start = " ".join(row.passage_text.split())
    start = start if len(start) <= PASSAGE_START else start[: PASSAGE_START - 1] + "…"
    if concealed:
        return LineageLabel(
            row.pair_id, row.query, row.passage_title, start, True, None, None, None, None, None, None, None
        )
    by_people = row.source in queries.PEOPLE
    author = row.person if by_people else _judge_text(row.judge, row.prompt_version)
    return LineageLabel(
        pair_id=row.pair_id,
        query=row.query,
        passage_title=row.passage_title,
        passage_start=start,
        concealed=False,
        grade=row.grade,
        weight=row.weight,
        source=row.source,
        author=author,
        at=row.reviewed_at if by_people else row.suggested_at,
        blind=row.visibility is Visibility.BLIND if by_people else None,
        certificate_id=None if by_people else row.certificate_id,
    )


def _judge_text(name: str | None, version: str | None) -> str | None:
    return None if name is None else f"{name} (prompt {(version or '')[:8]})"


# Back: from an author or a pair


def list_authors(workspace: Workspace) -> tuple[AuthorChoice, ...]:
    """Every judge, by prompt version, and every person whose labels there are; judges first."""
    with workspace.sessions.read() as session:
        judges, people = queries.list_label_authors(session)
        gone_judges, gone_people = set(session.scalars(revoked_judges())), set(session.scalars(revoked_people()))
        choices = [
            AuthorChoice(Author(AuthorKind.JUDGE, one.name, (one.id,), (one.prompt_version,)), one.id in gone_judges)
            for one in judges
        ]
        return tuple(choices) + tuple(
            AuthorChoice(Author(AuthorKind.PERSON, one.name, (one.id,), ()), one.id in gone_people) for one in people
        )


def find_author(
    workspace: Workspace, *, judge: str | None = None, prompt: str | None = None, person: str | None = None
) -> Author:
    """The judge of that name, in every prompt version and criterion or in those of one version, or the person.

    `prompt`: how the prompt's version begins.

    Raises:
        InputInvalid: both or neither are named.
        NotFound: there is nobody of that name.
    """
    if (judge is None) == (person is None):
        raise InputInvalid("name a judge or a person", user_message="Name one judge or one person, and not both.")
    with workspace.sessions.read() as session:
        if judge is not None:
            rows = session.scalars(
                sa.select(JudgeRow)
                .where(JudgeRow.name == judge, JudgeRow.prompt_version.startswith(prompt or "", autoescape=True))
                .order_by(JudgeRow.id)
            ).all()
            if not rows:
                raise NotFound(f"there is no judge {judge!r}", user_message=f"There is no judge called {judge}.")
            versions = tuple(row.prompt_version for row in rows)
            return Author(AuthorKind.JUDGE, judge, tuple(row.id for row in rows), versions)
        found = session.scalar(sa.select(Person).where(Person.name == person))
        if found is None:
            raise NotFound(f"there is nobody called {person!r}", user_message=f"There is nobody called {person}.")
        return Author(AuthorKind.PERSON, found.name, (found.id,), ())


def criterion_of(workspace: Workspace, author: Author) -> Criterion:
    """What was trained on an author's labels: where it was for both, or never, what the live model's labels are about,
    relevance for a base model. A judge that proposes for one criterion alone has that.
    """
    with workspace.sessions.read() as session:
        used = {use.criterion for use in uses_of(session, author)}
        if not used and author.kind is AuthorKind.JUDGE:
            used = {session.get_one(JudgeRow, judge_id).criterion for judge_id in author.ids}
        if len(used) == 1:
            return used.pop()
        live = get_live(session)
        return Criterion.RELEVANCE if live is None else criterion_of_model(session, live.id)


def get_author_lineage(workspace: Workspace, *, author: Author) -> AuthorLineage:
    """Every label set and model that used this author's labels, newest first."""
    with workspace.sessions.read() as session:
        of_judge = author.kind is AuthorKind.JUDGE
        gone = set(session.scalars(revoked_judges() if of_judge else revoked_people()))
        judge_ids = author.ids if of_judge else ()
        person_id = None if of_judge else author.ids[0]
        return AuthorLineage(
            author=author,
            revoked=set(author.ids) <= gone,
            n_said=queries.count_said(session, judge_ids=judge_ids, person_id=person_id),
            uses=uses_of(session, author),
        )


def uses_of(session: Session, author: Author) -> tuple[SetUse, ...]:
    """The label sets and models that used an author's labels, newest first."""
    of_judge = author.kind is AuthorKind.JUDGE
    counted = queries.count_uses(
        session, judge_ids=author.ids if of_judge else (), person_id=None if of_judge else author.ids[0]
    )
    totals = queries.sum_weights(session, counted)
    found = []
    for label_set_id in sorted(counted, reverse=True):
        label_set = session.get_one(LabelSet, label_set_id)
        n_labels, weight = counted[label_set_id]
        share = weight / (totals[label_set_id] or 1.0)
        found.append(
            SetUse(
                label_set=label_set.hash[:12],
                criterion=label_set.criterion,
                created_at=label_set.created_at,
                n_labels=n_labels,
                n_all=label_set.n_labels,
                share=share,
                models=_models_of(session, label_set_id, n_labels=n_labels, share=share),
            )
        )
    return tuple(found)


def _models_of(session: Session, label_set_id: int, *, n_labels: int, share: float) -> tuple[ModelUse, ...]:
    """The models trained on a label set, and the adapters that stand on one of them."""
    live = get_live(session)
    found: dict[int, ModelUse] = {}
    for model in queries.list_models_of(session, [label_set_id]).get(label_set_id, []):
        adapters = session.scalars(
            sa.select(ModelVersion).where(ModelVersion.encoder_id == model.id).order_by(ModelVersion.id.desc())
        )
        for one, through in ((model, None), *((adapter, model.name) for adapter in adapters)):
            use = ModelUse(
                id=one.id,
                name=one.name,
                hash=one.hash,
                kind=one.kind,
                stage=one.stage,
                is_live=live is not None and live.id == one.id,
                n_labels=n_labels,
                share=share,
                through=through,
            )
            if through is None or one.id not in found:
                found[one.id] = use
    return tuple(found.values())


def find_pair(workspace: Workspace, *, query: str, passage: str) -> int:
    """The pair of a query and a passage, by their ids outside the database.

    Raises:
        NotFound: there is no such pair.
    """
    with workspace.sessions.read() as session:
        pair_id = queries.find_pair(session, query=query, passage=passage)
    if pair_id is None:
        raise NotFound(
            f"there is no pair of {query!r} and {passage!r}",
            user_message=f"The query {query} and the passage {passage} make no pair in this workspace.",
        )
    return pair_id


def get_pair_lineage(workspace: Workspace, *, pair_id: int) -> PairLineage:
    """Every label set and model that used a label of this pair; of one that people judge blind, only which.

    Raises:
        NotFound: there is no such pair.
    """
    with workspace.sessions.read() as session:
        items = queries.list_items_of_pair(session, pair_id)
        # A label set is of one criterion, and so is what conceals its pair.
        records = {
            criterion: get_record_or_raise(session, pair_id=pair_id, criterion=criterion)
            for criterion in {label_set.criterion for label_set, _ in items}
        }
        any_record = next(iter(records.values()), None) or get_record_or_raise(
            session, pair_id=pair_id, criterion=Criterion.RELEVANCE
        )
        uses = tuple(
            PairUse(
                label_set=label_set.hash[:12],
                created_at=label_set.created_at,
                label=_label(row, concealed=records[label_set.criterion].concealed),
                models=_models_of(session, label_set.id, n_labels=1, share=0.0),
            )
            for label_set, row in items
        )
        return PairLineage(
            pair_id=pair_id,
            query_id=any_record.query.external_id,
            query=any_record.query.text,
            passage_id=any_record.passage.external_id,
            passage_title=any_record.passage.title,
            passage_text=any_record.passage.text,
            concealed=any_record.concealed or any(record.concealed for record in records.values()),
            uses=uses,
        )
