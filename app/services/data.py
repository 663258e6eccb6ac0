"""What is in the workspace, for the Data screen and `relabel status`."""

from __future__ import annotations

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.views import DataView, LineProblem, SourceView
from db.queries import counts, exports, sources


def get_data(workspace: Workspace, criterion: Criterion = Criterion.RELEVANCE) -> DataView:
    """Passages, queries by split, curated labels of the criterion by who stands behind them, and every source."""
    with workspace.sessions.read() as session:
        exports.freeze_snapshot(session)
        return DataView(
            n_passages=counts.count_passages(session),
            n_queries=counts.count_queries(session),
            n_judgements={str(k): n for k, n in sorted(exports.count_curated(session, criterion=criterion).items())},
            n_uncertified=counts.count_uncertified_curated(session, criterion=criterion),
            sources=tuple(
                SourceView(
                    name=source.name,
                    layout=source.layout,
                    n_passages=source.n_passages,
                    n_queries=source.n_queries,
                    n_judgements=source.n_judgements,
                    n_suggestions=source.n_suggestions,
                    n_rejected_lines=source.n_rejected_lines,
                    created_at=source.created_at,
                )
                for source in exports.list_sources(session)
            ),
        )


def list_left_out(workspace: Workspace, *, source: str, limit: int = 200) -> tuple[LineProblem, ...]:
    """The lines that the last import of a source left out, by file and line, at most `limit`."""
    with workspace.sessions.read() as session:
        return tuple(LineProblem(*row) for row in sources.list_rejections(session, source=source, limit=limit))
