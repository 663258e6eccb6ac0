"""Whether audited examples make a judge better: measured with and without them on the same blind reviews.

Examples are of train questions, the blind reviews of calibrate questions. Only where the lower bound of the gain in
accuracy lies above zero may a judge be shown examples, and then exactly those that were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, cast

import numpy as np

from annotator.intervals import LEVEL, bootstrap_by_query
from annotator.judges.base import Judge, collect
from annotator.judges.call_ledger import CallLedger, InMemoryCallLedger
from annotator.judges.examples import ExampleJudge, ExamplePool
from annotator.judges.openai_chat import OpenAIChatJudge
from annotator.prompts.loader import load_prompt
from annotator.types import Criterion, JudgeIdentity, JudgeRequest, Proposal
from app.bootstrap import Workspace, make_chat
from app.errors import NothingToDo, SettingsInvalid
from app.services.call_ledger import DatabaseLedger
from app.services.call_plans import CallPlan, plan_calls
from app.services.charged_calls import charged_to_a_job
from app.services.indexing import Progress
from app.services.measured_examples import VALUE, ExampleTrial, get_trial, pool_of, query_likeness
from db.queries import examples as example_queries
from db.queries.examples import BlindPair
from db.queries.prompts import list_examples
from db.queries.workspace_values import set_value

__all__ = ["ExampleTrial", "get_trial", "judges", "measure", "plan"]

MAX_EXAMPLES = 2_000
MIN_QUERIES = 10
"""Fewer calibrate questions bound nothing: their interval says more about chance than about examples. Our choice."""


def measure(
    workspace: Workspace,
    *,
    k: int = 3,
    cap_tokens: int | None = None,
    cap_usd: float | None = None,
    on_progress: Progress | None = None,
) -> ExampleTrial:
    """Asks the LLM about every blind review of calibrate questions twice, with and without examples; stores the result.

    Replies are stored like any others: a measurement that was stopped goes on where it stood, and a second one over the
    same reviews costs nothing.

    Raises:
        SettingsInvalid: no LLM is set.
        NothingToDo: too few blind reviews, or no audit that may be an example.
        JudgeUnavailable, CapReached: no further call may be made.
    """
    material = _gather(workspace)
    pairs, pool = material.pairs, material.pool
    with DatabaseLedger(workspace) as ledger:
        without, with_ = judges(workspace, ledger, pool=pool, k=k)
        both: tuple[Judge, ...] = (without, with_)
        n = 2 * len(pairs)
        with charged_to_a_job(
            workspace, ledger, _trial_of(with_), kind="example-trial", n=n, cap_tokens=cap_tokens, cap_usd=cap_usd
        ):
            right = [
                _right(workspace, judge, pairs, offset=place * len(pairs), total=n, on_progress=on_progress)
                for place, judge in enumerate(both)
            ]
    trial = _compare(workspace, pairs, right[0], right[1], with_=with_, without=without, k=k, pool=pool)
    with workspace.sessions.begin() as session:
        stored = {**asdict(trial), "measured_at": trial.measured_at.isoformat(), "reviews": material.reviews}
        set_value(session, VALUE, stored, now=workspace.now())
    return trial


def plan(workspace: Workspace, *, k: int = 3, cap_tokens: int | None = None, cap_usd: float | None = None) -> CallPlan:
    """What measuring would send and cost; the prompt shown is one with examples. Nothing is called and nothing stored.

    Raises:
        SettingsInvalid: no LLM is set.
        InputInvalid: a cap is not positive, or in dollars where the price is unknown.
        NothingToDo: too few blind reviews, or no audit that may be an example.
    """
    material = _gather(workspace)
    without, with_ = judges(workspace, InMemoryCallLedger(), pool=material.pool, k=k)
    shown = cast("OpenAIChatJudge", with_.inner)
    requests = [_request_of(pair) for pair in material.pairs]
    return plan_calls(
        workspace,
        without.chat,
        chain(map(shown.chat_request, with_.with_examples(requests)), map(without.chat_request, requests)),
        charged_to=_trial_of(with_),
        n_items=len(requests),
        cap_tokens=cap_tokens,
        cap_usd=cap_usd,
    )


@dataclass(frozen=True, slots=True)
class _Material:
    """The blind reviews to measure on, the reviews behind the examples, and the examples."""

    pairs: list[BlindPair]
    reviews: list[int]
    pool: ExamplePool


def _gather(workspace: Workspace) -> _Material:
    """What a measurement needs.

    Raises:
        SettingsInvalid: no LLM is set.
        NothingToDo: too few blind reviews, or no audit that may be an example.
    """
    if not workspace.settings.has_llm:
        raise SettingsInvalid(
            "examples are measured with an LLM, and none is set",
            user_message="Examples are shown to an LLM: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of yours.",
        )
    with workspace.sessions.read() as session:
        pairs = example_queries.list_blind_pairs(session, criterion=Criterion.RELEVANCE)
        reviews = example_queries.list_example_reviews(session, criterion=Criterion.RELEVANCE, limit=MAX_EXAMPLES)
        pool = pool_of(list_examples(session, reviews))
    n_queries = len({pair.query_id for pair in pairs})
    if n_queries < MIN_QUERIES:
        raise NothingToDo(
            f"{n_queries} calibrate questions have blind reviews; a measurement needs {MIN_QUERIES}",
            user_message=f"Grade pairs of {MIN_QUERIES} calibrate questions or more blind first; {n_queries} have any.",
        )
    if not pool.examples:
        raise NothingToDo("no audit of a train question can be an example yet; review some first")
    return _Material(pairs, reviews, pool)


def _trial_of(with_: ExampleJudge) -> JudgeIdentity:
    """Who a measurement's calls are charged to."""
    return replace(with_.identity, parameters={**with_.identity.parameters, "trial": True})


