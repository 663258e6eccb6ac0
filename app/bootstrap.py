"""The one place where real things are chosen: settings become a database, a clock, models, a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from annotator.judges.base import Judge
from annotator.judges.call_ledger import CallLedger
from annotator.types import Scale
from app.config import Settings, load_settings
from app.errors import SettingsInvalid
from db.session import Sessions, connect, upgrade

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from annotator.judges.chat import ChatModel
    from annotator.judges.ensemble import StoredVotes
    from annotator.judges.examples import ExamplePool, Similarity
    from annotator.judges.pools import ListLimits
    from annotator.judges.server_features import Features


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Workspace:
    """An open workspace: what every service takes first."""

    settings: Settings
    sessions: Sessions
    now: Callable[[], datetime] = utc_now

    @property
    def scale(self) -> Scale:
        return Scale(max_grade=self.settings.max_grade, relevant_from=self.settings.relevant_from)

    def close(self) -> None:
        self.sessions.dispose()


@dataclass(frozen=True, slots=True)
class Examples:
    """The audited pairs that a judge may be shown, how many at a time, and how likeness is told."""

    pool: ExamplePool
    k: int
    similarity: Similarity


@dataclass(frozen=True, slots=True)
class Known:
    """What a workspace knows that a judge can start with; `app.services.judge_knowledge` reads it.

    `features` and `context` (tokens) are by model name, as probed; `votes` are what members of an ensemble have said
    already; `examples` is None unless they measured better than none.
    """

    features: Callable[[str], Features | None] | None = None
    context: Callable[[str], int | None] | None = None
    votes: StoredVotes | None = None
    examples: Examples | None = None


NOTHING_KNOWN = Known()

JUDGE_KINDS = ("local", "pointwise", "listwise", "utility", "ensemble")


def make_judge(
    settings: Settings,
    scale: Scale,
    ledger: CallLedger,
    spec: Mapping[str, Any] | None = None,
    *,
    known: Known = NOTHING_KNOWN,
) -> Judge:
    """The judge that proposes: that of the spec, else the LLM where a key or endpoint is set, else the local judge.

    A spec is plain JSON: {"kind": "local"}, {"kind": "pointwise", "prompt": NAME}, {"kind": "listwise", "prompt":
    NAME}, {"kind": "utility", "method": "utilsel" or "utilrank"}, {"kind": "ensemble", "members": [SPEC, …]}; "model"
    asks another model at the same endpoint, {"kind": "pointwise", "examples": true} shows audited pairs.

    Raises:
        SettingsInvalid: an LLM is asked for and neither a key nor an endpoint is set, or the spec means nothing.
        PromptInvalid: there is no such prompt.
    """
    spec = dict(spec or {})
    kind = spec.pop("kind", "pointwise" if settings.has_llm else "local")
    if kind not in JUDGE_KINDS:
        raise SettingsInvalid(f"there is no judge of the kind {kind!r}; choose {', '.join(JUDGE_KINDS)}")
    prompt, method, members = spec.pop("prompt", None), spec.pop("method", "utilsel"), spec.pop("members", [])
    model, examples = spec.pop("model", None), spec.pop("examples", False)
    if spec:
        raise SettingsInvalid(f"the judge's description names what nobody knows: {', '.join(map(str, spec))}")
    if kind == "local":
        from annotator.judges.local import LocalJudge

        return LocalJudge(scale)
    limit = settings.llm_max_completion_tokens
    if kind == "ensemble":
        from annotator.judges.ensemble import EnsembleJudge, nothing_stored

        made = [make_judge(settings, scale, ledger, member, known=known) for member in members]
        try:
            return EnsembleJudge(made, scale=scale, stored=known.votes or nothing_stored)
        except ValueError as exc:
            raise SettingsInvalid(f"these judges make no ensemble: {exc}") from exc
    chat = make_chat(settings, ledger, model=model, known=known)
    if kind == "pointwise":
        from annotator.judges.openai_chat import OpenAIChatJudge
        from annotator.prompts.loader import load_prompt

        pointwise = load_prompt(str(prompt or ("pointwise_examples" if examples else "pointwise_relevance")))
        judge = OpenAIChatJudge(chat, prompt=pointwise, scale=scale, max_completion_tokens=limit)
        return _with_examples(judge, known.examples) if examples else judge
    if examples:
        raise SettingsInvalid(f"a judge of the kind {kind} shows no examples")
    from annotator.prompts.loader import load_text_prompt

    if kind == "listwise":
        from annotator.judges.listwise import ListwiseJudge
        from annotator.judges.pools import ListLimits

        listwise = load_text_prompt(str(prompt or "listwise_relevance"))
        limits = _limits(ListLimits(), chat.model, known, reply_tokens=limit)
        return ListwiseJudge(chat, prompt=listwise, scale=scale, max_completion_tokens=limit, limits=limits)
    if kind == "utility" and method in ("utilsel", "utilrank"):
        from annotator.judges.utility import DEFAULT_LIMITS, UtilityJudge, UtilityMethod, UtilityPrompts

        prompts = UtilityPrompts(
            load_text_prompt("relsel"), load_text_prompt("pseudo_answer"), load_text_prompt(str(method))
        )
        limits = _limits(DEFAULT_LIMITS, chat.model, known, reply_tokens=limit)
        return UtilityJudge(
            chat,
            prompts=prompts,
            method=UtilityMethod(method),
            scale=scale,
            max_completion_tokens=limit,
            limits=limits,
        )
    raise SettingsInvalid(f"there is no utility judge of the method {method!r}; choose utilsel or utilrank")


def _limits(usual: ListLimits, model: str, known: Known, *, reply_tokens: int) -> ListLimits:
    """The usual limits of a list, less where the model was found to hold less."""
    from annotator.judges.pools import limits_within

    context = known.context(model) if known.context is not None else None
    return usual if context is None else limits_within(usual, context_tokens=context, reply_tokens=reply_tokens)


def _with_examples(judge: Judge, examples: Examples | None) -> Judge:
    if examples is None:
        raise SettingsInvalid(
            "examples have not measured better than none",
            user_message="Examples are shown to a judge only where they measured better on blind reviews. Measure "
            "them with: relabel examples --measure",
        )
    from annotator.judges.examples import ExampleJudge

    return ExampleJudge(judge, pool=examples.pool, k=examples.k, similarity=examples.similarity)


def make_chat(
    settings: Settings, ledger: CallLedger, *, model: str | None = None, known: Known = NOTHING_KNOWN
) -> ChatModel:
    """The LLM that the settings name, for whoever calls one; every call goes through the ledger.

    It starts with the features that a probe found, where there was one.

    Raises:
        SettingsInvalid: neither a key nor an endpoint is set.
    """
    from annotator.judges.chat import ChatModel, Price

    price_in, price_out = settings.llm_price_in_per_million_usd, settings.llm_price_out_per_million_usd
    chat = ChatModel(
        make_llm_client(settings),
        model=model or settings.llm_model,
        ledger=ledger,
        concurrency=settings.llm_concurrency,
        price=None if price_in is None or price_out is None else Price(price_in, price_out),
    )
    features = known.features(chat.model) if known.features is not None else None
    if features is not None:
        chat.learn(features)
    return chat


def make_llm_client(settings: Settings) -> AsyncOpenAI:
    """A client of the endpoint that the settings name; it makes each call once.

    Raises:
        SettingsInvalid: neither a key nor an endpoint is set.
    """
    from annotator.judges.chat import make_client

    if settings.openai_api_key is None and settings.openai_base_url is None:
        raise SettingsInvalid(
            "judge = llm without OPENAI_API_KEY or OPENAI_BASE_URL",
            user_message='Set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own, or use judge = "local".',
        )
    # Servers of one's own often ask for no key, but the client insists on some.
    key = "none" if settings.openai_api_key is None else settings.openai_api_key.get_secret_value()
    return make_client(api_key=key, base_url=settings.openai_base_url, timeout=settings.llm_timeout_seconds)


def judge_host(settings: Settings) -> str | None:
    """The host that receives the texts when the LLM is asked, or None when nothing leaves this machine."""
    if not settings.has_llm:
        return None
    return urlsplit(settings.openai_base_url or "https://api.openai.com/v1").netloc


def open_workspace(path: Path) -> Workspace:
    """The workspace in that directory, its database brought up to date.

    Raises:
        WorkspaceMissing: the directory is no workspace.
        SettingsInvalid: its settings or the environment are wrong.
        DatabaseUnreachable, SchemaTooNew: from the database.
    """
    return open_with(load_settings(path))


def open_with(settings: Settings, *, now: Callable[[], datetime] = utc_now) -> Workspace:
    """The workspace that these settings describe, its directories and database made where they are missing."""
    for folder in (settings.workspace, settings.models, settings.indexes):
        folder.mkdir(parents=True, exist_ok=True)
    sessions = connect(settings.database)
    upgrade(sessions)
    workspace = Workspace(settings=settings, sessions=sessions, now=now)
    from db.queries.suspending import hold_scale

    hold_scale(sessions, workspace.scale, now())  # the settings may name another scale than they did yesterday
    return workspace
