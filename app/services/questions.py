"""Questions written by the LLM from passages, for corpora without queries: planned, capped, resumed after a crash.

Every question goes to the train split, for held-out queries are human; its own passage becomes a candidate that is
graded like any other. A job that was interrupted goes on with the passages and examples it had, so that the replies it
paid for are found again.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, cast

from filelock import FileLock, Timeout
from sqlalchemy.orm import Session

from annotator.errors import AnnotatorError
from annotator.judges.call_ledger import CallLedger, InMemoryCallLedger
from annotator.judges.questions import (
    Dropped,
    PassageFailure,
    QuestionRequest,
    QuestionWriter,
    WrittenQuestion,
    WrittenQuestions,
)
from annotator.prompts.loader import load_text_prompt
from annotator.question_patterns import QuestionBank, build_bank, choose_demonstrations
from app.bootstrap import Workspace, judge_host, make_chat
from app.errors import Conflict, NothingToDo, SettingsInvalid
from app.services.call_ledger import DatabaseLedger
from app.services.held_jobs import held
from app.services.indexing import Progress
from app.services.label_jobs import caps
from app.services.near_duplicates import NearDuplicates, text_key
from app.services.passage_choice import choose_passages
from db.enums import RunStatus, Split
from db.models import JudgeRow, LabelJob, Query
from db.queries import corpus, sources
from db.queries import questions as question_queries
from db.queries.labelling import ensure_judge

SOURCE = "generated"
ROUND = 50
"""So many passages share one set of examples; the next round's examples may come from their questions."""

PASSAGES_A_WISH = 2
"""At most so many times the passages that would do if every question were kept. Our choice: it bounds what a model
that writes nothing usable can cost."""


@dataclass(frozen=True, slots=True)
class QuestionWish:
    """What to write: at least `n` questions where the corpus gives them, `per_passage` at most from each passage."""

    n: int
    per_passage: int = 2
    seed: int = 0

    @property
    def passages(self) -> int:
        """How many passages would do if every question were kept."""
        return math.ceil(self.n / self.per_passage)

    @property
    def most_passages(self) -> int:
        return PASSAGES_A_WISH * self.passages


@dataclass(frozen=True, slots=True)
class QuestionPlan:
    """What a job would do and could cost at most; nothing is sent. Dollars are None where the price is unknown.

    `worst_tokens` and `worst_usd` are for `passages` calls; `most_passages` calls are made at most.
    """

    model: str
    host: str
    questions: int
    passages: int
    most_passages: int
    resumes: bool
    worst_tokens: int
    worst_usd: float | None
    cap_tokens: int | None
    cap_usd: float | None
    prompt: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class QuestionReport:
    """What a job has done, earlier runs of it included; tokens and dollars count unsettled calls at their worst case.

    `cost_usd` is None where the price is unknown. `dropped` counts questions by the reason why they were not kept,
    `patterns` those kept.
    """

    model: str
    wanted: int
    written: int
    passages: int
    passages_with_question: int
    unreadable: int
    failed: int
    dropped: dict[str, int]
    patterns: dict[str, int]
    tokens: int
    cost_usd: float | None
    finished: bool


def plan_questions(
    workspace: Workspace, wish: QuestionWish, *, cap_tokens: int | None = None, cap_usd: float | None = None
) -> QuestionPlan:
    """What the next job would ask, whom, and what that could cost; sends nothing and stores nothing.

    Raises:
        SettingsInvalid: no LLM is set.
        InputInvalid: a cap is not positive, or in dollars where the price is unknown.
        NothingToDo: no passage is left to ask about.
    """
    host = _host(workspace)
    cap_tokens, cap_usd = caps(workspace, token_cap=cap_tokens, cost_cap_usd=cap_usd)
    writer = _writer(workspace, InMemoryCallLedger(), per_passage=wish.per_passage)
    with workspace.sessions.read() as session:
        job = _resumable(session, writer, wish)
        written, asked = (0, 0) if job is None else question_queries.count_job(session, job_id=job.id)
        missing = math.ceil(max(0, wish.n - written) / wish.per_passage)
        chosen = _choose(session, wish, count=min(missing, wish.most_passages - asked))
        bank = build_bank(question_queries.stream_written(session))
        if not chosen:
            raise _nothing_left()
        tokens, dollars, shown = 0, 0.0, None
        for start in range(0, len(chosen), ROUND):
            for request in _requests(session, chosen[start : start + ROUND], bank, wish):
                call = writer.chat_request(request)
                shown = shown or call
                worst_tokens, worst_usd = writer.chat.worst_case(call)
                tokens += worst_tokens
                dollars += worst_usd or 0.0
    return QuestionPlan(
        model=writer.chat.model,
        host=host,
        questions=wish.n,
        passages=len(chosen),
        most_passages=wish.most_passages - asked,
        resumes=job is not None,
        worst_tokens=tokens,
        worst_usd=None if writer.chat.price is None else dollars,
        cap_tokens=cap_tokens,
        cap_usd=cap_usd,
        prompt=() if shown is None else tuple((message.role, message.content) for message in shown.messages),
    )


