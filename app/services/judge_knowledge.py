"""What the workspace knows that a judge can start with: probed features, stored votes, examples that help."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from annotator.judges.capabilities import Capabilities
from annotator.judges.ensemble import MemberVote
from annotator.judges.server_features import Features
from annotator.types import JudgeIdentity, JudgeRequest
from app.bootstrap import Known, Workspace, judge_host
from app.config import Settings
from app.services.measured_examples import measured_examples
from db.queries.votes import list_holding_suggestions
from db.queries.workspace_values import get_value, set_value


def known_to(workspace: Workspace) -> Known:
    """All of it, read when a judge is made; votes are read when an ensemble judges."""

    def votes(identity: JudgeIdentity, requests: Sequence[JudgeRequest]) -> Mapping[int, MemberVote]:
        with workspace.sessions.read() as session:
            found = list_holding_suggestions(session, identity, [request.pair_id for request in requests])
        return {
            suggestion.pair_id: MemberVote(
                grade=suggestion.grade,
                confidence=suggestion.confidence,
                confidence_kind=suggestion.confidence_kind,
                suggestion_id=suggestion.id,
                reply_key=suggestion.reply_key,
            )
            for suggestion in found
        }

    def features(model: str) -> Features | None:
        capabilities = get_capabilities(workspace, model=model)
        return None if capabilities is None else capabilities.features

    def context(model: str) -> int | None:
        capabilities = get_capabilities(workspace, model=model)
        return None if capabilities is None else capabilities.context_length

    return Known(features=features, context=context, votes=votes, examples=measured_examples(workspace))


def get_capabilities(workspace: Workspace, *, model: str | None = None) -> Capabilities | None:
    """What the last probe of the model at the present endpoint found, or None if there was none."""
    settings = workspace.settings
    with workspace.sessions.read() as session:
        stored = get_value(session, _name(settings, model or settings.llm_model))
    return None if stored is None else Capabilities.from_json(stored)


def store_capabilities(workspace: Workspace, capabilities: Capabilities, *, model: str | None = None) -> None:
    """Keeps what a probe found in place of what was found before."""
    settings = workspace.settings
    with workspace.sessions.begin() as session:
        name = _name(settings, model or settings.llm_model)
        set_value(session, name, capabilities.to_json(), now=workspace.now())


def _name(settings: Settings, model: str) -> str:
    """The value's name; hashed, for addresses and model names are longer than names of values may be."""
    endpoint = f"{settings.openai_base_url or judge_host(settings)}\n{model}"
    return f"probe:{hashlib.sha256(endpoint.encode()).hexdigest()[:40]}"
