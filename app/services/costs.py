"""What labelling has cost, by judge and by accepted label."""

from __future__ import annotations

from app.bootstrap import Workspace
from app.services.label_views import CostsView, JudgeCostView
from db.queries import spending


def get_costs(workspace: Workspace) -> CostsView:
    """Calls, tokens and dollars of every judge that has made a call, and what one accepted label of it costs."""
    with workspace.sessions.read() as session:
        spent = spending.spending_by_judge(session)
        labels = spending.labels_by_judge(session)
    judges = []
    for one in spent:
        made = labels.get(one.judge_id, spending.LabelsOfJudge(0, 0, 0))
        cost = None if one.cost_usd is None else one.cost_usd + one.unsettled_cost_usd
        tokens = one.tokens + one.unsettled_tokens
        judges.append(
            JudgeCostView(
                judge=one.judge,
                calls=one.calls,
                tokens=one.tokens,
                cost_usd=one.cost_usd,
                unsettled_calls=one.unsettled_calls,
                unsettled_tokens=one.unsettled_tokens,
                unsettled_cost_usd=one.unsettled_cost_usd,
                suggestions=made.suggestions,
                unreadable=made.unreadable,
                accepted=made.accepted,
                usd_per_accepted=None if cost is None or not made.accepted else cost / made.accepted,
                tokens_per_accepted=tokens / made.accepted if made.accepted else None,
            )
        )
    known = [judge.cost_usd for judge in judges]
    return CostsView(
        judges=tuple(judges),
        calls=sum(judge.calls for judge in judges),
        tokens=sum(judge.tokens for judge in judges),
        cost_usd=None if None in known else sum(cost for cost in known if cost is not None),
    )
