"""Looking over a workspace and its surroundings: what works, what does not, and what to do about it."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import openai
import sqlalchemy as sa

from annotator.errors import JudgeUnavailable
from annotator.judges.capabilities import Capabilities
from app.bootstrap import Workspace, judge_host, make_chat, make_llm_client
from app.errors import SettingsInvalid
from app.services.call_ledger import DatabaseLedger
from app.services.charged_calls import charged_to_a_job
from app.services.encoder_choice import MEASURED_FROM, EncoderChoice, installed_version, list_choices
from app.services.indexing import describe_missing_index, find_index, index_precision
from app.services.judge_knowledge import get_capabilities, store_capabilities
from app.services.passage_vectors import list_dropable, vectors_folder
from app.services.runs import is_worker_alive
from db.queries import counters
from db.queries.corpus_state import read_state
from db.queries.registry import get_live
from db.session import current_revision
from retriever.vector_cache import list_caches

PACKAGES = (
    "streamlit",
    "sqlalchemy",
    "dbos",
    "torch",
    "sentence-transformers",
    "openvino",
    "faiss-cpu",
    "bm25s",
    "openai",
)
_LOW_DISK = 2 << 30
_ROOM_TO_THINK = 4
"""A real passage takes a thinking model so many times the tokens of the probe's one sentence. Our choice."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `ok` None means that it is not needed here."""

    name: str
    ok: bool | None
    detail: str
    advice: str = ""


def examine(workspace: Workspace) -> tuple[Check, ...]:
    """Every check, in the order they are best read."""
    checks: tuple[Callable[[Workspace], Check], ...] = (
        _python,
        _packages,
        _database,
        _counts,
        _model,
        _encoder,
        _index,
        _vectors,
        _disk,
        _worker,
        _llm,
        _capabilities,
    )
    return tuple(check(workspace) for check in checks)


def probe(workspace: Workspace) -> Capabilities:
    """What the workspace's LLM can do, found out by one small call and kept for whoever calls it from now on.

    The call is charged to a job of its own, under the caps of the settings.

    Raises:
        SettingsInvalid: no LLM is set.
        Conflict: another process probes in this workspace.
        CapReached: the call could cost more than the caps of the settings allow.
        InputInvalid: the settings have a cap in dollars and no price.
        JudgeUnavailable: no reply came, or the server refuses the key, the model or the account.
    """
    from annotator.judges.chat import CallFailed
    from annotator.judges.probing import probe as ask
    from annotator.judges.probing import probe_identity

    if not workspace.settings.has_llm:
        raise SettingsInvalid("there is no LLM to probe", user_message="No LLM is set, so there is nothing to probe.")
    settings = workspace.settings
    try:
        with (
            DatabaseLedger(workspace) as ledger,
            charged_to_a_job(
                workspace,
                ledger,
                probe_identity(settings.llm_model),
                kind="probe",
                n=1,
                cap_tokens=settings.llm_cap_tokens,
                cap_usd=settings.llm_cap_usd,
            ),
        ):
            price = make_chat(settings, ledger).price
            found = asyncio.run(ask(make_llm_client(settings), model=settings.llm_model, ledger=ledger, price=price))
    except CallFailed as exc:
        raise JudgeUnavailable(f"the probe got no reply: {exc.reason}") from exc
    store_capabilities(workspace, found)
    return found


def _python(workspace: Workspace) -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", (3, 11) <= sys.version_info < (3, 14), version, "Relabel runs on Python 3.11 to 3.13.")


def _packages(workspace: Workspace) -> Check:
    found = [f"{name} {installed_version(name)}" for name in PACKAGES]
    return Check("packages", True, ", ".join(found))


def _database(workspace: Workspace) -> Check:
    url = workspace.sessions.engine.url.render_as_string(hide_password=True)
    with workspace.sessions.engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        return Check("database", True, f"{url}, at migration {current_revision(connection)}")


def _counts(workspace: Workspace) -> Check:
    with workspace.sessions.read() as session:
        off = {name: n for name, n in counters.compare(session).items() if n}
    if not off:
        return Check("counts", True, "what screens count is what is there")
    said = ", ".join(f"{n:,} of {name}" for name, n in off.items())
    return Check("counts", False, f"kept counts differ: {said}", "relabel doctor --recount counts anew.")


def recount(workspace: Workspace) -> None:
    """Counts anew what the screens count and lists filter by; a million pairs take seconds, and nobody writes then."""
    with workspace.sessions.begin() as session:
        counters.recount(session)


def _model(workspace: Workspace) -> Check:
    from retriever.errors import RetrieverError
    from retriever.model_store import resolve_model

    try:
        return Check("base model", True, f"{workspace.settings.model}: {resolve_model(workspace.settings.model)}")
    except RetrieverError as exc:
        return Check("base model", False, str(exc), exc.user_message)


def _encoder(workspace: Workspace) -> Check:
    """What encodes passages on this machine, and how fast each way was when it was measured."""
    asked = workspace.settings.encoder_backend
    known = list_choices(workspace)
    said = [_choice_in_words(choice) for choice in known]
    fell_back = [choice for choice in known if choice.fell_back]
    if asked != "auto":
        said.insert(0, f"{asked}, as set")
    elif not known:
        detail = f"torch; others are measured with the first {MEASURED_FROM} passages"
        return Check("encoder", None, detail)
    advice = "Set encoder_backend to torch, or to auto to have it measured." if fell_back else ""
    return Check("encoder", not fell_back or asked == "auto", "; ".join(said), advice)


