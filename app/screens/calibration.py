"""Calibration: how far a judge's confidence can be trusted, and the certificates under which labels are accepted.

Errors of an open batch are nowhere on it: nothing computes them before every audit is answered.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import state
from app.components.badges import KINDS
from app.components.certificates import (
    excluded_text,
    show_batches,
    show_certificates,
    show_plan,
    show_threshold,
)
from app.components.problems import OURS, sentence, show_notice, told
from app.components.reliability import show_reliability
from app.components.table import show_table
from app.components.text import counted, escaped
from app.services import audit_planning, calibrating, certifying
from app.services.certificate_views import BatchView, CalibrationReport, CalibrationView, JudgeStanding
from app.services.pooling import CALIBRATE_OF_EIGHT_FROM

_EPSILONS = (0.05, 0.10, 0.15, 0.20)


def draw() -> None:
    st.title("Calibration", anchor=False)
    show_notice("calibration")
    workspace, criterion = state.get_workspace(), state.get_criterion()
    judges = calibrating.list_judges(workspace, criterion=criterion)
    if not judges:
        _nothing()
        return
    chosen = _choose(judges)
    view = calibrating.get_calibration(workspace, judge_id=chosen.judge_id, criterion=criterion)
    _calibration(view)
    if view.calibrator_id is not None or not chosen.certifiable:
        left, right = st.columns(2, gap="large")
        with left:
            show_reliability(raw=view.raw, calibrated=view.calibrated)
        with right:
            _thresholds(view)
    st.header("Certificates", anchor=False)
    batches = certifying.list_batches(workspace, criterion=criterion)
    for batch in batches:
        if batch.state == "open":
            _open_batch(batch)
    certificates = certifying.list_certificates(workspace, criterion=criterion)
    if certificates:
        show_certificates(certificates)
    else:
        st.html(
            '<p><span class="rl-tag">uncertified</span> No certificate yet. Whatever is accepted is accepted by a bare '
            "threshold, and nobody knows how much of it is wrong.</p>"
        )
    auditing = any(batch.state == "open" and batch.judge_id == chosen.judge_id for batch in batches)
    if view.calibrator_id is not None and chosen.certifiable and not auditing:
        _plan_and_freeze(chosen)
    done = [batch for batch in batches if batch.state != "open"]
    if done:
        with st.expander(f"Earlier batches ({len(done)})", key="calibration.batches"):
            show_batches(done)


def _choose(judges: Sequence[JudgeStanding]) -> JudgeStanding:
    by_id = {judge.judge_id: judge for judge in judges}
    chosen = st.selectbox(
        "Judge",
        list(by_id),
        format_func=lambda judge_id: _judge_text(by_id[judge_id]),
        key="calibration.judge",
        on_change=state.keep_plan,
        args=(None,),
        help="A judge is one model with one version of its prompt. Each is calibrated and certified by itself.",
    )
    return by_id[chosen if chosen in by_id else judges[0].judge_id]


def _judge_text(judge: JudgeStanding) -> str:
    calibrated = "uncalibrated" if judge.calibrator_id is None else "calibrated"
    if not judge.certifiable:
        calibrated = "always uncertified"
    return f"{judge.name} · prompt {judge.prompt_version[:8]} · {judge.n_current:,} current proposals · {calibrated}"


def _calibration(view: CalibrationView) -> None:
    standing = view.standing
    st.header("How far its confidence can be believed", anchor=False)
    if view.kind is None:
        st.html('<p><span class="rl-tag">uncalibrated</span> This judge states no confidence.</p>')
        return
    kind = KINDS.get(str(view.kind), str(view.kind))
    if view.calibrator_id is None:
        use = (
            "It cannot be certified before."
            if standing.certifiable
            else "Once it is, proposals of this judge that nobody accepted may train as soft targets."
        )
        st.html(
            f'<p><span class="rl-tag">uncalibrated</span> Its confidence ({escaped(kind)}) has not been compared with '
            f"what people say. {use}</p>"
        )
    else:
        st.html(
            f"<p>Calibrator {view.calibrator_id} for confidence {escaped(kind)}: fitted on "
            f"<strong>{counted(view.n_reviews, 'blind review')}</strong> of {counted(view.n_queries, 'question')}.</p>"
        )
        _measures(view)
    st.button(
        "Fit again" if view.calibrator_id is not None else "Fit the calibrator",
        key="calibration.fit",
        icon=":material/tune:",
        on_click=_fit,
        args=(standing.judge_id,),
        disabled=not standing.n_blind,
    )
    st.caption(
        f"There are {counted(standing.n_blind, 'blind review')} of "
        f"{counted(standing.n_blind_queries, 'calibrate question')} "
        f"to fit on. Where {CALIBRATE_OF_EIGHT_FROM} questions or more have no split, pooling sets about one in eight "
        "of those not held out aside for this; an imported file may name them too, as split calibrate or dev. People "
        "judge their candidates blind on the Review screen."
    )


def _measures(view: CalibrationView) -> None:
    rows = [
        [name, _figure(report, "ece"), _figure(report, "brier"), _figure(report, "auroc_correct")]
        for name, report in (("as stated", view.raw), ("calibrated", view.calibrated))
        if report is not None
    ]
    show_table(["Confidence", "ECE", "Brier", "AUROC of being right"], rows, align=["left", "right", "right", "right"])
    perfect = (
        "" if view.calibrated is None else f" A perfect one would show about {view.calibrated.ece_if_perfect:.3f}."
    )
    st.caption(
        "With 95 % intervals by question. ECE: distance between promised and found, lower is better." + perfect + " "
        "Brier: lower is better. AUROC: 0.5 says nothing, 1 tells right from wrong. Calibrated: cross-fitted, no "
        "question is measured by a calibrator that saw it."
    )


def _figure(report: CalibrationReport, name: str) -> str:
    interval = getattr(report, name)
    if interval is None:
        return "–"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _thresholds(view: CalibrationView) -> None:
    st.html('<h3 class="rl-small-heading">What a threshold would accept</h3>')
    if not view.standing.certifiable:
        st.html(
            '<p><span class="rl-tag">uncertified</span> This judge proposes and ranks; it is never certified, so '
            "nothing "
            "it says can be accepted under a bound.</p>"
        )
        return
    with told():
        workspace, judge_id = state.get_workspace(), view.standing.judge_id
        mark = audit_planning.forecast_mark(workspace, judge_id=judge_id)
        forecast = state.get_forecast(mark)
        if forecast is None:
            forecast = audit_planning.forecast(workspace, judge_id=judge_id, criterion=state.get_criterion())
            state.keep_forecast(mark, forecast)
        threshold = st.slider(
            "Accept from this calibrated confidence on",
            min_value=50,
            max_value=100,
            value=90,
            step=1,
            format="%d %%",
            key="calibration.threshold",
        )
        show_threshold(forecast, threshold / 100)
        if forecast.excluded:
            st.caption(excluded_text(forecast.excluded))


def _open_batch(batch: BatchView) -> None:
    with st.container(border=True, key=f"calibration.open.{batch.id}"):
        st.html(
            f"<p><strong>Batch {batch.id}</strong>, {escaped(batch.judge)}: {counted(batch.n_pairs, 'pair')} frozen, "
            f"at most {batch.epsilon:.0%} wrong wanted. <strong>{batch.n_to_go:,} of {batch.n_audits:,} blind audits "
            "to "
            "go.</strong></p>"
        )
        st.progress(batch.n_answered / batch.n_audits)
        st.caption(
            "The audits come first on the Review screen, without the proposal. How many are wrong is not computed "
            "before "
            "all are answered; a skipped one stays open."
            + (f" Attempt {batch.attempt} on some of these pairs." if batch.attempt > 1 else "")
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Issue the certificates",
                key=f"calibration.issue.{batch.id}",
                type="primary",
                icon=":material/verified:",
                disabled=batch.n_to_go > 0,
                on_click=_issue,
                args=(batch.id, False),
            )
            review = state.SCREENS["review"]
            st.page_link(review.path, label=f"Go to {review.title}", icon=review.icon)
        if batch.n_to_go:
            with st.expander("End the audits early", key=f"calibration.early.{batch.id}"):
                st.caption("Every audit that nobody answered then counts as an error, for good.")
                st.button(
                    f"Issue now, {batch.n_to_go:,} counted as wrong",
                    key=f"calibration.early_issue.{batch.id}",
                    on_click=_issue,
                    args=(batch.id, True),
                )


def _plan_and_freeze(judge: JudgeStanding) -> None:
    st.header("A new certificate", anchor=False)
    st.button("Work out what audits would buy", key="calibration.plan", on_click=_plan, args=(judge.judge_id,))
    plan = state.get_plan()
    if plan is not None:
        show_plan(plan)
    with st.form("calibration.freeze", border=True):
        first, second, third = st.columns([2, 2, 2], vertical_alignment="bottom")
        with first:
            audits = st.number_input("Blind audits", min_value=1, value=400, step=50, key="calibration.audits")
        with second:
            epsilon = st.selectbox(
                "At most wrong",
                _EPSILONS,
                index=1,
                format_func=lambda e: f"{e:.0%} of each class",
                key="calibration.epsilon",
            )
        with third:
            sent = st.form_submit_button(
                "Freeze the batch and draw", key="calibration.submit", icon=":material/ac_unit:"
            )
        st.caption(
            "Freezes this judge's proposals that nobody has judged, then draws the audits at random. Until they are "
            "done, "
            "their proposals are hidden everywhere, and what people say of them trains and calibrates nothing."
        )
    if sent:
        _freeze(judge.judge_id, n=int(audits), epsilon=float(epsilon))
        st.rerun()


def _fit(judge_id: int) -> None:
    try:
        view = calibrating.calibrate(state.get_workspace(), judge_id=judge_id, criterion=state.get_criterion())
    except OURS as exc:
        state.leave_notice("calibration", sentence(exc), "refused")
    else:
        state.keep_plan(None)
        state.leave_notice(
            "calibration", f"Calibrator {view.calibrator_id}: {counted(view.n_reviews, 'blind review')}."
        )


def _plan(judge_id: int) -> None:
    try:
        with st.spinner("Simulating audits"):
            state.keep_plan(
                audit_planning.plan(state.get_workspace(), judge_id=judge_id, criterion=state.get_criterion())
            )
    except OURS as exc:
        state.leave_notice("calibration", sentence(exc), "refused")


def _freeze(judge_id: int, *, n: int, epsilon: float) -> None:
    try:
        batch = certifying.freeze(
            state.get_workspace(),
            judge_id=judge_id,
            n=n,
            person=state.get_person(),
            epsilon=epsilon,
            criterion=state.get_criterion(),
        )
    except OURS as exc:
        state.leave_notice("calibration", sentence(exc), "refused")
    else:
        state.keep_plan(None)
        state.leave_notice(
            "calibration",
            f"Batch {batch.id} is frozen: {counted(batch.n_pairs, 'pair')}, {batch.n_audits:,} of them wait on the "
            "Review screen.",
        )


def _issue(batch_id: int, close_early: bool) -> None:
    try:
        report = certifying.issue(state.get_workspace(), batch_id=batch_id, close_early=close_early)
    except OURS as exc:
        state.leave_notice("calibration", sentence(exc), "refused")
        return
    issued = sum(one.state == "issued" for one in report.certificates)
    if issued:
        text = (
            f"{report.accepted:,} pairs are accepted under {counted(issued, 'certificate')}; "
            f"{report.rejected:,} stay with people."
        )
    else:
        text = "No class could be certified. Every pair of the batch stays with people; the reasons are below."
    state.leave_notice("calibration", text)


def _nothing() -> None:
    st.html(
        '<div class="rl-empty"><h2>No judge has proposed anything</h2><p>Let one propose grades first; then people '
        "judge "
        "some of the same pairs blind, and the two are compared here.</p></div>"
    )
    st.code("relabel label", language=None)
    labelling = state.SCREENS["labelling"]
    st.page_link(labelling.path, label=f"Go to {labelling.title}", icon=labelling.icon)


with told():
    draw()
