"""What the Lineage screen and the verbs `lineage` and `revoke` show: frozen values, no rows of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from annotator.types import Criterion
from db.enums import LabelSource, ModelKind, ModelStage, RevocationAct, RunStatus

MOST_NAMES = 3
"""Models that a sentence names."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """ "1 label", "12,345 labels"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


class AuthorKind(StrEnum):
    """Whose labels they are."""

    JUDGE = "judge"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Author:
    """A judge or a person. `ids`: of a judge one a prompt version, model or criterion, with `versions` beside them."""

    kind: AuthorKind
    name: str
    ids: tuple[int, ...]
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuthorChoice:
    """An author as one can be picked: a judge with one prompt version, or a person."""

    author: Author
    revoked: bool


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model that was trained on some labels: how many of its label set's, and their share of the set's weight.

    through: the encoder of an adapter, where it was the encoder that was trained on them; else None.
    """

    id: int
    name: str
    hash: str
    kind: ModelKind
    stage: ModelStage
    is_live: bool
    n_labels: int
    share: float
    through: str | None = None


@dataclass(frozen=True, slots=True)
class SourceShare:
    """One source's part of a label set; `share` of the weight, in [0, 1]."""

    source: LabelSource
    n_labels: int
    share: float


@dataclass(frozen=True, slots=True)
class AuthorShare:
    """One author's part of a label set. n_certified: of a judge's labels, those under a certificate; n_blind: of a
    person's, those given blind. `share` of the weight, in [0, 1].
    """

    author: Author
    n_labels: int
    share: float
    n_certified: int
    n_blind: int
    revoked: bool


@dataclass(frozen=True, slots=True)
class LabelSetView:
    """What a model was trained on: the frozen labels, by source and by author. n_revoked: by authors revoked now."""

    id: int
    hash: str
    criterion: Criterion
    n_labels: int
    n_queries: int
    n_revoked: int
    frozen_by: str | None
    created_at: datetime
    sources: tuple[SourceShare, ...]
    authors: tuple[AuthorShare, ...]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The training run that made a model."""

    id: int
    status: RunStatus
    person: str | None
    settings: Mapping[str, object]
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ChainLink:
    """A model that another one stands on: the encoder whose passages an adapter searches, or the base of a fine-tune.

    n_revoked: of the labels that this link itself was trained on.
    """

    role: str
    id: int
    name: str
    hash: str
    kind: ModelKind
    stage: ModelStage
    label_set_id: int | None
    n_labels: int
    n_revoked: int


@dataclass(frozen=True, slots=True)
class ModelLineage:
    """A model and all that it came from; run and label set are None for a model that came as it is."""

    id: int
    name: str
    hash: str
    kind: ModelKind
    stage: ModelStage
    is_live: bool
    created_at: datetime
    run: RunFacts | None
    label_set: LabelSetView | None
    chain: tuple[ChainLink, ...]

    @property
    def n_revoked(self) -> int:
        """Labels since revoked that this model or one it stands on was trained on, each label set counted once."""
        by_set = {link.label_set_id: link.n_revoked for link in self.chain}
        if self.label_set is not None:
            by_set[self.label_set.id] = self.label_set.n_revoked
        return sum(by_set.values())


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model as one can be picked."""

    id: int
    name: str
    hash: str
    stage: ModelStage
    n_labels: int | None


@dataclass(frozen=True, slots=True)
class LineageLabel:
    """One label of a label set. Concealed: people judge the pair blind now, and nothing is said of the label.

    grade: may be an expected one, between two. blind: of a person's label. certificate_id: of an accepted one.
    """

    pair_id: int
    query: str
    passage_title: str
    passage_start: str
    concealed: bool
    grade: float | None
    weight: float | None
    source: LabelSource | None
    author: str | None
    at: datetime | None
    blind: bool | None
    certificate_id: int | None


@dataclass(frozen=True, slots=True)
class LineagePage:
    rows: tuple[LineageLabel, ...]
    total: int
    offset: int


@dataclass(frozen=True, slots=True)
class SetUse:
    """A label set that uses an author's labels: how many of all its labels, and their share of the weight."""

    label_set: str
    criterion: Criterion
    created_at: datetime
    n_labels: int
    n_all: int
    share: float
    models: tuple[ModelUse, ...]


@dataclass(frozen=True, slots=True)
class AuthorLineage:
    """An author and every label set and model that used their labels, newest first. n_said: proposals or grades ever
    given, whether they count or not.
    """

    author: Author
    revoked: bool
    n_said: int
    uses: tuple[SetUse, ...]

    @property
    def models(self) -> tuple[ModelUse, ...]:
        """Each model once, with its labels of this author in the newest of its label sets."""
        found: dict[int, ModelUse] = {}
        for use in self.uses:
            for model in use.models:
                found.setdefault(model.id, model)
        return tuple(sorted(found.values(), key=lambda model: (not model.is_live, -model.id)))


