"""Writes passages and queries of one import: new ones, corrected ones, and the splits that near-duplicates share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy.orm import Session

from app.services.corpus_states import keep_corpus_hash
from app.services.importing.checks import clean_id, clean_text
from app.services.importing.rows import BadLine, Line, NewPassage, NewQuery, Refused
from app.services.importing.run import ImportRun
from app.services.importing.seen import Sight
from app.services.near_duplicates import NearDuplicates, plan_splits, strictest, text_key
from db.enums import Split
from db.queries import corpus
from db.queries.definitions import drop_acceptance

PASSAGE, QUERY, REFUSED_PASSAGE, REFUSED_QUERY = "passage", "query", "refused passage", "refused query"
"""What keys in the run's memory are about; judgements of the same import that name a refused id mean another text."""


def write_passages(run: ImportRun, lines: Iterable[Line[NewPassage] | Refused]) -> None:
    """Adds new passages and corrects those of the same source whose text has changed.

    A passage that people judged or judges proposed for keeps its text, which grades and evidence refer to.
    """
    for batch in run.batches(lines):
        good = [(line, row) for line in batch if (row := _passage_row(run, line)) is not None]
        with run.workspace.sessions.begin() as session:
            known = corpus.find_passages(session, [row.external_id for _, row in good])
            changed = [old.id for _, row in good if (old := _changed(run, known, row)) is not None]
            judged = corpus.judged_passages(session, changed)
            new: list[corpus.PassageRow] = []
            corrected: dict[int, corpus.PassageRow] = {}
            for line, row in good:
                old = known.get(row.external_id)
                if old is None:
                    new.append(row)
                    run.counts["passages"] += 1
                elif old.text_hash == row.text_hash:
                    run.counts["unchanged"] += 1
                    run.counts["passages as they were"] += old.source_id == run.source_id
                elif old.id in judged:
                    run.counts["passages kept"] += 1
                    run.refuse(Refused(line.file, line.line, _judged(row.external_id)))
                    run.refuse_id(REFUSED_PASSAGE, row.external_id)
                elif old.source_id == run.source_id:
                    corrected[old.id] = row
                    run.counts["passages changed"] += 1
                else:
                    run.refuse(Refused(line.file, line.line, _taken("passage", row.external_id)))
                    run.refuse_id(REFUSED_PASSAGE, row.external_id)
            corpus.correct_passages(session, corrected, now=run.now)
            corpus.add_passages(session, new, source_id=run.source_id, now=run.now)
        run.advance("passages", len(batch))
    keep_corpus_hash(run.workspace)


def write_queries(run: ImportRun, lines: Iterable[Line[NewQuery] | Refused]) -> None:
    """Adds new queries to the cluster of their near-duplicates, corrects texts nobody judged, then sets the splits."""
    clusters = load_clusters(run)
    for batch in run.batches(lines):
        good = [(line, row) for line in batch if (row := _query(run, line)) is not None]
        with run.workspace.sessions.begin() as session:
            _write_query_batch(run, session, good, clusters)
        run.advance("queries", len(batch))
    apply_splits(run, clusters)


def write_splits(run: ImportRun, wanted: Mapping[str, Split]) -> None:
    """Gives queries the split asked for, where their cluster has none yet; ids that are not there are passed over."""
    if not wanted:
        return
    clusters = load_clusters(run)
    ids = list(wanted)
    with run.workspace.sessions.read() as session:
        for start in range(0, len(ids), corpus.STREAM_ROWS):
            for external_id, query in corpus.find_queries(session, ids[start : start + corpus.STREAM_ROWS]).items():
                clusters.want(clusters.slots[query.cluster_id], wanted[external_id])
    apply_splits(run, clusters)


class Clusters:
    """The clusters of all queries while an import adds to them, by slot; a new cluster gets its row with its batch."""

    def __init__(self) -> None:
        self.duplicates = NearDuplicates()
        self.rows: list[int] = []
        self.slots: dict[int, int] = {}
        self.present: dict[int, Split] = {}
        self.wanted: dict[int, set[Split]] = {}
        self._new = 0

    def known(self, row: int, split: Split | None) -> int:
        """The slot of a cluster that has a row."""
        slot = self.slots.setdefault(row, len(self.rows))
        if slot == len(self.rows):
            self.rows.append(row)
        if split is not None:
            self.present[slot] = split
        return slot

    def place(self, text: str) -> int:
        """The slot a new query belongs in: with its near-duplicates (the strictest split first), else a new one."""
        similar = self.duplicates.find(text)
        if similar:
            choice = strictest({self.present[slot] for slot in similar if slot in self.present})
            slot = min(slot for slot in similar if choice is None or self.present.get(slot) is choice)
        else:
            slot = len(self.rows) + self._new
            self._new += 1
        self.duplicates.add(text, slot, similar=similar)
        return slot

    def want(self, slot: int, split: Split) -> None:
        self.wanted.setdefault(slot, set()).add(split)

    def store(self, session: Session) -> None:
        """Gives the new slots their rows."""
        for row in corpus.add_clusters(session, self._new):
            self.known(row, None)
        self._new = 0


def load_clusters(run: ImportRun) -> Clusters:
    """The clusters of all queries that are there, and which of them resemble each other."""
    clusters = Clusters()
    with run.workspace.sessions.read() as session:
        for text, row, split in corpus.stream_query_texts(session):
            slot = clusters.known(row, split)
            clusters.duplicates.add(text, slot, similar=clusters.duplicates.find(text))
    return clusters


