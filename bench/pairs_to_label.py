"""A workspace full of candidates for benches of labelling: invented prose, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.bootstrap import Workspace, open_with
from app.config import settings_from
from app.services.importing import NewCandidate, NewQuery, import_candidates, import_passages, import_queries
from db.enums import Split

_SYLLABLES = ("ba", "den", "fi", "gor", "hal", "is", "ka", "lum", "mer", "no", "pra", "rin", "sol", "ta", "ul", "ver")
PER_QUERY = 50
WORDS = 110


def make_workspace(folder: Path, *, n_pairs: int, settings: Mapping[str, Any], seed: int = 0) -> Workspace:
    """An open workspace with so many candidates of train questions, 50 a question and 110 words a passage."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(_SYLLABLES, k=draw.randint(1, 3))) for _ in range(4_000)]
    workspace = open_with(settings_from(folder, dict(settings)))
    passages = [
        (f"p{n}", " ".join(draw.choices(words, k=4)), " ".join(draw.choices(words, k=WORDS))) for n in range(n_pairs)
    ]
    import_passages(workspace, passages, source_name="bench")
    n_queries = -(-n_pairs // PER_QUERY)
    queries = [NewQuery(f"q{n}", f"{' '.join(draw.choices(words, k=8))} {n}", Split.TRAIN) for n in range(n_queries)]
    import_queries(workspace, queries, source_name="bench")
    candidates = [
        NewCandidate(f"q{n // PER_QUERY}", f"p{n}", "bm25", n % PER_QUERY + 1, 30.0 - n % PER_QUERY)
        for n in range(n_pairs)
    ]
    import_candidates(workspace, candidates, source_name="bench")
    return workspace
