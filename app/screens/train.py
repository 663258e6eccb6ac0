"""Train: one click freezes the labels and retrains; then old against new, the gate, promote or roll back."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.badges import sources_text
from app.components.charts import show_loss
from app.components.compare_again import show_compare_again
from app.components.evaluation import show_changes, show_differences, show_gate, show_headline, show_slices
from app.components.held_out import show_every_query, show_judge_first, show_regression
from app.components.lineage import show_revoked_mark
from app.components.open_round import chosen_speed, draw_rounds
from app.components.problems import OURS, sentence, show_notice, told
from app.components.table import show_table
from app.components.text import counted, escaped, literal, minutes_text
from app.config import Speed
from app.jobs import training
from app.services import judging_first, lineage, promotion, runs
from app.services.encoding_time import get_encoding_time
from app.services.views import EvaluationView, ModelView, RunView
from db.enums import ModelStage, RunStatus

_RUNS = 20
_ENDED = {
    RunStatus.DONE: "finished",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "was cancelled",
}
_SPEEDS = {
    Speed.ADAPTER: "Adapter: seconds",
    Speed.FULL: "Full: minutes or more",
    Speed.FULL_ADAPTER: "Full, then adapter: minutes or more",
}
_SPEED_SAYS = {
    Speed.ADAPTER: "Only how questions are encoded changes; the passages’ vectors and the index stay as they are.",
    Speed.FULL: "The encoder itself changes.",
    Speed.FULL_ADAPTER: "The encoder learns what carries over to new passages, the adapter on top what was labelled.",
}
_MAKES = {
    Speed.ADAPTER: "adapter",
    Speed.FULL: "full training",
    Speed.FULL_ADAPTER: "full training and an adapter on top",
}


def draw() -> None:
    st.title("Train", anchor=False)
    show_notice("train")
    latest = runs.get_latest_run(state.get_workspace())
    if latest is not None and latest.status.is_active:
        st.fragment(watch, run_every=1.0)(latest.id)
    else:
        _start()
        if latest is not None:
            _result(_chosen_run(latest))
    draw_rounds()
    _history()


def _chosen_run(latest: RunView) -> RunView:
    """The run whose result is shown, under its heading: the newest, until another is picked."""
    past = {run.id: run for run in runs.list_runs(state.get_workspace(), limit=_RUNS)}
    title, picker = st.columns([2, 3], vertical_alignment="center")
    run = latest
    if len(past) > 1:
        chosen = picker.selectbox(
            "Run shown",
            list(past),
            format_func=lambda run_id: _one_line(past[run_id]),
            key=f"train.run.{latest.id}",
            label_visibility="collapsed",
        )
        run = past.get(chosen, latest)
    title.header(f"Run {run.id} {_ENDED.get(run.status, run.status.value)}", anchor=False)
    return run


def _one_line(run: RunView) -> str:
    main = next((m for m in run.evaluation.measures if m.name == "nDCG@10"), None) if run.evaluation else None
    figure = f", nDCG@10 {main.value:.3f} (n = {main.n_queries:,})" if main else ""
    stage = f", {run.model.stage.value}" if run.model else ""
    return f"Run {run.id}: {counted(run.n_labels, 'label')}, {_ENDED.get(run.status, run.status.value)}{figure}{stage}"


def _start() -> None:
    labels = runs.get_trainable(state.get_workspace(), criterion=state.get_criterion())
    parts = sources_text(labels.counts, n_uncertified=labels.n_uncertified)
    with st.container(border=True):
        left, right = st.columns([4, 1], vertical_alignment="center")
        with left:
            st.html(
                '<h2 class="rl-small-heading">The next label set</h2>'
                f"<div>{counted(labels.n_labels, 'label')} on {counted(labels.n_queries, 'question')}"
                f"{escaped(f': {parts}') if parts else ''}.</div>"
                '<div class="rl-muted">Held-out questions never train. '
                "The live model stays live until you promote another.</div>"
            )
        with right:
            st.button(
                "Retrain",
                key="train.start",
                type="primary",
                disabled=labels.problem is not None,
                on_click=_begin,
                icon=state.SCREENS["train"].icon,
                width="stretch",
            )
        st.radio(
            "Speed",
            list(_SPEEDS),
            index=list(_SPEEDS).index(state.get_workspace().settings.speed),
            format_func=_SPEEDS.__getitem__,
            captions=_captions(),
            key="train.speed",
            horizontal=True,
        )
        if labels.problem is not None:
            st.warning(literal(labels.problem), icon=":material/block:")
            review = state.SCREENS["review"]
            st.page_link(review.path, label=f"Go to {review.title}", icon=review.icon)


def _captions() -> list[str]:
    """What each speed changes, and what it costs before the model can be tried."""
    time = get_encoding_time(state.get_workspace())
    passages = "All passages are" if time is None else f"All {counted(time.n_passages, 'passage')} are"
    lasts = "" if time is None or time.seconds is None else f": {minutes_text(time.seconds / 60)} here"
    encoding = f" {passages} encoded anew before the model can be tried{lasts}."
    return [says + ("" if speed is Speed.ADAPTER else encoding) for speed, says in _SPEED_SAYS.items()]


def _begin() -> None:
    try:
        training.start(
            state.get_workspace(),
            person=state.get_person(),
            criterion=state.get_criterion(),
            overrides=chosen_speed(),
        )
    except OURS as exc:
        state.leave_notice("train", sentence(exc), "refused")


def watch(run_id: int) -> None:
    """A run while it goes; redraws the whole screen when it ends."""
    with told():
        run = runs.get_run(state.get_workspace(), run_id=run_id)
        if not run.status.is_active:
            st.rerun()
        queued = run.status is RunStatus.QUEUED
        st.header("Waiting to start" if queued else "Retraining", anchor=False)
        share = min(1.0, run.done / run.total) if run.total else 0.0
        steps = f" ({run.done:,} of {run.total:,})" if run.total else ""
        st.progress(share, text=f"{literal(run.stage)}{steps}")
        if run.message:
            st.caption(literal(run.message))
        if not run.worker_alive:
            st.warning(
                "The worker does not run, so nothing happens until it does. Start it in a terminal; the run goes on "
                "from where it stood.",
                icon=":material/power_off:",
            )
            st.code("relabel worker", language=None)
        st.caption(_about(run) + " You can leave this page; the run goes on.")
        show_loss(run.points)
        if run.cancel_requested:
            st.button("Cancelling", key="train.cancel", disabled=True)
        else:
            st.button("Cancel this run", key="train.cancel", on_click=_cancel, args=(run.id,))


def _cancel(run_id: int) -> None:
    try:
        runs.request_cancel(state.get_workspace(), run_id=run_id, person=state.get_person())
    except OURS as exc:
        state.leave_notice("train", sentence(exc), "refused")


def _about(run: RunView) -> str:
    labels = counted(run.n_labels, "label")
    made = _MAKES[run.speed]
    return f"Run {run.id}, {made}, label set {literal(run.label_set)} with {labels}, loss {literal(run.loss_name)}."


def _result(run: RunView) -> None:
    ended = f"Ended {run.finished_at:%Y-%m-%d %H:%M}." if run.finished_at else ""
    st.caption(f"{_about(run)} {literal(ended)}")
    if run.status is RunStatus.FAILED:
        st.error(literal(run.message or "The log says why."), icon=":material/error:")
    elif run.message:
        st.caption(literal(run.message))
    if run.remarks:
        st.caption(literal(" ".join(run.remarks)))
    if run.model is not None:
        show_revoked_mark(lineage.count_revoked_of(state.get_workspace(), [run.model.id]).get(run.model.id, 0))
    newest = run.model.evaluation if run.model is not None and run.model.evaluation is not None else run.evaluation
    if newest is not None:
        _compared(newest, run.model)
    elif run.model is not None:
        if not run.message:
            st.write("Not evaluated: there are no held-out questions with judgements by people.")
        _promote(run.model, gate_passed=False)
        show_regression(())
    if run.points:
        with st.expander("Loss curve", key="train.curve"):
            show_loss(run.points)


def _compared(evaluation: EvaluationView, model: ModelView | None) -> None:
    show_headline(evaluation)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        show_gate(evaluation)
    with right:
        if model is not None:
            _promote(model, gate_passed=evaluation.gate_passed is True and not _stale(evaluation, model))
    first = judging_first.get_judge_first(state.get_workspace(), evaluation_id=evaluation.id)
    show_judge_first(evaluation, first)
    if model is not None and model.stage is not ModelStage.LIVE:
        show_compare_again(evaluation, model, first)
    show_differences(evaluation)
    show_changes(evaluation)
    show_every_query(evaluation)
    show_slices(evaluation)
    show_regression(evaluation.checks)


def _stale(evaluation: EvaluationView, model: ModelView) -> bool:
    """Whether a pass of the gate counts no more; the screen says why."""
    live = promotion.get_live_view(state.get_workspace())
    if live is None or live.id == model.id:
        return False
    if live.name != evaluation.baseline:
        st.caption(literal(f"Compared with {evaluation.baseline or 'no model'}, but {live.name} is live now."))
        return True
    refusal = promotion.get_refusal(state.get_workspace(), model_id=model.id)
    if refusal:
        st.caption(literal(refusal))
    return bool(refusal)


def _promote(model: ModelView, *, gate_passed: bool) -> None:
    if model.stage is ModelStage.LIVE:
        st.html(f"<p><strong>{escaped(model.name)} is live.</strong></p>")
        return
    if gate_passed:
        st.button("Promote", key="train.promote", type="primary", on_click=_go_live, args=(model.id, None))
        st.caption(f"{literal(model.name)} becomes live at once; one click brings the old model back.")
        return
    with st.form("train.override", border=False):
        st.text_input("Reason to promote it all the same", key="train.reason", max_chars=2000)
        st.form_submit_button("Promote against the gate", key="train.promote", on_click=_override, args=(model.id,))


def _override(model_id: int) -> None:
    reason = str(state.value_of("train.reason") or "").strip()
    if not reason:
        state.leave_notice("train", "Write the reason first: it is kept with the promotion.", "refused")
        return
    _go_live(model_id, reason)


def _go_live(model_id: int, reason: str | None) -> None:
    try:
        promotion.promote(state.get_workspace(), model_id=model_id, person=state.get_person(), override_reason=reason)
    except OURS as exc:
        state.leave_notice("train", sentence(exc), "refused")
    else:
        state.leave_notice("train", "The new model is live.")


def _history() -> None:
    promotions = promotion.list_promotions(state.get_workspace(), limit=20)
    if not promotions:
        return
    st.header("What was live", anchor=False)
    show_table(
        ["When", "Model", "Instead of", "How", "Who", "Reason"],
        [
            [
                entry.created_at.strftime("%Y-%m-%d %H:%M"),
                entry.model,
                entry.previous or "–",
                entry.cause.value,
                entry.person or "–",
                entry.reason,
            ]
            for entry in promotions
        ],
    )
    if not promotion.can_roll_back(state.get_workspace()):
        return
    with st.popover("Roll back", key="train.roll_back_menu"):
        st.write("The model that was live before this one becomes live again, at once.")
        with st.form("train.rollback", border=False):
            st.text_input("Reason", key="train.rollback_reason", max_chars=2000)
            st.form_submit_button("Roll back", key="train.rollback_submit", type="primary", on_click=_roll_back)


def _roll_back() -> None:
    reason = str(state.value_of("train.rollback_reason") or "").strip()
    if not reason:
        state.leave_notice("train", "Write the reason first: it is kept with the rollback.", "refused")
        return
    try:
        promotion.rollback(state.get_workspace(), person=state.get_person(), reason=reason)
    except OURS as exc:
        state.leave_notice("train", sentence(exc), "refused")
    else:
        state.leave_notice("train", "Rolled back: the model before it is live again.")


with told():
    draw()
