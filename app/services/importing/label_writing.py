"""Writes judgements, suggestions and candidates of one import against the queries and passages that are there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from sqlalchemy.orm import Session

from annotator.types import ConfidenceKind, Criterion
from app.errors import InputInvalid
from app.services.importing import scales
from app.services.importing.checks import (
    MAX_GUESSED_GRADE,
    clean_id,
    clean_text,
    finite_number,
    probability,
    shown,
    whole_grade,
)
from app.services.importing.corpus_writing import REFUSED_PASSAGE, REFUSED_QUERY
from app.services.importing.rows import BadLine, Line, NewCandidate, NewJudgement, NewSuggestion, Refused
from app.services.importing.run import BATCH, ImportRun
from app.services.importing.seen import Sight
from app.services.refusals import refuse_revoked_person
from db.enums import PersonKind
from db.models import Source
from db.queries import corpus, imports, sources
from db.queries.people import person_named
from db.queries.standing import revoked_judges

_IDS_KEPT = 200_000
"""Ids remembered at most, so that a file sorted by query does not ask for the same query again and again."""
MAX_NAME = 200
MAX_SYSTEM = 80

Row = TypeVar("Row", NewJudgement, NewSuggestion, NewCandidate)


def importer_of(source: str) -> str:
    """The person under whose name a source's judgements are kept when nobody else is named."""
    name = f"import:{source}"
    if len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - 13]}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"


class Ids:
    """External ids of queries and passages turned into ids, remembered up to a bound."""

    def __init__(self, run: ImportRun) -> None:
        self._run = run
        self._queries: dict[str, int] = {}
        self._passages: dict[str, int] = {}

    def load(self, session: Session, lines: Iterable[Line[Row]]) -> None:
        """Looks up what these lines name."""
        lines = list(lines)
        self._load(session, self._queries, {line.value.query_id for line in lines}, corpus.query_ids)
        self._load(session, self._passages, {line.value.passage_id for line in lines}, corpus.passage_ids)

    def pair(self, query_id: str, passage_id: str) -> tuple[int, int]:
        """The two ids.

        Raises:
            BadLine: one is not there, or this very import refused it.
        """
        return (
            self._get(self._queries, query_id, "query", REFUSED_QUERY),
            self._get(self._passages, passage_id, "passage", REFUSED_PASSAGE),
        )

    def _get(self, known: Mapping[str, int], external_id: str, what: str, refused: str) -> int:
        if external_id not in known:
            clean_id(external_id, f"{what} id")
            raise BadLine(f"there is no {what} with the id {shown(external_id)}")
        if self._run.counts["ids refused"] and self._run.seen.has(refused, external_id):
            raise BadLine(f"the {what} {shown(external_id)} was refused in this import: its id means another text here")
        return known[external_id]

    @staticmethod
    def _load(
        session: Session,
        known: dict[str, int],
        wanted: set[str],
        find: Callable[[Session, list[str]], dict[str, int]],
    ) -> None:
        missing = [name for name in wanted if name not in known and _can_be_asked(name)]
        if len(known) + len(missing) > _IDS_KEPT:
            known.clear()
            missing = [name for name in wanted if _can_be_asked(name)]
        if missing:
            known.update(find(session, missing))


def _can_be_asked(name: object) -> bool:
    """Whether a database takes this id at all; others are refused when the line is read."""
    try:
        return clean_id(name, "id") == name
    except BadLine:
        return False