def _request_of(pair: BlindPair) -> JudgeRequest:
    return JudgeRequest(pair.pair_id, pair.query, pair.definition, pair.title, pair.passage, query_id=pair.query_id)


def judges(
    workspace: Workspace, ledger: CallLedger, *, pool: ExamplePool, k: int
) -> tuple[OpenAIChatJudge, ExampleJudge]:
    """The judge without examples and the one with them."""
    settings = workspace.settings
    chat = make_chat(settings, ledger)
    limit = settings.llm_max_completion_tokens
    plain = OpenAIChatJudge(chat, prompt=load_prompt(), scale=workspace.scale, max_completion_tokens=limit)
    shown = OpenAIChatJudge(
        chat, prompt=load_prompt("pointwise_examples"), scale=workspace.scale, max_completion_tokens=limit
    )
    return plain, ExampleJudge(shown, pool=pool, k=k, similarity=query_likeness)


def _right(
    workspace: Workspace,
    judge: Judge,
    pairs: Sequence[BlindPair],
    *,
    offset: int,
    total: int,
    on_progress: Progress | None,
) -> dict[int, bool]:
    """Whether the judge put each pair on the side that the blind reviewer did.

    Raises:
        NothingToDo: a pair got no reply; measured on the rest, the two judges would not be compared on the same pairs.
    """
    right: dict[int, bool] = {}
    scale = workspace.scale
    for start in range(0, len(pairs), 200):
        some = pairs[start : start + 200]
        requests = [_request_of(pair) for pair in some]
        grades = {pair.pair_id: pair.grade for pair in some}
        for result in collect(judge, requests):
            if not isinstance(result, Proposal):
                raise NothingToDo(
                    f"pair {result.pair_id} got no reply ({result.reason}); run it again, replies so far are kept"
                )
            said = None if result.grade is None else scale.is_relevant(result.grade)
            right[result.pair_id] = said is not None and said == scale.is_relevant(grades[result.pair_id])
        if on_progress is not None:
            on_progress(offset + len(right), total)
    return right


def _compare(
    workspace: Workspace,
    pairs: Sequence[BlindPair],
    without_right: Mapping[int, bool],
    with_right: Mapping[int, bool],
    *,
    with_: Judge,
    without: Judge,
    k: int,
    pool: ExamplePool,
) -> ExampleTrial:
    before = np.array([without_right[pair.pair_id] for pair in pairs], dtype=np.float64)
    after = np.array([with_right[pair.pair_id] for pair in pairs], dtype=np.float64)
    queries = [pair.query_id for pair in pairs]

    def gain(weights: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
        total = float(weights.sum())
        return None if total == 0 else float((weights * (after - before)).sum()) / total

    interval = bootstrap_by_query(gain, queries, resamples=2_000)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return ExampleTrial(
        model=with_.identity.model,
        prompt_with=with_.identity.prompt_version,
        prompt_without=without.identity.prompt_version,
        k=k,
        n_examples=len(pool.examples),
        n_pairs=len(pairs),
        n_queries=len(set(queries)),
        accuracy_with=float(after.mean()),
        accuracy_without=float(before.mean()),
        difference=float((after - before).mean()),
        low=low,
        high=high,
        level=LEVEL,
        helps=low is not None and low > 0.0,
        holds=True,
        measured_at=workspace.now(),
    )
