"""The retriever as a judge: from where a pair stands in its query's list it proposes a side, and how sure it is.

It proposes for every pair; which of its proposals become labels, a certificate decides and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from annotator.errors import InputRefused
from annotator.self_labels import LIST_DEPTH, TEMPERATURE, SelfLabelClassifier, proposed_grade
from annotator.types import (
    ConfidenceKind,
    Criterion,
    JudgeFailure,
    JudgeIdentity,
    JudgeKind,
    JudgeRequest,
    Proposal,
    RetrievalSignals,
    Scale,
    SuggestionStatus,
    Usage,
)

NAME = "retriever"


class RetrieverJudge:
    """Proposes 0 or the highest grade; its identity changes with either model, the list's depth or the classifier."""

    def __init__(
        self,
        classifier: SelfLabelClassifier,
        *,
        model_hash: str,
        model_before_hash: str | None = None,
        scale: Scale | None = None,
        criterion: Criterion = Criterion.RELEVANCE,
    ) -> None:
        """A judge for one live model.

        Raises:
            InputRefused: the classifier looks at the model version before, and none is named.
        """
        if classifier.needs_model_before and model_before_hash is None:
            raise InputRefused("this classifier looks at the model version before the live one; name that too")
        self._classifier = classifier
        self._scale = scale or Scale()
        before = model_before_hash if classifier.needs_model_before else None
        self.identity = JudgeIdentity(
            name=NAME,
            kind=JudgeKind.RETRIEVER,
            model=model_hash[:12],
            prompt_version=classifier.version,
            criterion=criterion,
            certifiable=True,
            parameters={
                "model_hash": model_hash,
                "model_before_hash": before or "",
                "list_depth": LIST_DEPTH,
                "temperature": TEMPERATURE,
                "max_grade": self._scale.max_grade,
                "relevant_from": self._scale.relevant_from,
            },
        )

    async def judge(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """One result a request, in order; a pair the models were not asked about is a failure, never a guess."""
        for count, request in enumerate(requests):
            if count % 200 == 199:
                await asyncio.sleep(0)  # lets a cancellation and other tasks through
            try:
                yield self.propose(request)
            except InputRefused as exc:
                yield JudgeFailure(request.pair_id, str(exc), retryable=True)

    def propose(self, request: JudgeRequest) -> Proposal:
        """The proposal for one pair.

        Raises:
            InputRefused: the request lacks the signals of a model version that the classifier looks at.
        """
        p = self._classifier.p_relevant(request.signals)
        return Proposal(
            pair_id=request.pair_id,
            status=SuggestionStatus.OK,
            grade=proposed_grade(p, self._scale),
            grade_distribution=None,  # it knows the side only
            confidence=max(p, 1.0 - p),
            confidence_kind=ConfidenceKind.RETRIEVER,
            evidence=None,
            evidence_dropped=False,
            reason=_reason(request.signals),
            raw_reply="",
            usage=Usage(cost_usd=0.0),
        )


def _reason(signals: RetrievalSignals) -> str:
    listed, before = signals.listed, signals.listed_before
    if listed is None:
        return ""
    place = f"place {listed.rank} of {LIST_DEPTH}" if listed.rank <= LIST_DEPTH else f"below the first {LIST_DEPTH}"
    parts = [
        f"{place} by meaning, {abs(listed.lead):.3f} {'before the next' if listed.lead > 0 else 'behind the best'}"
    ]
    if before is not None:
        parts.append(f"place {before.rank} with the model before")
    parts.append("not found by words" if signals.bm25_rank is None else f"place {signals.bm25_rank} by words")
    return "; ".join(parts)