def settle_scale(
    run: ImportRun, *, found: int | None, max_grade: int | None, mapping: Mapping[int, int] | None
) -> dict[int, int]:
    """The mapping of this import's judgements, stored with the source and told in the notes.

    found: the highest grade in the data, when known. max_grade, mapping: what the person said; they win.

    Raises:
        InputInvalid: the mapping leads off the workspace's scale, or max_grade is below 1.
    """
    top = run.workspace.scale.max_grade
    with run.workspace.sessions.begin() as session:
        source = session.get_one(Source, run.source_id)
        if mapping is not None:
            off = {g: to for g, to in mapping.items() if not 0 <= to <= top}
            if off or not mapping:
                raise InputInvalid(f"the scale {dict(mapping)} leads off the workspace's grades 0..{top}")
            highest = max(mapping) if max_grade is None else max_grade
            chosen = dict(mapping)
        else:
            if max_grade is not None and max_grade < 1:
                raise InputInvalid(f"max_grade is {max_grade}; a scale needs at least the grades 0 and 1")
            highest = max_grade or max(found or 1, source.max_grade or 1)
            if max_grade is None and source.max_grade is not None and highest > source.max_grade:
                run.note(f"the source's scale was taken for 0..{source.max_grade} before; it is 0..{highest} now")
            chosen = sources.get_scale(source, highest) or scales.default_mapping(highest, top)
            if max(chosen.values()) > top:
                chosen = scales.default_mapping(highest, top)
        source.max_grade = highest
        sources.set_scale(session, source_id=run.source_id, max_grade=highest, mapping=chosen)
    run.note("judgements: " + scales.in_words(chosen, top))
    return chosen


def write_judgements(
    run: ImportRun,
    lines: Iterable[Line[NewJudgement] | Refused],
    *,
    person: str,
    criterion: Criterion,
    mapping: Mapping[int, int],
) -> None:
    """Appends the judgements as blind reviews of that person; those the source gave before change nothing."""
    if not person.strip() or len(person) > MAX_NAME:
        raise InputInvalid(f"{person!r} cannot name a person; it needs 1 to {MAX_NAME} characters")
    with run.workspace.sessions.begin() as session:
        person_id = person_named(session, person, now=run.now, kind=PersonKind.IMPORTED).id
        refuse_revoked_person(session, person_id)
    ids = Ids(run)
    for batch in run.batches(lines):
        with run.workspace.sessions.begin() as session:
            ids.load(session, batch)
            rows: list[imports.JudgementRow] = []
            for line in batch:
                try:
                    query, passage = ids.pair(line.value.query_id, line.value.passage_id)
                    grade = whole_grade(line.value.grade)
                    mapped = scales.mapped_grade(grade, mapping)
                except BadLine as exc:
                    run.refuse(Refused(line.file, line.line, str(exc)))
                    continue
                if _is_first(run, line, "judgement", str(query), str(passage), content=str(grade)):
                    rows.append(imports.JudgementRow(query, passage, mapped, str(grade)))
            added = imports.import_judgements(
                session, rows, source_id=run.source_id, person_id=person_id, criterion=criterion, now=run.now
            )
        _count(run, "judgements", len(rows), added)
        run.advance("judgements", len(batch))


def write_suggestions(
    run: ImportRun,
    lines: Iterable[Line[NewSuggestion] | Refused],
    *,
    criterion: Criterion,
    max_grade: int | None,
    mapping: Mapping[int, int] | None,
) -> None:
    """Appends what judges elsewhere said, each judge as one of kind `imported`; the last in the source is current.

    A suggestion carries one kind of confidence: the token probability where there is one, else the stated one; the
    other stays in the raw reply.
    """
    ids = Ids(run)
    judges: dict[tuple[str, str, str], int] = {}
    for batch in run.batches(lines):
        with run.workspace.sessions.begin() as session:
            ids.load(session, batch)
            rows: list[imports.SuggestionRow] = []
            revoked = set(session.scalars(revoked_judges()))
            for line in batch:
                try:
                    query, passage = ids.pair(line.value.query_id, line.value.passage_id)
                    judge = _judge(run, session, line.value, judges, criterion)
                    if judge in revoked:
                        raise BadLine(f"the judge {shown(line.value.judge)} is revoked")
                    row = _suggestion_row(run, session, line.value, (query, passage, judge), max_grade, mapping)
                except BadLine as exc:
                    run.refuse(Refused(line.file, line.line, str(exc)))
                    continue
                key = ("suggestion", str(query), str(passage), str(judge))
                if _is_first(run, line, *key, content=repr(row)):
                    rows.append(row)
            added = imports.import_suggestions(session, rows, source_id=run.source_id, criterion=criterion, now=run.now)
        _count(run, "suggestions", len(rows), added)
        run.counts["decisions undone"] += added.decisions_undone
        run.advance("suggestions", len(batch))
    if run.counts["decisions undone"]:
        run.note(
            f"{run.counts['decisions undone']} pairs had a decision about an earlier suggestion; "
            "it no longer holds until the new one is routed"
        )


