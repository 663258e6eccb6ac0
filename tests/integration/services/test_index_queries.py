"""Which questions an index is tuned on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.bootstrap import Workspace
from app.services import index_queries
from app.services.importing import NewQuery, import_queries
from builders import add_corpus
from db.enums import Split


class Noting:
    """An encoder that only notes what it was given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts.extend(texts)
        return np.ones((len(texts), 1), dtype=np.float32)


def test_an_index_is_tuned_on_train_questions_and_never_on_held_out_ones(any_workspace: Workspace) -> None:
    """An index that knows the questions it is measured by looks better than it is to anybody else."""
    add_corpus(any_workspace)  # twelve train, eight held out
    encoder = Noting()
    assert index_queries.train_questions(any_workspace, lambda: encoder) is None
    assert not encoder.texts
    more = [
        NewQuery(f"n{number}", f"{number} ways to cook {chr(97 + number % 26)} rice", Split.TRAIN)
        for number in range(60)
    ]
    import_queries(any_workspace, more, source_name="more")
    vectors = index_queries.train_questions(any_workspace, lambda: encoder)
    assert vectors is not None
    assert len(vectors) == len(encoder.texts) == 72
    assert "how do I remove red wine from a carpet" not in encoder.texts  # a held-out question of the corpus
