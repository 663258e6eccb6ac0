"""Brings data into a workspace: streaming, safe to repeat, and with every refused line listed.

`import_path` reads files and folders; the others take rows from a program. Each returns an `ImportReport`. A second
import of the same data changes nothing. Ids are those of the source and are shared by the whole workspace.
"""

from __future__ import annotations

from app.services.importing.paths import import_path
from app.services.importing.programs import (
    import_candidates,
    import_judgements,
    import_passages,
    import_queries,
    import_suggestions,
)
from app.services.importing.rows import NewCandidate, NewJudgement, NewPassage, NewQuery, NewSuggestion

__all__ = [
    "NewCandidate",
    "NewJudgement",
    "NewPassage",
    "NewQuery",
    "NewSuggestion",
    "import_candidates",
    "import_judgements",
    "import_passages",
    "import_path",
    "import_queries",
    "import_suggestions",
]