def write_questions(
    workspace: Workspace,
    wish: QuestionWish,
    *,
    cap_tokens: int | None = None,
    cap_usd: float | None = None,
    on_progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> QuestionReport:
    """Asks for questions until the wish is met, the passages are used up or the job is stopped; safe to repeat.

    An unfinished job with the same wish, model and prompt goes on, under its caps unless others are given.

    Raises:
        SettingsInvalid: no LLM is set.
        InputInvalid: a cap is not positive, or in dollars where the price is unknown.
        NothingToDo: no passage is left to ask about.
        Conflict: another process writes questions in this workspace.
        JudgeUnavailable, CapReached: no further call can be made; what came before is stored.
    """
    _host(workspace)
    lock = FileLock(workspace.settings.workspace / ".questions.lock")
    try:
        alone = lock.acquire(timeout=0)
    except Timeout as exc:
        raise Conflict(
            "another process holds the lock of the question writer",
            user_message="Questions are being written already. Wait until that job ends, or stop it.",
        ) from exc
    with alone, ExitStack() as working, DatabaseLedger(workspace) as ledger:
        writer = _writer(workspace, ledger, per_passage=wish.per_passage)
        job = _begin(workspace, writer, wish, working, cap_tokens=cap_tokens, cap_usd=cap_usd)
        ledger.charge_to(job.id)
        work = _Work(workspace, writer, wish, job_id=job.id, judge_id=job.judge_id, on_progress=on_progress)
        try:
            finished = work.run(should_cancel)
        except (AnnotatorError, KeyboardInterrupt) as exc:
            stopped = RunStatus.CANCELLED if isinstance(exc, KeyboardInterrupt) else RunStatus.FAILED
            _end(workspace, job.id, status=stopped, message=str(exc), finished=False)
            raise
        _end(workspace, job.id, status=RunStatus.DONE if finished else RunStatus.CANCELLED, finished=finished)
    return _report(workspace, job.id, writer, wish)


@dataclass(slots=True)
class _Work:
    """One run of a job: what it knows of earlier questions, and what it stores."""

    workspace: Workspace
    writer: QuestionWriter
    wish: QuestionWish
    job_id: int
    judge_id: int
    on_progress: Progress | None
    _chosen: list[int] = field(default_factory=list)
    _duplicates: NearDuplicates = field(default_factory=NearDuplicates)
    _last_query: int = 0
    _written: int = 0
    _asked: int = 0

    def run(self, should_cancel: Callable[[], bool] | None) -> bool:
        """Whether the job came to its end; False when it was stopped."""
        with self.workspace.sessions.read() as session:
            self._written, self._asked = question_queries.count_job(session, job_id=self.job_id)
            self._look(session)
        while True:
            requests = self._next_round()
            if not requests:
                return True
            if (should_cancel is not None and should_cancel()) or not asyncio.run(self._round(requests, should_cancel)):
                return False

    def _next_round(self) -> list[QuestionRequest]:
        """The passages still to ask: of the round that was begun, else of a new one, noted down before it is asked."""
        missing = min(
            math.ceil((self.wish.n - self._written) / self.wish.per_passage), self.wish.most_passages - self._asked
        )
        # Read in a snapshot and written in a moment: going over the corpus must not make a reviewer wait.
        with self.workspace.sessions.read() as session:
            begun = session.get_one(LabelJob, self.job_id).spec.get("round")
            if begun is not None:
                bank = QuestionBank({p: tuple(e) for p, e in begun["examples"].items()}, begun["written"])
                done = question_queries.list_asked_in(session, job_id=self.job_id, passage_ids=begun["passages"])
                left = [passage_id for passage_id in begun["passages"] if passage_id not in done]
                if left:
                    return _requests(session, left, bank, self.wish)
            if missing < 1:
                return []
            if not self._chosen:  # for several rounds at once
                self._chosen = _choose(session, self.wish, count=missing, job_id=self.job_id)
            size = min(missing, ROUND)
            chosen, self._chosen = self._chosen[:size], self._chosen[size:]
            if not chosen:
                return []
            bank = build_bank(question_queries.stream_written(session))
            requests = _requests(session, chosen, bank, self.wish)
        with self.workspace.sessions.begin() as session:
            job = session.get_one(LabelJob, self.job_id)
            job.spec = {**job.spec, "round": {"passages": chosen, **_plain(bank)}}
        return requests

    async def _round(self, requests: Sequence[QuestionRequest], should_cancel: Callable[[], bool] | None) -> bool:
        results = cast("Any", self.writer.write(requests))
        async with aclosing(results):
            async for result in results:
                self._store(result)
                if self.on_progress is not None:
                    self.on_progress(min(self._written, self.wish.n), self.wish.n)
                if should_cancel is not None and should_cancel():
                    return False
        return True

    def _store(self, result: WrittenQuestions | PassageFailure) -> None:
        questions = result.questions if isinstance(result, WrittenQuestions) else ()
        dropped: Counter[str] = Counter()
        if isinstance(result, WrittenQuestions):
            dropped.update({str(reason): count for reason, count in result.dropped.items()})
        with self.workspace.sessions.begin() as session:
            kept = 0
            for question in questions:
                if self._keep(session, question, cast("WrittenQuestions", result)):
                    kept += 1
                else:
                    dropped[str(Dropped.NEAR_DUPLICATE)] += 1
            now = self.workspace.now()
            question_queries.store_outcome(session, result, job_id=self.job_id, kept=kept, dropped=dropped, now=now)
            job = session.get_one(LabelJob, self.job_id)
            job.done, job.heartbeat_at = job.done + 1, now
            job.failed += isinstance(result, PassageFailure)
        self._written += kept
        self._asked += 1

    def _keep(self, session: Session, question: WrittenQuestion, result: WrittenQuestions) -> bool:
        """Stores the question unless one like it is there already, whoever wrote that, in whichever split."""
        self._look(session)
        if self._duplicates.find(question.text):
            return False
        now = self.workspace.now()
        source = sources.ensure_source(session, SOURCE, layout=SOURCE, now=now)
        [cluster] = corpus.add_clusters(session, 1)
        corpus.set_splits(session, [cluster], Split.TRAIN)
        key = text_key(question.text)
        query = Query(
            external_id=f"generated:{result.passage_id}:{key[:16]}",
            text=question.text,
            text_key=key,
            cluster_id=cluster,
            source_id=source.id,
            created_at=now,
        )
        session.add(query)
        session.flush()
        question_queries.store_question(
            session,
            question,
            query=query,
            passage_id=result.passage_id,
            judge_id=self.judge_id,
            job_id=self.job_id,
            demonstrations=result.demonstrations,
            pool_size=self.workspace.settings.pool_depth + 1,
            now=now,
        )
        return True

    def _look(self, session: Session) -> None:
        """Brings the memory of near-duplicates up to the queries stored so far, by this job or anybody."""
        for query_id, text, cluster_id in question_queries.stream_queries_after(session, self._last_query):
            self._duplicates.add(text, cluster_id, similar=self._duplicates.find(text))
            self._last_query = query_id


def _host(workspace: Workspace) -> str:
    host = judge_host(workspace.settings)
    if host is None:
        raise SettingsInvalid(
            "questions are written by an LLM, and none is set",
            user_message="Questions are written by an LLM: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your "
            "own. The local judge cannot write.",
        )
    return host


def _writer(workspace: Workspace, ledger: CallLedger, *, per_passage: int) -> QuestionWriter:
    chat = make_chat(workspace.settings, ledger)
    return QuestionWriter(chat, prompt=load_text_prompt("questions"), max_questions=per_passage)


def _begin(
    workspace: Workspace,
    writer: QuestionWriter,
    wish: QuestionWish,
    working: ExitStack,
    *,
    cap_tokens: int | None,
    cap_usd: float | None,
) -> LabelJob:
    """The unfinished job with this wish, else a new one, held; an unfinished one with another wish is closed."""
    with workspace.sessions.read() as session:
        if _resumable(session, writer, wish) is None and not _choose(session, wish, count=1):
            raise _nothing_left()
    with workspace.sessions.begin() as session:
        now = workspace.now()
        judge = ensure_judge(session, writer.identity, now=now)
        prompt = writer.prompt
        question_queries.ensure_prompt(
            session,
            version=prompt.version,
            name=prompt.name,
            criterion=prompt.criterion,
            content=prompt.content,
            now=now,
        )
        job = _resumable(session, writer, wish)
        cap_tokens, cap_usd = caps(workspace, token_cap=cap_tokens, cost_cap_usd=cap_usd, before=job)
        if job is None:
            other = question_queries.get_unfinished_job(session)
            if other is not None:
                other.status, other.finished_at, other.message = RunStatus.CANCELLED, now, "another job took its place"
            job = LabelJob(judge_id=judge.id, criterion=judge.criterion, n_pairs=wish.passages, started_at=now)
            job.spec = {"kind": question_queries.KIND, **_plain_wish(wish)}
            session.add(job)
        job.status, job.message, job.heartbeat_at = RunStatus.RUNNING, "", now
        job.token_cap, job.cost_cap_usd = cap_tokens, cap_usd
        session.flush()
        # Before anybody can see it run, or it would look left behind.
        working.enter_context(held(workspace, job.id))
        return job


def _resumable(session: Session, writer: QuestionWriter, wish: QuestionWish) -> LabelJob | None:
    """The unfinished job that had this wish, model and prompt."""
    job = question_queries.get_unfinished_job(session)
    if job is None or any(job.spec.get(name) != value for name, value in _plain_wish(wish).items()):
        return None
    judge = session.get_one(JudgeRow, job.judge_id)
    same = (judge.name, judge.prompt_version) == (writer.identity.name, writer.identity.prompt_version)
    return job if same else None


def _end(workspace: Workspace, job_id: int, *, status: RunStatus, message: str = "", finished: bool) -> None:
    with workspace.sessions.begin() as session:
        job = session.get_one(LabelJob, job_id)
        job.status, job.message = status, message
        if finished:
            job.finished_at = workspace.now()


def _choose(session: Session, wish: QuestionWish, *, count: int, job_id: int | None = None) -> list[int]:
    """The next passages; what failed in this very job waits for the next one, for it would only fail again."""
    failed = set() if job_id is None else question_queries.list_failed_in(session, job_id=job_id)
    spots = (spot for spot in question_queries.stream_unasked(session) if spot.id not in failed)
    hashes = question_queries.asked_hashes(session)
    return choose_passages(spots, count=count, seed=wish.seed, asked_hashes=hashes)


def _requests(
    session: Session, passage_ids: Sequence[int], bank: QuestionBank, wish: QuestionWish
) -> list[QuestionRequest]:
    texts = question_queries.load_texts(session, passage_ids)
    return [
        QuestionRequest(
            passage_id=passage_id,
            title=texts[passage_id][0],
            passage=texts[passage_id][1],
            demonstrations=choose_demonstrations(bank, count=wish.per_passage, seed=f"{wish.seed} {passage_id}"),
        )
        for passage_id in passage_ids
    ]


def _report(workspace: Workspace, job_id: int, writer: QuestionWriter, wish: QuestionWish) -> QuestionReport:
    with workspace.sessions.read() as session:
        job = session.get_one(LabelJob, job_id)
        counts = question_queries.count_outcomes(session, job_id=job_id)
        written, asked = question_queries.count_job(session, job_id=job_id)
        return QuestionReport(
            model=writer.chat.model,
            wanted=wish.n,
            written=written,
            passages=asked,
            passages_with_question=counts.with_question,
            unreadable=counts.passages.get("unreadable", 0),
            failed=counts.passages.get("failed", 0),
            dropped=dict(counts.dropped),
            patterns=question_queries.count_patterns(session, job_id=job_id),
            tokens=job.spent_tokens,
            cost_usd=None if writer.chat.price is None else job.spent_usd,
            finished=job.finished_at is not None,
        )


def _plain(bank: QuestionBank) -> dict[str, object]:
    return {
        "examples": {pattern: list(examples) for pattern, examples in bank.examples.items()},
        "written": dict(bank.written),
    }


def _plain_wish(wish: QuestionWish) -> dict[str, object]:
    return {"n": wish.n, "per_passage": wish.per_passage, "seed": wish.seed}


def _nothing_left() -> NothingToDo:
    return NothingToDo(
        "there is no passage left to ask about",
        user_message="Every passage that is long enough was asked about. Import passages first: relabel import PATH",
    )
