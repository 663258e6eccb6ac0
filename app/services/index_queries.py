"""The questions on which an index chooses how hard a search looks: the workspace's own, where there are enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.bootstrap import Workspace
from db.queries import hybrid as hybrid_queries

if TYPE_CHECKING:
    from retriever.encoder import Encoder

FEWEST = 64
"""Fewer say too little about recall@10 (a standard error of .01 and more); moved stored vectors are used then. Our
choice."""

MOST = 512


def train_questions(workspace: Workspace, load: Callable[[], Encoder]) -> NDArray[np.float32] | None:
    """Vectors of at most 512 train questions, (m, dim) float32, L2-normalised; None where there are fewer than 64.

    No judgement is read, and no held-out question: the index must not know what it will be measured on.
    """
    with workspace.sessions.read() as session:
        texts = hybrid_queries.list_train_questions(session, limit=MOST)
    return load().encode_queries(texts) if len(texts) >= FEWEST else None
