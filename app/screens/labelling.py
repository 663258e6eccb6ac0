"""Labelling: choose a judge, see what it would be sent and cost, set a cap, follow the job, try failures again."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.problems import OURS, sentence, show_notice, told
from app.components.table import show_table
from app.components.text import counted, escaped, literal, minutes_text
from app.jobs import labelling as label_queue
from app.services import costs, judge_choices, label_jobs, label_plans
from app.services.judge_choices import JudgeChoice
from app.services.label_views import CostsView, FailureView, LabelJobView, LabelPlan
from app.services.measured_examples import measured_examples
from db.enums import RunStatus

_JOBS = 10
_FAILURES = 50
_CAP = "labelling.cap"


def draw() -> None:
    st.title("Labelling", anchor=False)
    show_notice("labelling")
    workspace = state.get_workspace()
    jobs = label_jobs.list_jobs(workspace, limit=_JOBS)
    active = [job for job in jobs if job.status.is_active]
    if active:
        for job in active:
            with st.container(border=True):
                st.fragment(watch, run_every=1.0)(job.id)
    else:
        _prepare(jobs)
    _failures(label_jobs.list_failures(workspace, limit=_FAILURES))
    _past([job for job in jobs if not job.status.is_active])
    _costs(costs.get_costs(workspace))


def _prepare(jobs: tuple[LabelJobView, ...]) -> None:
    choices = judge_choices.list_choices(
        state.get_workspace().settings, examples=measured_examples(state.get_workspace()) is not None
    )
    with st.container(border=True):
        choice = st.selectbox(
            "Judge",
            choices,
            format_func=lambda offered: f"{offered.name} ({offered.criterion})",
            key="labelling.judge",
            disabled=len(choices) == 1,
        )
        st.caption(literal(choice.about))
        if len(choices) == 1:
            st.caption("To ask an LLM, set OPENAI_API_KEY or OPENAI_BASE_URL and start Relabel again.")
        with told():
            plan = label_plans.plan(state.get_workspace(), spec=choice.spec)
            if plan.n_pairs:
                _plan(plan)
                _start(choice, plan, jobs)
            else:
                _nothing_left(plan)


def _nothing_left(plan: LabelPlan) -> None:
    review = state.SCREENS["review"]
    st.write(
        f"{literal(plan.judge)} has no candidate left to label. Choose another judge, review what waits, or put "
        "up more candidates with:"
    )
    st.code("relabel pool", language=None)
    st.page_link(review.path, label=f"Go to {review.title}", icon=review.icon)


def _plan(plan: LabelPlan) -> None:
    if plan.host is None:
        st.html('<div class="rl-host">No text leaves this machine.</div>')
    else:
        st.html(
            f'<div class="rl-host">Queries, definitions and passages are sent to <strong>{escaped(plan.host)}</strong>'
            f"<span>as {escaped(plan.judge)}</span></div>"
        )
    columns = st.columns(4)
    columns[0].metric("Pairs", f"{plan.n_pairs:,}", help="Candidates that this judge has not labelled.")
    columns[1].metric(
        "Calls", f"{plan.n_calls:,}", help=f"{counted(plan.n_stored, 'reply', 'replies')} stored already cost nothing."
    )
    columns[2].metric("Cost", _money(plan), help=literal(plan.tokens_basis))
    columns[3].metric(
        "Time", "unknown" if plan.minutes is None else minutes_text(plan.minutes), help=literal(plan.minutes_basis)
    )
    worst = f"At worst {_rough(plan.worst_tokens)} tokens"
    if plan.worst_cost_usd is not None:
        worst += f" or ${plan.worst_cost_usd:,.2f}"
    if plan.host is not None:
        st.caption(literal(f"About {_rough(plan.tokens)} tokens. {worst}: that is what a cap counts before each call."))
    if plan.prompt:
        with st.expander("One prompt as it would be sent", key="labelling.prompt"):
            for message in plan.prompt:
                st.caption(literal(message.role))
                st.code(message.content, language=None, wrap_lines=True)


def _money(plan: LabelPlan) -> str:
    if plan.host is None or not plan.n_calls:
        return "nothing"
    return f"{_rough(plan.tokens)} tokens" if plan.cost_usd is None else f"${plan.cost_usd:,.2f}"


def _rough(tokens: int) -> str:
    """An estimate, no more exact than it is."""
    if tokens < 1_000:
        return f"{tokens:,}"
    return f"{tokens / 1e3:,.0f} k" if tokens < 1_000_000 else f"{tokens / 1e6:,.1f} M"


def _start(choice: JudgeChoice, plan: LabelPlan, jobs: tuple[LabelJobView, ...]) -> None:
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    priced = plan.cost_usd is not None
    if plan.host is not None:
        with left:
            _cap(plan, priced=priced)
    waiting = next((job for job in jobs if job.judge == plan.judge and job.status is not RunStatus.DONE), None)
    verb = "Go on with" if waiting is not None and waiting.left else "Label"
    right.button(
        f"{verb} {counted(plan.n_pairs, 'pair')}",
        key="labelling.start",
        type="primary",
        on_click=_begin,
        args=(choice, priced),
        width="stretch",
    )
    if waiting is not None and plan.host is not None and waiting.spent_tokens:
        st.caption(f"The last job stopped after {_spent(waiting)}; that counts toward the cap.")


def _cap(plan: LabelPlan, *, priced: bool) -> None:
    kept = "Kept across crashes and workers: a call is made only if its worst case still fits."
    if priced:
        st.number_input(
            "Spend at most, in dollars",
            min_value=0.01,
            value=plan.cost_cap_usd,
            step=1.0,
            format="%.2f",
            placeholder="no cap",
            key=f"{_CAP}.usd",
            help=kept,
        )
    else:
        st.number_input(
            "Use at most, in tokens",
            min_value=1_000,
            value=plan.token_cap,
            step=10_000,
            placeholder="no cap",
            key=f"{_CAP}.tokens",
            help=f"{kept} No price is set for this model, so the cap is in tokens.",
        )


def _begin(choice: JudgeChoice, priced: bool) -> None:
    cap = state.value_of(f"{_CAP}.{'usd' if priced else 'tokens'}")
    try:
        label_queue.start(
            state.get_workspace(),
            person=state.get_person(),
            spec=choice.spec,
            token_cap=int(cap) if isinstance(cap, int | float) and not priced else None,
            cost_cap_usd=float(cap) if isinstance(cap, int | float) and priced else None,
        )
    except OURS as exc:
        state.leave_notice("labelling", sentence(exc), "refused")


def watch(job_id: int) -> None:
    """A job while it goes; redraws the whole screen when it ends."""
    with told():
        job = label_jobs.get_job(state.get_workspace(), job_id=job_id)
        if not job.status.is_active:
            st.rerun()
        st.html(f'<h2 class="rl-small-heading">{escaped(job.judge)}</h2>')
        told_off = job.done + job.failed
        share = min(1.0, told_off / job.n_pairs) if job.n_pairs else 0.0
        failed = f", {job.failed:,} without a reply" if job.failed else ""
        st.progress(share, text=f"{job.done:,} of {job.n_pairs:,} pairs labelled{failed}")
        if not job.worker_alive:
            st.warning(
                "The worker does not run, so nothing happens until it does. Start it in a terminal; the job goes on "
                "from where it stood.",
                icon=":material/power_off:",
            )
            st.code("relabel worker", language=None)
        where = f" at {job.host}" if job.host else ""
        st.caption(literal(f"Spent {_spent(job)}{where}{_of_cap(job)}. You can leave this page; the job goes on."))
        if job.cancel_requested:
            st.button("Stopping: calls under way are waited for", key=f"labelling.cancel.{job.id}", disabled=True)
        else:
            st.button("Stop this job", key=f"labelling.cancel.{job.id}", on_click=_cancel, args=(job.id,))


def _cancel(job_id: int) -> None:
    try:
        label_jobs.request_cancel(state.get_workspace(), job_id=job_id, person=state.get_person())
    except OURS as exc:
        state.leave_notice("labelling", sentence(exc), "refused")


def _spent(job: LabelJobView) -> str:
    if not job.spent_tokens:
        return "nothing"
    tokens = counted(job.spent_tokens, "token")
    return tokens if job.spent_usd is None else f"${job.spent_usd:,.4f} ({tokens})"


def _of_cap(job: LabelJobView) -> str:
    if job.cost_cap_usd is not None:
        return f", of at most ${job.cost_cap_usd:,.2f}"
    return "" if job.token_cap is None else f", of at most {job.token_cap:,} tokens"


def _failures(failures: tuple[FailureView, ...]) -> None:
    if not failures:
        return
    more = " or more" if len(failures) == _FAILURES else ""
    st.header(f"{counted(len(failures), 'pair')}{more} without a label", anchor=False)
    st.caption("The call failed. An unreadable reply is no failure: it is in the audit queue.")
    show_table(
        ["Question", "Passage", "Judge", "Why", "Tried", "Again?"],
        [
            [
                failure.query,
                failure.title or failure.passage_id,
                failure.judge,
                failure.reason,
                f"{failure.times:,}×",
                "may help" if failure.retryable else "will not help",
            ]
            for failure in failures
        ],
        align=["left", "left", "left", "left", "right", "left"],
    )
    st.button(
        "Ask again for those that a retry may help",
        key="labelling.retry",
        disabled=not any(failure.retryable for failure in failures),
        on_click=_retry,
    )


def _retry() -> None:
    try:
        asked = label_queue.retry(state.get_workspace(), person=state.get_person())
    except OURS as exc:
        state.leave_notice("labelling", sentence(exc), "refused")
    else:
        state.leave_notice("labelling", f"{counted(len(asked), 'job')} asks again for what failed.")


_ENDED = {RunStatus.DONE: "finished", RunStatus.FAILED: "stopped", RunStatus.CANCELLED: "cancelled"}


def _past(jobs: list[LabelJobView]) -> None:
    if not jobs:
        return
    st.header("Jobs", anchor=False)
    show_table(
        ["Ended", "Judge", "How", "Labelled", "Failed", "Spent", "Why it ended"],
        [
            [
                job.finished_at.strftime("%Y-%m-%d %H:%M") if job.finished_at else "–",
                job.judge,
                _ENDED.get(job.status, job.status.value),
                f"{job.done:,} of {job.n_pairs:,}",
                f"{job.failed:,}",
                _spent(job),
                job.message or "–",
            ]
            for job in jobs
        ],
        align=["left", "left", "left", "right", "right", "right", "left"],
    )


def _costs(view: CostsView) -> None:
    if not view.calls:
        return
    st.header("What the judges cost", anchor=False)
    show_table(
        ["Judge", "Calls", "Tokens", "Dollars", "Never settled", "Labels", "Unreadable", "Accepted", "Each accepted"],
        [
            [
                judge.judge,
                f"{judge.calls:,}",
                f"{judge.tokens:,}",
                "unknown" if judge.cost_usd is None else f"{judge.cost_usd:,.4f}",
                f"{judge.unsettled_calls:,}",
                f"{judge.suggestions:,}",
                f"{judge.unreadable:,}",
                f"{judge.accepted:,}",
                _each(judge.usd_per_accepted, judge.tokens_per_accepted),
            ]
            for judge in view.judges
        ],
        align=["left", "right", "right", "right", "right", "right", "right", "right", "right"],
    )
    st.caption(
        "Never settled: a process died or no answer came; such calls are counted by a cap at their worst case, and are "
        "not in Tokens and Dollars. Accepted: labels that stand accepted now, certified or not."
    )


def _each(dollars: float | None, tokens: float | None) -> str:
    if dollars is not None:
        return f"${dollars:,.4f}"
    return "–" if tokens is None else f"{tokens:,.0f} tokens"


with told():
    draw()
