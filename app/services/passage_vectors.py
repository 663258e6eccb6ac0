"""The vectors of all passages by one model, from what is kept of earlier builds; only new texts are encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from app.bootstrap import Workspace
from app.services.encoder_choice import MEASURED_FROM, SAMPLE, choose_backend, count_fall_back
from db.enums import ModelStage
from db.models import ModelVersion
from db.queries import passages_to_encode
from retriever.encoding.backend import PRECISIONS, Precision, precision_of
from retriever.vector_cache import KEY_BYTES, CacheOwner, Keys, StoredVectors, VectorCache, drop_cache, list_caches

if TYPE_CHECKING:
    from retriever.encoder import Encoder

CHUNK = 1024
"""Texts encoded and kept at a time: what a kill or a wish to stop can cost."""


class CorpusChanged(Exception):
    """A passage was changed or deleted, or kept vectors were, while the corpus was encoded; begin again."""


@dataclass(frozen=True, slots=True)
class PassageVectors:
    """Every passage's id from outside and vector, in the corpus's order; `n_encoded` of them were new.

    precision: as exact as this or more.
    """

    ids: tuple[str, ...]
    n_encoded: int
    precision: Precision
    _keys: Keys
    _cache: VectorCache

    def chunks(self) -> Iterator[NDArray[np.float32]]:
        """The vectors, chunk after chunk, (any, dim) float32, L2-normalised.

        Raises: CorpusChanged where somebody has deleted them since.
        """
        for start in range(0, len(self._keys), CHUNK):
            yield _vectors(self._cache, self._keys[start : start + CHUNK])


def vectors_folder(workspace: Workspace) -> Path:
    """Where vectors are kept between builds."""
    return workspace.settings.workspace / "vectors"


def encode_passages(
    workspace: Workspace,
    model: ModelVersion,
    *,
    load: Callable[[], Encoder],
    progress: Callable[[int, int], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> PassageVectors:
    """The vectors of the corpus as it is now by a full model; `load` opens its encoder, if there is anything to encode.

    progress(done, total) counts the texts that were not known. Each chunk is kept as soon as it is encoded, also when
    it is the last before a kill. Memory: ids, 16 bytes a passage, and a chunk of texts and vectors.

    Raises:
        EncodingCancelled: `should_cancel` said so; what was encoded is kept.
        CorpusChanged: an import changed a passage meanwhile, or kept vectors were deleted.
    """
    rows: list[int] = []
    ids: list[str] = []
    joined = bytearray()
    with workspace.sessions.read() as session:
        for passage_id, external_id, text_hash in passages_to_encode.stream_text_hashes(session):
            rows.append(passage_id)
            ids.append(external_id)
            joined += bytes.fromhex(text_hash)[:KEY_BYTES]
    keys: Keys = np.frombuffer(bytes(joined), dtype=np.uint8).reshape(-1, KEY_BYTES)
    loaded = _Loaded(load)
    backend = choose_backend(
        workspace,
        model,
        n_texts=len(ids),
        measure=lambda: loaded.get().use_fastest(_sample(workspace, rows)),
    )
    owner = CacheOwner(model.hash, workspace.settings.max_length, precision_of(backend), model.dim)
    cache = VectorCache.open(vectors_folder(workspace), owner)
    missing = cache.missing(keys)
    for exact in PRECISIONS[: PRECISIONS.index(owner.precision)]:
        if len(missing):
            _take_exact(workspace, cache, replace(owner, precision=exact), keys[missing])
            missing = cache.missing(keys)
    if len(missing):
        encoder = loaded.get()
        # A float32 vector is as good as one in bf16 or int8, and for a few texts torch is ready at once.
        wanted = backend if len(missing) >= MEASURED_FROM or workspace.settings.encoder_backend != "auto" else "torch"
        if encoder.backend != wanted and not encoder.use(wanted):
            count_fall_back(workspace, model, asked=wanted, reason=encoder.refusal or "")
        _encode_missing(workspace, encoder, cache, keys, rows, missing, progress=progress, should_cancel=should_cancel)
    return PassageVectors(tuple(ids), len(missing), owner.precision, keys, cache)


def _take_exact(workspace: Workspace, cache: VectorCache, exact: CacheOwner, keys: Keys) -> None:
    """Copies what is known more exactly, which is as good: a corpus that outgrew float32 is not encoded again.

    keys: different ones.
    """
    if all(stored.owner != exact for stored in list_caches(vectors_folder(workspace))):
        return
    known = VectorCache.open(vectors_folder(workspace), exact)
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        found = np.delete(chunk, known.missing(chunk), axis=0)
        if len(found):
            cache.append(found, _vectors(known, found))


def _vectors(cache: VectorCache, keys: Keys) -> NDArray[np.float32]:
    try:
        return cache.vectors(keys)
    except KeyError as exc:
        raise CorpusChanged(f"kept vectors were deleted while they were read: {exc}") from exc


def _encode_missing(
    workspace: Workspace,
    encoder: Encoder,
    cache: VectorCache,
    keys: Keys,
    rows: list[int],
    missing: NDArray[np.intp],
    *,
    progress: Callable[[int, int], None] | None,
    should_cancel: Callable[[], bool] | None,
) -> None:
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        todo = chunk[cache.missing(keys[chunk])]  # another process may have encoded some of them meanwhile
        with workspace.sessions.read() as session:
            found = passages_to_encode.read_full_texts(session, [rows[at] for at in todo])
        texts = []
        for at in todo:
            text_hash, text = found.get(rows[at], ("", ""))
            if bytes.fromhex(text_hash)[:KEY_BYTES] != keys[at].tobytes():
                raise CorpusChanged(f"passage {rows[at]} was changed while it was to be encoded")
            texts.append(text)
        skipped = start + len(chunk) - len(todo)

        def tell(done: int, _: int, *, before: int = skipped) -> None:
            if progress is not None:
                progress(before + done, len(missing))

        vectors = encoder.encode(texts, progress=tell, should_cancel=should_cancel)
        cache.append(keys[todo], vectors)


@dataclass(slots=True)
class _Loaded:
    """An encoder opened when it is first needed."""

    load: Callable[[], Encoder]
    encoder: Encoder | None = None

    def get(self) -> Encoder:
        if self.encoder is None:
            self.encoder = self.load()
        return self.encoder


def _sample(workspace: Workspace, rows: list[int]) -> list[str]:
    """Passages spread evenly over the corpus: always the same ones."""
    chosen = [rows[at] for at in np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int)]
    with workspace.sessions.read() as session:
        return [text for _, text in passages_to_encode.read_full_texts(session, chosen).values()]


def list_dropable(workspace: Workspace) -> list[StoredVectors]:
    """Kept vectors that nobody is about to use: of retired models, of models that are gone, of another max_length."""
    with workspace.sessions.read() as session:
        rows = session.execute(sa.select(ModelVersion.hash, ModelVersion.stage, ModelVersion.encoder_id)).all()
        encoders = {row.encoder_id for row in rows if row.stage is not ModelStage.RETIRED}
        used = set(session.scalars(sa.select(ModelVersion.hash).where(ModelVersion.id.in_(encoders - {None}))))
    used |= {row.hash for row in rows if row.stage is not ModelStage.RETIRED}
    return [
        stored
        for stored in list_caches(vectors_folder(workspace))
        if stored.owner.model_hash not in used or stored.owner.max_length != workspace.settings.max_length
    ]


def drop_vectors(workspace: Workspace) -> int:
    """Deletes the vectors of `list_dropable`; returns the bytes freed. Indexes stay: a rollback needs no encoding."""
    dropped = list_dropable(workspace)
    for stored in dropped:
        drop_cache(vectors_folder(workspace), stored.owner)
    return sum(stored.n_bytes for stored in dropped)