def _choice_in_words(choice: EncoderChoice) -> str:
    figures = [
        f"{figure.backend} {figure.texts_per_second:,.0f}/s"
        + (f" (refused: {figure.refused})" if figure.refused else f", cosine {figure.least_cosine:.5f}")
        if figure.texts_per_second is not None and figure.least_cosine is not None
        else f"{figure.backend} refused: {figure.refused}"
        for figure in choice.figures
    ]
    words = f"{choice.model}: {choice.backend}"
    if figures:
        words += f" (on {choice.n_texts} passages: {', '.join(figures)})"
    if choice.fell_back:
        words += f"; torch encoded instead {choice.fell_back} times: {choice.reason}"
    return words


def _index(workspace: Workspace) -> Check:
    """Whether the live model can search the passages as they are, encoded as the settings say."""
    with workspace.sessions.read() as session:
        live, state = get_live(session), read_state(session)
        index = None if live is None else find_index(workspace, session, live, state=state.hash)
    if live is None or not state.n:
        return Check("index", None, "nothing indexed yet")
    if index is None:
        return Check("index", None, describe_missing_index(workspace, live, state=state.hash))
    length, precision = workspace.settings.max_length, index_precision(index)
    exactness = precision if precision == "float32" else f"{precision} or more exact"
    detail = f"{index.n_passages:,} passages, {length} tokens of each, in {exactness}, {index.kind}"
    if index.recall is not None:
        detail += f", recall@10 {index.recall:.3f} of exact search with the encoder's own queries"
    return Check("index", True, detail)


def _vectors(workspace: Workspace) -> Check:
    kept = sum(stored.n_bytes for stored in list_caches(vectors_folder(workspace)))
    unused = sum(stored.n_bytes for stored in list_dropable(workspace))
    detail = (
        f"{kept / (1 << 20):,.0f} MiB kept, {unused / (1 << 20):,.0f} MiB of them of models that are retired or gone"
    )
    if not unused:
        return Check("vectors", None if not kept else True, detail)
    return Check("vectors", None, f"{detail}; relabel doctor --drop-vectors deletes those")


def _disk(workspace: Workspace) -> Check:
    free = shutil.disk_usage(workspace.settings.workspace).free
    return Check("disk", free > _LOW_DISK, f"{free / (1 << 30):.1f} GiB free", "Each model takes about 0.1 GiB.")


def _worker(workspace: Workspace) -> Check:
    if is_worker_alive(workspace):
        return Check("worker", True, "running")
    return Check("worker", None, "not running", "relabel serve starts one; relabel train does without.")


def _llm(workspace: Workspace) -> Check:
    settings = workspace.settings
    host = judge_host(settings)
    if host is None:
        return Check("LLM", None, "none set: the local judge proposes, no text leaves this machine")
    key = "none" if settings.openai_api_key is None else settings.openai_api_key.get_secret_value()
    client = openai.OpenAI(
        api_key=key, base_url=settings.openai_base_url, timeout=min(10.0, settings.llm_timeout_seconds), max_retries=0
    )
    advice = "Check OPENAI_BASE_URL and OPENAI_API_KEY, and that the server runs."
    try:
        models = [model.id for model in client.models.list()]
    except openai.OpenAIError as exc:
        return Check("LLM", False, f"{host}: {exc}", advice)
    finally:
        client.close()
    known = settings.llm_model in models
    detail = f"{host} answers; passages are sent there; model {settings.llm_model} is {'' if known else 'not '}listed"
    return Check("LLM", known, detail, f"Set llm_model to one of: {', '.join(models[:10])}")


def _capabilities(workspace: Workspace) -> Check:
    """What the last probe found; looking costs nothing."""
    settings = workspace.settings
    if not settings.has_llm:
        return Check("LLM can", None, "none set")
    found = get_capabilities(workspace)
    if found is None:
        return Check("LLM can", None, "not probed", "relabel doctor --probe asks it one small question.")
    yes = {True: "yes", False: "no"}
    features = found.features
    said = [
        f"log-probabilities {yes[features.logprobs]}",
        f"structured output {features.reply_format.name.replace('_', ' ')}",
        f"temperature {yes[features.temperature]}",
        f"limit by {'max_completion_tokens' if features.max_completion_tokens else 'max_tokens'}",
        f"thinks first {yes[found.reasons]}",
        f"context {found.context_length:,} tokens" if found.context_length else "context not told",
    ]
    confidence = "token" if found.token_confidence else "verbal"
    detail = f"{settings.llm_model}: {', '.join(said)}; so its confidence is {confidence}"
    if not found.obeys_format:
        return Check("LLM can", False, f"{detail}; it did not answer in the form asked for", "Try another model.")
    wanted = _ROOM_TO_THINK * found.completion_tokens
    if found.reasons and settings.llm_max_completion_tokens < wanted:
        said_so = f"{detail}; it used {found.completion_tokens:,} tokens on one small question"
        advice = f"Set llm_max_completion_tokens to {wanted:,} or more, or its replies are cut off and unreadable."
        return Check("LLM can", False, said_so, advice)
    return Check("LLM can", True, detail)
