"""What labelling would ask, send and cost, told before any call, from prompts really rendered and calls measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotator.judges.base import Judge
from annotator.judges.call_ledger import InMemoryCallLedger
from annotator.judges.chat import ChatModel, ChatRequest
from annotator.types import JudgeIdentity, JudgeRequest
from app.bootstrap import Workspace, judge_host, make_judge
from app.services import label_jobs
from app.services.dense_systems import list_dense_systems
from app.services.judge_knowledge import known_to
from app.services.label_views import LabelPlan, RenderedMessage
from app.services.labelling import count_to_ask, request_of, sample_to_ask
from db.models import LabelJob
from db.queries import labelling as label_queries
from db.queries import spending
from db.queries.spending import CallHistory

SAMPLE_PAIRS = 400
BYTES_A_TOKEN = 4.0
"""Our choice: English prose has about four bytes a token; other scripts have fewer. Used until a call was settled."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Whom the texts go to: the judge, its prompt, and the host, None when no text leaves this machine."""

    judge: str
    prompt_version: str
    host: str | None


def destination(workspace: Workspace, *, spec: Mapping[str, Any] | None = None) -> Destination:
    """Whom a label job with this judge would send texts to, by the settings there are now; nothing is rendered.

    Raises:
        SettingsInvalid, PromptInvalid: there is no such judge.
    """
    judge = make_judge(workspace.settings, workspace.scale, InMemoryCallLedger(), spec, known=known_to(workspace))
    host = None if _is_local(judge.identity) else judge_host(workspace.settings)
    return Destination(judge.identity.name, judge.identity.prompt_version, host)


@dataclass(frozen=True, slots=True)
class _Calls:
    """The calls of a sample of pairs, with the model each goes to."""

    asked: list[tuple[ChatModel, ChatRequest]]
    n_pairs: int


def plan(
    workspace: Workspace,
    *,
    spec: Mapping[str, Any] | None = None,
    token_cap: int | None = None,
    cost_cap_usd: float | None = None,
    only_failed: bool = False,
    even_final: bool = False,
) -> LabelPlan:
    """What a label job with these arguments would do; nothing is called and nothing stored.

    Raises:
        InputInvalid: a cap is not positive, or a cap in dollars is given and the price is unknown.
        SettingsInvalid, PromptInvalid: there is no such judge.
    """
    settings = workspace.settings
    judge = make_judge(settings, workspace.scale, InMemoryCallLedger(), spec, known=known_to(workspace))
    with workspace.sessions.read() as session:
        row = label_queries.find_judge(session, judge.identity)
        before = None if row is None else label_queries.get_unfinished_job(session, judge_id=row.id, hold=False)
        if before is None and row is not None and only_failed:
            before = label_queries.get_job_of_last_failure(session, judge_id=row.id)
        token_cap, cost_cap_usd = label_jobs.caps(
            workspace, token_cap=token_cap, cost_cap_usd=cost_cap_usd, before=before
        )
        job = LabelJob(judge_id=0 if row is None else row.id, criterion=judge.identity.criterion)
        job.spec = {"only_failed": only_failed, "even_final": even_final}
        n_pairs = count_to_ask(session, job)
        pairs = sample_to_ask(session, job, limit=SAMPLE_PAIRS)
        systems = list_dense_systems(session)
        calls = _calls(judge, [request_of(pair, systems=systems) for pair in pairs])
        keys = {model.key_of(request) for model, request in calls.asked}
        stored = len(spending.stored_replies(session, keys)) if keys else 0
        history = spending.call_history(session, judge_id=job.judge_id)
    scale = n_pairs / calls.n_pairs if calls.n_pairs else 0.0
    n_calls = math.ceil(len(calls.asked) * scale)
    n_stored = round(stored * scale)
    bought = max(0, n_calls - n_stored)
    worst = [model.worst_case(request) for model, request in calls.asked]
    a_call = bought / len(worst) if worst else 0.0
    tokens, tokens_basis = _tokens(calls, history, bought=bought)
    worst_costs = [cost for _, cost in worst if cost is not None]
    priced = len(worst_costs) == len(worst)
    minutes, minutes_basis = _minutes(workspace, history, bought=bought)
    return LabelPlan(
        judge=judge.identity.name,
        certifiable=judge.identity.certifiable,
        criterion=judge.identity.criterion,
        host=judge_host(settings) if calls.asked or not _is_local(judge.identity) else None,
        n_pairs=n_pairs,
        n_calls=n_calls,
        n_stored=n_stored,
        tokens=tokens,
        tokens_basis=tokens_basis,
        worst_tokens=math.ceil(sum(most for most, _ in worst) * a_call),
        cost_usd=_cost(calls, history, bought=bought) if priced else None,
        worst_cost_usd=sum(worst_costs) * a_call if priced else None,
        minutes=minutes,
        minutes_basis=minutes_basis,
        n_sampled=len(calls.asked),
        concurrency=settings.llm_concurrency,
        token_cap=token_cap,
        cost_cap_usd=cost_cap_usd,
        prompt=_shown(calls),
    )


