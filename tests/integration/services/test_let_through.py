"""How many models in a row went live without being shown better: what `gate_rule = "not-worse"` may add up to."""

from __future__ import annotations

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import promotion
from app.services.gate_passes import count_let_through
from builders import add_corpus, add_model
from db.enums import Split
from db.models import Evaluation
from db.queries.registry import get_live


def passes(workspace: Workspace, name: str, *, better: bool | None) -> None:
    """A new model goes live by a pass of the gate; better None: as before that was stored."""
    with workspace.sessions.read() as session:
        live = get_live(session)
    assert live is not None
    model_id = add_model(workspace, name, base_id=live.id)
    with workspace.sessions.begin() as session:
        session.add(
            Evaluation(
                model_version_id=model_id,
                baseline_model_id=live.id,
                split=Split.HELD_OUT,
                criterion=Criterion.RELEVANCE,
                qrels_hash="0" * 64,
                look=1,
                n_queries=40,
                n_judgements=100,
                measures={},
                comparison={"regression": []} | ({} if better is None else {"better": better}),
                per_query=[],
                gate_passed=True,
                gate_reasons=[],
                created_at=workspace.now(),
            )
        )
    promotion.promote(workspace, model_id=model_id, person="me")


def counted(workspace: Workspace) -> int:
    with workspace.sessions.read() as session:
        return count_let_through(session)


def test_models_are_counted_from_the_last_one_that_was_better(workspace: Workspace) -> None:
    """Ten margins are lost one by one, and each verdict speaks of one."""
    add_corpus(workspace)
    add_model(workspace, "base", live=True)
    assert counted(workspace) == 0
    passes(workspace, "second", better=False)
    passes(workspace, "third", better=False)
    assert counted(workspace) == 2
    promotion.rollback(workspace, person="me", reason="slow")
    assert counted(workspace) == 1
    passes(workspace, "fourth", better=True)
    assert counted(workspace) == 0
    passes(workspace, "fifth", better=False)
    assert counted(workspace) == 1
    passes(workspace, "sixth", better=None)
    assert counted(workspace) == 0
    chosen = add_model(workspace, "seventh")
    promotion.promote(workspace, model_id=chosen, person="me", override_reason="by hand")
    assert counted(workspace) == 0