def write_candidates(run: ImportRun, lines: Iterable[Line[NewCandidate] | Refused]) -> None:
    """Records where systems elsewhere ranked passages, as candidates to be judged."""
    ids, touched = Ids(run), set[int]()
    for batch in run.batches(lines):
        with run.workspace.sessions.begin() as session:
            ids.load(session, batch)
            rows: list[imports.CandidateRow] = []
            for line in batch:
                given = line.value
                try:
                    query, passage = ids.pair(given.query_id, given.passage_id)
                    row = imports.CandidateRow(
                        query, passage, _system(given.system), _rank(given.rank), finite_number(given.score, "score")
                    )
                except BadLine as exc:
                    run.refuse(Refused(line.file, line.line, str(exc)))
                    continue
                key = ("candidate", str(query), str(passage), row.system)
                if _is_first(run, line, *key, content=f"{row.rank} {row.score!r}"):
                    rows.append(row)
            added = imports.import_candidates(session, rows, now=run.now)
        touched |= {row.query_id for row in rows}
        run.counts["candidates"] += added.new
        run.counts["candidates changed"] += added.changed
        run.counts["unchanged"] += len(rows) - added.new - added.changed
        run.advance("candidates", len(batch))
    queries = sorted(touched)
    for start in range(0, len(queries), BATCH):
        with run.workspace.sessions.begin() as session:
            imports.set_pool_sizes(session, queries[start : start + BATCH])
    if run.counts["candidates changed"]:
        run.note(
            f"{run.counts['candidates changed']} candidates were there with another rank or score, which was replaced"
        )


def _count(run: ImportRun, what: str, n: int, added: imports.Added) -> None:
    run.counts[what] += added.new
    run.counts[f"{what} changed"] += added.changed
    run.counts["unchanged"] += n - added.new - added.changed


def _is_first(run: ImportRun, line: Line[Row], *key: str, content: str) -> bool:
    sight = run.seen.meet(*key, content=content)
    if sight is Sight.SAME:
        run.counts["unchanged"] += 1
    elif sight is Sight.DIFFERENT:
        pair = f"query {shown(line.value.query_id)} and passage {shown(line.value.passage_id)}"
        run.refuse(Refused(line.file, line.line, f"{pair} came before in this import with another {key[0]}"))
    return sight is Sight.FIRST


def _judge(
    run: ImportRun,
    session: Session,
    given: NewSuggestion,
    judges: dict[tuple[str, str, str], int],
    criterion: Criterion,
) -> int:
    name = clean_id(given.judge, "judge")
    model, version = given.model or name, given.prompt_version or "imported"
    if len(name) > MAX_NAME or len(model) > MAX_NAME or len(version) > 64:
        raise BadLine(f"the judge {shown(name)}, its model or its prompt version has too long a name")
    key = (name, model, version)
    if key not in judges:
        judges[key] = sources.ensure_imported_judge(
            session, name, model=model, prompt_version=version, criterion=criterion, now=run.now
        )
    return judges[key]