def _is_local(identity: JudgeIdentity) -> bool:
    return identity.kind.value in ("local", "retriever")


def _shown(calls: _Calls) -> tuple[RenderedMessage, ...]:
    if not calls.asked:
        return ()
    return tuple(RenderedMessage(message.role, message.content) for message in calls.asked[0][1].messages)


def _calls(judge: Judge, requests: Sequence[JudgeRequest]) -> _Calls:
    """The calls that the judge would make about these pairs, as far as they are known before any reply."""
    from annotator.judges.ensemble import EnsembleJudge
    from annotator.judges.examples import ExampleJudge
    from annotator.judges.listwise import ListwiseJudge
    from annotator.judges.openai_chat import OpenAIChatJudge
    from annotator.judges.pools import pools_of
    from annotator.judges.utility import UtilityJudge

    asked: list[tuple[ChatModel, ChatRequest]] = []
    if isinstance(judge, OpenAIChatJudge):
        asked = [(judge.chat, judge.chat_request(request)) for request in requests]
    elif isinstance(judge, ListwiseJudge):
        asked = [(judge.chat, judge.chat_request(pool)[0]) for pool in judge.calls(requests)]
    elif isinstance(judge, UtilityJudge):
        for pool in pools_of(requests):
            asked += [(judge.chat, judge.relsel_request(part)[0]) for part in judge.parts(pool, judge.prompts.relsel)]
            asked.append((judge.chat, judge.answer_request(judge.sources(pool, pool.pair_ids))))
            asked += [(judge.chat, judge.last_request(part, "")[0]) for part in judge.parts(pool, judge.prompts.last)]
    elif isinstance(judge, ExampleJudge):
        asked = _calls(judge.inner, judge.with_examples(requests)).asked
    elif isinstance(judge, EnsembleJudge):
        for member in judge.members:
            asked += _calls(member, requests).asked
    return _Calls(asked, len(requests))


def _tokens(calls: _Calls, history: CallHistory, *, bought: int) -> tuple[int, str]:
    """The tokens that so many calls will probably use, and what that rests on."""
    if not calls.asked:
        return 0, "no call is made"
    if history.tokens_a_call is not None:
        said = f"this judge's last {history.calls:,} calls used {history.tokens_a_call:,.0f} tokens each"
        return math.ceil(history.tokens_a_call * bought), said
    each = sum(_guess(request) for _, request in calls.asked) / len(calls.asked)
    said = (
        f"{len(calls.asked):,} prompts rendered, taken at {BYTES_A_TOKEN:g} bytes a token, and replies at half their "
        "limit; nothing is measured for this judge yet"
    )
    return math.ceil(each * bought), said


def _prompt_tokens(request: ChatRequest) -> float:
    return sum(len(message.content.encode("utf-8", "replace")) for message in request.messages) / BYTES_A_TOKEN


def _guess(request: ChatRequest) -> float:
    return _prompt_tokens(request) + request.max_completion_tokens / 2


def _cost(calls: _Calls, history: CallHistory, *, bought: int) -> float:
    """US dollars that so many calls will probably cost."""
    if not calls.asked:
        return 0.0
    if history.cost_a_call is not None:
        return history.cost_a_call * bought
    total = 0.0
    for model, request in calls.asked:
        if model.price is not None:
            total += model.price.cost(
                prompt_tokens=math.ceil(_prompt_tokens(request)),
                completion_tokens=math.ceil(request.max_completion_tokens / 2),
            )
    return total / len(calls.asked) * bought


def _minutes(workspace: Workspace, history: CallHistory, *, bought: int) -> tuple[float | None, str]:
    """How long so many calls take at the limits that are set, and what that rests on."""
    settings = workspace.settings
    if bought == 0:
        return 0.0, "no call is made"
    limits: list[tuple[float, str]] = []
    if settings.llm_requests_per_minute is not None:
        limits.append((bought / settings.llm_requests_per_minute, f"{settings.llm_requests_per_minute:g} a minute"))
    if history.seconds_a_call is not None:
        seconds = max(history.seconds_a_call, 0.001)
        said = f"{settings.llm_concurrency} calls at a time, {seconds:.2f} s each (median measured)"
        limits.append((bought * seconds / settings.llm_concurrency / 60.0, said))
    if not limits:
        return None, "no call of this judge was measured yet, and no rate limit is set"
    return max(limits)