@dataclass(frozen=True, slots=True)
class PairUse:
    """One pair's label in one label set, and the models that were trained on it."""

    label_set: str
    created_at: datetime
    label: LineageLabel
    models: tuple[ModelUse, ...]


@dataclass(frozen=True, slots=True)
class PairLineage:
    """One pair and every label set and model that used a label of it, newest first."""

    pair_id: int
    query_id: str
    query: str
    passage_id: str
    passage_title: str
    passage_text: str
    concealed: bool
    uses: tuple[PairUse, ...]


@dataclass(frozen=True, slots=True)
class Consequences:
    """What revoking somebody would do now; nothing is written.

    n_labels: grades of train questions that count now and would not. n_fallback: of these, those for which another
    judge or person has said something. n_soft: proposals that train as soft targets and would not. n_held_out:
    judgements that evaluations count and would not. n_accepted: pairs accepted under the certificates that would be
    suspended. n_calibrators: those that would have to be fitted again. models: those trained on the labels.
    """

    author: Author
    n_labels: int
    n_fallback: int
    n_soft: int
    n_held_out: int
    n_certificates: int
    n_accepted: int
    n_batches: int
    n_calibrators: int
    n_jobs: int
    models: tuple[ModelUse, ...]

    @property
    def live_model(self) -> ModelUse | None:
        """The live model, if it was trained on the labels."""
        return next((model for model in self.models if model.is_live), None)

    def sentences(self) -> tuple[str, ...]:
        """What would happen, in words; only what would."""
        said = [
            f"{counted(self.n_labels, 'label')} would leave the next label set"
            + (f"; for {self.n_fallback:,} of them somebody else has said something" if self.n_labels else "")
            + "."
        ]
        if self.n_soft:
            said.append(f"{counted(self.n_soft, 'open proposal')} would train no more as soft targets.")
        if self.n_held_out:
            said.append(f"{counted(self.n_held_out, 'held-out judgement')} would count no more in evaluations.")
        if self.n_certificates:
            said.append(
                f"{counted(self.n_certificates, 'certificate')} would be suspended, and "
                f"{counted(self.n_accepted, 'pair')} accepted under a certificate would go back to people."
            )
        if self.n_batches:
            said.append(f"{counted(self.n_batches, 'open batch', 'open batches')} would be closed for good.")
        if self.n_calibrators:
            said.append(f"{counted(self.n_calibrators, 'calibrator')} would hold no more until fitted again.")
        if self.n_jobs:
            said.append(f"{counted(self.n_jobs, 'label job')} under way would be stopped.")
        if self.models:
            names = ", ".join(f"{one.name}{' (live)' if one.is_live else ''}" for one in self.models[:MOST_NAMES])
            more = f" and {len(self.models) - MOST_NAMES:,} more" if len(self.models) > MOST_NAMES else ""
            stay = "stays as it is" if len(self.models) == 1 else "stay as they are"
            said.append(f"{counted(len(self.models), 'model')} trained on these labels {stay}: {names}{more}.")
        else:
            said.append("No model was trained on these labels.")
        if self.live_model is not None:
            said.append("The live model is one of them: retrain, or roll back.")
        return tuple(said)


@dataclass(frozen=True, slots=True)
class RevocationReport:
    """What a revocation, or its end, did.

    n_pairs: pairs computed anew. n_fallback: those that go by another judge now. n_certificates: suspended, or back in
    force. n_waiting: pairs in the audit queues now.
    """

    author: Author
    act: RevocationAct
    reason: str
    n_pairs: int
    n_fallback: int
    n_certificates: int
    n_batches: int
    n_jobs: int
    n_waiting: int

    def sentences(self) -> tuple[str, ...]:
        """What was done, in words."""
        gone = self.act is RevocationAct.REVOKE
        said = [
            f"{self.author.name} is {'revoked' if gone else 'given back'}: "
            f"{counted(self.n_pairs, 'pair')} computed anew."
        ]
        if self.n_fallback:
            said.append(f"{counted(self.n_fallback, 'pair')} go by another judge's proposal now.")
        if self.n_certificates:
            state = "suspended" if gone else "in force again"
            said.append(f"{counted(self.n_certificates, 'certificate')} {state}.")
        if self.n_batches:
            said.append(f"{counted(self.n_batches, 'open batch', 'open batches')} closed.")
        if self.n_jobs:
            said.append(f"{counted(self.n_jobs, 'label job')} asked to stop.")
        said.append(f"{counted(self.n_waiting, 'pair')} wait for people.")
        return tuple(said)


@dataclass(frozen=True, slots=True)
class RevocationEntry:
    """One act of the past."""

    at: datetime
    act: RevocationAct
    author: str
    by: str
    reason: str
