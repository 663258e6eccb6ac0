"""The loss of one batch under the trainer: texts to vectors, vectors to scores, scores to the list loss."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from retriever.errors import TrainingDiverged
from retriever.losses.anchored import Anchored
from retriever.losses.list_loss import UNLABELLED, ListLoss
from retriever.types import TrainingSettings

Features = dict[str, Tensor]
Encode = Callable[[Features], Tensor]


class BatchLoss(nn.Module):
    """Encodes a batch and applies the list loss; the scores are cosines, so any model can be trained.

    settings: in_batch_margin, gradient_chunk, bf16, and anchor with its temperature. losses: where each step's loss is
    written. reference: the anchored term's encoder (`frozen_encode`), None for no such term.

    With gradient_chunk a chunk's activations are dropped once its vectors are known, and computed again, with the same
    random numbers, when the gradient of the loss for these vectors is there: memory holds one chunk's activations, not
    the batch's, for a second forward pass, and the gradient is the same. Source: GradCache (Gao et al. 2021, arXiv
    2101.06983); by torch's checkpointing of each chunk instead of two passes of our own, our choice.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        loss: ListLoss,
        settings: TrainingSettings,
        *,
        losses: list[float],
        reference: Encode | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.anchored = Anchored(loss, weight=settings.anchor, temperature=settings.anchor_temperature)
        self.compared: set[int] = set()
        """Positions of the lists that had something to compare in at least one step."""
        self._settings = settings
        self._losses = losses
        self._reference = reference

    def forward(self, features: Sequence[Features], labels: Mapping[str, Tensor]) -> Tensor:
        """The loss of a batch of `ListCollator`, a scalar. Raises: TrainingDiverged when it is NaN or infinite."""
        scores = self._scores(features, self._encode_in_chunks, n_queries=len(labels["labelled"]))
        labelled = labels["labelled"]
        grades = labels["grades"].masked_fill(~labelled, UNLABELLED)
        positive = labelled & (grades >= self.loss.relevant_from)
        negatives = labels["in_batch"] & below_margin(
            scores.detach(), positive=positive, margin=self._settings.in_batch_margin
        )
        mask, weights = labelled | negatives, labels["weights"]
        counts = self.loss.counts(grades, mask, weights)
        self.compared.update(labels["positions"][counts].tolist())
        if self._reference is None:
            loss: Tensor = self.loss(scores, grades, mask, weights)
        else:
            reference = self._scores(features, self._reference, n_queries=len(labelled))
            loss = self.anchored(scores, grades, mask, weights, reference=reference)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"the loss is {value} at step {len(self._losses) + 1}: lower the learning rate or check the base model",
                user_message="Training stopped: its loss is no longer a number. Nothing was saved.",
            )
        self._losses.append(value)
        return loss

    @staticmethod
    def _scores(features: Sequence[Features], encode: Encode, *, n_queries: int) -> Tensor:
        vectors = torch.cat([encode(feature) for feature in features])
        return vectors[:n_queries] @ vectors[n_queries:].T

    def _encode_in_chunks(self, feature: Features) -> Tensor:
        if self._settings.gradient_chunk is None:
            return self._encode(feature)
        chunk: Tensor = checkpoint(self._encode, feature, use_reentrant=False)
        return chunk

    def _encode(self, feature: Features) -> Tensor:
        return encode_features(self.model, feature, bf16=self._settings.bf16)


def encode_features(model: SentenceTransformer, feature: Features, *, bf16: bool) -> Tensor:
    """Vectors of tokenised texts, (n, dim) float32, L2-normalised; bf16 computes in bfloat16 where that is safe."""
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16):
        # The modules write into the mapping they are given.
        vectors: Tensor = model(dict(feature))["sentence_embedding"]
    return nn.functional.normalize(vectors.float(), dim=1)


def frozen_encode(model: SentenceTransformer, *, bf16: bool) -> Encode:
    """The encoder that the model is now, whatever the model learns later; without dropout and without gradient."""
    frozen = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def encode(feature: Features) -> Tensor:
        return encode_features(frozen, feature, bf16=bf16)

    return encode


def below_margin(scores: Tensor, *, positive: Tensor, margin: float) -> Tensor:
    """Where a score lies below the query's weakest positive s by more than margin·|s|; (n_queries, n_passages) bool.

    An unlabelled passage above that line may well be a positive nobody judged. A query without a positive has none.
    Source: relative_margin of sentence-transformers' mine_hard_negatives; measured against the weakest positive and
    with the current weights, our choice.
    """
    weakest = scores.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    limit = weakest - margin * weakest.abs()
    return (scores < limit) & positive.any(dim=1, keepdim=True)