def apply_splits(run: ImportRun, clusters: Clusters) -> None:
    """Sets the planned splits and says where wishes met a near-duplicate."""
    plan = plan_splits(clusters.duplicates, present=clusters.present, wanted=clusters.wanted)
    with run.workspace.sessions.begin() as session:
        for split, slots in plan.assign.items():
            corpus.set_splits(session, [clusters.rows[slot] for slot in slots], split)
    if plan.torn:
        run.note(
            f"{plan.torn} groups of near-duplicate queries asked for different splits; "
            "each went as a whole to the strictest (held-out before calibrate before train)"
        )
    if plan.held:
        run.note(f"{plan.held} groups of near-duplicate queries kept the split they had, though another was asked for")
    if plan.unmendable:
        run.note(
            f"{plan.unmendable} groups of near-duplicate queries lie in more than one split since an earlier import"
        )


def _write_query_batch(
    run: ImportRun, session: Session, good: list[tuple[Line[NewQuery], NewQuery]], clusters: Clusters
) -> None:
    known = corpus.find_queries(session, [row.external_id for _, row in good])
    new: list[tuple[NewQuery, int]] = []
    kept: list[NewQuery] = []
    for line, row in good:
        old = known.get(row.external_id)
        if old is None:
            slot = clusters.place(row.text)
            new.append((row, slot))
            run.counts["queries"] += 1
        else:
            slot = clusters.slots[old.cluster_id]
            if reason := _correct_query(run, session, row, old, clusters):
                run.refuse(Refused(line.file, line.line, reason))
                run.refuse_id(REFUSED_QUERY, row.external_id)
                continue
        kept.append(row)
        if row.split is not None:
            clusters.want(slot, row.split)
    clusters.store(session)
    rows = [corpus.QueryRow(row.external_id, row.text, text_key(row.text), clusters.rows[slot]) for row, slot in new]
    corpus.add_queries(session, rows, source_id=run.source_id, now=run.now)
    defined = [row for row in kept if row.definition]
    ids = corpus.query_ids(session, [row.external_id for row in defined]) if defined else {}
    redefined = [
        ids[row.external_id]
        for row in defined
        if corpus.add_definition(session, query_id=ids[row.external_id], text=row.definition or "", now=run.now)
    ]
    run.counts["definitions"] += len(redefined)
    if redefined:
        drop_acceptance(session, redefined, now=run.now)


def _correct_query(
    run: ImportRun,
    session: Session,
    row: NewQuery,
    old: corpus.KnownQuery,
    clusters: Clusters,
) -> str | None:
    """Takes over a changed text; the reason when it must not be."""
    if row.text == old.text:
        run.counts["unchanged"] += 1
        return None
    if old.source_id != run.source_id:
        return _taken("query", row.external_id)
    if corpus.has_reviews(session, query_id=old.id):
        return (
            f"the text of query {row.external_id!r} differs from the one that people judged; give it an id of its own"
        )
    similar = clusters.duplicates.find(row.text)
    if any(clusters.present.get(slot) not in (None, old.split) for slot in similar):
        return f"the new text of query {row.external_id!r} is a near-duplicate of one in another split"
    clusters.duplicates.add(row.text, clusters.slots[old.cluster_id], similar=similar)
    corpus.correct_query(session, query_id=old.id, text=row.text, text_key=text_key(row.text))
    run.counts["queries changed"] += 1
    return None


def _changed(
    run: ImportRun, known: Mapping[str, corpus.KnownPassage], row: corpus.PassageRow
) -> corpus.KnownPassage | None:
    """The passage of this source that the row would change."""
    old = known.get(row.external_id)
    return old if old is not None and old.source_id == run.source_id and old.text_hash != row.text_hash else None


def _passage_row(run: ImportRun, line: Line[NewPassage]) -> corpus.PassageRow | None:
    given = line.value
    try:
        external_id = clean_id(given.external_id, "passage id")
        title, title_nuls = clean_text(given.title, "title")
        text, text_nuls = clean_text(given.text, "text of the passage")
        if not title.strip() and not text.strip():
            raise BadLine(f"passage {external_id!r} has neither a title nor a text")
    except BadLine as exc:
        run.refuse(Refused(line.file, line.line, str(exc)))
        return None
    row = corpus.PassageRow(external_id, title, text)
    if not _is_first(run, line, PASSAGE, external_id, content=row.text_hash):
        return None
    run.counts["nul"] += title_nuls + text_nuls
    return row


def _query(run: ImportRun, line: Line[NewQuery]) -> NewQuery | None:
    given = line.value
    try:
        external_id = clean_id(given.external_id, "query id")
        text, nuls = clean_text(given.text, "text of the query")
        definition, definition_nuls = clean_text(given.definition, "definition")
        if not text.strip():
            raise BadLine(f"query {external_id!r} has no text")
    except BadLine as exc:
        run.refuse(Refused(line.file, line.line, str(exc)))
        return None
    if not _is_first(run, line, QUERY, external_id, content=text):
        return None
    run.counts["nul"] += nuls + definition_nuls
    return NewQuery(external_id, text, given.split, definition if definition.strip() else None)


def _is_first(
    run: ImportRun, line: Line[NewPassage] | Line[NewQuery], what: str, external_id: str, *, content: str
) -> bool:
    sight = run.seen.meet(what, external_id, content=content)
    if sight is Sight.SAME:
        run.counts["unchanged"] += 1
    elif sight is Sight.DIFFERENT:
        run.refuse(Refused(line.file, line.line, f"{what} id {external_id!r} came before with another text"))
    return sight is Sight.FIRST


def _judged(external_id: str) -> str:
    return f"the passage {external_id!r} is judged and keeps its text; import the new text under another id"


def _taken(what: str, external_id: str) -> str:
    return (
        f"the id {external_id!r} belongs to a {what} of another source with another text; "
        "give it an id of its own, or import it under that source's name to correct it"
    )