def _suggestion_row(
    run: ImportRun,
    session: Session,
    given: NewSuggestion,
    ids: tuple[int, int, int],
    max_grade: int | None,
    mapping: Mapping[int, int] | None,
) -> imports.SuggestionRow:
    highest = given.max_grade if given.max_grade is not None else max_grade
    grade = None if given.grade is None else whole_grade(given.grade)
    scale: Mapping[int, int] = {}
    if grade is not None or given.grade_distribution is not None:
        if highest is None:
            raise BadLine("the max_grade of the judge's scale is missing; give it on the line or for the whole import")
        if not 1 <= highest <= MAX_GUESSED_GRADE * 10:
            raise BadLine(f"the max_grade is {highest}; it must be a whole number from 1 up")
        scale = _judge_scale(run, session, highest, mapping)
    token = probability(given.token_probability, "token_probability")
    verbal = probability(given.verbal_confidence, "verbal_confidence")
    confidence, kind = (token, ConfidenceKind.TOKEN) if token is not None else (verbal, ConfidenceKind.VERBAL)
    reason, reason_nuls = clean_text(given.reason, "reason")
    raw_reply, raw_nuls = clean_text(given.raw_reply or _rest(given, token, verbal), "raw_reply")
    run.counts["nul"] += reason_nuls + raw_nuls
    return imports.SuggestionRow(
        *ids,
        grade=None if grade is None else scales.mapped_grade(grade, scale),
        original_grade=None if grade is None else str(grade),
        grade_distribution=_mapped_distribution(given.grade_distribution, scale, run.workspace.scale.max_grade),
        confidence=confidence,
        confidence_kind=None if confidence is None else kind,
        reason=reason,
        raw_reply=raw_reply,
    )


def _judge_scale(
    run: ImportRun, session: Session, highest: int, mapping: Mapping[int, int] | None
) -> Mapping[int, int]:
    """The mapping of a judge's scale 0..highest: the one given if it fits, the stored one, or the default."""
    known = run.judge_scales.get(highest)
    if known is not None:
        return known
    top = run.workspace.scale.max_grade
    source = session.get_one(Source, run.source_id)
    if mapping is not None and max(mapping) == highest:
        chosen = dict(mapping)
    else:
        chosen = sources.get_scale(source, highest) or scales.default_mapping(highest, top)
    if not all(0 <= grade <= top for grade in chosen.values()):
        raise InputInvalid(f"the scale {chosen} leads off the workspace's grades 0..{top}")
    sources.set_scale(session, source_id=run.source_id, max_grade=highest, mapping=chosen)
    run.note(f"suggestions on 0..{highest}: " + scales.in_words(chosen, top))
    run.judge_scales[highest] = chosen
    return chosen


def _mapped_distribution(
    given: tuple[float, ...] | None, scale: Mapping[int, int], top: int
) -> tuple[float, ...] | None:
    """The probabilities on the workspace's grades: those of source grades that become one grade are added."""
    if given is None:
        return None
    if len(given) != len(scale):
        raise BadLine(f"the grade_distribution has {len(given)} probabilities for {len(scale)} grades")
    shares = [0.0] * (top + 1)
    for grade, share in enumerate(given):
        shares[scales.mapped_grade(grade, scale)] += share
    return tuple(shares)


def _rest(given: NewSuggestion, token: float | None, verbal: float | None) -> str:
    """What the source told beyond the columns of a suggestion, as JSON; empty when that is nothing."""
    rest = dict(given.extra)
    if token is not None and verbal is not None:
        rest |= {"token_probability": token, "verbal_confidence": verbal}
    return json.dumps(rest, ensure_ascii=True, sort_keys=True) if rest else ""


def _system(name: str) -> str:
    name = clean_id(name, "system")
    if len(name) > MAX_SYSTEM:
        raise BadLine(f"the system {shown(name)} has {len(name)} characters; at most {MAX_SYSTEM} are allowed")
    return name


def _rank(rank: int) -> int:
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank < 2**31:
        raise BadLine(f"the rank is {shown(rank)}; it must be a whole number from 1 up")
    return rank
