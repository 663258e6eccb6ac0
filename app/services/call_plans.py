"""What calls beside labelling (definitions, measurements) would send and cost, told before any of them is made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from annotator.judges.chat import ChatModel, ChatRequest
from annotator.types import JudgeIdentity
from app.bootstrap import Workspace, judge_host
from app.services.label_jobs import caps
from app.services.label_plans import BYTES_A_TOKEN
from app.services.label_views import RenderedMessage
from db.queries import labelling as label_queries
from db.queries import spending

_SOME = 500


@dataclass(frozen=True, slots=True)
class CallPlan:
    """The calls that a piece of work would make; nothing was called and nothing stored.

    `n_items`: queries or pairs. `n_stored` of the `n_calls` are answered from the store; the tokens and dollars are for
    the others. `tokens` is an estimate and `tokens_basis` says of what, `worst_tokens` the most that the calls can use,
    as the cap counts them. Dollars are None where the price is unknown. `host` receives the texts; None: nothing is
    sent. `prompt` is the first one, rendered.
    """

    model: str
    host: str | None
    n_items: int
    n_calls: int
    n_stored: int
    tokens: int
    tokens_basis: str
    worst_tokens: int
    cost_usd: float | None
    worst_cost_usd: float | None
    token_cap: int | None
    cost_cap_usd: float | None
    prompt: tuple[RenderedMessage, ...]


def plan_calls(
    workspace: Workspace,
    chat: ChatModel,
    requests: Iterable[ChatRequest],
    *,
    charged_to: JudgeIdentity,
    n_items: int,
    cap_tokens: int | None = None,
    cap_usd: float | None = None,
) -> CallPlan:
    """The plan for these calls, every one rendered; `charged_to` is whose calls so far the estimate rests on.

    Raises:
        InputInvalid: a cap is not positive, or in dollars where the price is unknown.
    """
    first: ChatRequest | None = None
    seen: set[str] = set()
    n_calls = n_stored = worst_tokens = 0
    worst_cost = prompt_tokens = reply_tokens = 0.0
    with workspace.sessions.read() as session:
        judge = label_queries.find_judge(session, charged_to)
        before = None if judge is None else label_queries.get_unfinished_job(session, judge_id=judge.id, hold=False)
        token_cap, cost_cap = caps(workspace, token_cap=cap_tokens, cost_cap_usd=cap_usd, before=before)
        history = spending.call_history(session, judge_id=0 if judge is None else judge.id)
        rest = iter(requests)
        while some := list(islice(rest, _SOME)):
            keyed = [(chat.key_of(request), request) for request in some]
            seen |= spending.stored_replies(session, {key for key, _ in keyed}).keys()
            for key, request in keyed:
                first, n_calls = first or request, n_calls + 1
                if key in seen:  # answered from the store, or by an equal call before it
                    n_stored += 1
                    continue
                seen.add(key)
                tokens, cost = chat.worst_case(request)
                worst_tokens, worst_cost = worst_tokens + tokens, worst_cost + (cost or 0.0)
                prompt_tokens += sum(len(m.content.encode("utf-8", "replace")) for m in request.messages)
                reply_tokens += request.max_completion_tokens / 2
    prompt_tokens /= BYTES_A_TOKEN
    bought, price = n_calls - n_stored, chat.price
    if history.tokens_a_call is not None:
        estimate = history.tokens_a_call * bought
        basis = f"the last {history.calls:,} such calls used {history.tokens_a_call:,.0f} tokens each"
    else:
        estimate = prompt_tokens + reply_tokens
        basis = (
            f"prompts taken at {BYTES_A_TOKEN:g} bytes a token, replies at half their limit; nothing is measured yet"
        )
    about: float | None = None
    if price is not None and history.cost_a_call is not None:
        about = history.cost_a_call * bought
    elif price is not None:
        about = price.cost(prompt_tokens=math.ceil(prompt_tokens), completion_tokens=math.ceil(reply_tokens))
    return CallPlan(
        model=chat.model,
        host=judge_host(workspace.settings) if bought else None,
        n_items=n_items,
        n_calls=n_calls,
        n_stored=n_stored,
        tokens=math.ceil(estimate),
        tokens_basis=basis,
        worst_tokens=worst_tokens,
        cost_usd=about,
        worst_cost_usd=None if price is None else worst_cost,
        token_cap=token_cap,
        cost_cap_usd=cost_cap,
        prompt=() if first is None else tuple(RenderedMessage(m.role, m.content) for m in first.messages),
    )
