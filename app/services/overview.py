"""The workspace at a glance, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from annotator.calibration import MIN_REVIEWS
from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.calibrating import get_main_judge
from app.services.label_sets import is_trained
from app.services.models import model_view
from app.services.views import Funnel, ModelView, NextStep, OverviewView
from db.enums import RunStatus, Split
from db.queries import counters, counts, exports
from db.queries.certifying import count_unanswered, list_certificates, list_open_batches
from db.queries.counts import GradedCandidates
from db.queries.queue import count_waiting
from db.queries.registry import get_live, latest_candidate
from db.queries.training import criterion_of_model, get_active_run, get_run_of_model

COMPARED = 5_000
"""Curated labels up to which the Overview compares them with those a model was trained on, one by one. Our choice."""


def get_overview(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> OverviewView:
    """Everything the Overview shows, read in one snapshot."""
    with workspace.sessions.read() as session:
        exports.freeze_snapshot(session)
        groups = counters.list_groups(session, criterion=criterion)
        pairs = counts.count_pairs(session, groups=groups)
        graded = counts.count_graded_candidates(session, groups=groups)
        usage = counters.sum_usage(session, criterion=criterion)
        judges = counts.list_active_judges(session, groups=groups)
        live = get_live(session)
        funnel = Funnel(
            candidates=pairs.candidates,
            proposed=pairs.proposed,
            unreadable=pairs.unreadable,
            accepted=pairs.accepted,
            rejected=pairs.rejected,
            audited=pairs.audited,
            curated=pairs.curated,
            waiting=count_waiting(session, criterion=criterion),
        )
        queries = counts.count_queries(session)
        n_passages = counts.count_passages(session)
        live_view = None if live is None else model_view(session, live)
        return OverviewView(
            workspace=workspace.settings.name,
            criterion=criterion,
            n_queries=queries,
            n_passages=n_passages,
            funnel=funnel,
            cost_usd=None if usage.unpriced else usage.cost_usd,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            judges=tuple(judge.name for judge in judges),
            uncertified=counts.count_uncertified(groups) > 0 or funnel.accepted == 0,
            graded_by=counts.count_standing_by_person(session, groups=groups),
            live=live_view,
            next_steps=_next_steps(
                workspace,
                session,
                funnel=funnel,
                queries=queries,
                n_passages=n_passages,
                live=live_view,
                criterion=criterion,
                graded=graded,
                n_trainable=counters.count_where(
                    groups, lambda group: group.split is Split.TRAIN and group.curated_source is not None
                ),
            ),
            graded_candidates=_graded_text(graded),
        )


def _graded_text(graded: Mapping[Split, GradedCandidates]) -> str:
    parts = [f"{one.graded:,} of {one.candidates:,} {split}" for split, one in graded.items() if one.candidates]
    return f"{' and '.join(parts)} candidates graded" if parts else ""


def _next_steps(
    workspace: Workspace,
    session: Session,
    *,
    funnel: Funnel,
    queries: dict[str, int],
    n_passages: int,
    live: ModelView | None,
    criterion: Criterion,
    graded: Mapping[Split, GradedCandidates],
    n_trainable: int,
) -> tuple[NextStep, ...]:
    if n_passages == 0:
        return (NextStep("Import the passages your retriever searches.", "data", "relabel import PATH"),)
    if not queries:
        return (NextStep("Import questions people ask.", "data", "relabel import QUESTIONS.txt"),)
    if funnel.candidates + sum(one.candidates for one in graded.values()) == 0:
        return (NextStep("Pool candidates for the questions.", None, "relabel pool"),)
    steps: list[NextStep] = []
    active = get_active_run(session)
    candidate = latest_candidate(session)
    candidate_run = None if candidate is None else get_run_of_model(session, candidate.id)
    if active is not None:
        verb = "is waiting for a worker" if active.status is RunStatus.QUEUED else "is running"
        steps.append(NextStep(f"A training run {verb}. Follow it.", "train", None))
    elif candidate is not None and candidate_run is not None and (live is None or candidate.id > live.id):
        steps.append(NextStep(f"A candidate, {candidate.name}, waits for your decision.", "train", None))
    if funnel.proposed == 0:
        steps.append(NextStep("Have a judge propose grades for the candidates.", "labelling", "relabel label"))
    batches = list_open_batches(session, criterion=criterion)
    for batch in batches:
        to_go = count_unanswered(session, batch_id=batch.id, criterion=criterion)
        if to_go:
            text = f"Audit: {to_go:,} of {batch.n_audits:,} blind audits of batch {batch.id} to go."
            steps.append(NextStep(text, "review", None))
        else:
            text = f"Every audit of batch {batch.id} is answered. Issue its certificates."
            steps.append(NextStep(text, "calibration", _command("certify issue", criterion)))
    if not batches:
        steps.extend(_trust_steps(workspace, session, criterion=criterion))
    if funnel.waiting:
        steps.append(NextStep(f"Review: {funnel.waiting:,} pairs wait for a person.", "review", None))
    if not queries.get(Split.HELD_OUT):
        steps.append(
            NextStep("No question is held out, so no model can prove that it got better. Import some.", "data", None)
        )
    if (
        live is not None
        and live.evaluation is None
        and criterion is criterion_of_model(session, live.id)
        and counts.has_relevant_judgement(
            session, split=Split.HELD_OUT, criterion=criterion, relevant_from=workspace.scale.relevant_from
        )
    ):
        steps.append(NextStep("Measure the live model on the held-out judgements.", None, "relabel evaluate"))
    if active is None and n_trainable and _is_untrained(workspace, session, n=n_trainable, criterion=criterion):
        steps.append(NextStep("Retrain on the curated labels.", "train", _command("train", criterion)))
    return tuple(steps)


def _is_untrained(workspace: Workspace, session: Session, *, n: int, criterion: Criterion) -> bool:
    """Whether the labels differ from those trained on; with very many, whether anything was said or decided since."""
    if n > COMPARED:
        return counts.is_newer_than_training(session, criterion=criterion)
    return not is_trained(workspace, session, criterion=criterion)


def _trust_steps(workspace: Workspace, session: Session, *, criterion: Criterion) -> list[NextStep]:
    """What comes before the first certificate of the judge behind most proposals: calibrate it, then plan."""
    judge = get_main_judge(workspace, session, criterion=criterion)
    if judge is None:
        return []
    if judge.calibrator_id is None:
        if judge.n_blind < MIN_REVIEWS:
            return []
        text = f"Fit the calibrator of {judge.name}: {judge.n_blind:,} blind reviews of calibrate questions are there."
        return [NextStep(text, "calibration", _command("calibrate", criterion))]
    issued = [one for one in list_certificates(session, criterion=criterion) if "void" not in one.details]
    if issued or not judge.n_current:
        return []
    text = f"Plan a certificate for {judge.name}: how many blind audits buy which error bound."
    return [NextStep(text, "calibration", _command("certify plan", criterion))]


def _command(verb: str, criterion: Criterion) -> str:
    return f"relabel {verb}" + ("" if criterion is Criterion.RELEVANCE else f" --criterion {criterion}")
